"""Fixed vectors from the literature: CAA, ActAdd and ITI."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sadi_lens.engine.hooks import require_eval
from sadi_lens.engine.intervention import (
    Affine,
    AffineIntervention,
    Context,
    ContextualIntervention,
    Masked,
    Need,
    require_layer,
    require_values,
    require_width,
    unit_vector,
)
from sadi_lens.engine.passes import device_of
from sadi_lens.engine.prompts import TextOrChat, encode_prompt
from sadi_lens.engine.reading import read_activations
from sadi_lens.engine.runner import owned
from sadi_lens.engine.text import encode, require_tokenizer
from sadi_lens.interventions.fixed import VectorAddition
from sadi_lens.interventions.pairs import pair_activations
from sadi_lens.types.checks import checked, float_array, require_fields
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import HookedModel, ModelInfo

ITI_STRENGTH = 15.0
"""Alpha of Li et al. (2023), for LLaMA-7B."""


@checked()
def caa(differences: ActivationDifferences, layer: int, strength: float = 1.0) -> VectorAddition:
    """Contrastive activation addition: the mean difference of the residual stream, added at one layer.

    Run it with ``position="every_step"`` (the last prompt token and everything after it), where its authors add it;
    they use strengths of about -2 to 2. The vector is read at the answer token, as theirs is; it is not rescaled to a
    common length, which they do only to compare behaviours.

    Source: Panickssery et al. (ACL 2024, arXiv 2312.06681).

    Args:
        differences: Of component ``"hidden"``.
        layer: After which block; 0-based.
        strength: Their multiplier.

    Raises:
        ValueError: If the differences are of another component, or the layer does not exist.
    """
    if differences.component != "hidden":
        raise ValueError(
            f"differences must be of component 'hidden', got {differences.component!r}"
        )
    require_layer(layer, differences.mean.shape[0])
    return VectorAddition(differences.vector[layer, :, 0], layer, strength, name="CAA")


@dataclass(frozen=True, eq=False)
class ActAdd(ContextualIntervention):
    """Activation addition: the difference of two prompts' residual streams, added at the front of every prompt.

    Token t of a text gets ``strength * (h+_t - h-_t)`` for t in the two prompts, BOS included, and only in the
    prompt; the run's ``position`` does not apply. A prompt with fewer tokens than the vector takes as many as it has.

    Source: Turner et al. (arXiv 2308.10248). They name a layer by the stream that enters it: their layer 6 is
    ``layer=5`` here, the stream after block 5.

    Raises:
        ValueError: If the strength or the vector is not finite.
    """

    vector: Any
    """Float array [pos d_model]."""
    layer: int
    strength: float
    component: str = "hidden"
    need: ClassVar[Need] = "place"

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "strength", float(self.strength))
        object.__setattr__(self, "vector", float_array("vector", self.vector, "pos unit"))

    @classmethod
    @checked()
    def from_prompts(
        cls,
        model: HookedModel,
        positive_prompt: TextOrChat,
        negative_prompt: TextOrChat,
        layer: int,
        strength: float = 5.0,
        *,
        padding: str = " ",
        prepend_bos: bool | None = None,
    ) -> "ActAdd":
        """From one pair of prompts, as ``"Love"`` and ``"Hate"``.

        Args:
            model: A bridged model in eval mode.
            positive_prompt: What to steer towards: text, or the messages of a chat.
            negative_prompt: What to steer away from; may be empty where the tokenizer adds a BOS.
            layer: After which block; 0-based.
            strength: Their coefficient.
            padding: One token, repeated behind the shorter prompt (a space, as in the paper).
            prepend_bos: See ``sadi_lens.engine.text.encode``.

        Raises:
            ValueError: If the layer does not exist, a prompt has no token, or padding is needed and is not one token.
            RuntimeError: Inside of a ``with steer(...)``, which would change what is read.
        """
        require_eval(model)
        require_layer(layer, ModelInfo.of(model).n_layers)
        rows = [
            encode_prompt(model, prompt, prepend_bos=prepend_bos)
            for prompt in (positive_prompt, negative_prompt)
        ]
        longest = max(len(row) for row in rows)
        if any(len(row) < longest for row in rows):
            pad = encode(require_tokenizer(model), padding, prepend_bos=False)
            if len(pad) != 1:
                raise ValueError(
                    f"padding must be one token, {padding!r} is {len(pad)}; give prompts with the "
                    f"same number of tokens (now {[len(row) for row in rows]}) or another padding"
                )
            rows = [row + pad * (longest - len(row)) for row in rows]
        ids = torch.tensor(rows, device=device_of(model))
        with owned(model):  # not while something else steers it
            found = read_activations(model, ids, components=("hidden",))["hidden"][layer]
        hidden = found.float().cpu()
        return cls((hidden[0] - hidden[1]).numpy(), layer, strength)

    @property
    def layers(self) -> tuple[int, ...]:
        """The one layer; none at strength 0 or for a zero vector."""
        return (self.layer,) if self.strength and bool(self.vector.any()) else ()

    @property
    def label(self) -> str:
        """As in ``ActAdd: layer 5, first 2 tokens, strength 5``."""
        return f"ActAdd: layer {self.layer}, first {len(self.vector)} tokens, strength {self.strength:g}"

    def edit(self, activation: Tensor, layer: int, context: Context | None = None) -> Tensor:  # noqa: ARG002
        """The vector's rows added to the tokens at their places."""
        if not self.layers:
            return activation.clone()
        place: Tensor = self.known(context).to(activation.device)
        rows = np.concatenate([self.strength * self.vector, 0 * self.vector[:1]])
        table = self.placed("vector", rows, activation)
        outside = (place < 0) | (place >= len(self.vector))
        push = table[place.masked_fill(outside, len(self.vector))]
        return torch.where(outside[..., None], activation, activation + push)

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model lacks the layer or has another width."""
        require_width(info, self.component, self.layer, self.vector.shape[1], "vector")


@dataclass(frozen=True, eq=False)
class ITI(Masked, AffineIntervention):
    """Inference-time intervention: a fixed push of some heads along their own truthful direction.

    z' = z + strength * sigma * theta for every head of the mask: theta is the unit vector from the mean activation
    with the wrong answer to that with the right one (mass-mean shift), sigma the standard deviation of activations
    along it. The heads are those whose linear probe tells right from wrong best on held-out pairs.

    Source: Li et al. (NeurIPS 2023, arXiv 2306.03341): 48 heads and strength (alpha) 15 for LLaMA-7B, added at
    every generated token (``position="every_step"``).

    Raises:
        ValueError: If ``strength`` is not finite, or ``directions`` or ``sigma`` does not match the mask.
    """

    mask: Mask
    directions: Any
    """Unit vectors theta, float array [layer unit d]."""
    sigma: Any
    """Standard deviation along theta, float array [layer unit] (activation units)."""
    strength: float = ITI_STRENGTH

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "strength", float(self.strength))
        directions = float_array("directions", self.directions, "layer unit d")
        sigma = float_array("sigma", self.sigma, "layer unit")
        for name, array in (("directions", directions), ("sigma", sigma)):
            if array.shape[:2] != self.mask.selected.shape:
                raise ValueError(
                    f"{name} must match the mask's {self.mask.selected.shape} [layer unit], "
                    f"got {array.shape}"
                )
            object.__setattr__(self, name, array)

    @classmethod
    @checked()
    def from_pairs(
        cls,
        model: HookedModel,
        pairs: Sequence[ContrastivePair],
        mask: Mask,
        strength: float = ITI_STRENGTH,
        *,
        prepend_bos: bool | None = None,
        progress: bool = True,
    ) -> "ITI":
        """Directions and spread of the heads in ``mask`` from pairs, at the last token of prompt + answer.

        Simplified: sigma is taken over the texts of the same pairs; the authors take it over a separate set of
        answers. ``mask`` is the choice of heads (theirs, for LLaMA-7B: the 48 with the best probes).

        Raises:
            ValueError: If a head's difference is zero, the mask is empty or of another model; otherwise as
                ``pair_activations``.
        """
        if not mask.k:
            raise ValueError("mask must select at least 1 unit, got 0")
        mask.check(ModelInfo.of(model))
        layers, units = np.nonzero(mask.selected)
        touched, index = np.unique(layers, return_inverse=True)
        positive: list[np.ndarray] = []
        negative: list[np.ndarray] = []
        for batch in pair_activations(
            model,
            pairs,
            mask.component,
            [int(one) for one in touched],
            prepend_bos=prepend_bos,
            progress=progress,
        ):
            positive.append(batch.positive.numpy()[:, index, units].astype(np.float64))
            negative.append(batch.negative.numpy()[:, index, units].astype(np.float64))
        right, wrong = np.concatenate(positive), np.concatenate(negative)
        theta = unit_vector(
            "the mean difference of every selected head", right.mean(axis=0) - wrong.mean(axis=0)
        )
        projections = np.einsum("tud,ud->tu", np.concatenate([right, wrong]), theta)
        directions = np.zeros((*mask.selected.shape, theta.shape[1]))
        sigma = np.zeros(mask.selected.shape)
        directions[layers, units], sigma[layers, units] = theta, projections.std(axis=0)
        return cls(mask, directions, sigma, strength)

    @property
    def label(self) -> str:
        """As in ``ITI: head, K 48, strength 15``."""
        return f"ITI: {self.component}, K {self.mask.k}, strength {self.strength:g}"

    def affine(self, layer: int) -> Affine:
        """Shift strength * sigma * theta on selected heads."""
        size = self.strength * self.sigma[layer] * self.mask.selected[layer]
        return Affine(
            None, torch.from_numpy((size[:, None] * self.directions[layer]).astype(np.float32))
        )

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has another shape than the mask."""
        super().check(info)
        require_values(info, self.component, self.directions.shape[2], "directions have")
