"""What an intervention must be, and must return: checked before a run, at every edit and after it, whoever wrote it."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sadi_lens.types.base import LARGEST, require_one_of
from sadi_lens.types.model import COMPONENTS, ModelInfo, n_units

Site = tuple[str, int]
"""(component, layer)."""
FEW = 16_384
"""Values of an edited activation that are kept for the end of a pass as they are."""


def require_fit(one: Any, info: ModelInfo) -> None:
    """Refuse what says wrongly where it acts, then what refuses the model itself.

    Raises:
        ValueError: If the component is unknown, a layer is not one of the model's, the label is no text, or the
            intervention is for another model.
    """
    name, layers = type(one).__name__, one.layers
    require_one_of(f"component of {name}", str(one.component), COMPONENTS)
    if not isinstance(one.label, str):
        raise ValueError(f"label of {name} must be text for tables and figures, got {one.label!r}")
    whole = isinstance(layers, tuple | list) and all(
        isinstance(layer, int | np.integer) and not isinstance(layer, bool) for layer in layers
    )
    if whole:
        one.check(info)
        n_units(info, one.component)
    if not whole or any(not 0 <= layer < info.n_layers for layer in layers):
        raise ValueError(
            f"layers of {name} must be a tuple of whole numbers in [0, {info.n_layers - 1}], the layers it edits in "
            f"{info.name}; got {layers!r}"
        )


def require_edited(one: Any, layer: int, edited: Any, like: Tensor) -> Tensor:
    """What an intervention's ``edit`` returned, if it may stand in the place of an activation.

    Raises:
        ValueError: If it is no tensor of the activation's shape, dtype and device.
    """
    needed = f"a tensor {tuple(like.shape)} of {like.dtype} on {like.device}"
    if not isinstance(edited, Tensor):
        found = type(edited).__name__
    elif (edited.shape, edited.dtype, edited.device) != (
        like.shape,
        like.dtype,
        like.device,
    ) or edited.is_sparse:
        found = f"one {tuple(edited.shape)} of {edited.dtype} on {edited.device}"
    else:
        return edited
    raise ValueError(
        f"edit of {one.label!r} must return {needed} (component {one.component!r}, layer {layer}), got {found}"
    )


def require_part(one: Any, site: tuple[str, int], values: Any, shape: tuple[int, int]) -> None:
    """Refuse a scale or shift that is not [unit d]: nothing is broadcast, or one value would stand for all units.

    Args:
        one: The intervention.
        site: Component and layer.
        values: What its ``affine`` gave.
        shape: Units of the model, and values of a unit; one value may stand for those of a unit.
    """
    if isinstance(values, Tensor):
        if values.ndim == 2 and values.shape[0] == shape[0] and values.shape[1] in (1, shape[1]):
            return
        found = f"of shape {tuple(values.shape)}"
    else:
        found = f"{type(values).__name__}, no tensor,"
    raise ValueError(
        f"{one.label} is {found} for component {site[0]!r} in layer {site[1]}, the model has [{shape[0]} units, "
        f"{shape[1]} values]; make its mask or vector from this model"
    )


class Peaks:
    """Largest edited activation of every row in each place of a pass, looked at once at its end."""

    def __init__(self) -> None:
        self._found: dict[Site, Float[Tensor, "row ... pos width"]] = {}
        """The edited tokens of the pass under way where they are few, else their extremes: NaN where any is."""

    def note(
        self,
        site: Site,
        after: Float[Tensor, "row ... pos width"],
        columns: tuple[int, int | None],
        real: Bool[Tensor, "... pos"] | None = None,
    ) -> None:
        """Keep what is in the columns from ... to; of the tokens in ``real``, where it is given."""
        if real is not None:  # padding may hold anything
            after = after.masked_fill(~real[..., None].to(after.device), 0)
        start, stop = columns
        if start or stop not in (None, after.shape[-2]):
            after = after[..., start:stop, :]
        if after.requires_grad:
            after = after.detach()
        # At every token of a text, one look at all layers costs less than one at each.
        self._found[site] = after.clone() if after.numel() <= FEW else _extremes(after)

    def overflow(self) -> tuple[Bool[Tensor, "row ..."], str] | None:
        """Rows that overflowed since this was last asked, and where that began; None where none did.

        What is infinite or NaN in one copy of a tree is NaN in all of them a layer later, so it counts where it began.
        """
        found, self._found = self._found, {}
        if not found:
            return None
        parts = list(found.values())
        device, shape = parts[0].device, parts[0].shape[:-1]
        if any(one.shape[:-1] != shape or one.device != device for one in parts):
            parts = [one.to(device).reshape(-1) for one in parts]
        low, high = torch.aminmax(torch.cat(parts, dim=-1))
        if max(-float(low), float(high)) <= LARGEST:  # where any is NaN both are
            return None
        # As float32: in float16 LARGEST is infinite, and nothing is over it.
        peaks = {
            site: _extremes(one).float().abs().amax(dim=(-2, -1)) for site, one in found.items()
        }
        worst = {site: float(one.max()) for site, one in peaks.items()}
        past = {site: one for site, one in worst.items() if not one <= LARGEST}
        endless = [layer for (_, layer), one in past.items() if not one < math.inf]
        shape = max((one.shape for one in peaks.values()), key=math.prod)
        rows = torch.zeros(shape, dtype=torch.int32, device=device)
        for (_, layer), one in peaks.items():  # copies of a tree join layer by layer
            began = layer == min(endless, default=layer)
            over = ~(one <= LARGEST) if began else (one > LARGEST) & one.isfinite()
            rows[tuple(map(slice, one.shape))] += over.to(device)
        name, layer = min(past, key=lambda site: site[1])
        return rows > 0, f"component {name!r} in layer {layer}"


def _extremes(after: Float[Tensor, "row ... pos width"]) -> Float[Tensor, "row ... 1 2"]:
    """Largest and smallest value of each row; a norm takes ten times as long on a CPU."""
    both = after.amax(dim=(-2, -1)), after.amin(dim=(-2, -1))
    return torch.stack(both, dim=-1).unsqueeze(-2)
