"""Random masks of the same K and strength: is it the mask, or would any do?"""

import math

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, escape, finish, named, percent, where
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.types.base import require_one_of
from sadi_lens.types.results import Comparison, MethodRow, NullBand


def null_of(comparison: Comparison, row: MethodRow) -> NullBand | None:
    """The null a row was placed in."""
    return next((null for null in comparison.nulls if null.label == row.null), None)


def p_text(p: float) -> str:
    """An empirical p-value to the digits that it has."""
    return f"p = {p:.3f}" if p >= 0.001 else f"p = {p:.1g}"


def null_distribution(comparison: Comparison, label: str, *, theme: str = "light") -> go.Figure:
    """Histogram of the accuracies of random masks, with the method placed in it.

    Args:
        comparison: With at least one null.
        label: Label of the method.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If the label is unknown, or the method has no null of its own.
    """
    colors = require_theme(theme)
    row, null = _placed(comparison, label)
    accuracies = 100 * np.asarray(null.accuracies, dtype=np.float64)
    beats = np.asarray(null.accuracies) >= row.accuracy  # unscaled, as the p-value counts ties
    # Bins hold whole items, so that no bin is empty only because of rounding.
    items = max(1, round(np.ptp(accuracies) * comparison.n / 100 / 36))
    size = 100 * items / comparison.n
    start = -50 / comparison.n  # edges half an item off, so that no accuracy lies on one
    figure = go.Figure()
    _add_bars(figure, colors, accuracies, beats, {"start": start, "end": 100 + size, "size": size})
    lines = [
        (row.accuracy, colors.kinds[row.kind], "solid", label),
        (comparison.rows[0].accuracy, colors.kinds["unsteered"], "dash", "unsteered"),
        (comparison.chance, colors.muted, "dot", "chance"),
    ]
    known = [line for line in lines if not math.isnan(line[0])]
    top = _tallest(accuracies, start, size)
    for value, shade, dash, name in known:
        figure.add_scatter(
            x=[100 * value] * 2,
            y=[0, 1.1 * top],
            mode="lines",
            line={"color": shade, "width": 2.4, "dash": dash},
            hovertemplate=f"{escape(name)}: %{{x:.1f}}%<extra></extra>",
            name=f"{escape(name)} ({percent(value)})",
            showlegend=True,
        )
    figure.update_layout(barmode="stack", bargap=0)
    low, high = (f(float(f(accuracies)), 100 * f(value for value, *_ in known)) for f in (min, max))
    pad = 0.05 * (high - low) + 1
    figure.update_xaxes(
        title=f"accuracy on {comparison.n:,} {escape(comparison.split)} items (%)",
        range=[low - pad, min(101.0, high + pad)],
        ticksuffix="%",
    )
    figure.update_yaxes(
        title=f"random masks (of {null.n:,})", range=[0, 1.1 * top], tickformat=",d"
    )
    if top < 8:
        figure.update_yaxes(dtick=1)
    return finish(
        figure,
        colors,
        title=f"{int(beats.sum()):,} of {null.n:,} random masks do at least as well as {label}",
        subtitle=_facts(comparison, row, null),
        plot=(640, 280),
        margin=Margin(left=76),
    )


def _placed(comparison: Comparison, label: str) -> tuple[MethodRow, NullBand]:
    """The row with this label, and the null that it was placed in."""
    rows = {row.label: row for row in comparison.rows}
    require_one_of("label", label, rows)
    null = null_of(comparison, rows[label])
    if null is None:
        raise ValueError(
            f"{label!r} was not placed in a random-mask null of its own; nulls of this comparison: "
            f"{[null.label for null in comparison.nulls]}"
        )
    return rows[label], null


def _add_bars(
    figure: go.Figure,
    theme: Theme,
    accuracies: np.ndarray,
    beats: np.ndarray,
    bins: dict[str, float],
) -> None:
    """Stacked histogram of the random masks: those that do worse, and those at least as good."""
    color = theme.kinds["random"]
    for chosen, name, pattern in (
        (~beats, "random masks that do worse", ""),
        (beats, "random masks at least as good", "/"),
    ):
        figure.add_histogram(
            x=accuracies[chosen],
            xbins=bins,
            autobinx=False,
            marker={
                "color": color,
                "opacity": 0.9 if pattern else 0.55,
                "line": {"width": 0.5, "color": theme.paper},
                "pattern": {
                    "shape": pattern,
                    "size": 6,
                    "fgcolor": theme.paper,
                    "bgcolor": color,
                },
            },
            hovertemplate="%{y} random masks at %{x}<extra></extra>",
            name=f"{name} ({int(chosen.sum()):,})",
            showlegend=True,
        )


def _facts(comparison: Comparison, row: MethodRow, null: NullBand) -> tuple[tuple[str, ...], ...]:
    layers = ", as many in each layer" if null.per_layer else ""
    return (
        (
            f"random masks of K = {null.k}, strength {null.strength:g}{layers}",
            f"empirical {p_text(null.p_value(row.accuracy))}, one-sided",
        ),
        (
            named("task", comparison.task),
            f"{comparison.n:,} {comparison.split} items",
            f"model {comparison.model.name}",
            where(comparison.component).split(",")[0] if comparison.component else "",
            f"position {comparison.position}",
        ),
    )


def _tallest(accuracies: np.ndarray, start: float, size: float) -> int:
    return int(np.bincount(np.floor((accuracies - start) / size).astype(int)).max())
