"""The control "control token": the same edit, at a token where it should not matter."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sadi_lens.engine.intervention import AffineIntervention, Context, ContextualIntervention, Need
from sadi_lens.types.checks import require_fields
from sadi_lens.types.model import ModelInfo


@dataclass(frozen=True, eq=False)
class ControlToken(ContextualIntervention):
    """An affine intervention at the middle token of every prompt, whatever the run's position.

    Of a prompt with tokens 0 ... n - 1 it edits token floor((n - 1) / 2), once, and nothing that follows the prompt.
    A prompt of one token has no other than its last, and is left as it is. What is left of a method's effect
    under it does not come from the place where it acts.

    Raises:
        ValueError: If ``inner`` is not affine.

    Example:
        >>> mask = sl.Mask.from_units("head", [(1, 2)], model)
        >>> sl.interventions.ControlToken(sl.MaskedScaling(mask, 5.0)).label
        'control token: SADI head, K 1, strength 5'
    """

    inner: Any
    need: ClassVar[Need] = "place"

    def __post_init__(self) -> None:
        require_fields(self)
        if not isinstance(self.inner, AffineIntervention):
            raise ValueError(
                f"inner must be affine, as MaskedScaling, got {type(self.inner).__name__}"
            )

    @property
    def component(self) -> str:
        """The component of ``inner``."""
        return self.inner.component

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of ``inner``."""
        return self.inner.layers

    @property
    def label(self) -> str:
        """As in ``control token: SADI head, K 4, strength 5``."""
        return f"control token: {self.inner.label}"

    def edit(self, activation: Tensor, layer: int, context: Context | None = None) -> Tensor:
        """The edit of ``inner`` at the middle token, every other token as it was."""
        if not self.layers:
            return activation.clone()
        place: Tensor = self.known(context).to(activation.device)
        last = place.amax(dim=1, keepdim=True)
        chosen = (place == last // 2) & (place >= 0) & (last > 0)
        where = chosen.reshape(*chosen.shape, *(1,) * (activation.ndim - 2))
        return torch.where(where, self.inner.edit(activation, layer), activation)

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if ``inner`` was made for a model of another shape."""
        self.inner.check(info)
