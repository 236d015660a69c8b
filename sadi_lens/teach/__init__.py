"""What the lessons in ``notebooks/`` share: exercises that are checked and never stop a run, claims that do."""

from sadi_lens.teach.checking import OWN_MODELS, check, claims
from sadi_lens.teach.choosing import best_of_grid
from sadi_lens.teach.exercise import Exercise, Mistake
from sadi_lens.teach.exercises import EXERCISES
from sadi_lens.teach.grid import GRID_INPUTS, GRID_RIGHT, GRID_WRONG
from sadi_lens.teach.replies import openings

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
    "openings",
]
