"""Rows of a data set: from a file or folder in any usual format, or from the Hugging Face Hub.

What a file holds is told by its content where that can be, else by its name; nothing in it is guessed: a cell of a CSV
file stays the text that it is.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from sadi_lens.tasks.separated import csv_rows
from sadi_lens.tasks.sources import Rows, rows_of, rows_of_parts, whole
from sadi_lens.types.reading import read_bytes
from sadi_lens.types.wording import short

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""Formats of local files; each may be compressed (``.gz``)."""
_BINARY = {b"PK\x03\x04": "an Excel or zip file", b"SQLite": "an SQLite file", b"\x80": "a pickle"}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
"""A part of a split in a folder of the Hub."""
_SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")
"""What ``datasets.save_to_disk`` writes."""


def read_rows(path: Path, *, split: str | None = None) -> Rows:
    """(where, row) of a file, or of a folder that holds a saved data set or one file a split.

    Args:
        path: JSONL, JSON (an array, ``{"data": [...]}``, or one array a split), CSV or TSV, Parquet, each perhaps
            compressed with gzip; or a folder.
        split: Which part, where there are several.

    Raises:
        ValueError: If it cannot be read; the file and line are named.
        FileNotFoundError: If there is none.
    """
    if path.is_dir():
        return _read_folder(path, split)
    data = _unpacked(path)
    suffix = _suffix(path)
    if data[:4] == b"PAR1":
        return _read_parquet(path, data, split)
    for magic, what in _BINARY.items():
        if data.startswith(magic):
            raise ValueError(f"{path} is {what}; export it as CSV, JSONL or Parquet")
    text = _decoded(path, data)
    if suffix in (".jsonl", ".ndjson"):
        return whole(_json_lines(path, text), str(path), split)
    start = text.lstrip()[:1]
    if suffix == ".json" or (start in ("[", "{") and suffix not in (".csv", ".tsv")):
        return _read_json(path, text, split)
    if suffix == ".parquet":
        raise ValueError(f"{path} cannot be read: it is no Parquet file")
    separator = "\t" if suffix == ".tsv" else None
    return whole(csv_rows(path, text, separator), str(path), split)


def _read_folder(path: Path, split: str | None) -> Rows:
    if any((path / name).is_file() for name in _SAVED):
        import datasets

        try:
            found: Any = datasets.load_from_disk(str(path))
        except Exception as error:  # a damaged folder: the library raises many kinds
            raise ValueError(f"{path} cannot be read as a saved data set: {error}") from error
        return rows_of(found, str(path), split)
    files: dict[str, list[Path]] = {}
    for one in sorted(path.iterdir()):
        if one.is_file() and _suffix(one) in SUFFIXES:
            files.setdefault(_SHARD.sub("", _stem(one)), []).append(one)
    if not files:
        raise FileNotFoundError(
            f"{path} holds no data set: needs what datasets' save_to_disk writes, or files named after their split "
            f"({', '.join(SUFFIXES)})"
        )
    for stem, found in files.items():
        if len(found) > 1 and not all(_SHARD.search(_stem(one)) for one in found):
            raise ValueError(
                f"{path} has several files of {stem!r}: {', '.join(one.name for one in found)}; name the file"
            )
    return rows_of_parts(
        {stem: partial(_read_all, found) for stem, found in files.items()}, str(path), split
    )


def _read_all(paths: Iterable[Path]) -> Rows:
    for path in paths:
        yield from read_rows(path)


def _stem(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def _unpacked(path: Path) -> bytes:
    data = read_bytes(path)
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from error


def read_lines(path: Path) -> list[str]:
    """Lines of a text file that are not blank, in any encoding that ``read_rows`` takes.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no text, or all its lines are blank.
    """
    lines = [line for line in _decoded(path, _unpacked(path)).splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty or holds blank lines alone; one text a line is needed")
    return lines


def _decoded(path: Path, data: bytes) -> str:
    """Text of a file: UTF-8, or UTF-16 or 32 where it says so or every other byte is empty."""
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        encoding = "utf-32"
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif data[1:40:2].count(0) > len(data[1:40:2]) // 2:
        encoding = "utf-16-le"
    elif data[0:40:2].count(0) > len(data[0:40:2]) // 2:
        encoding = "utf-16-be"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: not {encoding.removesuffix('-sig').upper()} text "
            f"({data[max(0, error.start - 20) : error.start + 4]!r}); save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path} holds binary data; give JSONL, JSON, CSV, TSV or Parquet")
    return text


def _read_parquet(path: Path, data: bytes, split: str | None) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return rows_of(table, str(path), split)


def _parsed(where: str, text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the field {twice!r} stands twice in one object")
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    except RecursionError as error:
        raise ValueError(f"{where}: not JSON that can be read (nested too deeply)") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    # Not splitlines(): texts may hold other line separators.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield where, _parsed(where, line)


def _read_json(path: Path, text: str, split: str | None) -> Rows:
    """An array, an object that holds one, or (whatever the name says) an object a line."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and _is_object(lines[0]):
        return whole(_json_lines(path, text), str(path), split)
    found = _parsed(str(path), text)
    if isinstance(found, dict):
        inner = cast("dict[str, Any]", found)
        arrays = [key for key, value in inner.items() if isinstance(value, list)]
        if arrays == ["data"]:  # beside it: version, licence, ...
            found = inner["data"]
        elif not all(isinstance(value, list) for value in inner.values()):
            found = [inner]
    if not isinstance(found, list | dict):
        raise ValueError(f"{path} must hold objects (rows), got {short(found)}")
    return rows_of(found, str(path), split)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def find_file(folder: Path, stem: str) -> Path | None:
    """The file of a split, whatever its format."""
    found = (folder / f"{stem}{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz"))
    return next((path for path in found if path.is_file()), None)


def read_hub(
    hub: str, config: str | None, split: str, *, revision: str | None = None, local_instead: str
) -> list[tuple[str, Mapping[str, Any]]]:
    """(where, row) of a split on the Hub, through the ``datasets`` library and its cache.

    Args:
        hub: Hub id.
        config: Configuration of the data set.
        split: The Hub's name of the split.
        revision: Branch of its repository; default the main one.
        local_instead: What a local file would have to look like, for the message.

    Raises:
        OSError: If it cannot be reached; the message says which local files would do.
    """
    import datasets

    try:
        found = datasets.load_dataset(hub, config, split=split, revision=revision)
    except Exception as error:  # the library raises many kinds: network, gate, script, cache
        raise OSError(
            f"data set {hub!r} ({config or 'default'}, {split}) cannot be had from the Hub: {error}. "
            f"Give a folder of local files instead: {local_instead}"
        ) from error
    name = f"{hub} {config or ''} {split}".replace("  ", " ")
    rows = cast("Iterable[Mapping[str, Any]]", found)
    return [(f"{name}, row {index}", row) for index, row in enumerate(rows)]
