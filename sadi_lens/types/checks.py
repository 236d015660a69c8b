"""Arguments at the public border: the right kind and range, or a refusal that names argument, bound, value, remedy.

What an argument must be is its annotation; a number's bounds belong to its name, unless a function says others.
"""

import functools
import inspect
import math
import numbers
import os
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from beartype.door import is_bearable

from sadi_lens.types.answers import SCORINGS
from sadi_lens.types.base import (
    ENGINES,
    POSITIONS,
    READ_AT,
    TOO_LONG,
    is_instance,
    item_hint,
    kinds_of,
    not_one_of,
)
from sadi_lens.types.model import component_name
from sadi_lens.types.wording import described, named_parts, remedy, short

P = ParamSpec("P")
T = TypeVar("T")

_COUNTS = (
    "k ks n n_boot n_candidates n_draws n_splits n_steps n_tokens sizes draws budget batch batch_size max_new_tokens "
    "max_tokens prompt_lengths steps epochs rank"
)
_FROM_ZERO = "layer condition_layer steered seed n_null also_right"
AT_LEAST: dict[str, int] = {
    **dict.fromkeys(_COUNTS.split(), 1),
    **dict.fromkeys(_FROM_ZERO.split(), 0),
    "n_folds": 2,
}
"""Smallest value of every argument of this name."""
MOST = 1_000_000
"""Largest value of a number of draws, rounds or tokens: more is a slip, and would run for days."""
ONE_OF: dict[str, Any] = {
    "engine": ENGINES,
    "position": POSITIONS,
    "text_position": POSITIONS,
    "scoring": SCORINGS,
    "scorings": SCORINGS,
    "read_at": READ_AT,
    "too_long": TOO_LONG,
}
"""Values of every argument of this name."""
DISTINCT = ("components", "ks", "scorings", "sizes", "steered", "strengths")
"""Lists in which nothing may stand twice."""
NUMBERS = (int, float)


def checked(**at_least: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Check the arguments of a public function before it runs; NumPy's numbers arrive as Python's.

    Args:
        **at_least: Bounds of this function that are not those of ``AT_LEAST``.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)
        inner: Any = inspect.unwrap(function)

        @functools.cache
        def hints() -> dict[str, Any]:
            return {
                name: _resolved(parameter.annotation, inner.__globals__)
                for name, parameter in signature.parameters.items()
                if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
                and parameter.annotation is not parameter.empty
            }

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python's own message names the function
            for name, value in bound.arguments.items():
                if name in hints():
                    bound.arguments[name] = check_value(
                        name, value, hints()[name], at_least.get(name)
                    )
            return function(*bound.args, **bound.kwargs)

        return wrapper

    return decorate


def require_fields(thing: Any, **at_least: int) -> None:
    """Check the fields of a frozen dataclass (from ``__post_init__``); lists become the tuples they are declared as.

    Raises:
        TypeError: If a field is of the wrong kind.
        ValueError: If a value is out of range.
    """
    for name, hint in _field_hints(type(thing)).items():
        value = check_value(name, getattr(thing, name), hint, at_least.get(name))
        object.__setattr__(thing, name, value)


@functools.cache
def _field_hints(kind: type) -> dict[str, Any]:
    return {one.name: _resolved(one.type, vars(inspect.getmodule(kind))) for one in fields(kind)}


def _resolved(annotation: Any, where: Mapping[str, Any]) -> Any:
    """The annotation itself; Any where it is text that is for the type checker only."""
    return where.get(annotation, Any) if isinstance(annotation, str) else annotation


def check_value(name: str, value: Any, hint: Any, at_least: int | None = None) -> Any:
    """``value`` as ``hint`` has it.

    Raises:
        TypeError: If it is of another kind.
        ValueError: If it is out of range, not one of the known names, or stands twice.
    """
    if hint is Any:
        return value
    found = _of_kind(name, value, hint)
    word = name.split("[")[0]
    if word == "component" and isinstance(found, str):
        return component_name(found)
    if word == "components" and isinstance(found, list | tuple):
        found = type(found)(component_name(one) for one in found)
    items: Sequence[Any] = found if isinstance(found, list | tuple) else (found,)
    least = AT_LEAST.get(word) if at_least is None else at_least
    for item in items:
        if isinstance(item, NUMBERS):
            _require_in_range(name, item, least, found)
        elif word in ONE_OF and isinstance(item, str) and item not in ONE_OF[word]:
            raise not_one_of(name, item, ONE_OF[word])
    if word in DISTINCT and isinstance(found, list | tuple):
        twice = [item for index, item in enumerate(items) if item in items[:index]]
        if twice:
            raise ValueError(f"{name} must differ, {twice[0]!r} stands twice in {short(found)}")
    return found


def _require_in_range(name: str, item: bool | int | float, least: int | None, given: Any) -> None:
    word = name.split("[")[0]
    if isinstance(item, float) and not math.isfinite(item):
        raise ValueError(f"{name} must be finite, got {item}")
    if least is not None and item < least:
        raise ValueError(f"{name} must be at least {least}, got {short(given)}")
    if word in AT_LEAST and word not in ("layer", "seed") and isinstance(item, int) and item > MOST:
        raise ValueError(f"{name} must be at most {MOST}, got {short(given)}")


def _of_kind(name: str, value: Any, hint: Any) -> Any:
    """``value``, converted where that loses nothing (a NumPy number, a list that is declared a tuple)."""
    fits, found = _fitting(value, hint)
    if fits:
        return found
    _, name, value, hint = _fault(name, value, hint)
    known = ONE_OF.get(name.split("[")[0])
    one_of = f"; it is one of {sorted(known)}" if known else ""
    instead = remedy(name, value, kinds_of(hint)) or one_of
    raise TypeError(f"{name} must be {described(hint)}, got {short(value)}{instead}")


def _fault(name: str, value: Any, hint: Any) -> tuple[tuple[int, ...], str, Any, Any]:
    """Where ``value`` stops fitting: place, name, what stands there and what should.

    Of a union the option counts that fits furthest, so that ``["A", None]`` is a list of texts whose second is none.
    """
    found: list[tuple[tuple[int, ...], str, Any, Any]] = [((), name, value, hint)]
    for kind in kinds_of(hint):
        for place, (part, one, inner) in enumerate(named_parts(name, value, kind)):
            if not _fitting(one, inner)[0]:
                deeper, *which = _fault(part, one, inner)
                found.append(((place, *deeper), which[0], which[1], which[2]))
                break
    return max(found, key=lambda fault: fault[0])


def _fitting(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether ``value`` is of the kind, and it as that kind."""
    kinds = kinds_of(hint)
    if len(kinds) > 1:
        tried = (_fitting(value, option) for option in kinds)
        return next((one for one in tried if one[0]), (False, value))
    if hint is Any or isinstance(hint, str | TypeVar):
        return True, value
    if hint in (bool, int, float):
        return _number(value, hint)
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and origin is None:
        return is_instance(value, hint), value
    item, args = item_hint(hint), typing.get_args(hint)
    if item is not None or origin is tuple:
        return _list(value, origin, args if item is None else item)
    if origin is Collection and isinstance(value, str | bytes):
        return False, value
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _fitting(key, args[0])[0] and _fitting(held, args[1])[0] for key, held in value.items()
        ), value
    return bool(is_bearable(value, hint)), value


def _number(value: Any, hint: Any) -> tuple[bool, Any]:
    if isinstance(value, bool | np.bool_):
        return hint is bool, bool(value)
    if isinstance(value, numbers.Integral):
        fits = hint is int or (hint is float and abs(int(value)) < 2**1023)
        return fits, int(value)
    if isinstance(value, numbers.Real):
        return hint is float, float(value)
    return False, value


def _list(value: Any, origin: Any, held: Any) -> tuple[bool, Any]:
    """``held``: the kind of every item, or a tuple with the kind of each."""
    is_row = hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1  # NumPy, pandas, torch
    given = value.tolist() if is_row else value
    if isinstance(given, str | bytes | bytearray) or not isinstance(given, Sequence):
        return False, value
    kinds = held if isinstance(held, tuple) else (held,) * len(given)
    if len(kinds) != len(given):
        return False, value
    found = [_fitting(one, kind) for one, kind in zip(given, kinds, strict=True)]
    if not all(fits for fits, _ in found):
        return False, value
    kept = [one for _, one in found]
    if origin is tuple:
        return True, tuple(kept)
    is_same = all(one is other for one, other in zip(kept, given, strict=True))
    return True, given if is_same else kept


def as_array(name: str, values: Any, dtype: Any = None) -> np.ndarray:
    """A copy of ``values`` as an array; of a tensor on any device and in any dtype, too.

    Raises:
        ValueError: If NumPy cannot make one of them.
    """
    if hasattr(values, "detach"):  # torch, which is not imported here; NumPy has no bfloat16
        values = values.detach().cpu().float() if values.is_floating_point() else values.cpu()
    try:
        with np.errstate(over="ignore"):  # too large for float32: not finite
            return np.array(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {short(values)}") from error


def float_array(name: str, values: Any, axes: str) -> np.ndarray:
    """``values`` as a finite float32 array that cannot be written to.

    Args:
        name: Of the argument, for the message.
        values: Anything that NumPy can read.
        axes: Names of the axes, as in ``"layer unit"``.

    Raises:
        ValueError: If it is no array of numbers, has other axes, or a value is NaN or infinite.
    """
    array = as_array(name, values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be an array of numbers (real ones), got {short(values)}")
    array = as_array(name, array, np.float32)
    if array.ndim != len(axes.split()) or not array.size:
        raise ValueError(f"{name} must be [{axes}], got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    array.setflags(write=False)
    return array


def as_path(name: str, value: Any) -> Path:
    """A path with ``~`` expanded.

    Raises:
        TypeError: If it is neither text nor a path.
        ValueError: If it is empty or no path can be made of it.
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path, got {short(value)}")
    text = os.fspath(cast("str | os.PathLike[str]", value))
    if not text or "\0" in text:
        raise ValueError(f"{name} must be a path, got {short(text)}")
    try:
        os.fsencode(text)
        return Path(text).expanduser()
    except (RuntimeError, UnicodeEncodeError) as error:  # no such user; half of a character
        raise ValueError(f"{name} must be a path, got {short(text)}: {error}") from error
