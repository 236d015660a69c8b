"""An exercise: what a student's function must return, and the usual mistakes, known by what they return.

It compares with values worked out by hand and says what was expected where the two differ.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Mistake:
    """A usual wrong answer, recognised by what it returns."""

    function: Callable[..., Any]
    hint: str


@dataclass(frozen=True)
class Exercise:
    """A function to write, with the values it must return."""

    signature: str
    cases: tuple[tuple[tuple[Any, ...], Any], ...]
    """Arguments and the value expected for them, worked out by hand."""
    solution: Callable[..., Any]
    mistakes: tuple[Mistake, ...] = ()

    def verdict(self, function: Callable[..., Any]) -> str:
        """Empty if every case is right, else what the first wrong one shows."""
        for arguments, expected in self.cases:
            call = f"{self.signature.split('(')[0]}({', '.join(_short(one) for one in arguments)})"
            try:
                found = function(*(_copy(one) for one in arguments))
            except Exception as error:  # whatever a student's code may raise
                return f"{call} raised {type(error).__name__}: {error}"
            if found is None or found is ...:
                return f"{call} returned nothing yet."
            if _same(found, expected):
                continue
            text = f"{call} returned {_short(found)}, expected {_short(expected)}."
            hints = [
                one.hint for one in self.mistakes if _same(_value(one.function, arguments), found)
            ]
            return f"{text} {hints[0]}" if hints else text
        return ""


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def _value(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*(_copy(one) for one in arguments))


def _same(found: Any, expected: Any) -> bool:
    """Equal in shape and value, to rounding; a tensor or a list may stand for an array."""
    if isinstance(expected, str | dict | tuple):
        return found == expected
    try:
        if isinstance(expected, list):
            return list(found) == expected
        mine, theirs = np.asarray(found), np.asarray(expected)
        if mine.shape != theirs.shape or (theirs.dtype == bool) != (mine.dtype == bool):
            return False
        return bool(np.allclose(mine, theirs, rtol=1e-5, atol=1e-8))
    except (TypeError, ValueError):
        return False


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray | torch.Tensor):
        return str(value.tolist())
    return repr(value)
