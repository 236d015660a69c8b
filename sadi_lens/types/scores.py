"""Scores of units and how the moments of contrastive pairs become them.

What needs the model as well (probes, gradients, direct logit attribution): ``sadi_lens.find.rankings``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sadi_lens.types.base import ArrayEq, require_one_of
from sadi_lens.types.checks import as_array, require_fields
from sadi_lens.types.components import unit_label
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import ModelInfo

if TYPE_CHECKING:
    import pandas as pd

RANKINGS = {
    "signed": "largest signed mean difference (the paper and its reference code)",
    "magnitude": "largest absolute mean difference",
    "l2": "longest mean difference (norm over d_head; one value a unit elsewhere: the magnitude)",
    "standardised": "largest absolute mean difference in standard errors (|t|)",
}
"""Rankings that the moments of ``activation_differences`` are enough for."""


@dataclass(frozen=True, eq=False)
class Scores(ArrayEq):
    """One score a unit under a named ranking; ``top_k_mask`` takes the units with the largest.

    Raises:
        ValueError: If ``values`` is not [layer unit] or not finite.

    Example:
        >>> found = sl.unit_scores(model, task.pairs[:10], "head", "magnitude", progress=False)
        >>> found.ranking, found.n, float(found.values.min()) >= 0
        ('magnitude', 10, True)
    """

    component: str
    ranking: str
    values: Any
    """Float array [layer unit]; in the unit of the ranking (activation units, accuracy, nats)."""
    model: ModelInfo
    n: int
    """Contrastive pairs behind it."""
    task: str = ""

    def __post_init__(self) -> None:
        require_fields(self)
        values = as_array("values", self.values, np.float32)
        if values.ndim != 2:
            raise ValueError(f"values must be [layer unit], got shape {values.shape}")
        if np.isnan(values).any():
            where = unit_label(self.component, *(int(i) for i in np.argwhere(np.isnan(values))[0]))
            raise ValueError(
                f"{int(np.isnan(values).sum())} scores of ranking {self.ranking!r} are NaN, first {where}; "
                "a unit without a score cannot be ranked"
            )
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    def frame(self) -> "pd.DataFrame":
        """One row a unit."""
        import pandas as pd

        layer, unit = np.indices(self.values.shape)
        return pd.DataFrame(
            {
                "component": self.component,
                "layer": layer.ravel(),
                "unit": unit.ravel(),
                "ranking": self.ranking,
                "score": self.values.ravel(),
                "n": self.n,
            }
        )


def scores(differences: ActivationDifferences, ranking: str = "signed") -> np.ndarray:
    """Score of every unit under a ranking of ``RANKINGS``; the top K are those with the largest score.

    For heads ``"signed"``, ``"magnitude"`` and ``"standardised"`` are read off the mean over d_head, which
    depends on the head's arbitrary value basis (any rotation absorbed by W_V and W_O changes it): a property of
    the method, not of the model. ``"l2"`` stays the same under a rotation, not under a rescaling.

    Args:
        differences: Moments of one component.
        ranking: A name in ``RANKINGS``.

    Returns:
        Scores [layer unit], in activation units (standardised: in standard errors; infinite for a unit with the
        same difference, not 0, in every pair).

    Raises:
        ValueError: If the ranking is unknown, or ``"standardised"`` is asked of one pair, or of pairs that do not
            differ in any unit.
    """
    require_one_of("ranking", ranking, RANKINGS)
    if ranking == "signed":
        return differences.mean
    if ranking == "magnitude":
        return np.abs(differences.mean)
    if ranking == "l2":
        return np.linalg.norm(differences.vector, axis=2)
    if differences.n < 2:
        raise ValueError(f"ranking='standardised' needs at least 2 pairs, got {differences.n}")
    error = differences.standard_error
    if not error.any():
        raise ValueError(
            "ranking='standardised' needs pairs that differ: every unit has the same difference in all "
            f"{differences.n} pairs"
        )
    return t_values(differences.mean, error)


def t_values(mean: np.ndarray, error: np.ndarray) -> np.ndarray:
    """|mean| / error; infinite where a mean that is not 0 has no error at all."""
    size = np.abs(mean)
    constant = np.where(size > 0, np.inf, 0).astype(size.dtype)
    return np.divide(size, error, out=constant, where=error > 0)


def select_top(values: np.ndarray, k: int) -> np.ndarray:
    """Bool array with exactly the ``k`` largest values; ties go to the first in order (lower layer, then unit).

    Raises:
        ValueError: If ``k`` is not a whole number in [1, number of units].
    """
    require_k(k, values.size)
    selected = np.zeros(values.size, dtype=bool)
    selected[np.argsort(-values, axis=None, kind="stable")[:k]] = True
    return selected.reshape(values.shape)


def require_k(k: int, n: int) -> None:
    """Check that ``k`` is a whole number in [1, n].

    Raises:
        ValueError: With the bound.
    """
    if k != int(k):
        raise ValueError(f"k must be a whole number, got {k}")
    if not 1 <= k <= n:
        raise ValueError(f"k must be in [1, {n}], got {k}")
