"""AUSteer: amplify or damp single activation values by how consistently they differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sadi_lens.engine.intervention import Affine, AffineIntervention
from sadi_lens.interventions.pairs import pair_activations
from sadi_lens.types.checks import checked, float_array, require_fields
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.model import HookedModel, ModelInfo, component_name, unit_shape


@dataclass(frozen=True, eq=False)
class AUSteer(AffineIntervention):
    """x' = x + strength * gain * x on a few single values of one component.

    The gain of a value is the share of pairs in which it is larger with the right answer, or minus the share in
    which it is smaller, whichever share is larger. Unlike SADI it counts pairs instead of averaging differences
    (so large layers do not win by size), takes single values also of heads, and damps as well as amplifies.

    Source: AUSteer (ICLR 2026, arXiv 2602.04428). The paper steers the input of o_proj (``"head"``) or the MLP
    output (``"mlp_out"``) at all positions (``position="all"``), with up to 100 values. Ties in the share, common with
    few pairs, are broken here by the mean difference in standard deviations.

    Raises:
        ValueError: If ``strength`` or ``gain`` is not finite, or ``gain`` has another number of axes.

    Example:
        >>> sl.interventions.AUSteer.from_pairs(model, task.pairs[:10], k=5, progress=False).label
        'AUSteer: mlp_out, 5 values, strength 1'
    """

    gain: Any
    """Float array [layer unit d], 0 for values that are left alone; d = d_head for heads, else 1."""
    strength: float
    component: str = "mlp_out"

    def __post_init__(self) -> None:
        require_fields(self)
        object.__setattr__(self, "strength", float(self.strength))
        object.__setattr__(self, "gain", float_array("gain", self.gain, "layer unit d"))

    @classmethod
    @checked()
    def from_pairs(
        cls,
        model: HookedModel,
        pairs: Sequence[ContrastivePair],
        k: int = 100,
        strength: float = 1.0,
        *,
        component: str = "mlp_out",
        prepend_bos: bool | None = None,
        progress: bool = True,
    ) -> "AUSteer":
        """Count over pairs, at the last token of prompt + answer, and keep the ``k`` most consistent values.

        Raises:
            ValueError: If ``k`` is out of range; otherwise as ``pair_activations``.
        """
        component = component_name(component)
        found: list[torch.Tensor] = []
        for batch in pair_activations(
            model, pairs, component, prepend_bos=prepend_bos, progress=progress
        ):
            difference = (batch.positive - batch.negative).double()
            sums = [(difference > 0), (difference < 0), difference, difference.square()]
            found.append(torch.stack([one.double().sum(dim=0) for one in sums]))
        up, down, mean, square = (torch.stack(found).sum(dim=0) / len(pairs)).numpy()
        if not 1 <= k <= up.size:
            raise ValueError(f"k must be in [1, {up.size}], got {k}")
        spread = np.sqrt(np.maximum(square - mean**2, 0))
        size = np.divide(np.abs(mean), spread, out=np.full_like(mean, np.inf), where=spread > 0)
        share = np.maximum(up, down)
        # Last key first: largest share, then largest size, then lower layer and unit.
        order = np.lexsort((-size.ravel(), -share.ravel()))
        gain = np.zeros(up.size)
        gain[order[:k]] = np.where(up >= down, up, -down).ravel()[order[:k]]
        return cls(gain.reshape(up.shape), strength, component)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers with a gain that is not 0; none at strength 0."""
        if not self.strength:
            return ()
        return tuple(int(one) for one in np.flatnonzero(self.gain.any(axis=(1, 2))))

    @property
    def label(self) -> str:
        """As in ``AUSteer: mlp_out, 100 values, strength 2``."""
        count = int(np.count_nonzero(self.gain))
        return f"AUSteer: {self.component}, {count} values, strength {self.strength:g}"

    def affine(self, layer: int) -> Affine:
        """Scale 1 + strength * gain."""
        return Affine(torch.from_numpy(1 + self.strength * self.gain[layer]), None)

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has another shape than the gains."""
        needed = (info.n_layers, *unit_shape(info, self.component))
        if self.gain.shape != needed:
            raise ValueError(
                f"gain is {self.gain.shape} [layer unit d], {info.name} needs {needed} for "
                f"{self.component!r} ({info.shape})"
            )
