"""Where methods move single prompts: one arrow each."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, evenly, finish, float32, require_finite, where
from sadi_lens.plots._plane import project
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.plots._words import EM, counted, escape, name_text, named, prompt_text
from sadi_lens.types.checks import checked
from sadi_lens.types.results import ActivationShifts

MAX_ARROWS = 80
_WIDTH, _GAP, _HEAD, _FOOT = 840, 64, 38, 58
"""Pixels of all panels of a row together, between two, above and below one."""
_COLUMNS = 3
"""Panels in a row."""
_LEAST, _MOST = 0.55, 1.05
"""Height of a panel over its width."""
_SAME, _ALIKE, _AKIN = 0.98, 0.8, 0.5
"""Mean cosine from which arrows count as parallel, as much alike and as related."""


@checked()
def steering_arrows(
    shifts: ActivationShifts, *, theme: str = "light", size: str = "page"
) -> go.Figure:
    """One arrow per prompt from the unsteered to the steered activation, one panel per method, same axes.

    A fixed vector moves every prompt alike (parallel arrows); an adaptive method moves each its own way.
    The plane is that in which the arrows are longest, seen at one scale in both directions, so that angles and
    lengths are true in it; each panel states the mean cosine of the arrows with their mean in the full space
    (1: parallel).

    Args:
        shifts: At least one method, at least 2 items.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there are fewer than 2 items or no method, or a state is not finite.
    """
    colors = require_theme(theme, size)
    before, after = _finite_states(shifts)
    places = evenly(len(before), MAX_ARROWS)
    plane = project(before, after)
    norms = shifts.lengths
    cosines = [_known_mean(one) for one in shifts.cosines]
    figure = go.Figure()
    n_columns = min(len(shifts.methods), _COLUMNS)
    room = int((_WIDTH / n_columns) / colors.factor / (12 * EM)) - 2
    for index, method in enumerate(shifts.methods):
        ends = plane.before[places], plane.after[index, places]
        _add_panel(figure, colors, shifts, index, ends, norms[index], places)
        _panel_title(
            figure, index,
            f"<b>{escape(name_text(method, room))}</b><br>cosine to the mean {_or_undefined(cosines[index])}"
            f"{', ' if room > 36 else '<br>'}length {norms[index].mean():.3g}",
        )  # fmt: skip
    points = np.concatenate([plane.before[places], *plane.after[:, places]])
    height = _set_axes(figure, points, len(shifts.methods), colors.factor)
    return finish(
        figure,
        colors,
        title=_title(shifts, cosines),
        facts=(
            named("task", shifts.task),
            counted(len(before), "prompt"),
            f"model {shifts.model.name}",
            f"methods matched in {shifts.matched}"
            if shifts.matched
            else "methods not matched in size",
        ),
        note=(
            "circle: unsteered, arrow head: steered",
            "both directions in activation units, at one scale",
            f"layer {shifts.layer}, {where(shifts.component)} at the last prompt token",
            "norms are matched over all layers, so that lengths in one of them differ"
            if shifts.matched == "norm"
            else "",
            f"the plane holds {100 * plane.share:.0f}% of the squared length of all arrows",
            f"{len(places):,} of {len(before):,} arrows drawn" if len(places) < len(before) else "",
            f"steered at position {shifts.position}",
        ),
        plot=(_WIDTH, height),
        margin=Margin(left=64),
        head=_HEAD if n_columns < _COLUMNS else _HEAD + 15,
    )


def _finite_states(shifts: ActivationShifts) -> tuple[np.ndarray, np.ndarray]:
    before, after = float32(shifts.before), float32(shifts.after)
    if len(before) < 2 or not len(after):
        raise ValueError(
            "steering_arrows needs at least 2 items and 1 method, "
            f"got {len(before)} and {len(after)}"
        )
    require_finite(before, f"steering_arrows on {shifts.model.name}")
    for name, states in (("unsteered", before), *zip(shifts.methods, after, strict=True)):
        wrong = int((~np.isfinite(states).all(axis=-1)).sum())
        if wrong:
            raise ValueError(
                f"steering_arrows needs finite activations: {wrong} of {len(states)} items of {name!r} are "
                "not; lower the strength, or leave those items out"
            )
    return before, after


def _add_panel(
    figure: go.Figure,
    theme: Theme,
    shifts: ActivationShifts,
    index: int,
    ends: tuple[np.ndarray, np.ndarray],
    norms: np.ndarray,
    places: np.ndarray,
) -> None:
    """One method: an arrow per prompt from ``ends[0]`` to ``ends[1]`` ([item 2]), a circle where it starts."""
    tails, heads = ends
    kind = shifts.kinds[index]
    color = theme.kinds.get(kind, theme.kinds["other"])
    axes = {"xaxis": f"x{_number(index)}", "yaxis": f"y{_number(index)}"}
    gaps = np.full((len(places), 1), np.nan)
    moves = (
        (tails != heads).any(axis=1).tolist()
    )  # what stands still has no head: it would point somewhere
    x, y = (np.concatenate([tails[:, [i]], heads[:, [i]], gaps], axis=1).ravel() for i in (0, 1))
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"color": color, "width": 1.4},
        marker={
            "symbol": "arrow",
            "angleref": "previous",
            "size": [size for one in moves for size in (0, 10 * one, 0)],
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
        marker={"symbol": "circle-open", "size": 5, "color": theme.ink, "line": {"width": 1}},
        customdata=[
            [prompt_text(shifts.prompts, int(i)), float(norms[i]), _or_undefined(cosines[i])]
            for i in places
        ],
        hovertemplate="%{customdata[0]}<br>moved by %{customdata[1]:.3g} (activation units)"
        "<br>cosine with the mean arrow %{customdata[2]}<extra></extra>",
        name="unsteered",
        showlegend=False,
        **axes,
    )


def _set_axes(figure: go.Figure, points: np.ndarray, n_panels: int, grown: float) -> int:
    """The same ranges in every panel, in rows, one scale along both axes; the height in pixels."""
    n_columns = min(n_panels, _COLUMNS)
    n_rows = -(-n_panels // n_columns)
    width = (_WIDTH - _GAP * (n_columns - 1)) / n_columns
    low, high = points.min(axis=0), points.max(axis=0)
    middle, reach = (low + high) / 2, np.where(high > low, high - low, 0) * 1.1
    least = max(1e-6 * float(reach.max()), 0.0) or 1.0
    reach = np.maximum(
        reach, (max(reach[1] / _MOST, least), max(reach[0] * _LEAST, least * _LEAST))
    )
    height = width * reach[1] / reach[0]
    low, high = middle - reach / 2, middle + reach / 2
    pitch = height + grown * (_HEAD + 15 + _FOOT)
    unit = {
        name: " (activation units)" if long > 280 else ""
        for name, long in (("x", width), ("y", height))
    }
    whole = height + (n_rows - 1) * pitch
    for index in range(n_panels):
        row, column = divmod(index, n_columns)
        number, start = _number(index), column * (width + _GAP) / _WIDTH
        top = 1 - row * pitch / whole
        axis: dict[str, Any] = {"showgrid": True, "nticks": 7 if n_columns < 3 else 5}
        axis |= {"exponentformat": "e"}
        figure.update_layout(
            {
                f"xaxis{number}": {
                    **axis,
                    "domain": [start, min(1.0, start + width / _WIDTH)],
                    "anchor": f"y{number}",
                    "range": [low[0], high[0]],
                    "title": f"first direction{unit['x']}",
                },
                f"yaxis{number}": {
                    **axis,
                    "anchor": f"x{number}",
                    "domain": [max(0.0, top - height / whole), top],
                    "range": [low[1], high[1]],
                    "scaleanchor": f"x{number}",
                    "title": f"second direction{unit['y']}" if column == 0 else None,
                },
            }
        )
    return round(whole)


def _panel_title(figure: go.Figure, index: int, text: str) -> None:
    figure.add_annotation(
        xref=f"x{_number(index)} domain", x=0, xanchor="left", yref=f"y{_number(index)} domain", y=1, yanchor="bottom",
        yshift=4, text=text, align="left", showarrow=False, font={"size": 12},
    )  # fmt: skip


def _number(index: int) -> str:
    return "" if index == 0 else str(index + 1)


def _known_mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _or_undefined(value: float) -> str:
    return "not defined" if np.isnan(value) else f"{value:.2f}"


def _title(shifts: ActivationShifts, cosines: list[float]) -> str:
    """How alike the arrows of each method are."""
    words: dict[str, list[str]] = {}
    moved = [bool(one.any()) for one in shifts.lengths]
    for method, kind, cosine, is_moved in zip(
        shifts.methods, shifts.kinds, cosines, moved, strict=True
    ):
        who = {"adaptive": "adaptive scaling", "fixed": "a fixed vector"}.get(
            kind, name_text(method)
        )
        if shifts.kinds.count(kind) > 1:
            who = name_text(method)
        words.setdefault(_how(cosine, is_moved=is_moved), []).append(who)
    parts = [f"{' and '.join(who)} {how}" for how, who in words.items()]
    title = ", ".join([parts[0], *(one.replace(" pushed ", " ") for one in parts[1:])])
    return title[:1].upper() + title[1:]


def _how(cosine: float, *, is_moved: bool = True) -> str:
    if not is_moved:
        return "moved nothing"
    if np.isnan(cosine):
        return "pushed prompts in opposite ways"
    if cosine >= _SAME:
        return "pushed every prompt the same way"
    if cosine >= _ALIKE:
        return "pushed most prompts much alike"
    return f"pushed {'prompts in related directions' if cosine >= _AKIN else 'each prompt its own way'}"
