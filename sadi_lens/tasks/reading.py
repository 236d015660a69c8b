"""Rows of a data set: from local files of the same columns, or from the Hugging Face Hub."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

SUFFIXES = (".jsonl", ".csv", ".parquet")


def read_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    """(where, row) of every line that is not empty.

    Raises:
        ValueError: If the file is not UTF-8 or a line is not JSON; the line is named.
    """
    try:
        # Not splitlines(): texts may hold other line separators.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            yield where, json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON ({error})") from error


def read_rows(path: Path) -> list[tuple[str, Any]]:
    """(where, row) of a ``.jsonl``, ``.csv`` or ``.parquet`` file.

    Raises:
        ValueError: If the file cannot be read as what its name says.
    """
    if path.suffix == ".jsonl":
        return list(read_jsonl(path))
    import pandas as pd

    try:
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return [(f"{path}, row {index}", row) for index, row in enumerate(frame.to_dict("records"))]


def find_file(folder: Path, stem: str) -> Path | None:
    """The file of a split, whatever its format."""
    found = (folder / f"{stem}{suffix}" for suffix in SUFFIXES)
    return next((path for path in found if path.is_file()), None)


def read_hub(
    hub: str, config: str | None, split: str, *, local_instead: str
) -> list[tuple[str, Mapping[str, Any]]]:
    """(where, row) of a split on the Hub, through the ``datasets`` library and its cache.

    Args:
        hub: Hub id.
        config: Configuration of the data set.
        split: The Hub's name of the split.
        local_instead: What a local file would have to look like, for the message.

    Raises:
        OSError: If it cannot be reached; the message says which local files would do.
    """
    import datasets

    try:
        found = datasets.load_dataset(hub, config, split=split)
    except Exception as error:  # the library raises many kinds: network, gate, script, cache
        raise OSError(
            f"data set {hub!r} ({config or 'default'}, {split}) cannot be had from the Hub: {error}. "
            f"Give a folder of local files instead: {local_instead}"
        ) from error
    name = f"{hub} {config or ''} {split}".replace("  ", " ")
    rows = cast("list[Mapping[str, Any]]", found)
    return [(f"{name}, row {index}", row) for index, row in enumerate(rows)]
