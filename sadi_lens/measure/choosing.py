"""Choose on dev, report on test: the one driver behind ``compare``, the demo and experiments.

1. Every method offers candidates that it builds from the pairs (``Material``).
2. All candidates of a method are scored on dev; the best one is chosen (``choose``).
3. When everything is chosen, each choice is scored once on test (``report``).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from tqdm.auto import tqdm

from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import Settings, cpu_seconds, journal
from sadi_lens.measure.candidates import behind, evaluate_candidates
from sadi_lens.measure.methods import Candidate, Control, Material, Method, UnavailableError
from sadi_lens.measure.neutral import UnreachableError
from sadi_lens.measure.sweeps import Grid, best_of
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import check_value
from sadi_lens.types.data import Sample
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import Choice, Evaluation, Sweep

RULES = ("best", "stable")
"""``Sweep.best`` or ``Sweep.stable``; methods without a grid always take the best."""
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
    seconds: float = float("nan")
    """CPU seconds, all threads, of building its candidates and choosing one; what methods share, the first pays."""
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
        one = self.candidate
        changes = one.intervention or one.before or one.build
        return one.strength == 0 or (self.n_candidates > 1 and not changes)

    @property
    def is_told(self) -> bool:
        """Whether it is told the right answers, so that it cannot run on plain prompts."""
        return isinstance(self.method, Control) and self.method.per_samples

    def on(self, samples: Sequence[Sample]) -> Candidate:
        """What runs over ``samples``."""
        if self.is_told and self.candidate.rebuild is not None:
            asked = behind(self.candidate.before, samples)
            return replace(self.candidate, intervention=self.candidate.rebuild(asked))
        return self.on_prompts([sample.prompt for sample in samples])

    def on_prompts(self, prompts: Sequence[str]) -> Candidate:
        """What runs over plain prompts; only where ``is_told`` is false."""
        return self.candidate.over(prompts)


def choose_all(
    material: Material,
    methods: Sequence[Method | Control],
    dev: Sequence[Sample],
    settings: Settings,
    *,
    budget: int | None,
    later: Sequence[Sample] = (),
    progress: bool = True,
) -> tuple[dict[str, Chosen], list[str]]:
    """Name -> choice of every method that this model allows, and a note with the reason for each other one."""
    chosen: dict[str, Chosen] = {}
    notes: list[str] = []
    bar = tqdm(methods, desc="choose on dev", unit="method", disable=not progress)
    for method in bar:
        bar.set_postfix_str(method.name)
        started = cpu_seconds()
        try:
            one = choose(material, method, dev, settings, later=later, budget=budget, before=chosen)
            chosen[method.name] = one._replace(seconds=cpu_seconds() - started)
            notes += _edges(one)
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
    later: Sequence[Sample] = (),
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
        before: What other methods chose, for a control and for a method that starts from one of them.
        later: Items that the choice will run on (test); of them is asked only whether an answer joins its prompt.
        rule: One of ``RULES``.
        keep_items: Keep which items each candidate got right, for ``Sweep.selection``.

    Raises:
        UnavailableError: If the method cannot be had here.
        ValueError: If it offers more candidates than the budget allows, or none.
    """
    require_one_of("choose", rule, RULES)
    start = _start(method, before or {}, material.component)
    material, dev = material.upon(start), behind(start.before, dev)
    prompts, runs = [one.prompt for one in dev], (*dev, *behind(start.before, later))
    offered = _offer(method, material, before or {}, dev, runs, budget)
    candidates = [one if one.intervention else one.over(prompts) for one in offered]
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
        taken, n = _started(_taken(candidates, choice), start), len(candidates)
        one = Chosen(method, taken, settings.position, choice.accuracy, n, found, choice)
        return one._replace(candidates=candidates)
    scored = evaluate_candidates(material.model, dev, candidates, settings)
    base = None
    if len(candidates) > 1:  # a control, or a finished intervention, is what it is
        (base,) = evaluate_candidates(material.model, dev, [Candidate(None)], settings)
    best = best_of(scored, base)
    return Chosen(
        method,
        _started(Candidate(None) if best < 0 else candidates[best], start),
        settings.position,
        base.accuracy if base and best < 0 else scored[best].accuracy,
        len(candidates),
    )


def _edges(one: Chosen) -> list[str]:
    """A note where the chosen strength is the largest or smallest that was tried: the best may lie beyond."""
    if one.sweep is None or len(one.sweep.strengths) < 2:
        return []
    strength, tried = one.candidate.strength, one.sweep.strengths
    for word, edge in (("largest", max(tried)), ("smallest", min(tried))):
        if strength == edge:
            return [
                f"{one.name} chose the {word} strength of its grid, {strength:g}: the best may lie beyond"
            ]
    return []


def _start(method: Method | Control, before: Mapping[str, Chosen], component: str) -> Candidate:
    """What the method starts from: the plain model, or what another method chose. A control: where its method runs."""
    name = method.upon if isinstance(method, Method) else method.follows(component)
    if not name or (isinstance(method, Control) and name not in before):  # _offer says so
        return Candidate(None)
    if name not in before:
        raise UnavailableError(f"it starts from what {name!r} chose, which must stand before it")
    return before[name].candidate


def _started(taken: Candidate, start: Candidate) -> Candidate:
    """The candidate with the text and the model that its method started from."""
    if not start.before and start.build is None:
        return taken
    return replace(taken, before=start.before, build=start.build, words=start.words)


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
    found = method.candidates(own, budget)
    try:
        return check_value("candidates", found, Sequence[Candidate])
    except TypeError as error:
        raise TypeError(f"method {method.name!r}: {error}") from error


def _offer(
    method: Method | Control,
    material: Material,
    before: Mapping[str, Chosen],
    dev: Sequence[Sample],
    runs: Sequence[Sample],
    budget: int | None,
) -> Sequence[Candidate]:
    """What there is to choose from; one that knows prompts by their tokens is refused where answers join them."""
    if isinstance(method, Method):
        found = candidates_of(method, material, budget)
        material.require_own_tokens(runs if any(one.rebuild for one in found) else ())
        return found
    name = method.follows(material.component)
    followed = before[name].candidate if name in before else Candidate(None)
    if followed.intervention is None or not followed.strength:
        raise UnavailableError(f"{name!r} chose nothing that it could be a control of")
    is_rebuilt = method.per_prompts or method.per_samples
    material.require_own_tokens(runs if is_rebuilt else ())
    build = partial(method.build, material, followed.intervention)
    given = dev if method.per_samples else [one.prompt for one in dev]
    built = check_value(f"what build of {method.name!r} gives", build(given), Intervention)
    made = Candidate(built, followed.k, followed.strength)
    return [replace(made, rebuild=build) if is_rebuilt else made]


def report(
    model: HookedModel,
    chosen: Sequence[Chosen],
    test: Sequence[Sample],
    settings: Settings,
    *,
    progress: bool = True,
) -> list[Evaluation]:
    """Score every choice once on test, items that nothing was chosen on.

    All choices that act at the same position share one pass over the items.
    """
    found: dict[str, Evaluation] = {}
    positions = dict.fromkeys(one.position for one in chosen)
    for position in tqdm(positions, desc="test", unit="position", disable=not progress):
        group = [one for one in chosen if one.position == position]
        results = evaluate_candidates(
            model,
            test,
            [one.on(test) for one in group],
            replace(settings, position=position),
            labels=[one.name for one in group],
        )
        found |= {one.label: one for one in results}
    return [found[one.name] for one in chosen]


def seconds_of(model: HookedModel, one: Chosen, dev: Sequence[Sample], settings: Settings) -> float:
    """CPU seconds that a choice takes for an item of dev alone, all threads; the first ``TIMED`` are run."""
    some = dev[:TIMED]
    steering = one.candidate if one.is_told else one.on(some)  # the first was built for all of dev
    started = time.process_time()
    with journal(None):
        evaluate_candidates(model, some, [steering], replace(settings, position=one.position))
    return (time.process_time() - started) / len(some)
