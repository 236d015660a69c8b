"""Whether steering helped, in a few sentences that cover every adaptive method of a comparison."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sadi_lens.plots._null import null_of, p_label
from sadi_lens.plots._words import counted, percent, signed
from sadi_lens.types.results import Comparison, MethodRow
from sadi_lens.types.stats import ALPHA

NAMED = 3
"""Methods that the first sentence gives the numbers of; of more it gives the range."""
NOT_CHOSEN = "Random masks that did not choose on dev as the method did are no test"
NOT_SHOWN = "It is not shown that the choice of units matters"
NO_NULL = "No random masks were drawn, so nothing says whether these units matter."


class Verdict(NamedTuple):
    """What the first screen of a report says."""

    outcome: str
    """``"helped"``, ``"hurt"``, ``"no change"``, ``"mixed"`` or ``"not measured"``."""
    sentence: str
    rows: tuple[MethodRow, ...]
    """The methods that it is about."""


def verdict(comparison: Comparison) -> Verdict:
    """Whether the adaptive methods of a comparison helped, by how much, and whether random units do too.

    All of them, not the best one: picking the winner on the test items would flatter it. Where there are several,
    their tests are the ones corrected for all methods compared, and for all places among random masks. Without an
    adaptive method, the first one that steers.

    Args:
        comparison: The unsteered model first.
    """
    if not comparison.rows:
        raise ValueError("comparison holds no rows; the first must be the unsteered model")
    base, *others = comparison.rows
    items = counted(comparison.n, f"{comparison.split} item")
    rows = tuple(one for one in others if one.kind == "adaptive") or tuple(others[:1])
    if not rows:
        return Verdict(
            "not measured",
            f"Nothing was steered: the unsteered model answers {percent(base.accuracy)} of {items} right.",
            (),
        )
    alone = len(rows) == 1
    words = {1: "helped", -1: "hurt", 0: "no change"}
    outcomes = [words[row.moved(corrected=not alone)] for row in rows]
    outcome = outcomes[0] if len(set(outcomes)) == 1 else "mixed"
    sentence = f"{_head(outcome, outcomes)}: {_numbers(rows)} on {items}; unsteered {percent(base.accuracy)}."
    units = _unit(comparison, rows[0]) if alone else _units(comparison, rows)
    return Verdict(outcome, " ".join((sentence, units, *_valid(rows, base))), rows)


def _head(outcome: str, outcomes: Sequence[str]) -> str:
    n = len(outcomes)
    if outcome == "mixed":
        parts = (("helped", "helped"), ("made it worse", "hurt"), ("changed nothing", "no change"))
        said = [f"{outcomes.count(key)} {words}" for words, key in parts if key in outcomes]
        return f"Of {n} adaptive methods {', '.join(said)}"
    return {
        "helped": "Steering helped",
        "hurt": "Steering made it worse",
        "no change": "No change that the data can tell from zero",
    }[outcome]


def _numbers(rows: Sequence[MethodRow]) -> str:
    if len(rows) > NAMED:
        low, *_, high = sorted(row.accuracy for row in rows)
        return f"{len(rows)} adaptive methods reach {percent(low)} to {percent(high)}"
    if len(rows) > 1:
        return ", ".join(f"{row.label} {percent(row.accuracy)}" for row in rows)
    return f"{rows[0].label} {percent(rows[0].accuracy)} ({gain_words(rows[0])})"


def gain_words(row: MethodRow) -> str:
    """The gain of a row in points with its interval."""
    if row.is_unsteered:
        return "the unsteered model: nothing did better on dev"
    low, high = (signed(100 * end, ".1f") for end in row.gain_interval)
    return f"{signed(100 * row.gain, '.1f')} points, 95% interval {low} to {high}"


def _unit(comparison: Comparison, row: MethodRow) -> str:
    """Whether random masks of the same size do as well as one method."""
    null = null_of(comparison, row)
    if null is None:
        return NO_NULL
    corrected = comparison.null_holm()
    count = f"{null.as_good(row.accuracy):,} of {null.n:,} random masks of the same size do at least as well"
    if math.isnan(row.null_p):
        return f"{NOT_CHOSEN}: {count}."
    is_shown = corrected[row.label, row.null] < ALPHA and row.moved(corrected=False) > 0
    head = "Which units are scaled matters" if is_shown else NOT_SHOWN
    p = p_label(row.null_p) + _holm(corrected, row)
    return f"{head}: {count} ({p})."


def _holm(corrected: Mapping[tuple[str, str], float], row: MethodRow) -> str:
    """The corrected p-value of a row's place, where there are several."""
    n = len(corrected)
    return f", Holm {p_label(corrected[row.label, row.null])} for {n} tests" if n > 1 else ""


def _units(comparison: Comparison, rows: Sequence[MethodRow]) -> str:
    """The same for several methods that have a null."""
    found: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    corrected = comparison.null_holm()
    for row in rows:
        null = null_of(comparison, row)
        if null is None:
            continue
        words = f"{null.as_good(row.accuracy):,} of {null.n:,} random masks do at least as well"
        p = corrected.get((row.label, row.null))
        words += "" if p is None else _holm(corrected, row)
        found[None if p is None else p < ALPHA and row.moved() > 0].append(f"{row.label} ({words})")
    again = "it is not shown" if found[True] else NOT_SHOWN
    shown = "; ".join(
        f"{head} for {', '.join(found[key])}"
        for key, head in ((True, "Which units are scaled matters"), (False, again))
        if found[key]
    )
    untested = f"{NOT_CHOSEN}: {', '.join(found[None])}" if found[None] else ""
    return " ".join(f"{one}." for one in (shown, untested) if one) or NO_NULL


def _valid(rows: Sequence[MethodRow], base: MethodRow) -> list[str]:
    """How often the next token begins one of the choices, where steering lowers that."""
    rates = [row.valid_rate for row in rows]
    if not any(rate < base.valid_rate for rate in rates):
        return []
    reached = [percent(rate) for rate in rates]
    if len(rates) > NAMED:
        reached = [f"{percent(min(rates))} to {percent(max(rates))}"]
    return [f"Valid answers: {' and '.join(reached)}, unsteered {percent(base.valid_rate)}."]
