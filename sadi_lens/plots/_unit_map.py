"""Layers down, units across: one cell a unit, or runs of units pooled where there are thousands."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from sadi_lens.plots._heatmap import add_boxes, add_colorbar, padded
from sadi_lens.plots._layout import integer_ticks
from sadi_lens.plots._theme import Theme
from sadi_lens.plots._words import escape
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import COMPONENTS
from sadi_lens.types.results import SignFlipNull

MAX_CELLS = 256
"""Units per layer drawn one by one; with more, a unit would be narrower than four pixels."""
BINS = 160
"""Cells per layer where units are pooled: wide enough to see, and 32 layers take under 150 kB."""


class UnitValues(NamedTuple):
    """The numbers that a map draws, each an array [layer unit]."""

    component: str
    value: np.ndarray
    details: tuple[np.ndarray, ...]
    """Further numbers of the hover."""
    hover: Callable[[str, Sequence[str]], str]
    """Lines of the hover below the unit's name, from the Plotly names of the value and of the details."""


def draw_units(
    figure: go.Figure, theme: Theme, values: UnitValues, mask: Mask | None
) -> tuple[tuple[int, int], np.ndarray]:
    """Draw the map with its axes, without colour range.

    Returns:
        Size of the plot area and the values that the cells show.
    """
    n_layers, n_units = values.value.shape
    is_single = n_units <= MAX_CELLS
    if is_single:
        plot, shown = _draw_cells(figure, theme, values, mask)
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


def set_colours(
    figure: go.Figure, theme: Theme, limit: float, title: str, grey_below: float = 0.0
) -> None:
    """Diverging colours from ``-limit`` to ``limit``, with their bar; magnitudes up to ``grey_below`` in grey."""
    share = min(1.0, grey_below / limit)
    figure.update_traces(
        selector={"type": "heatmap"},
        zmin=-limit,
        zmid=0,
        zmax=limit,
        colorscale=greyed(theme, share) if share else [list(stop) for stop in theme.diverging],
    )
    add_colorbar(figure, theme, title)


def greyed(theme: Theme, share: float) -> list[list[Any]]:
    """The diverging scale of a theme without hue in the inner ``share`` of both halves, as light as before."""
    places = np.linspace(0, 1, 101)
    scale = [list(stop) for stop in theme.diverging]
    colors = cast(Any, sample_colorscale(scale, places.tolist(), colortype="tuple"))
    found: list[list[Any]] = []
    for at, (red, green, blue) in zip(places, colors, strict=True):
        if abs(2 * at - 1) <= share:
            red = green = blue = 0.299 * red + 0.587 * green + 0.114 * blue
        found.append([float(at), f"rgb({255 * red:.0f},{255 * green:.0f},{255 * blue:.0f})"])
    return found


def _draw_cells(
    figure: go.Figure, theme: Theme, values: UnitValues, mask: Mask | None
) -> tuple[tuple[int, int], np.ndarray]:
    n_layers, n_units = values.value.shape
    numbers = np.tile(np.arange(n_units, dtype=np.float32), (n_layers, 1))
    chosen = np.zeros(numbers.shape, dtype=bool) if mask is None else mask.selected
    cell = int(np.clip(960 / n_units, 4, 40))
    gap = 1 if cell >= 10 else 0
    figure.add_heatmap(
        z=values.value,
        customdata=np.stack([numbers, *values.details], axis=-1),
        text=np.where(chosen, "<br>in the mask", "").tolist(),
        hovertemplate=_hover(values, tail="%{text}"),
        xgap=gap,
        ygap=gap,
        hoverongaps=False,
    )
    _mark_missing(figure, theme, values.value, np.arange(n_units))
    if chosen.any() and mask is not None:
        cells = [(int(row), int(column)) for row, column in np.argwhere(chosen)]
        add_boxes(figure, theme, cells, name=mask_legend(mask), pixels=cell)
    unit = COMPONENTS[values.component].unit
    figure.update_xaxes(title=unit, tickvals=integer_ticks(n_units, 20))
    plot = max(400, cell * n_units), max(160, _row_height(n_layers) * n_layers)
    return plot, values.value


def _draw_bins(
    figure: go.Figure, theme: Theme, values: UnitValues, mask: Mask | None
) -> tuple[tuple[int, int], np.ndarray]:
    n_layers = len(values.value)
    edges, winner = strongest(values.value)
    mean, *details = _taken(values, winner)
    hover = "furthest of its cell<br>" + _hover(values)
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


def strongest(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of units, and the unit of each with the largest magnitude: edges [BINS + 1], units [layer BINS]."""
    edges = np.linspace(0, values.shape[1], BINS + 1).astype(int)
    winner = np.empty((len(values), BINS), dtype=int)
    magnitude = np.nan_to_num(np.abs(values), nan=-1.0)
    for column, (start, stop) in enumerate(pairwise(edges)):
        winner[:, column] = start + magnitude[:, start:stop].argmax(axis=1)
    return edges, winner


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


def require_same_pairs(differences: ActivationDifferences, null: SignFlipNull | None) -> None:
    """Raise ValueError if the null is of another component or model than the differences."""
    ours = (differences.component, differences.model)
    if null is not None and (null.component, null.model) != ours:
        raise ValueError(
            f"null must be of component {differences.component!r} on {differences.model.name}, "
            f"got {null.component!r} on {null.model.name}"
        )


def grey_fact(null: SignFlipNull | None) -> str:
    """What is grey because of a null; nothing without one."""
    if null is None:
        return ""
    draws = f"95% of {null.maxima.size:,} draws with right and wrong swapped at random"
    most = f"{null.threshold_of_magnitude:.2g}"
    return f"grey: at most {most}, no further from 0 than the largest means of {draws}"


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
