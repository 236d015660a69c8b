"""What the reference code of SADI does: overwrite with values of an unsteered run, edited at the mask."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sadi_lens.engine.intervention import AffineIntervention, Context, ContextualIntervention, Need
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import require_fields
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import ModelInfo

SCOPES = {
    "all": "every layer is overwritten (the reference code)",
    "selected": "only the selected units are overwritten",
}


@dataclass(frozen=True, eq=False)
class Clamped(ContextualIntervention):
    """SADI as its reference code does it: edit the values of a clean run, and write those in.

    The same text is first run unsteered. Then, at the edited tokens, the hooked tensor of every layer
    (``scope="all"``) or only the selected units (``"selected"``) get the clean run's values, edited by ``inner``.
    In the flow of the network (``MaskedScaling`` alone) a later layer scales what an earlier edit has already
    changed; here it does not, and with ``"all"`` an edit cannot reach later layers through the same component at
    that token at all: on ``"hidden"`` only the last layer's edit is left. ``"selected"`` equals the flow for a mask
    within one layer.

    The clean run has its own KV cache, so cached and uncached generation agree. It costs a second forward pass.
    ``fwd_hooks`` cannot run it and refuses.

    Source: Algorithm 1 of Wang et al. (ICLR 2025), lines 9-12, as in their released code.

    Raises:
        ValueError: If ``inner`` is not affine with a mask, or the scope is unknown.
    """

    inner: Any
    """``MaskedScaling`` (the reference code), or another affine intervention with a mask."""
    scope: str = "all"
    need: ClassVar[Need] = "clean"

    def __post_init__(self) -> None:
        require_fields(self)
        require_one_of("scope", self.scope, SCOPES)
        if not isinstance(self.inner, AffineIntervention) or not hasattr(self.inner, "mask"):
            raise ValueError(
                f"inner must be affine with a mask, as MaskedScaling, got {type(self.inner).__name__}"
            )

    @property
    def mask(self) -> Mask:
        """The mask of ``inner``."""
        return self.inner.mask  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def component(self) -> str:
        """The mask's component."""
        return self.mask.component

    @property
    def layers(self) -> tuple[int, ...]:
        """Every layer, or those with a selected unit; none where ``inner`` is the identity."""
        own: tuple[int, ...] = self.inner.layers  # pyright: ignore[reportAttributeAccessIssue]
        return tuple(range(self.mask.n_layers)) if own and self.scope == "all" else own

    @property
    def label(self) -> str:
        """As in ``clamped (all): SADI head, K 4, strength 5``."""
        return f"clamped ({self.scope}): {self.inner.label}"  # pyright: ignore[reportAttributeAccessIssue]

    def edit(self, activation: Tensor, layer: int, context: Context | None = None) -> Tensor:
        """The clean values, edited at the mask."""
        if not self.layers:
            return activation.clone()
        clean: Tensor = self.known(context)
        inner: Any = self.inner
        edited = inner.edit(clean, layer) if layer in inner.layers else clean
        if self.scope == "all":
            return edited
        selected = torch.from_numpy(self.mask.selected[layer].copy()).to(activation.device)
        if self.component == "head":
            selected = selected[:, None]
        return torch.where(selected, edited, activation)

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has another shape than the mask."""
        self.inner.check(info)  # pyright: ignore[reportAttributeAccessIssue]
