"""Seals: a file that carries the hash of its own contents is as this library wrote it, and says of which kind it is.

Pages and drawings end with a comment that names their kind, a PNG has a text chunk, JSON a key. A copy keeps its seal
under any name, whatever changes the file breaks it.
"""

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sadi_lens.types.reading import read_bytes, require_regular

_COMMENT = re.compile(rb"<!-- sadi_lens (?:([a-z ]+) )?sha256 ([0-9a-f]{64}) -->\n\Z")
_PNG = b"\x89PNG\r\n\x1a\n"
REPORT, EXPLORER, PICTURE = "report", "explorer", "picture"
FIGURES = {".html": "figure", ".svg": "drawing", ".js": "script", ".png": PICTURE}
"""Ending of a file that a figure is written to -> its kind."""
RESULTS = "results of a run"
SAVED = "saved object"
UNNAMED = "page"
"""What was sealed by a comment before comments named a kind."""


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    require_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(data: bytes, ending: str, kind: str | None = None) -> bytes:
    r"""The contents of a file with this library's seal.

    Args:
        data: A page, a drawing (SVG), JavaScript or a PNG.
        ending: Of its name, one of ``FIGURES``.
        kind: What a page is; default that of a figure.

    Example:
        >>> seal(b"<p>", ".html", "report")[:32]
        b'<p>\n<!-- sadi_lens report sha256'
    """
    if ending == ".png":
        at = _png_end(data)
        return data[:at] + _png_chunk(sha256(data)) + data[at:]
    data = data if data.endswith(b"\n") else data + b"\n"
    data += f"<!-- sadi_lens {kind or FIGURES[ending]} sha256 ".encode()
    return data + f"{sha256(data)} -->\n".encode()


def is_sealed(path: Path) -> bool:
    """Whether a file is as this library wrote it: one of ``seal``, or of ``sealed_json``."""
    return kind_of(read_bytes(path)) is not None


def kind_of(data: bytes) -> str | None:
    """What contents are by their own seal, whatever the file is called; None where they have no seal that holds."""
    if data.startswith(_PNG):
        end = _png_end(data)
        at = max(end - len(_png_chunk("")) - 64, 0)
        holds = data[at:end] == _png_chunk(sha256(data[:at] + data[end:]))
        return PICTURE if holds else None
    if found := _COMMENT.search(data):
        kind = found[1]
        hashed = data[: found.start() if kind is None else found.start(2)]
        if found[2].decode() != sha256(hashed):
            return None
        return UNNAMED if kind is None else kind.decode()
    try:
        values = parse_sealed(data.decode(), Path("file"))
    except ValueError:
        return None
    if values["format"] != "sadi_lens":
        return str(values["format"])
    return SAVED if "arrays" in values else RESULTS


def may_replace(kind: str | None, found: str | None) -> bool:
    """Whether contents of one kind may take the place of others: of the same kind alone; without a kind of nothing."""
    is_old = found == UNNAMED and kind in (REPORT, EXPLORER, *FIGURES.values()) and kind != PICTURE
    return kind is not None and (kind == found or is_old)


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
