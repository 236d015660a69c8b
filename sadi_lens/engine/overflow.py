"""Edited activations that left the range of numbers (``sadi_lens.types.base.LARGEST``)."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sadi_lens.types.base import LARGEST


class Peaks:
    """Largest edited activation of every row in each place of a pass, looked at once at its end."""

    def __init__(self) -> None:
        self._peaks: dict[tuple[str, int], Float[Tensor, "row ..."]] = {}

    def note(
        self,
        site: tuple[str, int],
        after: Float[Tensor, "row ... pos width"],
        columns: tuple[int, int | None],
        real: Bool[Tensor, "... pos"] | None = None,
    ) -> None:
        """Keep the largest value in the columns from ... to; of the tokens in ``real``, where it is given."""
        if real is not None:  # padding may hold anything
            after = after.masked_fill(~real[..., None].to(after.device), 0)
        chosen = after[..., columns[0] : columns[1], :].detach()
        self._peaks[site] = torch.linalg.vector_norm(chosen, math.inf, dim=(-2, -1))

    def overflow(self) -> tuple[Bool[Tensor, "row ..."], str] | None:
        """Rows that overflowed since this was last asked, and where that began; None where none did.

        What is infinite or NaN in one copy of a tree is NaN in all of them a layer later, so it counts where it began.
        """
        peaks, self._peaks = self._peaks, {}
        if not peaks:
            return None
        device = next(iter(peaks.values())).device
        worst = torch.stack([one.max().to(device) for one in peaks.values()]).tolist()
        if all(one <= LARGEST for one in worst):
            return None
        layers = [layer for (_, layer), one in zip(peaks, worst, strict=True) if not one <= LARGEST]
        endless = [
            layer for (_, layer), one in zip(peaks, worst, strict=True) if not one < math.inf
        ]
        rows = torch.zeros(max((one.shape for one in peaks.values()), key=math.prod), device=device)
        for (_, layer), one in peaks.items():  # copies of a tree join layer by layer
            began = layer == min(endless, default=layer)
            over = ~(one <= LARGEST) if began else (one > LARGEST) & one.isfinite()
            rows[tuple(map(slice, one.shape))] += over.to(device)
        names = zip(peaks, worst, strict=True)
        name = next(
            name for (name, layer), one in names if layer == min(layers) and not one <= LARGEST
        )
        return rows > 0, f"component {name!r} in layer {min(layers)}"
