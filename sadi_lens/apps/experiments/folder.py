"""The folder of a run: locked, written atomically, and refused when its settings have changed."""

import json
import os
import platform
import re
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sadi_lens.types.checks import as_path
from sadi_lens.types.files import is_partial, remove_partials, require_place, write_whole
from sadi_lens.types.reading import read_text
from sadi_lens.types.seals import parse_sealed, sealed_json, sha256, sha256_of

# What config.json carries so that a folder is known as one of a run.
FORMAT = "sadi_lens run"
FILES_FORMAT = f"{FORMAT} files"
CONFIG = "config.json"
LOCK = "run.lock"
SHARD_LOCK = re.compile(r"shard-(\d+)-of-(\d+)\.lock")
WAIT = 10.0
"""Seconds that a shard waits while another one looks whether a whole run holds the folder."""
WRITTEN = "written.json"
"""File -> hashes of what the run wrote there: what someone changed since is not replaced."""
TABLES = ("results", "seeds", "published", "truthful", "open_ended", "timings")
OUTPUTS = ("items.parquet", *(f"{name}.csv" for name in TABLES), "report.md")
FIGURES = re.compile(r"(methods|sweep|differences|layers|pairs)_.*\.(html|png|svg)")
PACKAGES = ("sadi_lens", "torch", "transformers", "transformer_lens", "tokenizers", "numpy")


class RunFolder:
    """Files of one run.

    ``config.json`` what was asked for, ``environment.json`` what it ran on, ``inputs/`` fingerprints of models and
    data, ``cells/ID/`` one finished cell each (mask, sweep, choice, scores), ``items/ID.parquet`` its items.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = as_path("path", path)

    @contextmanager
    def locked(self, shard: tuple[int, int] | None = None) -> Generator[None]:
        """Hold the folder, or one shard of it; the lock of a killed process is gone with it.

        Shards of one count go beside each other and write nothing but their own cells; a whole run goes alone.

        Raises:
            RuntimeError: If another process holds it.
            FileExistsError: If the folder holds something else than a run; nothing in it is touched.
        """
        self._require_ours()
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            if shard is None:
                held.enter_context(self._hold(LOCK))
                others = self._shard_locks()
            else:
                held.enter_context(self._hold("shard-{}-of-{}.lock".format(*shard)))
                others = {name: n for name, n in self._shard_locks().items() if n != shard[1]}
                with self._hold(LOCK, WAIT):
                    pass
            with ExitStack() as seen:
                for name in others:
                    (held if shard is None else seen).enter_context(self._hold(name))
            yield

    @contextmanager
    def _hold(self, name: str, seconds: float = 0.0) -> Generator[None]:
        import filelock

        lock = filelock.FileLock(self.path / name)
        try:
            lock.acquire(timeout=seconds)
        except filelock.Timeout:
            raise RuntimeError(
                f"another process is writing to {self.path} ({name}); wait for it or give another folder"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _shard_locks(self) -> dict[str, int]:
        """Lock of every shard that was started here -> shards in all."""
        found = (SHARD_LOCK.fullmatch(one.name) for one in sorted(self.path.glob("shard-*.lock")))
        return {one[0]: int(one[2]) for one in found if one}

    @property
    def n_shards(self) -> int:
        """Shards that the run was last known to be shared by; 1 where it was not."""
        return max(self._shard_locks().values(), default=1)

    def _require_ours(self) -> None:
        """Refuse a folder that holds anything and lacks the mark of a run; dotfiles count."""
        # In this order: another shard may make it between two looks.
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is not a folder; give another place")
        if not self.path.is_dir():
            return
        if self.is_marked():
            return
        foreign = sorted(one.name for one in self.path.iterdir() if not _is_start(one))
        if foreign and not self.is_marked():  # another shard may have marked it meanwhile
            raise FileExistsError(
                f"{self.path} holds {foreign[0]!r} and is not the folder of a run; it is left alone, give another "
                "folder"
            )

    def is_marked(self) -> bool:
        """Whether a run began here."""
        try:
            held = json.loads(read_text(self.path / CONFIG))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(held, dict) and held.get("format") == FORMAT

    def require_fits(self, settings: Mapping[str, Any]) -> None:
        """Refuse a folder that a run of other settings began, or where one cannot be written; nothing is written.

        Raises:
            ValueError: With every key that changed, before and now.
            FileExistsError: If a file that the run would write at its end is of someone else or was changed.
        """
        for name in (WRITTEN, *OUTPUTS):
            require_place(self.path / name, FILES_FORMAT if name == WRITTEN else self.is_ours)
        for path in (self.path / "figures").glob("*"):
            if FIGURES.fullmatch(path.name):
                require_place(path)
        for name, values, what in self._beginning(settings):
            self._compare(name, values, what)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Mark the folder with what was asked for and what it runs on, after ``require_fits``."""
        self.require_fits(settings)
        for name, values, what in self._beginning(settings):
            self.require_same(name, values, what)

    def _beginning(
        self, settings: Mapping[str, Any]
    ) -> tuple[tuple[str, Mapping[str, Any], str], ...]:
        return (
            (CONFIG, {"format": FORMAT, **settings}, "settings"),
            ("environment.json", environment(), "library versions"),
        )

    def clean(self) -> None:
        """Remove what a killed process left half written; to be called when nothing is refused any more."""
        if self.is_marked():
            remove_partials(
                self.path / name for name in (".", "cells", "inputs", "items", "figures")
            )

    def require_same(self, name: str, values: Mapping[str, Any], what: str) -> None:
        """Write ``values`` the first time; later refuse any that differ.

        Raises:
            ValueError: With every key that changed, before and now.
        """
        if not self._compare(name, values, what):
            text = f"{json.dumps(values, indent=1)}\n"
            try:
                write_whole(self.path / name, text.encode(), lambda _: False)
            except FileExistsError:  # another shard was first
                self._compare(name, values, what)

    def _compare(self, name: str, values: Mapping[str, Any], what: str) -> bool:
        """Whether the file is there; refuses other values."""
        plain, held = json.loads(json.dumps(values)), _read(self.path / name)
        if held is None:
            return False
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
        return True

    def add_input(self, kind: str, name: str, fingerprint: str) -> None:
        """Note the fingerprint of a model or task; refuse another one under the same name.

        Raises:
            ValueError: If it changed since the run began.
        """
        key = f"{kind} {name}"
        self.require_same(f"inputs/{sha256(key.encode())[:16]}.json", {key: fingerprint}, "inputs")

    def inputs(self) -> dict[str, str]:
        """What ``add_input`` noted."""
        found = (_read(path) for path in sorted((self.path / "inputs").glob("*.json")))
        return {key: str(value) for one in found if one for key, value in one.items()}

    def cell(self, cell_id: str) -> Path:
        """Folder of a cell."""
        return self.path / "cells" / cell_id

    def is_done(self, cell_id: str) -> bool:
        """Whether a cell is finished: its folder is moved into place as a whole."""
        return (self.cell(cell_id) / CONFIG).is_file()

    def write(self, path: Path, data: bytes) -> Path:
        """Write a file of the run beside its place and move it there when complete; the folder must be locked.

        Raises:
            OSError: If it cannot be written, or was changed since the run wrote it; what was there before is left.
        """
        name, written = path.relative_to(self.path).as_posix(), self._written()
        kept = [sha256_of(path)] if path.is_file() and self.is_ours(path) else []
        written[name] = sorted({*kept, sha256(data)})
        try:
            text = sealed_json({"format": FILES_FORMAT, "files": written})
            write_whole(self.path / WRITTEN, text.encode())
            return write_whole(path, data, self.is_ours)
        except FileExistsError:
            raise
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror or error}. What is finished is safe, run again to go on",
            ) from error

    def is_ours(self, path: Path) -> bool:
        """Whether a file is as the run wrote it."""
        name = path.relative_to(self.path).as_posix()
        return path.is_file() and sha256_of(path) in self._written().get(name, ())

    def _written(self) -> dict[str, list[str]]:
        path = self.path / WRITTEN
        if not path.is_file():
            return {}
        return parse_sealed(read_text(path), path, require=_require_record)["files"]


def _require_record(values: Mapping[str, Any], path: Path) -> None:
    if values.get("format") != FILES_FORMAT:
        raise ValueError(
            f"{path} is no list of a run's files (format {values.get('format')!r}); it is left alone. Move it away "
            "or give another folder"
        )


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object of the run's own; None where there is no file.

    Raises:
        ValueError: If it is damaged.
    """
    if not path.is_file():
        return None
    try:
        held = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); give a new folder") from error
    if not isinstance(held, dict):
        raise ValueError(
            f"{path} must hold an object, got {type(held).__name__}; give a new folder"
        )
    return held


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
    """Whether a file is one of those that a run writes before its folder is marked.

    An empty lock, half a config, and for an instant what it tries the places of its files with (it may be gone again).
    """
    if is_partial(path):
        is_ours = path.name.startswith(tuple(f".{name}." for name in (CONFIG, WRITTEN, *OUTPUTS)))
        return is_ours and not (path.is_symlink() or path.is_dir())
    if path.is_symlink() or not path.is_file():
        return False
    is_lock = path.name == LOCK or SHARD_LOCK.fullmatch(path.name)
    return bool(is_lock) and not path.stat().st_size


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
