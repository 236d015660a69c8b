"""What measuring gives: frozen results that hold everything needed to print and draw them again."""

from sadi_lens.results.comparison import Comparison, Contrast, MethodRow, SideEffects
from sadi_lens.results.evaluation import Evaluation, NullBand
from sadi_lens.results.sweep import Choice, Sweep

__all__ = [
    "Choice",
    "Comparison",
    "Contrast",
    "Evaluation",
    "MethodRow",
    "NullBand",
    "SideEffects",
    "Sweep",
]
