"""What the lessons in ``notebooks/`` share: exercises that are checked and never stop a run, claims that do.

An exercise compares what a student's function returns with values worked out by hand, says what was expected where
it differs, recognises the usual mistakes by what they return, and hands back a working function, so that the cells
below run either way. A claim is a sentence of the lesson with the number that decides it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadi_lens.types import HookedModel, ModelInfo, require_one_of

OWN_MODELS = ("tiny", "planted")
"""The models that the lessons were written on: there a claim that fails is an error."""

GRID_WRONG = np.array(
    [
        [[1, 2, 0, -1], [0, -1, 1, 2], [2, 0, 1, -1], [1, -1, 0, 2]],
        [[0, 1, -1, 2], [1, 0, -1, 1], [1, 2, 0, 0], [-1, 1, 2, 0]],
    ]
)
"""The toy of the first lesson: 2 pairs x 4 layers x 4 units, activations on the wrong answer."""
GRID_RIGHT = GRID_WRONG + np.array(
    [
        [[1, 0, -1, 0], [0, 3, 0, 1], [-4, 1, 0, 1], [0, 1, 0, -1]],
        [[0, 0, 0, 0], [0, 1, 1, -1], [-2, -1, 0, 1], [0, 0, 0, 1]],
    ]
)
"""The same on the right answer."""
GRID_INPUTS = np.array(
    [
        [[0, 1, 0, -1], [1, 2, 0, 0], [-1, 0, 2, 1], [0, 1, -1, 0]],
        [[1, 0, -1, 1], [0, -1, 1, 0], [2, -1, 0, 0.5], [1, 0, 0, -1]],
    ]
)
"""Two inputs to steer: the unit that matters is +2 in one and -1 in the other."""


@dataclass(frozen=True)
class Mistake:
    """A usual wrong answer, recognised by what it returns."""

    function: Callable[..., Any]
    hint: str


@dataclass(frozen=True)
class Exercise:
    """A function to write, with the values it must return."""

    signature: str
    cases: tuple[tuple[tuple[Any, ...], Any], ...]
    """Arguments and the value expected for them, worked out by hand."""
    solution: Callable[..., Any]
    mistakes: tuple[Mistake, ...] = ()

    def verdict(self, function: Callable[..., Any]) -> str:
        """Empty if every case is right, else what the first wrong one shows."""
        for arguments, expected in self.cases:
            call = f"{self.signature.split('(')[0]}({', '.join(_short(one) for one in arguments)})"
            try:
                found = function(*(_copy(one) for one in arguments))
            except Exception as error:  # whatever a student's code may raise
                return f"{call} raised {type(error).__name__}: {error}"
            if found is None or found is ...:
                return f"{call} returned nothing yet."
            if _same(found, expected):
                continue
            text = f"{call} returned {_short(found)}, expected {_short(expected)}."
            hints = [
                one.hint for one in self.mistakes if _same(_value(one.function, arguments), found)
            ]
            return f"{text} {hints[0]}" if hints else text
        return ""


def check(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a student's function against the exercise and print the verdict.

    Args:
        name: A key of ``EXERCISES``.
        function: What the student wrote; it gets copies, so it may write to its arguments.

    Returns:
        ``function`` if it is right, else the solution: the notebook goes on.

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
    return function


def claims(model: HookedModel, statements: Mapping[str, bool]) -> None:
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


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def _value(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*(_copy(one) for one in arguments))


def _same(found: Any, expected: Any) -> bool:
    """Equal in shape and value, to rounding; a tensor or a list may stand for an array."""
    if isinstance(expected, str | dict | tuple):
        return found == expected
    try:
        mine, theirs = np.asarray(found), np.asarray(expected)
        if mine.shape != theirs.shape or (theirs.dtype == bool) != (mine.dtype == bool):
            return False
        return bool(np.allclose(mine, theirs, rtol=1e-5, atol=1e-8))
    except (TypeError, ValueError):
        return False


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    return repr(value)


def _array(*rows: Any) -> np.ndarray:
    return np.array(rows)


def _steer(activation: np.ndarray, mask: np.ndarray, strength: float) -> np.ndarray:
    return activation + strength * (activation * mask)


def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def _same_norm(fixed: np.ndarray, push: np.ndarray) -> np.ndarray:
    return fixed * np.linalg.norm(push) / np.linalg.norm(fixed)


def _p_value(value: float, null: np.ndarray) -> float:
    return float((1 + (null >= value).sum()) / (1 + null.size))


def _first_difference(one: list[str], other: list[str]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _to_pair(row: Mapping[str, str]) -> dict[str, str]:
    return {
        "prompt": f"{row['text']}\nVerdict:",
        "positive": f" {row['label']}",
        "negative": f" {row['other']}",
    }


EXERCISES = {
    # 2 + 3 * 2 = 8; -1 + 3 * -1 = -4; where the mask is 0 nothing moves.
    "steer": Exercise(
        "steer(activation, mask, strength)",
        (
            ((_array(2.0, -1.0, 0.5), _array(1, 1, 0), 3.0), _array(8.0, -4.0, 0.5)),
            ((_array(2.0, -1.0, 0.5), _array(1, 1, 0), 0.0), _array(2.0, -1.0, 0.5)),
            (
                (_array([1.0, 4.0], [-2.0, 0.0]), _array([0, 1], [1, 0]), -1.0),
                _array([1.0, 0.0], [0.0, 0.0]),
            ),
        ),
        _steer,
        (
            Mistake(
                lambda a, m, d: np.where(m, d * a, a),
                "You multiplied by the strength. The paper's strength is what is added: A + strength * A, so that "
                "0 changes nothing. (Its released code multiplies: multiplier = 1 + strength.)",
            ),
            Mistake(
                lambda a, m, d: a + d * m,
                "You added the strength itself: that is a fixed push, the same for every input.",
            ),
            Mistake(
                lambda a, m, d: d * (a * m), "That is the push alone; add it to the activation."
            ),
            Mistake(
                lambda a, _m, d: a + d * a, "You scaled every unit; only the mask's should move."
            ),
        ),
    ),
    # One unit shared of three, none of two, both of two.
    "jaccard": Exercise(
        "jaccard(first, second)",
        (
            ((_array(True, True, False, False), _array(False, True, True, False)), 1 / 3),
            ((_array(True, False), _array(False, True)), 0.0),
            ((_array([True], [True]), _array([True], [True])), 1.0),
        ),
        _jaccard,
        (
            Mistake(
                lambda a, b: float((a == b).mean()),
                "You counted units that are in neither mask as agreement; with 10 of 80 units that is most of them.",
            ),
            Mistake(
                lambda a, b: float((a & b).sum() / a.sum()),
                "You divided by the size of one mask; divide by the units that are in either.",
            ),
            Mistake(
                lambda a, b: int((a & b).sum()),
                "That is the number of shared units; divide by the units that are in either.",
            ),
        ),
    ),
    # |(3, 4)| = 5 and |(0, 10)| = 10, so the fixed vector is doubled.
    "same_norm": Exercise(
        "same_norm(fixed, push)",
        (
            ((_array(3.0, 4.0), _array(0.0, 10.0)), _array(6.0, 8.0)),
            ((_array(-2.0, 0.0, 0.0), _array(1.0, 2.0, 2.0)), _array(-3.0, 0.0, 0.0)),
        ),
        _same_norm,
        (
            Mistake(
                lambda f, _p: f / np.linalg.norm(f),
                "That has length 1; it should be as long as the push.",
            ),
            Mistake(
                lambda f, p: f * (f @ p) / (f @ f),
                "That is the push projected on the fixed vector; keep the direction and match the length.",
            ),
            Mistake(
                lambda f, p: p * np.linalg.norm(f) / np.linalg.norm(p),
                "You rescaled the push; it is the fixed vector that must be made longer.",
            ),
        ),
    ),
    # Two of four draws are at least 0.8: (1 + 2) / (1 + 4). None of three: (1 + 0) / (1 + 3).
    "p_value": Exercise(
        "p_value(value, null)",
        (
            ((0.8, _array(0.7, 0.8, 0.9, 0.5)), 0.6),
            ((0.8, _array(0.1, 0.2, 0.3)), 0.25),
        ),
        _p_value,
        (
            Mistake(
                lambda v, n: float((n >= v).mean()),
                "Count your own mask among the draws, (1 + hits) / (1 + draws): a p-value of 0 would claim certainty.",
            ),
            Mistake(
                lambda v, n: float((1 + (n > v).sum()) / (1 + n.size)),
                "A draw that ties with yours is as good as yours: count it.",
            ),
            Mistake(
                lambda v, n: float((1 + (n < v).sum()) / (1 + n.size)),
                "You counted the draws that do worse.",
            ),
        ),
    ),
    # Words 0 and 1 agree, word 2 does not; equal texts and prefixes differ where the shorter one ends.
    "first_difference": Exercise(
        "first_difference(one, other)",
        (
            ((["You", "are", "so"], ["You", "are", "very"]), 2),
            ((["Go"], ["Well"]), 0),
            ((["Oh", "no"], ["Oh", "no", "poor"]), 2),
        ),
        _first_difference,
        (
            Mistake(
                lambda a, b: sum(x != y for x, y in zip(a, b, strict=False)),
                "That counts the words that differ; asked is the place of the first.",
            ),
            Mistake(
                lambda a, b: next(
                    (i for i, (x, y) in enumerate(zip(a, b, strict=False), 1) if x != y),
                    min(len(a), len(b)),
                ),
                "Count from 0, as Python does.",
            ),
        ),
    ),
    # The text as given, then the question; each answer brings the space before it.
    "to_pair": Exercise(
        "to_pair(row)",
        (
            (
                ({"text": "The bed was soft.", "label": "good", "other": "bad"},),
                {
                    "prompt": "The bed was soft.\nVerdict:",
                    "positive": " good",
                    "negative": " bad",
                },
            ),
        ),
        _to_pair,
        (
            Mistake(
                lambda row: {
                    "prompt": f"{row['text']}\nVerdict:",
                    "positive": row["label"],
                    "negative": row["other"],
                },
                "The space belongs to the answer: write ' good', because that is one token of the model.",
            ),
            Mistake(
                lambda row: {
                    "prompt": f"{row['text']}\nVerdict: ",
                    "positive": row["label"],
                    "negative": row["other"],
                },
                "The prompt must not end in a space: a tokenizer glues it to the answer.",
            ),
        ),
    ),
}
"""The exercises of the lessons, by name."""
