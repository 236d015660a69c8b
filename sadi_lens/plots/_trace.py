"""A generation token by token: likelihood, divergence, and where it was edited."""

import html

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._heatmap import BAR_MARGIN, add_colorbar
from sadi_lens.plots._layout import Margin, finish, float32, integer_ticks, require_finite, units_of
from sadi_lens.plots._theme import SYMBOLS, Theme, require_theme
from sadi_lens.plots._words import counted, cut, escape, n_columns, name_text, signed, token_text
from sadi_lens.types.checks import checked
from sadi_lens.types.results import GenerationTrace

MAX_TOKENS = 400
"""Tokens drawn; of a longer continuation the first ones."""
_DOMAINS = ((0.70, 1.0), (0.44, 0.62), (0.0, 0.36))


@checked()
def generation_trace(
    trace: GenerationTrace, *, theme: str = "light", size: str = "page"
) -> go.Figure:
    """Three rows over the tokens of a continuation.

    Top: log-probability of each token with and without steering. Middle: KL(unsteered || steered) at it.
    Bottom: norm of the edit, layer by layer, at the token that predicts it.

    Args:
        trace: ``trace_generation``; at most the first 400 tokens are drawn.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there is no token, or no finite log-probability.

    Example:
        >>> trace = sl.measure.trace_generation(model, task.dev[0].prompt, None, max_new_tokens=3)
        >>> sl.plots.generation_trace(trace).layout.title.text
        'Steering changes nothing at any token'
    """
    colors = require_theme(theme, size)
    if not trace.tokens:
        raise ValueError("generation_trace needs at least one token, got 0")
    n, total = min(len(trace.tokens), MAX_TOKENS), len(trace.tokens)
    plain, steered, kl = (float32(v)[:n] for v in (trace.logp_unsteered, trace.logp, trace.kl))
    norms = float32(trace.edit_norm)[:, :n]
    require_finite(steered, f"generation_trace of {trace.label!r} on {trace.model.name}")
    has_gaps = not all(np.isfinite(values).all() for values in (plain, steered, kl, norms))
    tokens = [token_text(token) for token in trace.tokens[:n]]
    figure = go.Figure()
    _add_logps(figure, colors, trace, tokens, plain, steered)
    figure.add_bar(
        x=list(range(n)), y=kl, yaxis="y2", name="KL", showlegend=False, customdata=tokens,
        marker={"color": colors.series[4], "line": {"width": 0}},
        hovertemplate="token %{x}: <b>%{customdata}</b><br>KL %{y:.3g} nats<extra></extra>",
    )  # fmt: skip
    _add_norms(figure, colors, tokens, norms)
    plot = (int(np.clip(34 * n, 480, 1100)), 200 + int(np.clip(22 * norms.shape[0], 160, 340)))
    add_colorbar(figure, colors, "norm of the edit<br>(activation units)", span=_DOMAINS[2])
    _set_axes(figure, tokens, norms.shape[0], plot[0], round(24 * colors.factor))
    return finish(
        figure,
        colors,
        title=_title(trace, steered - plain, kl),
        facts=(
            f"the first {n:,} of {total:,} tokens" if n < total else counted(n, "token"),
            f"model {trace.model.name}",
            f"prompt: {_end(trace.prompt)}",
        ),
        note=(
            "log p: of each token given the text before it",
            "KL(unsteered || steered) there",
            "edit: at the token that predicts it",
            "gaps: not known, or not finite" if has_gaps else "",
            f"edited: {units_of(trace.component)}" if trace.component else "nothing edited",
            f"position {trace.position}",
        ),
        plot=plot,
        margin=Margin(84, BAR_MARGIN, 58 + int(6.4 * max(map(_drawn_length, tokens)))),
    )


def _add_logps(
    figure: go.Figure,
    theme: Theme,
    trace: GenerationTrace,
    tokens: list[str],
    plain: np.ndarray,
    steered: np.ndarray,
) -> None:
    """Log-probability of each token (nats), unsteered and steered."""
    for values, name, kind, dash in (
        (plain, "unsteered", "unsteered", "dot"),
        (steered, trace.label, trace.kind, "solid"),
    ):
        color = theme.kinds.get(kind, theme.kinds["other"])
        figure.add_scatter(
            x=list(range(len(tokens))),
            y=values,
            mode="lines+markers" if len(tokens) <= 120 else "lines",
            line={"color": color, "width": 1.8, "dash": dash},
            marker={"symbol": SYMBOLS.get(kind, "cross"), "size": 7, "color": color},
            customdata=tokens,
            hovertemplate="token %{x}: <b>%{customdata}</b><br>log p %{y:.3g} nats"
            f"<extra>{escape(name_text(name))}</extra>",
            name=escape(name_text(name, 200)),
            showlegend=True,
        )


def _add_norms(figure: go.Figure, theme: Theme, tokens: list[str], norms: np.ndarray) -> None:
    """Length of the edit [layer token] in activation units."""
    limit = float(np.nanmax(norms)) if np.isfinite(norms).any() else 0.0
    figure.add_heatmap(
        z=norms,
        x=list(range(len(tokens))),
        yaxis="y3",
        customdata=[tokens] * norms.shape[0],
        colorscale=theme.sequential,
        zmin=0,
        zmax=limit or 1.0,
        hovertemplate="layer %{y}, token %{x}: <b>%{customdata}</b><br>moved by %{z:.3g} "
        "(activation units)<extra></extra>",
        hoverongaps=False,
        xgap=1 if len(tokens) <= 60 else 0,
        ygap=1 if norms.shape[0] <= 12 else 0,
    )


def _set_axes(figure: go.Figure, tokens: list[str], n_layers: int, width: int, pitch: int) -> None:
    """One axis of tokens, ``pitch`` pixels apart or more, below three rows, each with an axis of its own."""
    n = len(tokens)
    step = max(1, -(-n * pitch // width))
    figure.update_xaxes(
        range=[-0.5, n - 0.5],
        tickvals=list(range(0, n, step)),
        ticktext=tokens[::step],
        tickangle=-55,
        anchor="y3",
        showgrid=False,
        title="token of the continuation",
    )
    figure.update_layout(
        yaxis={"title": "log p (nats)", "domain": _DOMAINS[0]},
        yaxis2={"title": "KL (nats)", "domain": _DOMAINS[1], "anchor": "x", "rangemode": "tozero",
                "nticks": 4},
        yaxis3={"title": "layer", "domain": _DOMAINS[2], "anchor": "x",
                "tickvals": integer_ticks(n_layers, 9),
                "range": [n_layers - 0.5, -0.5], "showgrid": False},
    )  # fmt: skip


def _title(trace: GenerationTrace, change: np.ndarray, kl: np.ndarray) -> str:
    known = np.isfinite(kl)
    place = int(np.where(known, kl, -1).argmax())
    if not known[place] or not kl[place] > 0:
        where = "" if known.all() else f" that it is known at ({known.sum()} of {kl.size})"
        return f"Steering changes nothing at any token{where}"
    token = cut(trace.tokens[place], 24) or "a space"
    of = "" if known.all() else f"of the {known.sum()} tokens with a KL, "
    moved = float(change[place])
    its = f", its log p {signed(moved, '.2g')}" if np.isfinite(moved) else ""
    said = f"teering acts most at token {place} ({token}): KL {kl[place]:.2g} nats{its}"
    return f"{of[:1].upper()}{of[1:]}s{said}" if of else f"S{said}"


def _drawn_length(token: str) -> int:
    return n_columns(html.unescape(token))


def _end(prompt: str) -> str:
    text = " ".join(prompt.split())
    return text if len(text) <= 70 else "…" + text[-69:]
