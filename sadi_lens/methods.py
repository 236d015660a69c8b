"""Ways to steer that can stand side by side: each is a name and the settings it may choose from on dev.

A method sees the model and the contrastive pairs, never dev or test (``Material``). A control is built from what
another method chose, so that it differs in one thing only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import TypeVar

import numpy as np

from sadi_lens.activations import activation_differences
from sadi_lens.interventions import Intervention, MaskedAddition, MaskedScaling
from sadi_lens.masks import random_mask, top_k_mask
from sadi_lens.neutral import match_kl
from sadi_lens.push import measure_push
from sadi_lens.sweeps import KS, STRENGTHS
from sadi_lens.types import ActivationDifferences, ContrastivePair, HookedModel

A = TypeVar("A")
B = TypeVar("B")
MATCH_PROMPTS = 128
"""Prompts of dev on which a KL divergence is matched."""
BUDGET = 48
"""Candidates that each method may try on dev: the 6 x 8 grid of K and strength for heads."""


@dataclass(frozen=True, eq=False)
class Material:
    """All that a method may build its candidates from."""

    model: HookedModel
    pairs: tuple[ContrastivePair, ...]
    task: str = ""
    component: str = "head"
    """What methods edit that leave it open."""
    position: str = "last_prompt"
    seed: int = 0

    @cached_property
    def differences(self) -> dict[str, ActivationDifferences]:
        """Differences of every component the model has, read once for all methods."""
        return activation_differences(self.model, self.pairs, task=self.task, progress=False)

    @property
    def own(self) -> ActivationDifferences:
        """Differences of ``component``."""
        return self.differences[self.component]

    @property
    def prompts(self) -> list[str]:
        """Prompts of the pairs."""
        return [pair.prompt for pair in self.pairs]


Candidates = Callable[[Material, int], Sequence[Intervention | None]]
"""(material, budget) -> at most ``budget`` interventions to choose from, the mildest first (it wins ties)."""


@dataclass(frozen=True)
class Method:
    """A way to steer; which of its candidates runs is decided on dev."""

    name: str
    kind: str
    """``"adaptive"``, ``"fixed"``, ``"random"`` or ``"other"``: colours follow it."""
    candidates: Candidates
    position: str = ""
    """Where it acts, if its definition says so; else where the comparison says."""


Build = Callable[[Material, Intervention, Sequence[str]], Intervention]
"""(material, what the other method chose, prompts of dev) -> the control."""


@dataclass(frozen=True)
class Control:
    """A method without a choice of its own, built from what another method chose."""

    name: str
    kind: str
    build: Build
    of: str = ""
    """Name of that method; empty for SADI on the component of the comparison."""
    position: str = ""


def grid(one: Sequence[A], two: Sequence[B], budget: int) -> list[tuple[A, B]]:
    """Every combination if the budget allows, else evenly spaced values of both with as many cells as fit.

    Raises:
        ValueError: If the budget is below 1.
    """
    if budget < 1:
        raise ValueError(f"budget must be at least 1 candidate a method, got {budget}")
    shapes = product(range(1, len(one) + 1), range(1, len(two) + 1))
    fitting = [(a, b) for a, b in shapes if a * b <= budget]
    a, b = max(fitting, key=lambda shape: (shape[0] * shape[1], -abs(shape[0] - shape[1])))
    return list(product(_spaced(one, a), _spaced(two, b)))


def _spaced(values: Sequence[A], n: int) -> list[A]:
    return [values[int(i)] for i in np.linspace(0, len(values) - 1, n).round()]


def _cells(own: ActivationDifferences, budget: int) -> list[tuple[int, float]]:
    ks = [k for k in KS[own.component] if k <= own.mean.size]
    return grid(ks, STRENGTHS, budget)


def _sadi(component: str, material: Material, budget: int) -> list[Intervention]:
    own = material.differences[component]
    return [MaskedScaling(top_k_mask(own, k), s) for k, s in _cells(own, budget)]


def _fixed(match: str, material: Material, budget: int) -> list[Intervention]:
    own = material.own
    return [
        MaskedAddition.from_differences(top_k_mask(own, k), own, s, match=match)
        for k, s in _cells(own, budget)
    ]


def _sign_flipped(material: Material, budget: int) -> list[Intervention]:
    """SADI with the right and wrong answer of every pair exchanged: the most negative differences."""
    own = replace(material.own, mean=-material.own.mean)
    return [MaskedScaling(top_k_mask(own, k), s) for k, s in _cells(own, budget)]


def _bottom_k(material: Material, budget: int) -> list[Intervention]:
    """SADI on the units that differ least between right and wrong answers."""
    own = replace(material.own, mean=-np.abs(material.own.mean))
    return [MaskedScaling(top_k_mask(own, k), s) for k, s in _cells(own, budget)]


def _random(material: Material, budget: int) -> list[Intervention]:
    """Another random mask in every cell of SADI's grid: what choosing on dev gives without a ranking."""
    cells = _cells(material.own, budget)
    seeds = np.random.SeedSequence(material.seed).generate_state(len(cells))
    return [
        MaskedScaling(random_mask(material.own, k, seed=int(seed)), s)
        for (k, s), seed in zip(cells, seeds, strict=True)
    ]


def _require_scaling(chosen: Intervention) -> MaskedScaling:
    if not isinstance(chosen, MaskedScaling):
        raise ValueError(f"only masked scaling can be matched, got {chosen.label!r}")
    return chosen


def _matched(match: str, material: Material, chosen: Intervention) -> MaskedAddition:
    """The same mask and strength with a vector that pushes as far as SADI was measured to."""
    sadi = _require_scaling(chosen)
    push = measure_push(material.model, material.prompts, sadi, progress=False)
    return MaskedAddition.from_differences(
        sadi.mask, material.differences[sadi.component], sadi.strength, match=match, push=push
    )


def _matched_kl(material: Material, chosen: Intervention, prompts: Sequence[str]) -> Intervention:
    """The same mask and direction at the strength that moves the next token as far as SADI does."""
    unit = replace(_matched("norm", material, chosen), name="fixed D, same KL")
    return match_kl(
        material.model,
        prompts[:MATCH_PROMPTS],
        chosen,
        lambda strength: replace(unit, strength=strength),
        position=material.position,
        start=abs(unit.strength),
    )


METHODS: dict[str, Method | Control] = {
    one.name: one
    for one in (
        Method("unsteered", "unsteered", lambda _material, _budget: [None]),
        Method("sadi-head", "adaptive", partial(_sadi, "head")),
        Method("sadi-hidden", "adaptive", partial(_sadi, "hidden")),
        Method("sadi-neuron", "adaptive", partial(_sadi, "neuron")),
        Method("fixed", "fixed", partial(_fixed, "coefficient")),
        Method("fixed-norm", "fixed", partial(_fixed, "norm")),
        Method("fixed-mean", "fixed", partial(_fixed, "mean")),
        Control("matched-norm", "fixed", lambda m, chosen, _prompts: _matched("norm", m, chosen)),
        Control("matched-mean", "fixed", lambda m, chosen, _prompts: _matched("mean", m, chosen)),
        Control("matched-kl", "fixed", _matched_kl),
        Method("bottom-k", "other", _bottom_k),
        Method("sign-flipped", "other", _sign_flipped),
        Method("random", "random", _random),
    )
}
"""Every method that ``compare`` knows by name, in the order of its table."""
