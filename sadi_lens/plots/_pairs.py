"""How many contrastive pairs are enough: masks from fewer pairs, and what they do (the paper's Figure 4)."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import Margin, finish, require_finite, units_of
from sadi_lens.plots._levels import add_levels, axis_range, drawn_values, set_counts
from sadi_lens.plots._theme import Theme, faded, require_theme, series_style
from sadi_lens.plots._words import counted, escape, name_text, named, percent, signed
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.results import PairsCurve
from sadi_lens.types.results.stability import ENOUGH, enough

_MEASURES = {
    "accuracy": ("accuracy (%)", "accuracy of SADI with the mask"),
    "margin": ("mean margin (nats)", "mean margin of SADI with the mask"),
    "jaccard_all": ("Jaccard with the mask of all pairs", "mask against the mask of all pairs"),
    "jaccard_disjoint": ("Jaccard of two masks", "two masks that share no pair"),
}
_PLOT = 660, 320
_QUESTION = f"Pairs needed for {ENOUGH:.0%} of the full gain"
_RING = f"ring: fewest pairs with {ENOUGH:.0%} of the gain of all"
_OVERLAPS = {
    "jaccard_all": "Masks of {} pairs agree with that of all to Jaccard",
    "jaccard_disjoint": "Masks of {} pairs that share none agree to Jaccard",
}


@checked()
def pairs_ablation(
    curves: Mapping[str, PairsCurve],
    *,
    measure: str = "accuracy",
    theme: str = "light",
    size: str = "page",
) -> go.Figure:
    """Mean over resampled subsets of pairs against their number, with the band of 95% of the subsets (Fig. 4).

    The title answers how many are enough: the fewest that give 90% of the gain of all pairs, marked by a ring.

    Args:
        curves: Label -> curve, at least one.
        measure: ``"accuracy"``, ``"margin"``, ``"jaccard_all"`` or ``"jaccard_disjoint"``.
        theme: ``"light"`` or ``"dark"``.
        size: ``"page"``, or ``"talk"`` for text that is read from the last row.

    Raises:
        ValueError: If there is no curve, the measure is unknown, or a curve has no value of it.

    Example:
        >>> curve = sl.measure.pairs_needed(model, task.pairs[:16], "head", 4, n_draws=3, progress=False)
        >>> figure = sl.plots.pairs_ablation({"SADI": curve}, measure="jaccard_all")
        >>> figure.layout.xaxis.title.text
        'contrastive pairs that made the mask'
    """
    colors = require_theme(theme, size)
    require_one_of("measure", measure, _MEASURES)
    if not curves:
        raise ValueError("pairs_ablation needs at least one curve, got 0")
    figure = go.Figure()
    is_overlap = measure.startswith("jaccard")
    said: dict[str, str] = {}
    shared: dict[str, tuple[int, float, float]] = {}
    for index, (label, curve) in enumerate(curves.items()):
        sizes, mean = _add_curve(figure, colors, curve, label, index, measure)
        if is_overlap:
            noise = _noise(curve, measure)
            shared[label] = _shared(curve, sizes, mean, noise)
            if np.isfinite(noise).any():
                _add_noise(figure, colors, curve, noise, index)
        else:
            known = curve.gains if measure == "accuracy" else None
            said[label] = needed(figure, colors, sizes, mean, _unsteered(curve, measure), known)
    draw_levels(figure, colors, _lines(curves, measure), measure)
    set_counts(figure, "contrastive pairs that made the mask")
    every = curves.values()
    most = max(curve.accuracy.shape[1] for curve in every)
    return finish(
        figure,
        colors,
        title=_overlap_title(shared, measure) if is_overlap else pairs_title(said),
        facts=(
            f"mean of {counted(most, 'random subset')} of the pairs at each size",
            f"model {', '.join(dict.fromkeys(curve.model.name for curve in every))}",
        ),
        note=(*_note(list(every), measure), *_missing(curves, measure)),
        plot=_PLOT,
        margin=Margin(),
    )


def _note(curves: Sequence[PairsCurve], measure: str) -> tuple[str, ...]:
    splits = ", ".join(dict.fromkeys(curve.split for curve in curves))
    is_overlap = measure.startswith("jaccard")
    has_noise = is_overlap and any(np.isfinite(_noise(one, measure)).any() for one in curves)
    return (
        _MEASURES[measure][1],
        "band: 95% of the subsets",
        named("split", splits) if measure in ("accuracy", "margin") else "",
        "" if is_overlap else _RING,
        "dotted: with right and wrong swapped at random in each prompt" if has_noise else "",
        ", ".join(dict.fromkeys(units_of(curve.component) for curve in curves)),
    )


def _unsteered(curve: PairsCurve, measure: str) -> float:
    """The unsteered accuracy (%) or margin (nats)."""
    return 100 * curve.unsteered_accuracy if measure == "accuracy" else curve.unsteered_margin


def _add_curve(
    figure: go.Figure, theme: Theme, curve: PairsCurve, label: str, index: int, measure: str
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over subsets at each number of pairs (both returned), on a band that holds 95% of the subsets."""
    require_finite(getattr(curve, measure), f"pairs_ablation of {label!r}, measure {measure!r},")
    found, scale = curve.over_draws(measure), 100 if measure == "accuracy" else 1
    sizes, mean, low, high = found.sizes, *(scale * one for one in found[1:4])
    color = theme.series[index % len(theme.series)]
    figure.add_scatter(
        x=np.concatenate([sizes, sizes[::-1]]), y=np.concatenate([high, low[::-1]]), mode="lines",
        fill="toself", fillcolor=faded(color, 0.16), line={"width": 0, "color": color},
        hoverinfo="skip", legendgroup=str(index), showlegend=False,
    )  # fmt: skip
    add_mean(
        figure, theme, index, sizes, mean, _legend(label, curve),
        customdata=np.stack([low, high, found.n], axis=-1),
        hovertemplate=f"<b>{escape(name_text(label, 200))}</b>, %{{x:,d}} pairs<br>mean %{{y:.3g}}<br>"
        "95% of subsets %{customdata[0]:.3g} to %{customdata[1]:.3g}<br>"
        "%{customdata[2]:d} subsets<extra></extra>",
    )  # fmt: skip
    return sizes, mean


def add_mean(
    figure: go.Figure,
    theme: Theme,
    index: int,
    sizes: np.ndarray,
    mean: np.ndarray,
    name: str,
    **hover: object,
) -> None:
    color, (dash, symbol) = theme.series[index % len(theme.series)], series_style(index)
    hover = hover or {"hovertemplate": f"<b>{name}</b><br>%{{x}} pairs: %{{y:.1f}}%<extra></extra>"}
    figure.add_scatter(
        x=sizes, y=mean, mode="lines+markers", legendgroup=str(index), name=name, showlegend=True,
        line={"color": color, "width": 2.2, "dash": dash},
        marker={"symbol": symbol, "size": 8, "color": color}, **hover,
    )  # fmt: skip


def needed(
    figure: go.Figure,
    theme: Theme,
    sizes: np.ndarray,
    mean: np.ndarray,
    floor: float,
    gains: bool | None = None,
) -> str:
    """How many pairs are enough for one curve, in words; a ring at that number, but where there is no gain to share."""
    known = np.flatnonzero(np.isfinite(mean))
    sizes, mean = sizes[known], mean[known]
    if not len(sizes):
        return "no accuracy"
    if len(sizes) < 2:
        return f"only {sizes[0]:,} tried"
    if not np.isfinite(floor):
        return "not known, without the unsteered model"
    place = enough(mean, floor)
    if place is None:
        return f"no gain with {sizes[-1]:,}"
    if gains is False:
        return f"no gain told from zero with {sizes[-1]:,}"
    if place == len(sizes) - 1:
        return f"all {sizes[-1]:,} (still rising)"
    figure.add_scatter(
        x=[sizes[place]],
        y=[mean[place]],
        mode="markers",
        marker={"symbol": "circle-open", "size": 18, "color": theme.ink, "line": {"width": 2}},
        hoverinfo="skip",
        showlegend=False,
    )
    return f"{sizes[place]:,} of {sizes[-1]:,}"


def _noise(curve: PairsCurve, measure: str) -> np.ndarray:
    """Mean overlap at each number of pairs with right and wrong swapped at random; NaN where it was not drawn."""
    found = curve.over_draws(measure.replace("jaccard", "noise"))
    means = dict(zip(found.sizes.tolist(), found.mean, strict=True))
    return np.array([means.get(size, np.nan) for size in curve.sizes])


def _add_noise(
    figure: go.Figure, theme: Theme, curve: PairsCurve, noise: np.ndarray, index: int
) -> None:
    """What masks share although nothing tells right from wrong, in the colour of their curve."""
    color = theme.series[index % len(theme.series)]
    figure.add_scatter(
        x=curve.sizes, y=noise, mode="lines", line={"color": color, "width": 1.6, "dash": "dot"},
        hovertemplate="right and wrong swapped at random<br>%{x:,d} pairs: %{y:.3g}<extra></extra>",
        legendgroup=str(index), showlegend=False,
    )  # fmt: skip


def _shared(
    curve: PairsCurve, sizes: np.ndarray, mean: np.ndarray, noise: np.ndarray
) -> tuple[int, float, float]:
    """The most pairs, how alike their masks are, and how alike without a signal; with all it is 1 by construction."""
    at = np.flatnonzero(sizes < curve.n_pairs)
    place = int(at[-1]) if at.size else len(sizes) - 1
    return int(sizes[place]), float(mean[place]), float(noise[curve.sizes.index(sizes[place])])


def _overlap_title(shared: Mapping[str, tuple[int, float, float]], measure: str) -> str:
    """How alike masks are, and how alike masks of pairs that tell nothing are."""
    sizes = {n for n, _, _ in shared.values()}
    found = [
        f"{value:.2f}" + (f" ({name_text(label)})" if len(shared) > 1 else "")
        for label, (_, value, _) in list(shared.items())[:4]
    ]
    n = f"{sizes.pop():,}" if len(sizes) == 1 else "most"
    noise = [one for _, _, one in list(shared.values())[:4]]
    swapped = (
        f"; {', '.join(f'{one:.2f}' for one in noise)} if right and wrong are swapped at random"
    )
    return f"{_OVERLAPS[measure].format(n)} {', '.join(found)}{'' if np.isnan(noise).any() else swapped}"


def pairs_title(said: Mapping[str, str]) -> str:
    """One answer a curve, as many as a title holds."""
    if len(set(said.values())) == 1:
        return f"{_QUESTION}: {next(iter(said.values()))}"
    answers = [f"{name_text(label)} {answer}" for label, answer in said.items()]
    more = f", and {len(answers) - 4} more" if len(answers) > 4 else ""
    return f"{_QUESTION}: {', '.join(answers[:4])}{more}"


def draw_levels(
    figure: go.Figure, theme: Theme, levels: Sequence[tuple[float, str, str]], measure: str
) -> None:
    """The vertical axis of what is drawn, and lines across at their values."""
    values = [*drawn_values(figure), *(value for value, *_ in levels)]
    span = axis_range(values, {"accuracy": 100.0, "margin": 0.0}.get(measure, 1.0))
    suffix = "%" if measure == "accuracy" else ""
    figure.update_yaxes(title=_MEASURES[measure][0], ticksuffix=suffix, range=span)
    add_levels(figure, theme, levels, span, _PLOT[1])


def _missing(curves: Mapping[str, PairsCurve], measure: str) -> list[str]:
    """Numbers of pairs at which a curve has no value; masks that share no pair end where pairs do."""
    said: list[str] = []
    for label, curve in curves.items() if measure != "jaccard_disjoint" else ():
        gaps = sorted(set(curve.sizes) - set(curve.over_draws(measure).sizes.tolist()))
        if gaps:
            who = f" of {name_text(label)}" if len(curves) > 1 else ""
            said.append(f"no value{who} at {', '.join(f'{one:,}' for one in gaps)} pairs")
    return said


def _legend(label: str, curve: PairsCurve) -> str:
    strength = "" if np.isnan(curve.strength) else f", strength {curve.strength:g}"
    return f"{escape(name_text(label, 200))} (K = {curve.k:,}{strength}, {escape(curve.ranking)})"


def _lines(curves: Mapping[str, PairsCurve], measure: str) -> list[tuple[float, str, str]]:
    """Reference lines, each once: the unsteered accuracy or margin, or the chance level of the overlap."""
    found: dict[float, str] = {}
    is_shared = len({curve.chance for curve in curves.values()}) == 1
    for label, curve in curves.items():
        who = "" if is_shared else f" ({escape(name_text(label, 30))})"
        if measure.startswith("jaccard"):
            found.setdefault(float(curve.chance), f"random masks {curve.chance:.3f}{who}")
        elif np.isfinite(value := _unsteered(curve, measure)):
            words = (
                percent(value / 100) if measure == "accuracy" else f"{signed(value, '.3g')} nats"
            )
            found.setdefault(value, f"unsteered {words}")
    return [(value, text, "dash") for value, text in found.items()]
