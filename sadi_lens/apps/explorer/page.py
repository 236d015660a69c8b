"""The explorer page: the grid as data inside one HTML file, drawn without a model."""

import math
from typing import Any

import numpy as np

from sadi_lens.apps.web import panel, render
from sadi_lens.plots import difference_heatmap
from sadi_lens.plots._layout import counted
from sadi_lens.plots._theme import THEMES
from sadi_lens.plots._unit_map import MAX_CELLS
from sadi_lens.types.model import COMPONENTS, unit_label
from sadi_lens.types.results import ExplorerGrid, PromptGrid
from sadi_lens.types.results.explorer import METHODS

METHOD_WORDS = {
    "adaptive": "SADI multiplies the selected {units} by 1 + strength: the push follows the input.",
    "fixed": "The mean difference of the same {units} is added times strength, the same for every input "
    "(match: {match}).",
    "random": "SADI on {units} drawn at random, a new draw for every K (seed {seed}): what chance units do.",
}
MAPS = {
    "accuracy": "accuracy on {split}",
    "margin": "margin on {split}",
    "prompt": "margin on this prompt",
    "kl": "change of the next token (KL) on this prompt",
}
DIGITS = 5
"""Digits of the numbers of single prompts; those of the dev split are kept whole."""


def explorer_html(grid: ExplorerGrid) -> str:
    """The page that ``SteeringExplorer.to_html`` writes.

    Args:
        grid: As ``SteeringExplorer.grid`` gives it.

    Raises:
        ValueError: If the grid has no prompt.
    """
    if not grid.prompts:
        raise ValueError("an explorer page needs at least 1 prompt, the grid has none")
    component = COMPONENTS[grid.component]
    words = {"units": f"{component.unit}s", "match": grid.match, "seed": grid.seed}
    elements = panel(
        "elements", {theme: difference_heatmap(grid.differences, theme=theme) for theme in THEMES}
    )
    maps = [
        (name, text.format(split=counted(grid.n, f"{grid.split} item")))
        for name, text in MAPS.items()
        if (grid.n or name not in ("accuracy", "margin"))
        and not (name == "margin" and np.isnan(grid.margin).all())
        and not (name == "prompt" and not any(one.choices for one in grid.prompts))
    ]
    return render(
        "explorer.html",
        title=f"Steer it yourself: {grid.task or 'prompts'} on {grid.model.name}",
        kicker="sadi_lens explorer",
        grid=grid,
        unit=component.unit,
        hook=component.hook,
        methods=[(name, text.format(**words)) for name, text in METHOD_WORDS.items()],
        menu=_menu(grid),
        maps=maps,
        elements=elements,
        data=_data(grid),
        settings=_settings(grid),
    )


def _menu(grid: ExplorerGrid) -> list[tuple[str, list[tuple[int, str]]]]:
    """Group -> (index, name) of each prompt, by whether the unsteered model is right."""
    zero = grid.strengths.index(0.0)
    groups: dict[str, list[tuple[int, str]]] = {}
    for index, one in enumerate(grid.prompts):
        margin = float(one.margin[0, 0, zero])
        group = (
            "prompts"
            if math.isnan(margin)
            else f"unsteered model is {'right' if margin > 0 else 'wrong'}"
        )
        text = " ".join(one.prompt.split())
        short = text if len(text) <= 76 else f"\u2026{text[-75:]}"
        groups.setdefault(group, []).append((index, f"{index + 1}. {short}"))
    return list(groups.items())


def _data(grid: ExplorerGrid) -> dict[str, Any]:
    return {
        "methods": METHODS,
        "ks": grid.ks,
        "strengths": grid.strengths,
        "zero": grid.strengths.index(0.0),
        "unit": COMPONENTS[grid.component].unit,
        "boxes": grid.differences.mean.shape[1] <= MAX_CELLS,
        "n": grid.n,
        "split": grid.split,
        "chance": _number(grid.chance),
        **{
            name: _numbers(getattr(grid, name))
            for name in ("accuracy", "low", "high", "margin", "valid_rate")
        },
        "best": {name: grid.sweep(name).best_cell() for name in METHODS} if grid.n else {},
        "units": grid.units,
        "randomUnits": grid.random_units,
        "labels": {
            f"{layer},{unit}": unit_label(grid.component, layer, unit)
            for units in (grid.units, *grid.random_units)
            for layer, unit in units
        },
        "prompts": [_prompt_data(one) for one in grid.prompts],
        "diverging": {name: theme.diverging for name, theme in THEMES.items()},
    }


def _prompt_data(one: PromptGrid) -> dict[str, Any]:
    return {
        "prompt": one.prompt,
        "choices": one.choices,
        "answer": one.answer,
        "target": one.target,
        "tokens": one.tokens,
        "choiceTokens": one.choice_tokens,
        "unsteered": _numbers(one.unsteered, DIGITS),
        "probability": _numbers(one.probability, DIGITS),
        "top": one.top.tolist(),
        "topProbability": _numbers(one.top_probability, DIGITS),
        "kl": _numbers(one.kl, DIGITS),
        "margin": _numbers(one.margin, DIGITS),
        "texts": one.texts,
        "text": one.text.tolist(),
    }


def _number(value: float, digits: int | None = None) -> float | None:
    """A number that JSON has; None where it is not finite."""
    if not math.isfinite(value):
        return None
    return float(value) if digits is None else float(f"{value:.{digits}g}")


def _numbers(values: np.ndarray, digits: int | None = None) -> Any:
    flat = [_number(one, digits) for one in values.ravel().tolist()]
    return np.array(flat, dtype=object).reshape(values.shape).tolist()


def _settings(grid: ExplorerGrid) -> list[tuple[str, str]]:
    info = grid.model
    return [
        ("model", f"{info.name} ({info.architecture}; {info.shape}; weights {info.fingerprint})"),
        ("task", grid.task),
        ("component", f"{grid.component}: {COMPONENTS[grid.component].hook}"),
        ("ranking", f"{grid.ranking}, from {counted(grid.differences.n, 'contrastive pair')}"),
        ("position", grid.position),
        ("fixed vector", f"match {grid.match}"),
        ("random units", f"random_mask(differences, k, seed={grid.seed})"),
        ("map", f"{counted(grid.n, f'{grid.split} item')}" if grid.n else "no dev split"),
    ]
