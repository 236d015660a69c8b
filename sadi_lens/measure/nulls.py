"""The random-mask null: what is left when only the choice of units is taken away."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np

from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.candidates import behind
from sadi_lens.measure.choosing import Chosen
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.measure.methods import Material
from sadi_lens.measure.sweeps import STRENGTHS, best_of
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Sample, Task
from sadi_lens.types.masks import Mask, random_mask
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import Evaluation, NullBand
from sadi_lens.types.stats import ALPHA, MIN_NULL

Cells = Sequence[tuple[Mask, float]]
"""Masks with strengths: the grid that a method chose from."""


@checked()
def null_band(
    model: HookedModel,
    samples: Sequence[Sample],
    mask: Mask,
    strength: float,
    *,
    n: int = 200,
    per_layer: bool = False,
    tune_on: Sequence[Sample] | None = None,
    cells: Cells | None = None,
    seed: int = 0,
    position: str = DEFAULT_POSITION,
    scoring: str = "sum",
    task: str = "",
    max_new_tokens: int = 16,
    prepend_bos: bool | None = None,
    progress: bool = True,
) -> NullBand:
    """Accuracies of ``n`` random masks with the K (and, if asked, the per-layer counts) of ``mask``.

    What is left when only the choice of units is taken away. At a cell that was chosen for ``mask`` on dev the p-values
    are too small (below 5% in 11% of cases): random masks never chose. With ``tune_on`` each random mask goes
    through the same cells there as the method did, and the unsteered model, and is scored at the one it does best
    with. A random mask is then a random order of the units (within each layer, for ``per_layer``), of which each K
    takes the first.

    The items are the same for all masks, so their clusters play no part in the p-value.

    Args:
        model: A bridged model in eval mode.
        samples: The items that the method was scored on.
        mask: The mask to match.
        strength: The strength that was chosen for it; used by every random mask unless ``tune_on`` is given.
        n: Masks to draw.
        per_layer: Match the count of every layer too.
        tune_on: Samples on which each random mask chooses among ``cells`` (the dev split): ``n * len(cells)``
            evaluations of that split.
        cells: The grid that the method chose from, for ``tune_on``; default ``mask`` at each of ``STRENGTHS``, which
            is still conditional on its K.
        seed: Seed of the draws.
        position: Which tokens are edited.
        scoring: See ``evaluate``.
        task: Name for the result.
        max_new_tokens: See ``evaluate``.
        prepend_bos: See ``evaluate``.
        progress: Show a bar.

    Raises:
        ValueError: If ``n`` is below 1, or cells are given that nobody chooses from; otherwise as ``evaluate``.
    """
    if tune_on is not None and not tune_on:
        raise ValueError(
            "tune_on must hold at least 1 sample, got 0; leave it out for one strength"
        )
    if cells is not None and (tune_on is None or not cells):
        raise ValueError("cells are what each mask chooses from on tune_on; give both, or neither")
    cells = cells or [(mask, float(one)) for one in STRENGTHS]
    settings = Settings(task, position, scoring, prepend_bos, max_new_tokens)
    run = partial(_scaled, model, settings=settings, progress=progress)
    seeds = [int(one) for one in np.random.SeedSequence(seed).generate_state(n)]
    if tune_on is None:
        own = (random_mask(mask, seed=one, per_layer=per_layer) for one in seeds)
        chosen = [(one, float(strength)) for one in own]
    else:
        grids = [random_cells(cells, seed=one, per_layer=per_layer) for one in seeds]
        still = (mask, 0.0)  # what a method takes whose cells do no better than the unsteered model
        base, *tried = run(tune_on, [still, *chain(*grids)])
        parts = [tried[at : at + len(cells)] for at in range(0, len(tried), len(cells))]
        places = [best_of(part, base) for part in parts]
        chosen = [
            still if place < 0 else grid[place] for grid, place in zip(grids, places, strict=True)
        ]
    found = run(samples, chosen)
    n_cells = 0 if tune_on is None else len(cells)
    return _band(found, mask, strength, per_layer=per_layer, cells=cells[:n_cells])


def random_cells(cells: Cells, *, seed: int, per_layer: bool = False) -> list[tuple[Mask, float]]:
    """The same grid with the units in a random order: each mask takes the first K of it.

    Args:
        cells: Masks with strengths.
        seed: Seed of the order.
        per_layer: Shuffle within layers, and take as many of each layer as the cell's mask has there.
    """
    masks = {one.k: one for one, _ in cells}
    drawn: dict[int, Mask] = {}
    if len(masks) == 1:
        drawn = {k: random_mask(one, seed=seed, per_layer=per_layer) for k, one in masks.items()}
        return [(drawn[one.k], strength) for one, strength in cells]
    generator = np.random.default_rng(seed)
    shape = next(iter(masks.values())).selected.shape
    rank = generator.permutation(shape[0] * shape[1]).reshape(shape)
    if per_layer:
        rank = rank.argsort(axis=1).argsort(axis=1)
    for k, one in masks.items():
        limit = np.array(one.per_layer)[:, None] if per_layer else k
        drawn[k] = Mask(
            one.component,
            rank < limit,
            rule=f"random order, k = {k}" + (", per-layer counts matched" if per_layer else ""),
            model=one.model,
            provenance={"seed": seed, "k": k, "per_layer": per_layer},
        )
    return [(drawn[one.k], strength) for one, strength in cells]


@dataclass(frozen=True)
class Nulls:
    """Which choices are placed among random masks of their size.

    Raises:
        ValueError: If ``n`` cannot reach ``ALPHA``.
    """

    n: int
    """Random masks; 0 for none."""
    tuned: bool
    """Whether each goes through the method's own cells on dev and chooses as it did."""
    of: Sequence[str]
    """Names of methods that scale a mask; one that was not chosen, or does something else, has none."""
    per_layer_of: Sequence[str] = ()
    """Those of them that have a second null, of masks with as many units in each layer."""

    def __post_init__(self) -> None:
        if self.n and self.n < MIN_NULL:
            raise ValueError(
                f"n_null must be 0 or at least {MIN_NULL}, got {self.n}: fewer cannot reach p < {ALPHA}"
            )

    @property
    def weakness(self) -> list[str]:
        """In words, why no place can be told from random masks, where that is so: Holm's correction needs more."""
        places = len(self.of) + len(self.per_layer_of)
        if not self.n or not self.tuned or places / (1 + self.n) < ALPHA:
            return []
        return [
            f"{self.n} random masks cannot tell {places} places from them after Holm's correction: it takes "
            f"{math.ceil(places / ALPHA)}"
        ]

    def cost(self, task: Task, budget: int | None) -> list[str]:
        """What the nulls will take, in words, before they run; nothing where there are none."""
        if not self.n:
            return []
        if not self.tuned:
            return [
                f"{self.n} random masks run at the method's own cell: they did not choose, so there is no p-value"
            ]
        cells = "all cells of the method's grid" if budget is None else f"up to {budget} cells"
        most = (
            ""
            if budget is None
            else f", up to {self.n * budget * len(task.dev):,} evaluations a null"
        )
        words = f"{self.n} random masks go through {cells} on {len(task.dev)} dev items{most}"
        return [words, *self.weakness]


def bands_of(
    material: Material,
    run: Sequence[Chosen],
    task: Task,
    nulls: Nulls,
    settings: Settings,
    *,
    progress: bool,
) -> tuple[dict[str, NullBand], dict[str, NullBand]]:
    """Name -> null of each method that has one, and the same with the units of each layer matched.

    Methods share a null where it would be the same: equal grids if masks choose, equal cells if they do not.
    """
    found: tuple[dict[str, NullBand], dict[str, NullBand]] = {}, {}
    shared: dict[tuple[object, ...], NullBand] = {}
    for one in run if nulls.n else ():
        sadi = one.intervention
        if one.name not in nulls.of or not isinstance(sadi, MaskedScaling):
            continue
        grid = [
            (c.intervention.mask, c.strength)
            for c in one.candidates
            if isinstance(c.intervention, MaskedScaling)
        ]
        cells = grid if nulls.tuned and grid else None
        for per_layer in (False, True) if one.name in nulls.per_layer_of else (False,):
            same = [(mask.k, strength) for mask, strength in cells or [(sadi.mask, sadi.strength)]]
            owner, own = one.name if per_layer else "", one.candidate
            key = (owner, sadi.component, one.position, own.before, own.build, *same)
            if key not in shared:
                band = null_band(
                    own.on(material.model),
                    behind(own.before, task.test),
                    sadi.mask,
                    sadi.strength,
                    n=nulls.n,
                    per_layer=per_layer,
                    tune_on=None if cells is None else behind(own.before, task.dev),
                    cells=cells,
                    seed=material.seed,
                    position=one.position,
                    scoring=settings.scoring,
                    task=settings.task,
                    max_new_tokens=settings.max_new_tokens,
                    progress=progress,
                )
                words = f", as {owner} has" if owner else ""
                if own.before or own.build:
                    words += f"; {own.words or 'another prompt or model'}"
                shared[key] = replace(band, label=band.label + words)
            found[per_layer][one.name] = shared[key]
    return found


def _band(
    found: Sequence[Evaluation], mask: Mask, strength: float, *, per_layer: bool, cells: Cells
) -> NullBand:
    ks = sorted({one.k for one, _ in cells})
    own = f"strength {strength:g} (conditional on this cell)"
    size = f"K {mask.k}"
    if len(ks) > 1:
        size, own = (
            f"K {ks[0]} to {ks[-1]}",
            f"each with K and strength of its own from {len(cells)}",
        )
    elif len(cells) == 1:
        own = f"strength {strength:g} where it does better than nothing on dev"
    elif cells:
        own = f"each at its own of {len(cells)} strengths (conditional on this K)"
    return NullBand(
        f"random {mask.component} masks, {size}{' per layer' if per_layer else ''}, {own}",
        mask.k,
        float(strength),
        per_layer,
        # float64, as the accuracies they are compared with: a tie must stay a tie.
        np.array([one.accuracy for one in found], dtype=np.float64),
        np.array([one.margin for one in found]),
        len(cells),
    )


def _scaled(
    model: HookedModel,
    samples: Sequence[Sample],
    cells: Cells,
    settings: Settings,
    *,
    progress: bool,
) -> list[Evaluation]:
    scaled = [MaskedScaling(*cell) for cell in cells]
    return evaluate_all(
        model, samples, scaled, settings, progress=progress, description="random masks"
    )
