"""Text and marks of another size: the plot area stays as it is."""

from typing import Any, cast

import plotly.graph_objects as go

from sadi_lens.plots._theme import FONT_SIZE


def grow(figure: go.Figure, factor: float) -> None:
    """Multiply every size of text and marks that was set by hand."""

    def grown(size: Any) -> Any:
        return size * factor if isinstance(size, int | float) else [factor * one for one in size]

    drawn = cast(Any, figure)
    for note in drawn.layout.annotations:
        note.font.size = factor * (note.font.size or FONT_SIZE)
        note.xshift, note.yshift = factor * (note.xshift or 0), factor * (note.yshift or 0)
    for trace in drawn.data:
        for part in ("textfont", "marker"):
            if part in trace and "size" in trace[part] and trace[part].size is not None:
                trace[part].size = grown(trace[part].size)
        if trace.type == "heatmap":
            bar = trace.colorbar
            bar.tickfont.size = factor * (bar.tickfont.size or FONT_SIZE)
            bar.thickness, bar.xpad = grown(bar.thickness or 14), grown(bar.xpad or 0)
