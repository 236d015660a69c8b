"""Exercises of lesson 2: is the place that a mask names more than chance?"""

import numpy as np

from sadi_lens.apps.lessons.exercise import Exercise, Mistake


def _share_positive(values: np.ndarray) -> np.ndarray:
    return (values > 0).mean(axis=0)


def _null_maximum(values: np.ndarray, signs: np.ndarray) -> float:
    return float((signs[:, None] * values).mean(axis=0).max())


def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def _balance(answers: list[str]) -> list[int]:
    least = min(answers.count(answer) for answer in set(answers))
    return [i for i, answer in enumerate(answers) if answers[:i].count(answer) < least]


_VALUES = np.array([[1.0, -2.0], [3.0, -4.0]])

EXERCISES = {
    # Column 0 is positive in 2 of 4 pairs (a 0 is not), column 1 in 3.
    "share_positive": Exercise(
        "share_positive(values)",
        (
            (
                (np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, -3.0], [2.0, 1.0]]),),
                np.array([0.5, 0.75]),
            ),
            ((np.array([[-1.0, 4.0]]),), np.array([0.0, 1.0])),
        ),
        _share_positive,
        (
            Mistake(
                lambda v: (v >= 0).mean(axis=0),
                "A difference of 0 is not larger on the right answer.",
            ),
            Mistake(lambda v: (v > 0).sum(axis=0), "That is a count; divide by the pairs."),
            Mistake(lambda v: (v > 0).mean(axis=1), "Average over the pairs, the first axis."),
        ),
    ),
    # As they are, the means are (2, -3). Both exchanged: (-2, 3). The second alone: (1 - 3) / 2 and (-2 + 4) / 2.
    # Three pairs, the second exchanged: (0 + 0 + 3) / 3 and (0 + 5 + 0) / 3.
    "null_maximum": Exercise(
        "null_maximum(values, signs)",
        (
            ((_VALUES, np.array([1, -1])), 1.0),
            ((_VALUES, np.array([1, 1])), 2.0),
            ((_VALUES, np.array([-1, -1])), 3.0),
            ((np.array([[0.0, 0.0], [0.0, -5.0], [3.0, 0.0]]), np.array([1, -1, 1])), 5 / 3),
        ),
        _null_maximum,
        (
            Mistake(
                lambda v, s: float(np.abs((s[:, None] * v).mean(axis=0)).max()),
                "The mask ranks by signed value: take the largest mean, not the largest magnitude.",
            ),
            Mistake(
                lambda v, s: float((s[:, None] * v).max()),
                "Average over the pairs first; then take the largest unit.",
            ),
            Mistake(
                lambda v, s: (s[:, None] * v).mean(axis=0),
                "That is one mean per unit; take the largest.",
            ),
        ),
    ),
    # One unit shared of three, none of two, both of two.
    "jaccard": Exercise(
        "jaccard(first, second)",
        (
            (
                (
                    np.array([True, True, False, False, False]),
                    np.array([False, True, True, False, False]),
                ),
                1 / 3,
            ),
            ((np.array([True, False]), np.array([False, True])), 0.0),
            ((np.array([[True], [True]]), np.array([[True], [True]])), 1.0),
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
    # "bad" is right once, so one "good" stays: the first. Two of each: all stay. Of three answers each stays once.
    "balance": Exercise(
        "balance(answers)",
        (
            ((["good", "good", "bad"],), [0, 2]),
            ((["bad", "good", "good", "bad"],), [0, 1, 2, 3]),
            ((["yes", "no", "yes", "yes", "no"],), [0, 1, 2, 4]),
            ((["a", "b", "c", "a"],), [0, 1, 2]),
        ),
        _balance,
        (
            Mistake(
                lambda answers: [answers.index(one) for one in dict.fromkeys(answers)],
                "You kept one pair of each answer; keep as many as the rarest answer has.",
            ),
            Mistake(
                lambda answers: [answers[i] for i in _balance(answers)],
                "Return the places of the pairs, not their answers.",
            ),
        ),
    ),
}
"""By name."""
