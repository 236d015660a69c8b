"""Names beside single points, each where it lies over no other."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from sadi_lens.plots._theme import Theme
from sadi_lens.plots._words import escape, name_text, text_width

_SIZE, _LINE, _AWAY = 11, 15, 9
"""Pixels of the letters, of a line of them, and from a point to its name."""
_MOST = 40
"""Columns of a name."""


class _Box(NamedTuple):
    left: float
    right: float
    bottom: float
    top: float

    def meets(self, other: "_Box") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )


def add_names(
    figure: go.Figure,
    theme: Theme,
    names: Sequence[str],
    points: Sequence[tuple[float, float]],
    ranges: tuple[Sequence[float], Sequence[float]],
    plot: tuple[int, int],
    room: int,
) -> None:
    """Write a name beside each point, further up or down with a line to it where the place is taken.

    Args:
        figure: Gets the names.
        theme: Its colours and size.
        names: One a point.
        points: Along both axes; on a log axis the exponents.
        ranges: Ends of both axes, likewise.
        plot: Width and height of the plot area, pixels.
        room: Pixels right of it that names may take.
    """
    size, line = _SIZE * theme.factor, _LINE * theme.factor
    at = [
        tuple(
            (value - low) / (high - low) * pixels
            for value, (low, high), pixels in zip(point, ranges, plot, strict=True)
        )
        for point in points
    ]
    taken = [_Box(x - 6, x + 6, y - 6, y + 6) for x, y in at]
    for name, point, (x, y) in zip(names, points, at, strict=True):
        text = name_text(name, _MOST)
        width = text_width(text, size)
        side = 1 if x + _AWAY + width <= plot[0] + room else -1
        left = x + _AWAY if side > 0 else x - _AWAY - width
        for step in _steps(line, plot[1]):
            box = _Box(left, left + width, y + step - line / 2, y + step + line / 2)
            if box.bottom >= 0 and box.top <= plot[1] and not any(map(box.meets, taken)):
                _write(figure, theme, text, point, (side, step))
                taken.append(box)
                break


def _steps(line: float, height: int) -> list[float]:
    """Pixels up and down from a point, the nearest first."""
    n = int(height / line)
    return [line * step for step in sorted(range(-n, n + 1), key=lambda one: (abs(one), -one))]


def _write(
    figure: go.Figure, theme: Theme, text: str, point: tuple[float, float], way: tuple[int, float]
) -> None:
    """One name, ``way`` to the right (1) or left (-1) of its point and so many pixels above it."""
    side, up = way
    place: dict[str, Any] = {"showarrow": False, "xshift": side * _AWAY / theme.factor}
    if up:
        place = {
            "showarrow": True,
            "ax": side * _AWAY,
            "ay": -up,
            "arrowhead": 0,
            "arrowwidth": 0.8,
        }
        place |= {"arrowcolor": theme.muted, "standoff": 5}
    figure.add_annotation(
        x=point[0], y=point[1], text=escape(text), xanchor="left" if side > 0 else "right",
        yanchor="middle", font={"size": _SIZE, "color": theme.ink}, borderpad=0, **place,
    )  # fmt: skip
