"""What a comparison says, in words."""

from sadi_lens.types.results.comparison import Comparison, Contrast
from sadi_lens.types.stats import ALPHA


def conclusions(comparison: Comparison) -> tuple[str, ...]:
    """What a comparison says on three questions, in words, as far as it holds the rows for it.

    Does scaling that follows the input beat a fixed push of the same size? Do the chosen units beat random ones? Which
    gains are no gains in knowledge?
    """
    contrasts = {one.second: one for one in comparison.contrasts}
    found: list[str] = []
    for label, words in (
        ("matched-norm", "a fixed vector on the same units that pushes as far"),
        ("matched-kl", "the same vector moved until it changes the next token as much"),
        ("fixed-norm", "a fixed vector with K and strength of its own from dev"),
    ):
        if label in contrasts:
            found.append(_against(comparison, contrasts[label], words))
    bands = {null.label: null for null in comparison.nulls}
    for row in comparison.rows:
        if row.null:
            band = bands[row.null]
            as_good = int((band.accuracies >= row.accuracy).sum())
            verdict = "beats" if row.null_p < ALPHA else "does not beat"
            found.append(
                f"The mask of {row.label} {verdict} random masks: {as_good} of {band.n} with the same K"
                f"{', each at its own strength from dev,' if band.tuned else ''} do as well (p = {row.null_p:.3f})."
            )
    if "random" in contrasts:
        words = f"the best of {comparison.row('random').n_candidates} random masks on dev"
        found.append(_against(comparison, contrasts["random"], words))
    found += [f"{row.label} {row.verdict}." for row in comparison.rows if row.verdict]
    return tuple(found)


def _against(comparison: Comparison, one: Contrast, words: str) -> str:
    """One contrast as a sentence; no verdict unless both the corrected test and the interval give it."""
    first, second = comparison.row(one.first), comparison.row(one.second)
    is_clear = one.holm_p < ALPHA and not one.interval.low <= 0 <= one.interval.high
    verdict = ("beats" if one.difference > 0 else "loses to") if is_clear else "cannot be told from"
    return (
        f"{one.first} {verdict} {words} ({one.second}): {first.accuracy:.1%} against {second.accuracy:.1%}, "
        f"{100 * one.difference:+.1f} points [{100 * one.interval.low:+.1f}, {100 * one.interval.high:+.1f}], "
        f"Holm p = {one.holm_p:.2g}."
    )
