"""Which prompts an explorer shows: some of every outcome, the commonest first."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

Outcome = tuple[bool, bool, bool]
"""Right unsteered, with adaptive scaling, with the fixed vector."""
LEAST_SHARE = 0.05
"""Share of the items that an outcome must have to be opened on: one lucky item would tell a wrong story."""


def opening(strata: dict[Outcome, int]) -> Outcome:
    """The outcome to open on: the commonest of those in which adaptive scaling changes the answer.

    Where fewer than ``LEAST_SHARE`` of the items have it, the commonest of all.

    Args:
        strata: Outcome -> items, the commonest first.

    Example:
        >>> from sadi_lens.apps.explorer.strata import opening
        >>> opening({(True, True, True): 138, (False, True, False): 36, (False, True, True): 13})
        (False, True, False)
    """
    least = LEAST_SHARE * sum(strata.values())
    changed = [one for one, n in strata.items() if one[0] != one[1] and n >= least]
    return (changed or list(strata))[0]


def spread(outcomes: Bool[np.ndarray, "item 3"], strata: dict[Outcome, int], n: int) -> list[int]:
    """``n`` items, spread over the outcomes as the items are, one of each at least; the opening one first.

    Of an outcome, the first items are taken.

    Args:
        outcomes: Of every item.
        strata: How many items have each outcome, the commonest first.
        n: Items to take; fewer where there are fewer.
    """
    first = opening(strata)
    order = [first, *(one for one in strata if one != first)][:n]
    room = dict.fromkeys(order, 1)
    while sum(room.values()) < min(n, sum(strata[one] for one in order)):
        # The outcome that is furthest below its share (Webster's rule).
        free = [one for one in order if room[one] < strata[one]]
        room[max(free, key=lambda one: strata[one] / (2 * room[one] + 1))] += 1
    return [
        int(item)
        for one in order
        for item in np.flatnonzero((outcomes == one).all(axis=1))[: room[one]]
    ]


def in_words(outcome: Sequence[bool]) -> str:
    """As in ``wrong unsteered, right with SADI, wrong with the fixed vector``."""
    unsteered, adaptive, fixed = ("right" if one else "wrong" for one in outcome)
    return f"{unsteered} unsteered, {adaptive} with SADI, {fixed} with the fixed vector"
