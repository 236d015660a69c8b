"""Ctrl-C in the middle of an evaluation, and going on from there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from sadi_lens.engine.intervention import Intervention
from sadi_lens.types.model import HookedModel, fingerprint_of
from sadi_lens.types.results import Evaluation


class EvaluationInterrupted(KeyboardInterrupt):
    """Ctrl-C during an evaluation. The same call with ``resume=`` this exception runs only what is missing.

    Args:
        partial: One result an intervention, over the items that were finished; for free text, the interventions that
            were finished, over all items.
        done: The items that ``partial`` holds (for free text: all).
        call: What was called, by the name of the argument.
    """

    def __init__(
        self,
        partial: tuple[Evaluation, ...],
        done: Bool[np.ndarray, " item"],
        call: Mapping[str, object],
    ) -> None:
        super().__init__(
            f"interrupted with {partial[0].n if partial else 0} items scored; they are in .partial. evaluate, "
            "evaluate_each and sweep go on from there with resume= this exception (in a notebook: sys.last_value)"
        )
        self.partial = partial
        self.done = done
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.partial, self.done, self.call)

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


def require_kind(resume: object, kind: type[BaseException]) -> None:
    """Refuse to go on from anything but what stopped this kind of call.

    Raises:
        TypeError: Naming both types.
    """
    if resume is not None and not isinstance(resume, kind):
        raise TypeError(
            f"resume must be the {kind.__name__} of this call, got {type(resume).__name__}"
        )


def weights_of(model: HookedModel) -> tuple[str, str]:
    """Weights and dtype as they are now: items scored before and after a change are not one result."""
    return fingerprint_of(model), str(next(model.original_model.parameters()).dtype)


def described(interventions: Sequence[Intervention | None]) -> tuple[object, ...]:
    """What tells interventions apart: themselves, or their words where a class of one's own knows no equality."""
    return tuple(
        one
        if one is None or type(one).__module__.startswith("sadi_lens.")
        else (type(one), one.label, one.component, tuple(one.layers))
        for one in interventions
    )
