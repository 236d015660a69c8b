"""Ctrl-C in the middle of an evaluation, and going on from there."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from sadi_lens.results import Evaluation


class EvaluationInterrupted(KeyboardInterrupt):
    """Ctrl-C during an evaluation. The same call with ``resume=`` this exception runs only what is missing.

    Args:
        partial: One result an intervention, over the items that were finished; for free text, the interventions that
            were finished, over all items.
        done: The items that ``partial`` holds.
        call: What was called, by the name of the argument.
    """

    def __init__(
        self,
        partial: tuple[Evaluation, ...],
        done: Bool[np.ndarray, " item"],
        call: Mapping[str, object],
    ) -> None:
        super().__init__(
            f"interrupted with {partial[0].n if partial else 0} items scored; they are in .partial, and the same call "
            "with resume= this exception (in a notebook: sys.last_value) goes on from there"
        )
        self.partial = partial
        self.done = done
        self.call = call

    def require(self, call: Mapping[str, object]) -> None:
        """Refuse to go on with another call.

        Raises:
            ValueError: Naming the arguments that differ.
        """
        other = [name for name, value in call.items() if self.call[name] != value]
        if other:
            raise ValueError(
                f"resume was interrupted in another call: {', '.join(other)} differ. Call it as it was called, or "
                "leave resume out"
            )
