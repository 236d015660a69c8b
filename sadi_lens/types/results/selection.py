"""How much of the best accuracy of a grid is choosing alone: split halves."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sadi_lens.types.invariants import Consistent

MIN_SPLIT = 4
"""Items, or clusters of them, of which halves can be made."""


@dataclass(frozen=True, eq=False)
class Selection(Consistent):
    """Split-half estimate of the optimism of a best-of-grid accuracy, by cluster where items share one."""

    n_splits: int
    chosen: float
    """Mean accuracy of the chosen cell on the half it was chosen on."""
    held_out: float
    """Mean accuracy of the same cell on the other half."""
    optimism: float
    """``chosen - held_out``: what choosing alone adds, at half the items (clusters)."""
    held_out_gain: float
    """``held_out`` minus the unsteered accuracy on the same half."""


def split_halves(
    cells: Float[np.ndarray, "cell item"],
    base: Float[np.ndarray, " item"],
    clusters: Int[np.ndarray, " item"] | None,
    *,
    n_splits: int,
    seed: int,
) -> Selection:
    """Choose a cell on one half of the items, measure it on the other; no cluster lies in both.

    Args:
        cells: Right (1) or wrong (0) in every cell.
        base: The same of the unsteered model, which is chosen where no cell does better.
        clusters: Number of each item's cluster; None: items are independent.
        n_splits: Random splits; each half is chosen on once.
        seed: Of the splits.
    """
    codes = np.arange(base.size) if clusters is None else clusters
    names, offered = np.unique(codes), np.vstack([base, cells])
    rng = np.random.default_rng(seed)
    found: list[tuple[float, float, float]] = []
    for _ in range(n_splits):
        first = np.isin(codes, rng.permutation(names)[: names.size // 2])
        for here in (first, ~first):
            chosen = int(offered[:, here].mean(axis=1).argmax())  # ties go to the first
            found.append(
                (
                    float(offered[chosen, here].mean()),
                    float(offered[chosen, ~here].mean()),
                    float(base[~here].mean()),
                )
            )
    seen, held_out, unsteered = (float(one) for one in np.mean(found, axis=0))
    return Selection(n_splits, seen, held_out, seen - held_out, held_out - unsteered)
