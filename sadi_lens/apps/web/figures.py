"""A figure as a page holds it: title and subtitle as text that wraps, the rest as data for plotly.js."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import plotly.graph_objects as go
from markupsafe import Markup

from sadi_lens.apps.web.page import script_json


@dataclass(frozen=True)
class Panel:
    """One figure in every theme."""

    name: str
    title: str
    subtitle: str
    width: int
    height: int
    data: Markup
    """Theme -> ``{"data", "layout"}``, as JSON for a script element."""


def panel(name: str, figures: Mapping[str, go.Figure]) -> Panel:
    """Take the title off a figure, so that it wraps on a phone and can be selected and read aloud.

    Args:
        name: Used as the element's id.
        figures: Theme -> the same figure in its colours.
    """
    texts: tuple[str, str] = ("", "")
    bare: dict[str, str] = {}
    size = (0, 0)
    for theme, figure in figures.items():
        copy = cast(Any, go.Figure(figure))
        title = copy.layout.title
        texts = _plain(title.text), _plain(title.subtitle.text)
        _drop_title(copy)
        size = int(copy.layout.width or 700), int(copy.layout.height or 450)
        bare[theme] = copy.to_json()
    joined = ",".join(f'"{theme}":{text}' for theme, text in bare.items())
    return Panel(name, *texts, *size, script_json(f"{{{joined}}}"))


def _drop_title(figure: Any) -> None:
    """No title, and the pixels that it took given back: the legend is what begins below it."""
    layout = figure.layout
    figure.update_layout(title=None)
    if layout.legend.yref != "container":
        return  # not laid out by sadi_lens.plots
    above = round((1 - layout.legend.y) * layout.height)
    figure.update_layout(
        height=layout.height - above, margin={"t": layout.margin.t - above}, legend={"y": 1}
    )


def _plain(text: str | None) -> str:
    """Plotly's markup back to plain text, lines kept; a page's template escapes it again."""
    return html.unescape(re.sub(r"<[^>]*>", "", (text or "").replace("<br>", "\n"))).strip()
