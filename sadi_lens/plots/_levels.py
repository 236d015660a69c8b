"""Axes of shares and counts, and lines across them with their names."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._theme import Theme, faded

_LINE = 17
"""Pixels that a name takes above its line."""


def axis_range(values: Any, whole: float = 0.0) -> tuple[float, float]:
    """Lower and upper end of an axis with room at both.

    Args:
        values: All that is drawn along it; NaN takes no room.
        whole: What 100% is (1 or 100) where values are shares: no tick then stands beyond 0 or it.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, whole)
    room = max(0.06 * (high - low), (0.08 * whole - (high - low)) / 2)
    room = room or 0.1 * abs(high) or 1.0
    low, high = low - room, high + room
    if whole:
        low, high = max(low, -0.009 * whole), min(high, 1.009 * whole)
    return low, high


def drawn_values(figure: go.Figure, axis: str = "y") -> list[float]:
    """All values along one axis of a figure."""
    return [
        float(value)
        for trace in cast(Any, figure).data
        for value in (trace[axis] if trace[axis] is not None else ())
        if value is not None
    ]


def set_counts(figure: go.Figure, title: str) -> None:
    """A horizontal axis of whole numbers from 0."""
    most = max(drawn_values(figure, "x"), default=0.0)
    figure.update_xaxes(title=title, rangemode="tozero", dtick=1 if most <= 10 else None)


def add_levels(
    figure: go.Figure,
    theme: Theme,
    levels: Sequence[tuple[float, str, str]],
    span: tuple[float, float],
    pixels: float,
) -> None:
    """Lines across, named at their right end; names of lines that are too close for two share one place.

    Args:
        figure: Gets the lines.
        theme: Its colours.
        levels: Value, name and dash of each.
        span: Ends of the axis.
        pixels: Its length.
    """
    names: list[tuple[float, list[str]]] = []
    close = _LINE * theme.factor * (span[1] - span[0]) / pixels
    for value, _, dash in levels:
        figure.add_hline(y=value, line={"color": theme.ink, "width": 1.4, "dash": dash})
    for value, text, _ in sorted(levels, reverse=True):
        if names and names[-1][0] - value < close:
            names[-1][1].append(text)
        else:
            names.append((value, [text]))
    for value, texts in names:
        more = f", and {len(texts) - 4} more" if len(texts) > 4 else ""
        figure.add_annotation(
            x=1, xref="paper", xanchor="right", y=value, showarrow=False,
            yanchor="top" if span[1] - value < close else "bottom",
            text=", ".join(texts[:4]) + more,
            font={"size": 12, "color": theme.ink}, bgcolor=faded(theme.paper, 0.7),
        )  # fmt: skip
