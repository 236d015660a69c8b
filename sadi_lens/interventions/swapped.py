"""The control "swapped prompt": every prompt gets the push that was computed on another one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from sadi_lens.engine.intervention import (
    Context,
    PerPrompt,
    match_component,
)
from sadi_lens.types.checks import as_array, float_array, require_fields
from sadi_lens.types.model import ModelInfo, unit_shape


@dataclass(frozen=True, eq=False)
class SwappedPrompt(PerPrompt):
    """Adds to each prompt the push that an adaptive intervention makes on a donor prompt.

    Same mask, same strength, same sizes of push, of the same distribution: only the match between push and input is
    gone. What is left of an adaptive method's effect under it was not due to its adaptivity. What is lost need not be
    due to more than the answer: a push carries one, and a donor drawn at random nearly always has another right answer
    (``sadi_lens.measure.methods.donors`` tells these apart). Made by
    ``swap_prompts``, and run like any other intervention over the prompts it was made for:

        swapped = swap_prompts(model, sadi, [sample.prompt for sample in samples])
        evaluate(model, samples, [None, sadi, swapped])

    A row is recognised by the tokens of its prompt, so order, batches and subsets of the samples do not matter; a
    prompt that has no donor is refused. The push is the donor's at its last prompt token, in its own steered run, and
    is the same at every edited token.

    Raises:
        ValueError: If the pushes are not finite, or do not match prompts and layers.
    """

    component: str
    prompts: tuple[tuple[int, ...], ...]
    """Tokens of each prompt, all different."""
    pushes: Any
    """Push of each prompt's donor, float array [prompt layer unit d], for the layers in ``steered``."""
    steered: tuple[int, ...]
    """Layers that are pushed."""
    name: str
    """What the intervention was, for the label."""
    strength: float = 1.0
    """Times the donor's push; 1 is the control."""

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "strength", float(self.strength))
        prompts = tuple(tuple(int(token) for token in prompt) for prompt in self.prompts)
        pushes = as_array("pushes", self.pushes, np.float32)
        if self.steered:
            pushes = float_array("pushes", self.pushes, "prompt layer unit d")
            if pushes.shape[:2] != (len(prompts), len(self.steered)):
                raise ValueError(
                    f"pushes must be for {len(prompts)} prompts and {len(self.steered)} layers of steered, "
                    f"got {pushes.shape}"
                )
        object.__setattr__(self, "prompts", prompts)
        self.require_different()
        pushes.setflags(write=False)
        object.__setattr__(self, "pushes", pushes)
        object.__setattr__(self, "steered", tuple(int(layer) for layer in self.steered))

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that the intervention touched; none at strength 0."""
        return self.steered if self.strength else ()

    @property
    def label(self) -> str:
        """As in ``swapped prompt: SADI head, K 4, strength 5``."""
        times = "" if self.strength == 1 else f", times {self.strength:g}"
        return f"swapped prompt: {self.name}{times}"

    def edit(self, activation: Tensor, layer: int, context: Context | None = None) -> Tensor:
        """Each row plus the push of its own donor."""
        if not self.layers:
            return activation.clone()
        row = self.numbers(context, activation.device)
        values = match_component(self.pushes[:, self.steered.index(layer)], self.component)
        table = self.placed(layer, self.strength * values, activation)
        return activation + table[row][:, None]

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has another shape than the gains."""
        needed = unit_shape(info, self.component)
        if self.steered and (self.pushes.shape[2:] != needed or max(self.steered) >= info.n_layers):
            raise ValueError(
                f"pushes are for layers {self.steered} of {self.pushes.shape[2:]} [unit d], {info.name} has "
                f"{info.n_layers} layers of {needed} ({info.shape})"
            )
