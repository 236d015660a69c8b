"""Exercises of lesson 3: pushes of equal length, of another question, and a place among random masks."""

import numpy as np

from sadi_lens.apps.lessons.exercise import Exercise, Mistake


def _same_norm(fixed: np.ndarray, push: np.ndarray) -> np.ndarray:
    return fixed * np.linalg.norm(push) / np.linalg.norm(fixed)


def _mean_cosine(shifts: np.ndarray) -> float:
    units = shifts / np.linalg.norm(shifts, axis=1, keepdims=True)
    mean = shifts.mean(axis=0)
    return float((units @ mean / np.linalg.norm(mean)).mean())


def _next_push(pushes: np.ndarray) -> np.ndarray:
    return np.roll(pushes, -1, axis=0)


def _p_value(value: float, null: np.ndarray) -> float:
    return float((1 + (null >= value).sum()) / (1 + null.size))


EXERCISES = {
    # |(3, 4)| = 5 and |(0, 10)| = 10, so the fixed vector is doubled.
    "same_norm": Exercise(
        "same_norm(fixed, push)",
        (
            ((np.array([3.0, 4.0]), np.array([0.0, 10.0])), np.array([6.0, 8.0])),
            (
                (np.array([-2.0, 0.0, 0.0]), np.array([1.0, 2.0, 2.0])),
                np.array([-3.0, 0.0, 0.0]),
            ),
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
    # (3, 4) and (3, -4): the mean is (3, 0), each has the cosine 3 / 5 with it. Parallel shifts: 1.
    # (4, 0) and (0, 3): the mean is along (4, 3), the cosines are 4 / 5 and 3 / 5. Two along the mean, one against it:
    # (1 + 1 - 1) / 3.
    "mean_cosine": Exercise(
        "mean_cosine(shifts)",
        (
            ((np.array([[3.0, 4.0], [3.0, -4.0]]),), 0.6),
            ((np.array([[0.0, 2.0], [0.0, 5.0]]),), 1.0),
            ((np.array([[4.0, 0.0], [0.0, 3.0]]),), 0.7),
            ((np.array([[3.0, 0.0], [3.0, 0.0], [-1.0, 0.0]]),), 1 / 3),
        ),
        _mean_cosine,
        (
            Mistake(
                lambda s: float((s @ s.mean(axis=0)).mean()),
                "Those are dot products; divide by both lengths.",
            ),
            Mistake(
                lambda s: float(
                    np.abs(
                        s
                        @ s.mean(axis=0)
                        / np.linalg.norm(s, axis=1)
                        / np.linalg.norm(s.mean(axis=0))
                    ).mean()
                ),
                "Keep the sign: a push against the mean has a cosine of -1.",
            ),
            Mistake(
                lambda s: float(
                    np.linalg.norm((s / np.linalg.norm(s, axis=1, keepdims=True)).mean(axis=0))
                ),
                "You averaged the directions; the mean shift is that of the shifts as they are, long ones count more.",
            ),
        ),
    ),
    # Question 0 gets the push of question 1, the last that of the first.
    "next_push": Exercise(
        "next_push(pushes)",
        (
            (
                (np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),),
                np.array([[3.0, 4.0], [5.0, 6.0], [1.0, 2.0]]),
            ),
            ((np.array([[1.0], [2.0], [3.0], [4.0]]),), np.array([[2.0], [3.0], [4.0], [1.0]])),
        ),
        _next_push,
        (
            Mistake(lambda p: np.roll(p, 1, axis=0), "That is the push of the question *before*."),
            Mistake(
                lambda p: np.roll(p, -1),
                "You moved single numbers: without an axis np.roll flattens the array. Move whole rows.",
            ),
            Mistake(lambda p: np.roll(p, -1, axis=1), "You moved the units; move the questions."),
        ),
    ),
    # Two of four draws are at least 0.8: (1 + 2) / (1 + 4). None of three: (1 + 0) / (1 + 3).
    "p_value": Exercise(
        "p_value(value, null)",
        (
            ((0.8, np.array([0.7, 0.8, 0.9, 0.5])), 0.6),
            ((0.8, np.array([0.1, 0.2, 0.3])), 0.25),
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
}
"""By name."""
