"""What every figure shares: text safe to draw, and the pixels of title, subtitle and legend."""

import html
import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._theme import FONT_SIZE, SUBTITLE_SIZE, TITLE_SIZE, Theme, template
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import COMPONENTS

MINUS, TIMES = "\u2212", "\u00d7"
"""True signs, as wide as a plus."""

EM = 0.6
"""Mean width of a character over the font size; DejaVu Sans, the widest font of the list."""
_EDGE, _TITLE_LINE, _SUBTITLE_LINE, _LEGEND_LINE = 20, 24, 16, 22
_LEGEND_SYMBOL = 48


class Margin(NamedTuple):
    """Pixels round the plot area; the top is worked out from title, subtitle and legend."""

    left: int = 72
    right: int = 28
    bottom: int = 58


def escape(text: object) -> str:
    """Text as Plotly must get it to show it literally: no tags, no entities, no LaTeX."""
    flat = " ".join(str(text).split())
    return html.escape(flat, quote=False).replace("$", "&#36;")


def text_width(text: str, size: int = FONT_SIZE) -> int:
    """Pixels that ``text`` takes at most in the fonts used."""
    return math.ceil(len(text) * size * EM)


def wrap(text: object, pixels: int, size: int) -> list[str]:
    """Lines of at most ``pixels``, each escaped."""
    flat = " ".join(str(text).split())
    return [escape(line) for line in textwrap.wrap(flat, max(12, int(pixels / (size * EM))))]


def join_facts(facts: Sequence[str], pixels: int) -> list[str]:
    """Facts joined by a middle dot, broken between facts where possible; empty ones are dropped."""
    most = int(pixels / (SUBTITLE_SIZE * EM))
    lines: list[str] = []
    for fact in filter(None, facts):
        joined = f"{lines[-1]} · {fact}" if lines else fact
        if lines and len(joined) <= most:
            lines[-1] = joined
        else:
            lines.append(fact)
    return [part for line in lines for part in wrap(line, pixels, SUBTITLE_SIZE)]


def signed(value: float, digits: str) -> str:
    """A number with its sign, as ``+0.16``; negative ones with a true minus."""
    return f"{value:+{digits}}".replace("-", MINUS)


def float32(values: Any) -> np.ndarray:
    """A float32 copy, also of float16, bfloat16 or a tensor; infinities become NaN."""
    if hasattr(values, "detach"):  # numpy has no bfloat16: a tensor must convert itself first
        values = values.detach().float().cpu()
    array = np.array(values, dtype=np.float32)
    array[~np.isfinite(array)] = np.nan
    return array


def where(component: str) -> str:
    """What was read, for subtitles: hook position and, for heads, the reduction over d_head."""
    hook = COMPONENTS[component].hook.replace("{layer}", "{l}")
    return f"{hook}, mean over d_head" if component == "head" else hook


def difference_facts(differences: ActivationDifferences) -> tuple[str, ...]:
    """What activation differences are, on what and of how many pairs, for subtitles."""
    return (
        f"A(x y+) {MINUS} A(x y{MINUS}) at the last token of the text",
        where(differences.component),
        f"mean of {counted(differences.n, 'pair')}",
        named("task", differences.task),
        f"model {differences.model.name}",
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


def named(word: str, value: object) -> str:
    """``word value``, or nothing where the value is empty."""
    return f"{word} {value}" if str(value) else ""


def token_text(token: str, most: int = 14) -> str:
    """A token as it is drawn: spaces as a middle dot, line ends as an arrow, long ones cut; escaped."""
    shown = token.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥")
    shown = "".join(one if one.isprintable() else "□" for one in shown) or "∅"
    return escape(shown if len(shown) <= most else shown[: most - 1] + "…")


def counted(n: int, noun: str) -> str:
    """``1 pair``, ``200 pairs``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def percent(share: float) -> str:
    """A share as ``54.0%``."""
    return f"{100 * share:.1f}%"


def integer_ticks(n: int, most: int = 16) -> list[int]:
    """Integer positions in ``[0, n)``, at most ``most`` of them, a power of two apart."""
    return list(range(0, n, 2 ** max(0, math.ceil(math.log2(max(1, n) / most)))))


def finish(
    figure: go.Figure,
    theme: Theme,
    *,
    title: str,
    subtitle: Sequence[Sequence[str]],
    plot: tuple[int, int],
    margin: Margin,
    head: int = 0,
) -> go.Figure:
    """Set template, title, subtitle, legend and size so that none of them can overlap.

    Args:
        figure: Gets its layout.
        theme: Its colours.
        title: What is seen; plain text, escaped here.
        subtitle: Paragraphs of facts (plain text); empty facts are dropped.
        plot: Width and height of the plot area, pixels.
        margin: Left, right and bottom.
        head: Pixels to keep free directly above the plot area.

    Returns:
        ``figure``.
    """
    width = max(560, margin.left + plot[0] + margin.right)
    text_area = width - 2 * _EDGE
    titles = wrap(title, text_area, TITLE_SIZE)
    lines = [line for facts in subtitle for line in join_facts(facts, text_area)]
    names = [str(trace.name) for trace in cast(Any, figure).data if trace.showlegend]
    above = 16 + _TITLE_LINE * len(titles) + _SUBTITLE_LINE * len(lines) + 6
    top = above + _LEGEND_LINE * _legend_rows(names, plot[0]) + head + 12
    height = top + plot[1] + margin.bottom
    figure.update_layout(
        template=template(theme.name),
        width=width,
        height=height,
        margin={"l": margin.left, "r": margin.right, "t": top, "b": margin.bottom},
        title=_title_layout(titles, lines),
        showlegend=bool(names),
        legend={
            "orientation": "h",
            "traceorder": "normal",
            "x": _EDGE / width,
            "xref": "container",
            "xanchor": "left",
            "y": 1 - above / height,
            "yref": "container",
            "yanchor": "top",
        },
    )
    return figure


def _title_layout(titles: Sequence[str], lines: Sequence[str]) -> dict[str, Any]:
    """Title and subtitle at the upper left corner of the page."""
    return {
        "text": "<br>".join(titles),
        "subtitle": {"text": "<br>".join(lines)},
        "x": 0,
        "xref": "container",
        "xanchor": "left",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        # Plotly sets the first line of a title of several lines 13 pixels higher.
        "pad": {"t": 16 if len(titles) == 1 else 29, "l": _EDGE},
        "automargin": False,
    }


def _legend_rows(names: Sequence[str], pixels: int) -> int:
    """Rows of a horizontal legend: Plotly gives it the width of the plot area, in equal columns."""
    widths = [text_width(name, SUBTITLE_SIZE) + _LEGEND_SYMBOL for name in names]
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
