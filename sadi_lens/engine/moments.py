"""Running moments of activations, pass by pass, layer by layer, in place.

Merged by the formula of Chan, Golub and LeVeque (1983), in float64 where the device has it. What is kept has no axis
over rows and stays where it is, so memory does not grow with their number.
"""

from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Moments:
    """Mean and sum of squared deviations over rows of values of one shape.

    What a pass hands over (``take``) counts once ``keep`` is called: a pass that fails in the middle and is run again
    leaves nothing behind.

    Args:
        shape: Of the values of one row; its first axis may be filled piece by piece.
        device: Where to accumulate.
    """

    def __init__(self, shape: Sequence[int], device: Any = "cpu") -> None:
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self.n = 0
        self.mean, self.squared, self._mean, self._squared = (
            torch.zeros(tuple(shape), dtype=dtype, device=device) for _ in range(4)
        )

    def take(self, rows: Tensor, at: int | EllipsisType = ...) -> None:
        """Values of the running pass, [row ...], for the index ``at`` of the first axis (default: all of it)."""
        wide = rows.to(self.mean.device, self.mean.dtype)
        mean = wide.mean(dim=0)
        self._mean[at] = mean
        self._squared[at] = (wide - mean).square_().sum(dim=0)

    def keep(self, n: int) -> None:
        """The pass is over; it had ``n`` rows."""
        total = self.n + n
        shift = self._mean - self.mean
        self.mean += shift * (n / total)
        self.squared += self._squared + shift.square_() * (self.n * n / total)
        self.n = total

    def update(self, rows: Tensor) -> None:
        """A whole pass at once."""
        self.take(rows)
        self.keep(rows.shape[0])

    def mean_array(self) -> np.ndarray:
        """Mean, float32 on the CPU."""
        return self.mean.float().cpu().numpy()

    def std_array(self) -> np.ndarray:
        """Standard deviation with n - 1, float32 on the CPU; NaN for one value."""
        if self.n < 2:
            return np.full(tuple(self.squared.shape), np.nan, dtype=np.float32)
        return (self.squared / (self.n - 1)).sqrt().float().cpu().numpy()
