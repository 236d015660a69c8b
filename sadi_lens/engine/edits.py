"""Affine interventions at the sites of the raw Hugging Face model, where heads lie flat beside one another."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sadi_lens.engine.intervention import AffineIntervention, Intervention


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

    def function(self) -> Callable[[Tensor], Tensor]:
        """The same as a plain function: what runs at every token must not cost more than its product."""
        if self.scale is None or self.shift is not None:
            return self
        return partial(torch.mul, self.scale)


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

    @property
    def nbytes(self) -> int:
        """Memory of the tables that were made."""
        tables = self._tables.values()
        return sum(part.nbytes for one in tables for part in one if part is not None)

    def forget(self) -> None:
        """Drop the tables; they are made again when they are needed."""
        self._tables.clear()

    def _build(self, component: str, layer: int, like: Tensor) -> FlatAffine:
        if len(self.interventions) == 1:
            return _alone(self.interventions[0], layer, like)
        shape = (len(self.interventions), like.shape[-1])
        scale, shift = torch.ones(shape), torch.zeros(shape)
        for row, one in enumerate(self.interventions):
            if one is None or one.component != component or layer not in one.layers:
                continue
            assert isinstance(one, AffineIntervention)
            for target, values in zip((scale, shift), one.affine(layer), strict=True):
                if values is not None:
                    target[row] = flat(values, shape[1])
        return FlatAffine(
            scale.to(like.device, like.dtype) if bool((scale != 1).any()) else None,
            shift.to(like.device, like.dtype) if bool((shift != 0).any()) else None,
        )


def _alone(one: Intervention | None, layer: int, like: Tensor) -> FlatAffine:
    """The table of a single intervention, kept on it: an answer of a few tokens is over before tables are made."""
    assert isinstance(one, AffineIntervention)
    cache: dict[Any, FlatAffine] = one.__dict__.setdefault("_flat_cache", {})
    key = (layer, like.shape[-1], like.device, like.dtype)
    if key not in cache:
        with torch.inference_mode(False):
            cache[key] = FlatAffine(
                *(
                    None if values is None else flat(values, like.shape[-1])[None].to(like)
                    for values in one.affine(layer)
                )
            )
    return cache[key]


def flat(values: Tensor, width: int) -> Float[Tensor, " width"]:
    """[unit d] or [unit 1] as one value for every place of the width."""
    return values.expand(-1, width // values.shape[0]).flatten()


def is_affine(intervention: Intervention | None) -> bool:
    """Whether ``AffineEdits`` takes it; what edits no layer is the identity, of whatever kind it is."""
    return (
        intervention is None
        or not intervention.layers
        or isinstance(intervention, AffineIntervention)
    )
