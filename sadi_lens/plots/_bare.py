"""A figure as a page holds it: the drawing alone, its title, subtitle and note as text that wraps on a phone."""

import html
import re
from typing import Any, NamedTuple, cast

import plotly.graph_objects as go

from sadi_lens.plots._layout import NOTE, note_height
from sadi_lens.plots._theme import FONT_SIZE


class Bare(NamedTuple):
    """A figure apart from its words, in plain text with a line break between lines."""

    title: str
    subtitle: str
    note: str
    """How it was measured and how to read it."""
    figure: go.Figure


def bare(figure: go.Figure) -> Bare:
    """Take title, subtitle and note off a copy of a figure, with the pixels that they took."""
    copy = cast(Any, go.Figure(figure))
    layout = copy.layout
    title = layout.title
    notes = [str(one.text) for one in layout.annotations if one.name == NOTE]
    note = _plain((layout.meta or {}).get(NOTE))  # folded in the annotation, also inside a fact
    found = Bare(_plain(title.text), _plain(title.subtitle.text), note, copy)
    copy.update_layout(title=None, meta=None)
    if layout.legend.yref != "container":
        return found  # not laid out by sadi_lens.plots
    # The legend is what begins below the words.
    above = round((1 - layout.legend.y) * layout.height)
    grown = layout.template.layout.font.size / FONT_SIZE
    below = sum(round(grown * note_height(one.count("<br>") + 1)) for one in notes)
    layout.annotations = [one for one in layout.annotations if one.name != NOTE]
    copy.update_layout(
        height=layout.height - above - below,
        margin={"t": layout.margin.t - above, "b": layout.margin.b - below},
        legend={"y": 1},
    )
    return found


def _plain(text: str | None) -> str:
    """Plotly's markup back to plain text, lines kept."""
    return html.unescape(re.sub(r"<[^>]*>", "", (text or "").replace("<br>", "\n"))).strip()
