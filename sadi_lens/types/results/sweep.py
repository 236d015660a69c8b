"""K x strength, and the cell that is chosen."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from sadi_lens.types.checks import checked
from sadi_lens.types.invariants import Consistent
from sadi_lens.types.model import ModelInfo
from sadi_lens.types.results.choice import Choice, valid_floor
from sadi_lens.types.results.selection import MIN_SPLIT, Selection, split_halves
from sadi_lens.types.stats import standard_error

if TYPE_CHECKING:
    import pandas as pd


CELLS = ("accuracy", "margin", "valid_rate", "correct", "balanced_accuracy", "standard_errors")
"""Arrays of a sweep that begin with the axes [k strength]."""


@dataclass(frozen=True, eq=False)
class Sweep(Consistent):
    """Accuracy, margin and valid-answer rate over K x strength, on the same items as the unsteered model.

    Both axes ascend, in whatever order they were given.
    """

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
    balanced_accuracy: Any = None
    """Array [k strength] of ``Picks.balanced_accuracy``; None where the task has no few answers to count."""
    unsteered_balanced_accuracy: float = float("nan")
    clusters: Any = None
    """Int array [item]: number of each item's cluster; None where no two items share one."""
    standard_errors: Any = None
    """Array [k strength]: standard error of each accuracy, by cluster; None where items are independent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        axes = {"ks": self.ks, "strengths": self.strengths}
        if all(list(axis) == sorted(axis) for axis in axes.values()):
            return
        orders = [np.argsort(axis, kind="stable") for axis in axes.values()]
        for name in CELLS:
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, np.asarray(values)[np.ix_(*orders)])
        for name, axis in axes.items():
            object.__setattr__(self, name, tuple(sorted(axis)))

    @property
    def n_independent(self) -> int:
        """Clusters of items; items, where no two share one."""
        return self.n if self.clusters is None else len(set(np.asarray(self.clusters).tolist()))

    def frame(self) -> "pd.DataFrame":
        """One row per cell."""
        import pandas as pd

        k, strength = np.meshgrid(self.ks, self.strengths, indexing="ij")
        balanced = self.balanced_accuracy
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
                "balanced_accuracy": float("nan") if balanced is None else np.ravel(balanced),
                "n": self.n,
                "split": self.split,
            }
        )

    @checked()
    def best_cell(self, *, min_valid: float | None = None) -> tuple[int, int]:
        """Row and column of the best cell of those that keep to the floor of ``best``; of all, if none does.

        Raises:
            ValueError: If no cell was finished.
        """
        if np.isnan(self.accuracy).all():
            raise ValueError("no cell of this sweep was finished, so there is no best one")
        kept = self._kept(min_valid)
        found = np.flatnonzero(kept.ravel() if kept.any() else ~np.isnan(self.accuracy).ravel())
        row, column = np.unravel_index(int(found[self._order(found)[0]]), self.accuracy.shape)
        return int(row), int(column)

    @checked()
    def best(self, *, min_valid: float | None = None) -> Choice:
        """The cell with the highest accuracy, or the unsteered model where no cell does better.

        Ties go to the larger margin, then smaller K and strength. The unsteered model is a candidate like the others,
        at strength 0, so that what is built from the choice changes nothing.

        Meant for a dev split. On any other split the choice is optimistic: it warns, and the result says so.

        Args:
            min_valid: Least valid-answer rate of a cell, in [0, 1]; default ``MIN_VALID`` times the unsteered one.

        Raises:
            ValueError: If no cell was finished, or ``min_valid`` is out of range.
        """
        row, column = self.best_cell(min_valid=min_valid)
        if not self._beats_unsteered(row, column, min_valid):
            return self._unsteered(row, column, min_valid)
        accuracy = float(self.accuracy[row, column])
        return self._choice(
            row,
            column,
            f"highest accuracy of {np.isfinite(self.accuracy).sum()} cells on {self.split} "
            f"({accuracy:.1%}, unsteered {self.unsteered_accuracy:.1%}, n = {self.n})"
            f"{self._left_out(accuracy, min_valid)}",
            min_valid,
        )

    def _kept(self, min_valid: float | None) -> Bool[np.ndarray, "k strength"]:
        """Finished cells that keep to the floor."""
        floor = valid_floor(self.unsteered_valid_rate, min_valid)
        with np.errstate(invalid="ignore"):
            return ~np.isnan(self.accuracy) & (self.valid_rate >= floor - 1e-12)

    def _order(self, cells: np.ndarray) -> np.ndarray:
        """Places of cells (flat indices), the best first."""
        k, strength = np.meshgrid(self.ks, self.strengths, indexing="ij")
        # The last key counts first; NaN (an unfinished cell) sorts last.
        keys = (strength, k, -self.margin, -self.accuracy)
        return np.lexsort([key.ravel()[cells] for key in keys])

    def _beats_unsteered(self, row: int, column: int, min_valid: float | None) -> bool:
        if not self._kept(min_valid)[row, column]:
            return False
        own = (float(self.accuracy[row, column]), float(self.margin[row, column]))
        return own > (self.unsteered_accuracy, self.unsteered_margin)  # a NaN margin is not larger

    def _left_out(self, accuracy: float, min_valid: float | None) -> str:
        """The cells that the floor kept from being chosen, in words."""
        with np.errstate(invalid="ignore"):
            better = int(((self.accuracy > accuracy) & ~self._kept(min_valid)).sum())
        floor = valid_floor(self.unsteered_valid_rate, min_valid)
        return f"; {better} with more keep fewer than {floor:.0%} valid answers" if better else ""

    def _unsteered(self, row: int, column: int, min_valid: float | None) -> Choice:
        reason = (
            f"unsteered: no cell of {np.isfinite(self.accuracy).sum()} does better on {self.split} "
            f"({self.unsteered_accuracy:.1%}, n = {self.n}"
        )
        if self._kept(min_valid)[row, column]:
            reason += f"; the best cell {float(self.accuracy[row, column]):.1%}"
        reason += ")" + self._left_out(self.unsteered_accuracy, min_valid)
        accuracy = self.unsteered_accuracy
        return Choice(int(self.ks[0]), 0.0, accuracy, self.split, self._warned(reason), self.axis)

    def stable_region(self, *, min_valid: float | None = None) -> Bool[np.ndarray, "k strength"]:
        """Cells as good as the best one, as near as a rule of thumb says: accuracy within one standard error of it.

        At 0% and 100% the usual error is 0, as if nothing else could have been: there two items of either sort are
        added (Agresti and Coull, 1998).

        Args:
            min_valid: See ``best``; where any cell keeps to the floor, only such cells count.

        Raises:
            ValueError: If no cell was finished.
        """
        place = self.best_cell(min_valid=min_valid)
        kept = self._kept(min_valid)
        with np.errstate(invalid="ignore"):  # NaN (an unfinished cell) is outside
            near = self.accuracy >= float(self.accuracy[place]) - self._error(place) - 1e-12
        return near & kept if kept.any() else near

    def _error(self, place: tuple[int, int]) -> float:
        """Standard error of the accuracy of a cell; never 0."""
        accuracy = float(self.accuracy[place])
        if accuracy in (0, 1):
            n = self.n_independent + 4
            return standard_error((accuracy * (n - 4) + 2) / n, n)
        if self.standard_errors is not None:
            return float(self.standard_errors[place])
        return standard_error(accuracy, self.n)

    @checked()
    def stable(self, *, min_valid: float | None = None) -> Choice:
        """The cell of the stable region whose neighbourhood is best: the one farthest from a cliff.

        Neighbourhood: the cell and the up to eight beside it on the grid, their mean accuracy. Ties go to the smaller
        strength, then the smaller K. Where ``best`` takes the unsteered model, so does this. Warns as ``best`` does on
        a split other than dev.

        Args:
            min_valid: See ``best``.
        """
        place = self.best_cell(min_valid=min_valid)
        if not self._beats_unsteered(*place, min_valid):
            return self._unsteered(*place, min_valid)
        region = self.stable_region(min_valid=min_valid)
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
            min_valid,
        )

    def cliffs(self) -> Bool[np.ndarray, "k strength"]:
        """Cells below the floor that ``best`` keeps to by default: the model is broken there, not wrong."""
        with np.errstate(invalid="ignore"):
            return self.valid_rate < valid_floor(self.unsteered_valid_rate, None) - 1e-12

    @checked()
    def selection(self, *, n_splits: int = 200, seed: int = 0) -> "Selection":
        """How much of the best accuracy is selection: choose on one half of the items, measure on the other.

        As ``best`` chooses: among the cells that keep valid answers (on all items), and the unsteered model where none
        does better; margins, which decide ties there, play no part. Items of one cluster stay in one half.

        Raises:
            ValueError: If the items were not kept, or there are fewer than 4 (or 4 clusters).
        """
        if self.correct is None or self.unsteered_correct is None:
            raise ValueError("selection() needs the items: sweep(..., keep_items=True)")
        if self.n_independent < MIN_SPLIT:
            of = "items" if self.clusters is None else "clusters of items"
            raise ValueError(
                f"selection() needs at least {MIN_SPLIT} {of}, got {self.n_independent}"
            )
        cells = np.asarray(self.correct, dtype=float).reshape(-1, self.n)[self._kept(None).ravel()]
        base = np.asarray(self.unsteered_correct, dtype=float)
        return split_halves(cells, base, self.clusters, n_splits=n_splits, seed=seed)

    def _choice(self, row: int, column: int, reason: str, min_valid: float | None) -> Choice:
        error = self._error(self.best_cell(min_valid=min_valid))
        region, cliffs = self.stable_region(min_valid=min_valid), self.cliffs()
        reason += (
            f"; {int(region.sum())} cells lie within one standard error ({100 * error:.1f} points)"
        )
        if cliffs.any():
            n = int(cliffs.sum())
            reason += f"; valid answers collapse in {n} cell{'s' if n > 1 else ''}"
        if cliffs[row, column]:
            reason += (
                f", this one ({self.valid_rate[row, column]:.0%}, unsteered "
                f"{self.unsteered_valid_rate:.0%}) among them"
            )
        accuracy = float(self.accuracy[row, column])
        k, strength = int(self.ks[row]), float(self.strengths[column])
        return Choice(k, strength, accuracy, self.split, self._warned(reason), self.axis)

    def _warned(self, reason: str) -> str:
        """The reason, with what is wrong with a choice that was not made on dev."""
        if self.split == "dev":
            return reason
        warnings.warn(
            f"best() chose K and strength on the {self.split} split; the accuracy it reports is "
            "optimistic. Choose on dev, report on test.",
            stacklevel=5,
        )
        return f"{reason}; chosen on {self.split}, so its accuracy is optimistic"
