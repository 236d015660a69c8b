"""Which figures a run draws."""

import re
from typing import TYPE_CHECKING, Any, cast

from sadi_lens.apps.experiments.cells import UNSTEERED, Cell, base_of
from sadi_lens.apps.experiments.experiment import Experiment
from sadi_lens.measure.methods import METHODS
from sadi_lens.plots import (
    accuracy_by_pairs,
    difference_heatmap,
    method_accuracy,
    sweep_heatmap,
    units_by_layer,
)
from sadi_lens.types.results import Comparison

if TYPE_CHECKING:
    import pandas as pd


def figures_of(
    experiment: Experiment, found: dict[Cell, dict[str, Any]], tables: dict[str, "pd.DataFrame"]
) -> dict[str, Any]:
    """Name -> figure, for every figure whose data the run has."""
    wanted, figures = experiment.figures, dict[str, Any]()
    if "methods" in wanted:
        for name, comparison in comparisons(experiment, found).items():
            figures[f"methods_{name}"] = method_accuracy(comparison)
    masks: dict[str, dict[str, Any]] = {}
    for cell, one in found.items():
        if cell.method == UNSTEERED or cell.seed != experiment.seeds[0] or "sweep" not in one:
            continue
        if "sweeps" in wanted and cell.method == "sadi":
            figures[f"sweep_{cell.id}"] = sweep_heatmap(one["sweep"], choice=one["choice"])
        if one.get("mask") is not None and cell.method == "sadi":
            name = named(experiment, cell.task, cell.model, cell.shots)
            masks.setdefault(name, {})[cell.label] = one["mask"]
            if "differences" in wanted and one.get("differences") is not None:
                key = f"differences_{name}_{cell.component}"
                figures.setdefault(key, difference_heatmap(one["differences"], one["mask"]))
    if "layers" in wanted:
        for name, by_label in masks.items():
            figures[f"layers_{name}"] = units_by_layer(by_label)
    if "pairs" in wanted and "results" in tables:
        results = tables["results"]
        first = results[results["scoring"] == experiment.scorings[0]]
        for key, rows in first.groupby(["task", "model", "shots"], sort=False):
            name = named(experiment, *cast("tuple[str, str, int]", key))
            figures[f"pairs_{name}"] = accuracy_by_pairs(rows)
    return {re.sub(r"[^A-Za-z0-9_-]+", "_", name): figure for name, figure in figures.items()}


def named(experiment: Experiment, task: str, model: str, shots: int) -> str:
    """What a figure of these rows is called: the task, and what there are several of."""
    name = task if len(experiment.models) == 1 else f"{task}-{model}"
    return f"{name}-{shots}shot" if shots else name


def comparisons(experiment: Experiment, found: dict[Cell, dict[str, Any]]) -> dict[str, Comparison]:
    """Everything on the same items, the unsteered model first; the first seed and scoring only."""
    scoring = experiment.scorings[0]
    groups: dict[Cell, list[Cell]] = {}
    for cell in found:
        if cell.method != UNSTEERED and cell.seed == experiment.seeds[0]:
            groups.setdefault(base_of(cell, experiment), []).append(cell)
    result: dict[str, Comparison] = {}
    for base, cells in groups.items():
        rows = [base, *cells]
        if not all(found[cell].get("test") for cell in rows):
            continue
        components = {cell.component for cell in cells}
        name = named(experiment, base.task, base.model, base.shots)
        result[name] = Comparison.of(
            tuple(found[cell]["test"][scoring] for cell in rows),
            chance=found[base]["chance"],
            details={
                cell.label: {
                    "kind": METHODS[cell.method].kind,
                    "settings": "" if cell == base else found[cell]["choice"].settings,
                }
                for cell in rows
            },
            component=components.pop() if len(components) == 1 else "",
        )
    return result
