"""Every way to steer, side by side: chosen on dev with the same budget, scored once on the same test items."""

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tqdm.auto import tqdm

from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.text import fitting
from sadi_lens.measure.calls import Settings, are_texts, chance_of, fitting_samples
from sadi_lens.measure.choosing import Chosen, choose_all, report, seconds_of
from sadi_lens.measure.listing import CONTROLS, nulls_of, resolve, runnable
from sadi_lens.measure.methods import BUDGET, Control, Material, Method
from sadi_lens.measure.neutral import halves_of, side_effects
from sadi_lens.measure.nulls import Nulls, bands_of
from sadi_lens.types.base import DEFAULT_POSITION, NotFiniteError, require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Task, clusters_of
from sadi_lens.types.model import HookedModel, ModelInfo, n_units
from sadi_lens.types.paired import power_line
from sadi_lens.types.results import Comparison, Evaluation, SideEffects, Written
from sadi_lens.types.stats import N_NULL

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
    controls: str = "main",
    n_null: int = N_NULL,
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

    Within ``sadi_lens.measure.journal`` it goes on where it was interrupted.

    Args:
        model: A bridged model in eval mode.
        task: Needs pairs (the masks and vectors), dev (every choice) and test (every number reported).
        methods: Names of ``sadi_lens.measure.methods.METHODS``, methods of your own, finished interventions, or None
            for the unsteered model, which always comes first. Default: all that steer, differ and have units in this
            model; not ``ON_REQUEST`` (prompting, fine-tuning).
        component: What the fixed methods and the controls edit, and whose SADI they are controls of.
        position: Which tokens are edited, unless a method's definition says so itself.
        budget: Candidates that each method may try on dev.
        controls: Where no methods are named, whose controls run: ``"main"``: those of SADI on ``component``, and the
            fixed vectors, donors and null of ``sadi-effect``; ``"all"``: of every method that scales a mask.
        n_null: Random masks in each null band (masks of the same K, and masks with as many units in each layer);
            0 for none. More masks give a finer p-value: its 95% interval stands beside it. With fewer than 20 a place
            (a method and a null) none can be told from random masks after Holm's correction.
        tune_null: Let each random mask go through SADI's own grid of K and strength on dev, and choose as SADI did.
            Without it all run at SADI's cell, which is many times as fast and favours SADI: no p-value is given then.
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
    require_one_of("controls", controls, CONTROLS)
    listed = resolve(methods, ModelInfo.of(model), component, controls)
    names = [one.name for one in listed]
    nulls = nulls_of(listed, f"sadi-{component}", controls)
    own = f"sadi-{component}"
    reference = own if reference is None and own in names else reference or ""
    if reference:
        require_one_of("reference", reference, names)
    plan = Plan(
        Settings(task.name, position, scoring, max_new_tokens=max_new_tokens),
        budget,
        nulls=Nulls(n_null, tune_null, nulls, nulls if controls == "all" else [own]),
        reference=reference,
        neutral=list(neutral or ())[:N_NEUTRAL],
        written=written,
        progress=progress,
    )
    material = Material(model, task.pairs, task.name, component, position, seed)
    return run_plan(material, listed, task, plan)[0]


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
    for split, samples in (("dev", task.dev), ("test", task.test)):
        try:  # test is looked at by its length alone, before all that stands before it is computed
            are_texts(samples)
            fitting_samples(material.model, samples, plan.settings, too_long=None)
        except ValueError as error:
            raise ValueError(f"{split} of task {task.name!r}: {error}") from error
    texts = [((text,), ()) for text in plan.neutral]
    fitting(material.model, texts, "texts of neutral (--neutral FILE)", too_long=None)
    if plan.progress:
        lines = [
            power_line(len(task.test), clusters_of(task.test)),
            *plan.nulls.cost(task, plan.budget),
        ]
        tqdm.write("\n".join(lines), file=sys.stderr)
    chosen, notes = choose_all(
        material,
        methods,
        task.dev,
        plan.settings,
        budget=plan.budget,
        later=task.test,
        progress=plan.progress,
    )
    run = [chosen[name] for name in plan.keep(chosen)]
    # From here on everything is fixed, and test is read for the first time.
    run, more = runnable(run, task)
    found = report(material.model, run, task.test, plan.settings, progress=plan.progress)
    bands, layered = bands_of(
        material, run, task, plan.nulls, plan.settings, progress=plan.progress
    )
    written = _written(material.model, run, task, plan, found)
    details = {
        one.name: {
            "kind": one.method.kind,
            "control_of": one.method.follows(material.component)
            if isinstance(one.method, Control)
            else "",
            "settings": plan.words(one) if plan.words else _label(one, plan.settings.position),
            "dev_accuracy": one.dev_accuracy,
            "n_candidates": one.n_candidates,
            "seconds": seconds_of(material.model, chosen[one.name], task.dev, plan.settings)
            if plan.timed
            else float("nan"),
            "choice_seconds": one.seconds if plan.timed else float("nan"),
            "null": bands[one.name].label if one.name in bands else "",
            "layer_null": layered[one.name].label if one.name in layered else "",
            "side_effects": _side_effects(material.model, one, plan.neutral),
            "written": written.get(one.name),
            "is_unsteered": _is_base(one),
        }
        for one in run
    }
    comparison = Comparison.of(
        found,
        chance=chance_of(task.test),
        nulls=tuple({band.label: band for band in (*bands.values(), *layered.values())}.values()),
        details=details,
        reference=plan.reference,
        pairs=_pairs(run),
        component=_component(run),
        notes=[*notes, *more],
    )
    return comparison, chosen


def _written(
    model: HookedModel,
    run: Sequence[Chosen],
    task: Task,
    plan: Plan,
    scored: Sequence[Evaluation],
) -> dict[str, Written]:
    """What each choice writes on test, where the plan asks for it."""
    if not plan.written:
        return {}
    settings = replace(plan.settings, scoring="generation")
    found = report(model, run, task.test, settings, progress=plan.progress)
    return {
        text.label: Written.of(text, found[0], own, is_base=_is_base(one))
        for one, text, own in zip(run, found, scored, strict=True)
    }


def require_splits(task: Task) -> None:
    """Refuse a task that has nothing to build, choose or report on."""
    missing = [name for name in ("pairs", "dev", "test") if not getattr(task, name)]
    if missing:
        raise ValueError(
            f"task {task.name!r} has no {' and no '.join(missing)}; this needs pairs, dev and test (a row says its own "
            "in the column split)"
        )


def _side_effects(model: HookedModel, one: Chosen, texts: Sequence[str]) -> SideEffects | None:
    if not texts or one.is_told:
        return None
    position = "every_step" if one.position == "last_prompt" else one.position
    runs = one.on_prompts([halves_of(text)[0] for text in texts])
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


def _pairs(run: Sequence[Chosen]) -> list[tuple[str, str]]:
    """Every adaptive method with each of its own controls, and with the best random mask."""
    names = {one.name for one in run}
    found = [
        (one.method.of, one.name)
        for one in run
        if isinstance(one.method, Control) and one.method.of
    ]
    found += [(one.name, "random") for one in run if one.method.kind == "adaptive"]
    return [pair for pair in found if names.issuperset(pair)]


def _component(run: Sequence[Chosen]) -> str:
    """What all that steer edit; empty if they differ."""
    found = {getattr(one.intervention, "component", "") for one in run if one.intervention}
    return found.pop() if len(found) == 1 else ""


def _is_base(one: Chosen) -> bool:
    """Whether it is the unsteered model compared, with no text before the prompt and no weights of its own."""
    return one.is_unsteered and not one.candidate.before and one.candidate.build is None


def _label(one: Chosen, position: str) -> str:
    """Label of the intervention and a position of its own, where they say more than the method's name; else empty."""
    if one.is_unsteered:
        return "unsteered: nothing does better on dev"
    parts = (one.candidate.words, "" if one.intervention is None else one.intervention.label)
    words = "; ".join(part for part in parts if part)
    if one.position != position:
        words += f", position {one.position}"
    return "" if words == one.name else words
