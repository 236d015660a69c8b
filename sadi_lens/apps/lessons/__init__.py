"""What the lessons in ``notebooks/`` share: exercises that are checked and never stop a run, claims that do."""

from sadi_lens.apps.lessons.checking import OWN_MODELS, check, claims
from sadi_lens.apps.lessons.choosing import best_of_grid
from sadi_lens.apps.lessons.exercise import Exercise, Mistake
from sadi_lens.apps.lessons.exercises import EXERCISES
from sadi_lens.apps.lessons.grid import GRID_INPUTS, GRID_RIGHT, GRID_WRONG

__all__ = [
    "EXERCISES",
    "GRID_INPUTS",
    "GRID_RIGHT",
    "GRID_WRONG",
    "OWN_MODELS",
    "Exercise",
    "Mistake",
    "best_of_grid",
    "check",
    "claims",
]
