"""An exercise: what a student's function must return, and the usual mistakes, known by what they return.

It compares with values worked out by hand and says what was expected where the two differ.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Mistake:
    """A usual wrong answer, recognised by what it returns in every case."""

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
    by_name: tuple[str, ...] = ()
    """Last arguments that whoever calls the function passes by name."""

    def verdict(self, function: Callable[..., Any]) -> str:
        """Empty if every case is right, else what the first wrong one shows."""
        for arguments, expected in self.cases:
            call = f"{self.signature.split('(')[0]}({', '.join(_short(one) for one in arguments)})"
            try:
                found = self._value(function, arguments)
            except Exception as error:  # whatever a student's code may raise
                return f"{call} raised {type(error).__name__}: {error}"
            if found is ...:
                return f"{call} returned nothing yet."
            if found is None:
                return f"{call} returned None: end the function with return and the value."
            if not _same(found, expected):
                text = f"{call} returned {_short(found)}, expected {_short(expected)}."
                return f"{text} {self._hint(function) or _nearly(found, expected)}".strip()
        return ""

    def as_asked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A right ``function`` whose values come as the exercise asks: an array for a list or a tensor, and so on.

        It gets copies of arrays, lists and dicts, as when it was checked: one that writes to them must not change what
        the lesson shows beside its values.
        """
        expected = self.cases[0][1]

        @wraps(function)
        def converted(*arguments: Any, **named: Any) -> Any:
            own = {name: _own(one) for name, one in named.items()}
            return _like(function(*map(_own, arguments), **own), expected)

        return converted

    def _value(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        copies = deepcopy(arguments)
        n = len(copies) - len(self.by_name)
        return function(*copies[:n], **dict(zip(self.by_name, copies[n:], strict=True)))

    def _hint(self, function: Callable[..., Any]) -> str:
        """Of the first mistake that returns what the function does, in every case; empty if there is none."""

        def made(mistake: Mistake) -> bool:
            return all(
                _same(
                    _copied(mistake.function, arguments), _plain(self._value(function, arguments))
                )
                for arguments, _ in self.cases
            )

        try:
            return next((one.hint for one in self.mistakes if made(one)), "")
        except Exception:  # what is wrong in one case may raise in another
            return ""


def _own(argument: Any) -> Any:
    """A copy of what is plain; a model's activation is the hook's to write to."""
    return deepcopy(argument) if isinstance(argument, np.ndarray | list | dict) else argument


def _copied(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*deepcopy(arguments))


def _plain(value: Any) -> Any:
    """Tensors, arrays and numpy's numbers as Python's own, also inside lists and dicts."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return (
            type(value)([_plain(one) for one in value]) if type(value) in (list, tuple) else value
        )
    return {key: _plain(one) for key, one in value.items()} if type(value) is dict else value


def _array(value: Any) -> np.ndarray | None:
    """Of numbers or bools; None for everything else."""
    try:
        array = np.asarray(_plain(value))
    except ValueError:  # rows of unequal length
        return None
    return array if array.dtype.kind in "bif" else None


def _same(found: Any, expected: Any) -> bool:
    """Equal in shape and value, to rounding; what holds the values does not matter, their order does."""
    if isinstance(expected, torch.Tensor) and not isinstance(found, torch.Tensor):
        return False
    if isinstance(expected, Mapping):
        return (
            isinstance(found, Mapping)
            and found.keys() == expected.keys()
            and all(_same(found[key], one) for key, one in expected.items())
        )
    if isinstance(found, str) or isinstance(expected, str):
        return isinstance(found, str) and isinstance(expected, str) and found == expected
    mine, theirs = _array(found), _array(expected)
    if theirs is None or (theirs.size == 0 and isinstance(expected, list)):  # words, or no words
        return (
            isinstance(found, list | tuple | np.ndarray)
            and isinstance(expected, list | tuple | np.ndarray)
            and list(_plain(found)) == list(_plain(expected))
        )
    if mine is None or mine.shape != theirs.shape:
        return False
    return (mine.dtype == bool) == (theirs.dtype == bool) and _close(mine, theirs)


def _close(mine: np.ndarray, theirs: np.ndarray) -> bool:
    return bool(np.allclose(mine, theirs, rtol=1e-5, atol=1e-8))


def _nearly(found: Any, expected: Any) -> str:
    """What is wrong where the values are right."""
    mine, theirs = _array(found), _array(expected)
    if mine is None or theirs is None or mine.size != theirs.size:
        return ""
    if not _close(mine.ravel(), theirs.ravel()):
        return ""
    if mine.shape != theirs.shape:
        return f"The values are right; their shape is {mine.shape}, not {theirs.shape}."
    if isinstance(expected, torch.Tensor):
        return f"The values are right; return a torch tensor, not a {type(found).__name__}."
    return f"The values are right; they are of type {mine.dtype}, not {theirs.dtype}."


def _like(value: Any, expected: Any) -> Any:
    """A right value in what the expected one comes in; tensors stay as they are."""
    if isinstance(expected, torch.Tensor):
        return value
    if isinstance(expected, np.ndarray):
        return value if isinstance(value, np.ndarray) else np.asarray(_plain(value))
    if isinstance(expected, dict):
        return {key: _plain(one) for key, one in value.items()}
    plain = _plain(value)
    return type(expected)(plain) if isinstance(expected, list | tuple) else plain


def _short(value: Any) -> str:
    return repr(_plain(value))
