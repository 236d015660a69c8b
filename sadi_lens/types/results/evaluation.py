"""One intervention on a list of samples, and random masks on the same list."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from sadi_lens.types.checks import check_value, checked
from sadi_lens.types.invariants import Consistent
from sadi_lens.types.model import ModelInfo
from sadi_lens.types.paired import direction, mcnemar_p, paired_interval
from sadi_lens.types.results.guards import Guards, Picks
from sadi_lens.types.stats import (
    Interval,
    clustered_error,
    count_interval,
    empirical_p,
    proportion_interval,
)

if TYPE_CHECKING:
    import pandas as pd


FORMS = "; plain and chat prompts, another tokenizer or chat template and another prepend_bos are other items, too"


@dataclass(frozen=True, eq=False)
class Evaluation(Consistent):
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
    """Whether the most likely next tokens begin one of the choices, up to the token that tells it from the others
    (free text: not empty)."""
    choice_scores: Float[np.ndarray, "item choice"]
    """Score of every choice (nats); NaN where an item has fewer choices."""
    items: str
    """Hash of the samples, in order; only results of the same items can be compared."""
    texts: tuple[str, ...] = ()
    """Generated answers of free-text items."""
    skipped: int = 0
    """Items left out because they do not fit the context."""
    clusters: Any = None
    """Int array [item]: number of each item's cluster; None where no two items share one."""
    groups: tuple[str, ...] = ()
    """Group of each item (``Sample.group``); empty where no item has one."""
    picks: Picks | None = None
    """Which answer every item gets, and what the model knows whichever is its favourite: ``shares``, ``majority``,
    ``balanced_accuracy``, ``auc``, ``d_prime``, ``bias``. None where the task has no few answers to count."""
    form: str = ""
    """Hash of how the items became tokens (tokenizer, whether they begin with BOS); empty where that was not kept.
    Results of two forms cannot be compared."""

    def is_alike(self, other: "Evaluation") -> bool:
        """Whether both are of the same items, read alike as far as both say how."""
        return self.items == other.items and len({self.form, other.form} - {""}) < 2

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
        """95% Wilson interval of the accuracy, by cluster where items share one."""
        return proportion_interval(self.correct, clusters=self.clusters)

    @property
    def standard_error(self) -> float:
        """Standard error of the accuracy, by cluster where items share one."""
        return clustered_error(self.correct, self.clusters)

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
            f"{f'; {self.picks}' if self.picks else ''}"
        )

    def frame(self) -> "pd.DataFrame":
        """One row per item: correct, margin, valid (and the answer given and the right one, and the text)."""
        import pandas as pd

        columns = {"correct": self.correct, "margin": self.margins, "valid": self.valid}
        if self.picks is not None:
            names = np.array([*self.picks.names, ""], dtype=object)  # the last is no answer, -1
            columns |= {"answer": names[self.picks.chosen], "right": names[self.picks.right]}
        if self.texts:
            columns["text"] = np.array(self.texts, dtype=object)
        return pd.DataFrame(
            {"label": self.label, "task": self.task, "split": self.split, **columns}
        )


@checked()
def what_changed(steered: Evaluation, base: Evaluation) -> str:
    r"""What an intervention did to the answers, in one sentence: more knowledge, or another favourite.

    Judged by McNemar's test and 95% intervals, never by point values: the paired interval of the accuracy, and those
    of ``Guards``.

    Args:
        steered: Of an intervention.
        base: Of the unsteered model on the same items.

    Raises:
        ValueError: If the two are not of the same items in one form.

    Example:
        >>> heads = sl.unit_scores(model, task, "head", "effect", progress=False)
        >>> scaling = sl.MaskedScaling(sl.top_k_mask(heads, 2), strength=5.0)
        >>> base, steered = sl.evaluate(model, task.dev, [None, scaling], progress=False)
        >>> print(sl.types.what_changed(steered, base).replace(": ", ":\n"))
        Accuracy 75.0% to 99.6% (+24.6 points [+19.1, +31.0]):
        more than another favourite (balanced accuracy 75.0% to 99.6% [+19.4, +29.9], AUC 0.83 to 1.00 [+0.12, +0.22]).
    """
    if not steered.is_alike(base):
        raise ValueError(
            f"what_changed needs two results of the same items, got {steered.n} of {steered.task} and {base.n} of "
            f"{base.task}{FORMS}"
        )
    gain = paired_interval(steered.correct, base.correct, clusters=base.clusters)
    head = (
        f"Accuracy {base.accuracy:.1%} to {steered.accuracy:.1%} ({100 * (steered.accuracy - base.accuracy):+.1f} "
        f"points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}])"
    )
    p = mcnemar_p(steered.correct, base.correct, base.clusters)
    if not (moved := direction(p, gain)):
        return f"{head}: no change that the data can tell from zero."
    if moved < 0 or steered.picks is None or base.picks is None:
        return f"{head}."
    guards = Guards.of(steered.picks, base.picks, base.clusters)
    words = guards.verdict(gain) or f"more than another favourite ({guards.numbers})"
    return f"{head}: {words}."


@dataclass(frozen=True, eq=False)
class NullBand(Consistent):
    """Accuracies of random masks of the same K (and per layer), on the same items."""

    label: str
    k: int
    strength: float
    per_layer: bool
    accuracies: Float[np.ndarray, " draw"]
    margins: Float[np.ndarray, " draw"]
    """Mean margin of each draw (nats)."""
    n_cells: int = 0
    """Cells (K and strength) that each mask chose from on dev; 0: all run at the method's own cell."""

    @property
    def n(self) -> int:
        """Masks drawn."""
        return self.accuracies.size

    @property
    def band(self) -> Interval:
        """5th and 95th percentile of the accuracies."""
        low, high = np.quantile(self.accuracies, [0.05, 0.95])
        return Interval(float(low), float(high))

    @property
    def median(self) -> float:
        """Median of the accuracies; NaN where one of them is not known."""
        return float(np.median(self.accuracies))

    @property
    def tuned(self) -> bool:
        """Whether each mask made a choice of its own on dev."""
        return self.n_cells > 0

    def as_good(self, accuracy: float) -> int:
        """Masks that do at least as well; what is unknown (NaN) counts as such, as in ``p_value``.

        Raises:
            ValueError: If ``accuracy`` is no share, such as one in percent.
        """
        _require_share(accuracy)
        return int((~(self.accuracies < accuracy)).sum())

    def p_interval(self, accuracy: float) -> Interval:
        """95% interval (Clopper and Pearson) of the ``p_value`` that endlessly many such masks would give."""
        if math.isnan(self.p_value(accuracy)):
            return Interval(math.nan, math.nan)
        return count_interval(self.as_good(accuracy) + 1, self.n + 1, "clopper_pearson")

    def p_value(self, accuracy: float) -> float:
        """Share of random masks that do at least as well, one-sided, with the +1 correction.

        A p-value where the method had no choice (a cell that was fixed before), or the masks had the same one; too
        small otherwise (``MethodRow.null_p`` is NaN then).
        """
        _require_share(accuracy)
        return empirical_p(accuracy, self.accuracies)


def _require_share(accuracy: float) -> None:
    """Refuse what is no share; NaN, an accuracy that is not known, passes."""
    if accuracy == accuracy and not 0 <= check_value("accuracy", accuracy, float) <= 1:
        raise ValueError(f"accuracy must be a share in [0, 1], got {accuracy}")
