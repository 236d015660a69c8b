"""Activation differences over contrastive pairs, as numpy arrays on the CPU: they load and draw without torch."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sadi_lens.types.base import not_one_of, unit_frame
from sadi_lens.types.invariants import Consistent
from sadi_lens.types.model import ALIASES, ModelInfo
from sadi_lens.types.stats import mean_error

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ActivationDifferences(Consistent):
    """Moments of A(x y+) - A(x y-) at the last token of the text, over contrastive pairs.

    The paper's D (Wang et al., ICLR 2025), plus what a control needs to know about A itself
    at the last prompt token.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:10], components=["head"], progress=False)
        >>> found["head"].n, found["head"].mean.shape == (model.cfg.n_layers, model.cfg.n_heads)
        (10, True)
    """

    component: str
    model: ModelInfo
    n: int
    """Pairs seen."""
    mean: Float[np.ndarray, "layer unit"]
    """Mean difference of each unit (activation units); heads: mean over d_head, signed."""
    std: Float[np.ndarray, "layer unit"]
    """Standard deviation over pairs of the same scalar (n - 1 in the denominator; NaN for n = 1)."""
    vector: Float[np.ndarray, "layer unit d"]
    """Mean difference of each value; d = d_head for heads, else 1."""
    prompt_mean: Float[np.ndarray, "layer unit d"]
    """Mean activation at the last prompt token, where steering acts."""
    prompt_rms: Float[np.ndarray, "layer unit"]
    """Root mean square over pairs of a unit's norm at the last prompt token."""
    task: str = ""
    merged_boundaries: int = 0
    """Texts in which the tokenizer merged the end of the prompt into the answer."""
    skipped: int = 0
    """Pairs left out because they do not fit the context."""
    read_at: str = "last"
    """Token of the text that was read: the ``"last"``, or the first in which the answers part (``"letter"``)."""

    @property
    def standard_error(self) -> Float[np.ndarray, "layer unit"]:
        """Standard error of ``mean``, pairs taken as independent; of several pairs of one prompt it is too small."""
        return self.std / math.sqrt(self.n)

    def frame(self) -> "pd.DataFrame":
        """One row per unit."""
        return unit_frame(
            component=self.component,
            mean=self.mean,
            std=self.std,
            standard_error=self.standard_error,
            n=self.n,
        )


class UnitSummary(NamedTuple):
    """One unit over the pairs in which its difference is finite; NaN where there is none."""

    n: int
    median: float
    mean: float
    error: float
    """Standard error of the mean, by cluster where pairs share one; NaN of one pair."""
    positive: float
    """Share of pairs in which it is above 0."""
    negative: float
    """And below."""


@dataclass(frozen=True, eq=False)
class UnitDifferences(Consistent):
    """Per-pair differences of a few named units (for distribution figures)."""

    component: str
    model: ModelInfo
    units: tuple[tuple[int, int], ...]
    """(layer, unit) of each column."""
    values: Float[np.ndarray, "pair unit"]
    """Difference of each unit's scalar in each pair (activation units)."""
    task: str = ""
    clusters: Any = None
    """Int array [pair]: number of each pair's prompt; None where no two share one."""

    def summary(self) -> tuple[UnitSummary, ...]:
        """What the finite differences of each unit say."""
        return tuple(
            self._summary(column.astype(np.float64)) for column in np.asarray(self.values).T
        )

    def _summary(self, values: Float[np.ndarray, " pair"]) -> UnitSummary:
        known = np.isfinite(values)
        if not known.any():
            return UnitSummary(0, *[math.nan] * 5)
        kept = values[known]
        clusters = None if self.clusters is None else np.asarray(self.clusters)[known]
        return UnitSummary(
            int(known.sum()),
            float(np.median(kept)),
            float(kept.mean()),
            mean_error(kept, clusters),
            float((kept > 0).mean()),
            float((kept < 0).mean()),
        )


class ByComponent(dict[str, ActivationDifferences]):
    """Component -> differences, under our name; looked up by TransformerLens' names as well.

    Raises:
        KeyError: If a component is not among them, with those that are.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:2], components=["z"], progress=False)
        >>> list(found), found["z"] is found["head"]
        (['head'], True)
    """

    def __missing__(self, component: str) -> ActivationDifferences:
        name = ALIASES.get(component, component)
        if name not in self:
            raise KeyError(str(not_one_of("component of these differences", component, self)))
        return self[name]
