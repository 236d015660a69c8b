"""The exercises of all lessons, by name."""

from sadi_lens.apps.lessons import (
    exercises_build,
    exercises_choice,
    exercises_data,
    exercises_place,
    exercises_push,
    exercises_real,
    exercises_text,
)

EXERCISES = (
    exercises_build.EXERCISES
    | exercises_place.EXERCISES
    | exercises_push.EXERCISES
    | exercises_choice.EXERCISES
    | exercises_text.EXERCISES
    | exercises_data.EXERCISES
    | exercises_real.EXERCISES
)
"""In the order of the lessons: 01 to 07."""
