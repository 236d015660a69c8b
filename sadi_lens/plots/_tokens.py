"""One text as a strip of tokens: which one is read, which ones are steered."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, counted, finish, token_text
from sadi_lens.plots._theme import MONOSPACE, Theme, faded, require_theme
from sadi_lens.types.results import TokenRoles

MAX_TOKENS = 240
"""Tokens drawn of one text; of a longer one the last ones, where reading and steering happen."""
_WIDTH, _LINE, _CHAR, _PAD, _FONT = 900, 34, 8.1, 7, 13


class _Token(NamedTuple):
    place: int
    text: str
    line: float
    left: float
    right: float


def token_strip(roles: TokenRoles | Sequence[TokenRoles], *, theme: str = "light") -> go.Figure:
    """Texts as boxes of tokens; read: heavy outline, steered: filled, answer: on a shaded ground.

    Args:
        roles: One text or several (the two sides of a pair, the three positions, ...), at least one.
        theme: ``"light"`` or ``"dark"``.

    Returns:
        A figure; ``export`` writes it, ``show`` displays it.

    Raises:
        ValueError: If there is no text.

    Example:
        >>> roles = sl.measure.token_roles(model, task.pairs[0])
        >>> sl.plots.token_strip(roles).layout.title.text
        'Which token is read, which are steered'
    """
    colors = require_theme(theme)
    texts = [roles] if isinstance(roles, TokenRoles) else list(roles)
    if not texts:
        raise ValueError("token_strip needs at least one text, got 0")
    figure = go.Figure()
    top = 0
    cut: list[str] = []
    for one in texts:
        start = max(0, len(one.tokens) - MAX_TOKENS)
        if start:
            cut.append(f"{one.label}: the last {MAX_TOKENS} of {len(one.tokens):,} tokens")
        placed = _place(one, start, top + 0.9)
        figure.add_annotation(
            x=0, y=top + 0.25, xanchor="left", yanchor="middle", showarrow=False,
            text=f"<b>{_label(one)}</b>", font={"size": 12, "color": colors.muted},
        )  # fmt: skip
        _draw(figure, colors, one, placed)
        top = placed[-1].line + 1.0
    _add_legend(figure, colors)
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[0, _WIDTH], **hidden)
    figure.update_yaxes(range=[top - 0.3, -0.2], **hidden)
    models = dict.fromkeys(one.model.name for one in texts)
    return finish(
        figure,
        colors,
        title="Which token is read, which are steered",
        subtitle=(
            (
                "· space, ↵ end of line",
                f"model {', '.join(models)}",
                "position " + ", ".join(dict.fromkeys(one.position for one in texts)),
                *cut,
            ),
        ),
        plot=(_WIDTH, max(60, int(_LINE * (top - 0.1)))),
        margin=Margin(left=24, right=24, bottom=16),
    )


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


def _place(one: TokenRoles, start: int, first_line: float) -> list[_Token]:
    """Boxes as wide as their text, broken over lines."""
    placed: list[_Token] = []
    line, at = first_line, 0.0
    for place in range(start, len(one.tokens)):
        text = token_text(one.tokens[place], most=24)
        shown = one.tokens[place][:24]
        width = _CHAR * max(1, len(shown)) + 2 * _PAD
        if at + width > _WIDTH and at:
            line, at = line + 1.0, 0.0
        placed.append(_Token(place, text, line, at, at + width))
        at += width + 3
    return placed


def _draw(figure: go.Figure, theme: Theme, one: TokenRoles, placed: list[_Token]) -> None:
    blue = theme.kinds["adaptive"]
    answer = [t for t in placed if t.place >= one.prompt_length]
    steered = [t for t in placed if t.place in set(one.steered)]
    read = [t for t in placed if t.place in set(one.read)]
    for tokens, fill, color, width, grow in (
        (placed, None, theme.gap, 1.0, 0.0),
        (answer, faded(theme.muted, 0.28), theme.gap, 1.0, 0.0),
        (steered, blue, blue, 1.0, 0.0),
        (read, None, theme.ink, 2.6, 1.0),
    ):
        if not tokens:
            continue
        x, y = _outlines(tokens, grow)
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
    roles = ["prompt" if place < one.prompt_length else "answer"]
    roles += ["read"] if place in one.read else []
    roles += ["steered"] if place in one.steered else []
    return ", ".join(roles)
