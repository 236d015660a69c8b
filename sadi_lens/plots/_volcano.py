"""How large against how sure: mean difference and its t statistic, unit by unit."""

from typing import Any

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
    where,
)
from sadi_lens.plots._theme import faded, require_theme
from sadi_lens.plots._unit_map import empty_fact, ranks_of, require_same_units
from sadi_lens.types.components import COMPONENTS, unit_label
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.stats import t_threshold

MAX_POINTS = 1200
"""Units drawn one by one; of more, the rest is drawn as a density."""
_DENSITY = (90, 60)


def volcano(
    differences: ActivationDifferences, mask: Mask | None = None, *, theme: str = "light"
) -> go.Figure:
    """Mean difference against |t| of every unit: large and unsure (low), small and sure (high, centre).

    The dotted line is where |t| is significant at 5% after Bonferroni's correction for the number of units.

    Args:
        differences: Moments of one component over at least 2 pairs.
        mask: Units to ring.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If there are fewer than 2 pairs, no unit has a t, or the mask is of another shape.
    """
    colors = require_theme(theme)
    if differences.n < 2:
        raise ValueError(f"volcano needs at least 2 pairs for a t statistic, got {differences.n}")
    component = COMPONENTS[differences.component]
    mean, error = float32(differences.mean), float32(differences.standard_error)
    if mask is not None:
        require_same_units(differences.component, mean.shape, mask)
    t = np.divide(mean, error, out=np.full(mean.shape, np.nan, np.float32), where=error > 0)
    require_finite(t, f"volcano of {differences.component!r} on {differences.model.name}")
    size = np.abs(t)
    known = np.isfinite(t)
    line = t_threshold(differences.n, int(known.sum()))
    chosen = _shown(mean, size, known, mask)
    rank = ranks_of(mean)
    n_units = mean.shape[1]
    top = 1.06 * max(float(np.nanmax(size)), line)
    reach = 1.06 * float(np.abs(mean[known]).max()) or 1.0
    figure = go.Figure()
    n_known = int(known.sum())
    if n_known > len(chosen):
        _add_density(figure, mean[known], size[known], reach, top, colors.muted)
    for sign, name, symbol, color in (
        (1, "larger on the right answer", "triangle-up", colors.positive),
        (-1, "larger on the wrong answer", "triangle-down", colors.negative),
    ):
        here = chosen[(mean.ravel()[chosen] >= 0) == (sign > 0)]
        figure.add_scatter(
            x=mean.ravel()[here],
            y=size.ravel()[here],
            mode="markers",
            marker={"symbol": symbol, "size": 7, "color": color, "opacity": 0.85},
            customdata=_hover_data(differences.component, here, n_units, rank),
            hovertemplate="<b>%{customdata[0]}</b><br>mean %{x:+.4g}<br>|t| %{y:.3g}<br>"
            f"rank %{{customdata[1]:,d}} of {mean.size:,} by signed value<extra></extra>",
            name=name,
            showlegend=True,
        )
    if mask is not None and mask.k:
        here = np.flatnonzero(mask.selected & known)[:MAX_POINTS]
        figure.add_scatter(
            x=mean.ravel()[here],
            y=size.ravel()[here],
            mode="markers",
            marker={
                "symbol": "circle-open",
                "size": 12 if mask.k <= 60 else 8,
                "color": colors.ink,
                "line": {"width": 1.6 if mask.k <= 60 else 1},
            },
            hoverinfo="skip",
            name=f"in the mask ({mask.k:,})",
            showlegend=True,
        )
    figure.add_scatter(
        x=[-reach, reach],
        y=[line, line],
        mode="lines",
        line={"color": colors.ink, "width": 1.4, "dash": "dot"},
        hoverinfo="skip",
        name=f"|t| = {line:.2f}: 5% after Bonferroni",
        showlegend=True,
    )
    figure.add_vline(x=0, line={"color": colors.muted, "width": 1})
    figure.update_xaxes(title="mean difference (activation units)", range=[-reach, reach])
    figure.update_yaxes(title="|t| = |mean| / standard error", range=[0, top])
    sure = int((size[known] > line).sum())
    missing = mean.size - n_known
    return finish(
        figure,
        colors,
        title=f"{counted(sure, component.unit)} of {n_known:,} differ beyond chance (|t| > {line:.2f})",
        subtitle=(
            (
                f"A(x y+) {MINUS} A(x y{MINUS}) at the last token of the text",
                where(differences.component),
                counted(differences.n, "pair"),
                named("task", differences.task),
                f"model {differences.model.name}",
            ),
            (
                f"points: the {len(chosen):,} most extreme of {n_known:,}; shade: density of all"
                if n_known > len(chosen)
                else "",
                f"{missing:,} {component.unit}s without spread or value left out"
                if missing
                else "",
                empty_fact(mask),
            ),
        ),
        plot=(680, 380),
        margin=Margin(),
    )


def _shown(mean: np.ndarray, size: np.ndarray, known: np.ndarray, mask: Mask | None) -> np.ndarray:
    """Flat places of the units drawn one by one: the extremes of both axes, and the mask."""
    places = np.flatnonzero(known)
    if places.size <= MAX_POINTS:
        return places
    each = MAX_POINTS // 3
    picks = [
        places[np.argpartition(-np.abs(values.ravel()[places]), each)[:each]]
        for values in (mean, size)
    ]
    if mask is not None:
        picks.append(np.flatnonzero(mask.selected & known)[:each])
    return np.unique(np.concatenate(picks))


def _hover_data(component: str, places: np.ndarray, n_units: int, rank: np.ndarray) -> list[Any]:
    return [
        [unit_label(component, *divmod(int(place), n_units)), int(rank.flat[place])]
        for place in places
    ]


def _add_density(
    figure: go.Figure,
    mean: np.ndarray,
    size: np.ndarray,
    reach: float,
    top: float,
    ink: str,
) -> None:
    counts, x, y = np.histogram2d(mean, size, bins=_DENSITY, range=[[-reach, reach], [0, top]])
    shade = np.log10(np.where(counts > 0, counts, np.nan)).T.astype(np.float32)
    figure.add_heatmap(
        z=shade,
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        customdata=counts.T.astype(np.int32),
        colorscale=[[0, faded(ink, 0.18)], [1, faded(ink, 0.95)]],
        showscale=False,
        hoverongaps=False,
        hovertemplate="%{customdata:,d} units here<extra></extra>",
        name="density",
    )
