"""Which layers a mask lies in."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import SUBTITLE_SIZE, Margin, finish, integer_ticks, units_of
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.plots._words import counted, escape, n_columns, name_text, named, plain, text_width
from sadi_lens.types.checks import checked
from sadi_lens.types.masks import Mask

_PANEL, _GAP = 96, 44
"""Pixels of one mask's bars, and between two for its name."""
_SHOWN = 3
"""Masks that a title names."""
_NAMED = 6
"""Layers of a tie that a title names."""


@checked()
def units_by_layer(
    masks: Mapping[str, Mask], *, theme: str = "light", size: str = "page"
) -> go.Figure:
    """Units of each mask by layer, one row of bars a mask, with the line of an even spread.

    Every row counts its own units, so that 6 heads and 500 neurons can stand below each other.

    Args:
        masks: Label -> mask; any components, of models with the same number of layers.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there is no mask, or their layer counts differ.

    Example:
        >>> masks = {"by hand": sl.Mask.from_units("head", [(0, 1), (2, 3)], model)}
        >>> sl.plots.units_by_layer(masks).data[0].y.tolist()
        [1, 0, 1, 0, 0]
    """
    colors = require_theme(theme, size)
    if not masks:
        raise ValueError("units_by_layer needs at least one mask, got 0")
    depths = {label: mask.n_layers for label, mask in masks.items()}
    if len(set(depths.values())) > 1:
        raise ValueError(f"masks must be of models with the same number of layers, got {depths}")
    n_layers = next(iter(depths.values()))
    gap = round(_GAP * colors.factor)
    height = _PANEL * len(masks) + gap * (len(masks) - 1)
    width = int(np.clip(n_layers * 22, 520, 800))
    figure = go.Figure()
    for index, (label, mask) in enumerate(masks.items()):
        top = 1 - index * (_PANEL + gap) / height
        _add_mask(figure, colors, label, mask, index, (max(0.0, top - _PANEL / height), top), width)
    figure.update_xaxes(
        title="layer",
        tickvals=integer_ticks(n_layers),
        range=[-0.5, n_layers - 0.5],
        anchor=f"y{len(masks)}" if len(masks) > 1 else "y",
        showgrid=False,
    )
    models = dict.fromkeys(mask.model.name for mask in masks.values() if mask.model)
    sources = dict.fromkeys(_source(mask) for mask in masks.values())
    return finish(
        figure,
        colors,
        title=_title(masks),
        facts=(*sources, named("model", ", ".join(models))),
        note=("dotted: an even spread over the layers",),
        plot=(width, height),
        margin=Margin(left=64),
        head=24,
    )


def _add_mask(
    figure: go.Figure,
    theme: Theme,
    label: str,
    mask: Mask,
    index: int,
    domain: tuple[float, float],
    width: int,
) -> None:
    """Bars of one mask with its name above and the line of an even spread."""
    counts = np.array(mask.per_layer)
    axis = f"y{index + 1}" if index else "y"
    color = theme.series[index % len(theme.series)]
    figure.add_bar(
        x=list(range(mask.n_layers)),
        y=counts,
        yaxis=axis,
        marker={"color": color, "line": {"width": 0}},
        hovertemplate=f"<b>{escape(name_text(label, 200))}</b>, layer %{{x}}<br>%{{y:,d}} of {mask.k:,} selected "
        f"{units_of(mask.component)}<extra></extra>",
        name=escape(label),
        showlegend=False,
    )
    even = mask.k / mask.n_layers
    figure.add_scatter(
        x=[-0.5, mask.n_layers - 0.5],
        y=[even, even],
        yaxis=axis,
        mode="lines",
        line={"color": theme.ink, "width": 1.4, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    most = max(1, int(counts.max()))
    ticks = {"tickvals": [0, most]} if most < 4 else {"nticks": 4}
    figure.update_layout(
        {
            f"yaxis{index + 1 if index else ''}": {
                "domain": domain, "range": [0, 1.12 * most], "title": "units", "anchor": "x", **ticks,
            }
        }
    )  # fmt: skip
    words = (
        f"{mask.k:,} of {mask.selected.size:,} {units_of(mask.component)}"
        if mask.k
        else "empty, no unit selected"
    )
    room = int(width / theme.factor / text_width("m", SUBTITLE_SIZE))
    name = name_text(label, max(12, room - len(words) - 2))
    rule = f", {plain(mask.rule)}" if mask.rule else ""
    if n_columns(f"{name}  {words}{rule}") > room:
        rule = ""
    figure.add_annotation(
        x=0, xref="paper", xanchor="left", y=domain[1], yref="paper", yanchor="bottom", yshift=3,
        showarrow=False, font={"size": 12},
        text=f'<b>{escape(name)}</b>  <span style="color:{theme.muted}">{words}{escape(rule)}</span>',
    )  # fmt: skip


def _source(mask: Mask) -> str:
    """Number and task of the pairs that made a mask; an empty string if not recorded."""
    task, n_pairs = mask.provenance.get("task"), mask.provenance.get("n_pairs")
    if not n_pairs:
        return named("task", task or "")
    return f"from {counted(int(n_pairs), 'pair')}" + (f" of task {task}" if task else "")


def _fullest(mask: Mask) -> str:
    """The layer with the most units of a mask, or the layers that share that place."""
    most = max(mask.per_layer)
    layers = [str(layer) for layer, n in enumerate(mask.per_layer) if n == most]
    if len(layers) == 1:
        return f"layer {layers[0]} ({most:,} of {mask.k:,})"
    if len(layers) > _NAMED:
        return f"{len(layers)} layers ({most:,} of {mask.k:,} each)"
    return f"layers {', '.join(layers[:-1])} and {layers[-1]} ({most:,} of {mask.k:,} each)"


def _title(masks: Mapping[str, Mask]) -> str:
    """The fullest layers of each mask, where one holds more than twice its even share."""
    filled = {label: mask for label, mask in masks.items() if mask.k}
    if not filled:
        return "No unit is selected"
    found = [
        f"{name_text(label)} in {_fullest(mask)}"
        for label, mask in filled.items()
        if max(mask.per_layer) > max(1, 2 * mask.k / mask.n_layers)
    ]
    if not found:
        return "No layer holds more than twice its even share of a mask"
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"Units gather: {', '.join(found[:_SHOWN])}{more}"
