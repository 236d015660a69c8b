"""How much a mask depends on which pairs made it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sadi_lens.types.base import require_one_of
from sadi_lens.types.invariants import Consistent
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import ModelInfo

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Stability(Consistent):
    """A mask made again from resampled pairs: how often each unit comes back.

    Jaccard = units in both masks / units in either. The bootstrap compares with the mask of all pairs, whose pairs it
    shares, and is the kinder number; split halves share no pair and no prompt. What a stable mask must exceed is
    ``noise``, not ``chance``: units that vary much come back where nothing tells right from wrong.
    """

    mask: Mask
    """The mask of all pairs."""
    ranking: str
    n_pairs: int
    bootstrap: Float[np.ndarray, " draw"]
    """Jaccard of each bootstrap mask with the mask of all pairs."""
    split_half: Float[np.ndarray, " half"]
    """Jaccard of the masks of two random halves."""
    frequency: Float[np.ndarray, "layer unit"]
    """Share of bootstrap masks with the unit."""
    chance: float
    """Mean Jaccard of two random masks of the same K."""
    seed: int = 0
    noise: Any = None
    """Jaccard of the masks of the same halves after right and wrong were exchanged at random in each prompt, array
    [half]; None where it was not drawn."""

    def frame(self) -> "pd.DataFrame":
        """One row per unit that was ever selected, most frequent first."""
        import pandas as pd

        layer, unit = np.nonzero((self.frequency > 0) | self.mask.selected)
        frame = pd.DataFrame(
            {
                "component": self.mask.component,
                "layer": layer,
                "unit": unit,
                "frequency": self.frequency[layer, unit],
                "selected": self.mask.selected[layer, unit],
            }
        )
        return frame.sort_values("frequency", ascending=False, ignore_index=True, kind="stable")

    def __str__(self) -> str:
        swapped = ""
        if self.noise is not None:
            swapped = f"; with right and wrong swapped at random {np.mean(self.noise):.2f}"
        return (
            f"K {self.mask.k} {self.mask.component} by {self.ranking}, {self.n_pairs} pairs: Jaccard "
            f"{self.bootstrap.mean():.2f} (bootstrap), {self.split_half.mean():.2f} (split half{swapped}), "
            f"random masks {self.chance:.3f}"
        )


MEASURES = (
    "accuracy", "margin", "jaccard_all", "jaccard_disjoint", "noise_all", "noise_disjoint",
)  # fmt: skip
"""Arrays [size draw] of a ``PairsCurve``."""
ENOUGH = 0.9
"""Share of the gain of all pairs at which fewer count as enough."""


class OverDraws(NamedTuple):
    """One measure of a ``PairsCurve`` over the draws of each size; sizes without a value are left out."""

    sizes: Int[np.ndarray, " size"]
    mean: Float[np.ndarray, " size"]
    low: Float[np.ndarray, " size"]
    """2.5th percentile."""
    high: Float[np.ndarray, " size"]
    """97.5th percentile."""
    n: Int[np.ndarray, " size"]
    """Draws with a value."""


def enough(mean: Float[np.ndarray, " size"], floor: float) -> int | None:
    """Place of the fewest pairs from which on the mean keeps ``ENOUGH`` of the gain that all pairs give.

    None where all pairs give no gain over the floor.
    """
    gain = mean - floor
    if not gain[-1] > 0:
        return None
    short = np.flatnonzero(gain < ENOUGH * gain[-1])
    return int(short[-1]) + 1 if short.size else 0


@dataclass(frozen=True, eq=False)
class PairsCurve(Consistent):
    """Masks made from fewer pairs: how like the mask of all pairs, how like each other, how good."""

    component: str
    model: ModelInfo
    ranking: str
    k: int
    n_pairs: int
    """All pairs there are."""
    sizes: tuple[int, ...]
    jaccard_all: Float[np.ndarray, "size draw"]
    """With the mask of all pairs; 1 by construction where size = n_pairs."""
    jaccard_disjoint: Float[np.ndarray, "size draw"]
    """Of two masks that share no pair and no prompt; NaN where there are not twice as many."""
    accuracy: Float[np.ndarray, "size draw"]
    """Of SADI with the mask; NaN everywhere if no samples were given."""
    margin: Float[np.ndarray, "size draw"]
    """Mean margin (nats), likewise."""
    chance: float
    """Mean Jaccard of two random masks of the same K."""
    strength: float = float("nan")
    split: str = "unknown"
    unsteered_accuracy: float = float("nan")
    seed: int = 0
    unsteered_margin: float = float("nan")
    """Mean margin of the unsteered model (nats); NaN where it was not kept."""
    noise_all: Any = None
    """``jaccard_all`` after right and wrong were exchanged at random in each prompt, array [size draw]; None where it
    was not drawn."""
    noise_disjoint: Any = None
    """``jaccard_disjoint`` likewise."""
    gains: bool | None = None
    """Whether the first mask of the largest size gains accuracy: a paired interval above 0 and McNemar's p; None where
    it was not scored."""

    def over_draws(self, measure: str) -> OverDraws:
        """Mean and band of 95% of the draws of one of ``MEASURES`` at each size.

        Raises:
            ValueError: If it is none of them.
        """
        require_one_of("measure", measure, MEASURES)
        given = getattr(self, measure)
        values = np.full((len(self.sizes), 1), np.nan) if given is None else np.asarray(given)
        values = np.where(np.isfinite(values), values.astype(np.float64), np.nan)
        known = np.flatnonzero(np.isfinite(values).any(axis=1))
        kept = values[known]
        low, high = np.nanquantile(kept, [0.025, 0.975], axis=1) if known.size else np.empty((2, 0))
        mean = np.nanmean(kept, axis=1) if known.size else np.empty(0)
        return OverDraws(
            np.array(self.sizes)[known], mean, low, high, np.isfinite(kept).sum(axis=1)
        )

    def frame(self) -> "pd.DataFrame":
        """One row per size and draw."""
        import pandas as pd

        size, draw = np.indices(self.jaccard_all.shape)
        return pd.DataFrame(
            {
                "size": np.array(self.sizes)[size.ravel()],
                "draw": draw.ravel(),
                "jaccard_all": self.jaccard_all.ravel(),
                "jaccard_disjoint": self.jaccard_disjoint.ravel(),
                "noise_all": _known(self.noise_all),
                "noise_disjoint": _known(self.noise_disjoint),
                "accuracy": self.accuracy.ravel(),
                "margin": self.margin.ravel(),
            }
        )


def _known(values: Any) -> Any:
    return float("nan") if values is None else np.ravel(values)
