"""What a method is: a name, and the candidates it may choose from on dev.

A method sees the model and the contrastive pairs, never dev or test (``Material``). A control is built from what
another method chose, so that it differs in one thing only.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, TypeVar

import numpy as np

from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.prompts import joined_answers
from sadi_lens.find.differences import activation_differences
from sadi_lens.find.pair_activations import require_one_prompt
from sadi_lens.find.rankings import ALL_RANKINGS, OF_MARGINS, unit_scores
from sadi_lens.measure.calls import kept
from sadi_lens.measure.candidates import Candidate
from sadi_lens.measure.identity import identity_of
from sadi_lens.measure.sweeps import STRENGTHS, ks_of
from sadi_lens.tasks.prompts import map_prompts
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, require_one_of
from sadi_lens.types.checks import check_value
from sadi_lens.types.contradictions import KINDS
from sadi_lens.types.data import ContrastivePair, Sample, Task
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask, top_k_mask
from sadi_lens.types.model import COMPONENTS, HookedModel
from sadi_lens.types.scores import RANKINGS, Scores

A = TypeVar("A")
B = TypeVar("B")


class UnavailableError(ValueError):
    """A method that does not work with this model or tokenizer; ``compare`` leaves it out with a note."""


AXES = ("K", "layer")
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
    ranking: str = "signed"
    """How units are ranked, of ``sadi_lens.find.rankings.ALL_RANKINGS``, by methods that leave it open."""
    ks: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    """Component -> numbers of units; where one is missing, the method's own."""
    strengths: Sequence[float] = ()
    """Empty: the method's own."""
    components: Sequence[str] | None = None
    """What differences are read of; default every component that the model has."""
    read: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """What was read of the model so far; ``dataclasses.replace`` hands it on, so that nothing is read twice."""

    @property
    def differences(self) -> dict[str, ActivationDifferences]:
        """Differences of every component, read once for all methods."""
        names = None if self.components is None else tuple(self.components)

        def read() -> dict[str, ActivationDifferences]:
            return activation_differences(
                self.model, self.pairs, components=names, task=self.task, progress=False
            )

        if "differences" not in self.read:
            origin = {**self.origin, "components": names}
            self.read["differences"] = kept("differences", lambda: origin, read)
        return self.read["differences"]

    def upon(self, start: Candidate) -> "Material":
        """The same pairs on the model and behind the text of ``start``: everything is read anew."""
        if not start.before and start.build is None:
            return self
        pairs = map_prompts(Task("", self.pairs), lambda prompt: start.before + prompt).pairs
        return replace(self, model=start.on(self.model), pairs=pairs, read={})

    @property
    def origin(self) -> dict[str, Any]:
        """What everything that is read of the model depends on."""
        pairs = [(one.prompts, one.positive, one.negative, one.cluster) for one in self.pairs]
        return {"pairs": pairs, "task": self.task, **identity_of(self.model)}

    @property
    def own(self) -> ActivationDifferences:
        """Differences of ``component``."""
        return self.differences[self.component]

    @property
    def prompts(self) -> list[str]:
        """Prompts of the pairs, for what is measured at a prompt alone.

        Raises:
            UnavailableError: If an answer joins the last token of its prompt, so that it acts elsewhere.
        """
        if "prompts" not in self.read:
            asked = [
                (one.prompt, (one.positive, one.negative)[: 1 + (one.negative_prompt is None)])
                for one in self.pairs
            ]
            if words := joined_answers(self.model, asked):
                raise UnavailableError(words)
            self.read["prompts"] = [one.prompt for one in self.pairs]
        return self.read["prompts"]

    def require_own_tokens(self, samples: Sequence[Sample]) -> None:
        """Refuse prompts whose last token the tokenizer makes one with the beginning of an answer.

        Raises:
            UnavailableError: If there is one: read alone, it ends at another token than the one that is steered.
        """
        if words := joined_answers(self.model, [(one.prompt, one.choices) for one in samples]):
            raise UnavailableError(words)

    def require_one_prompt(self, what: str) -> None:
        """Refuse pairs of two prompts, which have no margin between two answers.

        Raises:
            UnavailableError: If there is one.
        """
        try:
            require_one_prompt(self.pairs, what)
        except ValueError as error:
            raise UnavailableError(str(error)) from error

    def scores(self, component: str, ranking: str) -> Scores:
        """Scores of units under a ranking that needs more than mean differences (probe, gradient).

        Raises:
            UnavailableError: If the ranking is of margins, and a pair has two prompts.
        """
        if ranking in OF_MARGINS:
            self.require_one_prompt(f"ranking {ranking!r}")
        key = f"{component} by {ranking}, seed {self.seed}"

        def read() -> Scores:
            task = Task(self.task, self.pairs)
            return unit_scores(self.model, task, component, ranking, seed=self.seed, progress=False)

        if key not in self.read:
            origin = {**self.origin, "scores": key}
            self.read[key] = kept(f"scores by {ranking}", lambda: origin, read)
        return self.read[key]

    def top(self, k: int) -> Mask:
        """The ``k`` first units of ``component`` under ``ranking``."""
        if self.ranking in RANKINGS:
            return top_k_mask(self.own, k, ranking=self.ranking)
        return top_k_mask(self.scores(self.component, self.ranking), k)

    def cells(self, budget: int | None) -> list[tuple[int, float]]:
        """SADI's grid of K and strength for ``component``."""
        return self.grid(self.ks.get(self.component) or ks_of(self.own), STRENGTHS, budget)

    def grid(
        self, rows: Sequence[A], strengths: Sequence[float], budget: int | None
    ) -> list[tuple[A, float]]:
        """``grid`` of a method's rows and its own strengths, or those asked for."""
        return grid(rows, [float(one) for one in self.strengths or strengths], budget)

    def masked(
        self,
        budget: int | None,
        make: Callable[[Mask, float], Intervention],
        select: Callable[[int], Mask] | None = None,
    ) -> list[Candidate]:
        """``make(mask, strength)`` for every cell of SADI's grid of K and strength.

        Args:
            budget: Most candidates; None for the whole grid.
            make: (mask, strength) -> intervention.
            select: K -> mask; default ``top``.
        """
        cells = self.cells(budget)
        masks = {k: (select or self.top)(k) for k in dict.fromkeys(k for k, _ in cells)}
        return [Candidate(make(masks[k], s), k, s) for k, s in cells]


Candidates = Callable[[Material, int | None], Sequence[Candidate]]
"""(material, budget) -> at most ``budget`` candidates to choose from, the mildest first (it wins ties)."""


@dataclass(frozen=True)
class Method:
    """A way to steer; which of its candidates runs is decided on dev."""

    name: str
    kind: str
    """``"unsteered"``, ``"adaptive"``, ``"fixed"``, ``"random"`` or ``"other"``: colours follow it."""
    candidates: Candidates
    position: str = ""
    """Where it acts, if its definition says so; else where the comparison says."""
    component: str = ""
    """What it edits, if its definition says so."""
    ranking: str = ""
    """How it ranks units, if its definition says so."""
    axis: str = ""
    """What ``k`` of its candidates is: ``"K"`` units or the ``"layer"``; empty where they form no grid."""
    is_ranked: bool = False
    """Whether its units follow the ranking of the material."""
    draws: bool = False
    """Whether the seed decides its candidates."""
    upon: str = ""
    """Name of a method whose chosen text or model it starts from; its pairs are then read there."""
    about: str = ""
    """What it does, in words."""

    def __post_init__(self) -> None:
        check_value("candidates", self.candidates, Callable[..., Any])
        _require_known(self, component=COMPONENTS, ranking=ALL_RANKINGS, axis=AXES)


Build = Callable[[Material, Intervention, Sequence[Any]], Intervention]
"""(material, what the other method chose, prompts) -> the control. The prompts are those of dev; with ``per_prompts``
those of the run; with ``per_samples`` samples."""


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
    per_samples: bool = False
    """Whether it is told the items with their right answers, in place of the prompts: an analysis, never a method."""

    def __post_init__(self) -> None:
        check_value("build", self.build, Callable[..., Any])
        _require_known(self)

    def follows(self, component: str) -> str:
        """Name of the method that it is a control of, in a comparison on ``component``."""
        return self.of or f"sadi-{component}"


def _require_known(one: Method | Control, **allowed: Collection[str]) -> None:
    """Refuse a name that is empty, and words that nothing is called by; further ones may be empty.

    Raises:
        TypeError: If one is no text.
        ValueError: If the name is empty or a word unknown.
    """
    if not check_value("name", one.name, str):
        raise ValueError(f"name of a method must not be empty (kind {one.kind!r})")
    require_one_of("kind", check_value("kind", one.kind, str), KINDS)
    for field_name, words in {"position": POSITIONS, **allowed}.items():
        word = getattr(one, field_name)
        if word != "":
            require_one_of(f"{field_name} of method {one.name!r}", word, tuple(words))


def grid(one: Sequence[A], two: Sequence[B], budget: int | None) -> list[tuple[A, B]]:
    """Every combination if the budget allows, else evenly spaced values of both with as many cells as fit.

    Raises:
        ValueError: If the budget is below 1.
    """
    if budget is None:
        return list(product(one, two))
    if budget < 1:
        raise ValueError(f"budget must be at least 1 candidate a method, got {budget}")
    shapes = product(range(1, len(one) + 1), range(1, len(two) + 1))
    fitting = [(a, b) for a, b in shapes if a * b <= budget]
    a, b = max(fitting, key=lambda shape: (shape[0] * shape[1], -abs(shape[0] - shape[1])))
    return list(product(_spaced(one, a), _spaced(two, b)))


def _spaced(values: Sequence[A], n: int) -> list[A]:
    return [values[int(i)] for i in np.linspace(0, len(values) - 1, n).round()]
