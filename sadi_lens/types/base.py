"""What the data types share: equality with arrays, and the refusal of an unknown name or a wrong count."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

POSITIONS = ("last_prompt", "every_step", "all")


class ArrayEq:
    """Equality of dataclasses that hold arrays: every field equal, NaN equal to NaN."""

    __hash__ = None  # type: ignore[assignment]  # arrays cannot be hashed

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        for one in fields(self):  # type: ignore[arg-type]  # mixed into dataclasses only
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if isinstance(mine, np.ndarray) or isinstance(theirs, np.ndarray):
                mine, theirs = np.asarray(mine), np.asarray(theirs)
                nan = mine.dtype.kind == "f"
                if mine.dtype != theirs.dtype or not np.array_equal(mine, theirs, equal_nan=nan):
                    return False
            elif mine != theirs and not (mine != mine and theirs != theirs):
                return False
        return True


def require_one_of(name: str, value: str, allowed: Sequence[str] | Mapping[str, Any]) -> None:
    """Refuse an unknown name and say which one was probably meant.

    Raises:
        ValueError: If ``value`` is not in ``allowed``.
    """
    if value in allowed:
        return
    import difflib

    close = difflib.get_close_matches(str(value), list(allowed), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{name} must be one of {sorted(allowed)}, got {value!r}{hint}")


def require_count(name: str, value: object, least: int = 1) -> None:
    """Refuse anything but a whole number of at least ``least``.

    Raises:
        ValueError: With the bound and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
