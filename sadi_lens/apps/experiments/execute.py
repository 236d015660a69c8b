"""Running the cells of an experiment, one after another, each saved whole before the next begins."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from sadi_lens.apps.experiments.cells import UNSTEERED, Cell, cells_of
from sadi_lens.apps.experiments.experiment import Experiment
from sadi_lens.apps.experiments.figures import figures_of
from sadi_lens.apps.experiments.folder import RunFolder
from sadi_lens.apps.experiments.prepare import Material
from sadi_lens.apps.experiments.report import write_items, write_report
from sadi_lens.engine.generation import generate
from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import MaskedAddition, MaskedScaling, VectorAddition
from sadi_lens.measure.evaluation import chance_of, evaluate
from sadi_lens.measure.open_ended import load_classifier, open_ended_scores
from sadi_lens.measure.scorings import truthful_scores
from sadi_lens.measure.sweeps import KS, STRENGTHS, sweep
from sadi_lens.plots import export
from sadi_lens.types.data import Task
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask, top_k_mask
from sadi_lens.types.results import Choice, Evaluation
from sadi_lens.types.store import save

FIXED = {"fixed": "norm", "fixed_coefficient": "coefficient", "fixed_mean": "mean"}
Make = Callable[[Mask, float], Intervention]


def run_experiment(
    experiment: Experiment, out: str | Path, *, png: bool = False, progress: bool = True
) -> Path:
    """Run every cell that is not finished yet, then write the tables and figures.

    Killed at any moment and started again, it goes on where it was; finished cells are never run again.

    Args:
        experiment: What to run.
        out: Folder of the run; a new one, or one that this experiment began.
        png: Also draw PNG (needs Chromium).
        progress: Show a bar with the time that is left.

    Returns:
        ``out``: ``results.csv``, ``items.parquet``, ``report.md``, ``figures/`` and one folder a cell.

    Raises:
        ValueError: If settings, model, data or library versions differ from what the folder was begun with, or a
            cell cannot be run.
        RuntimeError: If another process writes to the folder.
        OSError: If it cannot be written to.
    """
    folder = RunFolder(out)
    cells = cells_of(experiment)
    with folder.locked():
        folder.begin(experiment.settings())
        material = Material(experiment, folder)
        left = [cell for cell in cells if not folder.is_done(cell.id)]
        if left:  # a model that cannot be loaded is refused before anything is removed
            material.model(left[0].model)
        folder.clean()
        costs = [_cost(cell, experiment) for cell in cells]
        done = sum(cost for cell, cost in zip(cells, costs, strict=True) if folder.is_done(cell.id))
        bar = tqdm(
            total=sum(costs), initial=done, desc=experiment.name, unit="pass", disable=not progress
        )
        with bar:
            for cell, cost in zip(cells, costs, strict=True):
                if not folder.is_done(cell.id):
                    bar.set_postfix_str(f"{cell.task}: {cell.label}", refresh=True)
                    try:
                        found = _run(cell, material)
                    except ValueError as error:
                        raise ValueError(f"{cell.task}, {cell.label}: {error}") from error
                    save(found, folder.cell(cell.id))
                    bar.update(cost)
                write_items(folder, cell)
        found, tables = write_report(experiment, folder, cells)
        figures = figures_of(experiment, found, tables)
        if figures:
            export(figures, folder.path / "figures", png=png)
    return folder.path


def _cost(cell: Cell, experiment: Experiment) -> int:
    """Passes over a split, roughly: the cells of the grid on dev, and test."""
    if cell.method == UNSTEERED:
        return 1
    ks = experiment.ks.get(cell.component) or KS[cell.component]
    return 2 + len(ks) * len(experiment.strengths or STRENGTHS)


def _run(cell: Cell, material: Material) -> dict[str, Any]:
    """Everything that one cell gives; test is touched only after the choice is made."""
    experiment = material.experiment
    model = material.model(cell.model)
    task, dropped = material.task(cell)
    seconds: dict[str, float] = {}
    found: dict[str, Any] = {"cell": asdict(cell), "dropped": dropped, "seconds": seconds}
    is_open = not task.test and bool(task.prompts)
    if cell.method == UNSTEERED:
        if is_open:
            return {**found, "open": _continue(cell, material, task, [(0, 0.0, None)], seconds)}
        return {**found, **_test(cell, material, task, None, seconds)}
    start = time.perf_counter()
    pairs = material.pairs(cell)
    differences = material.differences(cell)
    seconds["differences"] = time.perf_counter() - start
    own, make, ks = _method(cell, differences, experiment)
    ranking = cell.ranking or "signed"
    strengths = experiment.strengths or STRENGTHS
    found |= {"n_pairs": len(pairs), "note": material.balance_note(cell)}
    if is_open:  # nothing to choose by: every cell of the grid is shown
        grid = [(k, s, make(top_k_mask(own, k, ranking=ranking), s)) for k in ks for s in strengths]
        return {**found, "open": _continue(cell, material, task, grid, seconds)}
    if not task.dev:
        raise ValueError(f"task {task.name!r} has no dev split to choose K and strength on")
    start = time.perf_counter()
    grid = sweep(
        model,
        task.dev,
        own,
        ks,
        strengths,
        ranking=ranking,
        make=make,
        method=cell.method,
        position=cell.position,
        scoring=experiment.scorings[0],
        max_new_tokens=experiment.max_new_tokens,
        keep_items=True,
        progress=False,
    )
    choice: Choice = grid.best() if experiment.choose == "best" else grid.stable()
    seconds["dev"] = time.perf_counter() - start
    mask = top_k_mask(own, choice.k, ranking=ranking)
    chosen = make(mask, choice.strength)
    return {
        **found,
        "mask": None if cell.method == "caa" else mask,
        "sweep": grid,
        "choice": choice,
        "selection": grid.selection() if grid.n >= 4 else None,
        "differences": own if "differences" in experiment.figures else None,
        **_test(cell, material, task, chosen, seconds),
    }


def _method(
    cell: Cell, differences: dict[str, ActivationDifferences], experiment: Experiment
) -> tuple[ActivationDifferences, Make, list[int]]:
    """Moments to rank by, what is built from a mask, and the grid's first axis."""
    own = differences[cell.component]
    if cell.method == "caa":

        def add(mask: Mask, strength: float) -> Intervention:
            return VectorAddition.from_differences(own, mask.k - 1, strength)

        return own, add, list(range(1, own.model.n_layers + 1))
    given = experiment.ks.get(cell.component)
    ks = list(given or [k for k in KS[cell.component] if k <= own.mean.size])
    if cell.method == "random":
        noise = np.random.default_rng(cell.seed).standard_normal(own.mean.shape)
        return replace(own, mean=noise.astype(np.float32)), MaskedScaling, ks
    if cell.method in FIXED:

        def push(mask: Mask, strength: float) -> Intervention:
            match = FIXED[cell.method]
            return MaskedAddition.from_differences(mask, own, strength, match=match)

        return own, push, ks
    return own, MaskedScaling, ks


def _test(
    cell: Cell,
    material: Material,
    task: Task,
    intervention: Intervention | None,
    seconds: dict[str, float],
) -> dict[str, Any]:
    experiment = material.experiment
    scores: dict[str, Evaluation] = {}
    start = time.perf_counter()
    for scoring in experiment.scorings:
        scores[scoring] = evaluate(
            material.model(cell.model),
            task.test,
            intervention,
            position=cell.position or "last_prompt",
            scoring=scoring,
            task=cell.task,
            label=cell.label,
            max_new_tokens=experiment.max_new_tokens,
            progress=False,
        )
        if scoring == experiment.scorings[0]:
            seconds["test_per_item"] = (time.perf_counter() - start) / len(task.test)
    found: dict[str, Any] = {"test": scores, "chance": chance_of(task.test)}
    if "sum" in scores and any(one.also_right for one in task.test):
        table = truthful_scores(scores["sum"], task.test)
        found["truthful"] = {str(name): table[name].to_numpy() for name in table}
    return found


def _continue(
    cell: Cell,
    material: Material,
    task: Task,
    grid: Sequence[tuple[int, float, Intervention | None]],
    seconds: dict[str, float],
) -> list[dict[str, Any]]:
    """Mean scores of the continuations at every cell of a grid."""
    experiment = material.experiment
    classifier = load_classifier(experiment.classifier) if experiment.classifier else None
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    for k, strength, intervention in grid:
        texts = generate(
            material.model(cell.model),
            list(task.prompts),
            intervention,
            position=cell.position or "last_prompt",
            max_new_tokens=experiment.max_new_tokens,
        )
        table = open_ended_scores(
            material.model(cell.model), task.prompts, texts, classifier=classifier
        )
        means = {str(name): float(value) for name, value in table.mean().items()}
        rows.append({"k": k, "strength": strength, "n": len(texts), **means, "text": texts[0]})
    seconds["test_per_item"] = (time.perf_counter() - start) / (len(grid) * len(task.prompts))
    return rows
