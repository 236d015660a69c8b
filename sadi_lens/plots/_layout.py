"""What every figure shares: text that is safe to draw, and the pixels of title, subtitle and legend."""

import html
import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from sadi_lens.components import COMPONENTS
from sadi_lens.plots._theme import FONT_SIZE, SUBTITLE_SIZE, TITLE_SIZE, Theme, template

EM = 0.58
"""Mean width of a character over the font size; DejaVu Sans, the widest font of the list."""
_EDGE, _TITLE_LINE, _SUBTITLE_LINE, _LEGEND_LINE = 20, 25, 17, 24
_LEGEND_SYMBOL = 58


class Margin(NamedTuple):
    """Pixels round the plot area; the top is worked out from title, subtitle and legend."""

    left: int = 72
    right: int = 28
    bottom: int = 58


def escape(text: object) -> str:
    """Text as Plotly must get it to show it literally: no tags, no entities, no LaTeX."""
    flat = " ".join(str(text).split())
    return html.escape(flat, quote=False).replace("$", "&#36;")


def text_width(text: str, size: float = FONT_SIZE) -> int:
    """Pixels that ``text`` takes at most in the fonts used."""
    return math.ceil(len(text) * size * EM)


def wrap(text: object, pixels: int, size: float) -> list[str]:
    """Lines of at most ``pixels``, each escaped."""
    flat = " ".join(str(text).split())
    return [escape(line) for line in textwrap.wrap(flat, max(12, int(pixels / (size * EM))))]


def float32(values: Any) -> np.ndarray:
    """A float32 array on the CPU, also from float16, bfloat16 or a tensor; infinities become NaN."""
    if hasattr(values, "detach"):  # numpy has no bfloat16: a tensor must convert itself first
        values = values.detach().float().cpu()
    array = np.array(values, dtype=np.float32)
    array[~np.isfinite(array)] = np.nan
    return array


def where(component: str) -> str:
    """What was read, for subtitles: hook position and, for heads, the reduction over d_head."""
    hook = COMPONENTS[component].hook.replace("{layer}", "{l}")
    return f"{hook}, mean over d_head" if component == "head" else hook


def named(word: str, value: object) -> str:
    """``word value``, or nothing where the value is empty."""
    return f"{word} {value}" if str(value) else ""


def percent(share: float) -> str:
    """A share as ``54.0%``."""
    return f"{100 * share:.1f}%"


def integer_ticks(n: int, most: int = 16) -> list[int]:
    """Integer positions in ``[0, n)``, at most ``most`` of them, a power of two apart."""
    return list(range(0, n, 2 ** max(0, math.ceil(math.log2(max(1, n) / most)))))


def outline(cells: Sequence[tuple[float, float]], width: float = 1.0) -> tuple[list[Any], list[Any]]:
    """x and y of one line trace that draws the exact rectangle of every (row, column) cell."""
    half = width / 2
    x: list[Any] = []
    y: list[Any] = []
    for row, column in cells:
        x += [column - half, column + half, column + half, column - half, column - half, None]
        y += [row - 0.5, row - 0.5, row + 0.5, row + 0.5, row - 0.5, None]
    return x, y


def add_boxes(
    figure: go.Figure, theme: Theme, cells: Sequence[tuple[float, float]], name: str
) -> None:
    """Box heatmap cells: a line in ink over a halo in the page colour, so that it shows on any cell."""
    x, y = outline(cells)
    for color, width in ((theme.paper, 5), (theme.ink, 2)):
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": color, "width": width},
            hoverinfo="skip",
            cliponaxis=False,
            name=name,
            legendgroup="boxes",
            showlegend=color == theme.ink,
        )


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
    lines = [
        line
        for facts in subtitle
        for line in wrap(" · ".join(fact for fact in facts if fact), text_area, SUBTITLE_SIZE)
    ]
    names = [str(t.name) for t in figure.data if t.name and t.showlegend]
    legend_width = sum(text_width(name, SUBTITLE_SIZE) + _LEGEND_SYMBOL for name in names)
    above = 16 + _TITLE_LINE * len(titles) + _SUBTITLE_LINE * len(lines) + 8
    top = above + _LEGEND_LINE * math.ceil(legend_width / text_area) + head + 10
    height = top + plot[1] + margin.bottom
    figure.update_layout(
        template=template(theme.name),
        width=width,
        height=height,
        margin={"l": margin.left, "r": margin.right, "t": top, "b": margin.bottom},
        title={
            "text": "<br>".join(titles),
            "subtitle": {"text": "<br>".join(lines)},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 16, "l": _EDGE},
            "automargin": False,
        },
        showlegend=bool(names),
        legend={
            "orientation": "h",
            "x": _EDGE / width,
            "xref": "container",
            "xanchor": "left",
            "y": 1 - above / height,
            "yref": "container",
            "yanchor": "top",
        },
    )
    return figure


def colorbar(title: str) -> dict[str, Any]:
    """A slim colour bar with its title, unit included, along its right side."""
    return {
        "title": {"text": title, "side": "right", "font": {"size": SUBTITLE_SIZE}},
        "thickness": 14,
        "len": 1,
        "outlinewidth": 0,
        "tickfont": {"size": 11},
        "xpad": 14,
        "ypad": 0,
    }


def symmetric_range(values: np.ndarray, quantile: float = 1.0) -> float:
    """Half-width of a colour range round 0: a quantile of the finite magnitudes, never 0."""
    magnitude = np.abs(values[np.isfinite(values)])
    return float(np.quantile(magnitude, quantile)) or float(magnitude.max()) or 1.0


def require_finite(values: np.ndarray, what: str) -> None:
    """Refuse to draw nothing.

    Raises:
        ValueError: If no value is finite.
    """
    if not np.isfinite(values).any():
        raise ValueError(f"{what} needs at least one finite value, all {values.size} are NaN")
