"""How many units and how hard: accuracy over K x strength, coloured against the unsteered model."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._heatmap import (
    BAR_MARGIN,
    add_boxes,
    add_colorbar,
    padded,
    symmetric_range,
    write_cells,
)
from sadi_lens.plots._layout import (
    TIE,
    Margin,
    facts_of,
    finish,
    float32,
    require_finite,
    units_of,
    where,
)
from sadi_lens.plots._theme import FONT_SIZE, Theme, require_theme
from sadi_lens.plots._words import MINUS, TIMES, counted, number, percent, text_width
from sadi_lens.types.checks import checked
from sadi_lens.types.results import Choice, Sweep

MAX_NUMBERS = 130
"""Cells up to which each shows its accuracy."""


@checked()
def sweep_heatmap(
    sweep: Sweep, *, choice: Choice | None = None, theme: str = "light", size: str = "page"
) -> go.Figure:
    """Accuracy of every K x strength as gain over the unsteered model; the chosen cell is starred.

    A solid line encloses the cells within one standard error of the best (the stable region), a dotted one parts
    those at chance or below. Cells with a cross are broken: their valid answers fall far below the unsteered model's.

    Args:
        sweep: Accuracy, margin and valid-answer rate of each cell on one split.
        choice: The cell to star; default the best cell of this sweep.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If no cell has an accuracy, or the choice is not a cell of the sweep.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:10], progress=False)["head"]
        >>> grid = sl.sweep(model, task.dev[:10], found, ks=[2, 4], strengths=[1.0, 5.0], progress=False)
        >>> sl.plots.sweep_heatmap(grid).layout.xaxis.title.text
        'strength δ'
    """
    colors = require_theme(theme, size)
    accuracy = float32(sweep.accuracy)
    require_finite(accuracy, f"sweep_heatmap of {sweep.task!r} on {sweep.model.name}")
    taken = None if choice is None or choice.is_unsteered else choice
    cell = sweep.best_cell() if taken is None else _cell(sweep, taken)
    has_numbers = accuracy.size <= MAX_NUMBERS
    plot = _size(accuracy.shape, has_numbers)
    cells = _cells(sweep, accuracy, colors, has_numbers)
    figure = go.Figure(cells)
    write_cells(figure, cells, 12)
    add_colorbar(figure, colors, f"accuracy {MINUS} unsteered<br>(percentage points)")
    _mark_regions(figure, colors, sweep, accuracy)
    if sweep.cliffs().any():
        _explain_crosses(figure, colors, int(sweep.cliffs().sum()))
    add_boxes(figure, colors, [cell], pixels=plot[0] // accuracy.shape[1])
    corner = 0.32 if has_numbers else 0.0
    star = "best" if taken is None else f"chosen on {taken.chosen_on}"
    _add_star(figure, cell[1] + corner, cell[0] - corner, star)
    _set_axes(figure, sweep, plot)
    figure.update_layout(plot_bgcolor=colors.gap)
    return finish(
        figure,
        colors,
        title=_title(sweep, accuracy, cell, choice),
        facts=facts_of(sweep, f"{sweep.n:,} {sweep.split} items{_warning(sweep)}"),
        note=(
            "cell: accuracy in %" if has_numbers else "",
            f"no colour: as unsteered ({percent(sweep.unsteered_accuracy)})",
            "grey: not measured" if np.isnan(accuracy).any() else "",
            f"{sweep.ranking} ranking",
            "" if sweep.method == "scaling" else sweep.method,
            f"steered at {where(sweep.component)}",
            f"position {sweep.position}",
        ),
        plot=plot,
        margin=Margin(max(72, 40 + max(text_width(str(k)) for k in sweep.ks)), BAR_MARGIN),
    )


def _cells(sweep: Sweep, accuracy: np.ndarray, theme: Theme, has_numbers: bool) -> go.Heatmap:
    """The gain of every cell in percentage points, with accuracy, margin and valid rate on hover."""
    gain = 100 * (accuracy - sweep.unsteered_accuracy)
    limit = symmetric_range(gain)
    return go.Heatmap(
        z=gain,
        text=_texts(accuracy, sweep.cliffs(), has_numbers),
        customdata=[
            [
                [
                    _known(a, 100, ".1f", "%"),
                    _known(m, 1, ".3g", " nats"),
                    _known(v, 100, ".1f", "%"),
                ]
                for a, m, v in zip(*row, strict=True)
            ]
            for row in zip(accuracy, sweep.margin, sweep.valid_rate, strict=True)
        ],
        hovertext=[
            [f"{sweep.axis} {k}, strength {number(s)}" for s in sweep.strengths] for k in sweep.ks
        ],
        hovertemplate="<b>%{hovertext}</b><br>accuracy %{customdata[0]} (%{z:+.1f} points)"
        + ("<br>margin %{customdata[1]}" if np.isfinite(sweep.margin).any() else "")
        + "<br>valid answers %{customdata[2]}<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        zmin=-limit,
        zmid=0,
        zmax=limit,
        colorscale=[list(stop) for stop in theme.diverging],
    )


def _known(value: float, scale: float, digits: str, unit: str) -> str:
    """A number for a hover."""
    return f"{number(scale * value, digits)}{unit}" if math.isfinite(value) else "not known"


def _mark_regions(figure: go.Figure, theme: Theme, sweep: Sweep, accuracy: np.ndarray) -> None:
    """Lines round the stable region, and along the edge of chance."""
    # Comparisons with NaN (a cell that was not measured, an unknown chance) are False.
    stable = sweep.stable_region()
    cells = f"within 1 SE of the best ({counted(int(stable.sum()), 'cell')})"
    at_chance = f"edge of chance ({percent(sweep.chance)})"
    for inside, name, width, dash in (
        (stable, cells, 2.6, "solid"),
        (accuracy <= sweep.chance, at_chance, 2.0, "dot"),
    ):
        _mark_edge(figure, inside, name=name, color=theme.ink, width=width, dash=dash)


def _explain_crosses(figure: go.Figure, theme: Theme, n: int) -> None:
    """Legend entry of the sign behind the numbers of broken cells."""
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        marker={"symbol": "x-thin", "size": 8, "line": {"width": 1.6, "color": theme.ink}},
        name=f"valid answers collapse ({counted(n, 'cell')})",
        showlegend=True,
    )


def _title(sweep: Sweep, accuracy: np.ndarray, cell: tuple[int, int], choice: Choice | None) -> str:
    """What the starred cell gives, whether it lies on the edge of the grid, and whether anything is better."""
    row, column = cell
    here, best = float(accuracy[cell]), float(accuracy[sweep.best_cell()])
    base = sweep.unsteered_accuracy
    if (choice is not None and choice.is_unsteered) or best <= base + TIE:
        valid = "that keeps its valid answers " if np.nanmax(accuracy) > base + TIE else ""
        return f"No cell {valid}beats the unsteered model ({percent(base)}): the best reaches {percent(best)}"
    settings = f"{sweep.axis} {sweep.ks[row]}, strength {number(sweep.strengths[column])}"
    word = "Best" if choice is None else "Chosen"
    parts = [f"{word}: {settings}, {percent(here)} on {sweep.split}, unsteered {percent(base)}"]
    if np.isnan(here):
        parts = [f"{word}: {settings}, not measured"]
    elif best > here + TIE:
        parts.append(f"the best cell reaches {percent(best)}")
    parts += _edges(sweep, cell)
    if sweep.cliffs()[cell]:
        parts.append("valid answers collapse there")
    return "; ".join(parts)


def _edges(sweep: Sweep, cell: tuple[int, int]) -> list[str]:
    """Where the grid ends at the cell, so that a better one may lie beyond."""
    (row, column), strengths = cell, sweep.strengths
    ends = ["largest K"] if sweep.axis == "K" and 0 < row == len(sweep.ks) - 1 else []
    if 0 < column == len(strengths) - 1:
        ends.append("largest strength")
    if ends:
        return [f"{' and '.join(ends)} of the grid: more may do better"]
    if column == 0 and len(strengths) > 1 and strengths[0] > 0:
        return ["smallest strength of the grid: less may do better"]
    return []


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
        **_ticks([number(s) for s in sweep.strengths], plot[0] / len(sweep.strengths), text_width),
    )
    figure.update_yaxes(
        title=f"K (selected {units_of(sweep.component)})" if sweep.axis == "K" else sweep.axis,
        range=padded(len(sweep.ks), plot[1])[::-1],
        showgrid=False,
        **_ticks([str(k) for k in sweep.ks], plot[1] / len(sweep.ks), lambda _: FONT_SIZE),
    )


def _cell(sweep: Sweep, choice: Choice) -> tuple[int, int]:
    columns = np.flatnonzero(np.isclose(sweep.strengths, choice.strength))
    if choice.k not in sweep.ks or not columns.size:
        raise ValueError(
            f"choice must be a cell of the sweep (K in {list(sweep.ks)}, strength in "
            f"{list(sweep.strengths)}), got K = {choice.k}, strength = {choice.strength:g}"
        )
    return sweep.ks.index(choice.k), int(columns[0])


def _texts(accuracy: np.ndarray, broken: np.ndarray, has_numbers: bool) -> list[list[str]]:
    """Accuracy in percent where there is room, and a cross in broken cells."""
    numbers = [["" if np.isnan(v) else f"{100 * v:.0f}" for v in row] for row in accuracy]
    return [
        [
            (text if has_numbers else "") + (TIMES if cross else "")
            for text, cross in zip(*row, strict=True)
        ]
        for row in zip(numbers, broken.tolist(), strict=True)
    ]


def _ticks(labels: list[str], cell: float, room: Callable[[str], int]) -> dict[str, Any]:
    """As many ticks as fit: at most 26, each with the pixels of its label between its cells."""
    wide = (max(map(room, labels)) + 6) / cell
    step = max(math.ceil(len(labels) / 26), math.ceil(wide))
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
