"""The explorer page: the grid as data inside one HTML file, drawn without a model and without plotly.js."""

from typing import Any

import numpy as np

from sadi_lens.apps.explorer.data import grid_data
from sadi_lens.apps.explorer.strata import in_words
from sadi_lens.apps.web import render
from sadi_lens.plots._layout import difference_note, where
from sadi_lens.plots._maps import difference_finding
from sadi_lens.plots._unit_map import grey_fact, pooling_fact
from sadi_lens.plots._words import counted
from sadi_lens.types.model import COMPONENTS
from sadi_lens.types.results import ExplorerGrid
from sadi_lens.types.results.choice import MIN_VALID
from sadi_lens.types.scores import RANKINGS

MAPS = {
    "accuracy": "accuracy on {split}",
    "margin": "margin on {split}",
    "prompt": "margin on this prompt",
    "kl": "change of the next token (KL) on this prompt",
}

FIXED = {
    "coefficient": "strength times their mean difference",
    "norm": "their mean difference, as long as strength times the unsteered activations, which is SADI\u2019s push "
    "where one layer is steered and near it where several are",
    "mean": "strength times their mean unsteered activation",
}
"""What the fixed vector is, by how it is matched."""


def explorer_html(grid: ExplorerGrid, writing: ExplorerGrid | None = None) -> str:
    """The page that ``SteeringExplorer.to_html`` writes.

    Args:
        grid: As ``SteeringExplorer.grid`` gives it.
        writing: A second one, of prompts that the model continues freely, at one K and the same strengths.

    Raises:
        ValueError: If a grid has no prompt, or the second is of another model, several Ks or other strengths.
    """
    if not grid.prompts or (writing and not writing.prompts):
        raise ValueError("an explorer page needs at least 1 prompt, the grid has none")
    if writing and (writing.model, writing.strengths, len(writing.ks)) != (
        grid.model,
        grid.strengths,
        1,
    ):
        raise ValueError(
            f"writing must be of model {grid.model.name} at one K and strengths {grid.strengths}, got "
            f"{writing.model.name}, {writing.ks} and {writing.strengths}"
        )
    component, grids = COMPONENTS[grid.component], [grid, *([writing] if writing else [])]
    return render(
        "explorer.html",
        title=f"Steer it yourself: {grid.task or 'prompts'} on {grid.model.name}",
        kicker="sadi_lens explorer",
        grid=grid,
        writing=writing,
        unit=component.unit,
        ranking=RANKINGS[grid.ranking].split(" (")[0],
        fixed=FIXED[grid.match],
        items=counted(grid.n, f"{grid.split} item"),
        kept=f"{MIN_VALID:.0%}",
        menus=[_menu(one) for one in grids],
        maps=_maps(grid),
        notes=[(_finding(one), _note(one)) for one in grids],
        writing_unit=COMPONENTS[writing.component].unit if writing else "",
        data=[grid_data(one) for one in grids],
        settings=_settings(grid),
    )


def _menu(grid: ExplorerGrid) -> list[tuple[str, list[tuple[int, str]]]]:
    """Group -> (index, name) of each prompt, by its outcome."""
    counts, outcomes = grid.strata(), grid.outcomes()
    groups: dict[str, list[tuple[int, str]]] = {}
    for index, one in enumerate(grid.prompts):
        group = "prompts"
        if one.item is not None:
            outcome = outcomes[one.item]
            a, b, c = (bool(right) for right in outcome)
            group = f"{in_words(outcome)}: {counts[a, b, c]} of {grid.n} items"
        text = " ".join(one.prompt.split())
        short = text if len(text) <= 76 else f"\u2026{text[-75:]}"
        groups.setdefault(group, []).append((index, f"{index + 1}. {short}"))
    return list(groups.items())


def _maps(grid: ExplorerGrid) -> list[tuple[str, str]]:
    return [
        (name, text.format(split=counted(grid.n, f"{grid.split} item")))
        for name, text in MAPS.items()
        if (grid.n or name not in ("accuracy", "margin"))
        and not (name == "margin" and np.isnan(grid.margin).all())
        and not (name == "prompt" and not any(one.choices for one in grid.prompts))
    ]


def _finding(grid: ExplorerGrid) -> str:
    """What stands out of the null; nothing without one."""
    if grid.null is None:
        return ""
    return difference_finding(grid.differences.mean, grid.component, None, grid.null)


def _note(grid: ExplorerGrid) -> str:
    """How the map of units is read."""
    n_units = grid.differences.mean.shape[1]
    facts = (
        "blue: larger on the right answer, red: on the wrong one",
        f"mean of {counted(grid.differences.n, 'pair')}",
        grey_fact(grid.null),
        difference_note(grid.component),
        pooling_fact(n_units, COMPONENTS[grid.component].unit),
    )
    return " \u00b7 ".join(filter(None, facts))


def _settings(grid: ExplorerGrid) -> list[tuple[str, Any]]:
    info = grid.model
    return [
        ("model", f"{info.name} ({info.architecture}; {info.shape}; weights {info.fingerprint})"),
        ("task", grid.task),
        ("component", f"{grid.component}: {where(grid.component)} of every layer"),
        ("ranking", f"{grid.ranking}, from {counted(grid.differences.n, 'contrastive pair')}"),
        ("position", grid.position),
        ("fixed vector", f"match {grid.match}"),
        ("random units", f"random_mask(differences, k, seed={grid.seed})"),
        ("items", counted(grid.n, f"{grid.split} item") if grid.n else "no dev split"),
    ]
