"""Where methods move single prompts: one arrow each."""

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, escape, finish
from sadi_lens.plots._plane import (
    evenly,
    finite_states,
    known_mean,
    matched_fact,
    or_undefined,
    panel_axes,
    panel_title,
    panels_size,
    project,
    prompt_text,
    set_panel_axes,
    shift_facts,
)
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.types.results import ActivationShifts

MAX_ARROWS = 80


def steering_arrows(shifts: ActivationShifts, *, theme: str = "light") -> go.Figure:
    """One arrow a prompt from the unsteered to the steered activation, one panel a method, same axes.

    A fixed vector moves every prompt alike (parallel arrows); an adaptive method moves each its own way.
    The plane is that of most variance of the states drawn, before and after; each panel states the mean cosine
    of the arrows with their mean in the full space (1: parallel).

    Args:
        shifts: At least one method, at least 2 items.
        theme: ``"light"`` or ``"dark"``.

    Returns:
        A figure; ``export`` writes it, ``show`` displays it.

    Raises:
        ValueError: If there are fewer than 2 items or no method, or a state is not finite.
    """
    colors = require_theme(theme)
    before, after = finite_states(shifts, "steering_arrows")
    places = evenly(len(before), MAX_ARROWS)
    drawn = np.concatenate([before[places], *after[:, places]])
    plane = project(before, after, drawn)
    norms = np.linalg.norm(after - before, axis=-1)
    figure = go.Figure()
    for index, method in enumerate(shifts.methods):
        tails, heads = plane.before[places], plane.after[index, places]
        _add_panel(figure, colors, shifts, index, (tails, heads), norms[index], places)
        panel_title(
            figure, colors, index,
            f"<b>{escape(method)}</b><br>mean length {norms[index].mean():.3g}, "
            f"cosine to the mean {or_undefined(known_mean(shifts.cosines[index]))}",
        )  # fmt: skip
    points = np.concatenate([plane.before[places], *plane.after[:, places]])
    set_panel_axes(figure, points, plane.share, len(shifts.methods))
    return finish(
        figure,
        colors,
        title=_arrow_title(shifts, shifts.cosines),
        subtitle=(
            shift_facts(shifts),
            (
                "circle: unsteered, arrow head: steered",
                "plane of most variance, fitted on all states drawn",
                f"{len(places):,} of {len(before):,} arrows drawn"
                if len(places) < len(before)
                else "",
                matched_fact(shifts),
            ),
        ),
        plot=panels_size(len(shifts.methods)),
        margin=Margin(),
        head=38,
    )


def _add_panel(
    figure: go.Figure,
    theme: Theme,
    shifts: ActivationShifts,
    index: int,
    ends: tuple[np.ndarray, np.ndarray],
    norms: np.ndarray,
    places: np.ndarray,
) -> None:
    """One method: an arrow a prompt from ``ends[0]`` to ``ends[1]`` ([item 2]), a circle where it starts."""
    tails, heads = ends
    kind = shifts.kinds[index]
    color = theme.kinds.get(kind, theme.kinds["other"])
    axes = panel_axes(index)
    gaps = np.full((len(places), 1), np.nan)
    x, y = (np.concatenate([tails[:, [i]], heads[:, [i]], gaps], axis=1).ravel() for i in (0, 1))
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"color": color, "width": 1.2},
        marker={
            "symbol": "arrow",
            "angleref": "previous",
            "size": [size for _ in places for size in (0, 9, 0)],
            "color": color,
            "line": {"width": 0},
        },
        opacity=0.75,
        hoverinfo="skip",
        showlegend=False,
        **axes,
    )
    cosines = shifts.cosines[index]
    figure.add_scatter(
        x=tails[:, 0],
        y=tails[:, 1],
        mode="markers",
        marker={"symbol": "circle-open", "size": 6, "color": theme.ink, "line": {"width": 1.2}},
        customdata=[
            [prompt_text(shifts, int(i)), float(norms[i]), or_undefined(cosines[i])] for i in places
        ],
        hovertemplate="%{customdata[0]}<br>moved by %{customdata[1]:.3g} (activation units)"
        "<br>cosine with the mean shift %{customdata[2]}<extra></extra>",
        name="unsteered",
        showlegend=False,
        **axes,
    )


def _arrow_title(shifts: ActivationShifts, cosines: np.ndarray) -> str:
    means = [or_undefined(known_mean(cosine)) for cosine in cosines]
    if len(means) == 1:
        return f"{shifts.methods[0]}: mean cosine of its shifts with their mean {means[0]}"
    return "How alike are the shifts? Mean cosine with their mean: " + " / ".join(means)
