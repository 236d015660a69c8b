"""Per-item results of a cell: a Parquet file each, made from the finished cell."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sadi_lens.apps.experiments.cells import Cell
from sadi_lens.apps.experiments.folder import RunFolder
from sadi_lens.types.seals import sha256, sha256_of
from sadi_lens.types.store import load

if TYPE_CHECKING:
    import pandas as pd


def write_items(folder: RunFolder, cell: Cell, items: "pd.DataFrame | None" = None) -> None:
    """Write the per-item results of a finished cell as Parquet, unless they stand there.

    Args:
        folder: Of the run.
        cell: Whose.
        items: ``items_of`` the cell: a file of others, of a cell that was removed and run again, is replaced. Default:
            they are read where there is no file.
    """
    path = folder.path / "items" / f"{cell.id}.parquet"
    if items is None:
        if folder.is_ours(path):
            return
        items = items_of(cell, held_of(folder, cell))
    data = parquet(items)
    if not path.is_file() or sha256_of(path) != sha256(data):
        folder.write(path, data)


def held_of(folder: RunFolder, cell: Cell) -> Any:
    """What a finished cell holds.

    Raises:
        ValueError: If it is damaged; it is named.
    """
    try:
        return load(folder.cell(cell.id))
    except (ValueError, OSError) as error:
        raise ValueError(f"{error}. Remove {folder.cell(cell.id)} and run again") from error


def parquet(frame: "pd.DataFrame") -> bytes:
    """A frame as a Parquet file."""
    # Without a place it returns what it would write.
    data: Any = frame.to_parquet(None, index=False)
    return data


def items_of(cell: Cell, found: dict[str, Any]) -> "pd.DataFrame":
    """One row for every item of every scoring."""
    import pandas as pd

    axes = {key: str(value) for key, value in asdict(cell).items()}
    parts: list[pd.DataFrame] = []
    for scoring, one in (found.get("test") or {}).items():
        columns: dict[str, Any] = {
            **axes,
            "scoring": scoring,
            "item": np.arange(one.n),
            "correct": one.correct,
            "margin": one.margins,
            "valid": one.valid,
            "text": np.array(one.texts or [""] * one.n, dtype=object),
        }
        for name, values in (found.get("truthful") or {}).items():
            columns[name] = values if scoring == "sum" else np.full(one.n, np.nan)
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts) if parts else pd.DataFrame({key: [] for key in axes})
