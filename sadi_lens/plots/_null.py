"""Random masks of the same K and strength: is it the mask, or would any do?"""

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    Margin,
    escape,
    finish,
    float32,
    named,
    percent,
    require_finite,
    signed,
    where,
)
from sadi_lens.plots._theme import SYMBOLS, Theme, require_theme
from sadi_lens.types.base import require_one_of
from sadi_lens.types.results import Comparison, MethodRow, NullBand


def null_of(comparison: Comparison, row: MethodRow) -> NullBand | None:
    """The null a row was placed in."""
    return next((null for null in comparison.nulls if null.label == row.null), None)


def p_text(p: float) -> str:
    """An empirical p-value to the digits that it has."""
    return f"p = {p:.3f}" if p >= 0.001 else f"p = {p:.1g}"


def as_good(null: NullBand, row: MethodRow) -> int:
    """Random masks that are at least as accurate as a row; ties count, as in the p-value."""
    return int((np.asarray(null.accuracies) >= row.accuracy).sum())


def null_distribution(
    comparison: Comparison, label: str, *, theme: str = "light", size: str = "page"
) -> go.Figure:
    """Every random mask by its accuracy and by its margin, with the method placed among them.

    The margin says what accuracy cannot: whether masks that answer as often right are as sure of it.

    Args:
        comparison: With at least one null.
        label: Label of the method.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If the label is unknown, the method has no null of its own, or there are no margins (free text).
    """
    colors = require_theme(theme, size)
    row, null = _placed(comparison, label)
    margins = float32(null.margins)
    require_finite(np.where(np.isfinite(row.margin), margins, np.nan), f"the margin of {label!r}")
    figure = go.Figure()
    accurate = np.asarray(null.accuracies) >= row.accuracy  # unscaled, as the p-value counts ties
    sure = margins >= row.margin
    for chosen, name, symbol in (
        (~accurate, "random masks, less accurate", "triangle-up-open"),
        (accurate, "random masks, at least as accurate", "triangle-up"),
    ):
        figure.add_scatter(
            x=100 * np.asarray(null.accuracies)[chosen],
            y=margins[chosen],
            mode="markers",
            marker={"symbol": symbol, "size": 8, "color": colors.kinds["random"], "opacity": 0.75},
            hovertemplate="random mask<br>accuracy %{x:.1f}%<br>margin %{y:+.3g} nats<extra></extra>",
            name=f"{name} ({int(chosen.sum()):,})",
            showlegend=True,
        )
    figure.add_vline(x=100 * row.accuracy, line=_line(colors, row), layer="below")
    figure.add_hline(y=row.margin, line=_line(colors, row), layer="below")
    for one in (comparison.rows[0], row):
        _add_method(figure, colors, one)
    figure.update_xaxes(
        title=f"accuracy on {comparison.n:,} {escape(comparison.split)} items", ticksuffix="%"
    )
    figure.update_yaxes(title="mean margin (nats)")
    layers = ", as many in each layer" if null.per_layer else ""
    return finish(
        figure,
        colors,
        title=_title(null.n, label, int(accurate.sum()), int((accurate & sure).sum())),
        facts=(
            named("task", comparison.task),
            f"{comparison.n:,} {comparison.split} items",
            f"one-sided {p_text(null.p_value(row.accuracy))}",
            f"model {comparison.model.name}",
        ),
        note=(
            f"random masks of K = {null.k}, "
            + ("each at its own strength" if null.tuned else f"strength {null.strength:g}")
            + layers,
            "margin: log-probability of the right answer minus the best wrong one",
            f"steered at {where(comparison.component)}" if comparison.component else "",
            f"position {comparison.position}",
        ),
        plot=(640, 340),
        margin=Margin(left=80),
    )


def _line(theme: Theme, row: MethodRow) -> dict[str, object]:
    return {"color": theme.kinds[row.kind], "width": 1.4, "dash": "dash"}


def _add_method(figure: go.Figure, theme: Theme, row: MethodRow) -> None:
    figure.add_scatter(
        x=[100 * row.accuracy],
        y=[row.margin],
        mode="markers",
        marker={
            "symbol": SYMBOLS[row.kind],
            "size": 13,
            "color": theme.kinds[row.kind],
            "line": {"width": 1, "color": theme.paper},
        },
        hovertemplate=f"<b>{escape(row.label)}</b><br>accuracy %{{x:.1f}}%<br>"
        "margin %{y:+.3g} nats<extra></extra>",
        name=f"{escape(row.label)} ({percent(row.accuracy)}, {signed(row.margin, '.2g')} nats)",
        showlegend=True,
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


def _title(n: int, label: str, accurate: int, both: int) -> str:
    if not accurate:
        return f"None of {n:,} random masks is as accurate as {label}"
    said = f"{accurate:,} of {n:,} random masks {'is' if accurate == 1 else 'are'} as accurate as {label}"
    which = "all" if both == accurate else f"{both:,}" if both else "none"
    return f"{said}; {which} of them also with as large a margin"
