"""The random-mask null: what is left when only the choice of units is taken away."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.measure.sweeps import STRENGTHS, best_of
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Sample
from sadi_lens.types.masks import Mask, random_mask
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import Evaluation, NullBand


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
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
    position: str = DEFAULT_POSITION,
    scoring: str = "sum",
    task: str = "",
    max_new_tokens: int = 16,
    prepend_bos: bool | None = None,
    progress: bool = True,
) -> NullBand:
    """Accuracies of ``n`` random masks with the K (and, if asked, the per-layer counts) of ``mask``.

    What is left when only the choice of units is taken away. At the strength that was tuned for ``mask`` the null is
    conditional on that cell, and its p-values are too small: random masks never chose. With ``tune_on`` each mask
    chooses its own strength there, as the method did, at ``len(strengths)`` times the cost on that split.

    Args:
        model: A bridged model in eval mode.
        samples: The items that the method was scored on.
        mask: The mask to match.
        strength: The strength that was chosen for it; used by every random mask unless ``tune_on`` is given.
        n: Masks to draw.
        per_layer: Match the count of every layer too.
        tune_on: Samples on which each random mask chooses among ``strengths`` (the dev split).
        strengths: The grid for ``tune_on``.
        seed: Seed of the draws.
        position: Which tokens are edited.
        scoring: See ``evaluate``.
        task: Name for the result.
        max_new_tokens: See ``evaluate``.
        prepend_bos: See ``evaluate``.
        progress: Show a bar.

    Raises:
        ValueError: If ``n`` is below 1; otherwise as ``evaluate``.
    """
    if tune_on is not None and not tune_on:
        raise ValueError(
            "tune_on must hold at least 1 sample, got 0; leave it out for one strength"
        )
    seeds = np.random.SeedSequence(seed).generate_state(n)
    masks = [random_mask(mask, seed=int(one), per_layer=per_layer) for one in seeds]
    settings = Settings(task, position, scoring, prepend_bos, max_new_tokens)
    run = partial(_scaled, model, settings=settings, progress=progress)
    chosen = [float(strength)] * n
    if tune_on is not None:
        chosen = _tuned(run, masks, tune_on, strengths)
    found = run(samples, list(zip(masks, chosen, strict=True)))
    return _band(found, mask, strength, per_layer=per_layer, tuned=tune_on is not None)


def _band(
    found: Sequence[Evaluation], mask: Mask, strength: float, *, per_layer: bool, tuned: bool
) -> NullBand:
    own = "each at its own strength" if tuned else f"strength {strength:g}"
    return NullBand(
        f"random {mask.component} masks, K {mask.k}{' per layer' if per_layer else ''}, {own}",
        mask.k,
        float(strength),
        per_layer,
        # float64, as the accuracies they are compared with: a tie must stay a tie.
        np.array([one.accuracy for one in found], dtype=np.float64),
        np.array([one.margin for one in found]),
        tuned,
    )


Run = Callable[[Sequence[Sample], Sequence[tuple[Mask, float]]], list[Evaluation]]
"""(samples, masks with strengths) -> the result of scaling each."""


def _tuned(
    run: Run, masks: Sequence[Mask], dev: Sequence[Sample], strengths: Sequence[float]
) -> list[float]:
    """The strength that each mask does best with on dev."""
    found = run(dev, [(one, float(s)) for one in masks for s in strengths])
    rows = [found[at : at + len(strengths)] for at in range(0, len(found), len(strengths))]
    return [float(strengths[best_of(row)]) for row in rows]


def _scaled(
    model: HookedModel,
    samples: Sequence[Sample],
    cells: Sequence[tuple[Mask, float]],
    settings: Settings,
    *,
    progress: bool,
) -> list[Evaluation]:
    scaled = [MaskedScaling(*cell) for cell in cells]
    return evaluate_all(
        model, samples, scaled, settings, progress=progress, description="random masks"
    )
