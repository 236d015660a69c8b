"""Every way to steer, side by side: chosen on dev with the same budget, scored once on the same test items."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import MaskedAddition, MaskedScaling, VectorAddition
from sadi_lens.measure.evaluation import chance_of, evaluate
from sadi_lens.measure.methods import BUDGET, METHODS, Control, Material, Method, UnavailableError
from sadi_lens.measure.neutral import UnreachableError, halves_of, side_effects
from sadi_lens.measure.sweeps import null_band
from sadi_lens.tasks import load_task
from sadi_lens.tasks.embedded import EMBEDDED_TASKS
from sadi_lens.types.base import POSITIONS, require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.components import n_units
from sadi_lens.types.data import Sample, Task
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import Comparison, Evaluation, NullBand
from sadi_lens.types.stats import ALPHA, MIN_NULL

N_NEUTRAL = 32
"""Neutral texts used of those given."""


Rebuild = Callable[[Sequence[str]], Intervention]


class Chosen(NamedTuple):
    """What a method runs with on test."""

    name: str
    kind: str
    intervention: Intervention | None
    position: str
    dev: Evaluation
    """The chosen candidate on dev."""
    n_candidates: int
    rebuild: Rebuild | None = None
    """Builds it anew for other prompts, where it must know them."""

    def on(self, prompts: Sequence[str]) -> Intervention | None:
        """The intervention for a run over ``prompts``."""
        return self.intervention if self.rebuild is None else self.rebuild(prompts)


@checked()
def compare(
    model: HookedModel,
    task: Task,
    methods: Sequence[str | Method | Control | Intervention | None] | None = None,
    *,
    component: str = "head",
    position: str = "last_prompt",
    budget: int = BUDGET,
    n_null: int = 200,
    tune_null: bool = True,
    neutral: Sequence[str] | None = None,
    reference: str | None = None,
    scoring: str = "sum",
    max_new_tokens: int = 16,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Every method chosen on dev with the same budget, then scored once on the same test items.

    Args:
        model: A bridged model in eval mode.
        task: Needs pairs (the masks and vectors), dev (every choice) and test (every number reported).
        methods: Names of ``sadi_lens.measure.methods.METHODS``, methods of your own, finished interventions,
        or None for the
            unsteered model, which always comes first. Default: all names that this model has the components for.
        component: What the fixed methods and the controls edit, and whose SADI they are controls of.
        position: Which tokens are edited, unless a method's definition says so itself.
        budget: Candidates that each method may try on dev.
        n_null: Random masks in the null band of SADI on ``component``; 0 for none.
        tune_null: Let each random mask choose its strength on dev, as SADI did. Without it all run at SADI's
            strength, which is several times as fast and favours SADI.
        neutral: Texts that steering is not meant to change, for the side effects; the first ``N_NEUTRAL`` are used.
            Default: replies to a friend for the embedded tasks, otherwise none and no side effects.
        reference: Label of the method that every other is contrasted with; default SADI on ``component``.
        scoring: See ``evaluate``.
        max_new_tokens: See ``evaluate``.
        seed: Seed of every random mask.
        progress: Show bars.

    Raises:
        ValueError: If the task lacks a split, the model a component, a name is unknown or comes twice, a control is
            asked for without its method, or a number is out of range.
    """
    for name in ("pairs", "dev", "test"):
        if not getattr(task, name):
            raise ValueError(f"task {task.name!r} has no {name}; compare needs pairs, dev and test")
    require_one_of("position", position, POSITIONS)
    info = ModelInfo.of(model)
    n_units(info, component)
    if budget < 1:
        raise ValueError(f"budget must be at least 1 candidate a method, got {budget}")
    if n_null and n_null < MIN_NULL:
        raise ValueError(
            f"n_null must be 0 or at least {MIN_NULL}, got {n_null}: fewer cannot reach p < {ALPHA}"
        )
    listed = _resolve(methods, info, component)
    own = f"sadi-{component}"
    labels = [one.name for one in listed]
    reference = own if reference is None and own in labels else reference or ""
    if reference:
        require_one_of("reference", reference, labels)
    if neutral is None and task.name in EMBEDDED_TASKS:
        neutral = [pair.prompt + pair.positive for pair in load_task("kindness").pairs]
    texts = list(neutral or ())[:N_NEUTRAL]
    if len(texts) == 1:
        raise ValueError("neutral must hold at least 2 texts (the swapped prompt needs two), got 1")
    prompts = [halves_of(text)[0] for text in texts]
    settings: dict[str, Any] = {
        "scoring": scoring,
        "max_new_tokens": max_new_tokens,
        "task": task.name,
    }
    material = Material(model, task.pairs, task.name, component, position, seed)
    chosen, notes = _choose(material, listed, task.dev, budget, settings, progress=progress)
    # From here on everything is fixed, and test is read for the first time.
    evaluations: list[Evaluation] = []
    details: dict[str, dict[str, Any]] = {}
    bar = tqdm(chosen, desc="test", unit="method", disable=not progress)
    for one in bar:
        bar.set_postfix_str(one.name)
        steering = one.on([sample.prompt for sample in task.test])
        started = time.process_time()
        evaluations += evaluate(
            model,
            task.test,
            [steering],
            label=[one.name],
            position=one.position,
            progress=False,
            **settings,
        )
        details[one.name] = _details(one, position) | {
            "seconds": (time.process_time() - started) / len(task.test)
        }
        if texts:
            details[one.name]["side_effects"] = side_effects(
                model,
                texts,
                one.on(prompts),
                position="every_step" if one.position == "last_prompt" else one.position,
            )
    nulls: tuple[NullBand, ...] = ()
    sadi = next((one.intervention for one in chosen if one.name == own), None)
    if n_null and isinstance(sadi, MaskedScaling):
        band = null_band(
            model,
            task.test,
            sadi.mask,
            sadi.strength,
            n=n_null,
            tune_on=task.dev if tune_null else None,
            seed=seed,
            position=position,
            progress=progress,
            **settings,
        )
        nulls, details[own]["null"] = (band,), band.label
    return Comparison.of(
        evaluations,
        chance=chance_of(task.test),
        nulls=nulls,
        details=details,
        reference=reference,
        component=component,
        notes=notes,
    )


def _resolve(
    methods: Sequence[str | Method | Control | Intervention | None] | None,
    info: ModelInfo,
    component: str,
) -> list[Method | Control]:
    """The methods asked for, the unsteered model first; every control after the method it follows."""
    if methods is None:
        methods = [name for name in METHODS if info.d_mlp or name != "sadi-neuron"]
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
    """A method with nothing to choose."""
    kinds = {MaskedScaling: "adaptive", MaskedAddition: "fixed", VectorAddition: "fixed"}
    kind = next((word for cls, word in kinds.items() if isinstance(intervention, cls)), "other")
    return Method(intervention.label, kind, lambda _material, _budget: [intervention])


def _choose(
    material: Material,
    listed: Sequence[Method | Control],
    dev: Sequence[Sample],
    budget: int,
    settings: dict[str, Any],
    *,
    progress: bool,
) -> tuple[list[Chosen], list[str]]:
    """The best candidate of every method on dev: accuracy, then margin, then the earlier one."""
    chosen: dict[str, Chosen] = {}
    notes: list[str] = []
    bar = tqdm(listed, desc="choose on dev", unit="method", disable=not progress)
    for method in bar:
        bar.set_postfix_str(method.name)
        try:
            candidates, rebuild = _offer(method, material, chosen, dev, budget)
        except (UnavailableError, UnreachableError) as error:
            notes.append(f"{method.name} left out: {error}")
            continue
        if not 1 <= len(candidates) <= budget:
            raise ValueError(
                f"method {method.name!r} offers {len(candidates)} candidates; the budget allows 1 to {budget}"
            )
        position = method.position or material.position
        found = evaluate(
            material.model, dev, list(candidates), position=position, progress=False, **settings
        )
        best = max(range(len(found)), key=lambda index: _merit(found[index]))
        chosen[method.name] = Chosen(
            method.name,
            method.kind,
            candidates[best],
            position,
            found[best],
            len(candidates),
            rebuild,
        )
    return list(chosen.values()), notes


def _offer(
    method: Method | Control,
    material: Material,
    chosen: Mapping[str, Chosen],
    dev: Sequence[Sample],
    budget: int,
) -> tuple[Sequence[Intervention | None], Rebuild | None]:
    if isinstance(method, Method):
        return method.candidates(material, budget), None
    name = method.of or f"sadi-{material.component}"
    followed = chosen[name].intervention if name in chosen else None
    if followed is None:
        raise UnavailableError(f"{name!r} chose nothing that it could be a control of")
    build: Rebuild = partial(method.build, material, followed)
    return [build([one.prompt for one in dev])], build if method.per_prompts else None


def _merit(one: Evaluation) -> tuple[float, float]:
    return one.accuracy, -math.inf if math.isnan(one.margin) else one.margin


def _details(one: Chosen, position: str) -> dict[str, Any]:
    words = "" if one.intervention is None else one.intervention.label
    if one.position != position:
        words += f", position {one.position}"
    return {
        "kind": one.kind,
        "settings": "" if words == one.name else words,
        "dev_accuracy": one.dev.accuracy,
        "n_candidates": one.n_candidates,
    }
