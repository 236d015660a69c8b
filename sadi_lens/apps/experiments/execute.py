"""Running the cells of an experiment, one after another, each saved whole before the next begins."""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from sadi_lens.apps.experiments.cells import UNSTEERED, Cell, cells_of
from sadi_lens.apps.experiments.experiment import Experiment, grid_method
from sadi_lens.apps.experiments.figures import figures_of
from sadi_lens.apps.experiments.folder import RunFolder
from sadi_lens.apps.experiments.items import write_items
from sadi_lens.apps.experiments.prepare import Inputs
from sadi_lens.apps.experiments.report import write_report
from sadi_lens.engine.generation import generate
from sadi_lens.engine.intervention import Intervention
from sadi_lens.measure.calls import Settings, chance_of
from sadi_lens.measure.candidates import Candidate
from sadi_lens.measure.choosing import candidates_of, choose
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.measure.open_ended import open_ended_scores
from sadi_lens.measure.shards import shard_of
from sadi_lens.measure.sweeps import KS, STRENGTHS
from sadi_lens.measure.ways_of_scoring import truthful_scores
from sadi_lens.plots import export
from sadi_lens.types.base import NotFiniteError
from sadi_lens.types.checks import as_path
from sadi_lens.types.data import Task
from sadi_lens.types.results import Evaluation
from sadi_lens.types.results.selection import MIN_SPLIT
from sadi_lens.types.store import require_folder, save


def run_experiment(
    experiment: Experiment,
    out: str | Path,
    *,
    shard: tuple[int, int] | None = None,
    finish: bool = False,
    png: bool = False,
    progress: bool = True,
) -> Path:
    """Run every cell that is not finished yet, then write the tables and figures.

    Killed at any moment and started again, it goes on where it was; finished cells are never run again. Several
    processes share a run as shards, each started with another index; ``finish`` then writes what belongs to the whole.

    Args:
        experiment: What to run.
        out: Folder of the run; a new one, or one that this experiment began.
        shard: (index from 0, count): only this process's cells, and no tables. Which cells these are is fixed, so
            shards need no lock between them, nor a file system that has locks.
        finish: Run nothing; write tables and figures of a run whose cells are all finished.
        png: Also draw PNG (needs Chromium).
        progress: Show a bar with the time that is left.

    Returns:
        ``out``: ``results.csv``, ``items.parquet``, ``report.md``, ``figures/`` and one folder a cell.

    Raises:
        ValueError: If settings, model, data or library versions differ from what the folder was begun with, a cell
            cannot be run, or ``finish`` finds cells missing (with the shards that they are of).
        RuntimeError: If another process writes to the folder, or to this shard of it.
        OSError: If it cannot be written to.
    """
    if finish and shard is not None:
        raise ValueError("shard and finish exclude each other: finish when all shards are done")
    folder, cells = RunFolder(out), cells_of(experiment)
    if finish and not folder.is_marked():
        raise FileNotFoundError(f"{folder.path} holds no run that could be finished")
    shard = None if shard is None else shard_of(shard)
    own = cells if shard is None else cells_of_shard(cells, experiment, shard)
    with folder.locked(shard):
        settings = experiment.settings()
        folder.require_fits(settings)
        if finish:
            _require_done(folder, cells, experiment)
        inputs = Inputs(experiment, folder)
        inputs.require_unchanged()
        left = [cell for cell in own if not folder.is_done(cell.id)]
        for cell in left:
            require_folder(folder.cell(cell.id))
        if left:
            _require_files(experiment)
        if left:  # a model that cannot be loaded is refused before the folder is marked
            inputs.load(left[0].model)
        folder.begin(settings)
        if left:  # and one that has changed before anything is removed
            inputs.model(left[0].model)
        if shard is None:
            folder.clean()
        for cell in _finished(own, inputs, progress=progress):
            if shard is None:
                write_items(folder, cell)
        if shard is None:
            found, tables = write_report(experiment, folder, cells)
            figures = figures_of(experiment, found, tables)
            if figures:
                export(figures, folder.path / "figures", png=png)
    return folder.path


def cells_of_shard(
    cells: Sequence[Cell], experiment: Experiment, shard: tuple[int, int]
) -> list[Cell]:
    """Neighbours, which share pairs and model, of about equal cost in every shard."""
    index, count = shard
    owners = _owners(cells, experiment, count)
    return [cell for cell, owner in zip(cells, owners, strict=True) if owner == index]


def _owners(cells: Sequence[Cell], experiment: Experiment, count: int) -> list[int]:
    """The shard of each cell."""
    costs = np.array([_cost(cell, experiment) for cell in cells], dtype=float)
    return (count * (costs.cumsum() - costs / 2) / costs.sum()).astype(int).tolist()


def _require_files(experiment: Experiment) -> None:
    """Refuse a file or folder that is missing, before the cells that stand before its first use are run."""
    for name in ("toxic_texts", "classifier"):
        path = getattr(experiment, name)
        if path is not None and not as_path(name, path).exists():
            raise FileNotFoundError(f"{name} {path} does not exist")


def _require_done(folder: RunFolder, cells: Sequence[Cell], experiment: Experiment) -> None:
    left = {cell.id: cell for cell in cells if not folder.is_done(cell.id)}
    if not left:
        return
    count = folder.n_shards
    owners = dict.fromkeys(
        f"{owner}/{count}"
        for cell, owner in zip(cells, _owners(cells, experiment, count), strict=True)
        if cell.id in left
    )
    first = next(iter(left.values()))
    raise ValueError(
        f"{len(left)} of {len(cells)} cells of {folder.path} are not finished: shards {', '.join(owners)} (first "
        f"{first.task}, {first.label}). Run them first"
    )


def _finished(cells: Sequence[Cell], inputs: Inputs, *, progress: bool) -> Iterator[Cell]:
    """Every cell once it is finished; those that are not are run, each saved whole."""
    folder, experiment = inputs.folder, inputs.experiment
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
                    found = _run(cell, inputs)
                except ValueError as error:
                    raise ValueError(f"{cell.task}, {cell.label}: {error}") from error
                kept = {"settings": experiment.digest, "inputs": inputs.of(cell)}
                save({**found, **kept}, folder.cell(cell.id))
                bar.update(cost)
            yield cell


def _cost(cell: Cell, experiment: Experiment) -> int:
    """Rough cost in passes over a split: the cells of the grid on dev, and one on test."""
    if cell.method == UNSTEERED:
        return 1
    ks = experiment.ks.get(cell.component) or KS[cell.component]
    return 2 + len(ks) * len(experiment.strengths or STRENGTHS)


def _run(cell: Cell, inputs: Inputs) -> dict[str, Any]:
    """Run one cell: choose on dev, then score on test once."""
    task, dropped = inputs.task(cell)
    seconds: dict[str, float] = {}
    found: dict[str, Any] = {"cell": asdict(cell), "dropped": dropped, "seconds": seconds}
    is_open = not task.test and bool(task.prompts)
    if cell.method == UNSTEERED:
        if is_open:
            base = [Candidate(None, 0, 0.0)]
            return {**found, "open": _continue(cell, inputs, task, base, seconds)}
        return {**found, **_test(cell, inputs, task, None, seconds)}
    start = time.perf_counter()
    material = inputs.material(cell)
    differences = material.own
    seconds["differences"] = time.perf_counter() - start
    found |= {"n_pairs": len(material.pairs), "note": inputs.balance_note(cell)}
    method = replace(grid_method(cell.method), position="")  # the experiment says where
    if is_open:  # nothing to choose by: every cell of the grid is shown
        grid = candidates_of(method, material, None)
        return {**found, "open": _continue(cell, inputs, task, grid, seconds)}
    if not task.dev:
        raise ValueError(f"task {task.name!r} has no dev split to choose K and strength on")
    start = time.perf_counter()
    experiment = inputs.experiment
    chosen = choose(
        material,
        method,
        task.dev,
        _settings(cell, experiment, experiment.scorings[0], material.task),
        rule=experiment.choose,
        keep_items=True,
    )
    seconds["dev"] = time.perf_counter() - start
    grid = chosen.sweep
    return {
        **found,
        "mask": getattr(chosen.intervention, "mask", None),
        "sweep": grid,
        "choice": chosen.choice,
        "selection": grid.selection()
        if grid is not None and grid.n_independent >= MIN_SPLIT
        else None,
        "differences": differences if "differences" in experiment.figures else None,
        **_test(cell, inputs, task, chosen.intervention, seconds),
    }


def _settings(cell: Cell, experiment: Experiment, scoring: str, task: str) -> Settings:
    position = cell.position or "last_prompt"
    return Settings(task, position, scoring, max_new_tokens=experiment.max_new_tokens)


def _test(
    cell: Cell,
    inputs: Inputs,
    task: Task,
    intervention: Intervention | None,
    seconds: dict[str, float],
) -> dict[str, Any]:
    experiment = inputs.experiment
    scores: dict[str, Evaluation] = {}
    start = time.perf_counter()
    for scoring in experiment.scorings:
        (scores[scoring],) = evaluate_all(
            inputs.model(cell.model),
            task.test,
            [intervention],
            _settings(cell, experiment, scoring, cell.task),
            labels=[cell.label],
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
    inputs: Inputs,
    task: Task,
    grid: Sequence[Candidate],
    seconds: dict[str, float],
) -> list[dict[str, Any]]:
    """Mean scores of the continuations at every cell of a grid."""
    experiment, model = inputs.experiment, inputs.model(cell.model)
    classifier = inputs.classifier()
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    for one in grid:
        cell_of_grid = {"k": one.k, "strength": one.strength}
        try:
            texts = generate(
                model,
                list(task.prompts),
                one.intervention,
                position=cell.position or "last_prompt",
                max_new_tokens=experiment.max_new_tokens,
                return_tokens=True,
            )
        except NotFiniteError as error:  # the other cells stand
            warnings.warn(str(error), stacklevel=2)
            rows.append({**cell_of_grid, "n": 0, "text": ""})
            continue
        table = open_ended_scores(model, task.prompts, texts, classifier=classifier)
        means = {str(name): float(value) for name, value in table.mean().items()}
        rows.append({**cell_of_grid, "n": len(texts), **means, "text": texts[0].text})
    seconds["test_per_item"] = (time.perf_counter() - start) / (len(grid) * len(task.prompts))
    return rows
