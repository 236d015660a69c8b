"""What measuring gives: frozen results that hold everything needed to print and draw them again."""

from sadi_lens.results.comparison import Comparison, MethodRow
from sadi_lens.results.evaluation import Evaluation, NullBand
from sadi_lens.results.sweep import Choice, Selection, Sweep

__all__ = ["Choice", "Comparison", "Evaluation", "MethodRow", "NullBand", "Selection", "Sweep"]
