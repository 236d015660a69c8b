"""How many pairs are enough: accuracy against the number of contrastive pairs (the paper's Figure 4)."""

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, escape, finish, named, percent
from sadi_lens.plots._theme import Theme, require_theme

if TYPE_CHECKING:
    import pandas as pd


def accuracy_by_pairs(results: "pd.DataFrame", *, theme: str = "light") -> go.Figure:
    """Mean accuracy over seeds against the number of pairs, one line a method and component; seeds as dots.

    Args:
        results: Rows of one task and scoring: model, task, method, component, n_pairs_used, accuracy, n, chance; the
            unsteered row gives the base line.
        theme: ``"light"`` or ``"dark"``.

    Returns:
        A figure; ``export`` writes it, ``show`` displays it.

    Raises:
        ValueError: If there is no steered row.
    """
    colors = require_theme(theme)
    steered = results[results["method"] != "unsteered"]
    if not len(steered):
        raise ValueError("accuracy_by_pairs needs at least one steered row, got 0")
    figure = go.Figure()
    groups = steered.groupby(["method", "component"], sort=False)
    for index, (key, rows) in enumerate(groups):
        _add_group(figure, colors, ", ".join(str(part) for part in key), rows, index)
    first = results.iloc[0]
    facts = [named("task", first["task"]), named("model", first["model"]), f"test n = {first['n']}"]
    base = results[results["method"] == "unsteered"]
    if len(base):
        value = float(base["accuracy"].iloc[0])
        figure.add_hline(y=100 * value, line={"color": colors.ink, "width": 1.5})
        facts.append(f"solid line: unsteered {percent(value)}")
    chance = float(first["chance"])
    if np.isfinite(chance):
        figure.add_hline(y=100 * chance, line={"color": colors.muted, "width": 1.2, "dash": "dot"})
        facts.append(f"dotted line: chance {percent(chance)}")
    figure.update_xaxes(title="contrastive pairs", rangemode="tozero")
    figure.update_yaxes(title="accuracy (%)", ticksuffix="%")
    seeds = int(steered["seed"].nunique())
    return finish(
        figure,
        colors,
        title="Accuracy by number of pairs",
        subtitle=(
            tuple(facts),
            (
                f"lines: mean of {seeds} seeds, dots: seeds" if seeds > 1 else "one draw of pairs",
                "K and strength chosen on dev at every number of pairs",
            ),
        ),
        plot=(640, 320),
        margin=Margin(right=32),
    )


def _add_group(
    figure: go.Figure, theme: Theme, label: str, rows: "pd.DataFrame", index: int
) -> None:
    """One method on one component: a dot a seed, and the line of their means."""
    color = theme.series[index % len(theme.series)]
    means = rows.groupby("n_pairs_used")["accuracy"].mean()
    figure.add_scatter(
        x=rows["n_pairs_used"].to_numpy(dtype=np.float32),
        y=100 * rows["accuracy"].to_numpy(dtype=np.float32),
        mode="markers",
        marker={"color": color, "size": 6, "opacity": 0.5},
        customdata=rows["seed"].to_numpy(),
        hovertemplate="%{x} pairs, seed %{customdata}: %{y:.1f}%<extra></extra>",
        name=label,
        legendgroup=label,
        showlegend=False,
    )
    figure.add_scatter(
        x=means.index.to_numpy(dtype=np.float32),
        y=100 * means.to_numpy(dtype=np.float32),
        mode="lines",
        line={"color": color, "width": 2, "dash": ("solid", "dash", "dot")[index % 3]},
        hovertemplate=f"<b>{escape(label)}</b><br>%{{x}} pairs: %{{y:.1f}}%<extra></extra>",
        name=escape(label),
        legendgroup=label,
        showlegend=True,
    )
