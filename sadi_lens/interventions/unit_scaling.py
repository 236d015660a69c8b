"""A scale of its own for every unit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sadi_lens.engine.intervention import Affine, AffineIntervention
from sadi_lens.types.checks import float_array, require_fields
from sadi_lens.types.model import ModelInfo, n_units


@dataclass(frozen=True, eq=False)
class UnitScaling(AffineIntervention):
    """A' = A * (1 + s) with a strength s for every unit; SADI is the case of one strength on a mask and 0 elsewhere.

    What learned scalars steer with (``sadi_lens.find.learn_scalars``; ActivScalar, Stoehr et al., 2024).

    Raises:
        ValueError: If a strength is not finite or ``scales`` is not [layer unit].

    Example:
        >>> import numpy as np
        >>> scales = np.zeros((5, 16))
        >>> scales[2, 2], scales[3, 1] = 4.0, -1.0
        >>> sl.interventions.UnitScaling("head", scales).label
        'learned scales head, K 2 of 80, strengths of 5 in all'
    """

    component: str
    scales: Any
    """Strength of each unit, float array [layer unit]; 0 leaves the unit as it is."""

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "scales", float_array("scales", self.scales, "layer unit"))

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers with a unit that is scaled."""
        return tuple(int(one) for one in np.flatnonzero((self.scales != 0).any(axis=1)))

    @property
    def label(self) -> str:
        """As in ``learned scales head, K 2 of 80, strengths of 5 in all``."""
        k, total = np.count_nonzero(self.scales), np.abs(self.scales).sum()
        return f"learned scales {self.component}, K {k} of {self.scales.size}, strengths of {total:.3g} in all"

    def affine(self, layer: int) -> Affine:
        """Scale 1 + s of every unit."""
        return Affine(1.0 + torch.tensor(self.scales[layer], device="cpu")[:, None], None)

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has other units."""
        needed = (info.n_layers, n_units(info, self.component))
        if self.scales.shape != needed:
            raise ValueError(
                f"scales are for {self.scales.shape} [layer unit], {info.name} has {needed} of {self.component}"
            )
