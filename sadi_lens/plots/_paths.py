"""What scaled heads write: the whole change of the margin, its direct part head by head, and ablations."""

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, finish
from sadi_lens.plots._theme import require_theme
from sadi_lens.plots._words import counted, escape, named, signed
from sadi_lens.types.base import require_columns
from sadi_lens.types.checks import checked

if TYPE_CHECKING:
    import pandas as pd

_ROW = 26


@checked()
def head_paths(paths: "pd.DataFrame", *, theme: str = "light", size: str = "page") -> go.Figure:
    """Mean change of the margin under each edit of the same heads, as dots with 95% intervals.

    Args:
        paths: What ``sadi_lens.measure.head_paths`` returned; its ``attrs`` name the model, the task and the heads.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there is no edited row.
    """
    colors = require_theme(theme, size)
    require_columns("paths", paths, ("edit", "margin", "low", "high", "n"))
    rows = paths[paths["edit"] != "unsteered"]
    if not len(rows):
        raise ValueError("head_paths needs at least one edited row, got 0")
    directs = rows["edit"].str.startswith("direct")
    kinds = {
        "whole": (rows["edit"] == "scaled", colors.kinds["adaptive"]),
        "direct, behind the last block": (directs, colors.kinds["fixed"]),
        "through later layers": (rows["edit"] == "rest", colors.muted),
        "without the heads": (rows["edit"].str.endswith("ablation"), colors.ink),
    }
    figure = go.Figure()
    for name, (chosen, color) in kinds.items():
        if chosen.any():
            _add_rows(figure, rows[chosen], name, color)
    figure.add_vline(x=0, line={"color": colors.muted, "width": 1.2})
    figure.update_xaxes(title="change of the margin (nats)")
    order = [escape(edit) for edit in rows["edit"]]
    figure.update_yaxes(categoryorder="array", categoryarray=order[::-1], showgrid=False)
    absent = [one for one in ("scaled", "direct") if not (rows["edit"] == one).any()]
    if absent:
        raise ValueError(f"paths must hold the edits scaled and direct; {absent[0]!r} is missing")
    about = paths.attrs
    whole, direct = (rows[rows["edit"] == one].iloc[0] for one in ("scaled", "direct"))
    n_clusters = about.get("n_clusters", 0)
    return finish(
        figure,
        colors,
        title=_title(whole, direct),
        facts=(
            named("task", about.get("task", "")),
            counted(int(rows["n"].iloc[0]), f"{about.get('split', '')} item".strip()),
            named("steering", about.get("label", "")),
            named("model", about.get("model", "")),
        ),
        note=(
            "lines: 95% intervals"
            + (f" by {counted(n_clusters, 'cluster')}" if n_clusters else ", items independent"),
        ),
        plot=(560, _ROW * len(rows) + 20),
        margin=Margin(left=190, bottom=58),
    )


def _add_rows(figure: go.Figure, some: "pd.DataFrame", name: str, color: str) -> None:
    figure.add_scatter(
        x=some["margin"],
        y=[escape(edit) for edit in some["edit"]],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": some["high"] - some["margin"],
            "arrayminus": some["margin"] - some["low"],
            "color": color,
            "thickness": 1.5,
        },
        mode="markers",
        marker={"color": color, "size": 9},
        name=name,
        showlegend=True,
        hovertemplate="%{y}: %{x:.3f} nats<extra></extra>",
    )


def _title(whole: "pd.Series", direct: "pd.Series") -> str:
    """The share that goes straight to the logits, where there is a whole to have a share of."""
    change = signed(float(whole["margin"]), ".2f")
    if not (whole["low"] > 0 or whole["high"] < 0):
        return f"The heads change the margin by {change} nats, not told from zero"
    return f"The heads write {signed(float(direct['margin']), '.2f')} of {change} nats straight to the logits"
