"""What an explorer page holds: every K x strength of three methods, on dev and on a few prompts."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sadi_lens.types.base import ArrayEq, require_one_of
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import ModelInfo
from sadi_lens.types.results.sweep import Sweep

METHODS = ("adaptive", "fixed", "random")
"""SADI; the mean difference added on the same units; SADI on units drawn at random."""


@dataclass(frozen=True, eq=False)
class PromptGrid(ArrayEq):
    """One prompt under every cell of the grid. Arrays begin [method k strength]."""

    prompt: str
    choices: tuple[str, ...]
    """Empty for a prompt without choices."""
    answer: int | None
    target: str | None
    """Accepted free text of a prompt without choices, where it is known."""
    tokens: tuple[str, ...]
    """Text of every token that is named here."""
    unsteered: Float[np.ndarray, " token"]
    """Probability of each of ``tokens`` as the next one, unsteered."""
    choice_tokens: tuple[int, ...]
    """Index into ``tokens`` of each choice's first token."""
    probability: Float[np.ndarray, "method k strength shown"]
    """Probability of the first few ``tokens``: the choices and the unsteered model's favourites."""
    top: Int[np.ndarray, "method k strength rank"]
    """Index into ``tokens`` of the most likely next tokens, best first."""
    top_probability: Float[np.ndarray, "method k strength rank"]
    kl: Float[np.ndarray, "method k strength"]
    """KL(steered || unsteered) of the next token (nats)."""
    margin: Float[np.ndarray, "method k strength"]
    """As ``Evaluation.margins``; NaN without choices."""
    texts: tuple[str, ...]
    """Different continuations."""
    text: Int[np.ndarray, "method k strength"]
    """Index into ``texts``."""


@dataclass(frozen=True, eq=False)
class ExplorerGrid(ArrayEq):
    """Three methods over K x strength: on the dev samples, and prompt by prompt.

    Strength 0 is among the strengths: the unsteered model.
    """

    model: ModelInfo
    task: str
    component: str
    ranking: str
    position: str
    match: str
    """How far the fixed vector pushes, as in ``MaskedAddition.from_differences``."""
    seed: int
    """Seed of the random masks: ``random_mask(differences, k, seed=seed)``."""
    split: str
    n: int
    """Samples behind ``accuracy``; 0 where the task has no dev split."""
    chance: float
    ks: tuple[int, ...]
    strengths: tuple[float, ...]
    accuracy: Float[np.ndarray, "method k strength"]
    low: Float[np.ndarray, "method k strength"]
    """Lower end of the 95% Wilson interval of the accuracy."""
    high: Float[np.ndarray, "method k strength"]
    margin: Float[np.ndarray, "method k strength"]
    valid_rate: Float[np.ndarray, "method k strength"]
    differences: ActivationDifferences
    units: tuple[tuple[int, int], ...]
    """(layer, unit), best first: the first k are the mask of the adaptive and the fixed method."""
    random_units: tuple[tuple[tuple[int, int], ...], ...]
    """(layer, unit) of the random mask of each K."""
    prompts: tuple[PromptGrid, ...]

    def sweep(self, method: str) -> Sweep:
        """One method's accuracy on the dev samples as a sweep (its best cell, its figure).

        Raises:
            ValueError: If the method is unknown, or the task has no dev split.
        """
        require_one_of("method", method, METHODS)
        if not self.n:
            raise ValueError(
                f"task {self.task!r} has no dev split, so there is no accuracy to show"
            )
        at = METHODS.index(method)
        unsteered = self.strengths.index(0.0)
        return Sweep(
            component=self.component,
            ranking=self.ranking,
            method=method,
            model=self.model,
            task=self.task,
            split=self.split,
            position=self.position,
            n=self.n,
            ks=self.ks,
            strengths=self.strengths,
            accuracy=self.accuracy[at],
            margin=self.margin[at],
            valid_rate=self.valid_rate[at],
            unsteered_accuracy=float(self.accuracy[at, 0, unsteered]),
            unsteered_margin=float(self.margin[at, 0, unsteered]),
            chance=self.chance,
        )
