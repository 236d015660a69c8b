"""Activations before and after steering, as clouds in one plane."""

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, escape, finish
from sadi_lens.plots._plane import (
    evenly,
    finite_states,
    matched_fact,
    panel_axes,
    panel_title,
    panels_size,
    project,
    prompt_text,
    set_panel_axes,
    shift_facts,
)
from sadi_lens.plots._theme import MARKERS, require_theme
from sadi_lens.types.results import ActivationShifts

MAX_DOTS = 300


def activation_pca(shifts: ActivationShifts, *, theme: str = "light") -> go.Figure:
    """Activations in the plane of most variance of the unsteered ones, before and after each method.

    Fitted on the unsteered activations only and kept, so that panels can be compared. Colour: group; shape:
    a property that should not matter, if given, else the group again. Where the clouds part by shape, it is
    the confound that the plane shows.

    Args:
        shifts: At least 2 items.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If there are fewer than 2 items, or a state is not finite.
    """
    colors = require_theme(theme)
    before, after = finite_states(shifts, "activation_pca")
    plane = project(before, after, before)
    places = evenly(len(before), MAX_DOTS)
    groups = list(shifts.groups or ("",) * len(before))
    shapes = list(shifts.confounds or groups)
    group_names, shape_names = (list(dict.fromkeys(names)) for names in (groups, shapes))
    figure = go.Figure()
    panels = [("unsteered", plane.before), *zip(shifts.methods, plane.after, strict=True)]
    for index, (label, states) in enumerate(panels):
        for group, shape in dict.fromkeys(zip(groups, shapes, strict=True)):
            here = [i for i in places if groups[i] == group and shapes[i] == shape]
            name = f"{group} ({shape})" if shifts.confounds and group else group or shape
            figure.add_scatter(
                x=states[here, 0],
                y=states[here, 1],
                mode="markers",
                marker={
                    "symbol": MARKERS[shape_names.index(shape) % len(MARKERS)],
                    "size": 8,
                    "color": colors.series[group_names.index(group) % len(colors.series)],
                    "opacity": 0.8,
                    "line": {"width": 0.6, "color": colors.paper},
                },
                customdata=[prompt_text(shifts, int(i)) for i in here],
                hovertemplate="%{customdata}<br>PC 1 %{x:+.3g}, PC 2 %{y:+.3g}"
                f"<extra>{escape(name)}</extra>",
                name=escape(name),
                legendgroup=f"{group}/{shape}",
                showlegend=index == 0 and bool(name),
                **panel_axes(index),
            )
        kept = _kept(states, plane.before)
        panel_title(
            figure, colors, index,
            f"<b>{escape(label)}</b><br>" + (f"spread {kept:.2f} times the unsteered" if index else " "),
        )  # fmt: skip
    points = np.concatenate([states[places] for _, states in panels])
    set_panel_axes(figure, points, plane.share, len(panels))
    return finish(
        figure,
        colors,
        title="Activations before and after steering, in the plane of the unsteered ones",
        subtitle=(
            shift_facts(shifts),
            (
                "plane of most variance, fitted on the unsteered activations and kept",
                "shape: " + " / ".join(shape_names[:6]) if shifts.confounds else "",
                f"{len(places):,} of {len(before):,} items drawn"
                if len(places) < len(before)
                else "",
                matched_fact(shifts),
            ),
        ),
        plot=panels_size(len(panels)),
        margin=Margin(),
        head=38,
    )


def _kept(states: np.ndarray, before: np.ndarray) -> float:
    spread = float(np.sqrt(states.var(axis=0).sum()))
    return spread / (float(np.sqrt(before.var(axis=0).sum())) or 1.0)
