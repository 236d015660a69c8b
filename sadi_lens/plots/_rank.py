"""How sharp the cut at K is: all units by rank, with what chance would give."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    Margin,
    add_line,
    difference_facts,
    difference_note,
    finish,
    float32,
    require_finite,
    units_of,
)
from sadi_lens.plots._theme import Theme, faded, require_theme
from sadi_lens.plots._unit_map import require_same_pairs
from sadi_lens.plots._words import signed
from sadi_lens.types.checks import checked
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import COMPONENTS, unit_label
from sadi_lens.types.results import SignFlipNull

MAX_POINTS = 1600
"""Points of the curve; more units are thinned evenly in log rank, from both ends."""
_SWAPPED = "when right and wrong are swapped at random in each pair"


@checked()
def rank_curve(
    differences: ActivationDifferences,
    k: int | None = None,
    *,
    null: SignFlipNull | None = None,
    theme: str = "light",
    size: str = "page",
) -> go.Figure:
    """Every unit by rank of its signed mean difference, with the cut at K and the sign-flip null.

    Args:
        differences: Moments of one component.
        k: Units that a mask takes; the part of the curve above the cut is shaded.
        null: ``sign_flip_null`` of the same pairs; a unit above its line stands out after looking at all units.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If nothing is finite, ``k`` is out of range, or the null is of another component.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:10], progress=False)["head"]
        >>> sl.plots.rank_curve(found, 4).layout.yaxis.title.text
        'mean difference (activation units)'
    """
    colors = require_theme(theme, size)
    mean = float32(differences.mean)
    require_finite(mean, f"rank_curve of {differences.component!r} on {differences.model.name}")
    require_same_pairs(differences, null)
    order = np.argsort(-mean, axis=None, kind="stable")
    order = order[np.isfinite(mean.flat[order])]
    n = order.size
    if k is not None and not 1 <= k <= n:
        raise ValueError(f"k must be in [1, {n}] (units with a value), got {k}")
    ranks, values = _thinned(n, k), mean.flat[order]
    low, high = _value_range(values, null)
    figure, ends = go.Figure(), [0.7, n * 1.15]
    if k is not None:
        _add_cut(figure, colors, k, float(values[k - 1]), (low, high))
    add_line(figure, ends, [0, 0], color=colors.muted, width=1.0)
    _add_curve(figure, colors, differences, ranks, order)
    unit = COMPONENTS[differences.component].unit
    above = 0 if null is None else int((values > null.threshold).sum())
    if null is not None:
        _add_null(figure, colors, null, ends)
    _set_axes(figure, unit, n, ends, (low, high))
    return finish(
        figure,
        colors,
        title=_title(differences.component, values, k, null, above),
        facts=difference_facts(differences),
        note=(
            "" if null is None else f"dotted: largest {unit} {_SWAPPED}",
            f"{mean.size - n:,} {unit}s without a finite value left out" if n < mean.size else "",
            difference_note(differences.component),
            f"drawn: {ranks.size:,} of {n:,} points, even in log rank" if ranks.size < n else "",
        ),
        plot=(680, 340),
        margin=Margin(left=84),
    )


def _set_axes(
    figure: go.Figure, unit: str, n: int, ends: Sequence[float], span: tuple[float, float]
) -> None:
    figure.update_xaxes(
        title=f"rank among {n:,} {unit}s (log scale)",
        type="log",
        range=[np.log10(one) for one in ends],
        dtick=1 if n > 30 else None,
        tickformat="~s",
    )
    figure.update_yaxes(title="mean difference (activation units)", range=list(span))


def _value_range(values: np.ndarray, null: SignFlipNull | None) -> tuple[float, float]:
    """Lower and upper end of the value axis; ``values`` are sorted, the largest first."""
    low, high = float(values[-1]), float(values[0])
    if null is not None:
        high = max(high, null.threshold)
    pad = 0.06 * (high - low or abs(high) or 1.0)
    return low - pad, high + pad


def _add_cut(
    figure: go.Figure, theme: Theme, k: int, value: float, ends: tuple[float, float]
) -> None:
    """Shade the ranks up to K, with a dashed line at the cut."""
    low, high = ends
    color = theme.kinds["adaptive"]
    figure.add_scatter(
        x=[0.7, 0.7, k + 0.5, k + 0.5],
        y=[low, high, high, low],
        mode="lines",
        fill="toself",
        fillcolor=faded(color, 0.16),
        line={"color": color, "width": 0},
        hoverinfo="skip",
        name=f"selected: K = {k:,}, down to {signed(value, '.3g')}",
        showlegend=True,
    )
    add_line(figure, [k + 0.5] * 2, [low, high], color=color, width=1.6, dash="dash")


def _add_curve(
    figure: go.Figure,
    theme: Theme,
    differences: ActivationDifferences,
    ranks: np.ndarray,
    order: np.ndarray,
) -> None:
    """The units at ``ranks`` (1-based) of ``order``, named on hover."""
    mean, n = float32(differences.mean), order.size
    units = order[ranks - 1]
    figure.add_scatter(
        x=ranks,
        y=mean.ravel()[units],
        customdata=[
            unit_label(differences.component, *divmod(int(unit), mean.shape[1])) for unit in units
        ],
        mode="lines+markers" if n <= 120 else "lines",
        line={"color": theme.ink, "width": 1.6 if n <= 120 else 2.4},
        marker={"size": 5, "color": theme.ink},
        hovertemplate="<b>%{customdata}</b><br>%{y:+.4g}<br>"
        f"rank %{{x:,d}} of {n:,} by signed value<extra></extra>",
        name="units",
        showlegend=False,
    )


def _add_null(figure: go.Figure, theme: Theme, null: SignFlipNull, ends: list[float]) -> None:
    """The line that 95% of the largest means of sign-flipped pairs stay below."""
    n = null.maxima.size
    figure.add_scatter(
        x=ends,
        y=[null.threshold] * 2,
        mode="lines",
        line={"color": theme.kinds["random"], "width": 2, "dash": "dot"},
        hovertemplate=f"95% of {n:,} sign-flipped maxima are below %{{y:+.4g}}<extra></extra>",
        name=f"95% of {n:,} sign-flipped maxima: {signed(null.threshold, '.3g')}",
        showlegend=True,
    )


def _thinned(n: int, k: int | None) -> np.ndarray:
    """Ranks to draw: all if few, else even in log rank seen from the top and from the bottom."""
    if n <= MAX_POINTS:
        return np.arange(1, n + 1)
    spaced = np.unique(np.geomspace(1, n, MAX_POINTS // 2).round().astype(int))
    extra = [] if k is None else [k, min(n, k + 1)]
    return np.unique(np.concatenate([spaced, n + 1 - spaced, extra]).astype(int))


def _title(
    component: str, values: np.ndarray, k: int | None, null: SignFlipNull | None, above: int
) -> str:
    """How many units stand out; without a null, how sharp the cut is. ``values`` are sorted, the largest first."""
    words, n = units_of(component), values.size
    if null is not None:
        head = f"No {units_of(component, 1)} exceeds what chance gives"
        if above:
            head = f"{above:,} of {n:,} {words} exceed{'s' if above == 1 else ''} what chance gives"
        if k is None or above == k:
            return head
        rest = f"{k - above:,} that do not" if k > above else f"only {k:,} of them"
        return f"{head}; K = {k:,} takes {rest}"
    if n == 1:
        return (
            f"The only {units_of(component, 1)} with a value has {signed(float(values[0]), '.3g')}"
        )
    if k is None or k == n:
        ends = [signed(float(one), ".3g") for one in (values[0], np.median(values))]
        return f"The largest of {n:,} {words} is {ends[0]}, the median {ends[1]}"
    inside, outside = float(values[k - 1]), float(values[k])
    ends = f"rank {k:,} has {signed(inside, '.3g')}, rank {k + 1:,} {signed(outside, '.3g')}"
    gaps = -np.diff(values[: min(n, 2 * k + 1)])
    is_sharp = inside - outside >= 0.999 * float(gaps.max()) > 0
    return f"The cut at K = {k:,} {'falls into the widest gap' if is_sharp else 'is not sharp'}: {ends}"
