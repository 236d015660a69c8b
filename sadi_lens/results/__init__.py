"""What measuring gives: frozen results that hold everything needed to print and draw them again."""

from sadi_lens.results.comparison import Comparison, Contrast, MethodRow, SideEffects
from sadi_lens.results.evaluation import Evaluation, NullBand
from sadi_lens.results.receipts import CheckReport, CheckRow, Edit, Receipt
from sadi_lens.results.stability import PairsCurve, Stability
from sadi_lens.results.sweep import Choice, Sweep
from sadi_lens.results.units import Pruned, PruneStep, SignAgreement, UnitEffects

__all__ = [
    "CheckReport",
    "CheckRow",
    "Choice",
    "Comparison",
    "Contrast",
    "Edit",
    "Evaluation",
    "MethodRow",
    "NullBand",
    "PairsCurve",
    "PruneStep",
    "Pruned",
    "Receipt",
    "SideEffects",
    "SignAgreement",
    "Stability",
    "Sweep",
    "UnitEffects",
]
