"""Item by item: what an adaptive and a fixed method do to the margin of the right answer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    Margin,
    add_line,
    evenly,
    facts_of,
    finish,
    float32,
    require_finite,
)
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.plots._words import counted, escape, percent, prompt_text
from sadi_lens.types.checks import checked
from sadi_lens.types.paired import direction, mcnemar_p, paired_interval
from sadi_lens.types.results import Evaluation
from sadi_lens.types.results.evaluation import FORMS

MAX_DOTS = 1200
"""Items drawn one by one; of more, evenly spaced ones."""
_OUTCOMES = ((True, "right", "circle", "adaptive"), (False, "wrong", "x", "unsteered"))
"""Is the answer right, its word, marker, and the kind whose colour it takes."""


@checked()
def example_effects(
    unsteered: Evaluation,
    adaptive: Evaluation,
    fixed: Evaluation,
    *,
    prompts: Sequence[str] = (),
    theme: str = "light",
    size: str = "page",
) -> go.Figure:
    """Change of every item's margin under two methods, one against the other, at one scale.

    Above the diagonal the adaptive method does more; left of 0 the fixed one hurts.

    Args:
        unsteered: The model as it is.
        adaptive: Drawn upwards.
        fixed: Drawn to the right.
        prompts: One an item, for the hover.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If the three are not of the same items, prompts do not match, or there is no margin.

    Example:
        >>> mask = sl.Mask.from_units("head", [(1, 2)], model)
        >>> rules = [None, sl.MaskedScaling(mask, 5.0), sl.MaskedScaling(mask, -1.0)]
        >>> found = sl.evaluate(model, task.dev[:5], rules, progress=False)
        >>> len(sl.plots.example_effects(*found).data) > 1
        True
    """
    colors = require_theme(theme, size)
    _require_same_items(unsteered, (adaptive, fixed), prompts)
    base = float32(unsteered.margins)
    up, right = float32(adaptive.margins) - base, float32(fixed.margins) - base
    known = np.isfinite(up) & np.isfinite(right)
    up, right = (np.where(known, one, np.nan) for one in (up, right))
    require_finite(up, "example_effects (margins; free text has none)")
    places = np.flatnonzero(known)
    shown = places[evenly(places.size, MAX_DOTS)]
    figure, hover = go.Figure(), _hover_data(prompts, base, up, right)
    _set_axes(figure, colors, right[known], up[known])
    for is_right, name, symbol, kind in _OUTCOMES:
        here = shown[adaptive.correct[shown] == is_right]
        figure.add_scatter(
            x=right[here], y=up[here], mode="markers", marker=_marker(colors, symbol, kind),
            customdata=[hover(int(i)) for i in here], hovertemplate=_hover(adaptive, fixed),
            name=f"{name} when adaptive ({np.sum(adaptive.correct[places] == is_right):,})",
            showlegend=True,
        )  # fmt: skip
    _add_quarters(figure, colors, up, right)
    return finish(
        figure,
        colors,
        title=_title(
            up[places],
            right[places],
            None if unsteered.clusters is None else unsteered.clusters[places],
        ),
        facts=facts_of(unsteered, counted(unsteered.n, f"{unsteered.split} item")),
        note=_note(unsteered, adaptive, fixed, places.size, shown.size),
        plot=(480, 480),
        margin=Margin(left=84),
    )


def _note(
    unsteered: Evaluation, adaptive: Evaluation, fixed: Evaluation, known: int, shown: int
) -> tuple[str, ...]:
    missing = unsteered.n - known
    return (
        f"adaptive: {adaptive.label}",
        f"fixed: {fixed.label}",
        "margin: log-probability of the right answer minus the best wrong one",
        "dashed: both change it alike",
        f"{shown:,} of {known:,} items drawn" if shown < known else "",
        f"{counted(missing, 'item')} without a margin left out" if missing else "",
        f"position {unsteered.position}",
    )


def _set_axes(figure: go.Figure, theme: Theme, right: np.ndarray, up: np.ndarray) -> None:
    """Both axes at one scale, and the diagonal."""
    spans = _spans(right, up)
    ends = [max(spans[0][0], spans[1][0]), min(spans[0][1], spans[1][1])]
    add_line(figure, ends, ends, color=theme.muted, width=1.2, dash="dash")
    words = "change of margin, {} (nats)"
    figure.update_xaxes(title=words.format("fixed"), range=spans[0])
    figure.update_yaxes(title=words.format("adaptive"), range=spans[1], scaleanchor="x")


def _spans(right: np.ndarray, up: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges of both axes, equally long and with 0 in them."""
    both = [(min(0.0, float(one.min())), max(0.0, float(one.max()))) for one in (right, up)]
    half = 0.56 * max(high - low for low, high in both) or 1.0
    first, second = (((low + high) / 2 - half, (low + high) / 2 + half) for low, high in both)
    return first, second


def _title(up: np.ndarray, right: np.ndarray, clusters: np.ndarray | None) -> str:
    """Which of the two does more for the right answer; neither, unless test and interval tell them apart."""
    adaptive, fixed = up > right, up < right
    more, less, n = int(adaptive.sum()), int(fixed.sum()), up.size
    ahead = adaptive, fixed, clusters
    if not direction(mcnemar_p(*ahead), paired_interval(*ahead)):
        return f"Neither rule does more: adaptive is ahead on {more:,} of {n:,} items, fixed on {less:,}"
    word, share = ("Adaptive", more / n) if more > less else ("Fixed", less / n)
    return f"{word} steering does more for the right answer on {percent(share)} of {counted(n, 'item')}"


def _require_same_items(
    unsteered: Evaluation, others: Sequence[Evaluation], prompts: Sequence[str]
) -> None:
    """Raise ValueError unless all evaluations are of the same items and model, with one prompt an item or none."""
    for one in others:
        if one.model != unsteered.model or not one.is_alike(unsteered):
            raise ValueError(
                f"example_effects needs the same items on the same model: {one.label!r} has {one.n} of "
                f"{one.task}/{one.split} on {one.model.name}, {unsteered.label!r} has {unsteered.n} of "
                f"{unsteered.task}/{unsteered.split} on {unsteered.model.name}{FORMS}"
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
        return [prompt_text(prompts, i), *map(float, margins)]

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
        (0.01, 0.99, "left", "top", "only adaptive helps", (up > 0) & (right < 0)),
        (0.99, 0.99, "right", "top", "both help", (up > 0) & (right > 0)),
        (0.01, 0.01, "left", "bottom", "both hurt", (up < 0) & (right < 0)),
        (0.99, 0.01, "right", "bottom", "only fixed helps", (up < 0) & (right > 0)),
    )
    for x, y, xanchor, yanchor, text, inside in quarters:
        figure.add_annotation(
            x=x, y=y, xref="paper", yref="paper", xanchor=xanchor, yanchor=yanchor, showarrow=False,
            text=f"{text}: {int(inside.sum()):,}", bgcolor=theme.paper, opacity=0.9,
            font={"size": 12, "color": theme.muted},
        )  # fmt: skip
