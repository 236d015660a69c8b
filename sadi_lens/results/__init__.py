"""What measuring gives: frozen results that hold everything needed to print and draw them again."""

from sadi_lens.results.comparison import Comparison, MethodRow
from sadi_lens.results.evaluation import Evaluation, NullBand
from sadi_lens.results.inspection import (
    ActivationShifts,
    GenerationTrace,
    SideEffectCurve,
    SignFlipNull,
    TokenRoles,
    UnitActivations,
)
from sadi_lens.results.sweep import Choice, Sweep

__all__ = [
    "ActivationShifts",
    "Choice",
    "Comparison",
    "Evaluation",
    "GenerationTrace",
    "MethodRow",
    "NullBand",
    "SideEffectCurve",
    "SignFlipNull",
    "Sweep",
    "TokenRoles",
    "UnitActivations",
]
