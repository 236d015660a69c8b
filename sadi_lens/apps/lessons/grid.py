"""The toy of the first lesson, small enough for a pencil: 4 layers of 4 units."""

import numpy as np

GRID_WRONG = np.array(
    [
        [[1, 2, 0, -1], [0, -1, 1, 2], [2, 0, 1, -1], [1, -1, 0, 2]],
        [[0, 1, -1, 2], [1, 0, -1, 1], [1, 2, 0, 0], [-1, 1, 2, 0]],
    ]
)
"""Activations on the wrong answer: 2 pairs x 4 layers x 4 units."""
GRID_RIGHT = GRID_WRONG + np.array(
    [
        [[1, 0, -1, 0], [0, 3, 0, 1], [-4, 1, 0, 1], [0, 1, 0, -1]],
        [[0, 0, 0, 0], [0, 1, 1, -1], [-2, -1, 0, 1], [0, 0, 0, 1]],
    ]
)
"""The same on the right answer."""
GRID_INPUTS = np.array(
    [
        [[0, 1, 0, -1], [1, 2, 0, 0], [-1, 0, 2, 1], [0, 1, -1, 0]],
        [[1, 0, -1, 1], [0, -1, 1, 0], [2, -1, 0, 0.5], [1, 0, 0, -1]],
    ]
)
"""Two inputs to steer: the unit that matters is +2 in one and -1 in the other."""
