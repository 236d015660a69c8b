"""What steering did, method by method, beside the unsteered model, chance and random masks."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, facts_of, finish, where
from sadi_lens.plots._null import null_of, p_label, swarm, with_nulls
from sadi_lens.plots._theme import SYMBOLS, Theme, require_theme
from sadi_lens.plots._words import (
    TITLE_EM,
    counted,
    cut,
    escape,
    n_columns,
    name_text,
    percent,
    signed,
)
from sadi_lens.types.checks import checked
from sadi_lens.types.results import Comparison, MethodRow, NullBand
from sadi_lens.types.results.choice import valid_floor

_PLOT, _ROW = 440, 46
"""Pixels of the plot's width, and of a row: its label, and below it its mark."""
_ACCURACY, _GAIN, _VALID, _P = 14, 80, 240, 302
"""Pixels right of the plot area at which the text columns start."""
_VALID_TEXT = {
    "exact_match": "the text is not empty",
    "generation": "the text is one of the answers",
}
_LEGENDS = {"adaptive": "adaptive scaling", "fixed": "fixed vector", "other": "other"}


@checked()
def method_accuracy(
    comparison: Comparison, *, theme: str = "light", size: str = "page"
) -> go.Figure:
    """One row per method: accuracy with its interval, gain over no steering, valid answers, place in the null.

    Args:
        comparison: Methods scored on the same items. A random-mask null is drawn below the method
            that was placed in it (below all methods where that is not known): every draw a mark,
            5th to 95th percentile shaded.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there is no row.
    """
    colors = require_theme(theme, size)
    if not comparison.rows:
        raise ValueError("method_accuracy needs at least one row, got 0")
    lines = with_nulls(comparison)
    figure = go.Figure()
    base = comparison.rows[0]
    for value, color, dash in (
        (base.accuracy, colors.ink, "dash"),
        (comparison.chance, colors.muted, "dot"),
    ):
        if not math.isnan(value):
            line = {"color": color, "dash": dash, "width": 1.5}
            figure.add_vline(x=100 * value, line=line, layer="below")
    seen: set[str] = set()
    for y, line in enumerate(lines):
        _add_label(figure, colors, line, y)
        if isinstance(line, NullBand):
            _add_null(figure, colors, line, y)
        else:
            _add_method(figure, colors, line, y, is_first=line.kind not in seen)
            _add_columns(figure, colors, line, y, comparison)
            seen.add(line.kind)
    _add_heads(figure, colors, comparison)
    low, high = _range(comparison)
    items = counted(comparison.n, f"{comparison.split} item")
    title = f"accuracy on {escape(items)}"
    figure.update_xaxes(title=title, range=[100 * low, 100 * high], ticksuffix="%")
    figure.update_yaxes(
        tickvals=[], range=[len(lines) - 0.65, -0.75], showgrid=False, showticklabels=False
    )
    return finish(
        figure,
        colors,
        title=_title(comparison),
        facts=facts_of(comparison, f"{items}, the same for every row"),
        note=_note(comparison),
        plot=(_PLOT, round(_ROW * colors.factor * len(lines))),
        margin=Margin(left=24, right=378 if comparison.nulls else 298),
        head=34,
    )


def _note(comparison: Comparison) -> tuple[str, ...]:
    by = f" by {comparison.n_clusters:,} clusters" if comparison.n_clusters else ""
    return (
        f"bars: 95% Wilson interval{by}",
        f"gain: 95% interval paired by item{by and f', {by.strip()}'}",
        "random masks: 5 to 95% shaded, median as a line" if comparison.nulls else "",
        f"valid: {_VALID_TEXT.get(comparison.scoring, 'the most likely next token begins an answer')}",
        f"steered at {where(comparison.component)}" if comparison.component else "",
        f"position {comparison.position}{'' if comparison.is_one_position else ', unless a row says another'}",
    )


def _add_label(figure: go.Figure, theme: Theme, line: MethodRow | NullBand, y: int) -> None:
    """Name and settings of a row, above its mark; what is wider than the plot is cut, and whole on hover."""
    most = int(_PLOT / theme.factor / (13 * TITLE_EM))
    if isinstance(line, NullBand):
        layers = ", as many per layer" if line.per_layer else ""
        cell = "each at its own cell" if line.tuned else f"K {line.k}, strength {line.strength:g}"
        settings, name = f"{counted(line.n, 'random mask')}{layers}, {cell}", ""
    else:
        name, settings = f"{name_text(line.label, most)}  ", line.settings
    left = most - n_columns(name)
    settings = cut(settings, left) if left >= min(16, n_columns(settings)) else ""
    name = name and f"{escape(name)}  "
    figure.add_annotation(
        x=0, xref="paper", xanchor="left", xshift=2, y=y, yanchor="bottom", yshift=9,
        text=f'{name}<span style="color:{theme.muted}">{escape(settings)}</span>',
        showarrow=False, font={"color": theme.ink, "size": 13 if name else 12}, bgcolor=theme.paper,
    )  # fmt: skip


def _add_method(figure: go.Figure, theme: Theme, row: MethodRow, y: int, *, is_first: bool) -> None:
    accuracy, kind = 100 * row.accuracy, row.kind
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
        hovertemplate=f"<b>{escape(name_text(row.label, 200))}</b><br>accuracy %{{x:.1f}}% "
        f"[{100 * row.interval.low:.1f}, {100 * row.interval.high:.1f}]"
        f"{margin}<br>valid answers {percent(row.valid_rate)}"
        f"<br>McNemar p = {row.mcnemar_p:.2g}<br>{escape(row.settings)}<extra></extra>",
        name=_LEGENDS.get(kind, ""),
        showlegend=is_first and kind in _LEGENDS,  # the other rows name themselves
    )


def _add_null(figure: go.Figure, theme: Theme, null: NullBand, y: int) -> None:
    """Every draw as a dot in a swarm, on the 5th to 95th percentile and the median, where all are known."""
    color = theme.kinds["random"]
    draws = 100 * np.sort(np.asarray(null.accuracies, dtype=np.float64))
    x = draws[np.isfinite(draws)]
    if x.size:
        figure.add_scatter(
            x=x,
            y=y + swarm(x),
            mode="markers",
            marker={"symbol": SYMBOLS["random"], "size": 4, "color": color, "opacity": 0.6},
            hovertemplate="random mask<br>accuracy %{x:.1f}%<extra></extra>",
            name=escape(null.label),
            showlegend=False,
        )
    if x.size < null.n:
        missing = f"{null.n - x.size:,} of {null.n:,} not known"
        _add_text(figure, missing, _ACCURACY, y, theme.muted)
        return
    low, high = (100 * end for end in null.band)
    figure.add_shape(
        type="rect", x0=low, x1=high, y0=y - 0.2, y1=y + 0.2,
        fillcolor=color, opacity=0.22, line={"width": 0}, layer="below",
    )  # fmt: skip
    median = 100 * null.median
    figure.add_shape(
        type="line", x0=median, x1=median, y0=y - 0.2, y1=y + 0.2,
        line={"color": color, "width": 2},
    )  # fmt: skip
    _add_text(figure, f"5 to 95%: {low:.1f}% to {high:.1f}%", _ACCURACY, y, theme.muted)


def _add_columns(
    figure: go.Figure, theme: Theme, row: MethodRow, y: int, comparison: Comparison
) -> None:
    base, null = comparison.rows[0], null_of(comparison, row)
    _add_text(figure, percent(row.accuracy), _ACCURACY, y, theme.ink)
    if row is not base:
        gain, low, high = (signed(100 * v, ".1f") for v in (row.gain, *row.gain_interval))
        words = "0 (unsteered)" if row.is_unsteered else f"<b>{gain}</b> [{low}, {high}]"
        _add_text(figure, words, _GAIN, y, theme.ink)
    valid, color = f"{100 * row.valid_rate:.0f}%", theme.ink
    if _is_collapsed(row, base):
        valid, color = f"<b>{valid}!</b>", theme.negative
    _add_text(figure, valid, _VALID, y, color)
    if null is not None:
        count = f"{null.as_good(row.accuracy):,} of {null.n:,}"
        _add_text(figure, "<br>".join(filter(None, (count, p_label(row.null_p)))), _P, y, theme.ink)


def _add_text(figure: go.Figure, text: str, shift: int, y: int, color: str) -> None:
    figure.add_annotation(
        x=1, xref="paper", xanchor="left", xshift=shift, y=y, text=text, showarrow=False,
        font={"color": color, "size": 12}, align="left",
    )  # fmt: skip


def _add_heads(figure: go.Figure, theme: Theme, comparison: Comparison) -> None:
    heads = {
        _ACCURACY: "accuracy",
        _GAIN: "gain in points<br>[95% interval]",
        _VALID: "valid<br>answers",
    }
    if comparison.nulls:
        heads[_P] = "random<br>as good"
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
    low, high = _range(comparison)
    for level, (value, text, color) in enumerate(marks):
        # Beyond an end of the axis it would lie over the columns, or be cut.
        at = (value - low) / (high - low)
        figure.add_annotation(
            x=100 * value, y=1, yref="paper", yanchor="bottom", yshift=2 + 15 * level, text=text,
            xanchor="left" if at < 0.15 else "right" if at > 0.85 else "center",
            showarrow=False, font={"color": color, "size": 12},
        )  # fmt: skip


def _range(comparison: Comparison) -> tuple[float, float]:
    ends = [comparison.chance, *(float(v) for null in comparison.nulls for v in null.accuracies)]
    ends += [end for row in comparison.rows for end in (*row.interval, row.accuracy)]
    known = [end for end in ends if not math.isnan(end)]
    pad = 0.04 * (max(known) - min(known)) + 0.01
    return max(-0.01, min(known) - pad), min(1.01, max(known) + pad)


def _is_collapsed(row: MethodRow, base: MethodRow) -> bool:
    return row.valid_rate < valid_floor(base.valid_rate, None)


def _title(comparison: Comparison) -> str:
    """What the adaptive rows do, what the best fixed one reaches, and how many random masks do as well.

    All adaptive rows: naming the winner on test would flatter it.
    """
    base, *others = comparison.rows
    if not others:
        return f"Unsteered accuracy {percent(base.accuracy)}"
    adaptive = [row for row in others if row.kind == "adaptive"]
    tried = adaptive or others[:1]
    parts = [_change("Adaptive scaling" if adaptive else name_text(tried[0].label), tried, base)]
    fixed = [row.accuracy for row in others if row.kind == "fixed" and row not in tried]
    if fixed:
        words = "fixed vectors at most" if len(fixed) > 1 else "a fixed vector reaches"
        parts.append(f"{words} {percent(max(fixed))}")
    nulls = [(null, row) for row in tried if (null := null_of(comparison, row)) is not None]
    if nulls:
        counts = " and ".join(f"{null.as_good(row.accuracy):,}" for null, row in nulls)
        drawn = " and ".join(dict.fromkeys(f"{null.n:,}" for null, _ in nulls))
        parts.append(f"{counts} of {drawn} random masks do as well")
    parts += [
        f"{name_text(row.label) if len(tried) > 1 else 'this'} {row.verdict.split(' (')[0]}"
        for row in tried
        if row.verdict
    ]
    if collapsed := sum(_is_collapsed(row, base) for row in tried):
        which = "" if collapsed == len(tried) else f" in {counted(collapsed, 'row')}"
        parts.append(f"valid answers collapse{which}")
    return "; ".join(parts)


def _change(who: str, rows: Sequence[MethodRow], base: MethodRow) -> str:
    """Which way the rows move accuracy, as far as tests and intervals tell."""
    values = [percent(row.accuracy) for row in rows]
    if len(values) > 3:
        low, *_, high = sorted(row.accuracy for row in rows)
        values = [f"{percent(low)} to {percent(high)}"]
    reached, before = " and ".join(values), percent(base.accuracy)
    ways = {row.moved(corrected=len(rows) > 1) for row in rows}
    if ways == {1}:
        return f"{who} lifts accuracy from {before} to {reached}"
    if ways == {-1}:
        return f"{who} lowers accuracy from {before} to {reached}"
    if ways == {0}:
        return f"{who} changes nothing that can be told from chance: {reached}, unsteered {before}"
    return f"{who} reaches {reached}, unsteered {before}"
