"""Rows of what is already in memory: frames, tables, data sets, lists of dicts, and one of these a split."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np

from sadi_lens.types.data import SPLITS
from sadi_lens.types.wording import short

Rows = Iterable[tuple[str, Any]]
"""(where, row): the file and line or the number of the row, for messages, and what stands there."""


def rows_of(source: Any, name: str = "", split: str | None = None) -> Rows:
    """(where, row) of a frame, table, data set, list or generator of dicts, of columns, or of a mapping of splits.

    Args:
        source: Rows or a mapping of split -> rows.
        name: Of the file, for messages.
        split: Which part of the source, where there are several.

    Returns:
        An iterable; a generator is read once.

    Raises:
        ValueError: If the split is not there, or there are several and none is named.
        TypeError: If it is nothing of the kind.
    """
    if isinstance(source, Mapping):
        given = cast("Mapping[Any, Any]", source)
        if given and all(_is_column(value) for value in given.values()):
            rows = _from_columns(given, name)
        else:
            return rows_of_parts(given, name, split)
    else:
        rows = _numbered(source, name)
    return whole(rows, name, split)


def whole(rows: Rows, name: str, split: str | None) -> Rows:
    """Rows that have no parts.

    Raises:
        ValueError: If one is asked for.
    """
    if split is not None:
        raise ValueError(
            f"split={split!r} picks a part of a source with several; {name or 'this one'} has no named parts"
        )
    return rows


def rows_of_parts(parts: Mapping[Any, Any], name: str, split: str | None) -> Rows:
    """Rows of one of several splits; of all of them where they have this library's names.

    Args:
        parts: Split -> rows, or a function that gives (where, row).
        name: Of the file, for messages.
        split: Which part.

    Raises:
        ValueError: If the split is not there, or there are several and none is named.
    """
    here = name or "the source"
    if not parts or any(isinstance(part, str | int | float | None) for part in parts.values()):
        raise TypeError(
            f"{here} must hold rows, or rows of each split; got {short(dict(parts))} (one row stands in a list: [row])"
        )
    known = sorted(str(key) for key in parts)
    if split is not None and split not in parts:
        raise ValueError(f"split must be one of {known} of {here}, got {split!r}")
    if split is None and len(parts) > 1 and not set(parts) <= set(SPLITS):
        raise ValueError(f"{here} has the splits {known}: name one (split={known[0]!r})")
    return (
        row
        for key, part in parts.items()
        if split in (None, key)
        for row in _labelled(part, name, str(key))
    )


def _labelled(part: Any, name: str, key: str) -> Iterator[tuple[str, Any]]:
    """Rows of a part; where it has one of this library's names, they are of that split.

    Raises:
        ValueError: If a row says that it is of another one.
    """
    rows = cast("Rows", part()) if callable(part) else rows_of(part, f"{name} {key}".strip())
    for where, row in rows:
        if key not in SPLITS or not isinstance(row, Mapping):
            yield where, row
            continue
        own = row.get("split")
        if not is_missing(own) and own != key:
            raise ValueError(
                f"{where}: the row says split {short(own)} and stands in the part {key!r}; leave its split out, or "
                "move the row"
            )
        yield where, {**row, "split": key}


def _numbered(source: Any, name: str) -> Rows:
    rows: Iterable[Any]
    if hasattr(source, "iloc") and source.ndim == 2:
        columns = list(source.columns)
        if len(set(columns)) < len(columns):
            raise ValueError(f"columns of the frame must differ, got {short(columns)}")
        rows = source.to_dict("records")
    elif hasattr(source, "to_pylist"):
        rows = _records(source)
    elif hasattr(source, "__arrow_c_stream__") and not hasattr(source, "iloc"):
        import pyarrow as pa

        rows = _records(pa.table(source))
    elif (
        isinstance(source, str | bytes)
        or hasattr(source, "iloc")  # a column
        or not hasattr(source, "__iter__")
    ):
        raise TypeError(
            f"source must be a file, a frame, a table, a data set or rows (dicts), got {short(source)}"
        )
    else:
        rows = source
    start = f"{name}, " if name else ""
    return ((f"{start}row {index}", row) for index, row in enumerate(rows))


def _records(table: Any) -> list[Any]:
    names = list(getattr(table, "column_names", ()))
    if len(set(names)) < len(names):
        raise ValueError(f"columns of the table must differ, got {short(names)}")
    return table.to_pylist()


def _is_column(value: Any) -> bool:
    is_array = hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1  # NumPy, pandas
    given = value.tolist() if is_array else value
    return isinstance(given, list | tuple) and bool(given) and not isinstance(given[0], Mapping)


def _from_columns(columns: Mapping[Any, Any], name: str) -> Rows:
    columns = {key: getattr(value, "tolist", lambda v=value: v)() for key, value in columns.items()}
    lengths = {str(key): len(value) for key, value in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns must be of one length, got {short(lengths)}")
    return _numbered(
        [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)],
        name,
    )


def is_missing(value: Any) -> bool:
    """None, or the NaN or NA that a data frame puts into empty cells."""
    is_nan = isinstance(value, float | np.floating) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")
