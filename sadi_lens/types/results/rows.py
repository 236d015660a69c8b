"""One line of a comparison and one contrast of two lines, from evaluations of the same items."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadi_lens.types.invariants import Consistent
from sadi_lens.types.paired import direction, mcnemar_p, paired_interval
from sadi_lens.types.results.evaluation import FORMS, Evaluation, NullBand
from sadi_lens.types.results.guards import Guards
from sadi_lens.types.results.written import Written
from sadi_lens.types.stats import Interval, effective_size, holm


@dataclass(frozen=True, eq=False)
class SideEffects(Consistent):
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


def _require_shares(thing: Any, *names: str, or_nan: Sequence[str] = ()) -> None:
    """Refuse a share or probability that is not in [0, 1]; of some, NaN says that they are unknown."""
    for name in (*names, *or_nan):
        value = getattr(thing, name)
        is_share = isinstance(value, int | float | np.floating) and 0 <= value <= 1
        if not is_share and not (name in or_nan and value != value):
            raise ValueError(f"{name} of {type(thing).__name__} must be in [0, 1], got {value}")


@dataclass(frozen=True, eq=False)
class Contrast(Consistent):
    """Two methods on the same items: ``first`` minus ``second``."""

    first: str
    second: str
    difference: float
    """Accuracy of the first minus accuracy of the second."""
    interval: Interval
    """95% paired score interval."""
    mcnemar_p: float
    holm_p: float
    """McNemar's p corrected for all contrasts of ``first``."""
    n_family: int = 1
    """Contrasts that the correction is for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_shares(self, "mcnemar_p", "holm_p")


@dataclass(frozen=True, eq=False)
class GroupResult(Consistent):
    """A method on the items of one group, such as those with a wrong hint."""

    name: str
    n: int
    accuracy: float
    mended: int
    """Items that the method answers right and the unsteered model wrong."""
    broken: int
    """Items that the unsteered model answers right and the method wrong."""

    @property
    def gain(self) -> float:
        """Accuracy minus the unsteered accuracy on the same items."""
        return (self.mended - self.broken) / self.n


@dataclass(frozen=True, eq=False)
class MethodRow(Consistent):
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
    """p-value in that null; NaN where there is none, or where the row was chosen on dev and its masks were not: what
    was chosen does better than what never chose, also where any ranking would have done."""
    layer_null: str = ""
    """Label of the ``NullBand`` of masks with as many units in each layer; empty where there is none."""
    layer_null_p: float = float("nan")
    """p-value in that one, in the same way."""
    settings: str = ""
    """What was chosen on dev, in words."""
    holm_p: float = float("nan")
    """McNemar's p corrected for the number of methods compared; NaN for the unsteered model."""
    dev_accuracy: float = float("nan")
    """Accuracy on dev of what was chosen there, optimistic if more than one candidate was tried; NaN if not run."""
    n_candidates: int = 0
    """Candidates tried on dev; 0 where there was nothing to choose."""
    seconds: float = float("nan")
    """CPU seconds per item, all threads, alone on the first items of dev; reported, never tested."""
    choice_seconds: float = float("nan")
    """CPU seconds, all threads, of building its candidates and choosing on dev; what methods share, the first pays."""
    model: str = ""
    """Fingerprint of the weights it ran on, where they are not the comparison's own (fine-tuning)."""
    side_effects: SideEffects | None = None
    guards: Guards | None = None
    """Answers given and the gain where no favourite helps; None where the task has no few answers to count."""
    written: Written | None = None
    """What it writes, where that was asked for."""
    mended: int = 0
    """Items that the method answers right and the unsteered model wrong."""
    broken: int = 0
    """Items that the unsteered model answers right and the method wrong: the harm inside the net gain."""
    n_effective: float = float("nan")
    """Independent items that would give as precise a gain; NaN for the unsteered model."""
    groups: tuple[GroupResult, ...] = ()
    """The same by group of items (cue); empty where items have none."""
    standard_error: float = float("nan")
    """Of the accuracy, by cluster where items share one; NaN where it was not kept."""
    control_of: str = ""
    """Label of the method whose choice it is built from; empty where it made its own."""
    is_unsteered: bool = False
    """Whether it is the unsteered model itself, because nothing did better on dev: its gain is 0 and no estimate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = ("null_p", "layer_null_p", "holm_p", "dev_accuracy")
        _require_shares(self, "accuracy", "valid_rate", "mcnemar_p", or_nan=unknown)
        ends = (*self.interval, *self.gain_interval)
        if self.is_unsteered and any((self.gain, *self.gain_interval)):
            raise ValueError(
                f"gain and gain_interval of {self.label!r} must be 0, as it is the unsteered model; got {self.gain} "
                f"and {tuple(self.gain_interval)}"
            )
        if not all(map(math.isfinite, (self.gain, *ends))):
            raise ValueError(
                f"gain, interval and gain_interval of {self.label!r} must be finite, got {self.gain}, "
                f"{tuple(self.interval)} and {tuple(self.gain_interval)}"
            )

    @property
    def verdict(self) -> str:
        """What the gain is, where it is no gain in knowledge; else empty."""
        known = self.guards is not None and self.moved(corrected=False) > 0
        return self.guards.verdict(self.gain_interval) if known else ""  # type: ignore[union-attr]

    def moved(self, *, corrected: bool = True) -> int:
        """1 where accuracy rose, -1 where it fell, 0 where the data do not say: a test and an interval without 0.

        Args:
            corrected: By Holm's p, where it is known; otherwise by McNemar's.
        """
        p = self.mcnemar_p if not corrected or math.isnan(self.holm_p) else self.holm_p
        return direction(p, self.gain_interval)


def row_of(
    one: Evaluation,
    base: Evaluation,
    bands: Mapping[str, NullBand],
    given: Mapping[str, Any],
) -> MethodRow:
    """The row of an evaluation beside the unsteered one.

    Args:
        one: Its results.
        base: Those of the unsteered model.
        bands: Label -> random-mask null.
        given: Further fields.

    Raises:
        ValueError: If the two are not of the same items in one form.
    """
    if not one.is_alike(base):
        raise ValueError(
            f"a comparison needs the same items: {one.label!r} has {one.n} of {one.task}/{one.split}, "
            f"{base.label!r} has {base.n} of {base.task}/{base.split}{FORMS}"
        )
    band, layers = given.get("null", ""), given.get("layer_null", "")
    mended, broken = one.correct & ~base.correct, base.correct & ~one.correct
    difference = one.correct.astype(float) - base.correct.astype(float)
    size, _ = effective_size(difference, base.clusters)
    is_same = one is base or bool(given.get("is_unsteered", False) and not difference.any())
    said: dict[str, Any] = {**given, "is_unsteered": is_same}
    return MethodRow(
        label=one.label,
        accuracy=one.accuracy,
        interval=one.interval,
        gain=one.accuracy - base.accuracy,
        gain_interval=Interval(0.0, 0.0)
        if is_same
        else paired_interval(one.correct, base.correct, base.clusters),
        mcnemar_p=mcnemar_p(one.correct, base.correct, base.clusters),
        margin=one.margin,
        valid_rate=one.valid_rate,
        null_p=_p_among(bands.get(band), one, given),
        layer_null_p=_p_among(bands.get(layers), one, given),
        guards=Guards.of(one.picks, base.picks, base.clusters)
        if one.picks and base.picks
        else None,
        model="" if same_weights(one, base) else one.model.fingerprint,
        mended=int(mended.sum()),
        broken=int(broken.sum()),
        n_effective=float("nan") if one is base else size,
        groups=_groups(one, mended, broken),
        standard_error=one.standard_error,
        **said,
    )


def _p_among(band: NullBand | None, one: Evaluation, given: Mapping[str, Any]) -> float:
    """The p-value among random masks, where those chose among as many candidates as the method did."""
    n_tried = given.get("n_candidates", 0)
    if band is None or band.n_cells < n_tried:
        return float("nan")
    return band.p_value(one.accuracy)


def same_weights(one: Evaluation, other: Evaluation) -> bool:
    """Whether two results are of one model."""
    return one.model.fingerprint == other.model.fingerprint


def _groups(one: Evaluation, mended: np.ndarray, broken: np.ndarray) -> tuple[GroupResult, ...]:
    groups = np.array(one.groups)
    parts = [(name, groups == name) for name in sorted(set(one.groups))]
    return tuple(
        GroupResult(
            name,
            int(part.sum()),
            float(one.correct[part].mean()),
            int(mended[part].sum()),
            int(broken[part].sum()),
        )
        for name, part in parts
    )


def contrasts_of(first: Evaluation, others: Sequence[Evaluation]) -> tuple[Contrast, ...]:
    """One evaluation minus each of the others, with Holm's correction over all of them."""
    p_values = [mcnemar_p(first.correct, one.correct, first.clusters) for one in others]
    return tuple(
        Contrast(
            first.label,
            one.label,
            first.accuracy - one.accuracy,
            paired_interval(first.correct, one.correct, first.clusters),
            p,
            corrected,
            len(others),
        )
        for one, p, corrected in zip(others, p_values, holm(p_values), strict=True)
    )
