"""Methods on the same items, the unsteered model first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sadi_lens.types.base import require_one_of
from sadi_lens.types.invariants import Consistent
from sadi_lens.types.model import ModelInfo
from sadi_lens.types.paired import detectable
from sadi_lens.types.results.evaluation import Evaluation, NullBand
from sadi_lens.types.results.guards import Guards
from sadi_lens.types.results.rows import (
    Contrast,
    MethodRow,
    SideEffects,
    contrasts_of,
    row_of,
    same_weights,
)
from sadi_lens.types.results.written import Written
from sadi_lens.types.stats import holm, standard_error

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Comparison(Consistent):
    """Methods scored on the same items, the unsteered model first.

    A method may change the prompt, or run on weights of its own (``MethodRow.model``; ``notes`` names those rows).
    """

    model: ModelInfo
    task: str
    split: str
    component: str
    """What the methods edit; empty if they differ."""
    position: str
    """Where methods act that name no position of their own."""
    n: int
    chance: float
    """Accuracy of guessing; NaN for free text."""
    rows: tuple[MethodRow, ...]
    nulls: tuple[NullBand, ...] = ()
    contrasts: tuple[Contrast, ...] = ()
    """The reference method minus each other one, and other methods minus their own controls."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""
    n_clusters: int = 0
    """Clusters of items that are not independent; 0 where every item is."""
    scoring: str = ""
    """``Evaluation.scoring`` of the rows; empty where it was not kept."""
    is_one_position: bool = True
    """Whether all rows act at ``position``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        labels = [row.label for row in self.rows]
        twice = [label for label in labels if labels.count(label) > 1]
        if twice:
            raise ValueError(f"rows of a comparison need different labels, got {twice[0]!r} twice")
        bands = [null.label for null in self.nulls]
        for row in self.rows:
            for name, label in (("null", row.null), ("layer_null", row.layer_null)):
                if label:
                    require_one_of(f"{name} of {row.label!r}", label, bands)

    def __str__(self) -> str:
        lines = [f"{self.task or 'task'} on {self.model.name}, {self.split}, n = {self.n}"]
        bands = {null.label: null for null in self.nulls}
        for row in self.rows:
            text = f"{row.label}: accuracy {row.accuracy:.1%}, valid answers {row.valid_rate:.0%}"
            if row is not self.rows[0] and row.is_unsteered:
                text += ", the unsteered model: nothing did better on dev"
            elif row is not self.rows[0]:
                low, high = row.gain_interval
                text += f", gain {100 * row.gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points"
            if row.null:
                band = bands[row.null]
                text += f"; {band.as_good(row.accuracy)} of {band.n} random masks do as well"
            lines.append(text)
        return "\n".join([*lines, *self.notes])

    @classmethod
    def of(
        cls,
        evaluations: Sequence[Evaluation],
        *,
        chance: float = float("nan"),
        nulls: tuple[NullBand, ...] = (),
        details: Mapping[str, Mapping[str, Any]] | None = None,
        reference: str = "",
        pairs: Sequence[tuple[str, str]] = (),
        component: str = "",
        notes: Sequence[str] = (),
    ) -> "Comparison":
        """Pair evaluations item by item with the first one, the unsteered model.

        Args:
            evaluations: At least one; the first is the baseline.
            chance: Accuracy of guessing.
            nulls: Random-mask bands.
            details: Label of a row -> further fields of its ``MethodRow``: ``kind``, ``settings``, ``null`` (label
                of the band it is placed in), ...
            reference: Label of the row that every other one is contrasted with.
            pairs: Labels of further rows to contrast: (method, its control).
            component: What the methods edit.
            notes: What was left out, and why.

        Raises:
            ValueError: If there is none, they are not of the same items in one form or scored in different ways, or two
                have the same label.
        """
        if not evaluations:
            raise ValueError("evaluations must hold at least 1, the unsteered model first; got 0")
        base = evaluations[0]
        scorings = list(dict.fromkeys(one.scoring for one in evaluations))
        if len(scorings) > 1:
            raise ValueError(
                f"evaluations of a comparison must be scored alike, got {' and '.join(map(repr, scorings))}"
            )
        others = ", ".join(one.label for one in evaluations if not same_weights(one, base))
        if others:
            notes = [*notes, f"weights of their own, not those of {base.model.name}: {others}"]
        bands = {null.label: null for null in nulls}
        rows: list[MethodRow] = []
        for one in evaluations:
            kind = "other" if rows else "unsteered"
            given = {"kind": kind, **(details or {}).get(one.label, {})}
            row = row_of(one, base, bands, given)
            rows.append(row)
        corrected = holm([row.mcnemar_p for row in rows[1:]])
        rows[1:] = [replace(row, holm_p=p) for row, p in zip(rows[1:], corrected, strict=True)]
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
            contrasts=_contrasts(evaluations, reference, pairs),
            notes=tuple(notes),
            n_clusters=0 if base.clusters is None else len(set(base.clusters.tolist())),
            scoring=base.scoring,
            is_one_position=all(one.position == base.position for one in evaluations),
        )

    def row(self, label: str) -> MethodRow:
        """The row of a method.

        Raises:
            ValueError: If there is none of that label.
        """
        found = {row.label: row for row in self.rows}
        require_one_of("label", label, found)
        return found[label]

    def contrast(self, second: str, first: str | None = None) -> Contrast:
        """The method ``first`` (default the reference) minus the method ``second``.

        Raises:
            ValueError: If there is none.
        """
        first = first or (self.contrasts[0].first if self.contrasts else "")
        found = {one.second: one for one in self.contrasts if one.first == first}
        require_one_of("second", second, found)
        return found[second]

    def detectable(self, label: str) -> float:
        """Smallest gain of a row that would be found in 4 of 5 such comparisons, at its share of changed items.

        Raises:
            ValueError: If there is no row of that label, or it is the unsteered model.
        """
        row = self.row(label)
        if row is self.rows[0]:
            raise ValueError(f"label must be of a steered row, got {label!r}")
        return detectable(row.n_effective, (row.mended + row.broken) / self.n)

    def null_holm(self) -> dict[tuple[str, str], float]:
        """(label of a row, label of its null) -> its p-value there with Holm's correction over all of them."""
        places = {
            (row.label, label): p
            for row in self.rows
            for label, p in ((row.null, row.null_p), (row.layer_null, row.layer_null_p))
            if label and not math.isnan(p)
        }
        return dict(zip(places, holm(list(places.values())), strict=True))

    def by_group(self) -> "pd.DataFrame":
        """One row per method and group of items (such as the cue): n, accuracy, gain, items mended and broken."""
        import pandas as pd

        columns = ("group", "n", "accuracy", "gain", "mended", "broken")
        return pd.DataFrame(
            [
                (row.label, one.name, one.n, one.accuracy, one.gain, one.mended, one.broken)
                for row in self.rows
                for one in row.groups
            ],
            columns=("label", *columns),
        )

    def _error(self, row: MethodRow) -> float:
        """Standard error of an accuracy; NaN where items share clusters and it was not kept."""
        if math.isnan(row.standard_error) and not self.n_clusters:
            return standard_error(row.accuracy, self.n)
        return row.standard_error

    def frame(self) -> "pd.DataFrame":
        """One row per method."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "label": row.label,
                    "accuracy": row.accuracy,
                    "low": row.interval.low,
                    "high": row.interval.high,
                    "standard_error": self._error(row),
                    "gain": row.gain,
                    "gain_low": row.gain_interval.low,
                    "gain_high": row.gain_interval.high,
                    "mended": row.mended,
                    "broken": row.broken,
                    "mcnemar_p": row.mcnemar_p,
                    "holm_p": row.holm_p,
                    "margin": row.margin,
                    "valid_rate": row.valid_rate,
                    **_guard_columns(row.guards),
                    **_written_columns(row.written),
                    "kind": row.kind,
                    "null_p": row.null_p,
                    "layer_null_p": row.layer_null_p,
                    "settings": row.settings,
                    "dev_accuracy": row.dev_accuracy,
                    "n_candidates": row.n_candidates,
                    "seconds": row.seconds,
                    "choice_seconds": row.choice_seconds,
                    "model": row.model,
                    **_side_columns(row.side_effects),
                    "n": self.n,
                }
                for row in self.rows
            ]
        )


def _contrasts(
    evaluations: Sequence[Evaluation], reference: str, pairs: Sequence[tuple[str, str]]
) -> tuple[Contrast, ...]:
    """The reference minus every other row, then the pairs; Holm's correction over the contrasts of each first."""
    by_label = {one.label: one for one in evaluations}
    families: dict[str, list[str]] = {}
    if reference:
        require_one_of("reference", reference, by_label)
        families[reference] = [label for label in by_label if label != reference]
    for first, second in pairs:
        for label in (first, second):
            require_one_of("label", label, by_label)
        if first != reference:
            families.setdefault(first, []).append(second)
    return tuple(
        one
        for first, seconds in families.items()
        for one in contrasts_of(by_label[first], [by_label[label] for label in seconds])
    )


def _written_columns(written: Written | None) -> dict[str, Any]:
    if written is None:
        return {}
    return {"written_accuracy": written.accuracy, "written_valid_rate": written.valid_rate}


def _guard_columns(guards: Guards | None) -> dict[str, Any]:
    if guards is None:
        return {}
    return {
        "favourite": guards.favourite,
        "majority": guards.majority,
        "balanced_accuracy": guards.balanced_accuracy,
        "auc": guards.auc,
        "d_prime": guards.d_prime,
        "bias": guards.bias,
    }


def _side_columns(effects: SideEffects | None) -> dict[str, float]:
    names = ("kl", "perplexity_ratio", "repetition", "compression")
    return {name: float("nan") if effects is None else getattr(effects, name) for name in names}
