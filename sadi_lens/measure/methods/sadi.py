"""SADI, its fixed counterparts and the controls that take one thing away from it."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import (
    Clamped,
    ControlToken,
    MaskedAddition,
    MaskedScaling,
    SignedScaling,
)
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.candidates import Candidate
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.measure.methods.base import Material, UnavailableError
from sadi_lens.measure.neutral import match_kl
from sadi_lens.measure.push import measure_push, swap_prompts
from sadi_lens.measure.sweeps import STRENGTHS
from sadi_lens.types.data import Sample
from sadi_lens.types.masks import Mask, random_mask, top_k_mask
from sadi_lens.types.scores import Scores

N_SUPERVISED = 32
"""Random masks of each K that are compared on the pairs."""
MATCH_PROMPTS = 128
"""Prompts of dev on which a KL divergence is matched."""


def sadi(material: Material, budget: int | None) -> list[Candidate]:
    """SADI: the top K of a ranking, by K and strength."""
    return material.masked(budget, MaskedScaling)


def clamped(material: Material, budget: int | None) -> list[Candidate]:
    """SADI as its reference code runs it."""
    return material.masked(budget, lambda mask, s: Clamped(MaskedScaling(mask, s)))


def signed(material: Material, budget: int | None) -> list[Candidate]:
    """SADI that damps units whose activation points away from D."""
    own = material.own
    return material.masked(budget, lambda mask, s: SignedScaling.from_differences(mask, own, s))


def fixed(match: str, material: Material, budget: int | None) -> list[Candidate]:
    """The paper's ablation of adaptivity, A + strength (V * M), with V in the unit that ``match`` names."""
    own = material.own
    return material.masked(
        budget, lambda mask, s: MaskedAddition.from_differences(mask, own, s, match=match)
    )


def smallest(ranking: str, material: Material, budget: int | None) -> list[Candidate]:
    """SADI on the units that a ranking puts last."""
    own = material.own
    return material.masked(
        budget, MaskedScaling, lambda k: top_k_mask(own, k, ranking=ranking, largest=False)
    )


def random(material: Material, budget: int | None) -> list[Candidate]:
    """Another random mask in every cell of SADI's grid: what choosing on dev gives without a ranking."""
    cells = material.cells(budget)
    seeds = np.random.SeedSequence(material.seed).generate_state(len(cells))
    return [
        Candidate(MaskedScaling(random_mask(material.own, k, seed=int(seed)), s), k, s)
        for (k, s), seed in zip(cells, seeds, strict=True)
    ]


def random_supervised(material: Material, budget: int | None) -> list[Candidate]:
    """For each K the one of ``N_SUPERVISED`` random masks with the largest margin on the pairs, at a middling strength.

    The effect ranking sees which answers of the pairs are right, random masks see nothing: this is what seeing them is
    worth without a ranking.
    """
    own = material.own
    if any(one.negative_prompt is not None for one in material.pairs):
        raise UnavailableError("pairs with two prompts have no margin between two answers")
    samples = [Sample(one.prompt, (one.positive, one.negative), 0) for one in material.pairs]
    settings = Settings(material.task, material.position)
    seeds = [int(one) for one in np.random.SeedSequence(material.seed).generate_state(N_SUPERVISED)]
    middle = sorted(STRENGTHS)[len(STRENGTHS) // 2 - 1]

    def best(k: int) -> Mask:
        masks = [random_mask(own, k, seed=seed) for seed in seeds]
        scaled = [MaskedScaling(mask, middle) for mask in masks]
        found = evaluate_all(material.model, samples, scaled, settings, progress=False)
        return masks[max(range(len(masks)), key=lambda place: found[place].margin)]

    return material.masked(budget, MaskedScaling, best)


def random_ranking(material: Material, budget: int | None) -> list[Candidate]:
    """SADI on a random order of the units: a larger mask contains the smaller ones, as under a ranking."""
    own = material.own
    noise = np.random.default_rng(material.seed).standard_normal(own.mean.shape)
    order = Scores(own.component, "random", noise, own.model, own.n, own.task)
    return material.masked(budget, MaskedScaling, lambda k: top_k_mask(order, k))


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
    """The same mask and strength with a vector that pushes as far as SADI was measured to (or by the same factor).

    Raises:
        UnavailableError: If a direction is to be rescaled that is zero.
    """
    sadi = _require_scaling(chosen)
    differences, push = material.differences[sadi.component], None
    if match == "norm" and not differences.vector[sadi.mask.selected].any():
        raise UnavailableError(
            "the mean difference is zero on the selected units: it has no direction"
        )
    if match != "coefficient":
        push = measure_push(
            material.model, material.prompts, sadi, position=material.position, progress=False
        )
    return MaskedAddition.from_differences(
        sadi.mask, differences, sadi.strength, match=match, push=push
    )


def matched_kl(material: Material, chosen: Intervention, prompts: Sequence[str]) -> Intervention:
    """The same mask and direction at the strength that moves the next token as far as SADI does.

    Raises:
        UnavailableError: If SADI does not move it at all.
    """
    unit = replace(matched("norm", material, chosen), name="fixed D, same KL")
    sign = math.copysign(1.0, unit.strength)
    found = match_kl(
        material.model,
        prompts[:MATCH_PROMPTS],
        chosen,
        lambda strength: replace(unit, strength=sign * strength),
        position=material.position,
        start=abs(unit.strength),
    )
    if not found.layers:
        raise UnavailableError(
            f"{chosen.label!r} at position {material.position!r} does not move the token that follows a prompt"
        )
    return found


def swapped(material: Material, chosen: Intervention, prompts: Sequence[str]) -> Intervention:
    """Every prompt gets the push that SADI made on another one of them."""
    return swap_prompts(
        material.model,
        chosen,
        prompts,
        seed=material.seed,
        position=material.position,
        progress=False,
    )


def control_token(
    material: Material,  # noqa: ARG001  # one signature for all controls
    chosen: Intervention,
    prompts: Sequence[str],  # noqa: ARG001
) -> Intervention:
    """The same edit at a token that is not the last of the prompt; none where a prompt has no other."""
    return ControlToken(chosen)
