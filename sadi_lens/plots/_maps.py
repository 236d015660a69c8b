"""Where the two answers differ: mean activation difference of every unit, layer by layer."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._heatmap import symmetric_range
from sadi_lens.plots._layout import (
    TIMES,
    Margin,
    difference_facts,
    finish,
    float32,
    require_finite,
    signed,
)
from sadi_lens.plots._theme import require_theme
from sadi_lens.plots._unit_map import (
    MAX_CELLS,
    UnitValues,
    draw_units,
    empty_fact,
    pooling_fact,
    ranks_of,
    require_same_units,
    set_colours,
)
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import COMPONENTS, unit_label

RANGE_QUANTILE = 0.995


def difference_heatmap(
    differences: ActivationDifferences,
    mask: Mask | None = None,
    *,
    theme: str = "light",
    sort: bool = False,
) -> go.Figure:
    """Mean activation difference of every unit: layers down, units across, blue = positive.

    Positive: larger on the right answer. Up to 256 units a layer each is one cell; beyond, a cell holds
    a run of units and shows the one with the largest magnitude, sign kept, so that a single neuron among
    thousands stays visible.

    Args:
        differences: Moments of one component.
        mask: Units to box (ring, where cells are pooled).
        theme: ``"light"`` or ``"dark"``.
        sort: Order the units of each layer by value (the paper's Fig. 3a): shows how few stand out, hides
            which they are (hover still tells). Only where every unit has its own cell.

    Raises:
        ValueError: If nothing is finite, the mask is of another component or shape, or ``sort`` is
            asked of pooled cells.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:10], progress=False)["head"]
        >>> sl.plots.difference_heatmap(found, sl.top_k_mask(found, 4)).layout.xaxis.title.text
        'head'
    """
    colors = require_theme(theme)
    mean = float32(differences.mean)
    n_units = mean.shape[1]
    component = COMPONENTS[differences.component]
    require_finite(
        mean,
        f"difference_heatmap of {differences.component!r} on {differences.model.name}",
    )
    if mask is not None:
        require_same_units(differences.component, mean.shape, mask)
    if sort and n_units > MAX_CELLS:
        raise ValueError(
            f"sort=True needs at most {MAX_CELLS} units per layer, got {n_units}: "
            "pooled cells hold neighbours, which sorting would tear apart"
        )
    figure = go.Figure()
    plot, shown = draw_units(figure, colors, _unit_values(differences, mean), mask, sort=sort)
    limit = symmetric_range(shown, RANGE_QUANTILE)
    set_colours(figure, colors, 0.0, limit, "mean difference<br>(activation units)")
    top = np.unravel_index(int(np.nanargmax(np.abs(mean))), mean.shape)
    label = unit_label(differences.component, int(top[0]), int(top[1]))
    return finish(
        figure,
        colors,
        title=f"Mean difference per {component.unit}: the largest is {label}, "
        + signed(float(mean[top]), ".3g"),
        subtitle=(difference_facts(differences), _reading_facts(mean, component.unit, limit, mask)),
        plot=plot,
        margin=Margin(right=132),
    )


def _unit_values(differences: ActivationDifferences, mean: np.ndarray) -> UnitValues:
    """Mean difference, standard error and rank of every unit, and their lines on hover."""
    error = float32(differences.standard_error)

    def hover(value: str, at: Sequence[str]) -> str:
        spread = f" ± %{{{at[0]}:.2g}} (SE)" if np.isfinite(error).any() else ""
        return f"%{{{value}:+.4g}}{spread}<br>rank %{{{at[1]}:,d}} of {mean.size:,} by signed value"

    return UnitValues(differences.component, mean, 0.0, (error, ranks_of(mean)), hover)


def _reading_facts(mean: np.ndarray, unit: str, limit: float, mask: Mask | None) -> tuple[str, ...]:
    missing = int(np.isnan(mean).sum())
    return (
        "blue: larger on the right answer, red: on the wrong one",
        f"colour saturates at ±{limit:.2g}",
        pooling_fact(mean.shape[1], unit),
        f"{TIMES} no finite value ({missing:,} of {mean.size:,})" if missing else "",
        empty_fact(mask),
    )
