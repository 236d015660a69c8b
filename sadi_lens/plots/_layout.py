"""What every figure shares: the pixels of title, subtitle, legend and note."""

import html
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._grow import grow
from sadi_lens.plots._theme import SUBTITLE_SIZE, TITLE_SIZE, Theme, template
from sadi_lens.plots._words import (
    EM,
    MINUS,
    TITLE_EM,
    counted,
    cut,
    escape,
    join_facts,
    n_columns,
    named,
    wrap,
)
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import COMPONENTS

NOTE, NOTE_SIZE = "note", 11
"""Name and text size of the annotation below a figure that says how to read it; its text, unfolded, is in
``layout.meta``."""
TIE = 1e-6
"""Accuracies that differ by less are equal: one of them may have been a float32."""
_EDGE, _TITLE_LINE, _SUBTITLE_LINE, _LEGEND_LINE, _NOTE_LINE = 20, 24, 16, 22, 15
_LEGEND_SYMBOL = 48
_MOST_TITLE = 5
"""Lines of a title; what it has more is cut."""


class Margin(NamedTuple):
    """Pixels round the plot area; the top is worked out from title, subtitle and legend."""

    left: int = 72
    right: int = 28
    bottom: int = 58


def float32(values: Any) -> np.ndarray:
    """A float32 copy, also of float16, bfloat16 or a tensor; infinities become NaN."""
    if hasattr(values, "detach"):  # numpy has no bfloat16: a tensor must convert itself first
        values = values.detach().float().cpu()
    with np.errstate(over="ignore"):
        array = np.array(values, dtype=np.float32)
    array[~np.isfinite(array)] = np.nan
    return array


def where(component: str) -> str:
    """TransformerLens' name of the hook point that is read or edited, without the block's."""
    return COMPONENTS[component].hook.removeprefix("blocks.{layer}.")


def units_of(component: str, n: int = 2) -> str:
    """What ``n`` units of a component are called in a sentence, so that no two components sound alike."""
    place = {"hidden": "residual-stream ", "mlp_out": "MLP-output "}.get(component, "")
    return f"{place}{COMPONENTS[component].unit}{'' if n == 1 else 's'}"


def difference_facts(differences: ActivationDifferences) -> tuple[str, ...]:
    """What activation differences are of, and of how many pairs."""
    return (
        named("task", differences.task),
        f"mean of {counted(differences.n, 'pair')}",
        f"model {differences.model.name}",
    )


def difference_note(component: str) -> str:
    """What an activation difference is and where it is read."""
    reduced = ", mean over d_head" if component == "head" else ""
    return (
        f"A(x y+) {MINUS} A(x y{MINUS}) at the last token of the text, {where(component)}{reduced}"
    )


def add_line(
    figure: go.Figure,
    x: Sequence[Any],
    y: Sequence[Any],
    *,
    color: str,
    width: float,
    dash: str | None = None,
) -> None:
    """A line through points, without hover and legend."""
    line: dict[str, Any] = {"color": color, "width": width}
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line=line if dash is None else {**line, "dash": dash},
        hoverinfo="skip",
        showlegend=False,
    )


def facts_of(found: Any, what: str) -> tuple[str, str, str]:
    """Task, what was measured, model: the facts of a figure of one result."""
    return named("task", found.task), what, f"model {found.model.name}"


def evenly(n: int, most: int) -> np.ndarray:
    """At most ``most`` places in ``[0, n)``, evenly spaced, both ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def integer_ticks(n: int, most: int = 16) -> list[int]:
    """Integer positions in ``[0, n)``, at most ``most`` of them, a power of two apart."""
    return list(range(0, n, 2 ** max(0, math.ceil(math.log2(max(1, n) / most)))))


def finish(
    figure: go.Figure,
    theme: Theme,
    *,
    title: str,
    facts: Sequence[str],
    note: Sequence[str] = (),
    plot: tuple[int, int],
    margin: Margin,
    head: int = 0,
) -> go.Figure:
    """Set template, title, subtitle, legend, note and size so that none of them can overlap.

    Args:
        figure: Gets its layout. At another size than the page its text and marks grow, the plot area does not.
        theme: Its colours and size.
        title: What was found; plain text, escaped here.
        facts: What was measured, the most needed first: as many as fit on one line. Plain text; empty ones are dropped.
        note: How it was measured and how to read it, small below the figure, after the facts that did not fit.
        plot: Width and height of the plot area, pixels.
        margin: Left, right and bottom, at page size.
        head: Pixels to keep free directly above the plot area, at page size.
    """
    grown = theme.factor
    left, right, bottom = (round(grown * side) for side in margin)
    width = max(560, left + plot[0] + right)
    room = int((width - 2 * _EDGE) / grown)
    titles = wrap(title, room, TITLE_SIZE, TITLE_EM)
    if len(titles) > _MOST_TITLE:
        titles[_MOST_TITLE - 1 :] = [f"{titles[_MOST_TITLE - 1]} …"]
    shown, rest = _one_line(facts, room)
    area = int((width - left - right) / grown)
    rest = [*rest, *note, *_cut_names(figure, area)]
    notes = join_facts(rest, room, NOTE_SIZE)
    names = [str(trace.name) for trace in cast(Any, figure).data if trace.showlegend]
    above = round(grown * (16 + _TITLE_LINE * len(titles) + _SUBTITLE_LINE + 6))
    legend_rows = _legend_rows(names, area)
    top = above + round(grown * (_LEGEND_LINE * legend_rows + head + 12))
    bottom += round(grown * note_height(len(notes)))
    height = top + plot[1] + bottom
    if grown != 1:
        grow(figure, grown)
    if notes:
        figure.add_annotation(
            name=NOTE, text="<br>".join(notes), align="left", showarrow=False,
            x=0, xref="paper", xanchor="left", xshift=_EDGE - left,
            y=0, yref="paper", yanchor="bottom", yshift=round(grown * 8) - bottom,
            font={"size": NOTE_SIZE * grown, "color": theme.muted},
        )  # fmt: skip
    legend = {
        "orientation": "h", "traceorder": "normal",
        "x": _EDGE / width, "xref": "container", "xanchor": "left",
        "y": 1 - above / height, "yref": "container", "yanchor": "top",
    }  # fmt: skip
    figure.update_layout(
        template=template(theme.name, grown),
        width=width,
        height=height,
        margin={"l": left, "r": right, "t": top, "b": bottom},
        title=_title_layout(titles, shown, grown),
        showlegend=bool(names),
        legend=legend,
        meta={NOTE: " · ".join(escape(one) for one in rest if one)},
    )
    return figure


def note_height(n_lines: int) -> int:
    """Pixels that a note takes below a figure, at page size."""
    return _NOTE_LINE * n_lines + 8 if n_lines else 0


def _one_line(facts: Sequence[str], pixels: int) -> tuple[str, list[str]]:
    """As many facts as fit on the line of the subtitle (escaped; of a long first one its start), and the others."""
    known = [fact for fact in facts if fact]
    most = int(pixels / (SUBTITLE_SIZE * EM))
    n = 1
    while n < len(known) and n_columns(" · ".join(known[: n + 1])) <= most:
        n += 1
    if known and n_columns(known[0]) > most:
        return escape(cut(known[0], most)), known
    return escape(" · ".join(known[:n])), known[n:]


def _cut_names(figure: go.Figure, pixels: int) -> list[str]:
    """Cut names that are wider than the legend, and return them whole; two that read alike then are told apart."""
    most = int((pixels - _LEGEND_SYMBOL) / (SUBTITLE_SIZE * TITLE_EM))
    whole: list[str] = []
    seen: set[str] = set()
    for trace in cast(Any, figure).data:
        name = html.unescape(str(trace.name))
        if trace.showlegend and n_columns(name) > most:
            shown = cut(name, most)
            if shown in seen:
                number = f"({len(seen) + 1})"
                shown, name = f"{cut(name, most - 5)} {number}", f"{number} {name}"
            seen.add(shown)
            trace.name = escape(shown)
            whole.append(name)
    return whole


def _title_layout(titles: Sequence[str], subtitle: str, grown: float) -> dict[str, Any]:
    """Title and subtitle at the upper left corner of the page."""
    return {
        "text": "<br>".join(titles),
        "subtitle": {"text": subtitle},
        "x": 0,
        "xref": "container",
        "xanchor": "left",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        # Plotly sets the first line of a title of several lines 13 pixels higher.
        "pad": {"t": round(grown * (16 if len(titles) == 1 else 29)), "l": _EDGE},
        "automargin": False,
    }


def _legend_rows(names: Sequence[str], pixels: int) -> int:
    """Rows of a horizontal legend: Plotly gives it the width of the plot area, in equal columns."""
    widths = [
        math.ceil(n_columns(html.unescape(name)) * SUBTITLE_SIZE * TITLE_EM) + _LEGEND_SYMBOL
        for name in names
    ]
    if sum(widths) <= pixels:
        return min(1, len(widths))
    return math.ceil(len(widths) / max(1, pixels // max(widths)))


def require_finite(values: np.ndarray, what: str) -> None:
    """Check that there is something to draw.

    Raises:
        ValueError: If no value is finite.
    """
    if not np.isfinite(values).any():
        raise ValueError(f"{what} needs at least one finite value, all {values.size} are NaN")
