"""Which layers a mask lies in."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    Margin,
    counted,
    escape,
    finish,
    integer_ticks,
    named,
    percent,
    where,
)
from sadi_lens.plots._theme import PATTERNS, Theme, require_theme
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import COMPONENTS


def units_by_layer(masks: Mapping[str, Mask], *, theme: str = "light") -> go.Figure:
    """Share of each mask that lies in each layer, with the line of an even spread.

    Args:
        masks: Label -> mask; any components, of models with the same number of layers.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If there is no mask, or their layer counts differ.

    Example:
        >>> masks = {"by hand": sl.Mask.from_units("head", [(0, 1), (2, 3)], model)}
        >>> sl.plots.units_by_layer(masks).data[0].y.tolist()
        [50.0, 0.0, 50.0, 0.0, 0.0]
    """
    colors = require_theme(theme)
    if not masks:
        raise ValueError("units_by_layer needs at least one mask, got 0")
    depths = {label: mask.n_layers for label, mask in masks.items()}
    if len(set(depths.values())) > 1:
        raise ValueError(f"masks must be of models with the same number of layers, got {depths}")
    n_layers = next(iter(depths.values()))
    figure = go.Figure()
    highest = 1 / n_layers
    for index, (label, mask) in enumerate(masks.items()):
        share = np.array(mask.per_layer) / max(1, mask.k)
        highest = max(highest, float(share.max()))
        _add_mask(figure, colors, label, mask, index)
    figure.add_scatter(
        x=[-0.5, n_layers - 0.5],
        y=[100 / n_layers] * 2,
        mode="lines",
        line={"color": colors.ink, "width": 1.6, "dash": "dot"},
        hoverinfo="skip",
        name=f"even spread ({percent(1 / n_layers)} a layer)",
        showlegend=True,
    )
    figure.update_layout(barmode="group", bargap=0.24, bargroupgap=0.06)
    figure.update_xaxes(
        title="layer",
        tickvals=integer_ticks(n_layers),
        range=[-0.5, n_layers - 0.5],
        showgrid=False,
    )
    figure.update_yaxes(
        title="share of the mask (%)", range=[0, min(104, 108 * highest)], ticksuffix="%"
    )
    return finish(
        figure,
        colors,
        title="Selected units by layer" + _peaks(masks),
        subtitle=_facts(masks),
        plot=(int(np.clip(n_layers * (14 + 16 * len(masks)), 560, 960)), 280),
        margin=Margin(right=32),
    )


def _facts(masks: Mapping[str, Mask]) -> list[tuple[str, ...]]:
    models = dict.fromkeys(mask.model.name for mask in masks.values() if mask.model)
    sources = dict.fromkeys(_source(mask) for mask in masks.values())
    rules = [
        (f"{label}: {mask.rule}, of {mask.selected.size:,} {_place(mask)}",)
        for label, mask in masks.items()
    ]
    return [*rules, (*sources, named("model", ", ".join(models)))]


def _add_mask(figure: go.Figure, theme: Theme, label: str, mask: Mask, index: int) -> None:
    """A bar a layer: the share of the mask's units in it, in percent."""
    counts = np.array(mask.per_layer)
    unit = COMPONENTS[mask.component].unit
    color = theme.series[index % len(theme.series)]
    pattern = PATTERNS[index % len(PATTERNS)]
    figure.add_bar(
        x=list(range(mask.n_layers)),
        y=100 * (counts / max(1, mask.k)),
        marker={
            "color": color,
            "line": {"width": 1, "color": color},
            "pattern": {
                "shape": pattern,
                "size": 6,
                "solidity": 0.4,
                "fgcolor": color,
                "bgcolor": theme.paper if pattern else color,
                "fillmode": "replace",
            },
        },
        customdata=np.stack([counts, np.full(mask.n_layers, mask.k)], axis=-1),
        hovertemplate=f"<b>{escape(label)}</b>, layer %{{x}}<br>%{{customdata[0]}} of "
        f"%{{customdata[1]}} selected {unit}s (%{{y:.1f}}%)<extra></extra>",
        name=_legend(label, mask, unit),
        showlegend=True,
    )


def _place(mask: Mask) -> str:
    return f"{COMPONENTS[mask.component].unit}s ({where(mask.component)})"


def _source(mask: Mask) -> str:
    """Number and task of the pairs that made a mask; an empty string if not recorded."""
    task, n_pairs = mask.provenance.get("task"), mask.provenance.get("n_pairs")
    if not n_pairs:
        return named("task", task or "")
    return f"from {counted(int(n_pairs), 'pair')}" + (f" of task {task}" if task else "")


def _legend(label: str, mask: Mask, unit: str) -> str:
    if not mask.k:
        return f"{escape(label)} (empty: no {unit} selected)"
    return f"{escape(label)} (K = {mask.k})"


def _peaks(masks: Mapping[str, Mask]) -> str:
    """Where each mask is thickest, while that fits a title."""
    peaks = [
        f"{label} mostly in layer {int(np.argmax(mask.per_layer))}"
        for label, mask in masks.items()
        if mask.k and 2 * max(mask.per_layer) > mask.k
    ]
    return ": " + ", ".join(peaks) if 0 < len(peaks) <= 3 else ""
