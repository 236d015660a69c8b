"""What scaled heads write: the whole change of the margin, its direct part head by head, and ablations."""

import html
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, finish
from sadi_lens.plots._theme import MARKERS, require_theme
from sadi_lens.plots._words import counted, cut, escape, name_text, named, signed, text_width
from sadi_lens.types.base import require_columns
from sadi_lens.types.checks import checked

if TYPE_CHECKING:
    import pandas as pd

_ROW, _NAME = 26, 300
"""Pixels of a row, and that its name takes at most."""
_NUMBERS = ("edit", "margin", "low", "high")


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
    _require_rows(rows)
    directs = rows["edit"].str.startswith("direct")
    kinds = {
        "whole": (rows["edit"] == "scaled", colors.kinds["adaptive"]),
        "direct, behind the last block": (directs, colors.kinds["fixed"]),
        "through later layers": (rows["edit"] == "rest", colors.muted),
        "without the heads": (rows["edit"].str.endswith("ablation"), colors.ink),
    }
    figure = go.Figure()
    names = {
        edit: escape(cut(edit, int(_NAME / colors.factor / text_width("m"))))
        for edit in rows["edit"]
    }
    if len(set(names.values())) < len(names):  # cut names that read alike would share a line
        names = {edit: f"{name} ({at})" for at, (edit, name) in enumerate(names.items(), 1)}
    for symbol, (name, (chosen, color)) in zip(MARKERS, kinds.items(), strict=False):
        if chosen.any():
            _add_rows(figure, rows[chosen], name, (color, symbol), names)
    figure.add_vline(x=0, line={"color": colors.muted, "width": 1.2})
    figure.update_xaxes(title="change of the margin (nats)")
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=list(names.values())[::-1],
        range=[-0.6, len(rows) - 0.4], showgrid=False,
    )  # fmt: skip
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
        margin=Margin(
            left=24 + max(150, *(text_width(html.unescape(one)) for one in names.values()))
        ),
    )


def _require_rows(rows: "pd.DataFrame") -> None:
    """Refuse rows that cannot be drawn: none, one missing or twice, or an interval that is not round its value."""
    if not len(rows):
        raise ValueError("head_paths needs at least one edited row, got 0")
    absent = [one for one in ("scaled", "direct") if not (rows["edit"] == one).any()]
    if absent:
        raise ValueError(f"paths must hold the edits scaled and direct; {absent[0]!r} is missing")
    twice = rows["edit"][rows["edit"].duplicated()]
    if len(twice):
        raise ValueError(f"edits of paths must differ, got {twice.iloc[0]!r} twice")
    for edit, margin, low, high in zip(*(rows[one] for one in _NUMBERS), strict=True):
        if (
            not math.isfinite(margin) or low > margin or high < margin
        ):  # NaN ends: one item has none
            raise ValueError(
                f"margin of {edit!r} must be finite and lie in its interval, got {margin:g} and [{low:g}, {high:g}]"
            )


def _add_rows(
    figure: go.Figure,
    some: "pd.DataFrame",
    name: str,
    look: tuple[str, str],
    names: Mapping[str, str],
) -> None:
    color, symbol = look
    figure.add_scatter(
        x=some["margin"],
        y=[names[edit] for edit in some["edit"]],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": some["high"] - some["margin"],
            "arrayminus": some["margin"] - some["low"],
            "color": color,
            "thickness": 1.5,
        },
        mode="markers",
        marker={"color": color, "size": 9, "symbol": symbol},
        customdata=[
            [escape(name_text(edit, 200)), *(_shown(float(one)) for one in numbers)]
            for edit, *numbers in zip(*(some[one] for one in _NUMBERS), strict=True)
        ],
        name=name,
        showlegend=True,
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]} nats "
        "[%{customdata[2]}, %{customdata[3]}]<extra></extra>",
    )


def _shown(value: float) -> str:
    return signed(value, ".3f") if math.isfinite(value) else "not known"


def _title(whole: "pd.Series", direct: "pd.Series") -> str:
    """The share that goes straight to the logits, where there is a whole to have a share of."""
    change = signed(float(whole["margin"]), ".2f")
    if not (whole["low"] > 0 or whole["high"] < 0):
        return f"The heads change the margin by {change} nats, not told from zero"
    return f"The heads write {signed(float(direct['margin']), '.2f')} of {change} nats straight to the logits"
