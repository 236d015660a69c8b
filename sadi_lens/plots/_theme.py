"""Light and dark: one template mechanism, colours by meaning, nothing registered globally.

Categorical colours follow Okabe and Ito (2008), safe for the common colour-vision deficiencies; a
colour is never the only sign (symbols, patterns, dashes and text repeat it). Diverging: RdBu, blue =
positive; on a dark page a scale with a dark centre, or zero would glow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import plotly.graph_objects as go

from sadi_lens.types.base import require_one_of

FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"
FONT_SIZE = 13
TITLE_SIZE = 18
SUBTITLE_SIZE = 12
SIZES = {"page": 1.0, "talk": 1.4}
"""Factor of all text and marks: on a page, and on a screen that is read from the last row (18 pixels); the plot
areas stay as they are."""

# ColorBrewer RdBu, red to blue. As a list: the name alone means the opposite order in plotly.js.
_RDBU = (
    "#67001f", "#b2182b", "#d6604d", "#f4a582", "#fddbc7", "#f7f7f7",
    "#d1e5f0", "#92c5de", "#4393c3", "#2166ac", "#053061",
)  # fmt: skip
_DARK_DIVERGING = ("#ffb59c", "#e8785a", "#8a4433", "#1d2026", "#2f5f8a", "#57a5e0", "#a8d8ff")
# Cividis (Nunez, Anderton and Renslow, 2018): even in lightness, also for colour-vision deficiencies.
_CIVIDIS = (
    "#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678",
    "#a59c74", "#c3b369", "#e1cc55", "#fee838",
)  # fmt: skip


@dataclass(frozen=True)
class Theme:
    """Colours of one theme, by meaning."""

    name: str
    paper: str
    ink: str
    muted: str
    grid: str
    gap: str
    """Behind heatmaps: the lines between cells, and cells without a value."""
    kinds: Mapping[str, str]
    """Kind of method -> colour: adaptive, fixed, random, unsteered, other."""
    series: tuple[str, ...]
    """Colours of series that have no fixed meaning."""
    diverging: tuple[tuple[float, str], ...]
    factor: float = 1.0
    """Of text and marks, one of ``SIZES``."""

    @property
    def sequential(self) -> list[list[Any]]:
        """Colour scale of unsigned values."""
        return [list(stop) for stop in _stops(_CIVIDIS)]

    @property
    def positive(self) -> str:
        """Colour of a clearly positive value on the diverging scale."""
        return self.diverging[-2][1]

    @property
    def negative(self) -> str:
        """Colour of a clearly negative value on the diverging scale."""
        return self.diverging[1][1]


def _stops(colors: tuple[str, ...]) -> tuple[tuple[float, str], ...]:
    return tuple((i / (len(colors) - 1), color) for i, color in enumerate(colors))


THEMES = {
    "light": Theme(
        name="light",
        paper="#ffffff",
        ink="#16181d",
        muted="#5a616b",
        grid="#e4e7eb",
        gap="#d3d7dd",
        kinds={
            "adaptive": "#0072b2",
            "fixed": "#d55e00",
            "random": "#aa4499",
            "unsteered": "#16181d",
            "other": "#00785a",
        },
        series=("#0072b2", "#d55e00", "#00785a", "#aa4499", "#a87900", "#5a616b"),
        diverging=_stops(_RDBU),
    ),
    "dark": Theme(
        name="dark",
        paper="#111317",
        ink="#f1f3f5",
        muted="#a9b1bb",
        grid="#2b3037",
        gap="#3a414b",
        kinds={
            "adaptive": "#56b4e9",
            "fixed": "#ff8f4d",
            "random": "#dd9bd0",
            "unsteered": "#f1f3f5",
            "other": "#3fc79a",
        },
        series=("#56b4e9", "#ff8f4d", "#3fc79a", "#dd9bd0", "#f0d35a", "#a9b1bb"),
        diverging=_stops(_DARK_DIVERGING),
    ),
}

SYMBOLS = {
    "adaptive": "circle",
    "fixed": "square",
    "random": "triangle-up",
    "unsteered": "diamond",
    "other": "cross",
}
"""Marker of each kind of method, so that colour is not the only sign."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""Line style of each series."""

MARKERS = ("circle", "triangle-up", "square", "diamond", "cross", "x")
"""Marker of each series."""


def series_style(index: int) -> tuple[str, str]:
    """Line style and marker of a series; beyond the six colours a colour comes back with others."""
    round_, at = divmod(index, len(MARKERS))
    return DASHES[(at + 2 * round_) % len(DASHES)], MARKERS[(at + round_) % len(MARKERS)]


MONOSPACE = "DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, monospace"


def faded(color: str, opacity: float) -> str:
    """A colour ``#rrggbb`` that lets through what is behind it."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours ``#rrggbb`` (WCAG 2.2): 1 for equal ones, 21 for black on white."""

    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def require_theme(theme: str, size: str = "page") -> Theme:
    """Look a theme up by name, for text of one of ``SIZES``.

    Raises:
        ValueError: If either is unknown, with the nearest known name.
    """
    require_one_of("theme", theme, THEMES)
    require_one_of("size", size, SIZES)
    return replace(THEMES[theme], factor=SIZES[size])


@cache
def template(name: str, factor: float = 1.0) -> go.layout.Template:
    """The Plotly template of a theme; Plotly's own, with a PiYG diverging scale, is never used."""
    text, small = FONT_SIZE * factor, SUBTITLE_SIZE * factor
    theme = THEMES[name]
    axis: dict[str, Any] = {
        "gridcolor": theme.grid,
        "linecolor": theme.muted,
        "tickcolor": theme.muted,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "title": {"standoff": 10 * factor, "font": {"size": text}},
        "automargin": False,
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": text, "color": theme.ink},
            "paper_bgcolor": theme.paper,
            "plot_bgcolor": theme.paper,
            "colorway": list(theme.series),
            "colorscale": {"diverging": [list(stop) for stop in theme.diverging]},
            "title": {
                "font": {"size": TITLE_SIZE * factor},
                "subtitle": {"font": {"size": small, "color": theme.muted}},
            },
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"font": {"size": small}, "itemsizing": "trace"},
            "hoverlabel": {
                "namelength": -1,
                "align": "left",
                "bgcolor": theme.paper,
                "bordercolor": theme.muted,
                "font": {"family": FONT, "size": text, "color": theme.ink},
            },
            "hovermode": "closest",
            "modebar": {"orientation": "v"},  # a row of buttons would lie over the title
        }
    )
