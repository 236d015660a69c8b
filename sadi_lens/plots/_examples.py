"""Item by item: what an adaptive and a fixed method do to the margin of the right answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    Margin,
    counted,
    escape,
    finish,
    float32,
    named,
    percent,
    require_finite,
)
from sadi_lens.plots._theme import require_theme
from sadi_lens.types.results import Evaluation

MAX_DOTS = 1200
"""Items drawn one by one; of more, evenly spaced ones."""


def example_effects(
    unsteered: Evaluation,
    adaptive: Evaluation,
    fixed: Evaluation,
    *,
    prompts: Sequence[str] = (),
    theme: str = "light",
) -> go.Figure:
    """Change of every item's margin under two methods, one against the other.

    Above the diagonal the first does more for the right answer; left of 0 the second hurts. Filled: answered
    right under the first method.

    Args:
        unsteered: The model as it is.
        adaptive: Drawn upwards.
        fixed: Drawn to the right.
        prompts: One an item, for the hover.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If the three are not of the same items, prompts do not match, or there is no margin.
    """
    colors = require_theme(theme)
    for one in (adaptive, fixed):
        if (one.items, one.model) != (unsteered.items, unsteered.model):
            raise ValueError(
                f"example_effects needs the same items on the same model: {one.label!r} has {one.n} of "
                f"{one.task}/{one.split} on {one.model.name}, {unsteered.label!r} has {unsteered.n} of "
                f"{unsteered.task}/{unsteered.split} on {unsteered.model.name}"
            )
    if prompts and len(prompts) != unsteered.n:
        raise ValueError(f"prompts must be one an item: {unsteered.n}, got {len(prompts)}")
    base = float32(unsteered.margins)
    up, right = float32(adaptive.margins) - base, float32(fixed.margins) - base
    known = np.isfinite(up) & np.isfinite(right)
    require_finite(np.where(known, up, np.nan), "example_effects (margins; free text has none)")
    places = np.flatnonzero(known)
    shown = places[
        np.unique(np.linspace(0, places.size - 1, min(places.size, MAX_DOTS)).round().astype(int))
    ]
    reach = 1.08 * (float(np.abs(np.concatenate([up[known], right[known]])).max()) or 1.0)
    figure = go.Figure()
    figure.add_scatter(
        x=[-reach, reach],
        y=[-reach, reach],
        mode="lines",
        line={"color": colors.muted, "width": 1.2, "dash": "dash"},
        hoverinfo="skip",
        showlegend=False,
    )
    for is_right, name, symbol, color in (
        (True, "right", "circle", colors.kinds["adaptive"]),
        (False, "wrong", "x", colors.kinds["fixed"]),
    ):
        here = shown[adaptive.correct[shown] == is_right]
        figure.add_scatter(
            x=right[here],
            y=up[here],
            mode="markers",
            marker={
                "symbol": symbol,
                "size": 7,
                "color": color,
                "opacity": 0.75,
                "line": {"width": 0.6, "color": colors.paper},
            },
            customdata=[
                [
                    _prompt(prompts, int(i)),
                    float(base[i]),
                    float(base[i] + up[i]),
                    float(base[i] + right[i]),
                ]
                for i in here
            ],
            hovertemplate="%{customdata[0]}<br>margin unsteered %{customdata[1]:+.3g} nats<br>"
            f"{escape(adaptive.label)} %{{customdata[2]:+.3g}} (%{{y:+.3g}})<br>"
            f"{escape(fixed.label)} %{{customdata[3]:+.3g}} (%{{x:+.3g}})<extra></extra>",
            name=f"{name} under {escape(adaptive.label)} "
            f"({int((adaptive.correct[places] == is_right).sum()):,})",
            showlegend=True,
        )
    figure.add_hline(y=0, line={"color": colors.muted, "width": 1})
    figure.add_vline(x=0, line={"color": colors.muted, "width": 1})
    quarters = (
        (0.01, 0.99, "left", "top", "first helps, second hurts", (up > 0) & (right < 0)),
        (0.99, 0.99, "right", "top", "both help", (up > 0) & (right > 0)),
        (0.01, 0.01, "left", "bottom", "both hurt", (up < 0) & (right < 0)),
        (0.99, 0.01, "right", "bottom", "first hurts, second helps", (up < 0) & (right > 0)),
    )
    for x, y, xanchor, yanchor, text, where in quarters:
        figure.add_annotation(
            x=x, y=y, xref="paper", yref="paper", xanchor=xanchor, yanchor=yanchor, showarrow=False,
            text=f"{text}: {int((where & known).sum()):,}", bgcolor=colors.paper, opacity=0.9,
            font={"size": 12, "color": colors.muted},
        )  # fmt: skip
    axis: dict[str, Any] = {"range": [-reach, reach], "zeroline": False}
    figure.update_xaxes(title=f"change of margin under {_short(fixed.label)} (nats)", **axis)
    figure.update_yaxes(title=f"change of margin under {_short(adaptive.label)} (nats)", **axis)
    above = float((up[known] > right[known]).mean())
    missing = int((~known).sum())
    return finish(
        figure,
        colors,
        title=f"{adaptive.label} does more for the right answer on {percent(above)} of items",
        subtitle=(
            (
                "margin: log-probability of the right answer minus the best wrong one",
                named("task", unsteered.task),
                f"{counted(unsteered.n, f'{unsteered.split} item')}",
                f"model {unsteered.model.name}",
                f"position {unsteered.position}",
            ),
            (
                f"first (up): {adaptive.label}",
                f"second (right): {fixed.label}",
                "dashed: both change it alike",
                f"{shown.size:,} of {places.size:,} items drawn"
                if shown.size < places.size
                else "",
                f"{missing:,} items without a margin left out" if missing else "",
            ),
        ),
        plot=(520, 460),
        margin=Margin(left=84),
    )


def _prompt(prompts: Sequence[str], index: int) -> str:
    if not prompts:
        return f"item {index}"
    text = " ".join(prompts[index].split())
    return escape(text if len(text) <= 60 else "…" + text[-59:])


def _short(label: str) -> str:
    return escape(label if len(label) <= 34 else label[:33] + "…")
