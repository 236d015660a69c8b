"""Show a figure in a notebook: interactive, as a picture where no script runs, and in words."""

import atexit
import html
import re
import warnings
from functools import cache
from typing import Any

import plotly.graph_objects as go

from sadi_lens.plots.export import CONFIG, NO_BROWSER
from sadi_lens.types.checks import checked

SCALE = 1
"""Pixels of the PNG per layout pixel; JupyterLab shows it at this size until the interactive figure replaces it."""


@checked()
def show(figure: go.Figure, *, png: bool = True) -> None:
    """Display a figure in a notebook as one output in three formats: Plotly, PNG, and its title as text.

    JupyterLab shows the interactive form; GitHub and nbconvert show the PNG; a screen reader gets the words.
    Outside of IPython it opens in a browser, as ``figure.show()`` does. No upload button anywhere.

    Args:
        figure: Any figure.
        png: Also make the PNG (about 4 s the first time, then some 0.3 s; one browser for all of them).

    Warns:
        UserWarning: Once, if there is no browser to make PNGs with; the figure is shown without.
    """
    if not _in_ipython():
        figure.show(config=CONFIG)
        return
    from IPython.display import display

    display(bundle(figure, png=png), raw=True)


def bundle(figure: go.Figure, *, png: bool = True) -> dict[str, Any]:
    """The mimetype bundle that ``show`` displays."""
    import json

    content = json.loads(str(figure.to_json()))
    content["config"] = CONFIG
    found: dict[str, Any] = {
        "application/vnd.plotly.v1+json": content,
        "text/plain": alt_text(figure),
    }
    picture = _png(figure) if png else None
    if picture is not None:
        found["image/png"] = picture
    return found


def alt_text(figure: go.Figure) -> str:
    """Title and subtitle in plain words."""
    title = figure.layout.title
    parts = [str(part) for part in (title.text, title.subtitle.text) if part]
    plain = [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", part)).split()) for part in parts]
    return ". ".join(plain) or "figure without a title"


def _in_ipython() -> bool:
    import sys

    module = sys.modules.get("IPython")
    return module is not None and module.get_ipython() is not None


def _png(figure: go.Figure) -> bytes | None:
    if not _server():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # plotly warns that the running browser keeps its own options
            return figure.to_image(format="png", scale=SCALE)
    except Exception as error:  # kaleido has no common type
        warnings.warn(_without(error), stacklevel=4)
        return None


@cache
def _server() -> bool:
    """Start one browser for all pictures of this process; False if no browser is installed."""
    import kaleido

    try:
        kaleido.start_sync_server(silence_warnings=True)
    except Exception as error:
        warnings.warn(_without(error), stacklevel=5)
        return False
    atexit.register(kaleido.stop_sync_server, silence_warnings=True)
    return True


def _without(error: Exception) -> str:
    words = " ".join(str(error).split())[:300]
    return f"shown without a PNG. {NO_BROWSER} Cause: {type(error).__name__}: {words}"
