"""The dot grid: a few units as dots that show sign, size and number, for teaching."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._heatmap import ink_on
from sadi_lens.plots._layout import Margin, finish, float32, require_finite
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.plots._words import TIMES, escape, name_text, number, signed, text_width
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import checked

_CELL = 48
_SPAN = 1.3
"""Ends of the colour range over the largest value, so that the darkest colours are left out."""
_GAP = 0.9
"""Space between panels, in cells."""
_INSIDE = 28
"""Pixels of a dot from which on there is no room above it, so that its number stands in it also where it is wider."""
_FRAMED = 13
"""The same of a dot in the square of a mask, whose upper side would cross the number."""
_TEXT = 12
"""Pixels of a number."""
_DIGITS = 6
"""Characters of a number that fit between two dots."""
MAX_DOTS = 64
"""Dots of one panel; with more their numbers cannot be read."""


@checked()
def dot_grid(
    panels: Mapping[str, Any],
    masks: Mapping[str, Any] | None = None,
    *,
    title: str,
    shown: str | None = None,
    theme: str = "light",
    size: str = "page",
) -> go.Figure:
    """Grids of numbers as dots: blue positive, red negative, area by magnitude; masks as rings.

    Args:
        panels: Name -> array [layer unit] of one common shape, drawn side by side.
        masks: Name -> bool array [layer unit]; with several, a slider chooses which one is ringed.
        title: What is to be seen.
        shown: The mask that is ringed at first; default the first.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there is no panel, shapes differ, a panel is too large or nothing is finite.

    Example:
        >>> figure = sl.plots.dot_grid({"D": [[0.5, -1.0]]}, {"M": [[True, False]]}, title="One layer")
        >>> figure.data[0].mode, len(figure.data[0].text)
        ('markers+text', 2)
    """
    colors = require_theme(theme, size)
    if not panels:
        raise ValueError("dot_grid needs at least one panel, got 0")
    arrays = {name: _numbers(name, values) for name, values in panels.items()}
    rings = {name: _ring(name, mask) for name, mask in (masks or {}).items()}
    n_layers, n_units = _common_shape([*arrays.values(), *rings.values()])
    stacked = np.stack(list(arrays.values()))
    require_finite(stacked, "dot_grid")
    if shown is not None:
        require_one_of("shown", shown, list(rings))
    largest = float(np.nanmax(np.abs(stacked))) or 1.0
    step = n_units + _GAP
    figure = go.Figure()
    framed = np.any([np.zeros((n_layers, n_units), dtype=bool), *rings.values()], axis=0)
    room = np.where(framed, _FRAMED, _INSIDE)
    for index, (name, values) in enumerate(arrays.items()):
        _add_panel(figure, colors, name, values, room, left=index * step, largest=largest)
    missing = int(np.isnan(stacked).sum())
    first = list(rings).index(shown) if shown is not None else 0
    for place, (name, mask) in enumerate(rings.items()):
        layers, units = np.nonzero(mask)
        x = np.concatenate([units + index * step for index in range(len(arrays))])
        _add_rings(figure, colors, name, x, np.tile(layers, len(arrays)))
        figure.data[-1].update(showlegend=len(rings) == 1, visible=place == first)
    if len(rings) > 1:
        _add_slider(figure, list(rings), len(arrays), first)
    width, cell = len(arrays) * step - _GAP, _CELL * colors.factor
    whole = [name for name in arrays if name_text(name) != _head(name, n_units)]
    _set_axes(figure, len(arrays), n_layers, n_units)
    return finish(
        figure,
        colors,
        title=title,
        facts=("blue: positive, red: negative, area: magnitude",),
        note=(f"{TIMES}: no finite value ({missing:,})" if missing else "", *whole),
        plot=(int(width * cell), int((n_layers + 0.65) * cell)),
        margin=Margin(bottom=58 if len(rings) < 2 else 132),
    )


def _numbers(name: str, values: Any) -> np.ndarray:
    """A panel as numbers; ValueError if it holds anything else."""
    try:
        return float32(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"panel {name!r} must be numbers [layer unit]: {error}") from error


def _ring(name: str, mask: Any) -> np.ndarray:
    """A mask as a bool array; ValueError if it is anything but True and False."""
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise ValueError(f"mask {name!r} must be a bool array [layer unit], got {array.dtype}")
    return array


def _set_axes(figure: go.Figure, n_panels: int, n_layers: int, n_units: int) -> None:
    step = n_units + _GAP
    figure.update_xaxes(
        title="unit",
        range=[-0.6, n_panels * step - _GAP - 0.4],
        tickvals=[unit + index * step for index in range(n_panels) for unit in range(n_units)],
        ticktext=[str(unit) for _ in range(n_panels) for unit in range(n_units)],
        showgrid=False,
    )
    figure.update_yaxes(
        title="layer", range=[n_layers - 0.4, -1.05], tickvals=list(range(n_layers)), showgrid=False
    )


def _common_shape(arrays: list[np.ndarray]) -> tuple[int, int]:
    """The common shape [layer unit]; ValueError if shapes differ or a panel has too many units to read."""
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 2:
        raise ValueError(f"panels and masks must have one shape [layer unit], got {sorted(shapes)}")
    n_layers, n_units = shape
    if n_layers * n_units > MAX_DOTS:
        raise ValueError(
            f"dot_grid draws at most {MAX_DOTS} dots a panel, got {n_layers} x {n_units}; "
            "use difference_heatmap"
        )
    return n_layers, n_units


def _add_panel(
    figure: go.Figure,
    theme: Theme,
    name: str,
    values: np.ndarray,
    room: np.ndarray,
    *,
    left: float,
    largest: float,
) -> None:
    """One panel: a dot per unit, its area by magnitude, its number in it or, where it is narrower, above."""
    row, column = np.indices(values.shape)
    size = np.nan_to_num(np.sqrt(np.abs(values) / largest)) * (_CELL - 8)
    known = np.isfinite(values)
    texts = [_number(float(value)) for value in values.ravel()]
    figure.add_scatter(
        x=(column + left).ravel(),
        y=row.ravel(),
        mode="markers+text",
        marker={
            "size": np.where(known, np.maximum(size, 5), 0).ravel(),
            "color": np.nan_to_num(values).ravel(),
            "cmin": -_SPAN * largest,
            "cmax": _SPAN * largest,
            "colorscale": [list(stop) for stop in theme.diverging],
            "line": {"width": 1, "color": theme.muted},
            "opacity": 1,  # by default dots of several sizes let the page through
        },
        text=texts,
        textposition=[
            "middle center"
            if one >= min(least, text_width(text, _TEXT)) or not is_known
            else "top center"
            for text, one, least, is_known in zip(
                texts, size.ravel(), room.ravel(), known.ravel(), strict=True
            )
        ],
        textfont={
            "size": _TEXT,
            "color": [_ink(theme, float(value), largest) for value in values.ravel()],
        },
        customdata=[
            [unit, signed(value, ".4g") if math.isfinite(value) else "no finite value"]
            for unit, value in zip(column.ravel().tolist(), values.ravel().tolist(), strict=True)
        ],
        hovertemplate=f"<b>layer %{{y}}, unit %{{customdata[0]}}</b><br>{escape(name_text(name, 200))}: "
        "%{customdata[1]}<extra></extra>",
        showlegend=False,
        name=escape(name),
    )
    figure.add_annotation(
        x=left + (values.shape[1] - 1) / 2, y=-0.72, text=f"<b>{escape(_head(name, values.shape[1]))}</b>",
        showarrow=False, font={"color": theme.ink, "size": 13},
    )  # fmt: skip


def _add_rings(
    figure: go.Figure, theme: Theme, name: str, x: np.ndarray, layers: np.ndarray
) -> None:
    """A square round every unit of a mask, in every panel."""
    figure.add_scatter(
        x=x,
        y=layers,
        mode="markers",
        marker={
            "symbol": "square-open",
            "size": _CELL - 5,
            "color": theme.ink,
            "line": {"width": 2.4, "color": theme.ink},
        },
        hoverinfo="skip",
        name=f"in the mask: {escape(name_text(name, 200))}",
    )


def _ink(theme: Theme, value: float, largest: float) -> str:
    """Of a number: that of the page where it is wider than its dot, else what is read best on the dot."""
    if not abs(value) > 0.5 * largest:
        return theme.ink
    return ink_on(0.5 + value / largest / _SPAN / 2, [color for _, color in theme.diverging])


def _number(value: float) -> str:
    """As much of a number as there is room for, without the sign of a negative zero; a cross where there is none."""
    if not math.isfinite(value):
        return TIMES
    whole = number(value + 0.0)
    return whole if len(whole) <= _DIGITS else number(value, ".2g")


def _head(name: str, n_units: int) -> str:
    """The name of a panel, as wide as it."""
    return name_text(name, int((n_units + _GAP) * _CELL / text_width("m")))


def _add_slider(figure: go.Figure, names: list[str], n_panels: int, first: int) -> None:
    """One step a mask; the panels stay."""
    steps = [
        {
            "label": escape(name_text(name, 24)),
            "method": "restyle",
            "args": [
                {"visible": [True] * n_panels + [place == chosen for place in range(len(names))]}
            ],
        }
        for chosen, name in enumerate(names)
    ]
    figure.update_layout(
        sliders=[
            {
                "steps": steps,
                "active": first,
                "x": 0,
                "len": 1,
                "y": 0,
                "yanchor": "top",
                "pad": {"t": 48},
                "currentvalue": {"prefix": "mask: "},
            }
        ]
    )
