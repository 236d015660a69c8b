"""The whole from what several processes computed, as one process would have given it.

Shard i of n has the items i, i + n, i + 2n, ... Moments merge by the formula of Chan, Golub and LeVeque (1983).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import numpy as np

from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.results import Evaluation, NullBand, Shard, Sweep
from sadi_lens.types.stats import proportion_interval


def merge(shards: Sequence[Shard]) -> Any:
    """What one process would have given, from all shards of a call, in any order.

    Args:
        shards: Every shard once.

    Returns:
        The type of their ``value``: differences, an evaluation or a list of them, a sweep or a null.

    Raises:
        ValueError: If a shard is missing or comes twice (each is named), or they are of different calls.

    Example:
        >>> parts = [
        ...     sl.measure.run_shard(sl.evaluate, model, task.dev[:10], shard=(i, 3), progress=False)
        ...     for i in range(3)
        ... ]
        >>> whole = sl.evaluate(model, task.dev[:10], progress=False)
        >>> merged = sl.measure.merge(parts)
        >>> merged.items == whole.items, merged.correct.tolist() == whole.correct.tolist()
        (True, True)
    """
    if not shards:
        raise ValueError("shards must hold at least 1, got 0")
    first = shards[0]
    for name in ("count", "call", "settings", "items"):
        values = list(dict.fromkeys(str(getattr(one, name)) for one in shards))
        if len(values) > 1:
            raise ValueError(f"shards are of different calls: {name} is {' and '.join(values)}")
    numbers = [one.index for one in shards]
    twice = sorted({one for one in numbers if numbers.count(one) > 1})
    if twice:
        raise ValueError(f"shards must come once: {_named(twice, first.count)} twice")
    missing = sorted({*range(first.count)} - {*numbers})
    if missing:
        raise ValueError(f"shards are missing: {_named(missing, first.count)}; run them first")
    ordered = sorted(shards, key=lambda one: one.index)
    return _merged([one.value for one in ordered], _Parts([one.n for one in ordered], first.items))


def _named(numbers: Sequence[int], count: int) -> str:
    return ", ".join(f"{one}/{count}" for one in numbers)


@dataclass(frozen=True)
class _Parts:
    """How the items lie in the shards."""

    sizes: Sequence[int]
    items: str

    def interleave(self, arrays: Sequence[np.ndarray], axis: int) -> np.ndarray:
        """Items in the order of the whole; other axes are filled with NaN to the longest."""
        rows = [np.moveaxis(one, axis, 0) for one in arrays]
        wide = tuple(np.max([one.shape[1:] for one in rows], axis=0))
        whole = np.full((sum(self.sizes), *wide), np.nan if rows[0].dtype.kind == "f" else 0)
        whole = whole.astype(rows[0].dtype)
        for index, one in enumerate(rows):
            inner = tuple(slice(0, size) for size in one.shape[1:])
            whole[(slice(index, None, len(rows)), *inner)] = one
        return np.moveaxis(whole, 0, axis)

    def mean(self, values: Sequence[Any]) -> Any:
        """Mean over all items from the means of the shards."""
        total = sum(np.asarray(v) * n for v, n in zip(values, self.sizes, strict=True))
        return self._like(values[0], total / sum(self.sizes))

    def share(self, values: Sequence[Any]) -> Any:
        """The same of shares of items, which are counts: exact, so that ties stay ties."""
        counts = sum(np.rint(np.asarray(v) * n) for v, n in zip(values, self.sizes, strict=True))
        return self._like(values[0], counts / sum(self.sizes))

    @staticmethod
    def _like(value: Any, found: Any) -> Any:
        return found if isinstance(value, np.ndarray) else float(found)


def _merged(values: Sequence[Any], parts: _Parts) -> Any:
    """One value from those of all shards, by its type."""
    first = values[0]
    if isinstance(first, Mapping):
        return {key: _merged([one[key] for one in values], parts) for key in first}
    if isinstance(first, list | tuple):
        return [_merged(several, parts) for several in zip(*values, strict=True)]
    if isinstance(first, ActivationDifferences):
        return _differences(values)
    return _by_fields(values, RULES[type(first)], parts)


Rule = Callable[[_Parts, Sequence[Any]], Any]


def _split(_: _Parts, values: Sequence[str]) -> str:
    return values[0] if len({*values}) == 1 else "mixed"


def _texts(parts: _Parts, values: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    if not any(values):
        return ()
    return tuple(parts.interleave([np.array(one, dtype=object) for one in values], 0).tolist())


def _total(_: _Parts, values: Sequence[int]) -> int:
    return sum(values)


def _items(axis: int) -> Rule:
    def rule(parts: _Parts, values: Sequence[Any]) -> Any:
        return None if values[0] is None else parts.interleave(values, axis)

    return rule


RULES: dict[type, dict[str, Rule]] = {
    Evaluation: {
        "split": _split,
        "texts": _texts,
        "skipped": _total,
        "items": lambda parts, _: parts.items,
        "interval": lambda _, values: values[0],  # made anew
    },
    Sweep: {
        "split": _split,
        "n": _total,
        "skipped": _total,
        "correct": _items(2),
        "unsteered_correct": _items(0),
        **dict.fromkeys(
            ("accuracy", "valid_rate", "unsteered_accuracy", "unsteered_valid_rate"), _Parts.share
        ),
        **dict.fromkeys(("margin", "unsteered_margin", "chance"), _Parts.mean),
    },
    NullBand: {"accuracies": _Parts.share, "margins": _Parts.mean},
}
"""Fields that are not the same in all shards; those with an axis ``item`` are put in order without a rule."""


def _by_fields(values: Sequence[Any], rules: Mapping[str, Rule], parts: _Parts) -> Any:
    found: dict[str, Any] = {}
    for field in fields(values[0]):
        own = [getattr(one, field.name) for one in values]
        if field.name in rules:
            found[field.name] = rules[field.name](parts, own)
        elif (axis := _item_axis(field.type)) is not None:
            found[field.name] = None if own[0] is None else parts.interleave(own, axis)
        elif any(one != own[0] for one in own):
            raise ValueError(f"shards are of different calls: {field.name} differs")
        else:
            found[field.name] = own[0]
    if "interval" in found:
        found["interval"] = proportion_interval(found["correct"])
    return replace(values[0], **found)


def _item_axis(hint: Any) -> int | None:
    for one in (hint, *get_args(hint)):
        dims = one.dim_str.split() if hasattr(one, "dim_str") else []
        if "item" in dims:
            return dims.index("item")
    return None


def _differences(values: Sequence[ActivationDifferences]) -> ActivationDifferences:
    """Moments of all pairs, in float64."""
    sizes = np.array([one.n for one in values], dtype=float)

    def mean(name: str, power: int = 1) -> np.ndarray:
        rows = np.stack([getattr(one, name).astype(np.float64) ** power for one in values])
        return np.tensordot(sizes / sizes.sum(), rows, axes=1)

    whole, n = mean("mean"), int(sizes.sum())
    squared = np.zeros_like(whole)
    for one in values:
        if one.n > 1:
            squared += one.std.astype(np.float64) ** 2 * (one.n - 1)
        squared += (one.mean.astype(np.float64) - whole) ** 2 * one.n
    std = np.sqrt(squared / (n - 1)) if n > 1 else np.full_like(whole, np.nan)
    return replace(
        values[0],
        n=n,
        mean=whole.astype(np.float32),
        std=std.astype(np.float32),
        vector=mean("vector").astype(np.float32),
        prompt_mean=mean("prompt_mean").astype(np.float32),
        prompt_rms=np.sqrt(mean("prompt_rms", 2)).astype(np.float32),
        merged_boundaries=sum(one.merged_boundaries for one in values),
        skipped=sum(one.skipped for one in values),
    )
