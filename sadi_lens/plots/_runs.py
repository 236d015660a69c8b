"""How many pairs are enough in the runs of an experiment (the paper's Figure 4)."""

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, finish
from sadi_lens.plots._levels import set_counts
from sadi_lens.plots._pairs import add_mean, draw_levels, needed, pairs_title
from sadi_lens.plots._theme import Theme, require_theme
from sadi_lens.plots._words import counted, escape, name_text, named, percent
from sadi_lens.types.base import require_columns
from sadi_lens.types.checks import checked
from sadi_lens.types.paired import direction
from sadi_lens.types.results.stability import ENOUGH
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
    _require_shares(results)
    first, base = results.iloc[0], results[results["method"] == "unsteered"]["accuracy"].unique()
    if len(base) > 1:
        found = ", ".join(f"{float(one):g}" for one in sorted(base))
        raise ValueError(
            f"results must hold one accuracy of the unsteered model, got {found}; draw each apart"
        )
    floor = 100 * float(base[0]) if len(base) else float("nan")
    figure = go.Figure()
    said: dict[str, str] = {}
    keys = ["method", "component"]
    keys += [one for one in _VARIED if one in steered and steered[one].nunique(dropna=False) > 1]
    for index, (key, rows) in enumerate(steered.groupby(keys, sort=False, dropna=False)):
        label = ", ".join(str(part) for part in key if part not in ("", None) and part == part)
        means = rows.groupby("n_pairs_used")["accuracy"].mean()
        sizes, mean = means.index.to_numpy(dtype=int), 100 * means.to_numpy(dtype=np.float32)
        _add_seeds(figure, colors, rows, index)
        add_mean(figure, colors, index, sizes, mean, escape(name_text(label, 200)))
        said[label] = needed(figure, colors, sizes, mean, floor, _gains(rows))
    levels = [
        (100 * value, f"{name} {percent(value)}", dash)
        for value, name, dash in (
            (floor / 100, "unsteered", "dash"),
            (float(first["chance"]), "chance", "dot"),
        )
        if np.isfinite(value)
    ]
    draw_levels(figure, colors, levels, "accuracy")
    set_counts(figure, "contrastive pairs")
    missing = int(steered["accuracy"].isna().sum())
    seeds = int(steered["seed"].nunique())
    return finish(
        figure,
        colors,
        title=pairs_title(said),
        facts=(
            named("task", first["task"]),
            _items(results),
            f"lines: mean of {seeds} seeds, dots: seeds" if seeds > 1 else "one draw of pairs",
            named("model", first["model"]),
        ),
        note=(
            "K and strength chosen on dev at every number of pairs",
            f"ring: fewest pairs with {ENOUGH:.0%} of the gain of all",
            f"{counted(missing, 'row')} without an accuracy left out" if missing else "",
        ),
        plot=(660, 320),
        margin=Margin(),
    )


def _require_shares(results: "pd.DataFrame") -> None:
    """Refuse what is no accuracy, such as one in percent; NaN is one that is not known."""
    for name in ("accuracy", "chance"):
        wrong = results[name][~(results[name].isna() | results[name].between(0, 1))]
        if len(wrong):
            raise ValueError(f"{name} of results must be shares in [0, 1], got {wrong.iloc[0]}")
    if results["accuracy"].isna().all():
        raise ValueError(
            f"accuracy_by_pairs needs at least one accuracy, all {len(results)} are NaN"
        )


def _items(results: "pd.DataFrame") -> str:
    """Numbers of test items, one or the range."""
    low, high = int(results["n"].min()), int(results["n"].max())
    return counted(high, "test item") if low == high else f"{low:,} to {high:,} test items"


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
