"""K x strength, and the cell that was chosen."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from sadi_lens.types import ArrayEq, ModelInfo

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Choice:
    """A cell of a sweep and why it was taken."""

    k: int
    strength: float
    accuracy: float
    chosen_on: str
    """Split the choice was made on."""
    reason: str


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
        reason = (
            f"highest accuracy of {np.isfinite(self.accuracy).sum()} cells on {self.split} "
            f"({accuracy:.1%}, unsteered {self.unsteered_accuracy:.1%}, n = {self.n})"
        )
        if self.split != "dev":
            reason += f"; chosen on {self.split}, so its accuracy is optimistic"
            warnings.warn(
                f"best() chose K and strength on the {self.split} split; the accuracy it reports is "
                "optimistic. Choose on dev, report on test.",
                stacklevel=2,
            )
        return Choice(
            int(self.ks[row]), float(self.strengths[column]), accuracy, self.split, reason
        )
