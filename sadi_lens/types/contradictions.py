"""What one part of a result says about another: counts, per-item data and the means that are made from them."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from sadi_lens.types.checks import MOST

KINDS = ("unsteered", "adaptive", "fixed", "random", "other")
"""What a row of a comparison is, the first of them no method; colours follow it."""
CLOSE = 1e-6
"""Means of the same items may differ by rounding, never by an item: there are at most a million."""


def contradictions(thing: Any) -> Iterator[str]:
    """Every contradiction between the parts of a result, in words; what is unknown (NaN, None) contradicts nothing."""
    for one in type(thing).__mro__:
        if one.__name__ in _RULES:
            yield from _RULES[one.__name__](thing)


def _evaluation(thing: Any) -> Iterator[str]:
    n = thing.correct.size
    if not n:
        yield "correct must hold at least 1 item, got 0"
    yield from _one_each(thing, ("texts", "groups"), n, "item")
    yield from _clusters(thing.clusters)
    if thing.picks is not None and not np.array_equal(thing.picks.correct, thing.correct):
        yield "picks must be of the same items as correct: the answers given are right on others"


def _picks(thing: Any) -> Iterator[str]:
    if not thing.right.size:
        yield "right must hold at least 1 item, got 0"
    for name, least in (("right", 0), ("chosen", -1)):
        values = getattr(thing, name)
        if values.size and not (least <= values.min() and values.max() < len(thing.names)):
            yield (
                f"{name} must be in [{least}, {len(thing.names) - 1}], places in names, got "
                f"[{values.min()}, {values.max()}]"
            )
    if thing.evidence.shape[1:] != (len(thing.names),):
        yield f"evidence must be [item answer] of {len(thing.names)} answers, got {list(thing.evidence.shape)}"


def _guards(thing: Any) -> Iterator[str]:
    if not thing.shares:
        yield "shares must hold at least 1 answer, got 0"


def _kind(thing: Any) -> Iterator[str]:
    if thing.kind not in KINDS:
        yield f"kind must be one of {sorted(KINDS)}, got {thing.kind!r}"


def _null_band(thing: Any) -> Iterator[str]:
    if not thing.accuracies.size:
        yield "accuracies must hold at least 1 draw, got 0"


def _sweep(thing: Any) -> Iterator[str]:
    yield from _clusters(thing.clusters)
    for axis in ("ks", "strengths"):
        values = getattr(thing, axis)
        if not values or len(set(values)) < len(values):
            yield f"{axis} must differ and be at least 1, got {list(values)}"
    cells = (("correct", "accuracy"), ("unsteered_correct", "unsteered_accuracy"))
    for items, share in cells:
        values, held = getattr(thing, items), getattr(thing, share)
        if values is not None and np.asarray(values).dtype != np.bool_:
            yield f"{items} must be a bool array, got {np.asarray(values).dtype}"
        elif values is not None:
            mean = np.mean(values, axis=-1)
            yield from _same(share, held, mean, f"the mean of {items}")


def _differences(thing: Any) -> Iterator[str]:
    for name in ("std", "prompt_rms"):
        if (getattr(thing, name) < 0).any():
            yield f"{name} must not be negative, got {getattr(thing, name).min():g}"


def _method_row(thing: Any) -> Iterator[str]:
    yield from _kind(thing)
    yield from _outside("accuracy", thing.accuracy, thing.interval.low, thing.interval.high, 0)
    yield from _outside("gain", thing.gain, thing.gain_interval.low, thing.gain_interval.high, -1)
    for name in ("null_p", "layer_null_p"):
        if getattr(thing, name) <= 0:
            yield f"{name} must be above 0: the method itself counts as a draw, got {getattr(thing, name)}"
    for one in thing.groups:
        if one.mended + one.broken > one.n:
            yield f"mended and broken of group {one.name!r} must be at most its n, {one.n}"
    if thing.groups:
        for name in ("mended", "broken"):
            summed = sum(getattr(one, name) for one in thing.groups)
            if summed != getattr(thing, name):
                yield f"{name} must be the sum over groups, {summed}, got {getattr(thing, name)}"


def _outside(what: str, value: Any, low: Any, high: Any, least: int) -> Iterator[str]:
    """An interval of a share (or, from -1, of a difference of two) that is out of range, or not round its value."""
    value, low, high = (np.ravel(np.asarray(one, dtype=float)) for one in (value, low, high))
    is_out = (
        (low < least - CLOSE) | (high > 1 + CLOSE) | (low > value + CLOSE) | (high < value - CLOSE)
    )
    for at in np.flatnonzero(is_out)[:1]:  # NaN is not out
        yield (
            f"the interval of its {what} must lie in [{least:g}, 1] round {value[at]:.6g}, got "
            f"[{low[at]:.6g}, {high[at]:.6g}]"
        )


def _side_effect_curve(thing: Any) -> Iterator[str]:
    yield from _kind(thing)
    yield from _outside("accuracy", thing.accuracy, thing.low, thing.high, 0)


def _comparison(thing: Any) -> Iterator[str]:
    if not thing.rows:
        yield "rows must hold at least one row, the unsteered model, got 0"
        return
    base = thing.rows[0]
    for row in thing.rows:
        of = f"of row {row.label!r}"
        if row.mended + row.broken > thing.n:
            yield f"mended and broken {of} must be at most n, {thing.n}"
        if row.mended or row.broken:
            net = (row.mended - row.broken) / thing.n
            yield from _same(f"gain {of}", row.gain, net, "(mended - broken) / n")
            gain = row.accuracy - base.accuracy
            yield from _same(
                f"gain {of}", row.gain, gain, f"its accuracy minus that of {base.label!r}"
            )
        if row.groups and sum(one.n for one in row.groups) != thing.n:
            yield f"groups {of} must hold all n = {thing.n} items, got {sum(one.n for one in row.groups)}"
    labels = {row.label: row.accuracy for row in thing.rows}
    for one in thing.contrasts:
        if {one.first, one.second} <= labels.keys():
            gap = labels[one.first] - labels[one.second]
            of = f"difference of the contrast {one.first!r} - {one.second!r}"
            yield from _same(of, one.difference, gap, "that of the accuracies of its rows")


def _side_effects(thing: Any) -> Iterator[str]:
    for name in ("perplexity_ratio", "compression"):
        if getattr(thing, name) < 0:
            yield f"{name} must not be negative, got {getattr(thing, name):g}"
    if thing.kl < -CLOSE:
        yield f"kl must not be negative, got {thing.kl:g}"


def _shard(thing: Any) -> Iterator[str]:
    if not 0 <= thing.index < thing.count:
        yield f"index must be in [0, count), got {thing.index} of {thing.count}"
    if thing.count > MOST:
        yield f"count must be at most {MOST}, got {thing.count}"


def _one_each(thing: Any, names: Sequence[str], n: int, what: str) -> Iterator[str]:
    for name in names:
        given = len(getattr(thing, name))
        if given not in (0, n):
            yield f"{name} must be empty or one an {what}: {n}, got {given}"


def _clusters(values: Any) -> Iterator[str]:
    if values is None:
        return
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        yield f"clusters must be whole numbers, got {array.dtype}"
    elif array.size and not 0 <= array.min() <= array.max() <= MOST:
        yield f"clusters must be in [0, {MOST}], got [{array.min()}, {array.max()}]"


def _same(name: str, held: Any, mean: Any, what: str) -> Iterator[str]:
    held, mean = np.ravel(np.asarray(held, dtype=float)), np.ravel(mean)
    off = np.flatnonzero(np.abs(held - mean) > CLOSE)  # NaN is not off
    if off.size:
        yield f"{name} must be {what}, {mean[off[0]]:.6g}, got {held[off[0]]:.6g}"


def _interval(thing: Any) -> Iterator[str]:
    if not math.isnan(thing.low) and thing.low > thing.high + CLOSE:
        yield f"low must not be above high, got {thing.low:g} and {thing.high:g}"


def _shifts(thing: Any) -> Iterator[str]:
    if len(thing.kinds) != len(thing.methods):
        yield f"kinds must name one kind a method: {len(thing.methods)}, got {len(thing.kinds)}"
    yield from _one_each(thing, ("prompts", "groups", "confounds"), len(thing.before), "item")


_RULES: dict[str, Callable[[Any], Iterator[str]]] = {
    "ActivationDifferences": _differences,
    "ActivationShifts": _shifts,
    "Comparison": _comparison,
    "Evaluation": _evaluation,
    "GenerationTrace": _kind,
    "Guards": _guards,
    "Interval": _interval,
    "MethodRow": _method_row,
    "NullBand": _null_band,
    "Picks": _picks,
    "Shard": _shard,
    "SideEffectCurve": _side_effect_curve,
    "SideEffects": _side_effects,
    "Sweep": _sweep,
    "UnitDifferences": lambda thing: _clusters(thing.clusters),
    "UnitEffects": lambda thing: _clusters(thing.clusters),
}
