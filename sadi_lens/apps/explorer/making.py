"""The explorers of the command line: one that answers, sized to the model, and one that writes."""

from collections.abc import Sequence
from typing import Any

from sadi_lens.apps._loading import MOST_UNITS, is_large
from sadi_lens.apps.explorer.explorer import SteeringExplorer
from sadi_lens.engine.text import fitting
from sadi_lens.find.differences import activation_differences
from sadi_lens.measure.inspection import all_unit_differences, sign_flip_null
from sadi_lens.measure.inspection.units import can_flip_signs
from sadi_lens.measure.sweeps import KS, STRENGTHS
from sadi_lens.types.data import ContrastivePair, Task
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import SignFlipNull

LARGE = {"strengths": STRENGTHS[1:6], "n_prompts": 6, "max_new_tokens": 12}
"""What a large model is run on, with every second K: a third of the cells, minutes on a CPU."""
WRITING_K = 4
"""Dimensions of the residual stream that are steered where the model writes: with them the embedded model turns kind.
On heads a fixed vector does better there."""
WRITING_PAIRS = 100
WRITING_TOKENS = 30


def answering(
    model: HookedModel,
    task: Task,
    component: str,
    *,
    position: str,
    scoring: str,
    progress: bool,
) -> SteeringExplorer:
    """On a task, its differences included."""
    found = activation_differences(
        model, task.pairs, components=[component], task=task.name, progress=progress
    )
    sizes: dict[str, Any] = {}
    if is_large(model):
        ks = [k for k in KS[component][1::2] if k <= found[component].mean.size]
        sizes = {**LARGE, "ks": ks}
    null = _null(model, task.pairs, found[component], progress)
    return SteeringExplorer(
        model, task, found[component], position=position, scoring=scoring, null=null, **sizes
    )


def require_room(model: HookedModel, task: Task | None) -> None:
    """Refuse a task to write on that is too long for the model, before anything is computed; None is none.

    Raises:
        ValueError: With what to pass instead.
    """
    if task is None:
        return
    pairs = [(one.prompts, (one.positive, one.negative)) for one in task.pairs[:WRITING_PAIRS]]
    try:
        fitting(model, pairs, "pairs")
        fitting(model, [((one,), ()) for one in task.prompts], "prompts", room=WRITING_TOKENS)
    except ValueError as error:
        raise ValueError(
            f"--writing {task.name} does not suit this model; pass --writing none, or a task of shorter texts. "
            f"{str(error).partition('. Shorten')[0]}"
        ) from error


def writing_beside(main: SteeringExplorer, task: Task, *, progress: bool) -> SteeringExplorer:
    """On the prompts of another task, which the model continues freely, edited at every step.

    Args:
        main: Gives model and strengths.
        task: With pairs and prompts.
        progress: Show bars.
    """
    pairs = task.pairs[:WRITING_PAIRS]
    found = activation_differences(
        main.model, pairs, components=["hidden"], task=task.name, progress=progress
    )
    return SteeringExplorer(
        main.model,
        Task(task.name, prompts=task.prompts),
        found["hidden"],
        ks=[WRITING_K],
        strengths=main.strengths,
        n_prompts=4,
        position="every_step",
        max_new_tokens=WRITING_TOKENS,
        null=_null(main.model, pairs, found["hidden"], progress),
    )


def _null(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    found: ActivationDifferences,
    progress: bool,
) -> SignFlipNull | None:
    if found.mean.size > MOST_UNITS or not can_flip_signs(pairs):
        return None
    own = all_unit_differences(model, pairs, found.component, task=found.task, progress=progress)
    return sign_flip_null(own)
