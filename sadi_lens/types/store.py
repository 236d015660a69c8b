"""Saving and loading: a folder of config.json and its arrays, or one JSON file for a whole run.

Nothing is pickled. The arrays lie in a file that is named by the hash of its contents, and config.json, which names it
and carries a hash of its own, is replaced in one step: a reader, or whoever comes after a crash, finds the old object
or the new one. The library's version and the model's fingerprint are inside.
"""

import errno
import os
import re
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sadi_lens.types.checks import as_path, checked
from sadi_lens.types.encoding import decode, encode
from sadi_lens.types.files import (
    is_partial,
    partial,
    remove_abandoned,
    require_parent,
    sync,
    write_or_keep,
    write_whole,
)
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.reading import read_bytes, read_text
from sadi_lens.types.seals import parse_sealed, sealed_json, sha256

FORMAT_VERSION = 2
CONFIG = "config.json"
_ARRAYS = re.compile(r"arrays-[0-9a-f]{64}\.safetensors")


@checked()
def save(thing: Any, path: str | Path) -> Path:
    """Write a mask, differences, an intervention or a result as a folder, which is returned; replaces an earlier one.

    Args:
        thing: An object of one of ``sadi_lens.types.encoding.MODULES``; numbers, texts and numpy arrays; dicts, lists
            and tuples of them.
        path: Folder to write.

    Raises:
        TypeError: If ``thing`` holds another type, which would not come back as it was.
        ValueError: If its parts contradict each other.
        FileExistsError: If ``path`` exists and is not such a folder.
        OSError: If it cannot be written; what was there before is left.

    Example:
        >>> mask = sl.Mask.from_units("head", [(2, 2), (3, 1)], model)
        >>> sl.save(mask, folder / "mask").name
        'mask'
        >>> sl.load(folder / "mask") == mask
        True
    """
    from safetensors.numpy import save as to_bytes

    path = as_path("path", path)
    require_folder(path)
    arrays: dict[str, np.ndarray] = {}
    encoded = encode(thing, "thing", arrays)
    data = to_bytes(arrays)
    name = f"arrays-{sha256(data)}.safetensors"
    text = sealed_json({**_header(), "arrays": name, "object": encoded}).encode()
    remove_abandoned(path)
    if not os.path.lexists(path):
        _write_first(path, name, data, text)
    else:
        with _locked(path):
            write_whole(path / name, data, lambda _: True)
            write_whole(path / CONFIG, text)
            for one in path.iterdir():
                if _ARRAYS.fullmatch(one.name) and one.name != name:
                    one.unlink(missing_ok=True)
    return path


def _write_first(path: Path, name: str, data: bytes, text: bytes) -> None:
    """A new folder appears whole; if another process was first, the two are of one kind and the later one counts."""
    new = partial(path)
    try:
        write_whole(new / name, data)
        write_whole(new / CONFIG, text)
        new.rename(path)
        sync(path.parent)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise FileExistsError(
                f"{path} was made by another process meanwhile; save again"
            ) from error
        reason = error.strerror or str(error)
        raise type(error)(error.errno, f"cannot write {path}: {reason}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def require_folder(path: Path) -> None:
    """Refuse a place for ``save`` that holds anything but a saved object; to be called before anything is computed."""
    if not os.path.lexists(path):
        require_parent(path)
        return
    try:
        _ = _parse(path / CONFIG)["arrays"]
        foreign = [one for one in path.iterdir() if not _is_own_name(one)]
    except (OSError, ValueError, KeyError):
        foreign = [path]
    if foreign:
        raise FileExistsError(
            f"{path} exists and was not written by sadi_lens.save, or was changed since ({foreign[0].name}); it is "
            "left alone. Move it away or give another place"
        )


def _is_own_name(path: Path) -> bool:
    named = path.name == CONFIG or _ARRAYS.fullmatch(path.name) or is_partial(path)
    is_gone = not path.exists()  # another process that saves here has finished with it
    return bool(named) and not path.is_symlink() and (path.is_file() or is_gone)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """One writer at a time where the system can lock a folder; a killed one holds nothing."""
    number = None
    with suppress(ImportError, OSError):  # Windows; some network file systems
        import fcntl

        number = os.open(folder, os.O_RDONLY)
        fcntl.flock(number, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if number is not None:
            os.close(number)


@checked()
def load(
    path: str | Path,
    *,
    model: HookedModel | ModelInfo | None = None,
    allow_other_weights: bool = False,
) -> Any:
    """Read what ``save`` wrote, equal to what was saved.

    Args:
        path: The folder.
        model: The model it is to be used with; a different one is refused.
        allow_other_weights: Accept a model of the same shape with other weights (a fine-tune, say).

    Raises:
        FileNotFoundError: If there is no such artifact.
        ValueError: If it is damaged, was changed, is of another format, or was made on another model.

    Example:
        >>> mask = sl.Mask.from_units("head", [(2, 2), (3, 1)], model)
        >>> path = sl.save(mask, folder / "mask")
        >>> sl.load(path, model=model).units
        ((2, 2), (3, 1))
    """
    path = as_path("path", path)
    if not (path / CONFIG).is_file():
        raise FileNotFoundError(
            f"path {path} holds no {CONFIG}; it is not a saved sadi_lens object"
        )
    config, arrays = _read(path)
    thing = decode(config["object"], arrays, f"{path}, written by {_writer(config)},")
    if model is not None:
        for one in _objects(thing):
            _require_same_model(one, ModelInfo.of(model), path, allow_other_weights)
    return thing


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Config and arrays that belong together, also while another process replaces them."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    config = _parse(path / CONFIG)
    name = config.get("arrays")
    if not isinstance(name, str) or not _ARRAYS.fullmatch(name):
        raise ValueError(f"{path / CONFIG} names no arrays file, got {name!r}")
    try:
        data = read_bytes(path / name)
    except FileNotFoundError as error:
        if _parse(path / CONFIG)["arrays"] != name:
            return _read(path)
        raise ValueError(f"{path} is incomplete: it lacks {name}") from error
    if f"arrays-{sha256(data)}.safetensors" != name:
        raise ValueError(f"{path / name} cannot be read: it does not have the checksum in its name")
    try:
        return config, from_bytes(data)
    except SafetensorError as error:
        raise ValueError(f"{path / name} cannot be read: {error}") from error


def _objects(thing: Any) -> Iterator[Any]:
    """Every object in dicts, lists and tuples."""
    if isinstance(thing, dict) or type(thing) in (list, tuple):
        for one in thing.values() if isinstance(thing, dict) else thing:
            yield from _objects(one)
    else:
        yield thing


def write_json(results: Mapping[str, Any], path: str | Path) -> Path:
    """Write results as one JSON file that holds everything needed to draw them again.

    Raises:
        TypeError: If a type would not come back as it was.
        ValueError: If parts contradict each other.
        OSError: If ``path`` holds anything but earlier results (it is left), or cannot be written: then a copy is
            kept in a temporary folder, which the message names.
    """
    config = sealed_json({**_header(), "object": encode(dict(results), "results", None)})
    return write_or_keep(as_path("path", path), config.encode())


def read_json(path: str | Path) -> dict[str, Any]:
    """Read what ``write_json`` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, not written by sadi_lens, damaged or changed.
    """
    path = as_path("path", path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; `sadi-lens demo` writes one")
    config = _parse(path)
    found = decode(config["object"], {}, f"{path}, written by {_writer(config)},")
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, not the results of a run")
    return found


def read_header(path: str | Path) -> dict[str, Any]:
    """What stands beside the results in a file of ``write_json``: format and versions.

    Raises:
        OSError: If there is no such file.
        ValueError: If it was not written by sadi_lens.
    """
    return {key: value for key, value in _parse(as_path("path", path)).items() if key != "object"}


def versions() -> dict[str, str]:
    """Of this library and of those that decide a number."""
    found: dict[str, str] = {}
    for package in ("sadi_lens", "torch", "transformers", "transformer_lens", "numpy"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _header() -> dict[str, Any]:
    return {"format": "sadi_lens", "format_version": FORMAT_VERSION, "versions": versions()}


def _parse(path: Path) -> dict[str, Any]:
    config = parse_sealed(read_text(path), path, require=_require_format)
    if "object" not in config:
        raise ValueError(f"{path} is incomplete: it holds no object")
    return config


def _writer(config: Mapping[str, Any]) -> str:
    found = config.get("versions")
    return f"sadi_lens {found.get('sadi_lens', '?') if isinstance(found, dict) else '?'}"


def _require_format(config: Mapping[str, Any], path: Path) -> None:
    if config.get("format") != "sadi_lens":
        raise ValueError(f"{path} was not written by sadi_lens (no format mark)")
    found = config.get("format_version")
    if found != FORMAT_VERSION:
        theirs = f"{path}, written by {_writer(config)}, has format version {found}"
        raise ValueError(f"{theirs}, this library reads {FORMAT_VERSION}")


def _require_same_model(thing: Any, info: ModelInfo, path: Path, allow: bool) -> None:
    mask = thing if isinstance(thing, Mask) else getattr(thing, "mask", None)
    made_on = getattr(thing, "model", None) or getattr(mask, "model", None)
    if made_on is None:
        getattr(thing, "check", lambda _: None)(info)
        return
    if made_on.shape != info.shape:
        raise ValueError(
            f"{path} was made on {made_on.name} ({made_on.shape}), not on {info.name} ({info.shape})"
        )
    if made_on.fingerprint != info.fingerprint and not allow:
        raise ValueError(
            f"{path} was made on {made_on.name} with weights {made_on.fingerprint}; {info.name} has the same "
            f"shape but weights {info.fingerprint}. Pass allow_other_weights=True to use it all the same."
        )
