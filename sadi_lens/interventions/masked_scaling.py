"""Adaptive interventions: the push follows the input."""

from dataclasses import dataclass

import torch

from sadi_lens.engine.intervention import Affine, AffineIntervention, Masked
from sadi_lens.types.checks import checked, require_fields
from sadi_lens.types.masks import Mask


@dataclass(frozen=True, eq=False)
class MaskedScaling(Masked, AffineIntervention):
    """SADI: multiply the selected units of the input's own activations by 1 + strength.

    A' = A + delta (A * M), Eq. 5 of Wang et al. (ICLR 2025), in the flow of the network: each layer scales the
    value that reaches it. A head is scaled as a whole (all of its d_head values).

    Raises:
        ValueError: If ``strength`` is not finite. -1 removes the units; the paper uses positive values.

    Example:
        >>> mask = sl.Mask.from_units("head", [(2, 2), (3, 1)], model)
        >>> sl.MaskedScaling(mask, strength=5.0).label
        'SADI head, K 2, strength 5'
        >>> sl.MaskedScaling.from_multiplier(mask, 6.0) == sl.MaskedScaling(mask, strength=5.0)
        True
    """

    mask: Mask
    strength: float

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "strength", float(self.strength))

    @classmethod
    @checked()
    def from_multiplier(cls, mask: Mask, multiplier: float) -> "MaskedScaling":
        """The reference code's parameter: units are multiplied by ``multiplier`` = 1 + strength.

        Example:
            >>> mask = sl.Mask.from_units("head", [(1, 2)], model)
            >>> sl.MaskedScaling.from_multiplier(mask, 6.0).strength
            5.0
        """
        return cls(mask, float(multiplier) - 1.0)

    @property
    def label(self) -> str:
        """As in ``SADI head, K 4, strength 5``."""
        return f"SADI {self.component}, K {self.mask.k}, strength {self.strength:g}"

    def affine(self, layer: int) -> Affine:
        """Scale 1 + strength on selected units."""
        chosen = torch.from_numpy(self.mask.selected[layer].copy())
        return Affine((1.0 + self.strength * chosen.float())[:, None], None)
