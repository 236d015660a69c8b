"""Seals: a file that carries the hash of its own contents is as this library wrote it.

Pages and Markdown end with a comment, a PNG has a text chunk, JSON a key. A copy keeps its seal, whatever changes the
file breaks it.
"""

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sadi_lens.types.reading import read_bytes, read_text, require_regular

_COMMENT = re.compile(rb"<!-- sadi_lens sha256 ([0-9a-f]{64}) -->\n\Z")


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    require_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(data: bytes, ending: str) -> bytes:
    r"""The contents of a page, a drawing (SVG), Markdown or (``.png``) a picture with this library's seal.

    Example:
        >>> seal(b"<p>", ".html")[:25]
        b'<p>\n<!-- sadi_lens sha256'
    """
    if ending == ".png":
        at = _png_end(data)
        return data[:at] + _png_chunk(sha256(data)) + data[at:]
    data = data if data.endswith(b"\n") else data + b"\n"
    return data + f"<!-- sadi_lens sha256 {sha256(data)} -->\n".encode()


def is_sealed(path: Path) -> bool:
    """Whether a file is as this library wrote it: one of ``seal``, or (``.json``) of ``sealed_json``."""
    if path.suffix == ".json":
        try:
            parse_sealed(read_text(path), path)
        except ValueError:
            return False
        return True
    data = read_bytes(path)
    if path.suffix == ".png":
        end = _png_end(data)
        at = max(end - len(_png_chunk("")) - 64, 0)
        return data[at:end] == _png_chunk(sha256(data[:at] + data[end:]))
    found = _COMMENT.search(data)
    return found is not None and found[1].decode() == sha256(data[: found.start()])


def _png_end(data: bytes) -> int:
    """Where the last chunk of a PNG begins (length, ``IEND``, checksum)."""
    at = data.rfind(b"IEND")
    return at - 4 if at >= 4 else len(data)


def _png_chunk(digest: str) -> bytes:
    body = b"tEXt" + b"sadi_lens\0" + digest.encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


_NUMBERS = re.compile(r"\[\n *-?[\d.eE+-]+(,\n *-?[\d.eE+-]+)*\n *\]")
"""A list of numbers, one a line; text of JSON holds no line breaks."""


def sealed_json(values: Mapping[str, Any]) -> str:
    """JSON with the hash of everything else as ``checksum``.

    Raises:
        ValueError: If it holds what JSON cannot: a number that is not finite, text that is not Unicode.
    """
    whole = {"checksum": _checksum(values), **values}
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
    text = _NUMBERS.sub(lambda found: re.sub(r"\n *", "", found[0]), text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text with half a surrogate pair cannot be saved: {error.object[max(error.start - 20, 0) : error.end]!r}"
        ) from error
    return text + "\n"


def parse_sealed(
    text: str, path: Path, require: Callable[[Mapping[str, Any], Path], None] | None = None
) -> dict[str, Any]:
    """What ``sealed_json`` wrote.

    Args:
        text: The JSON.
        path: What messages call it.
        require: Refuses another format, which comes before the checksum.

    Raises:
        ValueError: If it is something else, or was changed since.
    """
    try:
        values = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} is not JSON: {reason}") from error
    if not isinstance(values, dict) or "format" not in values:
        raise ValueError(f"{path} was not written by sadi_lens (no format mark)")
    if require is not None:
        require(values, path)
    try:
        is_whole = values.pop("checksum", None) == _checksum(values)
    except (
        ValueError,
        RecursionError,
    ):  # a number that is not finite; nested just deep enough to be read
        is_whole = False
    if not is_whole:
        raise ValueError(
            f"{path} is damaged or was changed: its contents do not have the checksum that it was written with"
        )
    return values


def _checksum(values: Mapping[str, Any]) -> str:
    return sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode())


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
