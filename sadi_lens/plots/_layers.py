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
from sadi_lens.plots._theme import DASHES, MARKERS, PATTERNS, require_theme
from sadi_lens.types.components import COMPONENTS
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask, top_k_mask


def units_by_layer(masks: Mapping[str, Mask], *, theme: str = "light") -> go.Figure:
    """Share of each mask that lies in each layer, with the line of an even spread.

    Args:
        masks: Label -> mask; any components, of models with the same number of layers.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If there is no mask, or their layer counts differ.
    """
    colors = require_theme(theme)
    if not masks:
        raise ValueError("units_by_layer needs at least one mask, got 0")
    depths = {label: mask.n_layers for label, mask in masks.items()}
    if len(set(depths.values())) > 1:
        raise ValueError(f"masks must be of models with the same number of layers, got {depths}")
    n_layers = next(iter(depths.values()))
    layers = list(range(n_layers))
    figure = go.Figure()
    highest = 1 / n_layers
    for index, (label, mask) in enumerate(masks.items()):
        counts = np.array(mask.per_layer)
        share = counts / max(1, mask.k)
        highest = max(highest, float(share.max()))
        unit = COMPONENTS[mask.component].unit
        color = colors.series[index % len(colors.series)]
        pattern = PATTERNS[index % len(PATTERNS)]
        figure.add_bar(
            x=layers,
            y=100 * share,
            marker={
                "color": color,
                "line": {"width": 1, "color": color},
                "pattern": {
                    "shape": pattern,
                    "size": 6,
                    "solidity": 0.4,
                    "fgcolor": color,
                    "bgcolor": colors.paper if pattern else color,
                    "fillmode": "replace",
                },
            },
            customdata=np.stack([counts, np.full(n_layers, mask.k)], axis=-1),
            hovertemplate=f"<b>{escape(label)}</b>, layer %{{x}}<br>%{{customdata[0]}} of "
            f"%{{customdata[1]}} selected {unit}s (%{{y:.1f}}%)<extra></extra>",
            name=_legend(label, mask, unit),
            showlegend=True,
        )
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
    models = dict.fromkeys(mask.model.name for mask in masks.values() if mask.model)
    sources = dict.fromkeys(_source(mask) for mask in masks.values())
    return finish(
        figure,
        colors,
        title="Selected units by layer" + _peaks(masks),
        subtitle=(
            *(
                (f"{label}: {mask.rule}, of {mask.selected.size:,} {_place(mask)}",)
                for label, mask in masks.items()
            ),
            (*sources, named("model", ", ".join(models))),
        ),
        plot=(int(np.clip(n_layers * (14 + 16 * len(masks)), 560, 960)), 280),
        margin=Margin(right=32),
    )


def top_units_by_layer(
    differences: Mapping[str, ActivationDifferences],
    k: int = 100,
    *,
    ranking: str = "signed",
    theme: str = "light",
) -> go.Figure:
    """How many of the top ``k`` units lie in each layer, one line a component (the paper's Fig. 3b).

    Args:
        differences: Label -> moments, of models with the same number of layers.
        k: Units counted.
        ranking: See ``sadi_lens.types.masks.scores``.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If there is none, ``k`` is out of range for one, or their layer counts differ.
    """
    colors = require_theme(theme)
    if not differences:
        raise ValueError("top_units_by_layer needs at least one component, got 0")
    depths = {label: one.mean.shape[0] for label, one in differences.items()}
    if len(set(depths.values())) > 1:
        raise ValueError(
            f"differences must be of models with the same number of layers, got {depths}"
        )
    n_layers = next(iter(depths.values()))
    figure = go.Figure()
    peaks: list[str] = []
    highest = 1
    for index, (label, one) in enumerate(differences.items()):
        counts = np.array(top_k_mask(one, k, ranking=ranking).per_layer)
        unit = COMPONENTS[one.component].unit
        color = colors.series[index % len(colors.series)]
        figure.add_scatter(
            x=list(range(n_layers)),
            y=counts,
            mode="lines+markers",
            line={"color": color, "width": 2, "dash": DASHES[index % len(DASHES)]},
            marker={"symbol": MARKERS[index % len(MARKERS)], "size": 8, "color": color},
            hovertemplate=f"<b>{escape(label)}</b>, layer %{{x}}<br>%{{y}} of the top {k:,} {unit}s"
            "<extra></extra>",
            name=f"{escape(label)} (of {one.mean.size:,} {unit}s)",
            showlegend=True,
            cliponaxis=False,
        )
        peaks.append(f"{label} {int(counts.max()):,} in layer {int(counts.argmax())}")
        highest = max(highest, int(counts.max()))
    figure.update_xaxes(
        title="layer",
        tickvals=integer_ticks(n_layers),
        range=[-0.5, n_layers - 0.5],
        showgrid=False,
    )
    figure.update_yaxes(
        title=f"units among the top {k:,}",
        range=[0, 1.08 * highest],
        tickformat=",d",
        dtick=1 if highest < 8 else None,
    )
    firsts = list(differences.values())
    return finish(
        figure,
        colors,
        title=f"The top {k:,} by layer: " + ", ".join(peaks[:3]),
        subtitle=(
            (
                f"{k:,} units of each component with the largest {ranking} mean difference",
                *dict.fromkeys(f"mean of {counted(one.n, 'pair')}" for one in firsts),
                *dict.fromkeys(named("task", one.task) for one in firsts),
                f"model {', '.join(dict.fromkeys(one.model.name for one in firsts))}",
            ),
            tuple(dict.fromkeys(where(one.component) for one in firsts)),
        ),
        plot=(int(np.clip(26 * n_layers, 560, 900)), 280),
        margin=Margin(),
    )


def _place(mask: Mask) -> str:
    return f"{COMPONENTS[mask.component].unit}s ({where(mask.component)})"


def _source(mask: Mask) -> str:
    """The pairs that made a mask, as far as it knows them."""
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
