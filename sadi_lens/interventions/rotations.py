"""Adaptive interventions that turn an activation and keep its length: HPR and spherical steering."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sadi_lens.engine.intervention import (
    Placing,
    require_layer,
    require_not_heads,
    require_width,
    unit_vector,
)
from sadi_lens.interventions.pairs import whole_pairs
from sadi_lens.types.checks import checked, float_array, require_fields
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import HookedModel, ModelInfo, component_name


class _Rotation(Placing):
    """Turns some activations of one layer towards ``direction``, in the plane of the two."""

    direction: Any
    layer: int
    strength: float
    component: str

    def _check_fields(self) -> None:
        require_fields(self)
        if self.strength < 0:
            raise ValueError(f"strength must be at least 0, got {self.strength}")
        require_not_heads(self.component)
        direction = float_array("direction", self.direction, "unit")
        if not math.isclose(float(np.linalg.norm(direction)), 1, abs_tol=1e-4):
            raise ValueError(
                f"direction must have length 1, got {np.linalg.norm(direction):.4g}; divide by it"
            )
        object.__setattr__(self, "strength", float(self.strength))
        object.__setattr__(self, "direction", direction)

    @property
    def layers(self) -> tuple[int, ...]:
        """The one layer; none at strength 0."""
        return (self.layer,) if self.strength else ()

    def edit(self, activation: Tensor, layer: int) -> Tensor:  # noqa: ARG002  # it has only one layer
        """Each token's activation, turned by its own angle; computed in float32."""
        if not self.strength:
            return activation.clone()
        wide = activation.float()
        target = self.placed("direction", self.direction, wide)
        length = wide.norm(dim=-1, keepdim=True)
        unit = wide / length.clamp_min(torch.finfo(wide.dtype).tiny)
        cosine = (unit * target).sum(dim=-1, keepdim=True).clamp(-1, 1)
        aside = target - cosine * unit
        sine = aside.norm(dim=-1, keepdim=True)
        angle = self._angle(cosine)
        turned = length * (angle.cos() * unit + angle.sin() * aside / sine.clamp_min(1e-12))
        # Straight towards or away from the target there is no plane to turn in.
        is_turned = (angle != 0) & (sine > 1e-6) & (length > 0)
        return torch.where(is_turned, turned.to(activation.dtype), activation)

    def _angle(self, cosine: Tensor) -> Tensor:
        """By how much to turn (radians), from the cosine between activation and target."""
        raise NotImplementedError

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model lacks the layer or has another width."""
        require_width(info, self.component, self.layer, self.direction.size, "direction")


@dataclass(frozen=True, eq=False)
class HouseholderRotation(_Rotation):
    """Householder pseudo-rotation (HPR): turn activations on the wrong side of a probe, and keep their length.

    A linear probe without intercept has normal ``direction``. An activation a with a . direction < 0 is turned by
    ``strength * angle`` in the plane of a and its reflection (I - 2 theta theta^T) a; the others are left alone.

    Source: Pham and Nguyen (EMNLP 2024), who turn the last token of every step while the model writes
    (``position="every_step"``) and every token where choices are scored (``"all"``). Simplified: one layer, and one
    angle for all (the mean angle between the two activations of a pair) where they train a network that predicts it;
    strength 1 is that angle.

    Raises:
        ValueError: If a number is out of range, or the direction is not of length 1.

    Example:
        >>> hpr = sl.interventions.HouseholderRotation.from_pairs(
        ...     model, task.pairs[:10], layer=2, progress=False
        ... )
        >>> hpr.label, 0 < hpr.angle < 3.15
        ('HPR: hidden, layer 2, strength 1', True)
    """

    direction: Any
    """Unit normal of the probe, float array [d_model], pointing to the right answers."""
    angle: float
    """Radians, in (0, pi]."""
    layer: int
    strength: float = 1.0
    component: str = "hidden"

    def __post_init__(self) -> None:
        self._check_fields()
        if not 0 < self.angle <= math.pi:
            raise ValueError(f"angle must be in (0, pi], got {self.angle}")
        object.__setattr__(self, "angle", float(self.angle))

    @classmethod
    @checked()
    def from_pairs(
        cls,
        model: HookedModel,
        pairs: Sequence[ContrastivePair],
        layer: int,
        strength: float = 1.0,
        *,
        component: str = "hidden",
        prepend_bos: bool | None = None,
        progress: bool = True,
    ) -> "HouseholderRotation":
        """A logistic probe (L2, scikit-learn, no intercept) and the mean angle, at the last token of each text.

        Raises:
            ValueError: If the activations of right and wrong answers are the same; otherwise as ``pair_activations``.
        """
        from sklearn.linear_model import LogisticRegression

        component = component_name(component)
        require_not_heads(component)
        found = whole_pairs(
            model, pairs, component, [layer], prepend_bos=prepend_bos, progress=progress
        )
        right, wrong = (
            one[:, 0, :, 0].double().numpy() for one in (found.positive, found.negative)
        )
        both = np.concatenate([right, wrong])
        probe = LogisticRegression(fit_intercept=False, max_iter=10_000)
        probe.fit(both / np.sqrt((both**2).mean()), np.repeat([1, 0], len(right)))
        normal = unit_vector("the probe of right against wrong activations", probe.coef_[0])
        lengths = np.linalg.norm(right, axis=1) * np.linalg.norm(wrong, axis=1)
        cosine = (right * wrong).sum(axis=1) / lengths
        return cls(normal, float(np.arccos(cosine.clip(-1, 1)).mean()), layer, strength, component)

    @property
    def label(self) -> str:
        """As in ``HPR: hidden, layer 3, strength 1``."""
        return f"HPR: {self.component}, layer {self.layer}, strength {self.strength:g}"

    def _angle(self, cosine: Tensor) -> Tensor:
        return (cosine < 0).to(cosine.dtype) * (self.strength * self.angle)


@dataclass(frozen=True, eq=False)
class SphericalSteering(_Rotation):
    """Spherical steering: the further an activation points to the wrong answers, the more it is turned.

    With mu = ``direction`` for right and -mu for wrong answers, d = p_wrong - p_right from a softmax over
    kappa cos(a, +-mu), that is d = tanh(-kappa cos(a, mu)). Where d > ``threshold`` (beta), a is turned the share
    t = min(1, strength (d - beta) / (1 - beta)) of the way to mu along the sphere; its length is kept.

    Source: Spherical Steering (ICML 2026, arXiv 2602.08169), where it acts at the last token of each step
    (``position="every_step"``) with kappa 20, and beta is chosen for each task (-0.15 and 0.4 are theirs).

    Raises:
        ValueError: If a number is out of range, or the direction is not of length 1.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:10], progress=False)["hidden"]
        >>> sl.interventions.SphericalSteering.from_differences(found, layer=2).layers
        (2,)
    """

    direction: Any
    """Unit vector mu, float array [d_model]."""
    layer: int
    strength: float = 1.0
    """Their alpha; above 1 the full turn comes earlier."""
    kappa: float = 20.0
    threshold: float = 0.1
    component: str = "hidden"

    def __post_init__(self) -> None:
        self._check_fields()
        if not (0 < self.kappa < math.inf and -1 <= self.threshold < 1):
            raise ValueError(
                f"kappa must be positive and threshold in [-1, 1), got {self.kappa} and {self.threshold}"
            )

    @classmethod
    @checked()
    def from_differences(
        cls,
        differences: ActivationDifferences,
        layer: int,
        strength: float = 1.0,
        *,
        kappa: float = 20.0,
        threshold: float = 0.1,
    ) -> "SphericalSteering":
        """With the mean difference of one layer as the direction.

        Raises:
            ValueError: If the layer does not exist or its difference is zero.
        """
        require_layer(layer, differences.mean.shape[0])
        mean = unit_vector(f"the difference of layer {layer}", differences.vector[layer, :, 0])
        return cls(mean, layer, strength, kappa, threshold, differences.component)

    @property
    def label(self) -> str:
        """As in ``spherical: hidden, layer 3, strength 1, beta 0.1``."""
        return (
            f"spherical: {self.component}, layer {self.layer}, strength {self.strength:g}, "
            f"beta {self.threshold:g}"
        )

    def _angle(self, cosine: Tensor) -> Tensor:
        wrong = torch.tanh(-self.kappa * cosine)
        share = (self.strength * (wrong - self.threshold) / (1 - self.threshold)).clamp(0, 1)
        return share * cosine.acos()
