"""A cell of a sweep that was chosen, and the floor that it had to keep to."""

import math
from dataclasses import dataclass

from sadi_lens.types.invariants import Consistent

MIN_VALID = 0.5
"""Share of the unsteered model's valid-answer rate that a cell keeps if it is to be chosen, where no floor is given."""


def valid_floor(unsteered: float, min_valid: float | None) -> float:
    """The valid-answer rate that a candidate needs.

    Args:
        unsteered: The unsteered model's rate; NaN (not known) sets no floor.
        min_valid: A floor of the caller's own.

    Raises:
        ValueError: If it is not in [0, 1].
    """
    if min_valid is None:
        return 0.0 if math.isnan(unsteered) else MIN_VALID * unsteered
    if not 0 <= min_valid <= 1:
        raise ValueError(f"min_valid must be a share in [0, 1], got {min_valid}")
    return min_valid


@dataclass(frozen=True, eq=False)
class Choice(Consistent):
    """A cell of a sweep and why it was taken."""

    k: int
    strength: float
    accuracy: float
    chosen_on: str
    """Split the choice was made on."""
    reason: str
    axis: str = "K"
    """What ``k`` is: ``"K"``, a number of units, or ``"layer"``."""

    @property
    def is_unsteered(self) -> bool:
        """Whether no cell was taken: strength 0 changes nothing."""
        return self.strength == 0

    @property
    def settings(self) -> str:
        """The cell in a few words, as "K 4, strength 2"."""
        if self.is_unsteered:
            return "unsteered"
        return f"{self.axis} {self.k}, strength {self.strength:g}"
