"""One text as a strip of tokens: which one is read, which ones are steered."""

import html
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, finish
from sadi_lens.plots._theme import MONOSPACE, Theme, faded, require_theme
from sadi_lens.plots._words import counted, n_columns, token_text
from sadi_lens.types.checks import checked
from sadi_lens.types.results import TokenRoles

FOLD = 60
"""Tokens of one role in a row, beyond which only the first and the last are drawn."""
_KEPT = 20
"""Tokens drawn at each end of such a run."""
_WIDTH, _LINE, _CHAR, _PAD, _FONT = 900, 34, 8.1, 7, 13


class _Token(NamedTuple):
    place: int
    """Which token; -1 where tokens are folded."""
    text: str
    line: float
    left: float
    right: float


@checked()
def token_strip(
    roles: TokenRoles | Sequence[TokenRoles], *, theme: str = "light", size: str = "page"
) -> go.Figure:
    """Texts as boxes of tokens; read: heavy outline, steered: filled, answer: on a shaded ground.

    Of more than 60 tokens in a row that play the same part only both ends are drawn, the others counted.

    Args:
        roles: One text or several (the two sides of a pair, the three positions, ...), at least one.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there is no text.

    Example:
        >>> roles = sl.measure.token_roles(model, task.pairs[0])
        >>> sl.plots.token_strip(roles).layout.title.text
        'Read: 1 of 43 tokens; steered: 1 of 43 tokens'
    """
    colors = require_theme(theme, size)
    texts = [roles] if isinstance(roles, TokenRoles) else list(roles)
    if not texts:
        raise ValueError("token_strip needs at least one text, got 0")
    figure = go.Figure()
    top, width = 0.0, _WIDTH / colors.factor
    for one in texts:
        placed = _place(one, top + 0.9, width)
        figure.add_annotation(
            x=0, y=top + 0.25, xanchor="left", yanchor="middle", showarrow=False,
            text=f"<b>{_label(one)}</b>", font={"size": 12, "color": colors.muted},
        )  # fmt: skip
        _draw(figure, colors, one, placed)
        top = placed[-1].line + 1.0
    _add_legend(figure, colors)
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[0, width], **hidden)
    figure.update_yaxes(range=[top - 0.3, -0.2], **hidden)
    return finish(
        figure,
        colors,
        title=_title(texts),
        facts=(
            "· space, ↵ end of line",
            f"model {', '.join(dict.fromkeys(one.model.name for one in texts))}",
        ),
        plot=(_WIDTH, max(60, int(_LINE * colors.factor * (top - 0.1)))),
        margin=Margin(left=24, right=24, bottom=16),
    )


def _title(texts: Sequence[TokenRoles]) -> str:
    """How many tokens are read and steered, text by text where they differ."""
    read = dict.fromkeys(_part(one.read, one.tokens) for one in texts)
    steered = dict.fromkeys(_part(one.steered, one.tokens) for one in texts)
    return f"Read: {' or '.join(read)}; steered: {' or '.join(steered)}"


def _part(places: Sequence[int], tokens: Sequence[str]) -> str:
    if len(places) == len(tokens):
        return f"all {len(tokens):,} tokens" if len(tokens) > 1 else "the only token"
    return f"{len(places):,} of {len(tokens):,} tokens" if places else "none"


def _add_legend(figure: go.Figure, theme: Theme) -> None:
    for name, marker in (
        (
            "read: its activations make the differences",
            {"line": {"width": 2.6, "color": theme.ink}},
        ),
        ("steered: its activations are edited", {"color": theme.kinds["adaptive"]}),
        ("answer", {"color": faded(theme.muted, 0.28)}),
    ):
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={"symbol": "square", "size": 13, "color": theme.paper, **marker},
            name=name,
            showlegend=True,
        )


def _label(one: TokenRoles) -> str:
    facts = f"{len(one.read)} read, {counted(len(one.steered), 'token')} steered"
    return f"{token_label(one.label)} ({counted(len(one.tokens), 'token')}: {facts})"


def token_label(text: str) -> str:
    """A label above a strip, on one line and escaped."""
    return token_text(text, most=90).replace("·", " ")


def _place(one: TokenRoles, first_line: float, width: float) -> list[_Token]:
    """Boxes as wide as their text, broken over lines; long runs of one role folded."""
    placed: list[_Token] = []
    line, at = first_line, 0.0
    for place, text, n_chars in _shown(one):
        box = _CHAR * max(1, n_chars) + 2 * _PAD
        if at + box > width and at:
            line, at = line + 1.0, 0.0
        placed.append(_Token(place, text, line, at, at + box))
        at += box + 3
    return placed


def _shown(one: TokenRoles) -> Iterator[tuple[int, str, int]]:
    """Place, text as drawn and its characters, of each token and of each fold (-1)."""
    read, steered = set(one.read), set(one.steered)

    def role(place: int) -> tuple[bool, ...]:
        return place in read, place in steered, place < one.prompt_length

    for _, run in groupby(range(len(one.tokens)), key=role):
        places = list(run)
        folded = places[_KEPT:-_KEPT] if len(places) > FOLD else []
        for place in places:
            if place not in folded:
                shown = token_text(one.tokens[place], most=24)
                yield place, shown, n_columns(html.unescape(shown))
            elif place == folded[0]:
                words = f"… {len(folded):,} more …"
                yield -1, words, len(words)


def _draw(figure: go.Figure, theme: Theme, one: TokenRoles, placed: list[_Token]) -> None:
    blue = theme.kinds["adaptive"]
    answer = [t for t in placed if t.place >= one.prompt_length]
    steered = [t for t in placed if t.place in set(one.steered)]
    tokens = [t for t in placed if t.place >= 0]
    read = [t for t in placed if t.place in set(one.read)]
    for boxes, fill, color, width, grow in (
        (tokens, None, theme.gap, 1.0, 0.0),
        (answer, faded(theme.muted, 0.28), theme.gap, 1.0, 0.0),
        (steered, blue, blue, 1.0, 0.0),
        (read, None, theme.ink, 2.6, 1.0),
    ):
        if not boxes:
            continue
        x, y = _outlines(boxes, grow)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            fill="toself" if fill else None,
            fillcolor=fill,
            line={"color": color, "width": width},
            hoverinfo="skip",
            showlegend=False,
        )
    figure.add_scatter(
        x=[(t.left + t.right) / 2 for t in placed],
        y=[t.line for t in placed],
        mode="text",
        text=[t.text for t in placed],
        textfont={
            "family": MONOSPACE,
            "size": _FONT,
            "color": [theme.paper if t.place in one.steered else theme.ink for t in placed],
        },
        customdata=[[t.place, _role(one, t.place)] for t in placed],
        hovertemplate="token %{customdata[0]}: <b>%{text}</b><br>%{customdata[1]}<extra></extra>",
        showlegend=False,
    )


def _outlines(tokens: list[_Token], grow: float) -> tuple[list[float], list[float]]:
    x: list[float] = []
    y: list[float] = []
    half = 0.37 + grow / _LINE
    for token in tokens:
        left, right = token.left - grow, token.right + grow
        x += [left, right, right, left, left, np.nan]
        y += [token.line - half] * 2 + [token.line + half] * 2 + [token.line - half, np.nan]
    return x, y


def _role(one: TokenRoles, place: int) -> str:
    if place < 0:
        return "as the tokens on both sides"
    roles = ["prompt" if place < one.prompt_length else "answer"]
    roles += ["read"] if place in one.read else []
    roles += ["steered"] if place in one.steered else []
    return ", ".join(roles)
