"""What heatmaps share: numbers in cells, boxed cells, the colour bar and its range."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._theme import SUBTITLE_SIZE, Theme, contrast

BAR_MARGIN = 134
"""Pixels right of the plot area that a colour bar, its numbers and its title take."""
_BAR_GAP, _BAR_WIDTH, _BAR_LABELS = 16, 14, 52
_INKS = ("#16181d", "#ffffff")


def write_cells(figure: go.Figure, heatmap: go.Heatmap, size: int) -> None:
    """Write the text of each cell in whichever of dark and white stands out more from its colour.

    Plotly's own choice for a ``texttemplate`` is a mid grey, too faint on the middle of a scale.

    Args:
        figure: Gets the texts.
        heatmap: Has ``z``, ``zmin``, ``zmax``, ``text`` and a colour scale of even steps.
        size: Of the text, in pixels.
    """
    drawn = cast(Any, heatmap)
    low, high = float(drawn.zmin), float(drawn.zmax)
    shares = (np.asarray(drawn.z, dtype=float) - low) / (high - low)
    words = np.asarray(drawn.text, dtype=object)
    scale = [str(color) for _, color in drawn.colorscale]
    cells = [at for at in np.ndindex(shares.shape) if words[at]]
    if cells:
        figure.add_scatter(
            x=[column for _, column in cells],
            y=[row for row, _ in cells],
            text=[words[at] for at in cells],
            mode="text",
            textfont={"size": size, "color": [ink_on(float(shares[at]), scale) for at in cells]},
            hoverinfo="skip",
            showlegend=False,
            name="numbers",
        )  # fmt: skip


def ink_on(share: float, scale: Sequence[str]) -> str:
    """Dark or white, for text on the colour at ``share`` of a scale; on a cell without a value, dark."""
    if not np.isfinite(share):
        return _INKS[0]
    at = float(np.clip(share, 0, 1)) * (len(scale) - 1)
    below = min(int(at), len(scale) - 2)
    ends = [[int(one[i : i + 2], 16) for i in (1, 3, 5)] for one in scale[below : below + 2]]
    mixed = [a + (b - a) * (at - below) for a, b in zip(*ends, strict=True)]
    color = "#" + "".join(f"{round(part):02x}" for part in mixed)
    return max(_INKS, key=lambda ink: contrast(ink, color))


def padded(n: int, pixels: int) -> list[float]:
    """Axis range of ``n`` cells on ``pixels``, with room for the line of a box at the edge."""
    room = 3 * n / pixels
    return [-0.5 - room, n - 0.5 + room]


def add_boxes(
    figure: go.Figure,
    theme: Theme,
    cells: Sequence[tuple[int, int]],
    *,
    name: str = "",
    pixels: int = 40,
) -> None:
    """Box heatmap cells (row, column): a line over a halo in the page colour, seen on any cell.

    Args:
        figure: A heatmap whose cells are one wide and one high.
        theme: Its colours.
        cells: Cells to box.
        name: Legend entry; none if empty.
        pixels: Width of a cell. Boxes of narrow cells get finer lines that lie just outside.
    """
    is_narrow = pixels < 12
    half = 0.5 + (1.5 / pixels if is_narrow else 0.0)
    x: list[Any] = []
    y: list[Any] = []
    for row, column in cells:
        x += [column - half, column + half, column + half, column - half, column - half, None]
        y += [row - 0.5, row - 0.5, row + 0.5, row + 0.5, row - 0.5, None]
    for color, width in (
        (theme.paper, 4 if is_narrow else 5),
        (theme.ink, 1.5 if is_narrow else 2),
    ):
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": color, "width": width},
            hoverinfo="skip",
            legendgroup="boxes",
            showlegend=False,
            name="box",
        )
    if name:
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={"symbol": "square-open", "size": 12, "color": theme.ink, "line": {"width": 2}},
            legendgroup="boxes",
            showlegend=True,
            name=name,
        )


def add_colorbar(
    figure: go.Figure, theme: Theme, title: str, *, span: tuple[float, float] = (0.0, 1.0)
) -> None:
    """A slim colour bar for the heatmap, its title (unit included) along its right side.

    The title is an annotation: Plotly's own is sometimes set into the tick labels. ``span``: lower and upper
    end as shares of the plot area.
    """
    figure.update_traces(
        selector={"type": "heatmap"},
        colorbar={
            "thickness": _BAR_WIDTH,
            "x": 1,
            "xpad": _BAR_GAP,
            "len": span[1] - span[0],
            "y": sum(span) / 2,
            "ypad": 0,
            "outlinewidth": 0,
            "ticks": "outside",
            "ticklen": 3,
            "tickcolor": theme.muted,
            "tickfont": {"size": 11},
            "exponentformat": "e",
        },
    )
    figure.add_annotation(
        text=title,
        textangle=90,
        x=1,
        xref="paper",
        xanchor="left",
        xshift=_BAR_GAP + _BAR_WIDTH + _BAR_LABELS,
        y=sum(span) / 2,
        yref="paper",
        showarrow=False,
        font={"size": SUBTITLE_SIZE},
    )


def symmetric_range(values: np.ndarray, quantile: float = 1.0) -> float:
    """Half-width of a colour range round 0: a quantile of the finite magnitudes, never 0."""
    magnitude = np.abs(values[np.isfinite(values)])
    return float(np.quantile(magnitude, quantile)) or float(magnitude.max()) or 1.0
