"""Inside a mask: what each unit adds to the effect, and which can go."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sadi_lens.find.gradients import margin_gradients
from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import Settings, split_of
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.types.base import DEFAULT_POSITION, NotFiniteError
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Sample, clusters_of
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
        NotFiniteError: If an activation at ``at``, or an effect, overflows.
    """
    _require_units(mask)
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
    with np.errstate(over="ignore"):  # said below
        effects = strength * slopes[:, mask.selected, 0]
    if not np.isfinite(effects).all():
        raise NotFiniteError("the effect of a unit", f"strength {strength:g}")
    split, clusters = split_of(samples), clusters_of(samples)
    return UnitEffects(mask, float(strength), position, float(at), effects, split, clusters)


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

    In every step the ``n_candidates`` units with the smallest first-order effect (slope half way) are really taken
    out, each in a run of its own, and the one whose loss leaves the most effect goes. Greedy: a smaller mask may
    exist. Prune on dev, report on test. At most K x ``n_candidates`` runs, those of one step in one pass.

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
    settings = Settings("", position, scoring, prepend_bos)
    pruning = _Pruning(model, samples, strength, settings, progress)
    base, whole = pruning.run([None, mask])
    effect = whole.margin - base.margin
    _require_effect(effect, base.margin, strength)
    left, steps = pruning.steps(mask, base.margin, effect, keep, n_candidates)
    rule = f"{mask.rule}, pruned to {keep:.0%} of the effect" if steps else mask.rule
    provenance = {**mask.provenance, "pruned_from": mask.k, "keep": float(keep)}
    return Pruned(
        mask=replace(left, rule=rule, provenance=provenance),
        full=mask,
        strength=float(strength),
        keep=float(keep),
        position=position,
        split=base.split,
        n=base.n,
        unsteered_margin=base.margin,
        full_margin=whole.margin,
        steps=tuple(steps),
        runs=pruning.runs,
    )


@dataclass
class _Pruning:
    """Model, samples and settings of one call of ``prune_mask``, and the runs it took."""

    model: HookedModel
    samples: Sequence[Sample]
    strength: float
    settings: Settings
    progress: bool
    runs: int = 0

    def run(self, masks: Sequence[Mask | None]) -> list[Evaluation]:
        self.runs += len(masks)
        scaled = [None if one is None else MaskedScaling(one, self.strength) for one in masks]
        return evaluate_all(
            self.model,
            self.samples,
            scaled,
            self.settings,
            progress=self.progress,
            description="prune",
        )

    def steps(
        self, left: Mask, base: float, effect: float, keep: float, n: int
    ) -> tuple[Mask, list[PruneStep]]:
        """What is left where one unit less would keep less than ``keep`` of the effect."""
        found: list[PruneStep] = []
        while left.k > 1:
            smaller, step = self.step(left, base, effect, n)
            if not step.share >= keep:
                break
            left = smaller
            found.append(step)
        return left, found

    def step(self, left: Mask, base: float, effect: float, n: int) -> tuple[Mask, PruneStep]:
        """The mask without the unit whose loss leaves the most effect, of the ``n`` least likely to be missed."""
        order = np.arange(left.k)
        if left.k > n:
            slopes = unit_effects(
                self.model,
                self.samples,
                left,
                self.strength,
                at=0.5,
                position=self.settings.position,
                prepend_bos=self.settings.prepend_bos,
                progress=False,
            ).mean
            order = np.argsort(np.sign(effect) * slopes, kind="stable")[:n]
        tried = [_without(left, *left.units[index]) for index in order]
        found = self.run(tried)
        shares = [(one.margin - base) / effect for one in found]
        best = int(np.argmax(np.nan_to_num(shares, nan=-np.inf)))
        layer, unit = left.units[order[best]]
        smaller, result = tried[best], found[best]
        share = float(shares[best])
        return smaller, PruneStep(layer, unit, smaller.k, result.margin, share, result.accuracy)


def _require_effect(effect: float, margin: float, strength: float) -> None:
    if not np.isfinite(effect) or abs(effect) < 1e-6 * max(1.0, abs(margin)):
        raise ValueError(
            f"the whole mask moves the mean margin by {effect:.3g} nats at strength {strength:g}: "
            "there is no effect to keep"
        )


def _without(mask: Mask, layer: int, unit: int) -> Mask:
    selected = mask.selected.copy()
    selected[layer, unit] = False
    return replace(mask, selected=selected)


def _require_units(mask: Mask) -> None:
    if not mask.k:
        raise ValueError("mask must select at least 1 unit, got 0")
