"""Would other pairs have given the same mask? Resampling in numpy, from one extraction.

The bootstrap draws as many pairs as there are, with replacement (Efron, 1979); split halves share no pair. Two masks
are compared by their Jaccard index, units in both / units in either, beside what random masks of that size give.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from tqdm.auto import tqdm

from sadi_lens.find.rankings import pair_arrays, pairs_of, rank_pairs
from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, Sample, Task
from sadi_lens.types.masks import Mask, require_k, select_top
from sadi_lens.types.model import HookedModel, ModelInfo, n_units
from sadi_lens.types.results import PairsCurve, Stability
from sadi_lens.types.stats import jaccard_chance

CHUNK_BYTES = 64 * 2**20
"""Bound on the scores of resampled pairs held at once."""


@checked()
def mask_stability(
    model: HookedModel,
    task_or_pairs: Task | Sequence[ContrastivePair],
    component: str,
    k: int,
    *,
    ranking: str = "signed",
    n_boot: int = 200,
    seed: int = 0,
    prepend_bos: bool | None = None,
    progress: bool = True,
) -> Stability:
    """How often the top ``k`` of a ranking comes back when the pairs are drawn again.

    Args:
        model: A bridged model in eval mode.
        task_or_pairs: A task (its pairs are used) or contrastive pairs, at least 2.
        component: Whose units.
        k: Units of the mask.
        ranking: Any of ``sadi_lens.find.rankings.ALL_RANKINGS`` but ``"probe"``, which is fitted on all pairs together.
        n_boot: Bootstrap draws, and splits into halves.
        seed: Of the draws; the global random state is not touched.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        progress: Show bars.

    Raises:
        ValueError: If there are fewer than 2 pairs (4 for ``"standardised"``), or ``k``, ``n_boot`` or the ranking
            is out of range.
    """
    drawn = _Drawn(model, task_or_pairs, component, k, ranking, prepend_bos, progress)
    n, generator = drawn.n, np.random.default_rng(seed)
    counts = generator.multinomial(n, np.full(n, 1 / n), size=n_boot).astype(np.float64)
    halves = np.zeros((2, n_boot, n))
    for draw in range(n_boot):
        order = generator.permutation(n)
        halves[0, draw, order[: n // 2]] = 1
        halves[1, draw, order[n // 2 : 2 * (n // 2)]] = 1
    boot = drawn.select(counts)
    one, two = (drawn.select(half) for half in halves)
    return Stability(
        mask=drawn.mask,
        ranking=ranking,
        n_pairs=n,
        bootstrap=_jaccard(boot, drawn.mask.selected[None]),
        split_half=_jaccard(one, two),
        frequency=boot.mean(axis=0),
        chance=drawn.chance,
        seed=seed,
    )


@checked()
def pairs_needed(
    model: HookedModel,
    task_or_pairs: Task | Sequence[ContrastivePair],
    component: str,
    k: int,
    *,
    sizes: Sequence[int] | None = None,
    samples: Sequence[Sample] | None = None,
    strength: float | None = None,
    ranking: str = "signed",
    n_draws: int = 20,
    seed: int = 0,
    position: str = DEFAULT_POSITION,
    scoring: str = "sum",
    max_new_tokens: int = 16,
    prepend_bos: bool | None = None,
    progress: bool = True,
) -> PairsCurve:
    """Masks made from fewer pairs: how like the mask of all pairs and how like each other, and how good.

    Args:
        model: A bridged model in eval mode.
        task_or_pairs: A task (its pairs are used) or contrastive pairs, at least 2.
        component: Whose units.
        k: Units of every mask.
        sizes: Numbers of pairs; default 1/16, 1/8, 1/4, 1/2 and all of them.
        samples: Items to score SADI with each mask on (the dev split), if any.
        strength: SADI's strength there, the same for every mask.
        ranking: See ``mask_stability``.
        n_draws: Subsets drawn of each size, without replacement.
        seed: Of the draws.
        position: Which tokens are edited, where samples are given.
        scoring: See ``evaluate``.
        max_new_tokens: See ``evaluate``.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        progress: Show bars.

    Raises:
        ValueError: If a size is not in [1, number of pairs], samples come without a strength, or as
            ``mask_stability``.
    """
    if (samples is None) != (strength is None):
        raise ValueError(
            f"samples and strength belong together, got {'no ' if samples is None else ''}samples "
            f"and strength {strength}"
        )
    drawn = _Drawn(model, task_or_pairs, component, k, ranking, prepend_bos, progress)
    sizes = _sizes(sizes, drawn.n)
    curve, masks = _fewer(drawn, sizes, n_draws, seed)
    if samples is None or strength is None:
        return curve
    settings = Settings("", position, scoring, prepend_bos, max_new_tokens)
    return _scored(curve, masks, model, samples, strength, settings, progress=progress)


def _sizes(sizes: Sequence[int] | None, n: int) -> tuple[int, ...]:
    if sizes is None:
        return tuple(sorted({max(2, round(n / part)) for part in (16, 8, 4, 2, 1)}))
    if not sizes or max(sizes) > n:
        raise ValueError(f"sizes must be whole numbers in [1, {n}] pairs, got {list(sizes)}")
    return tuple(sizes)


def _fewer(
    drawn: "_Drawn", sizes: Sequence[int], n_draws: int, seed: int
) -> tuple[PairsCurve, Bool[np.ndarray, "size draw layer unit"]]:
    """Masks of subsets of each size; how like the whole mask, and masks of as many other pairs (NaN: too few left)."""
    n, generator = drawn.n, np.random.default_rng(seed)
    orders = [[generator.permutation(n) for _ in range(n_draws)] for _ in sizes]
    disjoint = np.full((len(sizes), n_draws), np.nan)
    masks = np.empty((*disjoint.shape, *drawn.mask.selected.shape), dtype=bool)
    for row, size in enumerate(sizes):
        masks[row] = drawn.select(_counts([order[:size] for order in orders[row]], n))
        if 2 * size <= n:
            others = drawn.select(_counts([order[size : 2 * size] for order in orders[row]], n))
            disjoint[row] = _jaccard(masks[row], others)
    curve = PairsCurve(
        component=drawn.mask.component,
        model=drawn.info,
        ranking=drawn.ranking,
        k=drawn.k,
        n_pairs=n,
        sizes=tuple(sizes),
        jaccard_all=_jaccard(masks, drawn.mask.selected),
        jaccard_disjoint=disjoint,
        accuracy=np.full(disjoint.shape, np.nan),
        margin=np.full(disjoint.shape, np.nan),
        chance=drawn.chance,
        seed=seed,
    )
    return curve, masks


def _scored(
    curve: PairsCurve,
    masks: Bool[np.ndarray, "size draw layer unit"],
    model: HookedModel,
    samples: Sequence[Sample],
    strength: float,
    settings: Settings,
    *,
    progress: bool,
) -> PairsCurve:
    """The curve with the accuracy and margin of every mask; equal masks run once."""
    shape = masks.shape[:2]
    flat = masks.reshape(shape[0] * shape[1], -1)
    unique, which = np.unique(flat, axis=0, return_inverse=True)
    made = [
        Mask(curve.component, one.reshape(masks.shape[2:]), model=curve.model) for one in unique
    ]
    base, *found = evaluate_all(
        model,
        samples,
        [None, *(MaskedScaling(one, strength) for one in made)],
        settings,
        progress=progress,
        description="masks of fewer pairs",
    )
    results = [found[int(index)] for index in which.ravel()]
    return replace(
        curve,
        accuracy=np.array([one.accuracy for one in results]).reshape(shape),
        margin=np.array([one.margin for one in results]).reshape(shape),
        strength=float(strength),
        split=base.split,
        unsteered_accuracy=base.accuracy,
        unsteered_margin=base.margin,
    )


class _Drawn:
    """The numbers of all pairs, ready to be resampled, and the mask they give together."""

    def __init__(
        self,
        model: HookedModel,
        task_or_pairs: Task | Sequence[ContrastivePair],
        component: str,
        k: int,
        ranking: str,
        prepend_bos: bool | None,
        progress: bool,
    ) -> None:
        pairs, task = pairs_of(task_or_pairs)
        if len(pairs) < 2:
            raise ValueError(f"pairs must hold at least 2 to resample, got {len(pairs)}")
        self.info, self.n, self.k = ModelInfo.of(model), len(pairs), k
        self.ranking, self.progress = ranking, progress
        size = self.info.n_layers * n_units(self.info, component)
        require_k(k, size)
        self.chance = jaccard_chance(size, k)
        self.arrays = pair_arrays(
            model, pairs, component, ranking, prepend_bos=prepend_bos, progress=progress
        )
        self.mask = Mask(
            component,
            self.select(np.ones((1, self.n)))[0],
            rule=f"top {k} by {ranking}",
            model=self.info,
            provenance={"ranking": ranking, "k": int(k), "task": task, "n_pairs": self.n},
        )

    def select(self, counts: Float[np.ndarray, "draw pair"]) -> Bool[np.ndarray, "draw layer unit"]:
        """The top k of every draw, a few draws at a time."""
        shape = self.arrays[0].shape
        most = max(1, CHUNK_BYTES // (8 * int(np.prod(shape[1:]))))
        found = np.empty((len(counts), *shape[1:3]), dtype=bool)
        starts = tqdm(
            range(0, len(counts), most),
            desc="draws",
            disable=not self.progress or len(counts) <= most,
        )
        for start in starts:
            values = rank_pairs(self.ranking, self.arrays, counts[start : start + most])
            for row, one in enumerate(values):
                found[start + row] = select_top(one, self.k)
        return found


def _counts(chosen: Sequence[np.ndarray], n: int) -> np.ndarray:
    counts = np.zeros((len(chosen), n))
    for row, indices in enumerate(chosen):
        counts[row, indices] = 1
    return counts


def _jaccard(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Units in both / units in either, over the last two axes."""
    return (one & two).sum(axis=(-2, -1)) / (one | two).sum(axis=(-2, -1))
