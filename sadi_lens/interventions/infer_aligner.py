"""InferAligner: gated pushes, perhaps along another model's directions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sadi_lens.engine.intervention import (
    Context,
    ContextualIntervention,
    Need,
    require_layer,
    require_not_heads,
    require_width,
    unit_vector,
)
from sadi_lens.types.checks import float_array, require_fields
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import ModelInfo


@dataclass(frozen=True, eq=False)
class InferAlignerGate(ContextualIntervention):
    """InferAligner: in each of some layers a gate decides whether a direction is added, perhaps another model's.

    a' = a + strength * g * theta with g = 1 where s . a_last + b > 0, and a_last this layer's activation at the last
    prompt token. s and b are of this model; theta may come from a second, better aligned model of the same shape.

    Source: Wang et al. (EMNLP 2024, arXiv 2401.11206). Simplified: gates of several layers are read in the flow of
    the steered run, each before its own push; the authors read them in a run of their own.

    Raises:
        ValueError: If a number is not finite, shapes differ, or a layer is named twice.
    """

    push: Any
    """theta, float array [steered d_model]."""
    gate: Any
    """s, float array [steered d_model]."""
    bias: Any
    """b, float array [steered]."""
    steered: tuple[int, ...]
    """Layer of each row."""
    strength: float
    component: str = "hidden"
    need: ClassVar[Need] = "prompt_end"

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "strength", float(self.strength))
        require_not_heads(self.component)
        push = float_array("push", self.push, "steered unit")
        gate = float_array("gate", self.gate, "steered unit")
        bias = float_array("bias", self.bias, "steered")
        steered = tuple(int(layer) for layer in self.steered)
        if push.shape != gate.shape or len(push) != len(steered) or len(bias) != len(steered):
            raise ValueError(
                f"push, gate and bias must be [steered unit] and [steered] for {len(steered)} layers, got "
                f"{push.shape}, {gate.shape} and {bias.shape}"
            )
        for name, value in (("push", push), ("gate", gate), ("bias", bias), ("steered", steered)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_differences(
        cls,
        differences: ActivationDifferences,
        layers: Sequence[int],
        strength: float = 1.0,
        *,
        aligned: ActivationDifferences | None = None,
    ) -> "InferAlignerGate":
        """Gate and push along the mean difference: prompts that lean to the wrong answers are pushed to the right.

        s = -D / norm(D), and b such that the mean prompt of the pairs stands at the threshold: about half of them fire.

        Args:
            differences: Of the model that is steered.
            layers: Layers to gate and push.
            strength: Of the push.
            aligned: Differences of a second model, for the push; its shape must be the same.

        Raises:
            ValueError: If a layer does not exist, its difference is zero, or the two models differ in shape.
        """
        for layer in layers:
            require_layer(layer, differences.mean.shape[0])
        other = differences if aligned is None else aligned
        if other.component != differences.component or other.mean.shape != differences.mean.shape:
            raise ValueError(
                f"the two models must have one shape: {differences.model.name} has {differences.component} "
                f"{differences.mean.shape} ({differences.model.shape}), {other.model.name} has "
                f"{other.component} {other.mean.shape} ({other.model.shape})"
            )
        chosen = list(layers)
        direction = unit_vector(
            f"the difference of layers {chosen}", differences.vector[chosen, :, 0]
        )
        bias = (direction * differences.prompt_mean[chosen, :, 0]).sum(axis=1)
        return cls(
            other.vector[chosen, :, 0],
            -direction,
            bias,
            tuple(chosen),
            strength,
            differences.component,
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """The gated layers; none at strength 0."""
        return tuple(sorted(self.steered)) if self.strength else ()

    @property
    def label(self) -> str:
        """As in ``InferAligner: hidden, 2 layers, strength 1``."""
        return f"InferAligner: {self.component}, {len(self.steered)} layers, strength {self.strength:g}"

    def fires(self, activation: Tensor, layer: int) -> Tensor:
        """Whether the gate of ``layer`` is open, bool [...], for activations [... unit]."""
        row = self.steered.index(layer)
        wide = activation.float()
        gate = self.placed(("gate", layer), self.gate[row], wide)
        return (wide * gate).sum(dim=-1) + float(self.bias[row]) > 0

    def edit(self, activation: Tensor, layer: int, context: Context | None = None) -> Tensor:
        """The push added to the rows whose gate is open."""
        if not self.strength:
            return activation.clone()
        fires = self.fires(self.known(context), layer)[:, None, None].to(activation.device)
        row = self.steered.index(layer)
        push = self.placed(("push", layer), self.strength * self.push[row], activation)
        return torch.where(fires, activation + push, activation)

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model lacks the layer or has another width."""
        for layer in self.steered:
            require_width(info, self.component, layer, self.push.shape[1], "push")
