"""K x strength, and the cell that was chosen."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from sadi_lens.types.base import ArrayEq
from sadi_lens.types.model import ModelInfo
from sadi_lens.types.stats import standard_error

if TYPE_CHECKING:
    import pandas as pd

CLIFF = 0.2
"""Fall of the valid-answer rate from which a cell counts as broken."""


@dataclass(frozen=True)
class Choice:
    """A cell of a sweep and why it was taken."""

    k: int
    strength: float
    accuracy: float
    chosen_on: str
    """Split the choice was made on."""
    reason: str
    axis: str = "K"
    """What ``k`` is: ``"K"``, a number of units, or ``"layer"``."""

    @property
    def settings(self) -> str:
        """The cell in a few words, as "K 4, strength 2"."""
        return f"{self.axis} {self.k}, strength {self.strength:g}"


@dataclass(frozen=True)
class Selection:
    """Split-half estimate of the optimism of a best-of-grid accuracy."""

    n_splits: int
    chosen: float
    """Mean accuracy of the chosen cell on the half it was chosen on."""
    held_out: float
    """Mean accuracy of the same cell on the other half."""
    optimism: float
    """``chosen - held_out``: what choosing alone adds, at half the items."""
    held_out_gain: float
    """``held_out`` minus the unsteered accuracy on the same half."""


@dataclass(frozen=True, eq=False)
class Sweep(ArrayEq):
    """Accuracy, margin and valid-answer rate over K x strength, on the same items as the unsteered model."""

    component: str
    ranking: str
    method: str
    """``"scaling"`` (SADI), or the name of the fixed method that was swept in its place."""
    model: ModelInfo
    task: str
    split: str
    position: str
    n: int
    ks: tuple[int, ...]
    strengths: tuple[float, ...]
    accuracy: Float[np.ndarray, "k strength"]
    margin: Float[np.ndarray, "k strength"]
    valid_rate: Float[np.ndarray, "k strength"]
    unsteered_accuracy: float
    unsteered_margin: float
    chance: float = float("nan")
    unsteered_valid_rate: float = float("nan")
    correct: Any = None
    """Bool array [k strength item], where the items were kept (``keep_items=True``)."""
    unsteered_correct: Any = None
    """Bool array [item], where the items were kept."""
    axis: str = "K"
    """What ``ks`` are: ``"K"``, numbers of selected units, or ``"layer"``, where the method acts on one layer."""
    skipped: int = 0
    """Items left out because they do not fit the context."""

    def frame(self) -> "pd.DataFrame":
        """One row a cell."""
        import pandas as pd

        k, strength = np.meshgrid(self.ks, self.strengths, indexing="ij")
        return pd.DataFrame(
            {
                "component": self.component,
                "ranking": self.ranking,
                "k": k.ravel(),
                "strength": strength.ravel(),
                "accuracy": self.accuracy.ravel(),
                "gain": self.accuracy.ravel() - self.unsteered_accuracy,
                "margin": self.margin.ravel(),
                "valid_rate": self.valid_rate.ravel(),
                "n": self.n,
                "split": self.split,
            }
        )

    def best_cell(self) -> tuple[int, int]:
        """Row and column of the cell that ``best`` takes.

        Raises:
            ValueError: If no cell was finished.
        """
        if np.isnan(self.accuracy).all():
            raise ValueError("no cell of this sweep was finished, so there is no best one")
        k, strength = np.meshgrid(self.ks, self.strengths, indexing="ij")
        # The last key counts first; NaN (an unfinished cell) sorts last.
        order = np.lexsort(
            (strength.ravel(), k.ravel(), -self.margin.ravel(), -self.accuracy.ravel())
        )
        row, column = np.unravel_index(int(order[0]), self.accuracy.shape)
        return int(row), int(column)

    def best(self) -> Choice:
        """The cell with the highest accuracy; ties go to the larger margin, then smaller K and strength.

        Meant for a dev split. On any other split the choice is optimistic: it warns, and the result says so.
        """
        row, column = self.best_cell()
        accuracy = float(self.accuracy[row, column])
        return self._choice(
            row,
            column,
            f"highest accuracy of {np.isfinite(self.accuracy).sum()} cells on {self.split} "
            f"({accuracy:.1%}, unsteered {self.unsteered_accuracy:.1%}, n = {self.n})",
        )

    def stable_region(self) -> Bool[np.ndarray, "k strength"]:
        """Cells that the data cannot tell from the best one: accuracy within one standard error of it.

        Raises:
            ValueError: If no cell was finished.
        """
        best = float(self.accuracy[self.best_cell()])
        with np.errstate(invalid="ignore"):  # NaN (an unfinished cell) is outside
            return self.accuracy >= best - standard_error(best, self.n) - 1e-12

    def stable(self) -> Choice:
        """The cell of the stable region whose neighbourhood is best: the one farthest from a cliff.

        Neighbourhood: the cell and the up to eight beside it on the grid, their mean accuracy. Ties go to the smaller
        strength, then the smaller K. Warns as ``best`` does on a split other than dev.
        """
        region = self.stable_region()
        rows, columns = np.indices(region.shape)
        around = np.empty(region.shape)
        for row, column in zip(rows.ravel(), columns.ravel(), strict=True):
            near = (abs(rows - row) <= 1) & (abs(columns - column) <= 1) & ~np.isnan(self.accuracy)
            around[row, column] = self.accuracy[near].mean() if near.any() else -np.inf
        k, strength = np.meshgrid(self.ks, self.strengths, indexing="ij")
        score = np.where(region, around, -np.inf).round(12)
        place = np.lexsort((k.ravel(), strength.ravel(), -score.ravel()))[0]
        row, column = (int(one) for one in np.unravel_index(int(place), region.shape))
        return self._choice(
            row,
            column,
            f"best neighbourhood ({around[row, column]:.1%}) of the {int(region.sum())} cells within one standard "
            f"error of the best on {self.split} ({float(self.accuracy[row, column]):.1%}, unsteered "
            f"{self.unsteered_accuracy:.1%}, n = {self.n})",
        )

    def cliffs(self) -> Bool[np.ndarray, "k strength"]:
        """Cells in which valid answers fall more than ``CLIFF`` below the unsteered model's: broken, not wrong."""
        with np.errstate(invalid="ignore"):
            return self.valid_rate < self.unsteered_valid_rate - CLIFF

    def selection(self, *, n_splits: int = 200, seed: int = 0) -> "Selection":
        """How much of the best accuracy is selection: choose on one half of the items, measure on the other.

        Raises:
            ValueError: If the items were not kept, or there are fewer than 4.
        """
        if self.correct is None or self.unsteered_correct is None:
            raise ValueError("selection() needs the items: sweep(..., keep_items=True)")
        if self.n < 4:
            raise ValueError(f"selection() needs at least 4 items, got {self.n}")
        cells = np.asarray(self.correct, dtype=float).reshape(-1, self.n)
        base = np.asarray(self.unsteered_correct, dtype=float)
        rng = np.random.default_rng(seed)
        found: list[tuple[float, float, float]] = []
        for _ in range(n_splits):
            order = rng.permutation(self.n)
            halves = order[: self.n // 2], order[self.n // 2 :]
            for here, there in (halves, halves[::-1]):
                chosen = int(cells[:, here].mean(axis=1).argmax())
                found.append(
                    (
                        float(cells[chosen, here].mean()),
                        float(cells[chosen, there].mean()),
                        float(base[there].mean()),
                    )
                )
        seen, held_out, unsteered = (float(one) for one in np.mean(found, axis=0))
        return Selection(n_splits, seen, held_out, seen - held_out, held_out - unsteered)

    def _choice(self, row: int, column: int, reason: str) -> Choice:
        best = float(self.accuracy[self.best_cell()])
        error = standard_error(best, self.n)
        region, cliffs = self.stable_region(), self.cliffs()
        reason += (
            f"; {int(region.sum())} cells lie within one standard error ({100 * error:.1f} points)"
        )
        if cliffs.any():
            reason += f"; in {int(cliffs.sum())} cells valid answers collapse"
        if cliffs[row, column]:
            reason += (
                f", also in this one ({self.valid_rate[row, column]:.0%}, unsteered "
                f"{self.unsteered_valid_rate:.0%}): do not use it"
            )
        if self.split != "dev":
            reason += f"; chosen on {self.split}, so its accuracy is optimistic"
            warnings.warn(
                f"best() chose K and strength on the {self.split} split; the accuracy it reports is "
                "optimistic. Choose on dev, report on test.",
                stacklevel=3,
            )
        accuracy = float(self.accuracy[row, column])
        k, strength = int(self.ks[row]), float(self.strengths[column])
        return Choice(k, strength, accuracy, self.split, reason, self.axis)
