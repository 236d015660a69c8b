"""What an explorer page holds: every K x strength of three methods, on dev and on a few prompts."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sadi_lens.types.base import require_one_of
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.invariants import Consistent
from sadi_lens.types.model import ModelInfo
from sadi_lens.types.results.inspection import SignFlipNull
from sadi_lens.types.results.sweep import Sweep

METHODS = ("adaptive", "fixed", "random")
"""SADI; the mean difference added on the same units; SADI on units drawn at random."""


def strata_of(outcomes: Bool[np.ndarray, "item 3"]) -> dict[tuple[bool, bool, bool], int]:
    """How many items have each outcome, the commonest first; ties in the order of the items."""
    kinds = [(bool(a), bool(b), bool(c)) for a, b, c in outcomes]
    return dict(Counter(kinds).most_common())


@dataclass(frozen=True, eq=False)
class PromptGrid(Consistent):
    """One prompt under every cell of the grid. Arrays begin [method k strength]."""

    prompt: str
    choices: tuple[str, ...]
    """Empty for a prompt without choices."""
    answer: int | None
    target: str | None
    """Accepted free text of a prompt without choices, where it is known."""
    item: int | None
    """Which of the dev samples it is, from 0; None for any other prompt."""
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
    favourite: Int[np.ndarray, "method k strength"]
    """Index of the choice that scores highest; -1 where no choice has a finite score."""
    texts: tuple[tuple[str, ...], ...]
    """Different continuations, token by token."""
    text: Int[np.ndarray, "method k strength"]
    """Index into ``texts``."""
    writes: Bool[np.ndarray, "method k strength"]
    """Whether the continuation begins with the favourite; without one, whether it is the right answer."""
    change: Float[np.ndarray, "method k strength written"]
    """Log-probability of each token of the continuation minus the unsteered model's for the same text (nats); NaN
    behind its end."""
    donor: int | None = None
    """Which of the grid's prompts gives its push in ``donated``."""
    donated: "PromptGrid | None" = None
    """The same prompt with the push that adaptive scaling makes on the donor: one method, the K of the grid's
    ``cell``, all strengths."""


@dataclass(frozen=True, eq=False)
class PushGrid(Consistent):
    """How far and which way adaptive scaling pushes each prompt of a grid, beside the fixed vector.

    A push is what is added to the selected units at the last prompt token, all layers together.
    """

    norm: Float[np.ndarray, "prompt k strength"]
    """Length of each prompt's own push (activation units)."""
    fixed_norm: Float[np.ndarray, "k strength"]
    """Length of the fixed push, the same for every prompt."""
    fixed_cosine: Float[np.ndarray, "prompt k strength"]
    """Cosine of own and fixed push; NaN where one is zero."""
    cosine: Float[np.ndarray, "prompt other k strength"]
    """Cosine of the own pushes of two prompts."""


@dataclass(frozen=True, eq=False)
class ExplorerGrid(Consistent):
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
    """Lower end of the 95% interval of the accuracy (``proportion_interval``; by cluster where samples share one)."""
    high: Float[np.ndarray, "method k strength"]
    margin: Float[np.ndarray, "method k strength"]
    valid_rate: Float[np.ndarray, "method k strength"]
    differences: ActivationDifferences
    units: tuple[tuple[int, int], ...]
    """(layer, unit), best first: the first k are the mask of the adaptive and the fixed method."""
    random_units: tuple[tuple[tuple[int, int], ...], ...]
    """(layer, unit) of the random mask of each K."""
    prompts: tuple[PromptGrid, ...]
    cell: tuple[int, int]
    """Row and column of the cell that the page opens on: the best adaptive one on dev (``Sweep.best_cell``), or one in
    the middle where none beats the unsteered model."""
    correct: Bool[np.ndarray, "method k strength item"]
    """Whether each dev sample is answered right."""
    donated: Bool[np.ndarray, "strength item"] | None = None
    """The same with every sample given another one's push, at the K of ``cell``; None where there is no other."""
    items: tuple[str, ...] = ()
    """Prompt of each dev sample."""
    answers: tuple[str, ...] = ()
    """Its right answer."""
    pushes: PushGrid | None = None
    null: SignFlipNull | None = None
    """Of the pairs behind ``differences``; None where it was not drawn."""
    clusters: Any = None
    """Int array [item]: number of each dev sample's cluster; None where no two share one."""
    standard_errors: Any = None
    """Array [method k strength]: standard error of each accuracy, by cluster; None where samples are independent."""

    def outcomes(self) -> Bool[np.ndarray, "item 3"]:
        """Whether each dev sample is right at ``cell``: unsteered, with adaptive scaling, with the fixed vector."""
        row, column = self.cell
        zero = self.strengths.index(0.0)
        return np.stack(
            [self.correct[0, 0, zero], self.correct[0, row, column], self.correct[1, row, column]],
            axis=1,
        )

    def strata(self) -> dict[tuple[bool, bool, bool], int]:
        """How many dev samples have each outcome, the commonest first."""
        return strata_of(self.outcomes())

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
            unsteered_valid_rate=float(self.valid_rate[at, 0, unsteered]),
            chance=self.chance,
            correct=self.correct[at],
            unsteered_correct=self.correct[at, 0, unsteered],
            clusters=self.clusters,
            standard_errors=None if self.standard_errors is None else self.standard_errors[at],
        )
