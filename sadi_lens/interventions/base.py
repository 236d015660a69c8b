"""What an intervention is, and what those that are affine in the activation share."""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sadi_lens.masks import Mask
from sadi_lens.types import ArrayEq, ModelInfo


class Affine(NamedTuple):
    """A' = scale * A + shift in one layer; None stands for 1 and 0."""

    scale: Float[Tensor, "unit d"] | None
    shift: Float[Tensor, "unit d"] | None


@runtime_checkable
class Intervention(Protocol):
    """What ``steer``, ``generate`` and ``evaluate`` need of an intervention."""

    @property
    def component(self) -> str:
        """Which activations it edits."""
        ...

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers it touches; empty for the identity."""
        ...

    @property
    def label(self) -> str:
        """What it does, in a few words, for tables and figures."""
        ...

    def edit(self, activation: Tensor, layer: int) -> Tensor:
        """The edited activation, [... unit] or [... head d_head], as a new tensor of the same dtype."""
        ...

    def check(self, info: ModelInfo) -> None:
        """Refuse a model it was not made for (``ValueError``)."""
        ...


class AffineIntervention(ArrayEq):
    """Shared by interventions that are affine in the activation, so that rows of a batch can differ."""

    def affine(self, layer: int) -> Affine:
        """Scale and shift of one layer, float32 on the CPU."""
        raise NotImplementedError

    def edit(self, activation: Tensor, layer: int) -> Tensor:
        """Scale * activation + shift, in the activation's dtype and on its device."""
        scale, shift = self._placed(layer, activation)
        edited = activation if scale is None else activation * scale
        return edited if shift is None else edited + shift

    def _placed(self, layer: int, like: Tensor) -> Affine:
        cache: dict[Any, Affine] = self.__dict__.setdefault("_affine_cache", {})
        key = (layer, like.device, like.dtype)
        if key not in cache:
            with torch.inference_mode(False):  # kept tensors must also work under autograd
                cache[key] = Affine(
                    *(
                        None
                        if part is None
                        else _match(part, self.component).to(like.device, like.dtype)  # type: ignore[attr-defined]
                        for part in self.affine(layer)
                    )
                )
        return cache[key]


def _match(values: Tensor, component: str) -> Tensor:
    """[unit d] as the hooked tensor has it: [head d_head] or [unit]."""
    return values if component == "head" else values[:, 0]


def require_strength(strength: float) -> None:
    """Refuse a strength that is not a finite number."""
    if not math.isfinite(strength):
        raise ValueError(f"strength must be finite, got {strength}; 0 is the unsteered model")


def masked_layers(mask: Mask, strength: float) -> tuple[int, ...]:
    """Layers with a selected unit; none at strength 0."""
    if strength == 0:
        return ()
    return tuple(layer for layer, count in enumerate(mask.per_layer) if count)
