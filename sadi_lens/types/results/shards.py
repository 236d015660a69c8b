"""A part of a result that one of several processes computed."""

from dataclasses import dataclass
from typing import Any

from sadi_lens.types.invariants import Consistent


@dataclass(frozen=True, eq=False)
class Shard(Consistent):
    """What one process computed of a call that several share."""

    index: int
    """From 0."""
    count: int
    """Shards in all."""
    call: str
    """Name of the function."""
    settings: str
    """Hash of model, all items and every argument that decides a number."""
    items: str
    """Hash of all items, of all shards."""
    n: int
    """Items of this shard."""
    value: Any
    """What the function returned for them."""
    made_with: str = ""
    """Dtype of the model and versions of the libraries, which decide numbers, too."""
