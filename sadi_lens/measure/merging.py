"""The whole from what several processes computed, as one process would have given it.

Shard i of n has the items i, i + n, i + 2n, ... Moments merge by the formula of Chan, Golub and LeVeque (1983).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sadi_lens.measure.calls import chance_of, split_of
from sadi_lens.measure.outcomes import Origin
from sadi_lens.measure.parts import RETURNS, require_parts
from sadi_lens.measure.picks import Answers
from sadi_lens.measure.shards import hash_of_items
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, Sample, clusters_of, items_hash
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.results import Evaluation, NullBand, Shard, Sweep
from sadi_lens.types.stats import clustered_error


@checked()
def merge(shards: Sequence[Shard], items: Sequence[Sample] | Sequence[ContrastivePair]) -> Any:
    """What one process would have given, from all shards of a call, in any order.

    Args:
        shards: Every shard once.
        items: All pairs or samples, as every ``run_shard`` was given them.

    Returns:
        The type of their ``value``: differences, an evaluation or a list of them, a sweep or a null.

    Raises:
        ValueError: If a shard is missing or comes twice (each is named), they are of different calls or items, or what
            one holds does not follow from its items.

    Example:
        >>> parts = [
        ...     sl.measure.run_shard(sl.evaluate, model, task.dev[:10], shard=(i, 3), progress=False)
        ...     for i in range(3)
        ... ]
        >>> whole = sl.evaluate(model, task.dev[:10], progress=False)
        >>> merged = sl.measure.merge(parts, task.dev[:10])
        >>> merged.items == whole.items, merged.correct.tolist() == whole.correct.tolist()
        (True, True)
    """
    if not shards:
        raise ValueError("shards must hold at least 1, got 0")
    first = shards[0]
    for name in ("count", "call", "made_with", "settings", "items"):
        values = list(dict.fromkeys(str(getattr(one, name)) for one in shards))
        if len(values) > 1:
            raise ValueError(f"shards are of different calls: {name} is {' and '.join(values)}")
    if first.items != hash_of_items(items):
        raise ValueError(f"items must be those of the shards; got {len(items)} others")
    require_one_of("call", first.call, RETURNS)
    numbers = [one.index for one in shards]
    twice = sorted({one for one in numbers if numbers.count(one) > 1})
    if twice:
        raise ValueError(f"shards must come once: {_named(twice, first.count)} twice")
    missing = sorted({*range(first.count)} - {*numbers})
    if missing:
        raise ValueError(f"shards are missing: {_named(missing, first.count)}; run them first")
    ordered = sorted(shards, key=lambda one: one.index)
    require_parts(ordered, items)
    return _merged([one.value for one in ordered], _Parts(items, [one.n for one in ordered]))


def _named(numbers: Sequence[int], count: int) -> str:
    return ", ".join(f"{one}/{count}" for one in numbers)


@dataclass(frozen=True)
class _Parts:
    """How the items lie in the shards."""

    items: Any
    sizes: Sequence[int]

    def interleave(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Items (the first axis) in the order of the whole; other axes are filled with NaN to the longest."""
        wide = np.max([one.shape[1:] for one in arrays], axis=0).astype(int)
        dtype = arrays[0].dtype
        whole = np.full((len(self.items), *wide), np.nan if dtype.kind == "f" else 0).astype(dtype)
        for index, one in enumerate(arrays):
            inner = tuple(slice(0, size) for size in one.shape[1:])
            whole[(slice(index, None, len(arrays)), *inner)] = one
        return whole

    def mean(self, values: Sequence[Any]) -> Any:
        """Mean over all items from the means of the shards."""
        weighted = [np.asarray(v) * n for v, n in zip(values, self.sizes, strict=True)]
        return np.sum(weighted, axis=0) / len(self.items)

    def share(self, values: Sequence[Any]) -> Any:
        """The same of shares of items, which are counts: exact, so that ties stay ties."""
        counts = [np.rint(np.asarray(v) * n) for v, n in zip(values, self.sizes, strict=True)]
        for at, (value, n) in enumerate(zip(values, self.sizes, strict=True)):
            if not np.allclose(np.asarray(value) * n, counts[at], atol=1e-6):
                raise ValueError(
                    f"shard {at}/{len(counts)} holds shares that are none of its {n} items; run it again"
                )
        return np.sum(counts, axis=0) / len(self.items)


def _merged(values: Sequence[Any], parts: _Parts) -> Any:
    """One value from those of all shards, by its type."""
    first = values[0]
    if isinstance(first, Mapping):
        return {key: _merged([one[key] for one in values], parts) for key in first}
    if isinstance(first, list):
        return [_merged(several, parts) for several in zip(*values, strict=True)]
    if isinstance(first, ActivationDifferences):
        return _differences(values)
    if isinstance(first, Evaluation):
        return _evaluation(values, parts)
    if isinstance(first, Sweep):
        return _sweep(values, parts)
    assert isinstance(first, NullBand)
    return replace(
        first,
        accuracies=parts.share([one.accuracies for one in values]),
        margins=parts.mean([one.margins for one in values]),
    )


def _evaluation(values: Sequence[Evaluation], parts: _Parts) -> Evaluation:
    first, samples = values[0], parts.items
    correct, margins, valid, scores = (
        parts.interleave([getattr(one, name) for one in values])
        for name in ("correct", "margins", "valid", "choice_scores")
    )
    texts: list[str] = []
    if first.texts:
        texts = parts.interleave([np.array(one.texts, dtype=object) for one in values]).tolist()
    answers, picks = Answers.of(samples), None
    if answers is not None:
        by_texts = bool(texts)
        picks = (
            answers.by_texts(texts, samples, correct)
            if by_texts
            else answers.by_scores(scores, correct)
        )
    about = (first.model, first.task, split_of(samples), first.position, first.scoring)
    origin = Origin(*about, form=first.form)
    return origin.of(samples).result(
        first.label,
        items_hash(samples),
        correct=correct,
        margins=margins,
        valid=valid,
        scores=scores,
        picks=picks,
        texts=texts,
    )


def _sweep(values: Sequence[Sweep], parts: _Parts) -> Sweep:
    def whole(name: str, how: Any) -> Any:
        found = how([getattr(one, name) for one in values])
        return found if found.ndim else float(found)

    correct = np.moveaxis(
        parts.interleave([np.moveaxis(one.correct, 2, 0) for one in values]), 0, 2
    )
    unsteered = parts.interleave([one.unsteered_correct for one in values])
    answers = Answers.of(parts.items)
    balanced: dict[str, Any] = {
        "balanced_accuracy": None,
        "unsteered_balanced_accuracy": float("nan"),
    }
    if answers is not None:
        strata = [np.flatnonzero(answers.right == one) for one in np.unique(answers.right)]
        balanced["balanced_accuracy"] = np.mean(
            [correct[..., rows].mean(axis=-1) for rows in strata], axis=0
        )
        balanced["unsteered_balanced_accuracy"] = float(
            np.mean([unsteered[rows].mean() for rows in strata])
        )
    clusters = clusters_of(parts.items)
    errors = None
    if clusters is not None:
        errors = np.apply_along_axis(clustered_error, 2, correct, clusters)
    shares = ("accuracy", "valid_rate", "unsteered_accuracy", "unsteered_valid_rate")
    return replace(
        values[0],
        split=split_of(parts.items),
        n=len(parts.items),
        correct=correct,
        unsteered_correct=unsteered,
        chance=chance_of(parts.items),
        clusters=clusters,
        standard_errors=errors,
        **{name: whole(name, parts.share) for name in shares},
        **{name: whole(name, parts.mean) for name in ("margin", "unsteered_margin")},
        **balanced,
    )


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
