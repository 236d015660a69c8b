"""InferAligner: gated pushes, perhaps along another model's directions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
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
from sadi_lens.engine.prompts import TextOrChat
from sadi_lens.interventions.pairs import prompt_activations
from sadi_lens.types.checks import checked, float_array, require_fields
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import HookedModel, ModelInfo, component_name, n_units


@dataclass(frozen=True, eq=False)
class InferAlignerGate(ContextualIntervention):
    """InferAligner: in each of some layers a gate decides whether a direction is added, perhaps another model's.

    a' = a + strength * g * theta with g = 1 where s . a_last + b > 0, and a_last this layer's activation at the last
    prompt token. s and b are of this model; theta may come from a second, better aligned model of the same shape.

    Source: Wang et al. (EMNLP 2024, arXiv 2401.11206), who steer every token (``position="all"``) and read both
    vectors at the last token of prompts, harmful ones minus harmless ones: ``from_prompts``. ``from_differences`` is
    not theirs: its vectors are of answers. Simplified: gates of several layers are read in the flow of the steered run,
    each before its own push; the authors read them in a run of their own.

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
    @checked()
    def from_prompts(
        cls,
        model: HookedModel,
        harmful: Sequence[TextOrChat],
        harmless: Sequence[TextOrChat],
        layers: Sequence[int],
        strength: float = 1.0,
        *,
        aligned: HookedModel | None = None,
        component: str = "hidden",
    ) -> "InferAlignerGate":
        """As its authors build it, from prompts that should open the gate and prompts that should not.

        theta = mean over harmful - mean over harmless prompts of the aligned model's activation at the last token. The
        gate is the same difference of the model that is steered, at length 1, and b puts the threshold half way between
        the two means (theirs is chosen on held-out prompts).

        Args:
            model: The model that is steered.
            harmful: Prompts that open the gate, at least one: texts, or the messages of chats.
            harmless: Prompts that leave it shut, at least one.
            layers: Layers to gate and push.
            strength: Of the push; with a safety-aligned second model, towards what it does with harmful prompts.
            aligned: The second model, of the same shape; default ``model`` itself, which is then pushed further the
                way it already leans.
            component: ``"hidden"`` in the paper.

        Raises:
            ValueError: If a list is empty, a layer does not exist, the two means are the same, or the models differ in
                shape.

        Example:
            >>> harmful = [sample.prompt for sample in task.dev[:8]]
            >>> harmless = [sample.prompt for sample in task.dev[8:16]]
            >>> gate = sl.interventions.InferAlignerGate.from_prompts(
            ...     model, harmful, harmless, [2, 3], aligned=model
            ... )
            >>> gate.layers
            (2, 3)
        """
        component = component_name(component)
        require_not_heads(component)
        info = ModelInfo.of(model)
        other = info if aligned is None else ModelInfo.of(aligned)
        if (info.n_layers, n_units(info, component)) != (other.n_layers, n_units(other, component)):
            raise ValueError(
                f"the two models must have one shape: {info.name} has {info.shape}, {other.name} has {other.shape}"
            )
        if not harmful or not harmless:
            raise ValueError(
                f"harmful and harmless must hold at least 1 prompt each, got {len(harmful)} and {len(harmless)}"
            )
        _require_layers(layers, info.n_layers)
        chosen = list(layers)
        own = _means(model, harmful, harmless, component, chosen)
        theirs = own if aligned is None else _means(aligned, harmful, harmless, component, chosen)
        gate = unit_vector(f"harmful minus harmless of layers {chosen}", own[0] - own[1])
        bias = -(gate * (own[0] + own[1]) / 2).sum(axis=1)
        return cls(theirs[0] - theirs[1], gate, bias, tuple(chosen), strength, component)

    @classmethod
    @checked()
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
            ValueError: If there is no layer or one does not exist, its difference is zero, or the two models differ in
                shape.
        """
        _require_layers(layers, differences.mean.shape[0])
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


def _means(
    model: HookedModel,
    harmful: Sequence[TextOrChat],
    harmless: Sequence[TextOrChat],
    component: str,
    layers: Sequence[int],
) -> list[np.ndarray]:
    """Mean activation at the last token of either list of prompts, [layer unit]."""
    return [
        prompt_activations(model, one, component, layers)[..., 0].double().mean(dim=0).numpy()
        for one in (harmful, harmless)
    ]


def _require_layers(layers: Sequence[int], n_layers: int) -> None:
    if not len(layers):
        raise ValueError("layers must hold at least 1, got 0")
    for layer in layers:
        require_layer(layer, n_layers)
