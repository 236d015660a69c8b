"""Would other pairs have given the same mask? Resampling in numpy, from one extraction.

The bootstrap draws as many pairs as there are, with replacement (Efron, 1979); split halves share no pair. Pairs of one
prompt have the same right text, so they are drawn together. Two masks are compared by their Jaccard index, units in
both / units in either, beside that of masks made after right and wrong were exchanged at random in each prompt: units
that vary much come back although nothing tells right from wrong, so that is more than random masks of that size share.
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
from sadi_lens.types.data import ContrastivePair, Sample, Task, pair_clusters
from sadi_lens.types.masks import Mask, require_k, select_top
from sadi_lens.types.model import HookedModel, ModelInfo, n_units
from sadi_lens.types.paired import direction, mcnemar_p, paired_interval
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
        n_boot: Bootstrap draws, and splits into halves, once as they are and once with right and wrong exchanged.
        seed: Of the draws; the global random state is not touched.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        progress: Show bars.

    Raises:
        ValueError: If there are fewer than 2 clusters of pairs (4 for ``"standardised"``), or ``k``, ``n_boot`` or the
            ranking is out of range.
    """
    drawn = _Drawn(model, task_or_pairs, component, k, ranking, prepend_bos, progress)
    n, generator = drawn.n_clusters, np.random.default_rng(seed)
    counts = generator.multinomial(n, np.full(n, 1 / n), size=n_boot).astype(np.float64)
    halves = np.zeros((2, n_boot, n))
    for draw in range(n_boot):
        order = generator.permutation(n)
        halves[0, draw, order[: n // 2]] = 1
        halves[1, draw, order[n // 2 : 2 * (n // 2)]] = 1
    halves = halves[..., drawn.clusters]
    boot, signs = drawn.select(counts[:, drawn.clusters]), drawn.signs(generator, n_boot)
    one, two = (drawn.select(half) for half in halves)
    noise = [drawn.select(half, signs) for half in halves]
    return Stability(
        mask=drawn.mask,
        ranking=ranking,
        n_pairs=drawn.n,
        bootstrap=_jaccard(boot, drawn.mask.selected[None]),
        split_half=_jaccard(one, two),
        frequency=boot.mean(axis=0),
        chance=drawn.chance,
        seed=seed,
        noise=_jaccard(*noise),
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
        n_draws: Subsets drawn of each size, without replacement, pairs of one cluster one after the other.
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
    return _scored(curve, masks, model, samples, strength, settings, progress)


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
    generator, shape = np.random.default_rng(seed), (len(sizes), n_draws)
    orders = [[generator.permutation(drawn.n_clusters) for _ in range(n_draws)] for _ in sizes]
    signs = drawn.signs(generator, n_draws)
    disjoint, noise, noise_all = (np.full(shape, np.nan) for _ in range(3))
    masks = np.empty((*shape, *drawn.mask.selected.shape), dtype=bool)
    whole = drawn.select(np.ones(signs.shape), signs)
    for row, size in enumerate(sizes):
        some, others, has_others = drawn.subsets(orders[row], size)
        masks[row] = drawn.select(some)
        swapped = drawn.select(some, signs)
        noise_all[row] = _jaccard(swapped, whole)
        if has_others.any():
            others, own = others[has_others], signs[has_others]
            disjoint[row, has_others] = _jaccard(masks[row][has_others], drawn.select(others))
            noise[row, has_others] = _jaccard(swapped[has_others], drawn.select(others, own))
    curve = PairsCurve(
        component=drawn.mask.component,
        model=drawn.info,
        ranking=drawn.ranking,
        k=drawn.k,
        n_pairs=drawn.n,
        sizes=tuple(sizes),
        jaccard_all=_jaccard(masks, drawn.mask.selected),
        jaccard_disjoint=disjoint,
        accuracy=np.full(shape, np.nan),
        margin=np.full(shape, np.nan),
        chance=drawn.chance,
        seed=seed,
        noise_all=noise_all,
        noise_disjoint=noise,
    )
    return curve, masks


def _scored(
    curve: PairsCurve,
    masks: Bool[np.ndarray, "size draw layer unit"],
    model: HookedModel,
    samples: Sequence[Sample],
    strength: float,
    settings: Settings,
    progress: bool,
) -> PairsCurve:
    """The curve with the accuracy and margin of every mask; equal masks run once."""
    shape = masks.shape[:2]
    flat = masks.reshape(-1, *masks.shape[2:])
    unique, which = np.unique(flat, axis=0, return_inverse=True)
    made = [Mask(curve.component, one, model=curve.model) for one in unique]
    base, *found = evaluate_all(
        model,
        samples,
        [None, *(MaskedScaling(one, strength) for one in made)],
        settings,
        progress=progress,
        description="masks of fewer pairs",
    )
    results = [found[int(index)] for index in which.ravel()]
    pair = results[int(np.argmax(curve.sizes)) * shape[1]].correct, base.correct, base.clusters
    return replace(
        curve,
        accuracy=np.array([one.accuracy for one in results]).reshape(shape),
        margin=np.array([one.margin for one in results]).reshape(shape),
        strength=float(strength),
        split=base.split,
        unsteered_accuracy=base.accuracy,
        unsteered_margin=base.margin,
        gains=direction(mcnemar_p(*pair), paired_interval(*pair)) > 0,
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
        self.info, self.n, self.k = ModelInfo.of(model), len(pairs), k
        self.ranking, self.progress = ranking, progress
        shared = pair_clusters(pairs)
        self.clusters = np.arange(len(pairs)) if shared is None else shared
        self.n_clusters = len(set(self.clusters.tolist()))
        if self.n_clusters < 2:
            raise ValueError(f"pairs must be of at least 2 clusters, got {self.n_clusters}")
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

    def select(
        self,
        counts: Float[np.ndarray, "draw pair"],
        signs: Float[np.ndarray, "draw pair"] | None = None,
    ) -> Bool[np.ndarray, "draw layer unit"]:
        """The top k of every draw, a few draws at a time."""
        shape = self.arrays[0].shape
        most = max(1, CHUNK_BYTES // (8 * int(np.prod(shape[1:]))))
        found = np.empty((len(counts), *shape[1:3]), dtype=bool)
        is_quiet = not self.progress or len(counts) <= most
        for start in tqdm(range(0, len(counts), most), desc="draws", disable=is_quiet):
            some = slice(start, start + most)
            own = None if signs is None else signs[some]
            values = rank_pairs(self.ranking, self.arrays, counts[some], own)
            for row, one in enumerate(values):
                found[start + row] = select_top(one, self.k)
        return found

    def signs(self, generator: np.random.Generator, n: int) -> Float[np.ndarray, "draw pair"]:
        """-1 for the pairs in which right and wrong are exchanged, all of a cluster alike."""
        return generator.choice([-1.0, 1.0], size=(n, self.n_clusters))[:, self.clusters]

    def subsets(
        self, orders: Sequence[np.ndarray], size: int
    ) -> tuple[np.ndarray, np.ndarray, Bool[np.ndarray, " draw"]]:
        """``size`` pairs in each order of the clusters, as many behind of other clusters, and whether there are."""
        counts, found = np.zeros((2, len(orders), self.n)), np.zeros(len(orders), dtype=bool)
        for draw, order in enumerate(orders):
            place = np.argsort(order)[self.clusters]
            pairs = np.argsort(place, kind="stable")
            behind = int(np.count_nonzero(place <= place[pairs[size - 1]]))
            counts[0, draw, pairs[:size]] = counts[1, draw, pairs[behind : behind + size]] = 1
            found[draw] = behind + size <= self.n
        return counts[0], counts[1], found


def _jaccard(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Units in both / units in either, over the last two axes."""
    return (one & two).sum(axis=(-2, -1)) / (one | two).sum(axis=(-2, -1))
