"""The main job from end to end: contrastive pairs to a steered model, its controls, its pictures (``sadi-lens demo``).

A preset of ``sadi_lens.measure.comparing``: SADI under the paper's ranking and under that by effect, both named
beforehand, beside fixed vectors and random masks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sadi_lens.apps.demo_pictures import pictured
from sadi_lens.apps.demo_steps import Steps, forecast, in_words
from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.choosing import Chosen
from sadi_lens.measure.comparing import Plan, require_splits, run_plan
from sadi_lens.measure.methods import METHODS, Control, Material, Method
from sadi_lens.measure.methods.sadi import fixed, matched, sadi
from sadi_lens.measure.nulls import Nulls
from sadi_lens.measure.sweeps import KS, STRENGTHS
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Task
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import HookedModel, ModelInfo, n_units
from sadi_lens.types.results import Comparison, MethodRow
from sadi_lens.types.stats import ALPHA, MIN_NULL, N_NULL

RANKINGS = ("signed", "effect")
"""The paper's and ours. Were the second picked on dev among several, its place among random masks would flatter it."""
TUNED_FIXED = "fixed, K and strength chosen on dev"
SAME_NORM = "fixed, same mask, same norm"
OF_EFFECT = {
    "norm": "fixed, mask by effect, same norm",
    "mean": "fixed, mask by effect, same mean push",
}
"""What a fixed vector on the heads of the effect ranking is matched in -> its label."""


@checked()
def run_demo(
    model: HookedModel,
    task: Task,
    *,
    component: str = "head",
    position: str = DEFAULT_POSITION,
    ks: Sequence[int] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    n_null: int = N_NULL,
    tune_null: bool = True,
    seed: int = 0,
    scoring: str = "sum",
    max_new_tokens: int = 4,
    progress: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Find, steer, compare: everything that the table, the figures and results.json show.

    K and strength of every adaptive row, and of the tuned fixed row, are the best cell of the same grid on
    ``task.dev``; every number of the comparison is measured once on ``task.test``.

    Args:
        model: A bridged model in eval mode.
        task: Needs pairs, dev and test.
        component: What to steer.
        position: Which tokens are edited.
        ks: Numbers of units in the grid; default by component.
        strengths: Strengths in the grid.
        n_null: Random masks in a null band, at least ``MIN_NULL``.
        tune_null: Let each random mask go through the same K and strengths on dev and choose, as SADI did: a fair
            null, but as slow as ``n_null`` sweeps. Otherwise all run at the cell that was chosen for SADI's mask, and
            there is no p-value.
        seed: Seed of the random masks.
        scoring: See ``evaluate``.
        max_new_tokens: Room for a free-text answer; choice tasks do not need it.
        progress: Show bars.
        say: Takes a line at the start, with the time that it will take, and one per step.

    Returns:
        ``differences``, ``masks``, ``sweep``, ``choice``, ``comparison``, ``finding`` and what redrawing them needs.

    Raises:
        ValueError: If the task lacks a split, the model the component, or ``n_null`` is too small.
    """
    require_splits(task)
    if n_null < MIN_NULL:
        raise ValueError(
            f"n_null must be at least {MIN_NULL}, got {n_null}: fewer cannot reach p < {ALPHA}"
        )
    by_ranking = {one: f"SADI {component} ({one} ranking)" for one in RANKINGS}
    steps = Steps(say)

    def keep(chosen: dict[str, Chosen]) -> list[str]:
        cells = "after a choice of their own on dev" if tune_null else "at the cell of each ranking"
        steps.next(f"test: every choice once, and {n_null} random masks {cells}")
        return list(chosen)

    plan = Plan(
        Settings(task.name, position, scoring, max_new_tokens=max_new_tokens),
        budget=None,
        nulls=Nulls(n_null, tune_null, list(by_ranking.values())),
        timed=False,
        keep=keep,
        words=_cell,
        progress=progress,
    )
    grid = {} if ks is None else {component: ks}
    material = Material(
        model, task.pairs, task.name, component, position, seed, ks=grid, strengths=strengths
    )
    say(_opening(material, task, plan))
    for line in plan.nulls.weakness:
        say(line)
    steps.next(f"differences between right and wrong answers, {len(task.pairs)} pairs")
    _ = material.differences
    steps.next(f"effect of every {component} unit on the margin, {len(task.pairs)} pairs")
    _ = material.scores(component, "effect")
    comparison, chosen = run_plan(material, _methods(by_ranking, steps), task, plan)
    steps.next("differences of the strongest units pair by pair, and figures")
    found = _results(material, task, comparison, chosen, by_ranking)
    return found | {"settings": _settings(material, task, plan)}


def _opening(material: Material, task: Task, plan: Plan) -> str:
    """Sizes and the time that they will take."""
    nulls, sweeps = plan.nulls, len(RANKINGS) + 1
    info, component = ModelInfo.of(material.model), material.component
    size = info.n_layers * n_units(info, component)
    ks = material.ks.get(component) or [one for one in KS[component] if one <= size]
    cells = len(ks) * len(material.strengths)
    seconds = forecast(
        material.model,
        task,
        component,
        plan.settings,
        sweeps=sweeps,
        cells=cells + 1,
        tests=2 * nulls.n + sweeps,
        tuned=nulls.n * cells * nulls.tuned,
    )
    return (
        f"{len(task.pairs)} pairs, {len(task.dev)} dev and {len(task.test)} test items, {cells} cells of K and "
        f"strength, {nulls.n} random masks: {in_words(seconds)} on this machine, from a timed first pass"
    )


def _settings(material: Material, task: Task, plan: Plan) -> dict[str, Any]:
    return {
        "component": material.component,
        "position": material.position,
        "n_null": plan.nulls.n,
        "tune_null": plan.nulls.tuned,
        "seed": material.seed,
        "n_pairs": len(task.pairs),
        "n_dev": len(task.dev),
        "n_test": len(task.test),
    }


def _methods(by_ranking: dict[str, str], steps: Steps) -> list[Method | Control]:
    """SADI under every ranking, the fixed counterparts of each, and a fixed vector with a choice of its own."""
    own = by_ranking["signed"]
    return [
        METHODS["unsteered"],
        *(
            Method(
                name,
                "adaptive",
                steps.before(f"K and strength on dev: {ranking} ranking", sadi),
                ranking=ranking,
                axis="K",
            )
            for ranking, name in by_ranking.items()
        ),
        *(
            Control(f"fixed, same mask, {words}", "fixed", partial(matched, match), of=own)
            for match, words in (
                ("coefficient", "same coefficient"),
                ("norm", "same norm"),
                ("mean", "same mean push"),
            )
        ),
        *(
            Control(name, "fixed", partial(matched, match), of=by_ranking["effect"])
            for match, name in OF_EFFECT.items()
        ),
        Method(
            TUNED_FIXED,
            "fixed",
            steps.before("K and strength on dev: fixed vectors", partial(fixed, "norm")),
            ranking="signed",
            axis="K",
        ),
    ]


def _cell(one: Chosen) -> str:
    if one.is_unsteered:
        return "unsteered"
    k, strength = one.candidate.k, one.candidate.strength
    return f"K {k}, strength {strength:g}" if k else ""


def _results(
    material: Material,
    task: Task,
    comparison: Comparison,
    chosen: dict[str, Chosen],
    by_ranking: dict[str, str],
) -> dict[str, Any]:
    component = material.component
    adaptive, rival = by_ranking["signed"], by_ranking["effect"]
    return {
        **pictured(material, task, chosen[adaptive], chosen.get(SAME_NORM)),
        "masks": {
            component: _mask(chosen[adaptive]),
            f"{component}, effect ranking": _mask(chosen[rival]),
        },
        "sweep": chosen[adaptive].sweep,
        "sweeps": {ranking: chosen[name].sweep for ranking, name in by_ranking.items()},
        "choice": chosen[adaptive].choice,
        "comparison": comparison,
        "finding": finding(comparison, adaptive, rival)
        + (f" This gain {words}." if (words := comparison.row(adaptive).verdict) else ""),
    }


def _mask(one: Chosen) -> Mask:
    assert isinstance(one.intervention, MaskedScaling)
    return one.intervention.mask


def _gain(row: MethodRow) -> str:
    """The gain of a row in whole points with its interval."""
    if row.is_unsteered:
        return "the unsteered model: nothing did better on dev"
    low, high = (100 * end for end in row.gain_interval)
    return f"{100 * row.gain:+.0f} points, 95% interval {low:+.0f} to {high:+.0f}"


def finding(comparison: Comparison, adaptive: str, rival: str) -> str:
    """What a comparison shows, in one sentence.

    Args:
        comparison: Rows ``adaptive`` (the paper's ranking) and ``rival`` (another one), each with its null.
        adaptive: Label of the paper's method.
        rival: Label of the same method with another ranking.
    """
    rows = {row.label: row for row in comparison.rows}
    base, row, other, fixed = comparison.rows[0], rows[adaptive], rows[rival], rows[TUNED_FIXED]
    head = (
        f"On {comparison.task} ({comparison.model.name}, {comparison.split}, n = {comparison.n}) {adaptive} moves "
        f"accuracy from {base.accuracy:.0%} to {row.accuracy:.0%} ({_gain(row)}; a fixed vector tuned the same way "
        f"reaches {fixed.accuracy:.0%})"
    )
    beside = f" {rival} reaches {other.accuracy:.0%} ({_gain(other)})."
    if not (moved := row.moved(corrected=False)):
        return f"{head}: no change that the data can tell from zero.{beside}"
    if moved < 0:
        return f"{head}: steering makes the model worse here, though dev chose this K and strength.{beside}"
    nulls = {null.label: null for null in comparison.nulls}
    n = nulls[row.null].n
    counts = {one.label: nulls[one.null].as_good(one.accuracy) for one in (row, other)}
    corrected = comparison.null_holm()
    if (row.label, row.null) not in corrected:
        return head + (
            f", {rival} to {other.accuracy:.0%}; of {n} random masks at the same cell {counts[adaptive]} and "
            f"{counts[rival]} do as well. They did not choose that cell, so this is no test of which units are scaled "
            "(tune_null is)."
        )
    p = {one.label: corrected[one.label, one.null] for one in (row, other)}
    place = {label: f"{counts[label]} of {n} do as well, Holm p = {p[label]:.3f}" for label in p}
    if p[adaptive] < ALPHA:
        return (
            f"{head} and beats random masks ({place[adaptive]}): here the choice of units matters."
        )
    told = f"the paper's ranking is not told apart from random masks ({place[adaptive]})"
    if other.moved(corrected=False) <= 0:
        return head + f", but {told}, and {rival} gains nothing that can be told from zero."
    if p[rival] < ALPHA:
        return head + (
            f", but {told}, while {rival} reaches {other.accuracy:.0%} and beats them ({place[rival]}): "
            "scaling helps, and the signed mean is not what finds the units."
        )
    return head + (
        f", but {told}, nor is {rival} ({place[rival]}): nothing here shows that it matters which units are scaled."
    )
