"""Where the two answers differ: mean activation difference of every unit, layer by layer."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._heatmap import BAR_MARGIN, symmetric_range
from sadi_lens.plots._layout import (
    Margin,
    difference_facts,
    difference_note,
    finish,
    float32,
    require_finite,
    units_of,
)
from sadi_lens.plots._theme import require_theme
from sadi_lens.plots._unit_map import (
    UnitValues,
    draw_units,
    empty_fact,
    grey_fact,
    pooling_fact,
    ranks_of,
    require_same_pairs,
    require_same_units,
    set_colours,
)
from sadi_lens.plots._words import TIMES, signed
from sadi_lens.types.checks import checked
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import COMPONENTS, unit_label
from sadi_lens.types.results import SignFlipNull

RANGE_QUANTILE = 0.995


@checked()
def difference_heatmap(
    differences: ActivationDifferences,
    mask: Mask | None = None,
    *,
    null: SignFlipNull | None = None,
    theme: str = "light",
    size: str = "page",
) -> go.Figure:
    """Mean activation difference of every unit: layers down, units across, blue = positive.

    Positive: larger on the right answer. Beyond 256 units a layer, a cell holds a run of units and shows the one
    with the largest magnitude, sign kept, so that a single neuron among thousands stays visible.

    Args:
        differences: Moments of one component.
        mask: Units to box (ring, where cells are pooled).
        null: ``sign_flip_null`` of the same pairs: units that do not exceed it are grey.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If nothing is finite, or the mask or the null is of another component or shape.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:10], progress=False)["head"]
        >>> sl.plots.difference_heatmap(found, sl.top_k_mask(found, 4)).layout.xaxis.title.text
        'head'
    """
    colors = require_theme(theme, size)
    mean = float32(differences.mean)
    what = f"{differences.component!r} on {differences.model.name}"
    require_finite(mean, f"difference_heatmap of {what}")
    require_same_pairs(differences, null)
    if mask is not None:
        require_same_units(differences.component, mean.shape, mask)
    figure = go.Figure()
    plot, shown = draw_units(figure, colors, _unit_values(differences, mean), mask)
    limit, threshold = colour_range(shown, null)
    set_colours(figure, colors, limit, "mean difference<br>(activation units)", threshold)
    missing = int(np.isnan(mean).sum())
    return finish(
        figure,
        colors,
        title=difference_finding(mean, differences.component, mask, null),
        facts=difference_facts(differences),
        note=(
            "blue: larger on the right answer, red: on the wrong one",
            grey_fact(null),
            pooling_fact(mean.shape[1], COMPONENTS[differences.component].unit),
            f"{TIMES} no finite value ({missing:,} of {mean.size:,})" if missing else "",
            empty_fact(mask),
            difference_note(differences.component),
            f"colour saturates at ±{limit:.2g}",
        ),
        plot=plot,
        margin=Margin(right=BAR_MARGIN),
    )


def colour_range(shown: np.ndarray, null: SignFlipNull | None) -> tuple[float, float]:
    """Magnitude at which colours end, and that up to which they are grey: 0 without a null."""
    threshold = null.threshold_of_magnitude if null is not None else 0.0
    # Far enough that the bar shows where grey ends.
    return max(symmetric_range(shown, RANGE_QUANTILE), 1.25 * threshold), threshold


def difference_finding(
    mean: np.ndarray, component: str, mask: Mask | None, null: SignFlipNull | None
) -> str:
    """What stands out: from the null if there is one, else what the mask takes, else the largest."""
    if null is not None:
        above = int((np.abs(mean) > null.threshold_of_magnitude).sum())  # NaN is not above
        if not above:
            return f"No {units_of(component, 1)} stands out: none of {mean.size:,} differs more than chance allows"
        return (
            f"{above:,} of {mean.size:,} {units_of(component)} differ{'s' if above == 1 else ''} more than chance "
            f"allows; the largest is {_largest(mean, component)}"
        )
    if mask is not None and mask.k:
        taken = np.where(mask.selected, mean, np.nan)
        if np.isfinite(taken).any():
            most = max(mask.per_layer)
            there = (
                f", {most:,} of them in layer {int(np.argmax(mask.per_layer))}" if most > 1 else ""
            )
            return (
                f"The mask takes {mask.k:,} of {mean.size:,} {units_of(component)}{there}; "
                f"its largest is {_largest(taken, component)}"
            )
    known = mean[np.isfinite(mean)]
    if known.size == 1:
        return f"The only {units_of(component, 1)} with a value is {_largest(mean, component)}"
    if np.ptp(known) == 0:
        return f"All {known.size:,} {units_of(component)} differ alike, {signed(float(known[0]), '.3g')}"
    return f"The largest of {known.size:,} {units_of(component)} is {_largest(mean, component)}"


def _largest(values: np.ndarray, component: str) -> str:
    """Name and value of the unit of largest magnitude."""
    layer, unit = np.unravel_index(int(np.nanargmax(np.abs(values))), values.shape)
    return f"{unit_label(component, int(layer), int(unit))}, {signed(float(values[layer, unit]), '.3g')}"


def _unit_values(differences: ActivationDifferences, mean: np.ndarray) -> UnitValues:
    """Mean difference, standard error and rank of every unit, and their lines on hover."""
    error = float32(differences.standard_error)

    def hover(value: str, at: Sequence[str]) -> str:
        spread = f" ± %{{{at[0]}:.2g}} (SE)" if np.isfinite(error).any() else ""
        return f"%{{{value}:+.4g}}{spread}<br>rank %{{{at[1]}:,d}} of {mean.size:,} by signed value"

    return UnitValues(differences.component, mean, (error, ranks_of(mean)), hover)
