"""Running moments of activations, pass by pass, in place.

Merged by the formula of Chan, Golub and LeVeque (1983), in float64 where the device has it. What is kept has no axis
over rows and stays where it is, so memory does not grow with their number.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Moments:
    """Mean and sum of squared deviations over rows of values of one shape.

    Args:
        shape: Of the values of one row.
        device: Where to accumulate.
    """

    def __init__(self, shape: Sequence[int], device: Any = "cpu") -> None:
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self.n = 0
        self.mean, self.squared = (
            torch.zeros(tuple(shape), dtype=dtype, device=device) for _ in range(2)
        )

    def update(self, rows: Tensor) -> None:
        """More values, [row ...]."""
        wide = rows.to(self.mean.device, self.mean.dtype)
        mean = wide.mean(dim=0)
        total = self.n + rows.shape[0]
        shift = mean - self.mean
        self.mean += shift * (rows.shape[0] / total)
        self.squared += (wide - mean).square_().sum(dim=0)
        self.squared += shift.square_() * (self.n * rows.shape[0] / total)
        self.n = total

    def mean_array(self) -> np.ndarray:
        """Mean, float32 on the CPU."""
        return self.mean.float().cpu().numpy()

    def std_array(self) -> np.ndarray:
        """Standard deviation with n - 1, float32 on the CPU; NaN for one value."""
        if self.n < 2:
            return np.full(tuple(self.squared.shape), np.nan, dtype=np.float32)
        return (self.squared / (self.n - 1)).sqrt().float().cpu().numpy()
