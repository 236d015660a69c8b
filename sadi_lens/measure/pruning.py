"""Inside a mask: what each unit adds to the effect, and which can go."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sadi_lens.engine.intervention import require_strength
from sadi_lens.find.gradients import margin_gradients
from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.evaluation import evaluate_all, split_of
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Sample
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import Evaluation, Pruned, PruneStep, UnitEffects


@checked()
def unit_effects(
    model: HookedModel,
    samples: Sequence[Sample],
    mask: Mask,
    strength: float,
    *,
    at: float = 0.0,
    position: str = DEFAULT_POSITION,
    prepend_bos: bool | None = None,
    progress: bool = True,
) -> UnitEffects:
    """What every selected unit adds to the margin to first order: strength x d margin / d (its own strength).

    One forward and one backward pass a batch, whatever the number of units.

    Args:
        model: A bridged model in eval mode.
        samples: At least one, with choices.
        mask: Units that SADI scales; at least 1.
        strength: SADI's strength.
        at: Where the slope is taken, as a share of ``strength``: 0 is the unsteered model, 1 the steered one. 0.5
            is the better guess at the whole way where the margin bends.
        position: Which tokens are edited.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        progress: Show a bar.

    Raises:
        ValueError: If the mask is empty or of another shape, ``at`` is not in [0, 1], or a gradient cannot be had.
    """
    _require_units(mask)
    require_strength(strength)
    mask.check(ModelInfo.of(model))
    if not 0 <= at <= 1:
        raise ValueError(f"at must be in [0, 1] (a share of the strength), got {at}")
    slopes = margin_gradients(
        model,
        samples,
        mask.component,
        start=at * strength * mask.selected,
        position=position,
        prepend_bos=prepend_bos,
        progress=progress,
    )
    return UnitEffects(
        mask,
        float(strength),
        position,
        float(at),
        strength * slopes[:, mask.selected, 0],
        split_of(samples),
    )


@checked()
def prune_mask(
    model: HookedModel,
    samples: Sequence[Sample],
    mask: Mask,
    strength: float,
    *,
    keep: float = 0.9,
    n_candidates: int = 8,
    position: str = DEFAULT_POSITION,
    scoring: str = "sum",
    prepend_bos: bool | None = None,
    progress: bool = True,
) -> Pruned:
    """Take units out of a mask one by one for as long as ``keep`` of its effect on the margin stays.

    In every step the units with the smallest first-order effect (slope half way; once there are no more than
    ``n_candidates``, all of them) are really taken out, each in a run of its own, and the one whose loss leaves the
    most effect goes. Greedy: a smaller mask may exist. Prune on dev,
    report on test. At most K x ``n_candidates`` runs, all of one step in one pass over the samples.

    Args:
        model: A bridged model in eval mode.
        samples: At least one, with choices (the dev split).
        mask: Units that SADI scales; at least 1.
        strength: SADI's strength, the same for every mask.
        keep: Share of (steered - unsteered) mean margin to keep, in (0, 1].
        n_candidates: Units tried in each step.
        position: Which tokens are edited.
        scoring: See ``evaluate``.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        progress: Show bars.

    Raises:
        ValueError: If the mask is empty, ``keep`` or ``n_candidates`` out of range, or the whole mask has no effect
            (or one that is not finite) to keep.
    """
    _require_units(mask)
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be in (0, 1], got {keep}")
    if n_candidates < 1:
        raise ValueError(f"n_candidates must be at least 1, got {n_candidates}")
    runs = 0

    def run(masks: Sequence[Mask | None]) -> list[Evaluation]:
        nonlocal runs
        runs += len(masks)
        return evaluate_all(
            model,
            samples,
            [None if one is None else MaskedScaling(one, strength) for one in masks],
            Settings("", position, scoring, prepend_bos),
            progress=progress,
            description="prune",
        )

    base, whole = run([None, mask])
    effect = whole.margin - base.margin
    if not np.isfinite(effect) or abs(effect) < 1e-6 * max(1.0, abs(base.margin)):
        raise ValueError(
            f"the whole mask moves the mean margin by {effect:.3g} nats at strength {strength:g}: "
            "there is no effect to keep"
        )
    left, steps = mask, list[PruneStep]()
    while left.k > 1:
        order = np.arange(left.k)
        if left.k > n_candidates:
            slopes = unit_effects(
                model,
                samples,
                left,
                strength,
                at=0.5,
                position=position,
                prepend_bos=prepend_bos,
                progress=False,
            ).mean
            order = np.argsort(np.sign(effect) * slopes, kind="stable")[:n_candidates]
        tried = [_without(left, *left.units[index]) for index in order]
        found = run(tried)
        shares = [(one.margin - base.margin) / effect for one in found]
        best = int(np.argmax(np.nan_to_num(shares, nan=-np.inf)))
        if not shares[best] >= keep:
            break
        layer, unit = left.units[order[best]]
        left = tried[best]
        steps.append(
            PruneStep(
                layer, unit, left.k, found[best].margin, float(shares[best]), found[best].accuracy
            )
        )
    return Pruned(
        mask=replace(
            left,
            rule=f"{mask.rule}, pruned to {keep:.0%} of the effect" if steps else mask.rule,
            provenance={**mask.provenance, "pruned_from": mask.k, "keep": float(keep)},
        ),
        full=mask,
        strength=float(strength),
        keep=float(keep),
        position=position,
        split=split_of(samples),
        n=len(samples),
        unsteered_margin=base.margin,
        full_margin=whole.margin,
        steps=tuple(steps),
        runs=runs,
    )


def _without(mask: Mask, layer: int, unit: int) -> Mask:
    selected = mask.selected.copy()
    selected[layer, unit] = False
    return replace(mask, selected=selected)


def _require_units(mask: Mask) -> None:
    if not mask.k:
        raise ValueError("mask must select at least 1 unit, got 0")
