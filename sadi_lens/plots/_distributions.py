"""Pair by pair: is a unit's difference there in every pair, or carried by a few?"""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    Margin,
    difference_note,
    facts_of,
    finish,
    float32,
    require_finite,
    units_of,
)
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.plots._words import counted, escape, percent, signed
from sadi_lens.types.checks import checked
from sadi_lens.types.differences import UnitDifferences, UnitSummary
from sadi_lens.types.model import COMPONENTS, unit_label

_ROW = 34
_OVERLAP = 1.25
"""Height of a half-violin in rows: a little over one, as in a ridge plot."""


@checked()
def difference_distributions(
    unit_differences: UnitDifferences, *, theme: str = "light", size: str = "page"
) -> go.Figure:
    """Half-violins of the per-pair differences of a few units, sorted by median.

    At the right the share of pairs with a positive difference.

    Args:
        unit_differences: Up to some 40 units; pairs that are not finite are left out and counted.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there is no unit, or no finite difference.

    Example:
        >>> mask = sl.Mask.from_units("head", [(0, 1), (2, 3)], model)
        >>> pairs = sl.find.unit_differences(model, task.pairs[:10], mask, progress=False)
        >>> len(sl.plots.difference_distributions(pairs).layout.yaxis.ticktext)
        2
    """
    colors = require_theme(theme, size)
    component = COMPONENTS[unit_differences.component]
    values = float32(unit_differences.values)
    if not values.shape[1]:
        raise ValueError("difference_distributions needs at least one unit, got 0")
    what = f"{unit_differences.component!r} on {unit_differences.model.name}"
    require_finite(values, f"difference_distributions of {what}")
    columns = [column[np.isfinite(column)] for column in values.T]
    every = unit_differences.summary()
    medians = np.array([one.median if one.n else -np.inf for one in every])
    order = np.argsort(medians, kind="stable")  # the largest median ends at the top
    labels = [
        unit_label(unit_differences.component, *unit_differences.units[column]) for column in order
    ]
    figure = go.Figure()
    shares: list[str] = []
    for row, column in enumerate(order):
        found = every[column]
        if found.n:
            _add_unit(figure, colors, columns[column], row, labels[row], found)
        shares.append(f"{100 * found.positive:.0f}%" if found.n else "unknown")
    figure.add_vline(x=0, line={"color": colors.muted, "width": 1, "dash": "dot"})
    _add_shares(figure, colors, shares)
    _set_axes(figure, component.unit, labels)
    dropped = int(np.isnan(values).sum())
    return finish(
        figure,
        colors,
        title=_title(labels, [every[column] for column in order], unit_differences.component),
        facts=facts_of(unit_differences, counted(len(values), "contrastive pair")),
        note=(
            "line: median, dot: mean ± 1 SE",
            "blue: median above 0, red: not",
            "units that were chosen on these pairs look better on them",
            f"{dropped:,} non-finite differences left out" if dropped else "",
            difference_note(unit_differences.component),
        ),
        plot=(560, max(140, int(_ROW * (len(labels) + _OVERLAP)))),
        margin=Margin(left=90, right=84),
        head=14,
    )


def _set_axes(figure: go.Figure, unit: str, labels: Sequence[str]) -> None:
    figure.update_xaxes(
        title="difference right answer minus wrong, pair by pair (activation units)"
    )
    figure.update_yaxes(
        title=unit,
        tickvals=list(range(len(labels))),
        ticktext=[escape(label) for label in labels],
        range=[-0.5, len(labels) - 1 + _OVERLAP + 0.1],
        showgrid=True,
    )


def _add_unit(
    figure: go.Figure, theme: Theme, sample: np.ndarray, row: int, label: str, found: UnitSummary
) -> None:
    """Half-violin, median and mean (with its standard error) of one unit's differences."""
    median, mean = found.median, found.mean
    error = 0.0 if math.isnan(found.error) else found.error
    color = theme.positive if median > 0 else theme.negative
    figure.add_violin(
        x=sample,
        y0=row,
        orientation="h",
        side="positive",
        width=2 * _OVERLAP,
        points=False,
        line={"color": color, "width": 1.2},
        fillcolor=color,
        opacity=0.72,
        spanmode="hard",
        scalemode="width",
        hoverinfo="skip",
        name=label,
        showlegend=False,
    )
    spread = f" ± {error:.2g} (SE)" if error else ""
    figure.add_scatter(
        x=[median, mean],
        y=[row, row],
        mode="markers",
        marker={
            "symbol": ["line-ns", "circle"],
            "size": [16, 6],
            "color": theme.ink,
            "line": {"width": [2.4, 0.8], "color": [theme.ink, theme.paper]},
        },
        error_x={
            "type": "data",
            "array": [0.0, error],  # on the mean only
            "color": theme.ink,
            "thickness": 1.4,
            "width": 3,
        },
        hovertemplate=f"<b>{label}</b><br>median {signed(median, '.4g')}<br>mean {signed(mean, '.4g')}{spread}"
        f"<br>positive in {percent(found.positive)} of {counted(found.n, 'pair')}<extra></extra>",
        name=label,
        showlegend=False,
    )


def _add_shares(figure: go.Figure, theme: Theme, shares: list[str]) -> None:
    """The column at the right: share of pairs with a positive difference."""
    for row, share in enumerate(shares):
        figure.add_annotation(
            x=1, xref="paper", y=row, text=share, xanchor="left", xshift=12, showarrow=False
        )
    figure.add_annotation(
        x=1, xref="paper", xanchor="left", xshift=12, y=1, yref="paper", yanchor="bottom", yshift=2,
        text="pairs > 0", showarrow=False, font={"color": theme.muted, "size": 12},
    )  # fmt: skip


def _title(labels: list[str], found: list[UnitSummary], component: str) -> str:
    """The unit of the largest and that of the smallest median, with the share of pairs that agree."""
    top, bottom, pairs = found[-1], found[0], "1 pair" if found[-1].n == 1 else "pairs"
    if not top.n:
        return f"No {units_of(component, 1)} has a finite difference"
    falls = len(labels) > 1 and bottom.n and bottom.median < 0
    if top.median > 0:
        said = f"{labels[-1]} is larger on the right answer in {100 * top.positive:.0f}% of {pairs}"
        return f"{said}, {labels[0]} smaller in {100 * bottom.negative:.0f}%" if falls else said
    none = f"No {units_of(component, 1)} is larger on the right answer in most pairs"
    return f"{none}; {labels[0]} is smaller in {100 * bottom.negative:.0f}%" if falls else none
