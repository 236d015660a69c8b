"""How many units and how hard: accuracy over K x strength, coloured against the unsteered model."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._heatmap import add_boxes, add_colorbar, padded, symmetric_range
from sadi_lens.plots._layout import (
    MINUS,
    Margin,
    escape,
    finish,
    float32,
    named,
    percent,
    require_finite,
    where,
)
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.types.model import COMPONENTS
from sadi_lens.types.results import Choice, Sweep

MAX_NUMBERS = 130
"""Cells up to which each shows its accuracy."""


def sweep_heatmap(sweep: Sweep, *, choice: Choice | None = None, theme: str = "light") -> go.Figure:
    """Accuracy of every K x strength as gain over the unsteered model; the chosen cell is starred.

    Lines part the cells within one standard error of the best (the stable region), those better than the
    unsteered model, and those at chance or below.

    Args:
        sweep: Accuracy, margin and valid-answer rate of each cell on one split.
        choice: The cell to star; default the best cell of this sweep.
        theme: ``"light"`` or ``"dark"``.

    Returns:
        A figure; ``export`` writes it, ``show`` displays it.

    Raises:
        ValueError: If no cell has an accuracy, or the choice is not a cell of the sweep.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:10], progress=False)["head"]
        >>> grid = sl.sweep(model, task.dev[:10], found, ks=[2, 4], strengths=[1.0, 5.0], progress=False)
        >>> sl.plots.sweep_heatmap(grid).layout.xaxis.title.text
        'strength δ'
    """
    colors = require_theme(theme)
    accuracy = float32(sweep.accuracy)
    require_finite(accuracy, f"sweep_heatmap of {sweep.task!r} on {sweep.model.name}")
    row, column = sweep.best_cell() if choice is None else _cell(sweep, choice)
    has_numbers = accuracy.size <= MAX_NUMBERS
    plot = _size(accuracy.shape, has_numbers)
    figure = go.Figure(_cells(sweep, accuracy, colors, has_numbers))
    add_colorbar(figure, colors, f"accuracy {MINUS} unsteered<br>(percentage points)")
    _mark_regions(figure, colors, sweep, accuracy)
    add_boxes(figure, colors, [(row, column)], pixels=plot[0] // accuracy.shape[1])
    corner = 0.32 if has_numbers else 0.0
    _add_star(figure, column + corner, row - corner, _star_name(sweep, choice, row, column))
    _set_axes(figure, sweep, plot)
    figure.update_layout(plot_bgcolor=colors.gap)
    return finish(
        figure,
        colors,
        title=f"K = {sweep.ks[row]}, strength {sweep.strengths[column]:g}: "
        f"{percent(float(accuracy[row, column]))} on {sweep.split}, "
        f"unsteered {percent(sweep.unsteered_accuracy)}",
        subtitle=_facts(sweep, accuracy, has_numbers),
        plot=plot,
        margin=Margin(right=132),
    )


def _cells(sweep: Sweep, accuracy: np.ndarray, theme: Theme, has_numbers: bool) -> go.Heatmap:
    """The gain of every cell in percentage points, with accuracy, margin and valid rate on hover."""
    gain = 100 * (accuracy - sweep.unsteered_accuracy)
    limit = symmetric_range(gain)
    return go.Heatmap(
        z=gain,
        customdata=np.stack(
            [100 * accuracy, float32(sweep.margin), 100 * float32(sweep.valid_rate)], axis=-1
        ),
        text=_numbers(accuracy) if has_numbers else None,
        texttemplate="%{text}" if has_numbers else None,
        textfont={"size": 12},
        hovertext=[[f"K = {k}, strength {s:g}" for s in sweep.strengths] for k in sweep.ks],
        hovertemplate="<b>%{hovertext}</b><br>accuracy %{customdata[0]:.1f}% (%{z:+.1f} points)"
        + ("<br>margin %{customdata[1]:.3g} nats" if np.isfinite(sweep.margin).any() else "")
        + "<br>valid answers %{customdata[2]:.1f}%<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        zmin=-limit,
        zmid=0,
        zmax=limit,
        colorscale=[list(stop) for stop in theme.diverging],
    )


def _mark_regions(figure: go.Figure, theme: Theme, sweep: Sweep, accuracy: np.ndarray) -> None:
    """Lines round the stable region, and along the edges of the unsteered accuracy and of chance."""
    # Comparisons with NaN (a cell that was not measured, an unknown chance) are False.
    stable = sweep.stable_region()
    cells = f"stable: within 1 SE of the best ({int(stable.sum())} cells)"
    base, chance = sweep.unsteered_accuracy, sweep.chance
    for inside, name, width, dash in (
        (stable, cells, 2.6, "solid"),
        (accuracy > base, f"edge of unsteered ({percent(base)})", 1.4, "dash"),
        (accuracy <= chance, f"edge of chance ({percent(chance)})", 2.0, "dot"),
    ):
        _mark_edge(figure, inside, name=name, color=theme.ink, width=width, dash=dash)


def _star_name(sweep: Sweep, choice: Choice | None, row: int, column: int) -> str:
    """Legend entry of the star: the cell, the split that it was chosen on, its accuracy there."""
    word, split, accuracy = "best", sweep.split, float(sweep.accuracy[row, column])
    if choice is not None:
        word, split, accuracy = "chosen", choice.chosen_on, choice.accuracy
    k, strength = sweep.ks[row], sweep.strengths[column]
    return f"{word} on {escape(split)}: K = {k}, strength {strength:g}, {percent(accuracy)}"


def _add_star(figure: go.Figure, x: float, y: float, name: str) -> None:
    figure.add_scatter(
        x=[x],
        y=[y],
        mode="markers",
        marker={
            "symbol": "star",
            "size": 13,
            "color": "#ffd400",
            "line": {"width": 1.2, "color": "#16181d"},
        },
        hoverinfo="skip",
        cliponaxis=False,
        name=name,
        showlegend=True,
    )


def _size(shape: tuple[int, ...], has_numbers: bool) -> tuple[int, int]:
    """Width and height of the plot area in pixels; cells are smaller where they show no numbers."""
    n_ks, n_strengths = shape
    wide = 44 if has_numbers else int(np.clip(960 / n_strengths, 6, 44))
    high = 38 if has_numbers else int(np.clip(640 / n_ks, 6, 38))
    return max(400, n_strengths * wide), max(180, n_ks * high)


def _set_axes(figure: go.Figure, sweep: Sweep, plot: tuple[int, int]) -> None:
    figure.update_xaxes(
        title="strength δ",
        range=padded(len(sweep.strengths), plot[0]),
        showgrid=False,
        **_ticks([f"{s:g}" for s in sweep.strengths], 26),
    )
    figure.update_yaxes(
        title=f"K (selected {COMPONENTS[sweep.component].unit}s)",
        range=padded(len(sweep.ks), plot[1])[::-1],
        showgrid=False,
        **_ticks([str(k) for k in sweep.ks], 26),
    )


def _facts(sweep: Sweep, accuracy: np.ndarray, has_numbers: bool) -> tuple[tuple[str, ...], ...]:
    """What was measured, and how to read the colours."""
    return (
        (
            f"accuracy on {sweep.n:,} {sweep.split} items{_warning(sweep)}",
            named("task", sweep.task),
            f"model {sweep.model.name}",
            where(sweep.component).split(",")[0],
            f"position {sweep.position}",
            f"units ranked by {sweep.ranking} mean difference",
            "" if sweep.method == "scaling" else sweep.method,
        ),
        (
            f"colour: gain over the unsteered model ({percent(sweep.unsteered_accuracy)})",
            "" if math.isnan(sweep.chance) else f"chance {percent(sweep.chance)}",
            "cell: accuracy in %" if has_numbers else "",
            "grey: not measured" if np.isnan(accuracy).any() else "",
        ),
    )


def _cell(sweep: Sweep, choice: Choice) -> tuple[int, int]:
    columns = np.flatnonzero(np.isclose(sweep.strengths, choice.strength))
    if choice.k not in sweep.ks or not columns.size:
        raise ValueError(
            f"choice must be a cell of the sweep (K in {list(sweep.ks)}, strength in "
            f"{list(sweep.strengths)}), got K = {choice.k}, strength = {choice.strength:g}"
        )
    return sweep.ks.index(choice.k), int(columns[0])


def _numbers(accuracy: np.ndarray) -> list[list[str]]:
    return [["" if np.isnan(v) else f"{100 * v:.0f}" for v in row] for row in accuracy]


def _ticks(labels: list[str], most: int) -> dict[str, Any]:
    step = math.ceil(len(labels) / most)
    kept = list(range(0, len(labels), step))
    return {"tickvals": kept, "ticktext": [labels[i] for i in kept]}


def _warning(sweep: Sweep) -> str:
    return "" if sweep.split == "dev" else " (not dev: the best cell is optimistic)"


def _mark_edge(
    figure: go.Figure, inside: np.ndarray, *, name: str, color: str, width: float, dash: str
) -> None:
    """Draw a line along the edges between the cells that are inside and those that are not.

    A solid line is closed along the border of the map, the others part the map and end there.
    """
    at = 0
    if dash == "solid":
        inside, at = np.pad(inside, 1), 1
    x: list[Any] = []
    y: list[Any] = []
    for row, column in np.argwhere(inside[:, :-1] != inside[:, 1:]).tolist():
        x += [column - at + 0.5, column - at + 0.5, None]
        y += [row - at - 0.5, row - at + 0.5, None]
    for row, column in np.argwhere(inside[:-1] != inside[1:]).tolist():
        x += [column - at - 0.5, column - at + 0.5, None]
        y += [row - at + 0.5, row - at + 0.5, None]
    if x:
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": color, "width": width, "dash": dash},
            hoverinfo="skip",
            name=name,
            showlegend=True,
        )
