"""Every way to steer, side by side: chosen on dev with the same budget, scored once on the same test items."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import MaskedAddition, MaskedScaling, VectorAddition
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.choosing import Chosen, choose_all, report
from sadi_lens.measure.evaluation import chance_of
from sadi_lens.measure.methods import (
    BUDGET,
    METHODS,
    ON_REQUEST,
    Candidate,
    Control,
    Material,
    Method,
)
from sadi_lens.measure.neutral import halves_of, side_effects
from sadi_lens.measure.nulls import null_band
from sadi_lens.measure.sweeps import STRENGTHS
from sadi_lens.types.base import DEFAULT_POSITION, NotFiniteError, require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Task
from sadi_lens.types.model import HookedModel, ModelInfo, n_units
from sadi_lens.types.results import Comparison, Evaluation, NullBand, SideEffects, Written
from sadi_lens.types.stats import ALPHA, MIN_NULL

N_NEUTRAL = 32
"""Neutral texts used of those given."""


@checked()
def compare(
    model: HookedModel,
    task: Task,
    methods: Sequence[str | Method | Control | Intervention | None] | None = None,
    *,
    component: str = "head",
    position: str = DEFAULT_POSITION,
    budget: int = BUDGET,
    n_null: int = 200,
    tune_null: bool = True,
    neutral: Sequence[str] | None = None,
    reference: str | None = None,
    scoring: str = "sum",
    written: bool = False,
    max_new_tokens: int = 16,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Every method chosen on dev with the same budget, then scored once on the same test items.

    Args:
        model: A bridged model in eval mode.
        task: Needs pairs (the masks and vectors), dev (every choice) and test (every number reported).
        methods: Names of ``sadi_lens.measure.methods.METHODS``, methods of your own, finished interventions, or None
            for the unsteered model, which always comes first. Default: all that steer, differ and have units in this
            model; not ``ON_REQUEST`` (prompting, fine-tuning).
        component: What the fixed methods and the controls edit, and whose SADI they are controls of.
        position: Which tokens are edited, unless a method's definition says so itself.
        budget: Candidates that each method may try on dev.
        n_null: Random masks in the null band of SADI on ``component``; 0 for none.
        tune_null: Let each random mask choose its strength on dev, as SADI did. Without it all run at SADI's
            strength, which is several times as fast and favours SADI.
        neutral: Texts that steering is not meant to change, for the side effects; the first ``N_NEUTRAL`` are used.
            Default: no side effects are measured.
        reference: Label of the method that every other is contrasted with; default SADI on ``component``.
        scoring: See ``evaluate``.
        written: Let every choice write its answer on test too (``MethodRow.written``): scores and behaviour may part.
        max_new_tokens: See ``evaluate``.
        seed: Seed of every random mask.
        progress: Show bars.

    Raises:
        ValueError: If the task lacks a split, the model a component, a name is unknown or comes twice, a control is
            asked for without its method, or a number is out of range.

    Example:
        >>> heads = sl.activation_differences(
        ...     model, task.pairs[:20], components=["head"], progress=False
        ... )["head"]
        >>> scaling = sl.MaskedScaling(sl.top_k_mask(heads, 3), strength=5.0)
        >>> small = sl.Task("hints", pairs=task.pairs[:20], dev=task.dev[:20], test=task.test[:40])
        >>> found = sl.compare(model, small, [None, scaling], n_null=0, neutral=[], progress=False)
        >>> [(row.label, row.accuracy) for row in found.rows]
        [('unsteered', 0.7), ('SADI head, K 3, strength 5', 0.925)]
    """
    require_splits(task)
    listed = _resolve(methods, ModelInfo.of(model), component)
    names = [one.name for one in listed]
    own = f"sadi-{component}"
    reference = own if reference is None and own in names else reference or ""
    if reference:
        require_one_of("reference", reference, names)
    plan = Plan(
        Settings(task.name, position, scoring, max_new_tokens=max_new_tokens),
        budget,
        nulls=Nulls(n_null, tune_null, of=(own,)),
        reference=reference,
        neutral=list(neutral or ())[:N_NEUTRAL],
        written=written,
        progress=progress,
    )
    material = Material(model, task.pairs, task.name, component, position, seed)
    return run_plan(material, listed, task, plan)[0]


@dataclass(frozen=True)
class Nulls:
    """Which choices are placed among random masks of their size.

    Raises:
        ValueError: If ``n`` cannot reach ``ALPHA``.
    """

    n: int
    """Random masks; 0 for none."""
    tuned: bool
    """Whether each chooses its own strength on dev, as the method did."""
    of: Sequence[str]
    """Names of methods that scale a mask; one that was not chosen, or does something else, has none."""
    strengths: Sequence[float] = STRENGTHS

    def __post_init__(self) -> None:
        if self.n and self.n < MIN_NULL:
            raise ValueError(
                f"n_null must be 0 or at least {MIN_NULL}, got {self.n}: fewer cannot reach p < {ALPHA}"
            )


@dataclass(frozen=True)
class Plan:
    """Settings of a comparison: scoring, budget, random masks, what is run on test."""

    settings: Settings
    budget: int | None
    """Candidates that each method may try; None for all it has."""
    nulls: Nulls
    reference: str = ""
    neutral: Sequence[str] = ()
    """Texts for the side effects."""
    timed: bool = True
    written: bool = False
    """Whether what each choice writes on test is measured, too."""
    keep: Callable[[dict[str, Chosen]], Sequence[str]] = list
    """Which of the choices are run on test, decided by dev alone; default all."""
    words: Callable[[Chosen], str] | None = None
    """What was chosen, for the table; default the intervention's label."""
    progress: bool = True

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"budget must be at least 1 candidate a method, got {self.budget}")
        if len(self.neutral) == 1:
            raise ValueError(
                "neutral must hold at least 2 texts (the swapped prompt needs two), got 1"
            )
        for text in self.neutral:
            halves_of(text)


def run_plan(
    material: Material, methods: Sequence[Method | Control], task: Task, plan: Plan
) -> tuple[Comparison, dict[str, Chosen]]:
    """The comparison, and what every method chose.

    Raises:
        ValueError: If the model lacks the component; otherwise as ``compare``.
    """
    n_units(ModelInfo.of(material.model), material.component)
    chosen, notes = choose_all(
        material, methods, task.dev, plan.settings, budget=plan.budget, progress=plan.progress
    )
    run = [chosen[name] for name in plan.keep(chosen)]
    # From here on everything is fixed, and test is read for the first time.
    found = report(
        material.model, run, task.test, plan.settings, timed=plan.timed, progress=plan.progress
    )
    written = _written(material.model, run, task, plan, found)
    bands = _bands(material, run, task, plan)
    details = {
        one.name: {
            "kind": one.method.kind,
            "settings": plan.words(one) if plan.words else _label(one, plan.settings.position),
            "dev_accuracy": one.dev_accuracy,
            "n_candidates": one.n_candidates,
            "seconds": found[one.name][1],
            "choice_seconds": one.seconds,
            "null": bands[one.name].label if one.name in bands else "",
            "side_effects": _side_effects(material.model, one, plan.neutral),
            "written": written.get(one.name),
        }
        for one in run
    }
    comparison = Comparison.of(
        [one for one, _ in found.values()],
        chance=chance_of(task.test),
        nulls=tuple({band.label: band for band in bands.values()}.values()),
        details=details,
        reference=plan.reference,
        component=material.component,
        notes=notes,
    )
    return comparison, chosen


def _written(
    model: HookedModel,
    run: Sequence[Chosen],
    task: Task,
    plan: Plan,
    scored: Mapping[str, tuple[Evaluation, float]],
) -> dict[str, Written]:
    """What each choice writes on test, where the plan asks for it."""
    if not plan.written:
        return {}
    settings = replace(plan.settings, scoring="generation")
    found = report(model, run, task.test, settings, timed=False, progress=plan.progress)
    base = found[run[0].name][0]
    return {name: Written.of(one, base, scored[name][0]) for name, (one, _) in found.items()}


def require_splits(task: Task) -> None:
    """Refuse a task that has nothing to build, choose or report on."""
    for name in ("pairs", "dev", "test"):
        if not getattr(task, name):
            raise ValueError(f"task {task.name!r} has no {name}; this needs pairs, dev and test")


def _bands(
    material: Material, run: Sequence[Chosen], task: Task, plan: Plan
) -> dict[str, NullBand]:
    """The random-mask null of each method that has one; equal K and strength share theirs."""
    nulls = plan.nulls
    found: dict[str, NullBand] = {}
    cells: dict[tuple[int, float], NullBand] = {}
    for one in run if nulls.n else ():
        sadi = one.intervention
        if one.name not in nulls.of or not isinstance(sadi, MaskedScaling):
            continue
        cell = (sadi.mask.k, sadi.strength)
        if cell not in cells:
            cells[cell] = null_band(
                material.model,
                task.test,
                sadi.mask,
                sadi.strength,
                n=nulls.n,
                tune_on=task.dev if nulls.tuned else None,
                strengths=nulls.strengths,
                seed=material.seed,
                position=one.position,
                scoring=plan.settings.scoring,
                task=plan.settings.task,
                max_new_tokens=plan.settings.max_new_tokens,
                progress=plan.progress,
            )
        found[one.name] = cells[cell]
    return found


def _side_effects(model: HookedModel, one: Chosen, texts: Sequence[str]) -> SideEffects | None:
    if not texts:
        return None
    position = "every_step" if one.position == "last_prompt" else one.position
    runs = one.on([halves_of(text)[0] for text in texts])
    try:
        return side_effects(
            model,
            texts,
            runs.intervention,
            steered=runs.on(model),
            before=runs.before,
            position=position,
        )
    except NotFiniteError as error:  # the other rows stand
        warnings.warn(f"side effects of {one.name}: {error}", stacklevel=2)
        return SideEffects(math.nan, math.nan, math.nan, math.nan, len(texts), 0, position)


def _resolve(
    methods: Sequence[str | Method | Control | Intervention | None] | None,
    info: ModelInfo,
    component: str,
) -> list[Method | Control]:
    """The methods asked for, the unsteered model first; every control after the method it follows."""
    if methods is None:
        methods = [
            name
            for name in METHODS
            if name not in ON_REQUEST and (info.d_mlp or name != "sadi-neuron")
        ]
    n_units(info, component)
    listed: list[Method | Control] = [METHODS["unsteered"]]
    for one in methods:
        if one is None or one == "unsteered":
            continue
        if isinstance(one, str):
            require_one_of("method", one, METHODS)
            one = METHODS[one]
        if not isinstance(one, Method | Control):
            one.check(info)
            one = _finished(one)
        if any(one.name == other.name for other in listed):
            raise ValueError(f"methods must have different names, got {one.name!r} twice")
        if isinstance(one, Control):
            followed = one.of or f"sadi-{component}"
            if followed not in [other.name for other in listed if isinstance(other, Method)]:
                raise ValueError(
                    f"{one.name!r} is a control of {followed!r}, which must stand before it in methods"
                )
        listed.append(one)
    return listed


def _finished(intervention: Intervention) -> Method:
    """A finished intervention as a method with a single candidate."""
    kinds = {MaskedScaling: "adaptive", MaskedAddition: "fixed", VectorAddition: "fixed"}
    kind = next((word for cls, word in kinds.items() if isinstance(intervention, cls)), "other")
    return Method(intervention.label, kind, lambda _material, _budget: [Candidate(intervention)])


def _label(one: Chosen, position: str) -> str:
    """Label of the intervention and a position of its own, where they say more than the method's name; else empty."""
    if one.is_unsteered:
        return "unsteered: nothing does better on dev"
    parts = (one.candidate.words, "" if one.intervention is None else one.intervention.label)
    words = "; ".join(part for part in parts if part)
    if one.position != position:
        words += f", position {one.position}"
    return "" if words == one.name else words
