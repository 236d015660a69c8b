"""What measuring gives: frozen results that hold everything needed to print and draw them again."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from sadi_lens.stats import Interval, empirical_p, mcnemar_p, paired_interval
from sadi_lens.types import ArrayEq, ModelInfo

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
    """``"sum"`` or ``"per_token"`` log-probability of the choices, or ``"exact_match"`` of free text."""
    correct: Bool[np.ndarray, " item"]
    margins: Float[np.ndarray, " item"]
    """Log-probability of the right choice minus the best wrong one (nats); NaN for free text."""
    valid: Bool[np.ndarray, " item"]
    """Whether the model's own most likely next token begins one of the choices (free text: not empty)."""
    choice_scores: Float[np.ndarray, "item choice"]
    """Score of every choice (nats); NaN where an item has fewer choices."""
    interval: Interval
    """95% Wilson interval of the accuracy."""
    texts: tuple[str, ...] = ()
    """Generated answers of free-text items."""

    @property
    def n(self) -> int:
        """Items scored."""
        return self.correct.size

    @property
    def accuracy(self) -> float:
        """Share of items answered right."""
        return float(self.correct.mean())

    @property
    def margin(self) -> float:
        """Mean margin (nats)."""
        return float(self.margins.mean())

    @property
    def valid_rate(self) -> float:
        """Share of items with a valid answer."""
        return float(self.valid.mean())

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
    """Accuracies of random masks, matched in K (and per layer) and in strength, on the same items."""

    label: str
    k: int
    strength: float
    per_layer: bool
    accuracies: Float[np.ndarray, " draw"]
    margins: Float[np.ndarray, " draw"]
    """Mean margin of each draw (nats)."""

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


@dataclass(frozen=True, eq=False)
class MethodRow(ArrayEq):
    """One line of a comparison, all numbers on the same items."""

    label: str
    accuracy: float
    interval: Interval
    gain: float
    """Accuracy minus the unsteered accuracy."""
    gain_interval: Interval
    """95% paired bootstrap interval of the gain."""
    mcnemar_p: float
    margin: float
    valid_rate: float
    kind: str = "other"
    """``"unsteered"``, ``"adaptive"``, ``"fixed"``, ``"random"`` or ``"other"``: colours follow it."""
    null: str = ""
    """Label of the ``NullBand`` that it is placed in; empty where there is none."""
    null_p: float = float("nan")
    """Place in that null; NaN where there is none."""
    settings: str = ""
    """What was chosen on dev, in words."""


@dataclass(frozen=True, eq=False)
class Comparison(ArrayEq):
    """Methods scored on the same items, the unsteered model first."""

    model: ModelInfo
    task: str
    split: str
    component: str
    """What the methods edit; empty if they differ."""
    position: str
    n: int
    chance: float
    """Accuracy of guessing; NaN for free text."""
    rows: tuple[MethodRow, ...]
    nulls: tuple[NullBand, ...] = ()

    @classmethod
    def of(
        cls,
        evaluations: tuple[Evaluation, ...],
        *,
        chance: float = float("nan"),
        nulls: tuple[NullBand, ...] = (),
        null_of: dict[str, str] | None = None,
        kinds: dict[str, str] | None = None,
        settings: dict[str, str] | None = None,
        component: str = "",
    ) -> "Comparison":
        """Pair evaluations item by item with the first one, the unsteered model.

        Args:
            evaluations: At least one; the first is the baseline.
            chance: Accuracy of guessing.
            nulls: Random-mask bands.
            null_of: Label of a row -> label of the band it is placed in.
            kinds: Label of a row -> ``MethodRow.kind``.
            settings: Label of a row -> what was chosen on dev.
            component: What the methods edit.

        Raises:
            ValueError: If the evaluations are not of the same items.
        """
        base = evaluations[0]
        bands = {null.label: null for null in nulls}
        rows: list[MethodRow] = []
        for one in evaluations:
            if (one.n, one.task, one.split) != (base.n, base.task, base.split):
                raise ValueError(
                    f"a comparison needs the same items: {one.label!r} has {one.n} of {one.task}/"
                    f"{one.split}, {base.label!r} has {base.n} of {base.task}/{base.split}"
                )
            band = (null_of or {}).get(one.label, "")
            rows.append(
                MethodRow(
                    label=one.label,
                    accuracy=one.accuracy,
                    interval=one.interval,
                    gain=one.accuracy - base.accuracy,
                    gain_interval=paired_interval(one.correct, base.correct),
                    mcnemar_p=mcnemar_p(one.correct, base.correct),
                    margin=one.margin,
                    valid_rate=one.valid_rate,
                    kind=(kinds or {}).get(one.label, "other" if rows else "unsteered"),
                    null=band,
                    null_p=bands[band].p_value(one.accuracy) if band else float("nan"),
                    settings=(settings or {}).get(one.label, ""),
                )
            )
        return cls(
            model=base.model,
            task=base.task,
            split=base.split,
            component=component,
            position=base.position,
            n=base.n,
            chance=chance,
            rows=tuple(rows),
            nulls=nulls,
        )

    def frame(self) -> "pd.DataFrame":
        """One row a method."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "label": row.label,
                    "accuracy": row.accuracy,
                    "low": row.interval.low,
                    "high": row.interval.high,
                    "gain": row.gain,
                    "gain_low": row.gain_interval.low,
                    "gain_high": row.gain_interval.high,
                    "mcnemar_p": row.mcnemar_p,
                    "margin": row.margin,
                    "valid_rate": row.valid_rate,
                    "kind": row.kind,
                    "null_p": row.null_p,
                    "settings": row.settings,
                    "n": self.n,
                }
                for row in self.rows
            ]
        )


@dataclass(frozen=True)
class Choice:
    """A cell of a sweep and why it was taken."""

    k: int
    strength: float
    accuracy: float
    chosen_on: str
    """Split the choice was made on."""
    reason: str


@dataclass(frozen=True, eq=False)
class Sweep(ArrayEq):
    """Accuracy, margin and valid-answer rate over K x strength, on the same items as the unsteered model."""

    component: str
    ranking: str
    method: str
    """``"scaling"`` (SADI), or the name of the fixed method that was swept in its place."""
    model: ModelInfo
    task: str
    split: str
    position: str
    n: int
    ks: tuple[int, ...]
    strengths: tuple[float, ...]
    accuracy: Float[np.ndarray, "k strength"]
    margin: Float[np.ndarray, "k strength"]
    valid_rate: Float[np.ndarray, "k strength"]
    unsteered_accuracy: float
    unsteered_margin: float
    chance: float = float("nan")

    def frame(self) -> "pd.DataFrame":
        """One row a cell."""
        import pandas as pd

        k, strength = np.meshgrid(self.ks, self.strengths, indexing="ij")
        return pd.DataFrame(
            {
                "component": self.component,
                "ranking": self.ranking,
                "k": k.ravel(),
                "strength": strength.ravel(),
                "accuracy": self.accuracy.ravel(),
                "gain": self.accuracy.ravel() - self.unsteered_accuracy,
                "margin": self.margin.ravel(),
                "valid_rate": self.valid_rate.ravel(),
                "n": self.n,
                "split": self.split,
            }
        )

    def best_cell(self) -> tuple[int, int]:
        """Row and column of the cell that ``best`` takes.

        Raises:
            ValueError: If no cell was finished.
        """
        if np.isnan(self.accuracy).all():
            raise ValueError("no cell of this sweep was finished, so there is no best one")
        # NaN (an unfinished cell) sorts last.
        order = np.lexsort((-self.margin.ravel(), -self.accuracy.ravel()))
        row, column = np.unravel_index(int(order[0]), self.accuracy.shape)
        return int(row), int(column)

    def best(self) -> Choice:
        """The cell with the highest accuracy; ties go to the larger margin, then smaller K and strength.

        Meant for a dev split. On any other split the choice is optimistic: it warns, and the result says so.
        """
        row, column = self.best_cell()
        accuracy = float(self.accuracy[row, column])
        reason = (
            f"highest accuracy of {self.accuracy.size} cells on {self.split} "
            f"({accuracy:.1%}, unsteered {self.unsteered_accuracy:.1%}, n = {self.n})"
        )
        if self.split != "dev":
            reason += f"; chosen on {self.split}, so its accuracy is optimistic"
            warnings.warn(
                f"best() chose K and strength on the {self.split} split; the accuracy it reports is "
                "optimistic. Choose on dev, report on test.",
                stacklevel=2,
            )
        return Choice(
            int(self.ks[row]), float(self.strengths[column]), accuracy, self.split, reason
        )
