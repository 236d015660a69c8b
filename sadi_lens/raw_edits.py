"""Affine interventions at the sites of the raw Hugging Face model, where heads lie flat beside one another."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sadi_lens.interventions import AffineIntervention, Intervention


class FlatAffine(NamedTuple):
    """Scales and shifts of several interventions in one layer; None stands for 1 and 0."""

    scale: Float[Tensor, "intervention width"] | None
    shift: Float[Tensor, "intervention width"] | None

    def pick(self, which: object) -> "FlatAffine":
        """An index into the interventions, or new axes beside them, for both parts."""
        return FlatAffine(*(None if part is None else part[which] for part in self))  # type: ignore[index]

    def __call__(self, activation: Tensor) -> Tensor:
        """Scale * activation + shift, as a new tensor of the same dtype; parts must broadcast."""
        edited = activation if self.scale is None else activation * self.scale
        return edited if self.shift is None else edited + self.shift


class AffineEdits:
    """Several affine interventions side by side.

    Args:
        interventions: None stands for the unsteered model.
    """

    def __init__(self, interventions: Sequence[Intervention | None]) -> None:
        self.interventions = interventions
        self._tables: dict[tuple[str, int], FlatAffine] = {}

    @property
    def sites(self) -> list[tuple[str, int]]:
        """(component, layer) that any of them edits."""
        return sorted(
            {(one.component, layer) for one in self.interventions if one for layer in one.layers}
        )

    def at(self, component: str, layer: int, like: Tensor) -> FlatAffine:
        """Scales and shifts in the dtype and on the device of the activations there; made once."""
        key = (component, layer)
        if key not in self._tables:
            self._tables[key] = self._build(component, layer, like)
        return self._tables[key]

    def _build(self, component: str, layer: int, like: Tensor) -> FlatAffine:
        shape = (len(self.interventions), like.shape[-1])
        scale, shift = torch.ones(shape), torch.zeros(shape)
        for row, one in enumerate(self.interventions):
            if one is None or one.component != component or layer not in one.layers:
                continue
            assert isinstance(one, AffineIntervention)
            for target, values in zip((scale, shift), one.affine(layer), strict=True):
                if values is not None:
                    each = shape[1] // values.shape[0]
                    target[row] = values.expand(-1, each).flatten()
        return FlatAffine(
            scale.to(like.device, like.dtype) if bool((scale != 1).any()) else None,
            shift.to(like.device, like.dtype) if bool((shift != 0).any()) else None,
        )


def is_affine(intervention: Intervention | None) -> bool:
    """Whether ``AffineEdits`` takes it."""
    return intervention is None or isinstance(intervention, AffineIntervention)
