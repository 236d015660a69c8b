"""Where methods move single prompts: one arrow each."""

from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    Margin,
    counted,
    escape,
    evenly,
    finish,
    float32,
    named,
    prompt_text,
    require_finite,
    where,
)
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.types.checks import checked
from sadi_lens.types.results import ActivationShifts

MAX_ARROWS = 80
_WIDTH, _GAP = 840, 64
"""Pixels of all panels together, and between two."""
_LEAST, _MOST = 0.55, 1.05
"""Height of a panel over its width."""
_SAME, _ALIKE, _AKIN = 0.98, 0.8, 0.5
"""Mean cosine from which arrows count as parallel, as much alike and as related."""


class Plane(NamedTuple):
    """The two directions of most movement, and the states in them."""

    before: np.ndarray
    """[item 2]."""
    after: np.ndarray
    """[method item 2]."""
    share: float
    """Share of the squared length of all arrows, as long as they are, that lies in the plane."""


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
    norms = np.linalg.norm(after - before, axis=-1)
    cosines = [_known_mean(one) for one in shifts.cosines]
    figure = go.Figure()
    for index, method in enumerate(shifts.methods):
        ends = plane.before[places], plane.after[index, places]
        _add_panel(figure, colors, shifts, index, ends, norms[index], places)
        _panel_title(
            figure, index,
            f"<b>{escape(method)}</b><br>cosine to the mean {_or_undefined(cosines[index])}, "
            f"length {norms[index].mean():.3g}",
        )  # fmt: skip
    points = np.concatenate([plane.before[places], *plane.after[:, places]])
    height = _set_axes(figure, points, len(shifts.methods))
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
        head=38,
    )


def project(before: np.ndarray, after: np.ndarray) -> Plane:
    """Coordinates in the two directions along which the states move furthest, signs fixed by the data.

    Every method counts alike, whatever the length of its arrows. Where nothing moves, or all along one line, the
    directions in which the unsteered states differ most take the free places.
    """
    centre = before.mean(axis=0, dtype=np.float64)
    moves = (after - before[None]).astype(np.float64)
    lengths = np.sqrt((moves**2).sum(axis=-1).mean(axis=-1))[:, None, None]
    alike = (moves / np.where(lengths > 0, lengths, 1)).reshape(-1, before.shape[1])
    directions = _main_directions(alike, 2)
    states = before - centre
    for _ in range(2 - len(directions)):
        free = states - states @ directions.T @ directions
        directions = np.concatenate([directions, _main_directions(free, 1)])
    directions = np.pad(directions, ((0, 2 - len(directions)), (0, 0)))
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    directions = directions * np.where(largest < 0, -1, 1)
    share = ((moves @ directions.T) ** 2).sum() / max(float((moves**2).sum()), 1e-30)
    return Plane(states @ directions.T, (after - centre) @ directions.T, float(share))


def _main_directions(rows: np.ndarray, most: int) -> np.ndarray:
    """The directions [direction d] that hold most of the squared length of rows; none where it is 0."""
    # The smaller Gram matrix: a thousand prompts of width 4096 take well under a second.
    if rows.shape[0] < rows.shape[1]:
        values, vectors = np.linalg.eigh(rows @ rows.T)
        vectors = rows.T @ vectors
    else:
        values, vectors = np.linalg.eigh(rows.T @ rows)
    kept = np.argsort(-values)[:most]
    kept = kept[values[kept] > 1e-9 * max(float(values.max(initial=0)), 1e-30)]
    found = vectors[:, kept].T
    return found / np.linalg.norm(found, axis=1, keepdims=True)


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
    x, y = (np.concatenate([tails[:, [i]], heads[:, [i]], gaps], axis=1).ravel() for i in (0, 1))
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"color": color, "width": 1.4},
        marker={
            "symbol": "arrow",
            "angleref": "previous",
            "size": [size for _ in places for size in (0, 10, 0)],
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


def _set_axes(figure: go.Figure, points: np.ndarray, n_panels: int) -> int:
    """The same ranges in every panel, side by side, one scale along both axes; the height in pixels."""
    width = (_WIDTH - _GAP * (n_panels - 1)) / n_panels
    low, high = points.min(axis=0), points.max(axis=0)
    middle, reach = (low + high) / 2, np.where(high > low, high - low, 0) * 1.1
    reach = np.maximum(reach, (max(reach[1] / _MOST, 1e-6), max(reach[0] * _LEAST, 1e-6 * _LEAST)))
    height = width * reach[1] / reach[0]
    low, high = middle - reach / 2, middle + reach / 2
    for index in range(n_panels):
        number, start = _number(index), index * (width + _GAP) / _WIDTH
        axis: dict[str, Any] = {"showgrid": True, "nticks": 7}
        figure.update_layout(
            {
                f"xaxis{number}": {
                    **axis,
                    "domain": [start, min(1.0, start + width / _WIDTH)],
                    "anchor": f"y{number}",
                    "range": [low[0], high[0]],
                    "title": "first direction (activation units)",
                },
                f"yaxis{number}": {
                    **axis,
                    "anchor": f"x{number}",
                    "range": [low[1], high[1]],
                    "scaleanchor": f"x{number}",
                    "title": "second direction" if index == 0 else None,
                },
            }
        )
    return round(height)


def _panel_title(figure: go.Figure, index: int, text: str) -> None:
    figure.add_annotation(
        xref=f"x{_number(index)} domain", x=0, xanchor="left", yref="paper", y=1, yanchor="bottom",
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
    for method, kind, cosine in zip(shifts.methods, shifts.kinds, cosines, strict=True):
        who = {"adaptive": "adaptive scaling", "fixed": "a fixed vector"}.get(kind, method)
        if shifts.kinds.count(kind) > 1:
            who = method
        words.setdefault(_how(cosine), []).append(who)
    parts = [f"{' and '.join(who)} {how}" for how, who in words.items()]
    title = ", ".join([parts[0], *(one.replace(" pushed ", " ") for one in parts[1:])])
    return title[:1].upper() + title[1:]


def _how(cosine: float) -> str:
    if np.isnan(cosine):
        return "moved nothing, or in opposite ways"
    if cosine >= _SAME:
        return "pushed every prompt the same way"
    if cosine >= _ALIKE:
        return "pushed most prompts much alike"
    return f"pushed {'prompts in related directions' if cosine >= _AKIN else 'each prompt its own way'}"
