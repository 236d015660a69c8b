"""The main job from end to end: contrastive pairs to a steered model, its controls and its pictures."""

from collections.abc import Sequence
from typing import Any

from sadi_lens.engine.intervention import Intervention
from sadi_lens.find.differences import activation_differences, unit_differences
from sadi_lens.find.rankings import unit_scores
from sadi_lens.interventions import MaskedAddition, MaskedScaling
from sadi_lens.measure.evaluation import chance_of, evaluate
from sadi_lens.measure.push import measure_push
from sadi_lens.measure.sweeps import STRENGTHS, null_band, sweep
from sadi_lens.types.components import n_units
from sadi_lens.types.data import Task
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask, top_k_mask
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import Choice, Comparison, MethodRow, NullBand, Sweep
from sadi_lens.types.scores import RANKINGS, Scores
from sadi_lens.types.stats import ALPHA, MIN_NULL

COMPARED_RANKINGS = ("signed", "magnitude", "standardised", "effect")
TUNED_FIXED = "fixed, K and strength chosen on dev"
N_NULL = 200
"""Random masks in each null band: an empirical p-value no smaller than 1/201."""
SHOWN_UNITS = 12
"""Units whose distribution is drawn."""


def run_demo(
    model: HookedModel,
    task: Task,
    *,
    component: str = "head",
    position: str = "last_prompt",
    ks: Sequence[int] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    n_null: int = N_NULL,
    tune_null: bool = False,
    seed: int = 0,
    max_new_tokens: int = 4,
    progress: bool = True,
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
        tune_null: Let each random mask choose its own strength on dev, as SADI did: a fair null, but
            ``len(strengths)`` times as slow. Otherwise all run at the strength that was tuned for SADI's mask.
        seed: Seed of the random masks.
        max_new_tokens: Room for a free-text answer; choice tasks do not need it.
        progress: Show bars.

    Returns:
        ``differences``, ``masks``, ``unit_differences``, ``sweep``, ``choice``, ``comparison``, ``finding`` and
        what else ``sadi_lens.types.store.write_json`` needs to redraw them.

    Raises:
        ValueError: If the task lacks a split, the model the component, or ``n_null`` is too small.
    """
    for name in ("pairs", "dev", "test"):
        if not getattr(task, name):
            raise ValueError(f"task {task.name!r} has no {name}; this needs pairs, dev and test")
    n_units(ModelInfo.of(model), component)  # refuses a component that is unknown or absent
    if n_null < MIN_NULL:
        raise ValueError(
            f"n_null must be at least {MIN_NULL}, got {n_null}: fewer cannot reach p < {ALPHA}"
        )
    differences = activation_differences(model, task.pairs, task=task.name, progress=progress)
    own = differences[component]
    ranked: dict[str, ActivationDifferences | Scores] = dict.fromkeys(RANKINGS, own)
    ranked["effect"] = unit_scores(model, task, component, "effect", progress=progress)

    def tune(ranking: str, fixed: bool = False) -> tuple[Sweep, Choice]:
        def make(mask: Mask, strength: float) -> Intervention:
            if fixed:
                return MaskedAddition.from_differences(mask, own, strength, match="norm")
            return MaskedScaling(mask, strength)

        found = sweep(
            model,
            task.dev,
            ranked[ranking],
            ks,
            strengths,
            ranking=ranking,
            make=make,
            method="fixed D, same norm" if fixed else "scaling",
            position=position,
            max_new_tokens=max_new_tokens,
            progress=progress,
        )
        return found, found.best()

    tuned = {ranking: tune(ranking) for ranking in COMPARED_RANKINGS}
    grid, choice = tuned["signed"]
    # The other ranking that does best on dev, so that test plays no part in naming it.
    other = max(
        (ranking for ranking in COMPARED_RANKINGS if ranking != "signed"),
        key=lambda ranking: tuned[ranking][1].accuracy,
    )
    fixed = tune("signed", fixed=True)[1]
    mask = top_k_mask(own, choice.k)
    sadi = MaskedScaling(mask, choice.strength)
    push = measure_push(model, [pair.prompt for pair in task.pairs], sadi, progress=progress)
    second = tuned[other][1]
    second_mask = top_k_mask(ranked[other], second.k, ranking=other)
    adaptive, rival = f"SADI {component} (signed ranking)", f"SADI {component} ({other} ranking)"
    methods: dict[str, tuple[Intervention | None, str]] = {
        "unsteered": (None, ""),
        adaptive: (sadi, _cell(choice)),
        rival: (MaskedScaling(second_mask, second.strength), _cell(second)),
        **{
            f"fixed, same mask, {words}": (
                MaskedAddition.from_differences(
                    mask,
                    own,
                    choice.strength,
                    match=match,
                    push=push if match != "coefficient" else None,
                ),
                _cell(choice),
            )
            for match, words in (
                ("coefficient", "same coefficient"),
                ("norm", "same norm"),
                ("mean", "same mean push"),
            )
        },
        TUNED_FIXED: (
            MaskedAddition.from_differences(
                top_k_mask(own, fixed.k), own, fixed.strength, match="norm"
            ),
            _cell(fixed),
        ),
    }
    evaluations = evaluate(
        model,
        task.test,
        [one for one, _ in methods.values()],
        position=position,
        task=task.name,
        label=list(methods),
        max_new_tokens=max_new_tokens,
        progress=progress,
    )

    def null(one: Mask, cell: Choice) -> NullBand:
        return null_band(
            model,
            task.test,
            one,
            cell.strength,
            n=n_null,
            tune_on=task.dev if tune_null else None,
            strengths=strengths,
            seed=seed,
            position=position,
            task=task.name,
            max_new_tokens=max_new_tokens,
            progress=progress,
        )

    bands = {adaptive: null(mask, choice)}
    same_cell = (second.k, second.strength) == (choice.k, choice.strength)
    bands[rival] = bands[adaptive] if same_cell else null(second_mask, second)
    comparison = Comparison.of(
        evaluations,
        chance=chance_of(task.test),
        nulls=tuple({band.label: band for band in bands.values()}.values()),
        details={
            label: {
                "kind": "unsteered"
                if one is None
                else "fixed"
                if label.startswith("fixed")
                else "adaptive",
                "settings": settings,
                "null": bands[label].label if label in bands else "",
            }
            for label, (one, settings) in methods.items()
        },
        component=component,
    )
    shown = top_k_mask(own, min(SHOWN_UNITS, own.mean.size), ranking="magnitude")
    return {
        "differences": differences if component == "head" else {component: own},
        "masks": {component: mask, f"{component}, {other} ranking": second_mask},
        "unit_differences": unit_differences(
            model, task.pairs, shown, task=task.name, progress=progress
        ),
        "sweep": grid,
        "sweeps": {ranking: found for ranking, (found, _) in tuned.items()},
        "choice": choice,
        "comparison": comparison,
        "finding": finding(comparison, adaptive, rival),
        "settings": {
            "component": component,
            "position": position,
            "n_null": n_null,
            "tune_null": tune_null,
            "seed": seed,
            "n_pairs": len(task.pairs),
            "n_dev": len(task.dev),
            "n_test": len(task.test),
        },
    }


def _cell(choice: Choice) -> str:
    return f"K {choice.k}, strength {choice.strength:g}"


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
        f"accuracy from {base.accuracy:.0%} to {row.accuracy:.0%} ({100 * row.gain:+.0f} points, 95% interval "
        f"{100 * row.gain_interval.low:+.0f} to {100 * row.gain_interval.high:+.0f}; a fixed vector tuned the same way "
        f"reaches {fixed.accuracy:.0%})"
    )
    if row.mcnemar_p >= ALPHA or row.gain_interval.low <= 0 <= row.gain_interval.high:
        return head + ": no change that the data can tell from zero."
    if row.gain < 0:
        return head + ": steering makes the model worse here, though dev chose this K and strength."
    nulls = {null.label: null for null in comparison.nulls}
    as_good, n = _as_good(row, nulls[row.null])
    if row.null_p < ALPHA:
        return head + (
            f"; {as_good} of {n} random masks do as well (p = {row.null_p:.3f}): here the choice of units matters."
        )
    inside = f"the paper's ranking lies inside the random-mask null ({as_good} of {n} do as well, p = {row.null_p:.2f})"
    if other.null_p < ALPHA and other.gain > 0 and other.mcnemar_p < ALPHA:
        return head + (
            f", but {inside}, while {rival} reaches {other.accuracy:.0%} and lies outside (p = {other.null_p:.3f}): "
            "scaling helps, and the signed mean is not what finds the units."
        )
    return head + (
        f", but {inside}, and so does the {rival} (p = {other.null_p:.2f}): nothing here shows that it matters "
        "which units are scaled."
    )


def _as_good(row: MethodRow, null: NullBand) -> tuple[int, int]:
    """Draws at least as good as the row, and all draws."""
    return int((null.accuracies >= row.accuracy).sum()), null.n
