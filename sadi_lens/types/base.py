"""What the data types share: positions, equality of arrays, checks of names and counts, parts of annotations."""

import functools
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import get_protocol_members, is_protocol

if TYPE_CHECKING:
    import pandas as pd

POSITIONS = ("last_prompt", "every_step", "generated", "all")
"""Which tokens are edited: the last prompt token; that and every later one; every later one alone; every token."""
DEFAULT_POSITION = "last_prompt"
"""Used wherever no position is given: the token that the paper and its reference code edit (Wang et al., Eq. 5)."""
ENGINES = ("shared", "plain")
"""How answers are scored: with what texts share run once; or text by text, the slow way to check the other."""
READ_AT = ("last", "letter")
"""Tokens at which a difference is read: the last of the text, or the first in which the answers differ."""
TOO_LONG = ("error", "skip")
"""What becomes of items that do not fit the context."""


def unit_frame(**columns: Any) -> "pd.DataFrame":
    """One row per unit: arrays [layer unit] as columns, and what is the same for all."""
    import pandas as pd

    arrays = [one for one in columns.values() if isinstance(one, np.ndarray)]
    layer, unit = np.indices(arrays[0].shape)
    found = {"component": columns.pop("component"), "layer": layer, "unit": unit, **columns}
    return pd.DataFrame(
        {name: np.ravel(one) if isinstance(one, np.ndarray) else one for name, one in found.items()}
    )


def brief(value: Any) -> str:
    """The ``repr`` of a value, with an array by its shape and a long sequence by its length."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape and dtype is not None:
        return f"{str(dtype).removeprefix('torch.')}[{', '.join(map(str, shape))}]"
    if isinstance(value, tuple | list):
        if len(value) > 12 or any(is_dataclass(one) for one in value):
            kinds = " or ".join(sorted({type(one).__name__ for one in value}))
            return f"<{len(value):,} {kinds}>"
        if any(getattr(one, "shape", None) for one in value):
            return f"({', '.join(map(brief, value))})"
    return repr(value)


def brief_repr(self: Any) -> str:
    """A dataclass on one line, whatever it holds: for ``__repr__``, which a notebook shows and a list prints."""
    parts = [f"{one.name}={brief(getattr(self, one.name))}" for one in fields(self) if one.repr]
    return f"{type(self).__qualname__}({', '.join(parts)})"


class ArrayEq:
    """Dataclasses that hold arrays: equal where every field is, NaN equal to NaN, and shown on one line."""

    __hash__ = None  # type: ignore[assignment]  # arrays cannot be hashed

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Before ``@dataclass``, which leaves a ``__repr__`` that is there."""
        super().__init_subclass__(**kwargs)
        if "__repr__" not in vars(cls):
            cls.__repr__ = brief_repr

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        names = [one.name for one in fields(self)]  # type: ignore[arg-type]  # mixed into dataclasses only
        return all(_is_same(getattr(self, name), getattr(other, name)) for name in names)


def _is_same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, np.ndarray) or isinstance(theirs, np.ndarray):
        mine, theirs = np.asarray(mine), np.asarray(theirs)
        nan = mine.dtype.kind == "f"
        return mine.dtype == theirs.dtype and np.array_equal(mine, theirs, equal_nan=nan)
    if isinstance(mine, tuple) and isinstance(theirs, tuple):
        return len(mine) == len(theirs) and all(map(_is_same, mine, theirs))
    return bool(mine == theirs or (mine != mine and theirs != theirs))


def require_one_of(name: str, value: str, allowed: Sequence[str] | Mapping[str, Any]) -> None:
    """Check that a name is one of those allowed; the error suggests the nearest."""
    if value not in allowed:
        raise not_one_of(name, value, allowed)


def not_one_of(name: str, value: str, allowed: Iterable[str]) -> ValueError:
    """What ``require_one_of`` raises."""
    import difflib

    known = sorted(allowed)
    close = difflib.get_close_matches(str(value), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return ValueError(f"{name} must be one of {known}, got {value!r}{hint}")


def require_columns(name: str, frame: Any, columns: Sequence[str]) -> None:
    """Check that a value is a data frame with these columns."""
    if not (hasattr(frame, "groupby") and hasattr(frame, "columns")):
        raise TypeError(f"{name} must be a data frame, got {type(frame).__name__}")
    lacking = [one for one in columns if one not in frame.columns]
    if lacking:
        raise ValueError(
            f"{name} must have the columns {', '.join(columns)}; it lacks {', '.join(lacking)}"
        )


def require_count(name: str, value: object, least: int = 1) -> None:
    """Check that a value is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


LARGEST = 1e16
"""Of an edited activation. Norms square what they get: beyond 1e19 that is infinite in float32, what is divided by it
is 0, and a model would go on with zeros to finite, wrong logits."""


class SharedItemsError(ValueError):
    """The same item stands in two splits of a task."""


class NotFiniteError(ValueError):
    """Numbers that a finite strength took out of the model's range: they are never handed out as a result."""

    def __init__(self, what: str, label: str, where: str = "") -> None:
        place = f" ({where})" if where else ""
        super().__init__(
            f"{what} under {label!r} is not finite, or over {LARGEST:g}{place}: the model overflows. Use a smaller "
            "strength or a wider dtype"
        )


@functools.cache
def kinds_of(hint: Any) -> tuple[Any, ...]:
    """The members of a union; otherwise the one kind itself."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


@functools.cache
def item_hint(hint: Any) -> Any:
    """What a list holds, where ``hint`` is one: ``Sequence[X]``, ``list[X]`` or ``tuple[X, ...]``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    is_list = origin in (Sequence, list) or (origin is tuple and args[-1] is Ellipsis)
    return args[0] if is_list else None


def is_instance(value: Any, kind: type) -> bool:
    """``isinstance``, where a class is no object of a protocol that its objects follow."""
    if not is_protocol(kind):
        return isinstance(value, kind)
    return _follows(type(value), kind) or (not isinstance(value, type) and isinstance(value, kind))


@functools.cache
def _follows(kind: type, protocol: type) -> bool:
    """Whether a class has all that a protocol asks for; looking through its objects one by one is slow."""
    members = get_protocol_members(protocol)
    return not issubclass(kind, type) and all(
        getattr(kind, one, None) is not None for one in members
    )
