"""SADI, its fixed counterparts and the controls that take one thing away from it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sadi_lens.engine.intervention import Intervention
from sadi_lens.find.rankings import unit_scores
from sadi_lens.interventions import (
    Clamped,
    ControlToken,
    MaskedAddition,
    MaskedScaling,
    SignedScaling,
)
from sadi_lens.measure.methods.base import Material, cells
from sadi_lens.measure.neutral import match_kl
from sadi_lens.measure.push import measure_push, swap_prompts
from sadi_lens.types.masks import random_mask, top_k_mask

MATCH_PROMPTS = 128
"""Prompts of dev on which a KL divergence is matched."""


def sadi(component: str, material: Material, budget: int) -> list[Intervention]:
    """SADI on a component: the top K by signed difference, by K and strength."""
    own = material.differences[component]
    return [MaskedScaling(top_k_mask(own, k), s) for k, s in cells(own, budget)]


def by_effect(material: Material, budget: int) -> list[Intervention]:
    """SADI on the units whose scaling raises the margin of the pairs most, to first order."""
    scores = unit_scores(
        material.model, material.pairs, material.component, "effect", progress=False
    )
    return [MaskedScaling(top_k_mask(scores, k), s) for k, s in cells(material.own, budget)]


def clamped(material: Material, budget: int) -> list[Intervention]:
    """SADI as its reference code runs it."""
    return [Clamped(one) for one in sadi(material.component, material, budget)]


def signed(material: Material, budget: int) -> list[Intervention]:
    """SADI that damps units whose activation points away from D."""
    own = material.own
    return [
        SignedScaling.from_differences(top_k_mask(own, k), own, s) for k, s in cells(own, budget)
    ]


def fixed(match: str, material: Material, budget: int) -> list[Intervention]:
    """The paper's ablation of adaptivity, A + strength (V * M), with V in the unit that ``match`` names."""
    own = material.own
    return [
        MaskedAddition.from_differences(top_k_mask(own, k), own, s, match=match)
        for k, s in cells(own, budget)
    ]


def sign_flipped(material: Material, budget: int) -> list[Intervention]:
    """SADI with the right and wrong answer of every pair exchanged: the most negative differences."""
    own = replace(material.own, mean=-material.own.mean)
    return [MaskedScaling(top_k_mask(own, k), s) for k, s in cells(own, budget)]


def bottom_k(material: Material, budget: int) -> list[Intervention]:
    """SADI on the units that differ least between right and wrong answers."""
    own = replace(material.own, mean=-np.abs(material.own.mean))
    return [MaskedScaling(top_k_mask(own, k), s) for k, s in cells(own, budget)]


def random(material: Material, budget: int) -> list[Intervention]:
    """Another random mask in every cell of SADI's grid: what choosing on dev gives without a ranking."""
    chosen = cells(material.own, budget)
    seeds = np.random.SeedSequence(material.seed).generate_state(len(chosen))
    return [
        MaskedScaling(random_mask(material.own, k, seed=int(seed)), s)
        for (k, s), seed in zip(chosen, seeds, strict=True)
    ]


def _require_scaling(chosen: Intervention) -> MaskedScaling:
    if not isinstance(chosen, MaskedScaling):
        raise ValueError(f"only masked scaling can be matched, got {chosen.label!r}")
    return chosen


def matched(
    match: str,
    material: Material,
    chosen: Intervention,
    prompts: Sequence[str] = (),  # noqa: ARG001  # one signature for all controls
) -> MaskedAddition:
    """The same mask and strength with a vector that pushes as far as SADI was measured to."""
    sadi = _require_scaling(chosen)
    push = measure_push(material.model, material.prompts, sadi, progress=False)
    return MaskedAddition.from_differences(
        sadi.mask, material.differences[sadi.component], sadi.strength, match=match, push=push
    )


def matched_kl(material: Material, chosen: Intervention, prompts: Sequence[str]) -> Intervention:
    """The same mask and direction at the strength that moves the next token as far as SADI does."""
    unit = replace(matched("norm", material, chosen), name="fixed D, same KL")
    return match_kl(
        material.model,
        prompts[:MATCH_PROMPTS],
        chosen,
        lambda strength: replace(unit, strength=strength),
        position=material.position,
        start=abs(unit.strength),
    )


def swapped(material: Material, chosen: Intervention, prompts: Sequence[str]) -> Intervention:
    """Every prompt gets the push that SADI made on another one of them."""
    return swap_prompts(material.model, chosen, prompts, seed=material.seed, progress=False)


def control_token(
    material: Material,  # noqa: ARG001  # one signature for all controls
    chosen: Intervention,
    prompts: Sequence[str],  # noqa: ARG001
) -> Intervention:
    """The same edit at a token that is not the last of the prompt."""
    return ControlToken(chosen)
