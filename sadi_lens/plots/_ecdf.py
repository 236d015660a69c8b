"""One unit on the right and on the wrong answer: two cumulative distributions."""

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, counted, finish, float32, named, percent, where
from sadi_lens.plots._theme import require_theme
from sadi_lens.types.components import unit_label
from sadi_lens.types.results import UnitActivations

MAX_STEPS = 1000
"""Steps of a curve; longer ones are thinned to even shares."""


def activation_ecdf(
    activations: UnitActivations, unit: tuple[int, int] | None = None, *, theme: str = "light"
) -> go.Figure:
    """Cumulative distribution of one unit's activation on right and on wrong answers.

    States how well the unit alone tells them apart: AUC (chance of a right answer's value lying above a
    wrong one's, ties half) and the largest gap D between the curves (Kolmogorov-Smirnov).

    Args:
        activations: Of a few units.
        unit: (layer, unit); default the one whose AUC is furthest from 1/2.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If there is no unit, the unit is not among them, or a side has no finite value.
    """
    colors = require_theme(theme)
    if not activations.units:
        raise ValueError("activation_ecdf needs at least one unit, got 0")
    sides = [float32(side) for side in (activations.positive, activations.negative)]
    areas = [_auc(*(_finite(side[:, i]) for side in sides)) for i in range(len(activations.units))]
    if unit is None:
        if np.isnan(areas).all():
            raise ValueError("activation_ecdf needs finite activations on both sides, got none")
        column = int(np.nanargmax(np.abs(np.array(areas) - 0.5)))
    elif tuple(unit) in activations.units:
        column = activations.units.index(tuple(unit))
    else:
        raise ValueError(f"unit must be one of {list(activations.units)}, got {tuple(unit)}")
    label = unit_label(activations.component, *activations.units[column])
    right, wrong = (np.sort(_finite(side[:, column])) for side in sides)
    if not right.size or not wrong.size:
        raise ValueError(
            f"activation_ecdf of {label} needs finite values on both sides, got {right.size} on "
            f"right and {wrong.size} on wrong answers"
        )
    places = np.union1d(right, wrong)
    gaps = np.searchsorted(right, places, "right") / right.size
    gaps = gaps - np.searchsorted(wrong, places, "right") / wrong.size
    widest = int(np.argmax(np.abs(gaps)))
    gap, at = float(np.abs(gaps[widest])), float(places[widest])
    figure = go.Figure()
    for name, sample, color, dash in (
        ("right answer", right, colors.positive, "solid"),
        ("wrong answer", wrong, colors.negative, "dash"),
    ):
        step = max(1, -(-sample.size // MAX_STEPS))
        shown = np.unique(np.append(np.arange(0, sample.size, step), sample.size - 1))
        figure.add_scatter(
            x=np.concatenate([sample[:1], sample[shown]]),
            y=np.concatenate([[0.0], 100 * (shown + 1) / sample.size]),
            mode="lines",
            line={"shape": "hv", "color": color, "dash": dash, "width": 2.4},
            hovertemplate=f"{name}: %{{y:.1f}}% of {sample.size:,} at or below %{{x:+.4g}}"
            "<extra></extra>",
            name=f"{name} (n = {sample.size:,}, median {np.median(sample):+.2g})".replace(
                "-", "\u2212"
            ),
            showlegend=True,
        )
    ends = [100 * float((side <= at).mean()) for side in (right, wrong)]
    figure.add_scatter(
        x=[at, at],
        y=ends,
        mode="lines",
        line={"color": colors.ink, "width": 1.6, "dash": "dot"},
        hovertemplate=f"largest gap D = {gap:.2f} at %{{x:+.4g}}<extra></extra>",
        name=f"largest gap D = {gap:.2f}",
        showlegend=True,
    )
    auc = float(areas[column])
    figure.update_xaxes(title=f"activation of {label} (activation units)", zeroline=False)
    figure.update_yaxes(title="share of texts at or below", range=[-2, 102], ticksuffix="%")
    missing = sum(int(np.isnan(side[:, column]).sum()) for side in sides)
    return finish(
        figure,
        colors,
        title=f"{label} alone tells right from wrong in {percent(max(auc, 1 - auc))} of pairings",
        subtitle=(
            (
                "last token of prompt + answer",
                where(activations.component),
                counted(sides[0].shape[0], "pair"),
                named("task", activations.task),
                f"model {activations.model.name}",
            ),
            (
                f"AUC {auc:.2f} (0.5: does not tell them apart"
                + (", below: larger on the wrong answer)" if auc < 0.5 else ")"),
                f"best of {len(areas):,} units looked at"
                if unit is None and len(areas) > 1
                else "",
                f"{missing:,} non-finite values left out" if missing else "",
            ),
        ),
        plot=(600, 320),
        margin=Margin(left=88),
    )


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)].astype(np.float64)


def _auc(right: np.ndarray, wrong: np.ndarray) -> float:
    """Mann-Whitney: share of (right, wrong) couples in which right is larger, ties half."""
    if not right.size or not wrong.size:
        return float("nan")
    wrong = np.sort(wrong)
    below, upto = (np.searchsorted(wrong, right, side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * wrong.size))
