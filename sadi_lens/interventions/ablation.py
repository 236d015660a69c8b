"""Selected units set to what they are on other inputs (mean and resample ablation), and the direct path of heads."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sadi_lens.engine.intervention import (
    Affine,
    AffineIntervention,
    Context,
    Masked,
    PerPrompt,
    match_component,
    require_same_component,
    require_values,
)
from sadi_lens.interventions.swapped import SwappedPrompt
from sadi_lens.types.checks import checked, float_array, require_fields
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import ModelInfo


@dataclass(frozen=True, eq=False)
class MeanAblation(Masked, AffineIntervention):
    """Selected units set to their mean over other prompts: what they say of this input is gone, their average stays.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:10], progress=False)["head"]
        >>> mask = sl.top_k_mask(found, 2)
        >>> sl.interventions.MeanAblation.from_differences(mask, found).label
        'mean ablation: head, K 2'
    """

    mask: Mask
    means: Any
    """Float array [layer unit d]."""

    def __post_init__(self) -> None:
        require_fields(self)
        means = float_array("means", self.means, "layer unit d")
        if means.shape[:2] != self.mask.selected.shape:
            raise ValueError(
                f"means must be [layer unit d] for {self.mask.selected.shape}, got {means.shape}"
            )
        object.__setattr__(self, "means", means)

    @classmethod
    @checked()
    def from_differences(cls, mask: Mask, differences: ActivationDifferences) -> "MeanAblation":
        """With the means at the last prompt token of the pairs.

        Raises:
            ValueError: If the differences are of another component or shape than the mask.
        """
        require_same_component(mask, differences)
        return cls(mask, differences.prompt_mean)

    @property
    def label(self) -> str:
        """As in ``mean ablation: head, K 2``."""
        return f"mean ablation: {self.component}, K {self.mask.k}"

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has another shape than the mask."""
        super().check(info)
        require_values(info, self.component, self.means.shape[2], "means have")

    def affine(self, layer: int) -> Affine:
        """Scale 0 and shift to the mean on selected units."""
        chosen = torch.from_numpy(self.mask.selected[layer].copy()).float()[:, None]
        return Affine(1.0 - chosen, chosen * torch.tensor(self.means[layer], device="cpu"))


@dataclass(frozen=True, eq=False)
class ResampleAblation(Masked, PerPrompt):
    """Selected units set to what they are at the last token of another prompt, its donor (Chan et al., 2022).

    Made by ``sadi_lens.measure.resample_ablation`` for the prompts of a run.
    """

    mask: Mask
    prompts: tuple[tuple[int, ...], ...]
    """Tokens of each prompt, all different."""
    values: Any
    """Activations of each prompt's donor, float array [prompt layer unit d]."""
    lacking: ClassVar[tuple[str, str]] = ("a donor", "resample_ablation")

    def __post_init__(self) -> None:
        require_fields(self)
        values = float_array("values", self.values, "prompt layer unit d")
        if values.shape[:3] != (len(self.prompts), *self.mask.selected.shape):
            raise ValueError(
                f"values must be for {len(self.prompts)} prompts and {self.mask.selected.shape} units, got "
                f"{values.shape}"
            )
        self.require_different()
        object.__setattr__(self, "values", values)

    @property
    def label(self) -> str:
        """As in ``resample ablation: head, K 2``."""
        return f"resample ablation: {self.component}, K {self.mask.k}"

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has another shape than the mask."""
        super().check(info)
        require_values(info, self.component, self.values.shape[3], "values have")

    def edit(self, activation: Tensor, layer: int, context: Context | None = None) -> Tensor:
        """Each row with the selected units of its donor.

        Raises:
            ValueError: If a prompt has no donor.
        """
        row = self.numbers(context, activation.device)
        own = match_component(self.values[:, layer], self.component)
        table = self.placed(layer, own, activation)
        selected = self.mask.selected[layer]
        wide = selected[:, None] if self.component == "head" else selected
        chosen = self.placed(("mask", layer), wide, activation).bool()
        return torch.where(chosen, table[row][:, None], activation)


@dataclass(frozen=True, eq=False)
class DirectPath(SwappedPrompt):
    """What scaled heads add to the residual stream, added behind the last block alone: no later layer sees it.

    The pushes are of the prompt's own heads, in a run without steering, through their output matrices. Made by
    ``sadi_lens.measure.head_paths``.
    """

    @property
    def label(self) -> str:
        """As in ``direct path: SADI head, K 4, strength 5``."""
        return f"direct path: {self.name}"


def head_writes(activations: Any, weights: Any, mask: Mask, strength: float) -> np.ndarray:
    """What scaling adds to the residual stream, head by head: strength * z W_O, [prompt head d_model].

    Args:
        activations: z, float array [prompt layer unit d_head].
        weights: W_O of each layer, float array [layer unit d_head d_model].
        mask: The heads, in the order of ``mask.units``.
        strength: SADI's.
    """
    return np.stack(
        [
            strength * activations[:, layer, unit] @ weights[layer, unit]
            for layer, unit in mask.units
        ],
        axis=1,
    )
