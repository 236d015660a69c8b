"""What a method is: a name, and the settings it may choose from on dev.

A method sees the model and the contrastive pairs, never dev or test (``Material``). A control is built from what
another method chose, so that it differs in one thing only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TypeVar

import numpy as np

from sadi_lens.engine.intervention import Intervention
from sadi_lens.find.differences import activation_differences
from sadi_lens.measure.sweeps import KS, STRENGTHS
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import HookedModel

A = TypeVar("A")
B = TypeVar("B")


class UnavailableError(ValueError):
    """A method that cannot be had on this model or tokenizer; ``compare`` leaves it out and says so."""


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
    position: str = DEFAULT_POSITION
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
"""(material, what the other method chose, prompts) -> the control. The prompts are those of dev; with ``per_prompts``
those of the run."""


@dataclass(frozen=True)
class Control:
    """A method without a choice of its own, built from what another method chose."""

    name: str
    kind: str
    build: Build
    of: str = ""
    """Name of that method; empty for SADI on the component of the comparison."""
    position: str = ""
    per_prompts: bool = False
    """Whether it must know the prompts it runs on, and is built anew for each set of them (no answers, no choice)."""


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


def cells(own: ActivationDifferences, budget: int) -> list[tuple[int, float]]:
    """SADI's grid of K and strength for a component, as far as the model has that many units."""
    ks = [k for k in KS[own.component] if k <= own.mean.size]
    return grid(ks, STRENGTHS, budget)
