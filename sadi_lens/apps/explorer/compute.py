"""Every method, K and strength on dev and on a few prompts: what the explorer page is drawn from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from sadi_lens.apps.explorer.prompts import Cells, prompt_grid, text_of
from sadi_lens.apps.explorer.pushes import Pushes, donated_correct
from sadi_lens.apps.explorer.recipe import Recipe
from sadi_lens.apps.explorer.strata import spread
from sadi_lens.engine.intervention import Intervention
from sadi_lens.measure.calls import Settings, chance_of, split_of
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.tasks.contrast import right_answer
from sadi_lens.types.data import Sample
from sadi_lens.types.masks import scores
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import Evaluation, ExplorerGrid, PromptGrid
from sadi_lens.types.results.explorer import METHODS


class Wanted(NamedTuple):
    """What a grid is computed on and how; see ``SteeringExplorer``."""

    dev: Sequence[Sample]
    prompts: Sequence[Sample | str]
    """Empty: ``n_prompts`` of dev, spread over the outcomes."""
    n_prompts: int
    ks: tuple[int, ...]
    strengths: tuple[float, ...]
    settings: Settings


def compute_grid(
    model: HookedModel, recipe: Recipe, wanted: Wanted, *, progress: bool
) -> ExplorerGrid:
    """Run every cell on dev, then on the prompts."""
    ks, strengths, settings, dev = wanted.ks, wanted.strengths, wanted.settings, wanted.dev
    cells = _cells(recipe, ks, strengths)
    found: list[Evaluation] = []
    if dev:
        found = evaluate_all(
            model,
            dev,
            cells.interventions,
            settings,
            progress=progress,
            description="explorer: dev",
        )
    differences = recipe.differences
    order = np.argsort(-scores(differences, recipe.ranking), axis=None, kind="stable")
    layers, units = np.unravel_index(order[: max(ks)], differences.mean.shape)
    correct = (
        np.stack([one.correct for one in found])
        if found
        else np.zeros((len(cells.interventions), 0), bool)
    )
    grid = ExplorerGrid(
        model=ModelInfo.of(model),
        task=settings.task,
        component=differences.component,
        ranking=recipe.ranking,
        position=settings.position,
        match=recipe.match,
        seed=recipe.seed,
        split=_split(dev),
        n=len(dev),
        chance=chance_of(dev) if dev else float("nan"),
        ks=ks,
        strengths=strengths,
        accuracy=cells.table([one.accuracy for one in found]),
        low=cells.table([one.interval.low for one in found]),
        high=cells.table([one.interval.high for one in found]),
        margin=cells.table([one.margin for one in found]),
        valid_rate=cells.table([one.valid_rate for one in found]),
        differences=differences,
        null=recipe.null,
        clusters=found[0].clusters if found else None,
        standard_errors=None
        if not found or found[0].clusters is None
        else cells.table([one.standard_error for one in found]),
        units=tuple((int(a), int(b)) for a, b in zip(layers, units, strict=True)),
        random_units=tuple(recipe.mask("random", k).units for k in ks),
        prompts=(),
        cell=(len(ks) - 1, len(strengths) // 2),
        correct=correct[cells.place],
        items=tuple(text_of(one) for one in dev),
        answers=tuple(right_answer(one).strip() for one in dev),
    )
    grid = replace(grid, cell=_opening_cell(grid))
    return _with_prompts(model, recipe, wanted, cells, grid, progress)


def _with_prompts(
    model: HookedModel,
    recipe: Recipe,
    wanted: Wanted,
    cells: Cells,
    grid: ExplorerGrid,
    progress: bool,
) -> ExplorerGrid:
    """The grid with its prompts, their pushes, and the pushes given to others."""
    settings, dev, row = wanted.settings, wanted.dev, grid.cell[0]
    chosen = [(one, None) for one in wanted.prompts]
    if not chosen:
        places = spread(grid.outcomes(), grid.strata(), wanted.n_prompts)
        chosen = [(dev[place], place) for place in places]
    texts = [text_of(one) for one, _ in chosen]
    pushes = Pushes(model, recipe, texts, grid.ks, grid.strengths, settings)
    donors = np.roll(np.arange(len(chosen)), -1).tolist()
    made: list[PromptGrid] = []
    bar = tqdm(chosen, desc="explorer: prompts", disable=not progress)
    for (sample, item), donor in zip(bar, donors, strict=True):
        one = prompt_grid(model, sample, cells, settings, item=item)
        if texts[donor] != one.prompt:
            given = _given_cells(pushes.given(donor, row))
            donated = prompt_grid(model, sample, given, settings, item=item)
            one = replace(one, donor=donor, donated=donated)
        made.append(one)
    donated = None
    if dev:
        k = grid.ks[row]
        donated = donated_correct(
            model, recipe, dev, k, grid.strengths, settings, progress=progress
        )
    return replace(grid, prompts=tuple(made), pushes=pushes.grid(), donated=donated)


def _cells(recipe: Recipe, ks: Sequence[int], strengths: Sequence[float]) -> Cells:
    cells: list[Intervention | None] = [None]
    place = np.zeros((len(METHODS), len(ks), len(strengths)), dtype=int)
    for at in np.ndindex(*place.shape):
        one = recipe.make(METHODS[at[0]], ks[at[1]], strengths[at[2]])
        if one is not None:
            place[at] = len(cells)
            cells.append(one)
    return Cells(cells, place)


def _given_cells(given: Sequence[Any]) -> Cells:
    """Pushes of another prompt, one a strength, as one method at one K."""
    steered = [one for one in given if one is not None]
    place = np.cumsum([one is not None for one in given]) * [one is not None for one in given]
    return Cells([None, *steered], place[None, None])


def _opening_cell(grid: ExplorerGrid) -> tuple[int, int]:
    """See ``ExplorerGrid.cell``."""
    if not grid.n:
        return grid.cell
    sweep = grid.sweep("adaptive")
    row, column = sweep.best_cell()
    is_better = sweep.accuracy[row, column] > sweep.unsteered_accuracy
    return (row, column) if is_better else grid.cell


def _split(dev: Sequence[Sample]) -> str:
    """What the samples say they are; those of a task's dev that say nothing are dev."""
    recorded = split_of(dev) if dev else ""
    return "dev" if recorded == "unknown" else recorded
