"""Check a student's function and go on either way; check the claims of a lesson and stop if one fails.

A claim is a sentence of the lesson with the number that decides it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sadi_lens.apps.lessons.exercises import EXERCISES
from sadi_lens.types.base import require_one_of
from sadi_lens.types.model import HookedModel, ModelInfo

OWN_MODELS = ("tiny", "planted", "smollm2")
"""The models that the lessons were written on: there a claim that fails is an error."""


def check(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a student's function against the exercise and print the verdict.

    Args:
        name: A key of ``EXERCISES``.
        function: What the student wrote; it gets copies, so it may write to its arguments.

    Returns:
        ``function`` if it is right, its values in the form that the exercise asks for (an array for a list or a
        tensor); else the solution: the notebook goes on.

    Raises:
        ValueError: If there is no such exercise.
    """
    require_one_of("exercise", name, EXERCISES)
    exercise = EXERCISES[name]
    verdict = exercise.verdict(function)
    if verdict:
        print(f"Not yet: {verdict}\nThe cells below use the solution until yours is right.")  # noqa: T201
        return exercise.solution
    print(f"Right: {len(exercise.cases)} of {len(exercise.cases)} cases.")  # noqa: T201
    return exercise.as_asked(function)


def claims(model: HookedModel | ModelInfo, statements: Mapping[str, bool]) -> None:
    """Print which statements of a lesson hold; on the model it was written on, all must.

    On another model a statement that does not hold is a finding, so it is printed and nothing is raised.

    Args:
        model: The model that the lesson ran on.
        statements: Sentence -> whether the numbers above support it.

    Raises:
        AssertionError: If one does not hold on an embedded model.
    """
    name = ModelInfo.of(model).name
    for statement, holds in statements.items():
        print(f"{'holds' if holds else 'DOES NOT HOLD'} on {name}: {statement}")  # noqa: T201
    wrong = [statement for statement, holds in statements.items() if not holds]
    if wrong and name in OWN_MODELS:
        raise AssertionError(f"the lesson says more than {name} shows: {'; '.join(wrong)}")
