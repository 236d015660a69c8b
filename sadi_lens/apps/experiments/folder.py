"""The folder of a run: locked, written atomically, and refused when its settings have changed."""

import json
import platform
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sadi_lens.types.files import is_partial, remove_partials, write_whole

# What config.json carries so that a folder is known as one of a run.
FORMAT = "sadi_lens run"
CONFIG = "config.json"
LOCK = "run.lock"
PACKAGES = ("sadi_lens", "torch", "transformers", "transformer_lens", "tokenizers", "numpy")


class RunFolder:
    """Files of one run.

    ``config.json`` what was asked for, ``environment.json`` what it ran on, ``inputs.json`` fingerprints of models
    and data, ``cells/ID/`` one finished cell each (mask, sweep, choice, scores), ``items/ID.parquet`` its items.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder; the lock of a killed process is gone with it.

        Raises:
            RuntimeError: If another process holds it.
            FileExistsError: If the folder holds something else than a run; nothing in it is touched.
        """
        import filelock

        self._require_ours()
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RuntimeError(
                f"another process is writing to {self.path}; wait for it or give another folder"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _require_ours(self) -> None:
        """Refuse a folder that holds anything and lacks the mark of a run; dotfiles count."""
        if not self.path.is_dir():
            if self.path.exists() or self.path.is_symlink():
                raise FileExistsError(f"{self.path} is not a folder; give another place")
            return
        if self._is_marked():
            return
        foreign = sorted(one.name for one in self.path.iterdir() if not _is_start(one))
        if foreign:
            raise FileExistsError(
                f"{self.path} holds {foreign[0]!r} and is not the folder of a run; it is left alone, give another "
                "folder"
            )

    def _is_marked(self) -> bool:
        try:
            held = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(held, dict) and held.get("format") == FORMAT

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Mark the folder with what was asked for and what it runs on; refuse what a run of other settings began.

        Raises:
            ValueError: With every key that changed, before and now.
        """
        self.require_same(CONFIG, {"format": FORMAT, **settings}, "settings")
        self.require_same("environment.json", environment(), "library versions")

    def clean(self) -> None:
        """Remove what a killed process left half written; to be called when nothing is refused any more."""
        if self._is_marked():
            remove_partials(self.path / name for name in (".", "cells", "items", "figures"))

    def require_same(self, name: str, values: Mapping[str, Any], what: str) -> None:
        """Write ``values`` the first time; later refuse any that differ.

        Raises:
            ValueError: With every key that changed, before and now.
        """
        path = self.path / name
        plain = json.loads(json.dumps(values))
        if not path.is_file():
            self.write(
                path, lambda to: to.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
            )
            return
        held = json.loads(path.read_text(encoding="utf-8"))
        changed = [
            f"{key}: {_short(held.get(key))} -> {_short(plain.get(key))}"
            for key in sorted({*held, *plain})
            if held.get(key) != plain.get(key)
        ]
        if changed:
            raise ValueError(
                f"{self.path} was begun with {what} that have changed ({'; '.join(changed)}). Results of both "
                "would stand in one table: give a new folder, or go back."
            )

    def add_input(self, kind: str, name: str, fingerprint: str) -> None:
        """Note the fingerprint of a model or task; refuse another one under the same name.

        Raises:
            ValueError: If it changed since the run began.
        """
        path = self.path / "inputs.json"
        held: dict[str, str] = (
            json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        )
        key = f"{kind} {name}"
        if held.setdefault(key, fingerprint) != fingerprint:
            raise ValueError(
                f"{key} has changed since {self.path} was begun ({held[key]} -> {fingerprint}); give a new folder"
            )
        text = json.dumps(held, indent=1, sort_keys=True) + "\n"
        self.write(path, lambda to: to.write_text(text, encoding="utf-8"))

    def cell(self, cell_id: str) -> Path:
        """Folder of a cell."""
        return self.path / "cells" / cell_id

    def is_done(self, cell_id: str) -> bool:
        """Whether a cell is finished: its folder is moved into place as a whole."""
        return (self.cell(cell_id) / CONFIG).is_file()

    def write(self, path: Path, writer: Callable[[Path], Any]) -> Path:
        """Write beside the place and move there when complete.

        Raises:
            OSError: If it cannot be written (a full disk, say); what was there before is left.
        """
        try:
            return write_whole(path, writer)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{path} could not be written ({error.strerror or error}); what is finished is safe, "
                "run again to go on",
            ) from error


def environment() -> dict[str, str]:
    """Versions and platform: what else decides a number."""
    found = {
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _is_start(path: Path) -> bool:
    """Whether a file is one of those that a run writes before its folder is marked: an empty lock, half a config."""
    if path.is_symlink() or not path.is_file():
        return False
    return (path.name == LOCK and not path.stat().st_size) or (
        path.name.startswith(f".{CONFIG}.") and is_partial(path)
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
