"""Methods on the same items, the unsteered model first."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sadi_lens.results.evaluation import Evaluation, NullBand
from sadi_lens.stats import Interval, mcnemar_p, paired_interval, standard_error
from sadi_lens.types import ArrayEq, ModelInfo

if TYPE_CHECKING:
    import pandas as pd


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
            if (one.items, one.model.fingerprint) != (base.items, base.model.fingerprint):
                raise ValueError(
                    f"a comparison needs the same items on the same model: {one.label!r} has {one.n} of "
                    f"{one.task}/{one.split} on {one.model.name}, {base.label!r} has {base.n} of "
                    f"{base.task}/{base.split} on {base.model.name}"
                )
            if any(one.label == row.label for row in rows):
                raise ValueError(
                    f"rows of a comparison need different labels, got {one.label!r} twice"
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
                    "standard_error": standard_error(row.accuracy, self.n),
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
