"""Templates to one HTML file. Text is escaped by the template engine, data by ``script_json``."""

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sadi_lens.plots._theme import THEMES
from sadi_lens.types.checks import as_path
from sadi_lens.types.files import write_or_keep
from sadi_lens.types.seals import seal


def script_json(data: Any) -> Markup:
    """Data as JSON that can stand inside a ``<script>`` element: no markup can begin or end in it.

    Args:
        data: Anything that ``json`` writes, NaN excepted; or text that is JSON already (a figure's own).

    Raises:
        ValueError: If a number is not finite.
    """
    text = (
        data
        if isinstance(data, str)
        else json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    )
    # These five only occur inside JSON strings, where the escapes mean the same.
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def asset(name: str) -> Markup:
    """A style sheet or script of this package, to stand inside the page."""
    return Markup(
        (resources.files("sadi_lens.apps.web") / "assets" / name).read_text(encoding="utf-8")
    )


def plotly_js() -> Markup:
    """The plotly.js that belongs to the installed plotly."""
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def theme_css() -> Markup:
    """The colours of the figures as CSS variables: light, dark by system preference, or as chosen on the page."""
    blocks: dict[str, str] = {}
    for name, theme in THEMES.items():
        colors = {
            "paper": theme.paper,
            "ink": theme.ink,
            "muted": theme.muted,
            "grid": theme.grid,
            "gap": theme.gap,
            "positive": theme.positive,
            "negative": theme.negative,
            **theme.kinds,
        }
        variables = "".join(f"--{key}:{color};" for key, color in colors.items())
        blocks[name] = f"color-scheme:{name};{variables}"
    return Markup(
        f":root{{{blocks['light']}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{blocks['dark']}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{{blocks['dark']}}}}}\n"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sadi_lens.apps.web", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names: Any = environment.globals
    names.update(asset=asset, plotly_js=plotly_js, script_json=script_json, theme_css=theme_css)
    return environment


def render(template: str, **context: Any) -> str:
    """A page from a template of this package; every value is escaped unless it is ``Markup``."""
    return _environment().get_template(template).render(**context)


def write_page(text: str, path: str | Path, kind: str) -> Path:
    """Write a page whole or not at all.

    Args:
        text: The page.
        path: File to write.
        kind: What it is, ``seals.REPORT`` or ``seals.EXPLORER``: no other file of this library is replaced.

    Raises:
        OSError: If the place cannot be written, or holds anything but an earlier page of this kind; then a copy of
            the page is kept in a temporary folder, which the message names.
    """
    return write_or_keep(as_path("path", path), seal(text.encode(), ".html", kind))
