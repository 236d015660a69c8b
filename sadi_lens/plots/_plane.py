"""What figures of moved activations share: the plane they are seen in, and panels with the same axes."""

from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import counted, escape, float32, named, require_finite
from sadi_lens.plots._theme import Theme
from sadi_lens.types.model import hook_name
from sadi_lens.types.results import ActivationShifts

_PANEL, _GAP, _HEIGHT = 380, 64, 360


class Plane(NamedTuple):
    """The two directions of most variance, and the states in them."""

    before: np.ndarray
    """[item 2]."""
    after: np.ndarray
    """[method item 2]."""
    share: np.ndarray
    """Share of the variance along each direction."""


def finite_states(shifts: ActivationShifts, figure: str) -> tuple[np.ndarray, np.ndarray]:
    before, after = float32(shifts.before), float32(shifts.after)
    if len(before) < 2 or not len(after):
        raise ValueError(
            f"{figure} needs at least 2 items and 1 method, got {len(before)} and {len(after)}"
        )
    require_finite(before, f"{figure} on {shifts.model.name}")
    for name, states in (("unsteered", before), *zip(shifts.methods, after, strict=True)):
        wrong = int((~np.isfinite(states).all(axis=-1)).sum())
        if wrong:
            raise ValueError(
                f"{figure} needs finite activations: {wrong} of {len(states)} items of {name!r} are not; "
                "lower the strength, or leave those items out"
            )
    return before, after


def project(before: np.ndarray, after: np.ndarray, fit: np.ndarray) -> Plane:
    """Coordinates in the first two principal directions of ``fit``, signs fixed by the data."""
    centre = fit.mean(axis=0, dtype=np.float64)
    wide = fit.astype(np.float64) - centre
    # The smaller Gram matrix: a thousand prompts of width 4096 take well under a second.
    if wide.shape[0] < wide.shape[1]:
        values, vectors = np.linalg.eigh(wide @ wide.T)
        directions = wide.T @ vectors[:, ::-1][:, :2]
    else:
        values, vectors = np.linalg.eigh(wide.T @ wide)
        directions = vectors[:, ::-1][:, :2]
    if directions.shape[1] < 2:  # a single value per item
        directions = np.pad(directions, ((0, 0), (0, 1)))
    length = np.linalg.norm(directions, axis=0)
    directions = directions / np.where(length > 0, length, 1)
    largest = directions[np.abs(directions).argmax(axis=0), [0, 1]]
    directions = directions * np.where(largest < 0, -1, 1)
    top = np.maximum(values[::-1][:2], 0)
    share = np.zeros(2)
    share[: top.size] = top / max(float(np.maximum(values, 0).sum()), 1e-30)
    return Plane((before - centre) @ directions, (after - centre) @ directions, share)


def evenly(n: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def panel_axes(index: int) -> dict[str, str]:
    number = "" if index == 0 else str(index + 1)
    return {"xaxis": f"x{number}", "yaxis": f"y{number}"}


def panels_size(n_panels: int) -> tuple[int, int]:
    return (_PANEL * n_panels + _GAP * (n_panels - 1), _HEIGHT)


def set_panel_axes(figure: go.Figure, points: np.ndarray, share: np.ndarray, n_panels: int) -> None:
    """The same ranges in every panel, side by side."""
    width = panels_size(n_panels)[0]
    low, high = points.min(axis=0), points.max(axis=0)
    pad = 0.06 * np.where(high > low, high - low, 1.0)
    for index in range(n_panels):
        number = "" if index == 0 else str(index + 1)
        start = index * (_PANEL + _GAP) / width
        common: dict[str, Any] = {"showgrid": True, "nticks": 7}
        figure.update_layout(
            {
                f"xaxis{number}": {
                    **common,
                    "domain": [start, min(1.0, start + _PANEL / width)],
                    "anchor": f"y{number}",
                    "range": [low[0] - pad[0], high[0] + pad[0]],
                    "title": f"PC 1 ({100 * share[0]:.0f}% of the variance)",
                },
                f"yaxis{number}": {
                    **common,
                    "anchor": f"x{number}",
                    "range": [low[1] - pad[1], high[1] + pad[1]],
                    "title": f"PC 2 ({100 * share[1]:.0f}%)" if index == 0 else None,
                },
            }
        )


def panel_title(figure: go.Figure, theme: Theme, index: int, text: str) -> None:
    number = "" if index == 0 else str(index + 1)
    figure.add_annotation(
        xref=f"x{number} domain", x=0, xanchor="left", yref="paper", y=1, yanchor="bottom", yshift=4,
        text=text, align="left", showarrow=False, font={"size": 12, "color": theme.ink},
    )  # fmt: skip


def shift_facts(shifts: ActivationShifts) -> tuple[str, ...]:
    return (
        f"{hook_name(shifts.component, shifts.layer)} at the last prompt token",
        counted(len(shifts.before), "prompt"),
        named("task", shifts.task),
        f"model {shifts.model.name}",
        f"steered at position {shifts.position}",
    )


def matched_fact(shifts: ActivationShifts) -> str:
    return (
        f"methods matched in {shifts.matched}" if shifts.matched else "methods not matched in size"
    )


def prompt_text(shifts: ActivationShifts, index: int) -> str:
    if not shifts.prompts:
        return f"item {index}"
    text = " ".join(shifts.prompts[index].split())
    return escape(text if len(text) <= 60 else "…" + text[-59:])


def known_mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def or_undefined(value: float) -> str:
    return "not defined" if np.isnan(value) else f"{value:.2f}"
