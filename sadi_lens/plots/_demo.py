"""All figures of one run, from the results that ``results.json`` holds."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from sadi_lens.plots._accuracy import method_accuracy
from sadi_lens.plots._distributions import difference_distributions
from sadi_lens.plots._layers import units_by_layer
from sadi_lens.plots._maps import difference_heatmap
from sadi_lens.plots._null import null_distribution, null_of
from sadi_lens.plots._sweep import sweep_heatmap
from sadi_lens.types.model import COMPONENTS


def demo_figure_names(component: str | None = None) -> list[str]:
    """Names under which a demo (of ``component``) or, without one, a comparison writes its figures.

    Args:
        component: The component that is steered; ``"head"`` draws the differences of all.
    """
    names = ["method_accuracy", "null_distribution"]
    if component is not None:
        shown = COMPONENTS if component == "head" else [component]
        names += [
            "difference_distributions",
            "units_by_layer",
            "sweep",
            *(f"differences_{one}" for one in shown),
        ]
    return [f"{name}{suffix}" for name in names for suffix in ("", "_dark")]


def demo_figures(results: Mapping[str, Any], *, theme: str = "light") -> dict[str, go.Figure]:
    """Every figure that the results allow, by file name.

    Args:
        results: Any of ``differences`` (component -> ActivationDifferences), ``masks`` (label ->
            Mask; the mask labelled as a component is boxed in its map), ``unit_differences``,
            ``sweep``, ``choice``, ``comparison``. A figure whose results are missing is left out.
        theme: ``"light"`` or ``"dark"``.

    Returns:
        File name (without suffix) -> figure.
    """
    figures: dict[str, go.Figure] = {}
    masks = results.get("masks") or {}
    for component, differences in (results.get("differences") or {}).items():
        figures[f"differences_{component}"] = difference_heatmap(
            differences, masks.get(component), theme=theme
        )
    if results.get("unit_differences") is not None:
        figures["difference_distributions"] = difference_distributions(
            results["unit_differences"], theme=theme
        )
    if masks:
        figures["units_by_layer"] = units_by_layer(masks, theme=theme)
    if results.get("sweep") is not None:
        figures["sweep"] = sweep_heatmap(
            results["sweep"], choice=results.get("choice"), theme=theme
        )
    comparison = results.get("comparison")
    if comparison is not None:
        figures["method_accuracy"] = method_accuracy(comparison, theme=theme)
        placed = [row for row in comparison.rows if null_of(comparison, row) is not None]
        if placed:
            figures["null_distribution"] = null_distribution(
                comparison, placed[0].label, theme=theme
            )
    return figures
