"""Do masks share their units? Jaccard index of every two, with what chance would give."""

import html
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._heatmap import BAR_MARGIN, add_colorbar, write_cells
from sadi_lens.plots._layout import Margin, finish, units_of, where
from sadi_lens.plots._theme import FONT_SIZE, Theme, require_theme
from sadi_lens.plots._words import MINUS, escape, name_text, named, text_width, wrap
from sadi_lens.types.checks import checked
from sadi_lens.types.masks import Mask
from sadi_lens.types.stats import jaccard_chance

_FEW = 10
"""Masks up to which cells are large."""
_CELL, _LABEL, _LINES = 74, 190, 3
"""Pixels of a cell and of a label, and its lines."""


@checked()
def mask_overlap(
    masks: Mapping[str, Mask], *, theme: str = "light", size: str = "page"
) -> go.Figure:
    """Jaccard index (shared / in either) of every two masks, and its expectation for random masks.

    Args:
        masks: Label -> mask, at least 2, of one component and shape.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there are fewer than 2 masks, or they are of different components or shapes.

    Example:
        >>> first = sl.Mask.from_units("head", [(0, 1), (2, 3)], model)
        >>> second = sl.Mask.from_units("head", [(0, 1), (3, 3)], model)
        >>> sl.plots.mask_overlap({"a": first, "b": second}).layout.title.text
        'a and b share units: Jaccard 0.33, chance 0.02'
    """
    colors = require_theme(theme, size)
    _require_alike(masks)
    labels, chosen = list(masks), list(masks.values())
    n, first = len(chosen), chosen[0]
    shown = [escape(name_text(label)) for label in labels]
    shared, either, chance = _overlaps(chosen)
    jaccard = np.divide(shared, either, out=np.full((n, n), np.nan), where=either > 0)
    cells = go.Heatmap(
        z=jaccard, zmin=0, zmax=1, colorscale=colors.sequential, xgap=2, ygap=2,
        customdata=np.stack([shared, either, chance], axis=-1),
        text=[[_cell(jaccard[r, c], chance[r, c]) for c in range(n)] for r in range(n)],
        hovertext=[
            [
                f"<b>{shown[r]} and {shown[c]}</b><br>Jaccard {jaccard[r, c]:.3f}<br>"
                f"{shared[r, c]:,.0f} shared of {either[r, c]:,.0f} in either{_by_chance(chance[r, c])}"
                for c in range(n)
            ]
            for r in range(n)
        ],
        hovertemplate="%{hovertext}<extra></extra>", hoverongaps=False,
    )  # fmt: skip
    figure = go.Figure(cells)
    write_cells(figure, cells, 13 if n <= _FEW else 10)
    if np.isfinite(jaccard).any():
        add_colorbar(figure, colors, "Jaccard index")
    names = [_lines(label, f"K {mask.k:,}", n) for label, mask in masks.items()]
    _set_axes(figure, colors, names)
    models = dict.fromkeys(mask.model.name for mask in masks.values() if mask.model)
    empty = [label for label, mask in masks.items() if not mask.k]
    lengths = [text_width(html.unescape(line), FONT_SIZE) for lines in names for line in lines]
    widest = max(*lengths, 40) + 14
    cell = _CELL if n <= _FEW else 40
    return finish(
        figure,
        colors,
        title=_title(labels, jaccard, chance),
        facts=(
            f"{first.selected.size:,} {units_of(first.component)}",
            named("model", ", ".join(models)),
        ),
        note=(
            "Jaccard: units in both masks over units in either",
            "in brackets: expected of two random masks of the same sizes",
            f"empty, so without an index: {', '.join(map(name_text, empty))}" if empty else "",
            where(first.component),
        ),
        plot=(cell * n, cell * n),
        margin=Margin(left=widest, right=BAR_MARGIN, bottom=int(30 + 0.66 * widest + 14)),
    )


def _lines(label: str, size: str, n: int) -> list[str]:
    """A label on at most three lines and its size below; on one where there are many."""
    if n > _FEW:
        return [escape(f"{name_text(label, 24)}, {size}")]
    lines = wrap(name_text(label, 200), _LABEL, FONT_SIZE)
    lines = lines if len(lines) <= _LINES else [*lines[: _LINES - 1], f"{lines[_LINES - 1]} …"]
    return [*lines, size]


def _set_axes(figure: go.Figure, colors: Theme, names: list[list[str]]) -> None:
    n = len(names)
    texts = ["<br>".join(lines) for lines in names]
    axis: dict[str, Any] = {"tickvals": list(range(n)), "ticktext": texts, "ticks": ""}
    axis |= {"showgrid": False, "ticklabelstandoff": 6}
    figure.update_xaxes(**axis, range=[-0.5, n - 0.5], tickangle=-40)
    figure.update_yaxes(**axis, range=[n - 0.5, -0.5])
    figure.update_layout(plot_bgcolor=colors.gap)


def _require_alike(masks: Mapping[str, Mask]) -> None:
    if len(masks) < 2:
        raise ValueError(f"mask_overlap needs at least 2 masks, got {len(masks)}")
    kinds = {label: (mask.component, *mask.selected.shape) for label, mask in masks.items()}
    if len(set(kinds.values())) > 1:
        raise ValueError(
            f"masks must be of the same (component, layers, units) to share any, got {kinds}"
        )


def _overlaps(masks: list[Mask]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every two masks [mask mask]: units in both, units in either, and the expected Jaccard index of random ones."""
    flat = np.stack([mask.selected.ravel() for mask in masks])
    shared = flat.astype(np.float32) @ flat.T.astype(np.float32)
    sizes = np.array([mask.k for mask in masks])
    chance = np.full(shared.shape, np.nan)
    for row, column in combinations(range(len(masks)), 2):
        if sizes[row] + sizes[column]:
            chance[row, column] = chance[column, row] = jaccard_chance(
                flat.shape[1], int(sizes[row]), int(sizes[column])
            )
    return shared, sizes[:, None] + sizes - shared, chance


def _by_chance(chance: float) -> str:
    """The line of a hover that says what to expect; none on the diagonal, of a mask and itself."""
    return "" if np.isnan(chance) else f"<br>two random masks of these sizes: {chance:.3f}"


def _cell(jaccard: float, chance: float) -> str:
    if np.isnan(jaccard):
        return MINUS  # no index
    return f"{jaccard:.2f}" + ("" if np.isnan(chance) else f"<br>({chance:.2f})")


def _title(labels: list[str], jaccard: np.ndarray, chance: np.ndarray) -> str:
    """The couple furthest above its chance level, and how many others are as far above it."""
    excess = np.tril(np.nan_to_num(jaccard - chance, nan=-1.0), -1) - np.triu(np.ones_like(chance))
    row, column = np.unravel_index(int(np.argmax(excess)), excess.shape)
    here = jaccard[row, column]
    if np.isnan(here):
        return "No two masks have units to share"
    numbers = f"{here:.2f}, chance {chance[row, column]:.2f}"
    pair = f"{name_text(labels[column])} and {name_text(labels[row])}"
    if here <= chance[row, column]:
        return f"No two masks share more units than random ones would: {pair} {numbers}"
    others = int(np.isclose(excess, excess[row, column]).sum()) - 1
    if others:
        pair += f", and {others} other couple{'' if others == 1 else 's'},"
    return f"{pair} share {'most' if len(labels) > 2 else 'units'}: Jaccard {numbers}"
