"""Everything that writes or removes: nothing of anyone else is touched, and a kill leaves the old or the new.

The rule. A file is replaced only by one of its kind, and only if it carries this library's seal, which is a hash of its
own contents and names the kind: what someone else made, or changed since, has none and is refused by name, and no page
takes the place of results. A folder is replaced only if it lists its files with their hashes. What is not complete yet
lies beside its place under a name that only this library gives (``.NAME.HOST.PID.ID.sadi_lens-partial``); only such
names are removed again, and only if the process that gave them ran on this machine and is gone.
"""

import contextlib
import ctypes
import functools
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable
from errno import EINVAL, ENOSYS, ENOTSUP
from pathlib import Path

from sadi_lens.types.reading import read_bytes
from sadi_lens.types.seals import FIGURES, kind_of, may_replace, sha256

_PARTIAL = re.compile(
    r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})\.(?P<pid>\d+)\.[0-9a-f]{32}\.sadi_lens-(partial|old)",
    re.DOTALL,
)
Kind = str | Callable[[Path], bool] | None
"""What will be written, or whether a file that is there may be replaced; None: nothing may."""
_REMEDY = "it is left alone. Move it away or give another place"


def partial(path: Path, kind: str = "partial") -> Path:
    """A name beside ``path`` for what is not complete yet; no two calls give the same."""
    name = f".{_short(path.name)}.{_host()}.{os.getpid()}.{uuid.uuid4().hex}.sadi_lens-{kind}"
    return path.with_name(name)


def _short(name: str) -> str:
    """Enough of a name that the longest with what ``partial`` adds is still a file name."""
    return os.fsencode(name)[:100].decode("utf-8", "ignore")


def is_partial(path: Path) -> bool:
    """Whether ``path`` has a name that ``partial`` gave."""
    return _PARTIAL.fullmatch(path.name) is not None


def remove_partials(folders: Iterable[Path]) -> None:
    """Remove what processes that are gone left incomplete directly in ``folders``."""
    for folder in folders:
        for path in folder.glob(".*.sadi_lens-partial"):
            match = _PARTIAL.fullmatch(path.name)
            if match and _is_gone(match):
                _remove(path)


def remove_abandoned(path: Path) -> None:
    """Remove what a process that is gone left incomplete for ``path``, and restore what it had put aside."""
    for found in sorted(path.parent.glob(".*.sadi_lens-*")):
        match = _PARTIAL.fullmatch(found.name)
        if not match or match["name"] != _short(path.name) or not _is_gone(match):
            continue
        if found.name.endswith("-old") and not os.path.lexists(path):
            found.rename(path)
        else:
            _remove(found)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@functools.cache
def _host() -> str:
    """Which processes can be seen by number: this machine and, in a container, this container."""
    space = ""
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # not a path
    return sha256(f"{platform.node()} {space}".encode())[:8]


def _is_gone(name: re.Match[str]) -> bool:
    """Whether a process of this machine gave the name and has ended; of others nothing is known."""
    import psutil

    pid = int(name["pid"])
    is_number = pid < 1 << 31  # larger is no number of a process
    return name["host"] == _host() and not (is_number and psutil.pid_exists(pid))


def require_place(path: Path, kind: Kind = None) -> None:
    """Refuse a place that cannot be written, or that holds anything but an earlier file of the same kind.

    To be called before anything is computed; nothing is left behind.

    Args:
        path: File to be written.
        kind: What it will be (``seals.kind_of``), or whether a file that is there may be replaced. Default: what a
            figure is in a file of this ending.
    """
    _require_ours(path, kind or FIGURES.get(path.suffix))
    probe = partial(require_parent(path) / path.name)
    try:
        probe.touch()
    except OSError as error:
        raise _named(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def require_parent(path: Path) -> Path:
    """The nearest folder above ``path`` that is there; refused where something else is in its place."""
    folder = path.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{folder} is not a folder, so {path} cannot be written; {_REMEDY}"
        )
    return folder


def require_room(path: Path, n_bytes: int = 1 << 20) -> None:
    """Refuse a place where no more can be written: what others say of a full disk is often something else."""
    probe = partial(path)
    try:
        probe.write_bytes(bytes(n_bytes))
    except OSError as error:
        raise _named(error, path) from error
    finally:
        probe.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, is_ours: Callable[[Path], bool] | None = None) -> Path:
    """Write a file beside its place and move it there when it is complete and on the disk.

    Args:
        path: File to be written.
        data: Its contents.
        is_ours: Whether a file that is there may be replaced. Default: if its seal names the kind that the seal of
            ``data`` names; without a seal, nothing is replaced.

    Raises:
        OSError: If it cannot be written, or anything but an earlier file of its kind is there, which is left.
    """
    kind = is_ours or kind_of(data)
    _require_ours(path, kind)
    require_parent(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path)
        new = partial(path)
        try:
            new.write_bytes(data)
            sync(new)
            _require_ours(path, kind)
            if path.exists():
                shutil.copymode(path, new)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        if error.errno is None:  # of ``_require_ours``
            raise
        raise _named(error, path) from error
    return path


def write_or_keep(path: Path, data: bytes) -> Path:
    """``write_whole`` for what took long to compute: where the place refuses, a copy is kept in a temporary folder.

    Raises:
        OSError: If ``path`` was not written; it says where the copy is.
    """
    try:
        return write_whole(path, data)
    except OSError as error:
        kept = _keep(path.name, data)
        if kept is None:
            raise
        raise type(error)(f"{error}. Nothing is lost: it is in {kept}") from error


def _keep(name: str, data: bytes) -> Path | None:
    """Where a copy is now; None where there is no room for it either."""
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="sadi_lens-"))
        (folder / name).write_bytes(data)
        return folder / name
    except OSError:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return None


def sync(path: Path) -> None:
    """Wait until a file or the names of a folder are on the disk."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return
    number = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(number)
    except OSError as error:
        if not (is_folder and error.errno in (EINVAL, ENOTSUP)):  # not every file system can
            raise
    finally:
        os.close(number)


def replace_folder(new: Path, path: Path) -> None:
    """Put the folder ``new`` in the place of the folder ``path``, which is removed; the caller knows what it holds.

    On Linux and macOS the two are exchanged in one step. Elsewhere a kill between two steps leaves the old one beside
    its place, and ``remove_abandoned`` restores it.
    """
    for one in (*new.iterdir(), new):
        sync(one)
    if not os.path.lexists(path):
        new.rename(path)
    elif _exchange(new, path):
        shutil.rmtree(new)
    else:
        old = partial(path, "old")
        path.rename(old)
        try:
            new.rename(path)
        except BaseException:
            if not os.path.lexists(path):
                old.rename(path)
            raise
        shutil.rmtree(old)
    sync(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        paths = os.fsencode(one), os.fsencode(other)
        if sys.platform == "darwin":
            failed = libc.renamex_np(*paths, ctypes.c_uint(2))  # RENAME_SWAP
        else:
            failed = libc.renameat2(
                -100, paths[0], -100, paths[1], ctypes.c_uint(2)
            )  # AT_FDCWD, RENAME_EXCHANGE
    except (OSError, AttributeError, TypeError):  # no such function here
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in (ENOSYS, EINVAL, ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _require_ours(path: Path, kind: Kind) -> None:
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _named(error, path) from error
    if stat.S_ISLNK(mode):
        raise FileExistsError(f"{path} is a link; {_REMEDY}")
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder; name a file in it, or give another place")
    if not stat.S_ISREG(mode):
        raise FileExistsError(f"{path} is not a file; {_REMEDY}")
    if not mode & 0o222:
        raise FileExistsError(f"{path} is read-only; {_REMEDY}")
    found = None if callable(kind) else kind_of(read_bytes(path))
    if kind(path) if callable(kind) else may_replace(kind, found):
        return
    if kind is None:
        raise FileExistsError(f"{path} exists, and this file replaces none; {_REMEDY}")
    if callable(kind) or found is None:
        words = "exists and was not written by sadi_lens, or was changed since"
    else:
        words = f"is a file of another kind ({found}), which no {kind} replaces"
    raise FileExistsError(f"{path} {words}; {_REMEDY}")


def _named(error: OSError, path: Path) -> OSError:
    return type(error)(
        error.errno, f"cannot write {path}: {error.strerror or error}; make room or give another place"
    )  # fmt: skip
