"""How a point of the explorer becomes an intervention."""

from dataclasses import dataclass

from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import MaskedAddition, MaskedScaling
from sadi_lens.types.base import require_one_of
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask, random_mask, top_k_mask
from sadi_lens.types.results import SignFlipNull
from sadi_lens.types.results.explorer import METHODS


@dataclass(frozen=True)
class Recipe:
    """How K, strength and method become an intervention."""

    differences: ActivationDifferences
    ranking: str = "signed"
    match: str = "norm"
    seed: int = 0
    null: SignFlipNull | None = None
    """Of the same pairs; decides no mask."""

    def mask(self, method: str, k: int) -> Mask:
        """The units that a method edits.

        Raises:
            ValueError: If the method is unknown or ``k`` out of range.
        """
        require_one_of("method", method, METHODS)
        if method == "random":
            return random_mask(self.differences, k, seed=self.seed)
        return top_k_mask(self.differences, k, ranking=self.ranking)

    def make(self, method: str, k: int, strength: float) -> Intervention | None:
        """The intervention; None at strength 0.

        Raises:
            ValueError: As ``mask``.
        """
        mask = self.mask(method, k)
        if strength == 0:
            return None
        if method == "fixed":
            return MaskedAddition.from_differences(
                mask, self.differences, strength, match=self.match
            )
        return MaskedScaling(mask, strength)
