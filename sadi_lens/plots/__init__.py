"""Figures of results, one function each.

In: results of ``types.results``, masks, differences, fresh or loaded from disk. Out: ``plotly.graph_objects.Figure``,
or HTML of compared texts. Touches: nothing; ``export`` alone writes files. Needs neither torch nor a model.
"""

from sadi_lens.plots._accuracy import method_accuracy
from sadi_lens.plots._arrows import steering_arrows
from sadi_lens.plots._demo import demo_figures
from sadi_lens.plots._distributions import difference_distributions
from sadi_lens.plots._dots import dot_grid
from sadi_lens.plots._examples import example_effects
from sadi_lens.plots._layers import units_by_layer
from sadi_lens.plots._maps import difference_heatmap
from sadi_lens.plots._overlap import mask_overlap
from sadi_lens.plots._pairs import pairs_ablation
from sadi_lens.plots._paths import head_paths
from sadi_lens.plots._rank import rank_curve
from sadi_lens.plots._runs import accuracy_by_pairs
from sadi_lens.plots._side_effects import side_effect_curve
from sadi_lens.plots._sweep import sweep_heatmap
from sadi_lens.plots._text import HtmlTable, compare_text
from sadi_lens.plots._tokens import token_strip
from sadi_lens.plots._trace import generation_trace
from sadi_lens.plots.export import CONFIG, export
from sadi_lens.plots.show import show

__all__ = [
    "CONFIG",
    "HtmlTable",
    "accuracy_by_pairs",
    "compare_text",
    "demo_figures",
    "difference_distributions",
    "difference_heatmap",
    "dot_grid",
    "example_effects",
    "export",
    "generation_trace",
    "head_paths",
    "mask_overlap",
    "method_accuracy",
    "pairs_ablation",
    "rank_curve",
    "show",
    "side_effect_curve",
    "steering_arrows",
    "sweep_heatmap",
    "token_strip",
    "units_by_layer",
]
