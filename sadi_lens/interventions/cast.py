"""CAST: a push that is added only to prompts which meet a condition."""

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
from sadi_lens.interventions.pairs import prompt_activations, whole_pairs
from sadi_lens.types.checks import checked, float_array, require_fields
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.model import HookedModel, ModelInfo, component_name


@dataclass(frozen=True, eq=False)
class CAST(ContextualIntervention):
    """Conditional activation steering: a push that is added only to prompts which meet a condition.

    At the last prompt token h = activation of ``condition_layer`` is compared with its own projection on the
    condition c: s = cos(h, tanh((c . h / c . c) c)). Where s is above ``threshold`` (or below, as ``fires_above``
    says), ``strength * vector`` is added after ``layer`` at the run's positions, to that prompt and all that follows.

    s is the same for h and -h, so a condition can tell prompts apart by how much of c they hold, never by its sign. It
    needs prompts labelled by whether to steer them (``from_pairs(labelled=...)``).

    Source: Lee et al. (ICLR 2025, arXiv 2409.05907), who steer every token (``position="all"``). Simplified: one
    steered layer instead of several, the condition read at the last prompt token (their mean over the prompt is an
    option), and no restoring of the norm. Their code reads a vector after block l and adds it before block l; here it
    is added where it was read.

    Raises:
        ValueError: If a number is not finite, the widths differ, or the condition does not come before the push.
    """

    vector: Any
    """Float array [d_model]."""
    layer: int
    condition: Any
    """c, float array [d_model]."""
    condition_layer: int
    threshold: float
    strength: float
    fires_above: bool = True
    component: str = "hidden"
    need: ClassVar[Need] = "prompt_end"

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "strength", float(self.strength))
        require_not_heads(self.component)
        vector = float_array("vector", self.vector, "unit")
        condition = float_array("condition", self.condition, "unit")
        if vector.shape != condition.shape:
            raise ValueError(
                f"vector and condition must have one width, got {vector.size} and {condition.size}"
            )
        if self.condition_layer > self.layer:
            raise ValueError(
                f"condition_layer must not come after layer {self.layer}, got {self.condition_layer}"
            )
        unit_vector("condition", condition)
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "condition", condition)

    @classmethod
    @checked()
    def from_pairs(
        cls,
        model: HookedModel,
        pairs: Sequence[ContrastivePair],
        layer: int,
        strength: float = 1.0,
        *,
        condition_layer: int | None = None,
        labelled: tuple[Sequence[str], Sequence[str]] | None = None,
        component: str = "hidden",
        prepend_bos: bool | None = None,
        progress: bool = True,
    ) -> "CAST":
        """Push and condition as first principal components of pair-centred activations.

        The push is the mean difference along that component, so that ``strength`` means what it means for ``caa``.

        Args:
            model: A bridged model in eval mode.
            pairs: Make the push, and without ``labelled`` also the condition.
            layer: After which block to push.
            strength: Of the push.
            condition_layer: Where to read the condition; default the block before ``layer``.
            labelled: (prompts to steer, prompts to leave), as many of either, taken as pairs. Threshold and side are
                then those with the best F1 on them, as in the paper. Without, this is **not CAST**, only a gate of its
                form: c is the component of right against wrong texts, read at answers and asked of prompts, the side
                is where wrong texts are, and the threshold the median over the pairs' prompts, so that about half of
                them fire whether or not they need it.
            component: ``"hidden"`` in the paper.
            prepend_bos: See ``sadi_lens.engine.text.encode``.
            progress: Show a bar.

        Raises:
            ValueError: If the activations do not differ, a label has no prompt, or the labels are unequal in number;
                otherwise as ``pair_activations``.
        """
        component = component_name(component)
        require_not_heads(component)
        require_layer(layer, ModelInfo.of(model).n_layers)
        before = max(0, layer - 1) if condition_layer is None else condition_layer
        found = whole_pairs(
            model, pairs, component, [layer, before], prepend_bos=prepend_bos, progress=progress
        )
        right, wrong, prompt = (one[..., 0].double().numpy() for one in found[1:])
        push = _principal(right[:, 0] - wrong[:, 0])
        push *= float((right[:, 0] - wrong[:, 0]).mean(axis=0) @ push)
        if labelled is None:
            condition = _principal(right[:, 1] - wrong[:, 1])
            threshold = float(np.median(_similarity_array(prompt[:, 1], condition)))
            sides = [_similarity_array(one[:, 1], condition).mean() for one in (wrong, right)]
            fires_above = bool(sides[0] >= sides[1])
        else:
            steer, leave = _labelled_states(model, labelled, component, before, prepend_bos)
            condition = _principal(steer - leave)
            threshold, fires_above = _best_threshold(
                _similarity_array(steer, condition), _similarity_array(leave, condition)
            )
        return cls(push, layer, condition, before, threshold, strength, fires_above, component)

    @property
    def layers(self) -> tuple[int, ...]:
        """The one layer; none at strength 0 or for a zero vector."""
        return (self.layer,) if self.strength and bool(self.vector.any()) else ()

    @property
    def label(self) -> str:
        """As in ``CAST: hidden, layer 3 if layer 2, strength 1``."""
        return (
            f"CAST: {self.component}, layer {self.layer} if layer {self.condition_layer}, "
            f"strength {self.strength:g}"
        )

    def source(self, layer: int) -> int:  # noqa: ARG002  # it has only one layer
        """The condition is read in its own layer."""
        return self.condition_layer

    def fires(self, activation: Tensor) -> Tensor:
        """Whether the condition is met, bool [...], for activations [... unit] of the condition's layer."""
        wide = activation.float()
        found = _similarity(wide, self.placed("condition", self.condition, wide))
        return found > self.threshold if self.fires_above else found < self.threshold

    def edit(self, activation: Tensor, layer: int, context: Context | None = None) -> Tensor:  # noqa: ARG002
        """The push added to the rows whose prompt meets the condition."""
        if not self.layers:
            return activation.clone()
        fires = self.fires(self.known(context))[:, None, None].to(activation.device)
        push = self.placed("push", self.strength * self.vector, activation)
        return torch.where(fires, activation + push, activation)

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model lacks the layer or has another width."""
        require_width(info, self.component, self.layer, self.vector.size, "vector")
        require_width(info, self.component, self.condition_layer, self.vector.size, "condition")


def _similarity(activation: Tensor, condition: Tensor) -> Tensor:
    """cos(h, tanh(projection of h on c)) over the last axis; 0 where h has no part along c."""
    along = (activation * condition).sum(dim=-1, keepdim=True) / condition.square().sum()
    return torch.cosine_similarity(activation, torch.tanh(along * condition), dim=-1)


def _similarity_array(activation: np.ndarray, condition: np.ndarray) -> np.ndarray:
    return _similarity(torch.from_numpy(activation), torch.from_numpy(condition)).numpy()


def _principal(differences: np.ndarray) -> np.ndarray:
    """Unit first principal component of pair-centred activations +-differences/2, towards their mean difference."""
    if not differences.any():
        raise ValueError("the activations of the two sides must differ, all differences are 0")
    axis = np.linalg.svd(differences, full_matrices=False)[2][0]
    return axis if float(differences.mean(axis=0) @ axis) >= 0 else -axis


def _labelled_states(
    model: HookedModel,
    labelled: tuple[Sequence[str], Sequence[str]],
    component: str,
    layer: int,
    prepend_bos: bool | None,
) -> list[np.ndarray]:
    """[prompt unit] of the prompts to steer, and of those to leave."""
    if len(labelled[0]) != len(labelled[1]):
        raise ValueError(
            f"labelled must hold as many prompts to steer as to leave, got {len(labelled[0])} "
            f"and {len(labelled[1])}"
        )
    states = [
        prompt_activations(model, one, component, [layer], prepend_bos=prepend_bos)
        for one in labelled
    ]
    return [one.double().numpy()[:, 0, :, 0] for one in states]


def _best_threshold(fire: np.ndarray, rest: np.ndarray) -> tuple[float, bool]:
    """Threshold between two neighbouring values, and side, with the best F1 for ``fire``."""
    values = np.unique(np.concatenate([fire, rest]))
    edges = np.concatenate([values[:1] - 1e-3, (values[:-1] + values[1:]) / 2, values[-1:] + 1e-3])

    def f1(threshold: float, above: bool) -> float:
        hits, false = (
            (one > threshold if above else one < threshold).sum() for one in (fire, rest)
        )
        return float(2 * hits / (hits + false + len(fire)))

    cells = [
        (f1(float(edge), above), float(edge), above) for above in (True, False) for edge in edges
    ]
    best = max(cells, key=lambda cell: cell[0])
    return best[1], best[2]
