"""The folder of a run: locked, written atomically, and refused when its settings have changed."""

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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
            FileExistsError: If the folder holds something else than a run.
        """
        import filelock

        if self.path.is_dir() and not (self.path / "config.json").is_file():
            foreign = [one.name for one in self.path.iterdir() if not _is_leftover(one.name)]
            if foreign:
                raise FileExistsError(
                    f"{self.path} holds {foreign[0]!r} and is not the folder of a run; give another folder"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / "run.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RuntimeError(
                f"another process is writing to {self.path}; wait for it or give another folder"
            ) from None
        try:
            self._clean()
            yield
        finally:
            lock.release()

    def _clean(self) -> None:
        """Remove what a killed process left half written."""
        for one in (*self.path.glob(".*"), *self.path.glob("*/.*")):
            shutil.rmtree(one) if one.is_dir() else one.unlink()

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
        return (self.cell(cell_id) / "config.json").is_file()

    def write(self, path: Path, writer: Callable[[Path], Any]) -> Path:
        """Write beside the place and move there when complete.

        Raises:
            OSError: If it cannot be written (a full disk, say); what was there before is left.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            writer(temporary)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(
                error.errno,
                f"{path} could not be written ({error.strerror or error}); what is finished is safe, "
                "run again to go on",
            ) from error
        return path


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


def _is_leftover(name: str) -> bool:
    return name.startswith(".") or name == "run.lock"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
