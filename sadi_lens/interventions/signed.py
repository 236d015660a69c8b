"""SADI with an eye on signs: what happens to a unit whose activation points away from D."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sadi_lens.engine.intervention import (
    Masked,
    Placing,
    match_component,
    require_same_component,
    require_values,
    warn_of_rounding,
)
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import checked, float_array, require_fields
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import ModelInfo

OPPOSED = {
    "leave": "left as it is",
    "damp": "divided by 1 + strength",
    "reverse": "multiplied by 1 - strength",
}


@dataclass(frozen=True, eq=False)
class SignedScaling(Masked, Placing):
    """SADI that scales a selected unit up only where its activation has the sign of D.

    Multiplying by 1 + strength moves along the sign of the activation, not along D: where the two differ it pushes
    towards the wrong answer. Here a unit with A . D > 0 (for a head: over its d_head values) is multiplied by
    1 + strength, and an opposed one is left alone (``"leave"``), divided by 1 + strength (``"damp"``) or multiplied
    by 1 - strength (``"reverse"``: A' = A + strength sign(A . D) A, which always moves along D). Where A . D = 0 it is
    left as it is.

    Source: Wang et al. (ICLR 2025), Eq. 5; the three options are this library's.

    Raises:
        ValueError: If ``strength`` is negative or not finite, the option is unknown, or ``direction`` does not match
            the mask.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:10], progress=False)["head"]
        >>> mask = sl.top_k_mask(found, 4)
        >>> sl.interventions.SignedScaling.from_differences(mask, found, 5.0, opposed="leave").label
        'SADI head, K 4, strength 5, opposed leave'
    """

    mask: Mask
    direction: Any
    """D, float array [layer unit d]; d = d_head for heads, else 1."""
    strength: float
    opposed: str = "damp"

    def __post_init__(self) -> None:
        require_fields(self)
        if self.strength < 0:
            raise ValueError(f"strength must be at least 0, got {self.strength}")
        object.__setattr__(self, "strength", float(self.strength))
        require_one_of("opposed", self.opposed, OPPOSED)
        direction = float_array("direction", self.direction, "layer unit d")
        if direction.shape[:2] != self.mask.selected.shape:
            raise ValueError(
                f"direction is {direction.shape[:2]} [layer unit], the mask is "
                f"{self.mask.selected.shape}; both must come from the same model"
            )
        object.__setattr__(self, "direction", direction)

    @classmethod
    @checked()
    def from_differences(
        cls,
        mask: Mask,
        differences: ActivationDifferences,
        strength: float,
        *,
        opposed: str = "damp",
    ) -> "SignedScaling":
        """With D = the mean difference of each unit.

        Raises:
            ValueError: If the differences are of another component or shape than the mask.
        """
        require_same_component(mask, differences)
        return cls(mask, differences.vector, strength, opposed)

    @property
    def label(self) -> str:
        """As in ``SADI head, K 4, strength 5, opposed damp``."""
        return (
            f"SADI {self.component}, K {self.mask.k}, strength {self.strength:g}, "
            f"opposed {self.opposed}"
        )

    def edit(self, activation: Tensor, layer: int) -> Tensor:
        """Each selected unit times its own factor."""
        if not self.strength or not self.mask.per_layer[layer]:
            return activation.clone()
        direction = self.placed(
            ("direction", layer), match_component(self.direction[layer], self.component), activation
        )
        wide = activation.to(torch.promote_types(activation.dtype, torch.float32))
        agreement = wide * direction
        if self.component == "head":
            agreement = agreement.sum(dim=-1, keepdim=True)
        other = {"leave": 1.0, "damp": 1 / (1 + self.strength), "reverse": 1 - self.strength}
        factor = torch.full_like(agreement, other[self.opposed])
        factor = factor.masked_fill(agreement > 0, 1 + self.strength)
        factor = factor.masked_fill(agreement == 0, 1.0)
        chosen = self.mask.selected[layer][:, None]
        selected = self.placed(
            ("selected", layer),
            match_component(chosen.astype(np.float32), self.component),
            activation,
        )
        scale = 1 + (factor - 1) * selected
        warn_of_rounding(scale, activation.dtype)
        return (wide * scale).to(activation.dtype)

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has another shape than the mask."""
        super().check(info)
        require_values(info, self.component, self.direction.shape[2], "direction has")
