"""What an intervention must be, and must return: checked before a run and at every edit, whoever wrote the class."""

from typing import Any

import numpy as np
from torch import Tensor

from sadi_lens.types.base import require_one_of
from sadi_lens.types.model import COMPONENTS, ModelInfo, n_units


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
