"""Scores of units: what a ranking found, moments (``sadi_lens.types.masks.scores``) or with the model as well.

The latter are probes, gradients, direct logit attribution: ``sadi_lens.find.rankings``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sadi_lens.types.base import ArrayEq, unit_frame
from sadi_lens.types.checks import as_array, require_fields
from sadi_lens.types.model import ModelInfo, unit_label

if TYPE_CHECKING:
    import pandas as pd

RANKINGS = {
    "signed": "largest signed mean difference (the paper and its reference code)",
    "magnitude": "largest absolute mean difference",
    "l2": "longest mean difference (norm over d_head; one value per unit elsewhere: the magnitude)",
    "standardised": "largest absolute mean difference in standard errors (|t|)",
}
"""Rankings that the moments of ``activation_differences`` are enough for."""


@dataclass(frozen=True, eq=False)
class Scores(ArrayEq):
    """One score a unit under a named ranking; ``top_k_mask`` takes the units with the largest.

    Raises:
        ValueError: If ``values`` is not [layer unit] or holds NaN.

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
        """One row per unit."""
        return unit_frame(
            component=self.component, ranking=self.ranking, score=self.values, n=self.n
        )


def t_values(mean: np.ndarray, error: np.ndarray) -> np.ndarray:
    """|mean| / error; infinite where a mean that is not 0 has no error at all."""
    size = np.abs(mean)
    constant = np.where(size > 0, np.inf, 0).astype(size.dtype)
    return np.divide(size, error, out=constant, where=error > 0)
