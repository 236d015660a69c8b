"""The steps of a demo by name, and how long they will take."""

import time
from collections.abc import Callable, Sequence

from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import Settings, journal
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.measure.methods import Candidate, Material
from sadi_lens.types.data import Task
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import HookedModel, ModelInfo

N_STEPS = 7
"""The last one is the figures, which are drawn from the results."""
_TIMED_ITEMS, _TIMED_CELLS = 4, 48
_PASSES_A_PAIR = 8
"""Prompts' worth of work that a pair takes: differences, effects and pushes read it several times over."""


def forecast(
    model: HookedModel,
    task: Task,
    component: str,
    settings: Settings,
    *,
    sweeps: int,
    cells: int,
    tests: int,
    tuned: int,
) -> float:
    """Seconds that a demo will take, from a few items timed on this machine.

    Args:
        model: A bridged model in eval mode.
        task: What it runs on.
        component: What is steered.
        settings: How items are scored.
        sweeps: Grids on dev.
        cells: Cells of each.
        tests: Passes over test, random masks included.
        tuned: Cells in which random masks choose on dev.
    """
    few = task.dev[:_TIMED_ITEMS]
    layers = ModelInfo.of(model).n_layers
    places = [(at * layers // (2 * _TIMED_CELLS), 0) for at in range(_TIMED_CELLS)]
    many = [MaskedScaling(Mask.from_units(component, [one], model), 1.0) for one in places]

    def timed(interventions: Sequence[MaskedScaling | None]) -> float:
        started = time.perf_counter()
        evaluate_all(model, few, interventions, settings, progress=False)
        return (time.perf_counter() - started) / len(few)

    with journal(None):
        # The first call of all looks at the model, the first with cells at whether it takes trees.
        timed([None, *many[:2]])
        prompt = timed([None])
        cell = max(0.0, timed([None, *many]) - prompt) / _TIMED_CELLS
    n_prompts = _PASSES_A_PAIR * len(task.pairs) + sweeps * len(task.dev) + 3 * len(task.test)
    n_cells = (sweeps * cells + tuned) * len(task.dev) + tests * len(task.test)
    return prompt * n_prompts + cell * n_cells


def in_words(seconds: float) -> str:
    """Roughly how long.

    >>> from sadi_lens.apps.demo_steps import in_words
    >>> in_words(8), in_words(80), in_words(130), in_words(9000)
    ('under a minute', 'about a minute', 'about 2 minutes', 'about 2.5 hours')
    """
    if seconds < 90:
        return "under a minute" if seconds < 60 else "about a minute"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"


class Steps:
    """Says each step once, as ``3 of 7  ...``.

    Args:
        say: Takes the line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.done = say, 0

    def next(self, words: str) -> None:
        """A step begins."""
        self.done += 1
        self.say(f"{self.done} of {N_STEPS}  {words}")

    def before(
        self, words: str, candidates: Callable[[Material, int | None], Sequence[Candidate]]
    ) -> Callable[[Material, int | None], Sequence[Candidate]]:
        """``candidates`` that begin a step."""

        def named(material: Material, budget: int | None) -> Sequence[Candidate]:
            self.next(words)
            return candidates(material, budget)

        return named
