"""Writing files so that a kill at any moment leaves the old or the new, and nothing of anyone else is touched.

What is not complete yet lies beside its place under a name that only this library gives; only such a name may be
removed again.
"""

import re
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.sadi_lens-partial")


def partial(path: Path) -> Path:
    """A name beside ``path`` for what is not complete yet; no two calls give the same."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.sadi_lens-partial")


def is_partial(path: Path) -> bool:
    """Whether ``path`` has a name that ``partial`` gave."""
    return _PARTIAL.fullmatch(path.name) is not None


def remove_partials(folders: Iterable[Path]) -> None:
    """Remove what a killed process left incomplete directly in ``folders``: names of ``partial``, nothing else."""
    for folder in folders:
        for path in [one for one in folder.glob(".*.sadi_lens-partial") if is_partial(one)]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def write_whole(path: Path, writer: Callable[[Path], Any]) -> Path:
    """Let ``writer`` write a file beside its place and move it there when it is complete.

    Raises:
        OSError: If it cannot be written; what was there before is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = partial(path)
    try:
        writer(new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return path
