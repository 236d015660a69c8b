"""The list of files in a folded checkpoint, each with its hash: what was changed since it was written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sadi_lens.types.reading import read_text
from sadi_lens.types.seals import parse_sealed, sha256_of

FILES = "sadi_lens.json"
"""Names every file of a folded checkpoint with its hash: the folder may be replaced as long as they hold."""
FORMAT = "sadi_lens folded"
FREE = ("README.md",)
"""Files that decide no number: a folder in which they were changed is still the model that was written."""


def files_of(folder: Path) -> dict[str, str]:
    """Name -> hash of every file that was written.

    Raises:
        ValueError: If the list is damaged, was changed, or is of something else.
        OSError: If it cannot be read.
    """
    path = folder / FILES
    files = parse_sealed(read_text(path), path, require=_require_format).get("files")
    if not isinstance(files, dict) or not all(type(one) is str for one in files.values()):
        raise ValueError(f"{path} must name files with their hashes, got {files!r:.80}")
    return files


def changed_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Names of those that are missing or have other contents."""
    return [
        name
        for name, digest in sorted(files.items())
        if not (folder / name).is_file() or sha256_of(folder / name) != digest
    ]


def require_as_written(folder: Path) -> None:
    """Refuse a folded checkpoint of which a file that decides a number was damaged or changed; others pass.

    Raises:
        ValueError: With the first such file.
    """
    if not (folder / FILES).exists():
        return
    files = {name: digest for name, digest in files_of(folder).items() if name not in FREE}
    for name in changed_files(folder, files):
        raise ValueError(
            f"{folder / name} is damaged, missing or was changed since export_folded wrote it; fold again, or remove "
            f"{FILES} to load the folder as it is"
        )


def _require_format(values: Mapping[str, Any], path: Path) -> None:
    if values.get("format") != FORMAT:
        raise ValueError(
            f"{path} is no list of a folded checkpoint (format {values.get('format')!r})"
        )
