"""Fixed interventions: the same push for every input, the controls of the adaptive ones."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sadi_lens.engine.intervention import (
    Affine,
    AffineIntervention,
    Masked,
    require_layer,
    require_not_heads,
    require_same_component,
    require_values,
    require_width,
)
from sadi_lens.types.base import ArrayEq, require_one_of
from sadi_lens.types.checks import checked, float_array, require_fields
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import ModelInfo

MATCHES = ("coefficient", "norm", "mean")


@dataclass(frozen=True, eq=False)
class Push(ArrayEq):
    """What an intervention adds at the last prompt token, measured in the steered run (``measure_push``).

    In the flow of the network the push of a later layer answers to that of an earlier one, so it is not strength
    times the clean activation as soon as a mask spans several layers.
    """

    mean: Any
    """Mean push over prompts, float array [layer unit d]."""
    rms: float
    """Root mean square over prompts of the push's length, all layers together."""
    n: int
    """Prompts measured."""

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "mean", float_array("mean", self.mean, "layer unit d"))


@dataclass(frozen=True, eq=False)
class MaskedAddition(Masked, AffineIntervention):
    """The fixed control: add the same vector to the selected units of every input.

    A' = A + delta (V * M). With V = D this is the paper's ablation of adaptivity (Eq. 6, Table 4).

    Raises:
        ValueError: If ``strength`` is not finite or ``vector`` does not match the mask.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:10], progress=False)["head"]
        >>> mask = sl.top_k_mask(found, 4)
        >>> sl.MaskedAddition.from_differences(mask, found, 5.0, match="norm").label
        'fixed D, same norm: head, K 4, strength 5'
    """

    mask: Mask
    vector: Any
    """Float array [layer unit d]; d = d_head for heads, else 1."""
    strength: float
    name: str = "fixed vector"

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "strength", float(self.strength))
        vector = float_array("vector", self.vector, "layer unit d")
        if vector.shape[:2] != self.mask.selected.shape:
            raise ValueError(
                f"vector must be [layer unit d] with the mask's {self.mask.selected.shape}, "
                f"got {vector.shape}"
            )
        object.__setattr__(self, "vector", vector)

    @classmethod
    @checked()
    def from_differences(
        cls,
        mask: Mask,
        differences: ActivationDifferences,
        strength: float,
        *,
        match: str = "coefficient",
        push: Push | None = None,
    ) -> "MaskedAddition":
        """The fixed counterpart of ``MaskedScaling(mask, strength)``.

        Args:
            mask: Units to push.
            differences: Moments of the same component.
            strength: The SADI strength to stand beside.
            match: ``"coefficient"``: V = D (the paper's ablation: the same coefficient, usually a far smaller
                push). ``"norm"``: V = c D, with the c that makes the push over all layers as long as SADI's
                (root mean square). ``"mean"``: V such that the mean push is SADI's own and only the dependence
                on the input is gone.
            push: SADI's push as measured in its own steered run, for ``"norm"`` and ``"mean"``. Without it
                strength times the clean activation at the last prompt token stands in, which is exact for a mask
                within one layer and too long or too short where an edited layer changes what later ones put out.

        Raises:
            ValueError: If ``match`` is unknown, shapes differ, or the direction to rescale is zero.
        """
        require_one_of("match", match, MATCHES)
        require_same_component(mask, differences)
        if differences.mean.shape != mask.selected.shape:
            raise ValueError(
                f"differences are {differences.mean.shape} [layer unit], the mask is "
                f"{mask.selected.shape}; both must come from the same model"
            )
        if match == "coefficient":
            return cls(mask, differences.vector, strength, "fixed D, same coefficient")
        if push is not None and push.mean.shape != differences.vector.shape:
            raise ValueError(
                f"push is {push.mean.shape} [layer unit d], the differences are {differences.vector.shape}; both must "
                "be of the same component and model"
            )
        if push is not None and strength == 0:
            raise ValueError("strength must not be 0 where a measured push is to be matched")
        if match == "mean":
            mean = differences.prompt_mean if push is None else push.mean / strength
            return cls(mask, mean, strength, "fixed mean push")
        vector = differences.vector.astype(np.float64)
        length = np.linalg.norm(vector[mask.selected])
        if length == 0:
            raise ValueError(
                "match='norm' needs a difference that is not zero on the mask; use match='mean'"
            )
        if push is None:
            wanted = float(np.linalg.norm(differences.prompt_rms[mask.selected].astype(np.float64)))
        else:
            wanted = push.rms / abs(strength)
        vector *= wanted / length
        return cls(mask, vector, strength, "fixed D, same norm")

    @property
    def label(self) -> str:
        """As in ``fixed D, same norm: head, K 4, strength 5``."""
        return f"{self.name}: {self.component}, K {self.mask.k}, strength {self.strength:g}"

    def affine(self, layer: int) -> Affine:
        """Shift strength * V on selected units."""
        push = self.strength * self.vector[layer] * self.mask.selected[layer][:, None]
        return Affine(None, torch.from_numpy(push.astype(np.float32)))

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has another shape than the mask."""
        super().check(info)
        require_values(info, self.component, self.vector.shape[2], "vector has")


@dataclass(frozen=True, eq=False)
class VectorAddition(AffineIntervention):
    """Add one vector to the residual stream after one layer (CAA, Panickssery et al., 2024).

    Raises:
        ValueError: If the strength or the vector is not finite.

    Example:
        >>> import numpy as np
        >>> sl.VectorAddition(np.ones(model.cfg.d_model), layer=2, strength=0.5).layers
        (2,)
    """

    vector: Any
    """Float array [d_model]."""
    layer: int
    strength: float
    component: str = field(default="hidden")
    name: str = "fixed vector"

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "strength", float(self.strength))
        object.__setattr__(self, "vector", float_array("vector", self.vector, "unit"))
        require_not_heads(self.component)

    @classmethod
    @checked()
    def from_differences(
        cls, differences: ActivationDifferences, layer: int, strength: float
    ) -> "VectorAddition":
        """The mean difference of one layer as the vector.

        Raises:
            ValueError: If the layer does not exist.
        """
        require_layer(layer, differences.mean.shape[0])
        return cls(differences.vector[layer, :, 0], layer, strength, differences.component)

    @property
    def layers(self) -> tuple[int, ...]:
        """The one layer; none at strength 0 or for a zero vector."""
        return (self.layer,) if self.strength and bool(self.vector.any()) else ()

    @property
    def label(self) -> str:
        """As in ``fixed vector: hidden, layer 3, strength 2``."""
        return f"{self.name}: {self.component}, layer {self.layer}, strength {self.strength:g}"

    def affine(self, layer: int) -> Affine:  # noqa: ARG002  # it has only one layer
        """Shift strength * vector."""
        return Affine(None, torch.from_numpy(self.strength * self.vector)[:, None])

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model lacks the layer or has another width."""
        require_width(info, self.component, self.layer, self.vector.size, "vector")
