"""How sharp the cut at K is: all units by rank, with what chance would give."""

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    MINUS,
    Margin,
    counted,
    finish,
    float32,
    named,
    require_finite,
    signed,
    where,
)
from sadi_lens.plots._theme import faded, require_theme
from sadi_lens.types.components import COMPONENTS, unit_label
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.results import SignFlipNull

MAX_POINTS = 1600
"""Points of the curve; more units are thinned evenly in log rank, from both ends."""


def rank_curve(
    differences: ActivationDifferences,
    k: int | None = None,
    *,
    null: SignFlipNull | None = None,
    theme: str = "light",
) -> go.Figure:
    """Every unit by rank of its signed mean difference, with the cut at K and the sign-flip null.

    Args:
        differences: Moments of one component.
        k: Units that a mask takes; the part of the curve above the cut is shaded.
        null: ``sign_flip_null`` of the same pairs: the line that 95% of the largest means of swapped
            pairs stay below. A unit above it stands out after looking at all units.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If nothing is finite, ``k`` is out of range, or the null is of another component.
    """
    colors = require_theme(theme)
    mean = float32(differences.mean)
    require_finite(mean, f"rank_curve of {differences.component!r} on {differences.model.name}")
    if null is not None and (null.component, null.model) != (
        differences.component,
        differences.model,
    ):
        raise ValueError(
            f"null must be of component {differences.component!r} on {differences.model.name}, "
            f"got {null.component!r} on {null.model.name}"
        )
    flat = mean.ravel()
    order = np.argsort(-flat, kind="stable")
    order = order[np.isfinite(flat[order])]
    n = order.size
    if k is not None and not 1 <= k <= n:
        raise ValueError(f"k must be in [1, {n}] (units with a value), got {k}")
    ranks = _thinned(n, k)
    values = flat[order[ranks - 1]]
    units = order[ranks - 1]
    low, high = float(flat[order[-1]]), float(flat[order[0]])
    above = 0
    if null is not None:
        above = int((flat[order] > null.threshold).sum())
        high = max(high, null.threshold)
    pad = 0.06 * (high - low or abs(high) or 1.0)
    low, high = low - pad, high + pad
    figure = go.Figure()
    if k is not None:
        cut = float(flat[order[k - 1]])
        figure.add_scatter(
            x=[0.7, 0.7, k + 0.5, k + 0.5],
            y=[low, high, high, low],
            mode="lines",
            fill="toself",
            fillcolor=faded(colors.kinds["adaptive"], 0.16),
            line={"color": colors.kinds["adaptive"], "width": 0},
            hoverinfo="skip",
            name=f"selected: K = {k:,}, down to {signed(cut, '.3g')}",
            showlegend=True,
        )
        figure.add_scatter(
            x=[k + 0.5] * 2,
            y=[low, high],
            mode="lines",
            line={"color": colors.kinds["adaptive"], "width": 1.6, "dash": "dash"},
            hoverinfo="skip",
            showlegend=False,
        )
    figure.add_scatter(
        x=[0.7, n * 1.15],
        y=[0, 0],
        mode="lines",
        line={"color": colors.muted, "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=ranks,
        y=values,
        customdata=[
            unit_label(differences.component, *divmod(int(unit), mean.shape[1])) for unit in units
        ],
        mode="lines+markers" if n <= 120 else "lines",
        line={"color": colors.ink, "width": 1.6 if n <= 120 else 2.4},
        marker={"size": 5, "color": colors.ink},
        hovertemplate="<b>%{customdata}</b><br>%{y:+.4g}<br>"
        f"rank %{{x:,d}} of {n:,} by signed value<extra></extra>",
        name="units",
        showlegend=False,
    )
    if null is not None:
        figure.add_scatter(
            x=[0.7, n * 1.15],
            y=[null.threshold] * 2,
            mode="lines",
            line={"color": colors.kinds["random"], "width": 2, "dash": "dot"},
            hovertemplate=f"95% of {null.maxima.size:,} sign-flipped maxima are below %{{y:+.4g}}"
            "<extra></extra>",
            name=f"95% of {null.maxima.size:,} sign-flipped maxima: {signed(null.threshold, '.3g')}",
            showlegend=True,
        )
    unit = COMPONENTS[differences.component].unit
    figure.update_xaxes(
        title=f"rank among {n:,} {unit}s (log scale)",
        type="log",
        range=[np.log10(0.7), np.log10(n * 1.15)],
        dtick=1 if n > 30 else None,
        tickformat="~s",
    )
    figure.update_yaxes(title="mean difference (activation units)", range=[low, high])
    missing = int(mean.size - n)
    return finish(
        figure,
        colors,
        title=_title(unit, n, k, null, above),
        subtitle=(
            (
                f"A(x y+) {MINUS} A(x y{MINUS}) at the last token of the text",
                where(differences.component),
                f"mean of {counted(differences.n, 'pair')}",
                named("task", differences.task),
                f"model {differences.model.name}",
            ),
            (
                f"dotted: largest {unit} when right and wrong are swapped at random in each pair"
                if null is not None
                else "no sign-flip null was drawn",
                f"{missing:,} {unit}s without a finite value left out" if missing else "",
                f"drawn: {ranks.size:,} of {n:,} points, even in log rank"
                if ranks.size < n
                else "",
            ),
        ),
        plot=(680, 340),
        margin=Margin(left=84),
    )


def _thinned(n: int, k: int | None) -> np.ndarray:
    """Ranks to draw: all if few, else even in log rank seen from the top and from the bottom."""
    if n <= MAX_POINTS:
        return np.arange(1, n + 1)
    spaced = np.unique(np.geomspace(1, n, MAX_POINTS // 2).round().astype(int))
    extra = [] if k is None else [k, min(n, k + 1)]
    return np.unique(np.concatenate([spaced, n + 1 - spaced, extra]).astype(int))


def _title(unit: str, n: int, k: int | None, null: SignFlipNull | None, above: int) -> str:
    if null is None:
        return f"How sharp is the cut? {n:,} {unit}s by rank"
    return f"{above:,} of {n:,} {unit}s above the sign-flip null" + (
        "" if k is None else f"; K = {k:,}"
    )
