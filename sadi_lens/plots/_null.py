"""Random masks of the same K and strength: is it the mask, or would any do?"""

import numpy as np

from sadi_lens.types.results import Comparison, MethodRow, NullBand


def null_of(comparison: Comparison, row: MethodRow) -> NullBand | None:
    """The null a row was placed in."""
    return next((null for null in comparison.nulls if null.label == row.null), None)


def p_label(p: float) -> str:
    """An empirical p-value to the digits that it has; nothing for NaN."""
    if p != p:
        return ""
    return f"p = {p:.3f}" if p >= 0.001 else f"p = {p:.1g}"


def place_text(null: NullBand, row: MethodRow, what: str = "random masks") -> str:
    """How many random masks do as well, with the p-value where there is one."""
    p = p_label(row.null_p)
    count = f"{null.as_good(row.accuracy):,} of {null.n:,} {what}".rstrip()
    return f"{count} ({p})" if p else count


def with_nulls(comparison: Comparison) -> list[MethodRow | NullBand]:
    """Methods in order, each followed by the null it was placed in; other nulls at the end."""
    lines: list[MethodRow | NullBand] = []
    owners = {id(null_of(comparison, row)): row for row in reversed(comparison.rows)}
    for row in comparison.rows:
        lines.append(row)
        lines += [null for null in comparison.nulls if owners.get(id(null)) is row]
    return lines + [null for null in comparison.nulls if id(null) not in owners]


def swarm(x: np.ndarray) -> np.ndarray:
    """Vertical offsets within 0.18: draws of nearly the same accuracy stack up from the middle."""
    span = max(float(np.ptp(x)), 1.0)
    column = np.floor((x - x.min()) / span * 70).astype(int)
    place = np.arange(x.size) - np.searchsorted(column, column)  # within its column; x is sorted
    side = np.where(place % 2 == 0, -1.0, 1.0) * ((place + 1) // 2)
    return side * min(0.09, 0.18 / max(1.0, float(np.abs(side).max())))
