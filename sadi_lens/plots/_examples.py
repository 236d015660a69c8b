"""Item by item: what an adaptive and a fixed method do to the margin of the right answer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    Margin,
    add_line,
    counted,
    escape,
    finish,
    float32,
    named,
    percent,
    require_finite,
)
from sadi_lens.plots._plane import evenly
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.types.results import Evaluation

MAX_DOTS = 1200
"""Items drawn one by one; of more, evenly spaced ones."""
_OUTCOMES = ((True, "right", "circle", "adaptive"), (False, "wrong", "x", "fixed"))
"""Is the answer right, its word, marker, and the kind whose colour it takes."""


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

    Returns:
        A figure; ``export`` writes it, ``show`` displays it.

    Raises:
        ValueError: If the three are not of the same items, prompts do not match, or there is no margin.

    Example:
        >>> mask = sl.Mask.from_units("head", [(1, 2)], model)
        >>> rules = [None, sl.MaskedScaling(mask, 5.0), sl.MaskedScaling(mask, -1.0)]
        >>> found = sl.evaluate(model, task.dev[:5], rules, progress=False)
        >>> len(sl.plots.example_effects(*found).data) > 1
        True
    """
    colors = require_theme(theme)
    _require_same_items(unsteered, (adaptive, fixed), prompts)
    base = float32(unsteered.margins)
    up, right = float32(adaptive.margins) - base, float32(fixed.margins) - base
    known = np.isfinite(up) & np.isfinite(right)
    require_finite(np.where(known, up, np.nan), "example_effects (margins; free text has none)")
    places = np.flatnonzero(known)
    shown = places[evenly(places.size, MAX_DOTS)]
    reach = 1.08 * (float(np.abs(np.concatenate([up[known], right[known]])).max()) or 1.0)
    figure = go.Figure()
    add_line(figure, [-reach, reach], [-reach, reach], color=colors.muted, width=1.2, dash="dash")
    hover = _hover_data(prompts, base, up, right)
    for is_right, name, symbol, kind in _OUTCOMES:
        here = shown[adaptive.correct[shown] == is_right]
        figure.add_scatter(
            x=right[here],
            y=up[here],
            mode="markers",
            marker=_marker(colors, symbol, kind),
            customdata=[hover(int(i)) for i in here],
            hovertemplate=_hover(adaptive, fixed),
            name=f"{name} under {escape(adaptive.label)} ({np.sum(adaptive.correct[places] == is_right):,})",
            showlegend=True,
        )
    _add_quarters(figure, colors, np.where(known, up, np.nan), np.where(known, right, np.nan))
    for axis, one in ((figure.update_xaxes, fixed), (figure.update_yaxes, adaptive)):
        axis(title=f"change of margin under {_short(one.label)} (nats)", zeroline=False)
        axis(range=[-reach, reach])
    above = percent(float((up[known] > right[known]).mean()))
    return finish(
        figure,
        colors,
        title=f"{adaptive.label} does more for the right answer on {above} of items",
        subtitle=_facts(unsteered, adaptive, fixed, shown=shown.size, known=places.size),
        plot=(520, 460),
        margin=Margin(left=84),
    )


def _require_same_items(
    unsteered: Evaluation, others: Sequence[Evaluation], prompts: Sequence[str]
) -> None:
    """Raise ValueError unless all evaluations are of the same items and model, with one prompt an item or none."""
    for one in others:
        if (one.items, one.model) != (unsteered.items, unsteered.model):
            raise ValueError(
                f"example_effects needs the same items on the same model: {one.label!r} has {one.n} of "
                f"{one.task}/{one.split} on {one.model.name}, {unsteered.label!r} has {unsteered.n} of "
                f"{unsteered.task}/{unsteered.split} on {unsteered.model.name}"
            )
    if prompts and len(prompts) != unsteered.n:
        raise ValueError(f"prompts must be one an item: {unsteered.n}, got {len(prompts)}")


def _marker(theme: Theme, symbol: str, kind: str) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "size": 7,
        "color": theme.kinds[kind],
        "opacity": 0.75,
        "line": {"width": 0.6, "color": theme.paper},
    }


def _hover_data(
    prompts: Sequence[str], base: np.ndarray, up: np.ndarray, right: np.ndarray
) -> Callable[[int], list[Any]]:
    """Item -> its prompt, and its margin unsteered and under both methods (nats)."""

    def one(i: int) -> list[Any]:
        margins = (base[i], base[i] + up[i], base[i] + right[i])
        return [_prompt(prompts, i), *map(float, margins)]

    return one


def _hover(adaptive: Evaluation, fixed: Evaluation) -> str:
    return (
        "%{customdata[0]}<br>margin unsteered %{customdata[1]:+.3g} nats<br>"
        f"{escape(adaptive.label)} %{{customdata[2]:+.3g}} (%{{y:+.3g}})<br>"
        f"{escape(fixed.label)} %{{customdata[3]:+.3g}} (%{{x:+.3g}})<extra></extra>"
    )


def _add_quarters(figure: go.Figure, theme: Theme, up: np.ndarray, right: np.ndarray) -> None:
    """The axes through 0, and in each corner how many items lie in its quarter; NaN counts nowhere."""
    figure.add_hline(y=0, line={"color": theme.muted, "width": 1})
    figure.add_vline(x=0, line={"color": theme.muted, "width": 1})
    quarters = (
        (0.01, 0.99, "left", "top", "first helps, second hurts", (up > 0) & (right < 0)),
        (0.99, 0.99, "right", "top", "both help", (up > 0) & (right > 0)),
        (0.01, 0.01, "left", "bottom", "both hurt", (up < 0) & (right < 0)),
        (0.99, 0.01, "right", "bottom", "first hurts, second helps", (up < 0) & (right > 0)),
    )
    for x, y, xanchor, yanchor, text, inside in quarters:
        figure.add_annotation(
            x=x, y=y, xref="paper", yref="paper", xanchor=xanchor, yanchor=yanchor, showarrow=False,
            text=f"{text}: {int(inside.sum()):,}", bgcolor=theme.paper, opacity=0.9,
            font={"size": 12, "color": theme.muted},
        )  # fmt: skip


def _facts(
    unsteered: Evaluation, adaptive: Evaluation, fixed: Evaluation, *, shown: int, known: int
) -> tuple[tuple[str, ...], ...]:
    missing = unsteered.n - known
    return (
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
            f"{shown:,} of {known:,} items drawn" if shown < known else "",
            f"{missing:,} items without a margin left out" if missing else "",
        ),
    )


def _prompt(prompts: Sequence[str], index: int) -> str:
    if not prompts:
        return f"item {index}"
    text = " ".join(prompts[index].split())
    return escape(text if len(text) <= 60 else "…" + text[-59:])


def _short(label: str) -> str:
    return escape(label if len(label) <= 34 else label[:33] + "…")
