"""Layer by layer: how wide the differences spread, and where the selected units stand in it."""

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    MINUS,
    TIMES,
    Margin,
    counted,
    finish,
    float32,
    integer_ticks,
    named,
    require_finite,
    signed,
    where,
)
from sadi_lens.plots._theme import SYMBOLS, Theme, faded, require_theme
from sadi_lens.plots._unit_map import empty_fact, ranks_of, require_same_units
from sadi_lens.types.components import COMPONENTS
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask

_BANDS = ((0.001, 0.999, 0.82, 0.2), (0.01, 0.99, 0.64, 0.3), (0.25, 0.75, 0.46, 0.5))
"""Lower and upper quantile, width of the bar in layers, opacity."""
MAX_DOTS = 1500
"""Selected units drawn as dots; of a larger mask the largest magnitudes."""


def layer_quantiles(
    differences: ActivationDifferences, mask: Mask | None = None, *, theme: str = "light"
) -> go.Figure:
    """Spread of the mean differences within each layer, with the selected units as dots.

    The first look at hundreds of thousands of units: which layers spread widely, how far out the mask is.

    Args:
        differences: Moments of one component.
        mask: Units to draw one by one.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If nothing is finite, or the mask is of another component or shape.
    """
    colors = require_theme(theme)
    mean = float32(differences.mean)
    n_layers, n_units = mean.shape
    require_finite(
        mean, f"layer_quantiles of {differences.component!r} on {differences.model.name}"
    )
    if mask is not None:
        require_same_units(differences.component, mean.shape, mask)
    component = COMPONENTS[differences.component]
    known = [layer for layer in range(n_layers) if np.isfinite(mean[layer]).any()]
    empty = [layer for layer in range(n_layers) if layer not in known]
    figure = go.Figure()
    for low, high, width, opacity in _BANDS:
        ends = np.nanquantile(mean[known], [low, high], axis=1)
        figure.add_bar(
            x=known,
            y=ends[1] - ends[0],
            base=ends[0],
            width=width,
            marker={"color": faded(colors.muted, opacity), "line": {"width": 0}},
            customdata=ends.T,
            hovertemplate=f"layer %{{x}}: {100 * low:g}% to {100 * high:g}% of {component.unit}s<br>"
            "%{customdata[0]:+.4g} to %{customdata[1]:+.4g}<extra></extra>",
            name=f"{100 * low:g}% to {100 * high:g}%",
            showlegend=True,
        )
    figure.add_scatter(
        x=known,
        y=np.nanmedian(mean[known], axis=1),
        mode="markers",
        marker={
            "symbol": "line-ew",
            "size": 12,
            "line": {"width": 2, "color": colors.ink},
        },
        hovertemplate="layer %{x}: median %{y:+.4g}<extra></extra>",
        name="median",
        showlegend=True,
    )
    _add_extremes(figure, colors, differences.component, mean, known)
    if empty:
        figure.add_scatter(
            x=empty,
            y=[0] * len(empty),
            mode="markers",
            marker={"symbol": "x-thin", "size": 8, "line": {"width": 1.4, "color": colors.muted}},
            hovertemplate="layer %{x}: no finite value<extra></extra>",
            showlegend=False,
        )
    dropped = 0
    if mask is not None and mask.k:
        at = np.argwhere(mask.selected)
        order = np.argsort(-np.nan_to_num(np.abs(mean[tuple(at.T)]), nan=-1), kind="stable")
        dropped = max(0, mask.k - MAX_DOTS)
        at = at[order[:MAX_DOTS]]
        layers, units = at.T
        figure.add_scatter(
            x=layers + 0.7 * ((units + 0.5) / n_units - 0.5),
            y=mean[layers, units],
            mode="markers",
            marker={
                "symbol": SYMBOLS["adaptive"],
                "size": 7 if mask.k <= 200 else 5,
                "color": colors.kinds["adaptive"],
                "line": {"width": 0.8, "color": colors.paper},
            },
            customdata=np.stack([layers, units, ranks_of(mean)[layers, units]], axis=-1),
            hovertemplate=f"<b>L%{{customdata[0]:d}}{component.letter}%{{customdata[1]:d}}</b><br>"
            f"%{{y:+.4g}}<br>rank %{{customdata[2]:,d}} of {mean.size:,} by signed value"
            "<br>in the mask<extra></extra>",
            name=f"in the mask ({mask.k:,})",
            showlegend=True,
        )
    figure.add_hline(y=0, line={"color": colors.muted, "width": 1, "dash": "dot"})
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(
        title="layer",
        tickvals=integer_ticks(n_layers, 20),
        range=[-0.6, n_layers - 0.4],
        showgrid=False,
    )
    figure.update_yaxes(title="mean difference (activation units)")
    spread = np.full(n_layers, -np.inf)
    spread[known] = np.nanmax(np.abs(mean[known]), axis=1)
    widest = int(np.argmax(spread))
    return finish(
        figure,
        colors,
        title=f"Layer {widest} reaches furthest: "
        + signed(float(mean[widest][np.nanargmax(np.abs(mean[widest]))]), ".3g"),
        subtitle=(
            (
                f"A(x y+) {MINUS} A(x y{MINUS}) at the last token of the text",
                where(differences.component),
                f"mean of {counted(differences.n, 'pair')}",
                named("task", differences.task),
                f"model {differences.model.name}",
            ),
            (
                f"grey: quantiles of the {n_units:,} {component.unit}s of a layer",
                f"dots: {mask.rule}, across a layer in order of their index"
                if mask is not None and mask.k
                else "",
                f"{dropped:,} smaller selected units are not drawn" if dropped else "",
                f"{TIMES} no finite value in layer {', '.join(map(str, empty))}" if empty else "",
                empty_fact(mask),
            ),
        ),
        plot=(int(np.clip(26 * n_layers, 620, 900)), 320),
        margin=Margin(left=84),
    )


def _add_extremes(
    figure: go.Figure, theme: Theme, component: str, mean: np.ndarray, layers: list[int]
) -> None:
    """The largest and the smallest unit of every layer, by name."""
    letter = COMPONENTS[component].letter
    ranks = ranks_of(mean)
    units = np.stack([np.nanargmin(mean[layers], axis=1), np.nanargmax(mean[layers], axis=1)])
    where_layer = np.tile(layers, 2)
    flat = units.ravel()
    figure.add_scatter(
        x=where_layer,
        y=mean[where_layer, flat],
        mode="markers",
        marker={
            "symbol": "diamond-open",
            "size": 5,
            "color": theme.muted,
            "line": {"width": 1},
        },
        customdata=np.stack([flat, ranks[where_layer, flat]], axis=-1),
        hovertemplate=f"<b>L%{{x}}{letter}%{{customdata[0]:d}}</b>, extreme of its layer<br>%{{y:+.4g}}<br>"
        f"rank %{{customdata[1]:,d}} of {mean.size:,} by signed value<extra></extra>",
        name="extremes",
        showlegend=True,
    )
