"""What single units do: whether they point the way of D, what each adds to the effect, which can go."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sadi_lens.types.base import unit_frame
from sadi_lens.types.invariants import Consistent
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import ModelInfo, unit_label
from sadi_lens.types.stats import mean_error

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class SignAgreement(Consistent):
    """Share of inputs whose activation at the last prompt token has the sign of D, unit by unit.

    Scaling pushes a unit along its own activation: where that points against D, a positive strength pushes towards
    the wrong answer. NaN where D is exactly 0 and has no sign; an activation of 0 agrees with nothing.
    """

    component: str
    model: ModelInfo
    n: int
    """Inputs."""
    scalar: Float[np.ndarray, "layer unit"]
    """By the unit's scalar; heads: mean over d_head, which depends on the head's arbitrary value basis."""
    projection: Float[np.ndarray, "layer unit"]
    """By the sign of A . D over the unit's values, unchanged by a rotation of that basis."""
    task: str = ""

    def frame(self) -> "pd.DataFrame":
        """One row per unit."""
        return unit_frame(
            component=self.component, scalar=self.scalar, projection=self.projection, n=self.n
        )


@dataclass(frozen=True, eq=False)
class UnitEffects(Consistent):
    """First-order effect of every selected unit on every sample's margin: strength x slope.

    What the unit adds if the margin were linear in it; real runs differ where the network bends.
    """

    mask: Mask
    strength: float
    position: str
    at: float
    """Where the slope was taken: 0 the unsteered model, 1 the fully steered one."""
    effects: Float[np.ndarray, "sample unit"]
    """Nats; columns in the order of ``mask.units``."""
    split: str = "unknown"
    clusters: Any = None
    """Int array [sample]: number of each sample's cluster; None where no two share one."""

    @property
    def mean(self) -> Float[np.ndarray, " unit"]:
        """Mean over samples (nats)."""
        return self.effects.mean(axis=0)

    def frame(self) -> "pd.DataFrame":
        """One row per unit, largest mean effect first; standard errors by cluster where samples share one."""
        import pandas as pd

        frame = pd.DataFrame(
            {
                "unit": self.mask.labels,
                "layer": [layer for layer, _ in self.mask.units],
                "index": [unit for _, unit in self.mask.units],
                "effect": self.mean,
                "standard_error": [mean_error(one, self.clusters) for one in self.effects.T],
                "helped": (self.effects > 0).mean(axis=0),
                "n": len(self.effects),
            }
        )
        return frame.sort_values("effect", ascending=False, ignore_index=True)


@dataclass(frozen=True, eq=False)
class PruneStep(Consistent):
    """One unit taken out of the mask, and the effect that was left in a real run."""

    layer: int
    unit: int
    k: int
    """Units left."""
    margin: float
    """Mean margin with those units (nats)."""
    share: float
    """Share of the whole mask's effect on the margin."""
    accuracy: float


@dataclass(frozen=True, eq=False)
class Pruned(Consistent):
    """The smallest mask that greedy removal found to keep a share of the effect, and the way there."""

    mask: Mask
    full: Mask
    strength: float
    keep: float
    position: str
    split: str
    n: int
    """Samples."""
    unsteered_margin: float
    full_margin: float
    steps: tuple[PruneStep, ...]
    runs: int
    """Masks that were really run."""

    @property
    def share(self) -> float:
        """Share of the effect that is left; above 1 where units that worked against it are gone."""
        return self.steps[-1].share if self.steps else 1.0

    def frame(self) -> "pd.DataFrame":
        """One row per removed unit, in order."""
        import pandas as pd

        columns = ["removed", "k", "margin", "share", "accuracy"]
        return pd.DataFrame(
            [
                (
                    unit_label(self.full.component, one.layer, one.unit),
                    one.k,
                    one.margin,
                    one.share,
                    one.accuracy,
                )
                for one in self.steps
            ],
            columns=columns,
        )
