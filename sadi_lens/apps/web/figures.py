"""A figure as a page holds it: title, subtitle and note as text that wraps, the rest as data for plotly.js."""

from collections.abc import Mapping
from dataclasses import dataclass

import plotly.graph_objects as go
from markupsafe import Markup

from sadi_lens.apps.web.page import script_json
from sadi_lens.plots._bare import bare


@dataclass(frozen=True)
class Panel:
    """One figure in every theme."""

    name: str
    title: str
    subtitle: str
    """The line below the title, and the note on how it was measured."""
    width: int
    height: int
    data: Markup
    """Theme -> ``{"data", "layout"}``, as JSON for a script element."""


def panel(name: str, figures: Mapping[str, go.Figure]) -> Panel:
    """Take the words off a figure, so that they wrap on a phone and can be selected and read aloud.

    Args:
        name: Used as the element's id.
        figures: Theme -> the same figure in its colours.
    """
    drawn = {theme: bare(figure) for theme, figure in figures.items()}
    last = list(drawn.values())[-1]
    joined = ",".join(f'"{theme}":{one.figure.to_json()}' for theme, one in drawn.items())
    layout = last.figure.layout
    size = int(layout.width or 700), int(layout.height or 450)
    words = "\n".join(filter(None, (last.subtitle, last.note)))
    return Panel(name, last.title, words, *size, script_json(f"{{{joined}}}"))
