"""What measuring gives: frozen results that hold everything needed to print and draw them again."""

from sadi_lens.types.results.comparison import Comparison
from sadi_lens.types.results.evaluation import Evaluation, NullBand
from sadi_lens.types.results.explorer import ExplorerGrid, PromptGrid
from sadi_lens.types.results.inspection import (
    ActivationShifts,
    GenerationTrace,
    SideEffectCurve,
    SignFlipNull,
    TokenRoles,
    UnitActivations,
)
from sadi_lens.types.results.receipts import CheckReport, CheckRow, Edit, Receipt
from sadi_lens.types.results.rows import Contrast, GroupResult, MethodRow, SideEffects
from sadi_lens.types.results.stability import PairsCurve, Stability
from sadi_lens.types.results.sweep import Choice, Selection, Sweep
from sadi_lens.types.results.units import Pruned, PruneStep, SignAgreement, UnitEffects

__all__ = [
    "ActivationShifts",
    "CheckReport",
    "CheckRow",
    "Choice",
    "Comparison",
    "Contrast",
    "Edit",
    "Evaluation",
    "ExplorerGrid",
    "GenerationTrace",
    "GroupResult",
    "MethodRow",
    "NullBand",
    "PairsCurve",
    "PromptGrid",
    "PruneStep",
    "Pruned",
    "Receipt",
    "Selection",
    "SideEffectCurve",
    "SideEffects",
    "SignAgreement",
    "SignFlipNull",
    "Stability",
    "Sweep",
    "TokenRoles",
    "UnitActivations",
    "UnitEffects",
]
