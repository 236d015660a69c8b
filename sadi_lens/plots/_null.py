"""Random masks of the same K and strength: is it the mask, or would any do?"""

from sadi_lens.types.results import Comparison, MethodRow, NullBand


def null_of(comparison: Comparison, row: MethodRow) -> NullBand | None:
    """The null a row was placed in."""
    return next((null for null in comparison.nulls if null.label == row.null), None)


def p_label(p: float) -> str:
    """An empirical p-value to the digits that it has."""
    return f"p = {p:.3f}" if p >= 0.001 else f"p = {p:.1g}"
