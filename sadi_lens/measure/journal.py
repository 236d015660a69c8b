"""Finished calls of a run on disk: the same command again reads them and goes on with what is missing.

What a call gave lies in a folder that is named by a hash of everything it was computed from: items, interventions,
settings, weights, versions of the libraries. So a changed setting computes anew what depends on it, and nothing is read
that another call wrote.
"""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sadi_lens.types.encoding import encode
from sadi_lens.types.seals import sha256
from sadi_lens.types.store import load, save, versions

T = TypeVar("T")
_FOLDER: ContextVar[Path | None] = ContextVar("journal", default=None)


@contextmanager
def journal(folder: Path | None) -> Generator[None]:
    """Within it, the result of every call of ``kept`` is kept in ``folder``, and read where it is there already.

    None: nothing is kept and nothing read.
    """
    before = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(before)


def kept(what: str, call: Callable[[], Any], compute: Callable[[], T]) -> T:
    """What ``compute`` gives, or gave before; computed anyway where there is no journal.

    Args:
        what: In words, for the name of the folder.
        call: Gives all that the result depends on; of types that ``sadi_lens.save`` knows, otherwise nothing is kept.
        compute: Computes it.

    Raises:
        ValueError: If what is there is damaged; the folder is named.
        OSError: If it cannot be written.
    """
    folder = _FOLDER.get()
    if folder is None:
        return compute()
    arrays: dict[str, np.ndarray] = {}
    try:
        values = encode({"call": call(), "versions": versions()}, "call", arrays)
    except TypeError:  # an intervention of a class from elsewhere
        return compute()
    digest = sha256(
        json.dumps(values, sort_keys=True).encode()
        + b"".join(one.tobytes() for one in arrays.values())
    )
    place = folder / f"{what.replace(' ', '-')}-{digest[:16]}"
    if place.exists():
        return load(place)
    found = compute()
    save(found, place)
    return found
