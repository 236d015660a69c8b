"""Where the two answers differ: mean activation difference of every unit, layer by layer."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from sadi_lens.components import COMPONENTS, unit_label
from sadi_lens.masks import Mask
from sadi_lens.plots._layout import (
    MINUS,
    TIMES,
    Margin,
    add_boxes,
    add_colorbar,
    counted,
    escape,
    finish,
    float32,
    integer_ticks,
    named,
    padded,
    require_finite,
    signed,
    symmetric_range,
    where,
)
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.types import ActivationDifferences

MAX_CELLS = 256
"""Units per layer drawn one by one; with more, a unit would be narrower than four pixels."""
BINS = 160
"""Cells per layer where units are pooled: wide enough to see, and 32 layers take under 150 kB."""
RANGE_QUANTILE = 0.995


class _Values(NamedTuple):
    """Everything a cell says, each [layer unit]."""

    mean: np.ndarray
    error: np.ndarray
    rank: np.ndarray
    """1 = largest signed mean difference; NaN where there is no value."""


def difference_heatmap(
    differences: ActivationDifferences,
    mask: Mask | None = None,
    *,
    theme: str = "light",
    sort: bool = False,
) -> go.Figure:
    """Mean activation difference of every unit: layers down, units across, blue = positive.

    Positive: larger on the right answer. Up to 256 units a layer each is one cell; beyond, a cell holds
    a run of units and shows the one with the largest magnitude, sign kept, so that a single neuron among
    thousands stays visible.

    Args:
        differences: Moments of one component.
        mask: Units to box (ring, where cells are pooled).
        theme: ``"light"`` or ``"dark"``.
        sort: Order the units of each layer by value: shows how few stand out, hides which they are
            (hover still tells). Only where every unit has its own cell.

    Raises:
        ValueError: If nothing is finite, the mask is of another component or shape, or ``sort`` is
            asked of pooled cells.
    """
    colors = require_theme(theme)
    mean = float32(differences.mean)
    n_layers, n_units = mean.shape
    component = COMPONENTS[differences.component]
    require_finite(
        mean,
        f"difference_heatmap of {differences.component!r} on {differences.model.name}",
    )
    if mask is not None:
        _require_same_units(differences, mask)
    if sort and n_units > MAX_CELLS:
        raise ValueError(
            f"sort=True needs at most {MAX_CELLS} units per layer, got {n_units}: "
            "pooled cells hold neighbours, which sorting would tear apart"
        )
    values = _Values(mean, float32(differences.standard_error), _ranks(mean))
    figure = go.Figure()
    if n_units <= MAX_CELLS:
        plot, shown = _draw_cells(figure, colors, differences.component, values, mask, sort)
    else:
        plot, shown = _draw_bins(figure, colors, differences.component, values, mask)
    limit = symmetric_range(shown, RANGE_QUANTILE)
    figure.update_traces(
        selector={"type": "heatmap"},
        zmin=-limit,
        zmid=0,
        zmax=limit,
        colorscale=[list(stop) for stop in colors.diverging],
    )
    add_colorbar(figure, colors, "mean difference<br>(activation units)")
    ticks = integer_ticks(n_layers, 20)
    figure.update_yaxes(
        title="layer",
        tickvals=ticks,
        range=padded(n_layers, plot[1])[::-1],
        showgrid=False,
    )
    figure.update_xaxes(showgrid=False, range=padded(n_units, plot[0]))
    top = np.unravel_index(int(np.nanargmax(np.abs(mean))), mean.shape)
    label = unit_label(differences.component, int(top[0]), int(top[1]))
    missing = int(np.isnan(mean).sum())
    return finish(
        figure,
        colors,
        title=f"Mean difference per {component.unit}: the largest is {label}, "
        + signed(float(mean[top]), ".3g"),
        subtitle=(
            (
                f"A(x y+) {MINUS} A(x y{MINUS}) at the last token of the text",
                where(differences.component),
                f"mean of {counted(differences.n, 'pair')}",
                named("task", differences.task),
                f"model {differences.model.name}",
            ),
            (
                "blue: larger on the right answer, red: on the wrong one",
                f"colour saturates at ±{limit:.2g}",
                "" if n_units <= MAX_CELLS else _pooling(n_units, component.unit),
                f"{TIMES} no finite value ({missing:,} of {mean.size:,})" if missing else "",
                _empty(mask),
            ),
        ),
        plot=plot,
        margin=Margin(right=132),
    )


def _draw_cells(
    figure: go.Figure,
    theme: Theme,
    component: str,
    values: _Values,
    mask: Mask | None,
    sort: bool,
) -> tuple[tuple[int, int], np.ndarray]:
    n_layers, n_units = values.mean.shape
    order = np.tile(np.arange(n_units), (n_layers, 1))
    if sort:
        order = np.argsort(-values.mean, axis=1, kind="stable")
    mean, error, rank = (np.take_along_axis(array, order, axis=1) for array in values)
    chosen = np.zeros(mean.shape, dtype=bool)
    if mask is not None:
        chosen = np.take_along_axis(mask.selected, order, axis=1)
    cell = int(np.clip(960 / n_units, 4, 40))
    gap = 1 if cell >= 10 else 0
    figure.add_heatmap(
        z=mean,
        customdata=np.stack([order.astype(np.float32), error, rank], axis=-1),
        text=np.where(chosen, "<br>in the mask", "").tolist(),
        hovertemplate=_hover(component, values, tail="%{text}"),
        xgap=gap,
        ygap=gap,
        hoverongaps=False,
    )
    _mark_missing(figure, theme, mean, np.arange(n_units))
    if chosen.any() and mask is not None:
        cells = [(int(row), int(column)) for row, column in np.argwhere(chosen)]
        add_boxes(figure, theme, cells, name=_legend(mask), pixels=cell)
    unit = COMPONENTS[component].unit
    if sort:
        figure.update_xaxes(title=f"{unit}s of the layer, sorted by value", tickvals=[])
    else:
        figure.update_xaxes(title=unit, tickvals=integer_ticks(n_units, 20))
    return (max(400, cell * n_units), max(160, _row_height(n_layers) * n_layers)), mean


def _draw_bins(
    figure: go.Figure, theme: Theme, component: str, values: _Values, mask: Mask | None
) -> tuple[tuple[int, int], np.ndarray]:
    n_layers, n_units = values.mean.shape
    edges = np.linspace(0, n_units, BINS + 1).astype(int)
    winner = np.empty((n_layers, BINS), dtype=int)
    magnitude = np.nan_to_num(np.abs(values.mean), nan=-1.0)
    for column, (start, stop) in enumerate(pairwise(edges)):
        winner[:, column] = start + magnitude[:, start:stop].argmax(axis=1)
    mean, error, rank = (np.take_along_axis(array, winner, axis=1) for array in values)
    figure.add_heatmap(
        z=mean,
        x=edges - 0.5,
        customdata=np.stack([winner.astype(np.float32), error, rank], axis=-1),
        hovertemplate="largest of its cell<br>" + _hover(component, values),
        hoverongaps=False,
    )
    _mark_missing(figure, theme, mean, (edges[:-1] + edges[1:] - 1) / 2)
    if mask is not None and mask.k:
        _add_rings(figure, theme, values, mask)
    unit = COMPONENTS[component].unit
    figure.update_xaxes(title=f"{unit} (index in its layer)", tickformat=",d")
    return (900, max(220, _row_height(n_layers) * n_layers)), mean


def _add_rings(figure: go.Figure, theme: Theme, values: _Values, mask: Mask) -> None:
    """Ring every selected unit at its own place: ink over a halo in the page colour."""
    at = np.nonzero(mask.selected)
    mean, error, rank = (array[at] for array in values)
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
            customdata=np.stack([at[1].astype(np.float32), error, rank, mean], axis=-1),
            hovertemplate=_hover(
                mask.component, values, value="customdata[3]", tail="<br>in the mask"
            ),
            cliponaxis=False,
            name=_legend(mask),
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


def _hover(component: str, values: _Values, *, value: str = "z", tail: str = "") -> str:
    letter = COMPONENTS[component].letter
    error = " ± %{customdata[1]:.2g} (SE)" if np.isfinite(values.error).any() else ""
    return (
        f"<b>L%{{y}}{letter}%{{customdata[0]:d}}</b><br>%{{{value}:+.4g}}{error}"
        f"<br>rank %{{customdata[2]:,d}} of {values.mean.size:,} by signed value"
        f"{tail}<extra></extra>"
    )


def _ranks(mean: np.ndarray) -> np.ndarray:
    flat = mean.ravel()
    ranks = np.empty(flat.size, dtype=np.float32)
    ranks[np.argsort(-flat, kind="stable")] = np.arange(1, flat.size + 1)
    ranks[np.isnan(flat)] = np.nan
    return ranks.reshape(mean.shape)


def _require_same_units(differences: ActivationDifferences, mask: Mask) -> None:
    ours: tuple[Any, ...] = (differences.component, *differences.mean.shape)
    theirs: tuple[Any, ...] = (mask.component, *mask.selected.shape)
    if ours != theirs:
        raise ValueError(
            "mask and differences must be of the same component and shape (component, layers, units),"
            f" got mask {theirs} and differences {ours}"
        )


def _legend(mask: Mask) -> str:
    return f"in the mask: {mask.k:,} of {mask.selected.size:,} ({escape(mask.rule)})"


def _empty(mask: Mask | None) -> str:
    return "the mask is empty: no unit is selected" if mask is not None and not mask.k else ""


def _pooling(n_units: int, unit: str) -> str:
    return f"a cell shows the largest |value| of {n_units / BINS:.0f} {unit}s, sign kept"
