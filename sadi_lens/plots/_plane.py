"""The plane in which arrows are longest."""

from typing import NamedTuple

import numpy as np


class Plane(NamedTuple):
    """The two directions of most movement, and the states in them."""

    before: np.ndarray
    """[item 2]."""
    after: np.ndarray
    """[method item 2]."""
    share: float
    """Share of the squared length of all arrows, as long as they are, that lies in the plane."""


def project(before: np.ndarray, after: np.ndarray) -> Plane:
    """Coordinates in the two directions along which the states move furthest, signs fixed by the data.

    Every method counts alike, whatever the length of its arrows. Where nothing moves, or all along one line, the
    directions in which the unsteered states differ most take the free places.
    """
    centre = before.mean(axis=0, dtype=np.float64)
    before, after = before.astype(np.float64), after.astype(np.float64)
    moves = after - before[None]
    lengths = np.sqrt((moves**2).sum(axis=-1).mean(axis=-1))[:, None, None]
    alike = (moves / np.where(lengths > 0, lengths, 1)).reshape(-1, before.shape[1])
    directions = _main_directions(alike, 2)
    states = before - centre
    for _ in range(2 - len(directions)):
        free = states - states @ directions.T @ directions
        directions = np.concatenate([directions, _main_directions(free, 1)])
    directions = np.pad(directions, ((0, 2 - len(directions)), (0, 0)))
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    directions = directions * np.where(largest < 0, -1, 1)
    share = ((moves @ directions.T) ** 2).sum() / (float((moves**2).sum()) or 1.0)
    return Plane(states @ directions.T, (after - centre) @ directions.T, float(share))


def _main_directions(rows: np.ndarray, most: int) -> np.ndarray:
    """The directions [direction d] that hold most of the squared length of rows; none where it is 0."""
    # The smaller Gram matrix: a thousand prompts of width 4096 take well under a second.
    if rows.shape[0] < rows.shape[1]:
        values, vectors = np.linalg.eigh(rows @ rows.T)
        vectors = rows.T @ vectors
    else:
        values, vectors = np.linalg.eigh(rows.T @ rows)
    kept = np.argsort(-values)[:most]
    kept = kept[values[kept] > 1e-9 * float(values.max(initial=0))]
    found = vectors[:, kept].T
    return found / np.linalg.norm(found, axis=1, keepdims=True)
