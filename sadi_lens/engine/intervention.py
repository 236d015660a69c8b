"""What an intervention is, affine ones and those that must know more of a pass, and checks that several share."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadi_lens.types.base import ArrayEq
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import ModelInfo, n_units, unit_shape

Need = Literal["clean", "prompt_end", "place", "prompts"]
"""Fields of a ``Context``."""


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


class Placing(ArrayEq):
    """Keeps an intervention's arrays on the device and in the dtype of the activations it meets."""

    @cached_property
    def _placed(self) -> dict[Any, Tensor]:
        return {}

    def placed(self, key: Any, values: Any, like: Tensor) -> Tensor:
        """``values`` (an array or tensor) as ``like`` has them; converted once per device and dtype."""
        where = (key, like.device, like.dtype)
        if where not in self._placed:
            with torch.inference_mode(False):  # kept tensors must also work under autograd
                self._placed[where] = torch.tensor(np.asarray(values), device="cpu").to(like)
        return self._placed[where]


class Affine(NamedTuple):
    """A' = scale * A + shift in one layer; None stands for 1 and 0.

    Of one intervention [unit d], float32 on the CPU; of the rows of a pass as it broadcasts over them.
    """

    scale: Float[Tensor, "..."] | None
    shift: Float[Tensor, "..."] | None

    def __call__(self, activation: Tensor) -> Tensor:
        """Worked out in float32 at least, and rounded once to the activation's dtype; parts must broadcast."""
        edited = activation if self.scale is None else activation * self.scale
        edited = edited if self.shift is None else edited + self.shift
        return edited if edited.dtype == activation.dtype else edited.to(activation.dtype)

    def first(self, n: int) -> "Affine":
        """The same for the first ``n`` rows; all where there are no more."""
        return Affine(*(None if part is None else part[:n] for part in self))


class AffineIntervention(ArrayEq):
    """Shared by interventions that are affine in the activation, so that rows of a batch can differ."""

    def affine(self, layer: int) -> Affine:
        """Scale and shift of one layer, float32 on the CPU."""
        raise NotImplementedError

    def edit(self, activation: Tensor, layer: int) -> Tensor:
        """Scale * activation + shift, as a new tensor of the activation's dtype."""
        component: str = self.component  # type: ignore[attr-defined]
        parts = (
            None if part is None else match_component(part, component).to(activation.device)
            for part in self.affine(layer)
        )
        return Affine(*parts)(activation)


@dataclass(frozen=True)
class Context:
    """What an intervention knows of a pass besides the activation it edits; the one field it asked for is set."""

    clean: Tensor | None = None
    """[row pos ...]: what an unsteered run over the same text has at these tokens."""
    prompt_end: Tensor | None = None
    """[row ...]: the activation at the last prompt token, before any edit of this layer."""
    place: Int[Tensor, "row pos"] | None = None
    """Number of each token in its prompt, 0 for the first; -1 for padding and what follows the prompt."""
    prompts: tuple[tuple[int, ...], ...] | None = None
    """Tokens of each row's prompt."""

    def rows(self, chosen: Bool[Tensor, " row"]) -> "Context":
        """The context of some of the rows."""

        def pick(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[chosen.to(values.device)]

        prompts = self.prompts
        if prompts is not None:
            keep = chosen.tolist()
            prompts = tuple(one for one, kept in zip(prompts, keep, strict=True) if kept)
        return Context(pick(self.clean), pick(self.prompt_end), pick(self.place), prompts)


class ContextualIntervention(Placing):
    """Shared by interventions that need a ``Context``; ``steer``, ``generate`` and ``evaluate`` provide it."""

    need: ClassVar[Need]
    """Which field of the context it asks for. Those that need ``place`` choose their own tokens: the run's position
    does not apply to them."""

    def source(self, layer: int) -> int:
        """Layer whose activation it must know in order to edit ``layer`` (same component)."""
        return layer

    def edit(self, activation: Tensor, layer: int, context: Context | None = None) -> Tensor:
        """The edited activation as a new tensor of the same dtype."""
        raise NotImplementedError

    def known(self, context: Context | None) -> Any:
        """The field of ``context`` that the intervention needs.

        Raises:
            ValueError: Outside of a run.
        """
        found = None if context is None else getattr(context, self.need)
        if found is None:
            raise ValueError(
                f"{type(self).__name__} must know {self.need!r} of the pass it edits; "
                "use it through steer, generate or evaluate"
            )
        return found


def chooses_positions(intervention: Intervention | None) -> bool:
    """Whether an intervention chooses its tokens itself, so that the position of the run does not apply."""
    return isinstance(intervention, ContextualIntervention) and intervention.need == "place"


class PerPrompt(ContextualIntervention):
    """Shared by interventions that were made for the prompts of a run, and know each of them by its tokens."""

    prompts: tuple[tuple[int, ...], ...]
    need: ClassVar[Need] = "prompts"
    lacking: ClassVar[tuple[str, str]] = ("a donor", "swap_prompts")
    """What a prompt lacks that is none of them, and what makes it."""

    @cached_property
    def _numbers(self) -> dict[tuple[int, ...], int]:
        return {prompt: number for number, prompt in enumerate(self.prompts)}

    def require_different(self) -> None:
        """Refuse two rows for one prompt: which of them counts would be chance."""
        if len(self._numbers) < len(self.prompts):
            raise ValueError("prompts must all be different tokens")

    def numbers(self, context: Context | None, device: torch.device) -> Int[Tensor, " row"]:
        """Number of each row's prompt.

        Raises:
            ValueError: If a prompt is none of those it was made for.
        """
        prompts: tuple[tuple[int, ...], ...] = self.known(context)
        unknown = [prompt for prompt in prompts if prompt not in self._numbers]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {len(prompts)} rows have a prompt without {self.lacking[0]} (first: tokens "
                f"{list(unknown[0])[:12]}); give {self.lacking[1]} every prompt of the run"
            )
        return torch.tensor([self._numbers[one] for one in prompts], device=device)


class Masked:
    """Shared by interventions on the selected units of a mask."""

    mask: Mask

    @property
    def component(self) -> str:
        """The mask's component."""
        return self.mask.component

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers with a selected unit; none at strength 0."""
        return self.mask.layers if getattr(self, "strength", 1) else ()

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has another shape than the mask."""
        self.mask.check(info)


def match_component(values: Any, component: str) -> Any:
    """[... unit d] in the shape of the hooked tensor: [... head d_head] for heads, else [... unit]."""
    return values if component == "head" else values[..., 0]


def unit_vector(name: str, values: Any) -> np.ndarray:
    """``values`` with length 1 along the last axis.

    Raises:
        ValueError: If one is zero.
    """
    array = np.asarray(values, dtype=np.float64)
    length = np.linalg.norm(array, axis=-1, keepdims=True)
    if not (length > 0).all():
        raise ValueError(f"{name} must not be zero: it has no direction")
    return (array / length).astype(np.float32)


def require_width(info: ModelInfo, component: str, layer: int, width: int, what: str) -> None:
    """Refuse a model without this layer, or of another width."""
    needed = n_units(info, component)
    if not 0 <= layer < info.n_layers or width != needed:
        raise ValueError(
            f"{what} is for layer {layer} and {width} units, but {info.name} has "
            f"{info.n_layers} layers of {needed} {component} units"
        )


def require_values(info: ModelInfo, component: str, d: int, what: str) -> None:
    """Refuse a model whose units have another number of values."""
    needed = unit_shape(info, component)[1]
    if d != needed:
        raise ValueError(f"{what} {d} values a unit, {info.name} has {needed} ({info.shape})")


def require_same_component(mask: Mask, differences: ActivationDifferences) -> None:
    """Refuse differences of other units than those of a mask."""
    if differences.component != mask.component:
        raise ValueError(
            f"differences must be of the mask's component {mask.component!r}, got {differences.component!r}"
        )


def require_layer(layer: int, n_layers: int) -> None:
    """Refuse a layer that does not exist."""
    if not 0 <= layer < n_layers:
        raise ValueError(f"layer must be in [0, {n_layers - 1}], got {layer}")


def require_not_heads(component: str) -> None:
    """Refuse heads where a method acts on one vector a token."""
    if component == "head":
        raise ValueError("component must be 'hidden', 'mlp_out' or 'neuron', got 'head'")


def warn_of_rounding(scale: Tensor, dtype: torch.dtype) -> None:
    """Warn of a scale so near to 1 that the model's dtype rounds it to 1."""
    if dtype not in (torch.float16, torch.bfloat16):
        return
    change = (scale - 1).abs()
    lost = change[(change > 0) & (change < torch.finfo(dtype).eps / 2)]
    if lost.numel():
        warnings.warn(
            f"scaling by 1 + {float(lost.max()):.2g} is finer than {dtype} can express "
            f"({torch.finfo(dtype).eps:.2g} at 1): some or all values stay as they are. Load the model in float32",
            stacklevel=2,
        )


def flat(values: Tensor, width: int) -> Tensor:
    """[unit d] or [unit 1] as [unit * d_head]: one value for every entry of the flat activation."""
    return values.expand(-1, width // values.shape[0]).flatten()
