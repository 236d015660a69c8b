"""All figures of one run, from the results that ``results.json`` holds."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from sadi_lens.plots._accuracy import method_accuracy
from sadi_lens.plots._arrows import steering_arrows
from sadi_lens.plots._distributions import difference_distributions
from sadi_lens.plots._layers import units_by_layer
from sadi_lens.plots._maps import difference_heatmap
from sadi_lens.plots._side_effects import cost_curves, side_effect_curve
from sadi_lens.plots._sweep import sweep_heatmap
from sadi_lens.types.checks import check_value, checked
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.results import Comparison, Sweep


def demo_figure_names(component: str | None = None) -> list[str]:
    """Names under which a demo (of ``component``) or, without one, a comparison writes its figures.

    Args:
        component: The component that is steered.
    """
    names = ["method_accuracy", "side_effects"]
    if component is not None:
        names = ["steering_arrows", *names, "difference_distributions", "units_by_layer", "sweep"]
        names.append(f"differences_{component}")
    return [f"{name}{suffix}" for name in names for suffix in ("", "_dark")]


KINDS: dict[str, Any] = {
    "comparison": Comparison,
    "sweep": Sweep,
    "masks": Mapping[str, Mask],
    "differences": Mapping[str, ActivationDifferences],
}


@checked()
def demo_figures(
    results: Mapping[str, Any], *, theme: str = "light", size: str = "page"
) -> dict[str, go.Figure]:
    """Every figure that the results allow, by file name, the one that explains most first.

    Args:
        results: Any of ``shifts`` (ActivationShifts), ``comparison``, ``sweep``, ``choice``, ``masks`` (label -> Mask;
            the mask labelled as a component is boxed in its map), ``differences`` (component ->
            ActivationDifferences; drawn where there is a mask of the component), ``null`` (SignFlipNull of the
            steered component) and ``unit_differences``. A figure whose results are missing is left out.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Returns:
        File name (without suffix) -> figure.

    Raises:
        TypeError: If a part of the results is of another kind.
    """
    for name, kind in KINDS.items():
        if results.get(name) is not None:
            check_value(f"{name} of the results", results[name], kind)
    look = {"theme": theme, "size": size}
    figures: dict[str, go.Figure] = {}
    if results.get("shifts") is not None:
        figures["steering_arrows"] = steering_arrows(results["shifts"], **look)
    comparison = results.get("comparison")
    if comparison is not None:
        figures["method_accuracy"] = method_accuracy(comparison, **look)
        costs = cost_curves(comparison)
        if costs:
            figures["side_effects"] = side_effect_curve(costs, **look)
    if results.get("sweep") is not None:
        figures["sweep"] = sweep_heatmap(results["sweep"], choice=results.get("choice"), **look)
    masks, null = results.get("masks") or {}, results.get("null")
    for component, differences in (results.get("differences") or {}).items():
        if component in masks:
            own = null if null is not None and null.component == component else None
            figures[f"differences_{component}"] = difference_heatmap(
                differences, masks[component], null=own, **look
            )
    if masks:
        figures["units_by_layer"] = units_by_layer(masks, **look)
    if results.get("unit_differences") is not None:
        figures["difference_distributions"] = difference_distributions(
            results["unit_differences"], **look
        )
    return figures
