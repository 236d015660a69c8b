"""Whether steering helped, in one sentence."""

import math
from typing import NamedTuple

from sadi_lens.plots._layout import counted, percent, signed
from sadi_lens.plots._null import null_of, p_text
from sadi_lens.types.results import Comparison, MethodRow
from sadi_lens.types.stats import ALPHA


class Verdict(NamedTuple):
    """What the first screen of a report says."""

    outcome: str
    """``"helped"``, ``"hurt"``, ``"no change"`` or ``"not measured"``."""
    sentence: str
    row: MethodRow | None
    """The method that the sentence is about."""


def verdict(comparison: Comparison) -> Verdict:
    """Whether the first adaptive method of a comparison helped, by how much, and whether chance units do too.

    The first one, not the best one: picking the winner on the test items would flatter it.

    Args:
        comparison: The unsteered model first.
    """
    base, *others = comparison.rows
    row = next((one for one in others if one.kind == "adaptive"), others[0] if others else None)
    if row is None:
        return Verdict(
            "not measured",
            f"Nothing was steered: the unsteered model answers {percent(base.accuracy)} of "
            f"{counted(comparison.n, f'{comparison.split} item')} right.",
            None,
        )
    low, high = row.gain_interval
    numbers = (
        f"{row.label} takes accuracy from {percent(base.accuracy)} to {percent(row.accuracy)} on "
        f"{counted(comparison.n, f'{comparison.split} item')} ({signed(100 * row.gain, '.1f')} points, 95% interval "
        f"{signed(100 * low, '.1f')} to {signed(100 * high, '.1f')})"
    )
    if row.mcnemar_p >= ALPHA or low <= 0 <= high:
        return Verdict(
            "no change",
            f"No change that the data can tell from zero: {numbers}{_null(comparison, row)}.",
            row,
        )
    if row.gain < 0:
        return Verdict("hurt", f"Steering made it worse: {numbers}{_null(comparison, row)}.", row)
    head = "Steering helped"
    if not math.isnan(row.null_p) and row.null_p >= ALPHA:
        head += ", but it is not shown that the choice of units matters"
    return Verdict("helped", f"{head}: {numbers}{_null(comparison, row)}.", row)


def _null(comparison: Comparison, row: MethodRow) -> str:
    null = null_of(comparison, row)
    if null is None or math.isnan(row.null_p):
        return "; no random masks were drawn, so nothing says whether these units matter"
    return (
        f"; {null.as_good(row.accuracy):,} of {null.n:,} random masks of the same size do at least as well "
        f"({p_text(row.null_p)})"
    )
