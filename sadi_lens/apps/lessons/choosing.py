"""Choosing the best cell of a grid, and how much better it looks than it is."""

import numpy as np
from jaxtyping import Bool


def best_of_grid(
    correct: Bool[np.ndarray, "cell item"], n: int, *, draws: int = 500, seed: int = 0
) -> tuple[float, float]:
    """Accuracy of the best cell on the ``n`` items it was chosen on, and of the same cell on all others.

    Choosing on few items picks up their noise; the second number is what the choice is worth. Averaged over random
    draws of the items; ties go to the earlier cell.

    Args:
        correct: Which items each cell answers right.
        n: Items to choose on.
        draws: Random draws.
        seed: Their seed; the global random state is not touched.

    Raises:
        ValueError: If ``n`` leaves no item on one of the sides, or ``draws`` is below 1.
    """
    if not 1 <= n < correct.shape[1]:
        raise ValueError(f"n must be in [1, {correct.shape[1] - 1}], got {n}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    generator = np.random.default_rng(seed)
    found = np.empty((draws, 2))
    for draw in range(draws):
        order = generator.permutation(correct.shape[1])
        here, elsewhere = correct[:, order[:n]], correct[:, order[n:]]
        best = int(here.mean(axis=1).argmax())
        found[draw] = here[best].mean(), elsewhere[best].mean()
    chosen_on, others = found.mean(axis=0)
    return float(chosen_on), float(others)
