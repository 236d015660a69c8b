"""Methods on the same items, the unsteered model first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sadi_lens.types.base import ArrayEq, require_one_of
from sadi_lens.types.model import ModelInfo
from sadi_lens.types.paired import mcnemar_p, paired_interval
from sadi_lens.types.results.evaluation import Evaluation, NullBand
from sadi_lens.types.results.guards import Guards
from sadi_lens.types.results.written import Written
from sadi_lens.types.stats import Interval, holm, standard_error

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class SideEffects(ArrayEq):
    """What a method does to neutral text, which it was not meant to change."""

    kl: float
    """Mean KL divergence from the unsteered to the steered model's next-token distribution (nats per token)."""
    perplexity_ratio: float
    """Perplexity of the texts under the steered model, divided by that of the unsteered one."""
    repetition: float
    """Share of token 4-grams in short greedy continuations that stood before in the same continuation (seq-rep-4);
    NaN if all of them are shorter than that."""
    compression: float
    """Bytes of the continuations before over bytes after zlib, each compressed alone; NaN if all are empty."""
    n_texts: int
    n_tokens: int
    """Tokens that KL and perplexity are averaged over."""
    position: str


@dataclass(frozen=True)
class Contrast:
    """Two methods on the same items: ``first`` minus ``second``."""

    first: str
    second: str
    difference: float
    """Accuracy of the first minus accuracy of the second."""
    interval: Interval
    """95% paired score interval."""
    mcnemar_p: float
    holm_p: float
    """McNemar's p corrected for all contrasts of the comparison."""


@dataclass(frozen=True, eq=False)
class MethodRow(ArrayEq):
    """One line of a comparison, all numbers on the same items."""

    label: str
    accuracy: float
    interval: Interval
    gain: float
    """Accuracy minus the unsteered accuracy."""
    gain_interval: Interval
    """95% paired score interval of the gain."""
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
    holm_p: float = float("nan")
    """McNemar's p corrected for the number of methods compared; NaN for the unsteered model."""
    dev_accuracy: float = float("nan")
    """Accuracy on dev of what was chosen there, optimistic if more than one candidate was tried; NaN if not run."""
    n_candidates: int = 0
    """Candidates tried on dev; 0 where there was nothing to choose."""
    seconds: float = float("nan")
    """CPU seconds per test item, all threads; reported, never tested."""
    choice_seconds: float = float("nan")
    """CPU seconds, all threads, of building its candidates and choosing on dev; what methods share, the first pays."""
    model: str = ""
    """Fingerprint of the weights it ran on, where they are not the comparison's own (fine-tuning)."""
    side_effects: SideEffects | None = None
    guards: Guards | None = None
    """Answers given and the gain where no favourite helps; None where the task has no few answers to count."""

    written: Written | None = None
    """What it writes, where that was asked for."""

    @property
    def verdict(self) -> str:
        """What the gain is, where it is no gain in knowledge; else empty."""
        return "" if self.guards is None else self.guards.verdict(self.gain_interval)


@dataclass(frozen=True, eq=False)
class Comparison(ArrayEq):
    """Methods scored on the same items, the unsteered model first.

    A method may change the prompt, or run on weights of its own (``MethodRow.model``; ``notes`` names those rows).
    """

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
    contrasts: tuple[Contrast, ...] = ()
    """The reference method minus each other one; empty if none was named."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    @classmethod
    def of(
        cls,
        evaluations: Sequence[Evaluation],
        *,
        chance: float = float("nan"),
        nulls: tuple[NullBand, ...] = (),
        details: Mapping[str, Mapping[str, Any]] | None = None,
        reference: str = "",
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
            component: What the methods edit.
            notes: What was left out, and why.

        Raises:
            ValueError: If the evaluations are not of the same items, or two have the same label.
        """
        base = evaluations[0]
        others = [one.label for one in evaluations if not _same_weights(one, base)]
        if others:
            notes = [
                *notes,
                f"weights of their own, not those of {base.model.name}: {', '.join(others)}",
            ]
        bands = {null.label: null for null in nulls}
        rows: list[MethodRow] = []
        for one in evaluations:
            kind = "other" if rows else "unsteered"
            given = {"kind": kind, **(details or {}).get(one.label, {})}
            row = _row(one, base, bands, given)
            if any(one.label == other.label for other in rows):
                raise ValueError(
                    f"rows of a comparison need different labels, got {one.label!r} twice"
                )
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
            contrasts=_contrasts(evaluations, reference) if reference else (),
            notes=tuple(notes),
        )

    def row(self, label: str) -> MethodRow:
        """The row of a method.

        Raises:
            ValueError: If there is none of that label.
        """
        found = {row.label: row for row in self.rows}
        require_one_of("label", label, found)
        return found[label]

    def contrast(self, second: str) -> Contrast:
        """The reference method minus the method ``second``.

        Raises:
            ValueError: If there is none.
        """
        found = {one.second: one for one in self.contrasts}
        require_one_of("second", second, found)
        return found[second]

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
                    "holm_p": row.holm_p,
                    "margin": row.margin,
                    "valid_rate": row.valid_rate,
                    **_guard_columns(row.guards),
                    **_written_columns(row.written),
                    "kind": row.kind,
                    "null_p": row.null_p,
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


def _row(
    one: Evaluation,
    base: Evaluation,
    bands: Mapping[str, NullBand],
    given: Mapping[str, Any],
) -> MethodRow:
    if one.items != base.items:
        raise ValueError(
            f"a comparison needs the same items: {one.label!r} has {one.n} of {one.task}/{one.split}, "
            f"{base.label!r} has {base.n} of {base.task}/{base.split}"
        )
    band = given.get("null", "")
    return MethodRow(
        label=one.label,
        accuracy=one.accuracy,
        interval=one.interval,
        gain=one.accuracy - base.accuracy,
        gain_interval=paired_interval(one.correct, base.correct, base.clusters),
        mcnemar_p=mcnemar_p(one.correct, base.correct, base.clusters),
        margin=one.margin,
        valid_rate=one.valid_rate,
        null_p=bands[band].p_value(one.accuracy) if band else float("nan"),
        model="" if _same_weights(one, base) else one.model.fingerprint,
        guards=Guards.of(one.picks, base.picks, base.clusters)
        if one.picks and base.picks
        else None,
        **given,
    )


def _same_weights(one: Evaluation, other: Evaluation) -> bool:
    return one.model.fingerprint == other.model.fingerprint


def _contrasts(evaluations: Sequence[Evaluation], reference: str) -> tuple[Contrast, ...]:
    by_label = {one.label: one for one in evaluations}
    require_one_of("reference", reference, by_label)
    first = by_label[reference]
    others = [one for one in evaluations if one is not first]
    p_values = [mcnemar_p(first.correct, one.correct, first.clusters) for one in others]
    return tuple(
        Contrast(
            reference,
            one.label,
            first.accuracy - one.accuracy,
            paired_interval(first.correct, one.correct, first.clusters),
            p,
            corrected,
        )
        for one, p, corrected in zip(others, p_values, holm(p_values), strict=True)
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
