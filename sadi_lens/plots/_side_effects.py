"""What the gain costs: accuracy on the task against what changes on neutral text."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import TIE, Margin, facts_of, finish, float32, where
from sadi_lens.plots._levels import axis_range, drawn_values
from sadi_lens.plots._point_names import add_names
from sadi_lens.plots._theme import DASHES, SYMBOLS, Theme, require_theme
from sadi_lens.plots._words import counted, escape, name_text, named, number, percent, signed
from sadi_lens.types.checks import checked
from sadi_lens.types.results import Comparison, SideEffectCurve

_PLOT, _RIGHT = (660, 360), 130


@checked()
def side_effect_curve(
    curves: Sequence[SideEffectCurve], *, theme: str = "light", size: str = "page"
) -> go.Figure:
    """Accuracy against KL(unsteered || steered) on neutral text, one line per method as its strength grows.

    A method of one strength is a point. Up and to the left is better: more gain, less change elsewhere.

    Args:
        curves: At least one (``sadi_lens.measure.side_effect_curve``); all of the same model, task and split.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there is no curve, they are of different items, or a curve has no finite point.
    """
    colors = require_theme(theme, size)
    if not curves:
        raise ValueError("side_effect_curve needs at least one curve, got 0")
    first = curves[0]
    _require_same_items(curves)
    positive = [float(v) for one in curves for v in float32(one.kl) if np.isfinite(v) and v > 0]
    is_log = bool(positive) and max(positive) > 30 * min(positive)
    floor = min(positive) / 3 if is_log else 0.0
    figure = go.Figure()
    kinds: list[str] = []
    for index, one in enumerate(curves):
        _add_curve(figure, colors, one, index, floor, is_again=one.kind in kinds)
        kinds.append(one.kind)
    base = 100 * first.unsteered_accuracy
    figure.add_hline(
        y=base, line={"color": colors.ink, "width": 1.6, "dash": "dash"}, layer="below"
    )
    figure.add_annotation(
        x=1, xref="paper", xanchor="left", xshift=6, y=base, yanchor="middle", showarrow=False,
        text=f"unsteered {percent(first.unsteered_accuracy)}", font={"size": 12, "color": colors.ink},
    )  # fmt: skip
    top, is_chosen = max(positive, default=1.0), max(len(one.strengths) for one in curves) > 1
    axis: dict[str, Any] = {"range": [-0.03 * top, 1.12 * top], "exponentformat": "e"}
    if is_log:
        ends = [np.log10(floor) - 0.1, np.log10(top) + 0.25]
        axis = {"type": "log", "range": ends, "dtick": 1, "tickformat": "~g"}
    figure.update_xaxes(title="KL(unsteered || steered) on neutral text (nats per token)", **axis)
    items = counted(first.n, f"{first.split} item")
    ends = [100 * float(end) for one in curves for end in (*one.low, *one.high)]
    span = axis_range([base, *drawn_values(figure), *ends], 100.0)
    figure.update_yaxes(title=f"accuracy on {escape(items)} (%)", ticksuffix="%", range=span)
    _name_points(figure, colors, curves, (axis["range"], span), is_log=is_log)
    left_out = sum(int((~_known(one)).sum()) for one in curves)
    return finish(
        figure,
        colors,
        title=_title(curves),
        facts=facts_of(first, items),
        note=(
            "numbers: strength" if is_chosen else "",
            "up and left is better",
            "best: of the strengths, on these same items" if is_chosen else "",
            "bars: 95% interval" if any(np.isfinite(one.low).any() for one in curves) else "",
            "no change at all is drawn at the left edge" if is_log else "",
            f"{counted(left_out, 'point')} without an accuracy or a KL left out"
            if left_out
            else "",
            ", ".join(dict.fromkeys(where(one.component) for one in curves if one.component)),
            named("position", ", ".join(dict.fromkeys(one.position for one in curves))),
        ),
        plot=_PLOT,
        margin=Margin(right=_RIGHT),
    )


def cost_curves(comparison: Comparison) -> list[SideEffectCurve]:
    """The rows of a comparison whose side effects were measured, each a curve of one point."""
    curves: list[SideEffectCurve] = []
    for row in comparison.rows[1:]:
        if row.side_effects is not None and np.isfinite(row.side_effects.kl):
            numbers = (row.accuracy, *row.interval, row.side_effects.kl)
            accuracy, low, high, kl = np.array([numbers], dtype=np.float32).T
            curves.append(
                SideEffectCurve(
                    row.label, row.kind, comparison.model, comparison.task, comparison.split, comparison.n,
                    (float("nan"),), accuracy, low, high, kl, comparison.rows[0].accuracy,
                    comparison.component, row.side_effects.position, np.array([row.moved()]),
                )
            )  # fmt: skip
    return curves


def _require_same_items(curves: Sequence[SideEffectCurve]) -> None:
    """Raise ValueError unless all curves are of the same model, task and split."""
    if len({(one.model.fingerprint, one.task, one.split, one.n) for one in curves}) > 1:
        raise ValueError(
            "side_effect_curve needs the same items for every curve, got "
            + ", ".join(f"{one.label!r}: {one.n} of {one.task}/{one.split}" for one in curves)
        )


def _known(one: SideEffectCurve) -> np.ndarray:
    """Points with an accuracy and a KL."""
    return np.isfinite(float32(one.kl)) & np.isfinite(float32(one.accuracy))


def _name_points(
    figure: go.Figure,
    theme: Theme,
    curves: Sequence[SideEffectCurve],
    ranges: tuple[Sequence[float], Sequence[float]],
    *,
    is_log: bool,
) -> None:
    """The names of methods of one strength, beside their points."""
    drawn = zip(curves, cast(Any, figure).data, strict=True)
    single = [(one.label, trace) for one, trace in drawn if len(one.strengths) == 1]
    points = [
        (float(np.log10(trace.x[0])) if is_log else float(trace.x[0]), float(trace.y[0]))
        for _, trace in single
    ]
    room = _RIGHT - round(10 * theme.factor)
    add_names(figure, theme, [label for label, _ in single], points, ranges, _PLOT, room)


def _add_curve(
    figure: go.Figure,
    theme: Theme,
    one: SideEffectCurve,
    index: int,
    floor: float,
    *,
    is_again: bool,
) -> None:
    """One method: accuracy (%) with its interval against KL, each point labelled with its strength."""
    kl, accuracy = float32(one.kl), 100 * float32(one.accuracy)
    known = np.flatnonzero(_known(one))
    if not known.size:
        raise ValueError(f"side_effect_curve of {one.label!r} needs at least one finite point")
    color, is_point = theme.kinds.get(one.kind, theme.kinds["other"]), len(one.strengths) == 1
    label = escape(name_text(one.label, 200))
    symbol = SYMBOLS.get(one.kind, "cross") + ("-open" if is_again else "")
    low, high = 100 * float32(one.low), 100 * float32(one.high)
    figure.add_scatter(
        x=np.maximum(kl[known], floor),
        y=accuracy[known],
        mode="markers" if is_point else "lines+markers+text",
        line={"color": color, "width": 2, "dash": DASHES[index % len(DASHES)]},
        marker={
            "symbol": symbol,
            "size": 9,
            "color": color,
            "line": {"width": 1.6 if is_again else 0},
        },
        error_y={
            "type": "data",
            "array": np.nan_to_num(high - accuracy)[known],
            "arrayminus": np.nan_to_num(accuracy - low)[known],
            "color": color,
            "thickness": 1.2,
            "width": 3,
        },
        text=None if is_point else _labels(one.strengths, known),
        textposition="top right" if index % 2 == 0 else "bottom right",
        textfont={"size": 11, "color": theme.muted},
        customdata=[
            [one.strengths[i], _bound(float(low[i])), _bound(float(high[i])), float(kl[i])]
            for i in known
        ],
        hovertemplate=f"<b>{label}</b>{'' if is_point else ', strength %{customdata[0]:g}'}<br>"
        "accuracy %{y:.1f}% [%{customdata[1]}, %{customdata[2]}]<br>"
        "KL %{customdata[3]:.3g} nats per token<extra></extra>",
        name=label,
        showlegend=not is_point,
        cliponaxis=False,
    )


def _labels(strengths: Sequence[float], known: np.ndarray) -> list[str]:
    """Strengths of at most six points, the ends among them, so that they do not run into each other."""
    kept = set(
        np.unique(np.linspace(0, known.size - 1, min(6, known.size)).round().astype(int)).tolist()
    )
    return [number(strengths[i]) if at in kept else "" for at, i in enumerate(known)]


def _bound(value: float) -> str:
    return "?" if np.isnan(value) else f"{value:.1f}"


def _title(curves: Sequence[SideEffectCurve]) -> str:
    """What the best accuracy of each costs, the best first; a line that never gains, or not surely, says so."""
    parts: list[tuple[float, str]] = []
    for one in curves:
        best = int(np.nanargmax(np.where(np.isfinite(one.kl), one.accuracy, np.nan)))
        gain = float(one.accuracy[best]) - one.unsteered_accuracy
        said = "no gain"
        if gain > TIE:
            said = f"{signed(100 * gain, '.1f')} points at KL {one.kl[best]:.2g}"
            said += "" if one.moved is None or one.moved[best] > 0 else " (not told from zero)"
        parts.append((-gain, f"{name_text(one.label)} {said}"))
    return "Best gain and its cost: " + "; ".join(said for _, said in sorted(parts)[:2])
