"""Shows a live widget if a kernel is running, otherwise a picture of it."""

import html
import os
import re

import plotly.graph_objects as go

from sadi_lens.apps.explorer.explorer import SteeringExplorer
from sadi_lens.apps.explorer.widget import LiveExplorer
from sadi_lens.plots import show

STATIC = "SADI_LENS_STATIC"
"""Environment variable: set to 1, ``explore`` draws a picture of the widget in its place."""


def explore(explorer: SteeringExplorer, *, k: int, strength: float) -> None:
    """Show the live explorer at a setting; with ``SADI_LENS_STATIC=1`` a picture of its first prompt there.

    A widget needs its kernel: saved in a notebook it is an empty box to whoever reads it later.
    """
    from IPython.display import display

    live = LiveExplorer(explorer, k=k, strength=strength)
    if os.environ.get(STATIC) != "1":
        display(live.box)
        return
    figure = go.Figure(live.bars)
    says = html.unescape(re.sub(r"<[^>]+>", "", live.says.value))
    title = f"K {live.k.value}, strength {live.strength.value:g}: prompt 1 of the explorer"
    figure.update_layout(
        title={"text": title, "subtitle": {"text": says}, "x": 0.02, "font": {"size": 16}},
        width=760,
        height=520,
        margin={"t": 120},
    )
    show(figure)
