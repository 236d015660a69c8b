"""What scaled heads write: the whole change of the margin, its direct part head by head, and ablations."""

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from sadi_lens.plots._layout import MINUS, Margin, escape, finish, named
from sadi_lens.plots._theme import require_theme

if TYPE_CHECKING:
    import pandas as pd

_ROW = 26


def head_paths(paths: "pd.DataFrame", *, theme: str = "light") -> go.Figure:
    """Mean change of the margin under each edit of the same heads, as dots with 95% intervals.

    Args:
        paths: What ``sadi_lens.measure.head_paths`` returned; its ``attrs`` name the model, the task and the heads.
        theme: ``"light"`` or ``"dark"``.

    Returns:
        A figure; ``export`` writes it, ``show`` displays it.

    Raises:
        ValueError: If there is no edited row.
    """
    colors = require_theme(theme)
    rows = paths[paths["edit"] != "unsteered"]
    if not len(rows):
        raise ValueError("head_paths needs at least one edited row, got 0")
    kinds = {
        "whole": (rows["edit"] == "scaled", colors.kinds["adaptive"]),
        "direct, behind the last block": (
            rows["edit"].str.startswith("direct"),
            colors.kinds["fixed"],
        ),
        "through later layers": (rows["edit"] == "rest", colors.muted),
        "without the heads": (rows["edit"].str.endswith("ablation"), colors.ink),
    }
    figure = go.Figure()
    for name, (chosen, color) in kinds.items():
        some = rows[chosen]
        if not len(some):
            continue
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
    figure.add_vline(x=0, line={"color": colors.muted, "width": 1.2})
    figure.update_xaxes(title="change of the margin (nats)")
    order = [escape(edit) for edit in rows["edit"]]
    figure.update_yaxes(categoryorder="array", categoryarray=order[::-1], showgrid=False)
    about = paths.attrs
    whole, direct = (
        float(rows.loc[rows["edit"] == one, "margin"].iloc[0]) for one in ("scaled", "direct")
    )
    return finish(
        figure,
        colors,
        title=f"The heads write {_signed(direct)} of {_signed(whole)} nats straight to the logits",
        facts=(
            named("steering", about.get("label", "")),
            named("task", about.get("task", "")),
            named("model", about.get("model", "")),
            f"{about.get('split', '')} n = {int(rows['n'].iloc[0])}".strip(),
        ),
        note=("lines: 95% intervals over items taken as independent",),
        plot=(560, _ROW * len(rows) + 20),
        margin=Margin(left=190, bottom=58),
    )


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)
