"""One intervention on a list of samples, and random masks on the same list."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from sadi_lens.types.base import ArrayEq
from sadi_lens.types.model import ModelInfo
from sadi_lens.types.stats import Interval, empirical_p, proportion_interval, standard_error

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Evaluation(ArrayEq):
    """One intervention (or none) scored on a list of samples."""

    label: str
    """What was done to the model, in words; ``"unsteered"`` for nothing."""
    model: ModelInfo
    task: str
    split: str
    """``"dev"``, ``"test"``, ``"mixed"`` or ``"unknown"``."""
    position: str
    scoring: str
    """One of ``sadi_lens.types.answers.SCORINGS``, or ``"exact_match"`` of free text."""
    correct: Bool[np.ndarray, " item"]
    margins: Float[np.ndarray, " item"]
    """Log-probability of the right choice minus the best wrong one (nats); NaN for free text."""
    valid: Bool[np.ndarray, " item"]
    """Whether the model's own most likely next token begins one of the choices (free text: not empty)."""
    choice_scores: Float[np.ndarray, "item choice"]
    """Score of every choice (nats); NaN where an item has fewer choices."""
    items: str
    """Hash of the samples, in order; only results of the same items can be compared."""
    texts: tuple[str, ...] = ()
    """Generated answers of free-text items."""
    skipped: int = 0
    """Items left out because they do not fit the context."""

    @property
    def n(self) -> int:
        """Items scored."""
        return self.correct.size

    @property
    def accuracy(self) -> float:
        """Share of items answered right."""
        return float(self.correct.mean())

    @property
    def interval(self) -> Interval:
        """95% Wilson interval of the accuracy."""
        return proportion_interval(self.correct)

    @property
    def standard_error(self) -> float:
        """Standard error of the accuracy."""
        return standard_error(self.accuracy, self.n)

    @property
    def margin(self) -> float:
        """Mean margin (nats)."""
        return float(self.margins.mean())

    @property
    def valid_rate(self) -> float:
        """Share of items with a valid answer."""
        return float(self.valid.mean())

    def __str__(self) -> str:
        margin = "" if self.margin != self.margin else f"margin {self.margin:+.2f} nats, "
        return (
            f"{self.label}: accuracy {self.accuracy:.1%} "
            f"[{self.interval.low:.1%}, {self.interval.high:.1%}], {margin}"
            f"valid answers {self.valid_rate:.0%} ({self.task or 'task'}, {self.split}, n = {self.n}"
            f"{f', {self.skipped} too long' if self.skipped else ''})"
        )

    def frame(self) -> "pd.DataFrame":
        """One row an item: correct, margin, valid (and the text)."""
        import pandas as pd

        columns = {"correct": self.correct, "margin": self.margins, "valid": self.valid}
        if self.texts:
            columns["text"] = np.array(self.texts, dtype=object)
        return pd.DataFrame(
            {"label": self.label, "task": self.task, "split": self.split, **columns}
        )


@dataclass(frozen=True, eq=False)
class NullBand(ArrayEq):
    """Accuracies of random masks of the same K (and per layer), on the same items."""

    label: str
    k: int
    strength: float
    per_layer: bool
    accuracies: Float[np.ndarray, " draw"]
    margins: Float[np.ndarray, " draw"]
    """Mean margin of each draw (nats)."""
    tuned: bool = False
    """Whether each mask chose its own strength on dev, as the method did; else all run at ``strength``."""

    @property
    def n(self) -> int:
        """Masks drawn."""
        return self.accuracies.size

    @property
    def band(self) -> Interval:
        """5th and 95th percentile of the accuracies."""
        low, high = np.quantile(self.accuracies, [0.05, 0.95])
        return Interval(float(low), float(high))

    def p_value(self, accuracy: float) -> float:
        """Share of random masks that do at least as well, one-sided, with the +1 correction."""
        return empirical_p(accuracy, self.accuracies)
