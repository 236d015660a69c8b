"""Choose on dev, report on test: the one driver behind ``compare``, the demo and experiments.

1. Every method offers candidates that it builds from the pairs (``Material``).
2. All candidates of a method are scored on dev; the best one is chosen (``choose``).
3. When everything is chosen, each choice is scored once on test (``report``).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.measure.methods import Candidate, Control, Material, Method, UnavailableError
from sadi_lens.measure.neutral import UnreachableError
from sadi_lens.measure.sweeps import Grid, best_of
from sadi_lens.types.base import require_one_of
from sadi_lens.types.data import Sample
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import Choice, Evaluation, Sweep

RULES = ("best", "stable")
"""``Sweep.best`` or ``Sweep.stable``; methods without a grid always take the best."""
Rebuild = Callable[[Sequence[Any]], Intervention]
TIMED = 32
"""Items of dev on which the time of a method alone is taken."""


class Chosen(NamedTuple):
    """The candidate that a method chose on dev and is scored with on test."""

    method: Method | Control
    candidate: Candidate
    position: str
    dev_accuracy: float
    n_candidates: int
    sweep: Sweep | None = None
    """All candidates on dev, where they form a grid."""
    choice: Choice | None = None
    rebuild: Rebuild | None = None
    """Builds it anew for other prompts (samples, for a control that is told the answers), where it must know them."""
    candidates: Sequence[Candidate] = ()
    """What it chose from."""

    @property
    def name(self) -> str:
        """The method's."""
        return self.method.name

    @property
    def intervention(self) -> Intervention | None:
        """What was chosen; None is the unsteered model."""
        return self.candidate.intervention

    @property
    def is_unsteered(self) -> bool:
        """Whether no candidate did better on dev than the unsteered model."""
        return self.candidate.strength == 0 or (self.n_candidates > 1 and not self.intervention)

    @property
    def is_told(self) -> bool:
        """Whether it is told the right answers, so that it cannot run on plain prompts."""
        return isinstance(self.method, Control) and self.method.per_samples

    def on(self, samples: Sequence[Sample]) -> Intervention | None:
        """The intervention for a run over ``samples``."""
        if self.is_told and self.rebuild is not None:
            return self.rebuild(samples)
        return self.on_prompts([sample.prompt for sample in samples])

    def on_prompts(self, prompts: Sequence[str]) -> Intervention | None:
        """The intervention for a run over plain prompts; only where ``is_told`` is false."""
        return self.intervention if self.rebuild is None else self.rebuild(prompts)


def choose_all(
    material: Material,
    methods: Sequence[Method | Control],
    dev: Sequence[Sample],
    settings: Settings,
    *,
    budget: int | None,
    progress: bool = True,
) -> tuple[dict[str, Chosen], list[str]]:
    """Name -> choice of every method that this model allows, and a note with the reason for each other one."""
    chosen: dict[str, Chosen] = {}
    notes: list[str] = []
    bar = tqdm(methods, desc="choose on dev", unit="method", disable=not progress)
    for method in bar:
        bar.set_postfix_str(method.name)
        try:
            chosen[method.name] = choose(
                material, method, dev, settings, budget=budget, before=chosen
            )
        except (UnavailableError, UnreachableError) as error:
            notes.append(f"{method.name} left out: {error}")
    return chosen, notes


def choose(
    material: Material,
    method: Method | Control,
    dev: Sequence[Sample],
    settings: Settings,
    *,
    budget: int | None = None,
    before: Mapping[str, Chosen] | None = None,
    rule: str = "best",
    keep_items: bool = False,
) -> Chosen:
    """The candidate of a method that does best on dev: accuracy, then margin, then the earlier one.

    Args:
        material: What candidates are built from.
        method: Whose.
        dev: Items to choose on.
        settings: How they are scored; the method's own position goes before theirs.
        budget: Most candidates; None for all that the method has.
        before: What other methods chose, for a control.
        rule: One of ``RULES``.
        keep_items: Keep which items each candidate got right, for ``Sweep.selection``.

    Raises:
        UnavailableError: If the method cannot be had here.
        ValueError: If it offers more candidates than the budget allows, or none.
    """
    require_one_of("choose", rule, RULES)
    candidates, rebuild = _offer(method, material, before or {}, dev, budget)
    if not 1 <= len(candidates) <= (budget or len(candidates)):
        raise ValueError(
            f"method {method.name!r} offers {len(candidates)} candidates; the budget allows 1 to {budget}"
        )
    settings = replace(settings, position=method.position or settings.position)
    if isinstance(method, Method) and method.axis:
        grid = _grid(method, candidates, settings.task)
        found = grid.run(material.model, dev, settings, keep_items=keep_items, progress=False)
        if found.split == "unknown":  # what a task calls dev is dev
            found = replace(found, split="dev")
        choice = found.best() if rule == "best" else found.stable()
        taken = _taken(candidates, choice)
        return Chosen(
            method,
            taken,
            settings.position,
            choice.accuracy,
            len(candidates),
            found,
            choice,
            candidates=candidates,
        )
    scored = evaluate_all(
        material.model, dev, [one.intervention for one in candidates], settings, progress=False
    )
    base = None
    if len(candidates) > 1:  # a control, or a finished intervention, is what it is
        base = evaluate_all(material.model, dev, [None], settings, progress=False)[0]
    best = best_of(scored, base)
    return Chosen(
        method,
        Candidate(None) if best < 0 else candidates[best],
        settings.position,
        base.accuracy if base and best < 0 else scored[best].accuracy,
        len(candidates),
        rebuild=rebuild,
    )


def _taken(candidates: Sequence[Candidate], choice: Choice) -> Candidate:
    """The candidate of a cell; of a mask where nothing beats the unsteered model, one that changes nothing."""
    if not choice.is_unsteered:
        return next(
            one for one in candidates if (one.k, one.strength) == (choice.k, choice.strength)
        )
    first = candidates[0].intervention
    still = replace(first, strength=0.0) if isinstance(first, MaskedScaling) else None
    return replace(candidates[0], intervention=still, strength=0.0)


def _grid(method: Method, candidates: Sequence[Candidate], task: str) -> Grid:
    first = candidates[0].intervention
    mask = getattr(first, "mask", None)
    ranking = "" if mask is None else str(mask.provenance.get("ranking", ""))
    words = "scaling" if isinstance(first, MaskedScaling) else method.name
    return Grid.of(candidates, ranking, words, method.axis, task)


def candidates_of(method: Method, material: Material, budget: int | None) -> Sequence[Candidate]:
    """Candidates of a method, on the component and with the ranking that its definition names, if it does."""
    own = replace(
        material,
        component=method.component or material.component,
        ranking=method.ranking or material.ranking,
    )
    return method.candidates(own, budget)


def _offer(
    method: Method | Control,
    material: Material,
    before: Mapping[str, Chosen],
    dev: Sequence[Sample],
    budget: int | None,
) -> tuple[Sequence[Candidate], Rebuild | None]:
    if isinstance(method, Method):
        return candidates_of(method, material, budget), None
    name = method.of or f"sadi-{material.component}"
    followed = before[name].candidate if name in before else Candidate(None)
    if followed.intervention is None or not followed.strength:
        raise UnavailableError(f"{name!r} chose nothing that it could be a control of")
    build: Rebuild = partial(method.build, material, followed.intervention)
    given = dev if method.per_samples else [one.prompt for one in dev]
    made = Candidate(build(given), followed.k, followed.strength)
    return [made], build if method.per_prompts or method.per_samples else None


def report(
    model: HookedModel,
    chosen: Sequence[Chosen],
    test: Sequence[Sample],
    settings: Settings,
    *,
    progress: bool = True,
) -> list[Evaluation]:
    """Score every choice once on test: all that act at the same position share one pass over the items.

    Args:
        model: A bridged model in eval mode.
        chosen: What runs.
        test: Items that nothing was chosen on.
        settings: How they are scored.
        progress: Show a bar.
    """
    found: dict[str, Evaluation] = {}
    for position in dict.fromkeys(one.position for one in chosen):
        group = [one for one in chosen if one.position == position]
        results = evaluate_all(
            model,
            test,
            [one.on(test) for one in group],
            replace(settings, position=position),
            labels=[one.name for one in group],
            progress=progress,
            description="test",
        )
        found |= {one.label: one for one in results}
    return [found[one.name] for one in chosen]


def seconds_of(model: HookedModel, one: Chosen, dev: Sequence[Sample], settings: Settings) -> float:
    """CPU seconds that a choice takes for an item of dev where nothing is shared with other methods, all threads.

    Args:
        model: A bridged model in eval mode.
        one: The choice.
        dev: The first ``TIMED`` of them are run.
        settings: How they are scored.
    """
    some = dev[:TIMED]
    steering = one.on(some)
    started = time.process_time()
    evaluate_all(model, some, [steering], replace(settings, position=one.position), progress=False)
    return (time.process_time() - started) / len(some)
