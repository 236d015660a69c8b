"""Which methods a comparison runs: those named, or all that a model allows with the controls of some."""

from collections.abc import Sequence
from dataclasses import replace

from sadi_lens.engine.contract import require_fit
from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import MaskedAddition, MaskedScaling, SwappedPrompt, VectorAddition
from sadi_lens.measure.choosing import Chosen
from sadi_lens.measure.methods import (
    METHODS,
    ON_REQUEST,
    Candidate,
    Control,
    Method,
    UnavailableError,
)
from sadi_lens.measure.nulls import Nulls
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import check_value
from sadi_lens.types.data import Task
from sadi_lens.types.model import ModelInfo, component_name, n_units

CONTROLS = ("main", "all")
MAIN = ("matched-norm", "matched-mean", "matched-kl", "same-answer", "other-answer")
"""Controls of ``sadi-effect`` that always stand beside it."""
LONELY = 0.1
"""Largest share of test prompts without a donor: they are not pushed, and the row says what no steering does there."""


def require_meant(
    names: Sequence[str], component: str, controls: str, n_null: int, budget: int
) -> None:
    """Refuse what is wrong for every model, before one is loaded.

    Raises:
        ValueError: If a name is unknown, or a number out of range.
    """
    component_name(component)
    require_one_of("controls", controls, CONTROLS)
    for one in names:
        require_one_of("method", one, METHODS)
    check_value("budget", budget, int)
    Nulls(check_value("n_null", n_null, int), tuned=False, of=())


def resolve(
    methods: Sequence[str | Method | Control | Intervention | None] | None,
    info: ModelInfo,
    component: str,
    controls: str,
) -> list[Method | Control]:
    """The methods asked for, the unsteered model first; every control after the method it follows."""
    if methods is None:
        names = [
            name
            for name in METHODS
            if name not in ON_REQUEST and (info.d_mlp or name != "sadi-neuron")
        ]
        methods = [*names, *_controls_of(names, f"sadi-{component}", controls)]
    n_units(info, component)
    listed: list[Method | Control] = [METHODS["unsteered"]]
    for one in methods:
        if one is None or one == "unsteered":
            continue
        if isinstance(one, str):
            require_one_of("method", one, METHODS)
            one = METHODS[one]
        if not isinstance(one, Method | Control):
            require_fit(one, info)
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


def _controls_of(names: Sequence[str], own: str, controls: str) -> list[Control]:
    """The controls of other methods than SADI on the component of the comparison."""
    scaled = [
        name for name in names if name.startswith("sadi-") and name not in (own, "sadi-signed")
    ]
    return [
        replace(one, name=f"{one.name}, {method}", of=method)
        for method in (["sadi-effect"] if controls == "main" else scaled)
        for one in METHODS.values()
        if isinstance(one, Control) and (controls == "all" or one.name in MAIN)
    ]


def nulls_of(listed: Sequence[Method | Control], own: str, controls: str) -> list[str]:
    """Methods that are placed among random masks; all of one grid share theirs."""
    if controls == "main":
        return [own, "sadi-effect"]
    return [one.name for one in listed if isinstance(one, Method) and one.kind == "adaptive"]


def _finished(intervention: Intervention) -> Method:
    """A finished intervention as a method with a single candidate."""
    kinds = {MaskedScaling: "adaptive", MaskedAddition: "fixed", VectorAddition: "fixed"}
    kind = next((word for cls, word in kinds.items() if isinstance(intervention, cls)), "other")
    return Method(intervention.label, kind, lambda _material, _budget: [Candidate(intervention)])


def runnable(run: Sequence[Chosen], task: Task) -> tuple[list[Chosen], list[str]]:
    """Choices as they run on test, and the reason of each one that cannot: donors on dev are none on test.

    What is told the right answers is built here, once, so that its label speaks of test.
    """
    kept: list[Chosen] = []
    notes: list[str] = []
    for one in run:
        try:
            kept.append(_built(one, task) if one.is_told else one)
        except UnavailableError as error:
            notes.append(f"{one.name} left out: on test {error}")
    return kept, notes


def _built(one: Chosen, task: Task) -> Chosen:
    """A choice for the items of test, where it says something there.

    Raises:
        UnavailableError: If too many prompts have no donor.
    """
    candidate = replace(one.on(task.test), rebuild=None)
    made = candidate.intervention
    if isinstance(made, SwappedPrompt):
        n = int((~made.pushes.any(axis=(1, 2, 3))).sum())
        if n > LONELY * len(made.prompts):
            raise UnavailableError(
                f"{n} of {len(made.prompts)} prompts have no other one that could give its push, and would not be "
                "steered at all"
            )
    return one._replace(candidate=candidate)
