"""Figures: results in, ``plotly.graph_objects.Figure`` out."""

from sadi_lens.plots._accuracy import method_accuracy
from sadi_lens.plots._demo import demo_figures
from sadi_lens.plots._distributions import difference_distributions
from sadi_lens.plots._layers import units_by_layer
from sadi_lens.plots._maps import difference_heatmap
from sadi_lens.plots._null import null_distribution
from sadi_lens.plots._pairs import accuracy_by_pairs
from sadi_lens.plots._sweep import sweep_heatmap
from sadi_lens.plots.export import CONFIG, export

__all__ = [
    "CONFIG",
    "accuracy_by_pairs",
    "demo_figures",
    "difference_distributions",
    "difference_heatmap",
    "export",
    "method_accuracy",
    "null_distribution",
    "sweep_heatmap",
    "units_by_layer",
]
