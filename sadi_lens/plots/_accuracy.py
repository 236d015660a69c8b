"""What steering did, method by method, beside the unsteered model, chance and random masks."""

import math

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    Margin,
    escape,
    finish,
    named,
    percent,
    signed,
    text_width,
    where,
    wrap,
)
from sadi_lens.plots._null import null_of, p_text
from sadi_lens.plots._theme import SYMBOLS, Theme, require_theme
from sadi_lens.types.results import Comparison, MethodRow, NullBand

_LINE, _ROW_GAP = 18, 12
_LABEL = 300
"""Pixels of a method's label before it wraps."""
_ACCURACY_COLUMN, _GAIN_COLUMN, _P_COLUMN = 14, 78, 244
"""Pixels right of the plot area at which the text columns start."""
_LEGENDS = {
    "unsteered": "unsteered",
    "adaptive": "adaptive scaling",
    "fixed": "fixed vector",
    "random": "random control",
    "other": "other",
}


def method_accuracy(comparison: Comparison, *, theme: str = "light") -> go.Figure:
    """One row per method: accuracy with its interval, gain over no steering, place in the null.

    Args:
        comparison: Methods scored on the same items. A random-mask null is drawn below the method
            that was placed in it (below all methods where that is not known): every draw a mark,
            5th to 95th percentile shaded.
        theme: ``"light"`` or ``"dark"``.

    Returns:
        A figure; ``export`` writes it, ``show`` displays it.

    Raises:
        ValueError: If there is no row.
    """
    colors = require_theme(theme)
    if not comparison.rows:
        raise ValueError("method_accuracy needs at least one row, got 0")
    lines = _lines(comparison)
    figure = go.Figure()
    base = comparison.rows[0].accuracy
    _add_line(figure, base, colors.ink, "dash", 1.6)
    if not math.isnan(comparison.chance):
        _add_line(figure, comparison.chance, colors.muted, "dot", 1.4)
    seen: set[str] = set()
    for y, line in enumerate(lines):
        if isinstance(line, NullBand):
            _add_null(figure, colors, line, y)
        else:
            kind = line.kind
            _add_method(figure, colors, line, y, kind, is_first=kind not in seen)
            seen.add(kind)
            _add_columns(figure, colors, line, y, is_base=line is comparison.rows[0])
    _add_heads(figure, colors, comparison)
    low, high = _range(comparison)
    figure.update_xaxes(
        title=f"accuracy on {comparison.n:,} {escape(comparison.split)} items (%)",
        range=[100 * low, 100 * high],
        ticksuffix="%",
    )
    labels = [_tick(colors, line) for line in lines]
    figure.update_yaxes(
        tickvals=list(range(len(lines))),
        ticktext=["<br>".join(label) for label in labels],
        range=[len(lines) - 0.45, -0.55],
        ticks="",
        showgrid=False,
    )
    most_lines = max(2, *(len(label) for label in labels))
    widest = max(text_width(_bare(text)) for label in labels for text in label)
    return finish(
        figure,
        colors,
        title=_title(comparison),
        subtitle=_facts(comparison),
        plot=(440, max(120, (_LINE * most_lines + _ROW_GAP) * len(lines))),
        margin=Margin(left=min(_LABEL + 40, widest + 16), right=354 if comparison.nulls else 250),
        head=36,
    )


def _facts(comparison: Comparison) -> tuple[tuple[str, ...], ...]:
    return (
        (
            named("task", comparison.task),
            f"{comparison.n:,} {comparison.split} items, the same for every row",
            f"model {comparison.model.name}",
            where(comparison.component).split(",")[0] if comparison.component else "",
            f"position {comparison.position}",
        ),
        (
            "bars: 95% Wilson interval",
            "gain: paired on the same items",
            _null_note(comparison),
        ),
    )


def _lines(comparison: Comparison) -> list[MethodRow | NullBand]:
    """Methods in order, each followed by the null it was placed in; other nulls at the end."""
    lines: list[MethodRow | NullBand] = []
    owners = {id(null_of(comparison, row)): row for row in reversed(comparison.rows)}
    for row in comparison.rows:
        lines.append(row)
        lines += [null for null in comparison.nulls if owners.get(id(null)) is row]
    return lines + [null for null in comparison.nulls if id(null) not in owners]


def _add_method(
    figure: go.Figure, theme: Theme, row: MethodRow, y: int, kind: str, *, is_first: bool
) -> None:
    accuracy = 100 * row.accuracy
    margin = "" if math.isnan(row.margin) else f"<br>margin {signed(row.margin, '.3g')} nats"
    figure.add_scatter(
        x=[accuracy],
        y=[y],
        mode="markers",
        marker={
            "symbol": SYMBOLS[kind],
            "size": 12,
            "color": theme.kinds[kind],
            "line": {"width": 1, "color": theme.paper},
        },
        error_x={
            "type": "data",
            "array": [100 * row.interval.high - accuracy],
            "arrayminus": [accuracy - 100 * row.interval.low],
            "color": theme.kinds[kind],
            "thickness": 2,
            "width": 5,
        },
        hovertemplate=f"<b>{escape(row.label)}</b><br>accuracy %{{x:.1f}}% "
        f"[{100 * row.interval.low:.1f}, {100 * row.interval.high:.1f}]"
        f"{margin}<br>valid answers {percent(row.valid_rate)}"
        f"<br>McNemar p = {row.mcnemar_p:.2g}<br>{escape(row.settings)}<extra></extra>",
        name=_LEGENDS[kind],
        showlegend=is_first and kind not in ("unsteered", "random"),  # those rows name themselves
    )


def _add_null(figure: go.Figure, theme: Theme, null: NullBand, y: int) -> None:
    """Shaded 5th to 95th percentile, median, and every draw as a dot in a swarm."""
    color = theme.kinds["random"]
    low, high = (100 * end for end in null.band)
    figure.add_shape(
        type="rect", x0=low, x1=high, y0=y - 0.36, y1=y + 0.36,
        fillcolor=color, opacity=0.22, line={"width": 0}, layer="below",
    )  # fmt: skip
    median = 100 * float(np.median(null.accuracies))
    figure.add_shape(
        type="line", x0=median, x1=median, y0=y - 0.36, y1=y + 0.36,
        line={"color": color, "width": 2},
    )  # fmt: skip
    x = 100 * np.sort(np.asarray(null.accuracies, dtype=np.float64))
    figure.add_scatter(
        x=x,
        y=y + _swarm(x),
        mode="markers",
        marker={"symbol": SYMBOLS["random"], "size": 5, "color": color, "opacity": 0.6},
        hovertemplate="random mask<br>accuracy %{x:.1f}%<extra></extra>",
        name=null.label,
        showlegend=False,
    )
    figure.add_annotation(
        x=1, xref="paper", xanchor="left", xshift=_ACCURACY_COLUMN, y=y, showarrow=False,
        text=f"5 to 95%: {low:.1f}% to {high:.1f}%", font={"color": theme.muted, "size": 12},
    )  # fmt: skip


def _swarm(x: np.ndarray) -> np.ndarray:
    """Vertical offsets within 0.32: draws of nearly the same accuracy stack up from the middle."""
    span = max(float(np.ptp(x)), 1.0)
    column = np.floor((x - x.min()) / span * 70).astype(int)
    place = np.arange(x.size) - np.searchsorted(
        column, column
    )  # index within its column; x is sorted
    side = np.where(place % 2 == 0, -1.0, 1.0) * ((place + 1) // 2)
    return side * min(0.11, 0.32 / max(1.0, float(np.abs(side).max())))


def _add_columns(figure: go.Figure, theme: Theme, row: MethodRow, y: int, *, is_base: bool) -> None:
    texts = {_ACCURACY_COLUMN: percent(row.accuracy)}
    if not is_base:
        gain, low, high = (signed(100 * v, ".1f") for v in (row.gain, *row.gain_interval))
        texts[_GAIN_COLUMN] = f"<b>{gain}</b> [{low}, {high}]"
        if not math.isnan(row.null_p):
            texts[_P_COLUMN] = p_text(row.null_p)
    for shift, text in texts.items():
        figure.add_annotation(
            x=1, xref="paper", xanchor="left", xshift=shift, y=y, text=text, showarrow=False,
            font={"color": theme.ink, "size": 13},
        )  # fmt: skip


def _add_heads(figure: go.Figure, theme: Theme, comparison: Comparison) -> None:
    heads = {_ACCURACY_COLUMN: "accuracy", _GAIN_COLUMN: "gain in points<br>[95% interval]"}
    if comparison.nulls:
        heads[_P_COLUMN] = "p among<br>random masks"
    for shift, text in heads.items():
        figure.add_annotation(
            x=1, xref="paper", xanchor="left", xshift=shift, y=1, yref="paper", yanchor="bottom",
            yshift=3, text=text, align="left", showarrow=False,
            font={"color": theme.muted, "size": 12},
        )  # fmt: skip
    base, chance = comparison.rows[0].accuracy, comparison.chance
    marks = [(base, f"unsteered {percent(base)}", theme.ink)]
    if not math.isnan(chance):
        marks.append((chance, f"chance {percent(chance)}", theme.muted))
    # Side by side the two would collide where they are close: one above the other.
    for level, (value, text, color) in enumerate(marks):
        figure.add_annotation(
            x=100 * value, y=1, yref="paper", yanchor="bottom", yshift=2 + 15 * level, text=text,
            showarrow=False, font={"color": color, "size": 12},
        )  # fmt: skip


def _add_line(figure: go.Figure, value: float, color: str, dash: str, width: float) -> None:
    figure.add_vline(
        x=100 * value, line={"color": color, "dash": dash, "width": width}, layer="below"
    )


def _range(comparison: Comparison) -> tuple[float, float]:
    ends = [end for row in comparison.rows for end in (*row.interval, row.accuracy)]
    ends += [float(v) for null in comparison.nulls for v in null.accuracies]
    ends.append(comparison.chance)
    known = [end for end in ends if not math.isnan(end)]
    pad = 0.04 * (max(known) - min(known)) + 0.01
    return max(-0.01, min(known) - pad), min(1.01, max(known) + pad)


def _tick(theme: Theme, line: MethodRow | NullBand) -> list[str]:
    if isinstance(line, NullBand):
        layers = ", as many per layer" if line.per_layer else ""
        strength = "each its own strength" if line.tuned else f"strength {line.strength:g}"
        texts = (f"{line.n:,} random masks{layers}", f"K {line.k}, {strength}")
        return [_small(theme, part) for text in texts for part in wrap(text, _LABEL, 11)]
    label = wrap(line.label, _LABEL, 13)
    return label + [_small(theme, part) for part in wrap(line.settings, _LABEL, 11)]


def _small(theme: Theme, text: str) -> str:
    return f'<span style="font-size:11px;color:{theme.muted}">{text}</span>'


def _bare(text: str) -> str:
    return text.split(">", 1)[1].rsplit("<", 1)[0] if text.startswith("<span") else text


def _title(comparison: Comparison) -> str:
    """The first method, not the best one: naming the winner on test would flatter it."""
    base, *others = comparison.rows
    if not others:
        return f"Unsteered accuracy {percent(base.accuracy)}"
    title = f"{others[0].label}: {percent(others[0].accuracy)}, unsteered {percent(base.accuracy)}"
    null = null_of(comparison, others[0])
    if null is None:
        return title
    as_good = int((null.accuracies >= others[0].accuracy).sum())
    return f"{title}; {as_good:,} of {null.n:,} random masks do as well"


def _null_note(comparison: Comparison) -> str:
    if not comparison.nulls:
        return "no random-mask null was drawn"
    return "random masks: shaded 5 to 95%, line median; p: share that does at least as well"
