"""Which cases of a large product are run by default."""

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pytest


def every_pair(*axes: Sequence[Any]) -> list[Any]:
    """The product of ``axes`` as parameters, of which a few that hold every pair of values run by default.

    An element that is a tuple stands for several values. Every value still meets every other value of another axis
    (where the product has them together); the rest of the product carries the marker ``full`` (``make test-full``).
    """
    rows = [
        tuple(value for part in parts for value in (part if isinstance(part, tuple) else (part,)))
        for parts in product(*axes)
    ]
    chosen = _covering(rows)
    marks = [() if index in chosen else (pytest.mark.full,) for index in range(len(rows))]
    return [pytest.param(*row, marks=mark) for row, mark in zip(rows, marks, strict=True)]


def all_but(rest: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Values (or tuples of several) as parameters, of which those in ``rest`` run in ``make test-full`` alone."""
    return [
        pytest.param(
            *(one if isinstance(one, tuple) else (one,)), marks=(pytest.mark.full,) * (one in rest)
        )
        for one in values
    ]


def _covering(rows: Sequence[tuple[Any, ...]]) -> set[int]:
    """Indices of rows that together hold every pair of values that any row holds; the greedy choice."""
    pairs = [set(combinations(enumerate(row), 2)) for row in rows]
    missing = set().union(*pairs)
    chosen: set[int] = set()
    while missing:
        best = max(range(len(rows)), key=lambda index: len(pairs[index] & missing))
        chosen.add(best)
        missing -= pairs[best]
    return chosen
