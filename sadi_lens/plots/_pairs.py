"""How many contrastive pairs are enough: masks from fewer pairs, and what they do."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    Margin,
    counted,
    escape,
    finish,
    float32,
    named,
    percent,
    require_finite,
)
from sadi_lens.plots._theme import DASHES, MARKERS, Theme, faded, require_theme
from sadi_lens.types.base import require_one_of
from sadi_lens.types.model import COMPONENTS
from sadi_lens.types.results import PairsCurve

_MEASURES = {
    "accuracy": ("accuracy (%)", "accuracy of SADI with the mask"),
    "margin": ("mean margin (nats)", "mean margin of SADI with the mask"),
    "jaccard_all": ("Jaccard with the mask of all pairs", "mask against the mask of all pairs"),
    "jaccard_disjoint": ("Jaccard of two masks", "two masks that share no pair"),
}


def pairs_ablation(
    curves: Mapping[str, PairsCurve], *, measure: str = "accuracy", theme: str = "light"
) -> go.Figure:
    """Mean over resampled subsets of pairs against their number, with the band of 95% of the subsets (Fig. 4).

    Args:
        curves: Label -> curve, at least one.
        measure: ``"accuracy"``, ``"margin"``, ``"jaccard_all"`` or ``"jaccard_disjoint"``.
        theme: ``"light"`` or ``"dark"``.

    Returns:
        A figure; ``export`` writes it, ``show`` displays it.

    Raises:
        ValueError: If there is no curve, the measure is unknown, or a curve has no value of it.

    Example:
        >>> curve = sl.measure.pairs_needed(model, task.pairs[:16], "head", 4, n_draws=3, progress=False)
        >>> figure = sl.plots.pairs_ablation({"SADI": curve}, measure="jaccard_all")
        >>> figure.layout.xaxis.title.text
        'contrastive pairs that made the mask'
    """
    colors = require_theme(theme)
    require_one_of("measure", measure, _MEASURES)
    if not curves:
        raise ValueError("pairs_ablation needs at least one curve, got 0")
    figure = go.Figure()
    for index, (label, curve) in enumerate(curves.items()):
        _add_curve(figure, colors, curve, label, index, measure)
    for value, text in _lines(curves, measure):
        figure.add_hline(y=value, line={"color": colors.ink, "width": 1.6, "dash": "dash"})
        figure.add_annotation(
            x=1, xref="paper", xanchor="right", y=value, yanchor="bottom", showarrow=False, text=text,
            font={"size": 12, "color": colors.ink}, bgcolor=faded(colors.paper, 0.7),
        )  # fmt: skip
    figure.update_xaxes(title="contrastive pairs that made the mask", rangemode="tozero")
    figure.update_yaxes(
        title=_MEASURES[measure][0], ticksuffix="%" if measure == "accuracy" else ""
    )
    return finish(
        figure,
        colors,
        title="How many pairs are enough?",
        subtitle=(_facts(list(curves.values()), measure),),
        plot=(660, 340),
        margin=Margin(),
    )


def _add_curve(
    figure: go.Figure, theme: Theme, curve: PairsCurve, label: str, index: int, measure: str
) -> None:
    """Mean over subsets at each number of pairs, on a band that holds 95% of them."""
    values = (100 if measure == "accuracy" else 1) * float32(getattr(curve, measure))
    require_finite(values, f"pairs_ablation of {label!r}, measure {measure!r},")
    known = np.flatnonzero(np.isfinite(values).any(axis=1))
    sizes = np.array(curve.sizes)[known]
    mean = np.nanmean(values[known], axis=1)
    low, high = np.nanquantile(values[known], [0.025, 0.975], axis=1)
    draws = np.isfinite(values[known]).sum(axis=1)
    color = theme.series[index % len(theme.series)]
    figure.add_scatter(
        x=np.concatenate([sizes, sizes[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        mode="lines",
        fill="toself",
        fillcolor=faded(color, 0.16),
        line={"width": 0, "color": color},
        hoverinfo="skip",
        legendgroup=str(index),
        showlegend=False,
    )
    figure.add_scatter(
        x=sizes,
        y=mean,
        mode="lines+markers",
        line={"color": color, "width": 2.2, "dash": DASHES[index % len(DASHES)]},
        marker={"symbol": MARKERS[index % len(MARKERS)], "size": 9, "color": color},
        customdata=np.stack([low, high, draws], axis=-1),
        hovertemplate=f"<b>{escape(label)}</b>, %{{x:,d}} pairs<br>mean %{{y:.3g}}<br>"
        "95% of subsets %{customdata[0]:.3g} to %{customdata[1]:.3g}<br>"
        "%{customdata[2]:d} subsets<extra></extra>",
        legendgroup=str(index),
        name=_legend(label, curve),
        showlegend=True,
    )


def _facts(curves: list[PairsCurve], measure: str) -> tuple[str, ...]:
    most = max(curve.accuracy.shape[1] for curve in curves)
    splits = ", ".join(dict.fromkeys(curve.split for curve in curves))
    return (
        _MEASURES[measure][1],
        f"mean of {counted(most, 'random subset')} of the pairs at each size",
        "band: 95% of the subsets",
        named("split", splits) if measure in ("accuracy", "margin") else "",
        ", ".join(dict.fromkeys(COMPONENTS[curve.component].unit + "s" for curve in curves)),
        f"model {', '.join(dict.fromkeys(curve.model.name for curve in curves))}",
    )


def _legend(label: str, curve: PairsCurve) -> str:
    strength = "" if np.isnan(curve.strength) else f", strength {curve.strength:g}"
    return f"{escape(label)} (K = {curve.k:,}{strength}, {escape(curve.ranking)})"


def _lines(curves: Mapping[str, PairsCurve], measure: str) -> list[tuple[float, str]]:
    """Reference lines, each once: the unsteered accuracy, or the chance level of the overlap."""
    found: dict[float, str] = {}
    for label, curve in curves.items():
        who = f" ({escape(label)})" if len(curves) > 1 and measure.startswith("jaccard") else ""
        if measure == "accuracy" and np.isfinite(curve.unsteered_accuracy):
            value = float(curve.unsteered_accuracy)
            found.setdefault(100 * value, f"unsteered {percent(value)}")
        elif measure.startswith("jaccard"):
            found.setdefault(float(curve.chance), f"chance {curve.chance:.3f}{who}")
    return list(found.items())
