"""How many pairs are enough in the runs of an experiment (the paper's Figure 4)."""

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, escape, finish, named, percent
from sadi_lens.plots._pairs import ENOUGH, add_level, add_mean, needed, pairs_title, set_axes
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.types.base import require_columns
from sadi_lens.types.checks import checked
from sadi_lens.types.paired import direction
from sadi_lens.types.stats import Interval

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    "model",
    "task",
    "method",
    "component",
    "n_pairs_used",
    "seed",
    "accuracy",
    "n",
    "chance",
)
_ONE = ("model", "task", "scoring", "shots")
"""Columns with one value: rows of several would be averaged."""
_VARIED = ("ranking", "position", "negatives", "pair_task")
"""Columns beside method and component that make a line of their own where they differ."""


@checked()
def accuracy_by_pairs(
    results: "pd.DataFrame", *, theme: str = "light", size: str = "page"
) -> go.Figure:
    """Mean accuracy over seeds against the number of pairs, one line per method and component; seeds as dots.

    Args:
        results: Rows of one model, task, scoring and number of shots: model, task, method, component, n_pairs_used,
            seed, accuracy, n, chance; the unsteered row gives the base line. Rows of another ranking, position, kind
            of negatives or task of the pairs get a line of their own.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there is no steered row, a column is missing, or rows are of several models, tasks, scorings or
            numbers of shots.
    """
    colors = require_theme(theme, size)
    require_columns("results", results, _COLUMNS)
    for name in (one for one in _ONE if one in results):
        values = results[name].unique()
        if len(values) > 1:
            raise ValueError(f"results must be of one {name}, got {list(values)}; draw each apart")
    steered = results[results["method"] != "unsteered"]
    if not len(steered):
        raise ValueError("accuracy_by_pairs needs at least one steered row, got 0")
    first, base = results.iloc[0], results[results["method"] == "unsteered"]
    floor = 100 * float(base["accuracy"].iloc[0]) if len(base) else float("nan")
    figure = go.Figure()
    said: dict[str, str] = {}
    keys = ["method", "component"]
    keys += [one for one in _VARIED if one in steered and steered[one].nunique() > 1]
    for index, (key, rows) in enumerate(steered.groupby(keys, sort=False)):
        label = ", ".join(str(part) for part in key if part != "")
        means = rows.groupby("n_pairs_used")["accuracy"].mean()
        sizes, mean = means.index.to_numpy(dtype=int), 100 * means.to_numpy(dtype=np.float32)
        _add_seeds(figure, colors, rows, index)
        add_mean(figure, colors, index, sizes, mean, escape(label))
        said[label] = needed(figure, colors, sizes, mean, floor, _gains(rows))
    if np.isfinite(floor):
        add_level(figure, colors, floor, f"unsteered {percent(floor / 100)}")
    chance = 100 * float(first["chance"])
    if np.isfinite(chance):
        add_level(figure, colors, chance, f"chance {percent(chance / 100)}")
    set_axes(figure, "contrastive pairs", "accuracy")
    seeds = int(steered["seed"].nunique())
    return finish(
        figure,
        colors,
        title=pairs_title(said),
        facts=(
            named("task", first["task"]),
            f"{first['n']} test items",
            f"lines: mean of {seeds} seeds, dots: seeds" if seeds > 1 else "one draw of pairs",
            named("model", first["model"]),
        ),
        note=(
            "K and strength chosen on dev at every number of pairs",
            f"ring: fewest pairs with {ENOUGH:.0%} of the gain of all",
        ),
        plot=(660, 320),
        margin=Margin(),
    )


def _gains(rows: "pd.DataFrame") -> bool | None:
    """Whether the most pairs gain under any seed, by interval and corrected test; None where the rows do not say."""
    if not {"gain_low", "gain_high", "holm_p"} <= set(rows):
        return None
    most = rows[rows["n_pairs_used"] == rows["n_pairs_used"].max()]
    tested = zip(most["holm_p"], most["gain_low"], most["gain_high"], strict=True)
    return any(direction(p, Interval(low, high)) > 0 for p, low, high in tested)


def _add_seeds(figure: go.Figure, theme: Theme, rows: "pd.DataFrame", index: int) -> None:
    """A dot a seed."""
    color = theme.series[index % len(theme.series)]
    figure.add_scatter(
        x=rows["n_pairs_used"].to_numpy(dtype=np.float32),
        y=100 * rows["accuracy"].to_numpy(dtype=np.float32),
        mode="markers",
        marker={"color": color, "size": 6, "opacity": 0.5},
        customdata=rows["seed"].to_numpy(),
        hovertemplate="%{x} pairs, seed %{customdata}: %{y:.1f}%<extra></extra>",
        legendgroup=str(index),
        showlegend=False,
    )
