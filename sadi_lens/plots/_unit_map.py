"""Layers down, units across: one cell a unit, or runs of units pooled where there are thousands."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._heatmap import add_boxes, add_colorbar, padded
from sadi_lens.plots._layout import escape, integer_ticks
from sadi_lens.plots._theme import Theme
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import COMPONENTS

MAX_CELLS = 256
"""Units per layer drawn one by one; with more, a unit would be narrower than four pixels."""
BINS = 160
"""Cells per layer where units are pooled: wide enough to see, and 32 layers take under 150 kB."""


class UnitValues(NamedTuple):
    """The numbers that a map draws, each an array [layer unit]."""

    component: str
    value: np.ndarray
    centre: float
    """Value in the colour of the page; a pooled cell shows the unit furthest from it."""
    details: tuple[np.ndarray, ...]
    """Further numbers of the hover."""
    hover: Callable[[str, Sequence[str]], str]
    """Lines of the hover below the unit's name, from the Plotly names of the value and of the details."""
    pool: str = "furthest"
    """What a pooled cell shows: the unit ``"furthest"`` from the centre, or the ``"mean"`` of its units."""


def draw_units(
    figure: go.Figure, theme: Theme, values: UnitValues, mask: Mask | None, *, sort: bool = False
) -> tuple[tuple[int, int], np.ndarray]:
    """Draw the map with its axes, without colour range.

    Returns:
        Size of the plot area and the values that the cells show.
    """
    n_layers, n_units = values.value.shape
    is_single = n_units <= MAX_CELLS
    if is_single:
        plot, shown = _draw_cells(figure, theme, values, mask, sort)
    else:
        plot, shown = _draw_bins(figure, theme, values, mask)
    figure.update_yaxes(
        title="layer",
        tickvals=integer_ticks(n_layers, 20),
        range=padded(n_layers, plot[1])[::-1],
        showgrid=False,
    )
    figure.update_xaxes(showgrid=False, range=padded(n_units, plot[0]))
    return plot, shown


def set_colours(figure: go.Figure, theme: Theme, centre: float, limit: float, title: str) -> None:
    """Diverging colours from ``centre - limit`` to ``centre + limit``, with their bar."""
    figure.update_traces(
        selector={"type": "heatmap"},
        zmin=centre - limit,
        zmid=centre,
        zmax=centre + limit,
        colorscale=[list(stop) for stop in theme.diverging],
    )
    add_colorbar(figure, theme, title)


def _draw_cells(
    figure: go.Figure, theme: Theme, values: UnitValues, mask: Mask | None, sort: bool
) -> tuple[tuple[int, int], np.ndarray]:
    n_layers, n_units = values.value.shape
    order = np.tile(np.arange(n_units), (n_layers, 1))
    if sort:
        order = np.argsort(-values.value, axis=1, kind="stable")
    mean, *details = _taken(values, order)
    chosen = np.zeros(order.shape, dtype=bool)
    if mask is not None:
        chosen = np.take_along_axis(mask.selected, order, axis=1)
    cell = int(np.clip(960 / n_units, 4, 40))
    gap = 1 if cell >= 10 else 0
    figure.add_heatmap(
        z=mean,
        customdata=np.stack([order.astype(np.float32), *details], axis=-1),
        text=np.where(chosen, "<br>in the mask", "").tolist(),
        hovertemplate=_hover(values, tail="%{text}"),
        xgap=gap,
        ygap=gap,
        hoverongaps=False,
    )
    _mark_missing(figure, theme, mean, np.arange(n_units))
    if chosen.any() and mask is not None:
        cells = [(int(row), int(column)) for row, column in np.argwhere(chosen)]
        add_boxes(figure, theme, cells, name=mask_legend(mask), pixels=cell)
    unit = COMPONENTS[values.component].unit
    if sort:
        figure.update_xaxes(title=f"{unit}s of the layer, sorted by value", tickvals=[])
    else:
        figure.update_xaxes(title=unit, tickvals=integer_ticks(n_units, 20))
    return (max(400, cell * n_units), max(160, _row_height(n_layers) * n_layers)), mean


def _draw_bins(
    figure: go.Figure, theme: Theme, values: UnitValues, mask: Mask | None
) -> tuple[tuple[int, int], np.ndarray]:
    n_layers, n_units = values.value.shape
    edges = np.linspace(0, n_units, BINS + 1).astype(int)
    winner = np.empty((n_layers, BINS), dtype=int)
    magnitude = np.nan_to_num(np.abs(values.value - values.centre), nan=-1.0)
    for column, (start, stop) in enumerate(pairwise(edges)):
        winner[:, column] = start + magnitude[:, start:stop].argmax(axis=1)
    mean, *details = _taken(values, winner)
    hover = "furthest of its cell<br>" + _hover(values)
    if values.pool == "mean":
        winner, details = (
            np.tile(edges[:-1], (n_layers, 1)),
            [np.tile(edges[1:] - 1, (n_layers, 1)).astype(np.float32)],
        )
        mean = _bin_means(values.value, edges)
        letter = COMPONENTS[values.component].letter
        hover = (
            f"<b>L%{{y}}{letter}%{{customdata[0]:d}} to {letter}%{{customdata[1]:d}}</b>, mean<br>"
            + values.hover("z", ())
            + "<extra></extra>"
        )
    figure.add_heatmap(
        z=mean,
        x=edges - 0.5,
        customdata=np.stack([winner.astype(np.float32), *details], axis=-1),
        hovertemplate=hover,
        hoverongaps=False,
    )
    _mark_missing(figure, theme, mean, (edges[:-1] + edges[1:] - 1) / 2)
    if mask is not None and mask.k:
        _add_rings(figure, theme, values, mask)
    unit = COMPONENTS[values.component].unit
    figure.update_xaxes(title=f"{unit} (index in its layer)", tickformat=",d")
    return (900, max(220, _row_height(n_layers) * n_layers)), mean


def _add_rings(figure: go.Figure, theme: Theme, values: UnitValues, mask: Mask) -> None:
    """Ring every selected unit at its own place: ink over a halo in the page colour."""
    at = np.nonzero(mask.selected)
    details = [array[at] for array in (*values.details, values.value)]
    for color, width in ((theme.paper, 4), (theme.ink, 1.6)):
        figure.add_scatter(
            x=at[1],
            y=at[0],
            mode="markers",
            marker={
                "symbol": "circle-open",
                "size": 10,
                "color": color,
                "line": {"width": width, "color": color},
            },
            customdata=np.stack([at[1].astype(np.float32), *details], axis=-1),
            hovertemplate=_hover(
                values, value=f"customdata[{len(details)}]", tail="<br>in the mask"
            ),
            cliponaxis=False,
            name=mask_legend(mask),
            legendgroup="rings",
            showlegend=color == theme.ink,
        )


def _row_height(n_layers: int) -> int:
    return int(np.clip(640 / n_layers, 14, 40))


def _mark_missing(figure: go.Figure, theme: Theme, mean: np.ndarray, x: np.ndarray) -> None:
    rows, columns = np.nonzero(np.isnan(mean))
    figure.update_layout(plot_bgcolor=theme.gap)
    if rows.size:
        figure.add_scatter(
            x=x[columns],
            y=rows,
            mode="markers",
            marker={
                "symbol": "x-thin",
                "size": 6,
                "line": {"width": 1, "color": theme.muted},
            },
            hovertemplate="layer %{y}: no finite value<extra></extra>",
            showlegend=False,
        )


def _bin_means(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean of the known values of each cell; NaN where there is none."""
    known = np.isfinite(values)
    sums = np.add.reduceat(np.where(known, values, 0), edges[:-1], axis=1)
    counts = np.add.reduceat(known, edges[:-1], axis=1, dtype=np.int64)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan, np.float32), where=counts > 0)


def _taken(values: UnitValues, index: np.ndarray) -> list[np.ndarray]:
    return [np.take_along_axis(array, index, axis=1) for array in (values.value, *values.details)]


def _hover(values: UnitValues, *, value: str = "z", tail: str = "") -> str:
    places = [f"customdata[{index + 1}]" for index in range(len(values.details))]
    letter = COMPONENTS[values.component].letter
    lines = values.hover(value, places)
    return f"<b>L%{{y}}{letter}%{{customdata[0]:d}}</b><br>{lines}{tail}<extra></extra>"


def ranks_of(values: np.ndarray) -> np.ndarray:
    """Rank of each value, 1 = largest; NaN where there is no value."""
    flat = values.ravel()
    ranks = np.empty(flat.size, dtype=np.float32)
    ranks[np.argsort(-flat, kind="stable")] = np.arange(1, flat.size + 1)
    ranks[np.isnan(flat)] = np.nan
    return ranks.reshape(values.shape)


def require_same_units(component: str, shape: tuple[int, ...], mask: Mask) -> None:
    """Check that a mask is of the component and shape that are drawn.

    Raises:
        ValueError: With both components and shapes.
    """
    ours: tuple[Any, ...] = (component, *shape)
    theirs: tuple[Any, ...] = (mask.component, *mask.selected.shape)
    if ours != theirs:
        raise ValueError(
            "mask and differences must be of the same component and shape (component, layers, units),"
            f" got mask {theirs} and differences {ours}"
        )


def mask_legend(mask: Mask) -> str:
    """What a mask is, for a legend."""
    return f"in the mask: {mask.k:,} of {mask.selected.size:,} ({escape(mask.rule)})"


def empty_fact(mask: Mask | None) -> str:
    """A note for the subtitle if the mask is empty, else an empty string."""
    return "the mask is empty: no unit is selected" if mask is not None and not mask.k else ""


def pooling_fact(n_units: int, unit: str) -> str:
    """How many units one cell shows; an empty string if each unit has its own cell."""
    if n_units <= MAX_CELLS:
        return ""
    return f"a cell shows the largest |value| of {n_units / BINS:.0f} {unit}s, sign kept"
