"""Continuations side by side as HTML: what steering wrote, and how much it wanted each token."""

import difflib
import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sadi_lens.plots._layout import float32
from sadi_lens.plots._words import MINUS, signed
from sadi_lens.types.checks import checked
from sadi_lens.types.results import GenerationTrace

LIMIT = 3.0
"""Nats at which the shade is full."""
# Colours that keep their meaning on any ground; translucent, so that the page's own ink stays readable.
_MORE, _LESS = "33,102,172", "214,96,77"
# JupyterLab sets every table of an output with equal columns, to the right: hence "important".
_CSS = """
.sadi-text{font:13px/1.9 sans-serif;color:inherit;overflow-x:auto}
.sadi-text table{border-collapse:collapse;width:100%;table-layout:auto!important}
.sadi-text caption{text-align:left;padding:0 0 6px;font-size:12px;opacity:.8}
.sadi-text th,.sadi-text td{text-align:left!important;vertical-align:top!important}
.sadi-text th{padding:4px 14px 4px 0;font-weight:600}
.sadi-text td{padding:4px 0;font-family:"DejaVu Sans Mono",Menlo,Consolas,monospace;overflow-wrap:anywhere}
.sadi-text .p{opacity:.65}
.sadi-text i{font-style:normal;white-space:pre-wrap;padding:1px 0;border-bottom:2px solid transparent}
.sadi-text .up{border-bottom-style:solid;border-bottom-color:currentColor}
.sadi-text .down{border-bottom-style:dashed;border-bottom-color:currentColor}
.sadi-text .new{outline:1.5px solid currentColor;outline-offset:-1px;border-radius:3px}
.sadi-text i:focus{outline:3px solid currentColor}
"""


@dataclass(frozen=True)
class HtmlTable:
    """An HTML fragment without script; a notebook shows it by itself."""

    html: str
    text: str
    """The same as plain text, for places that cannot show HTML."""

    def _repr_html_(self) -> str:
        return self.html

    def __str__(self) -> str:
        return self.text


@checked()
def compare_text(traces: Sequence[GenerationTrace]) -> HtmlTable:
    """Continuations of one prompt, one row per trace, token by token.

    Shade: log-probability under the steered minus under the unsteered model, full at 3 nats; underline solid:
    more likely, dashed: less; box: differs from the first row. Everything is also in the title of the token,
    which takes keyboard focus. Colours are translucent on the page's own, so it reads on light and dark.

    Args:
        traces: At least one, all of the same prompt and model; the first row is what the others are compared to.

    Returns:
        A table as an HTML fragment; notebooks display it.

    Raises:
        ValueError: If there is no trace, or they are of different prompts or models.

    Example:
        >>> trace = sl.measure.trace_generation(model, task.dev[0].prompt, None, max_new_tokens=3)
        >>> sl.plots.compare_text([trace]).html.startswith("<div")
        True
    """
    if not traces:
        raise ValueError("compare_text needs at least one trace, got 0")
    first = traces[0]
    for one in traces:
        if (one.prompt, one.model) != (first.prompt, first.model):
            raise ValueError(
                f"compare_text needs traces of one prompt and model: {one.label!r} continues "
                f"{one.prompt[-40:]!r} on {one.model.name}, {first.label!r} {first.prompt[-40:]!r} on "
                f"{first.model.name}"
            )
    rows = "".join(_row(one, first) for one in traces)
    positions = ", ".join(dict.fromkeys(one.position for one in traces if one.component))
    caption = (
        f"Continuations of one prompt. Model {first.model.name}"
        + (f", position {positions}" if positions else "")
        + f". Shade: log p steered {MINUS} unsteered (full at {LIMIT:g} nats), underline solid: more likely, "
        "dashed: less; box: differs from the first row."
    )
    page = (
        f'<div class="sadi-text"><style>{_CSS}</style><table><caption>{html.escape(caption)}</caption>'
        f'<tr><th scope="row">prompt</th><td class="p"><i>{_escaped(first.prompt)}</i></td></tr>'
        f"{rows}</table></div>"
    )
    text = "\n".join([caption, *(f"{one.label}: {''.join(one.tokens)}" for one in traces)])
    return HtmlTable(page, text)


def _row(one: GenerationTrace, first: GenerationTrace) -> str:
    change = float32(one.logp) - float32(one.logp_unsteered)
    new = _new_tokens(first.tokens, one.tokens)
    cells = "".join(
        _token(token, float(delta), float(logp), is_new)
        for token, delta, logp, is_new in zip(one.tokens, change, one.logp, new, strict=True)
    )
    return f'<tr><th scope="row">{html.escape(one.label)}</th><td>{cells}</td></tr>'


def _new_tokens(first: Sequence[str], other: Sequence[str]) -> list[bool]:
    """Which tokens of ``other`` are not in the longest common parts with ``first``."""
    new = [True] * len(other)
    for block in difflib.SequenceMatcher(None, first, other, autojunk=False).get_matching_blocks():
        new[block.b : block.b + block.size] = [False] * block.size
    return new


def _token(token: str, change: float, logp: float, is_new: bool) -> str:
    """One token; a change below 0.05 nats counts as none."""
    classes = ["new"] if is_new else []
    style = ""
    if np.isfinite(change) and abs(change) >= 0.05:
        classes.append("up" if change > 0 else "down")
        strength = min(1.0, abs(change) / LIMIT) * 0.55
        style = f' style="background:rgba({_MORE if change > 0 else _LESS},{strength:.2f})"'
    words = f"log p {signed(logp, '.2f')}, steered {MINUS} unsteered {signed(change, '.2f')} nats"
    words += ", differs from the first row" if is_new else ""
    name = f' class="{" ".join(classes)}"' if classes else ""
    return (
        f'<i{name}{style} tabindex="0" title="{words}" '
        f'aria-label="{_escaped(token.strip() or "space")}: {words}">{_escaped(token)}</i>'
    )


def _escaped(text: str) -> str:
    """Text that shows literally; line ends as an arrow, other control characters as a box."""
    shown = text.replace("\n", "↵").replace("\t", "⇥")
    shown = "".join(one if one.isprintable() else "□" for one in shown)
    return html.escape(shown, quote=True)
