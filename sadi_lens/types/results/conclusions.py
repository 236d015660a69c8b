"""What a comparison says, in words: every sentence names the control that it rests on."""

from sadi_lens.types.paired import direction
from sadi_lens.types.results.comparison import Comparison
from sadi_lens.types.results.rows import Contrast, MethodRow
from sadi_lens.types.stats import ALPHA

MARGIN = 0.05
"""Accuracy difference below which two methods count as equally good."""

CONTROLS = {
    "matched-norm": "a fixed vector on the same units that pushes as far",
    "matched-mean": "SADI's own mean push as a fixed vector",
    "matched-kl": "the fixed vector that changes the next token as much",
    "fixed-norm": "a fixed vector with K and strength of its own from dev",
    "class-mean": "one fixed vector for each right answer (told which)",
    "same-answer": "the push of another prompt with the same right answer",
    "same-cue": "the push of another prompt with the same cue",
    "other-answer": "the push of a prompt with another right answer",
    "swapped-prompt": "the push of another prompt, any",
    "own-direction": "its own direction at one length for all prompts",
    "own-norm": "its own length along the fixed direction D",
    "control-token": "the same edit at the middle token of the prompt",
    "random": "the best of the random masks tried on dev",
    "random-supervised": "random masks picked by their margin on the pairs",
}
"""Name of a control (before a comma, the method it belongs to) -> what it is."""


def conclusions(comparison: Comparison) -> tuple[str, ...]:
    """What a comparison says on three questions, in words, as far as it holds the rows for it.

    Does scaling that follows the input beat a fixed push of the same size? Do the chosen units beat random ones? Which
    gains are no gains in knowledge? "Does not beat" is said only where the interval of the difference ends below
    ``MARGIN``.

    A method is set against its own controls alone. Its contrasts with those of other methods answer none of the three
    questions and are left out; Holm's correction of a contrast counts them all the same (``Contrast.n_family``).
    """
    found = [
        _against(comparison, one, words)
        for name, words in CONTROLS.items()
        for one in comparison.contrasts
        if _is_own(comparison, one, name)
    ]
    corrected = comparison.null_holm()
    for row in comparison.rows:
        for label, p in ((row.null, row.null_p), (row.layer_null, row.layer_null_p)):
            if (row.label, label) in corrected:
                found.append(_among(comparison, row, label, p))
            elif label:
                found.append(_beside(comparison, row, label))
        found += [_harm(comparison, row)] if row.kind == "adaptive" and row.groups else []
    found += [f"{row.label} {row.verdict}." for row in comparison.rows if row.verdict]
    return tuple(found)


def _is_own(comparison: Comparison, one: Contrast, name: str) -> bool:
    """Whether the second method is a control of that name, and of the first method where it is of one."""
    owner = next((row.control_of for row in comparison.rows if row.label == one.second), "")
    if one.second == name:
        return owner in ("", one.first)
    return one.second == f"{name}, {one.first}"


def _among(comparison: Comparison, row: MethodRow, label: str, p: float) -> str:
    """The place of a row among the random masks of a null; a verdict only after the correction for all such places."""
    band = next(null for null in comparison.nulls if null.label == label)
    low, high = band.p_interval(row.accuracy)
    family = comparison.null_holm()
    corrected = family[row.label, label]
    words = "beats" if corrected < ALPHA else "is not told apart from"
    factor = corrected / p
    more = "; more masks would settle it" if factor * low < ALPHA < factor * high else ""
    several = f", Holm p = {corrected:.3f} for {len(family)} tests" if len(family) > 1 else ""
    return (
        f"The mask of {row.label} {words} random masks ({band.label}): {band.as_good(row.accuracy)} of {band.n} do as "
        f"well (p = {p:.3f} [{low:.3f}, {high:.3f}]{several}{more})."
    )


def _beside(comparison: Comparison, row: MethodRow, label: str) -> str:
    """The same where the masks did not choose as the row did, and there is no p-value."""
    band = next(null for null in comparison.nulls if null.label == label)
    return (
        f"{band.as_good(row.accuracy)} of {band.n} random masks ({band.label}) do as well as {row.label}: no test, "
        "since they did not choose on dev as it did."
    )


def _harm(comparison: Comparison, row: MethodRow) -> str:
    """What the net gain of a row is made of."""
    parts = ", ".join(f"{one.name} {100 * one.gain:+.1f} (n = {one.n})" for one in row.groups)
    return (
        f"{row.label} mends {row.mended} and breaks {row.broken} of {comparison.n} items of the unsteered model; "
        f"points by group: {parts}."
    )


def _against(comparison: Comparison, one: Contrast, words: str) -> str:
    """One contrast as a sentence; no verdict unless the interval gives it, and for a difference the corrected test."""
    first, second = comparison.row(one.first), comparison.row(one.second)
    low, high = one.interval
    if moved := direction(one.holm_p, one.interval):
        verdict = "beats" if moved > 0 else "loses to"
    elif max(-low, high) < MARGIN:
        verdict = f"is within {100 * MARGIN:g} points of"
    elif high < MARGIN:
        verdict = f"does not beat, by {100 * MARGIN:g} points or more,"
    else:
        verdict = "is not told apart from"
    p = f"p = {one.holm_p:.2g}"
    if one.n_family > 1:
        p = f"Holm {p} for {one.n_family} comparisons"
    return (
        f"{one.first} {verdict} {words} ({one.second}): {first.accuracy:.1%} against {second.accuracy:.1%}, "
        f"{100 * one.difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}], {p}."
    )
