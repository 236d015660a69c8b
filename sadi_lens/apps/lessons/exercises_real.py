"""Exercises of lesson 7: accuracy by cue, settings that may be chosen, harm inside a gain, items that share a fact."""

from collections.abc import Sequence

import numpy as np

from sadi_lens.apps.lessons.exercise import Exercise, Mistake


def _by_cue(correct: np.ndarray, cues: Sequence[str]) -> dict[str, float]:
    return {cue: float(correct[np.array(cues) == cue].mean()) for cue in sorted(set(cues))}


def _allowed(valid: np.ndarray, unsteered: float) -> np.ndarray:
    return valid >= unsteered / 2


def _mended_broken(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    return int((after & ~before).sum()), int((before & ~after).sum())


def _clustered_error(gains: np.ndarray, facts: Sequence[str]) -> float:
    _, numbers = np.unique(facts, return_inverse=True)
    sums = np.bincount(numbers, weights=gains - gains.mean())
    return float(np.sqrt((sums**2).sum()) / len(gains))


EXERCISES = {
    # Two of three without a cue, none of one with a wrong one; both with a right one, none without.
    "by_cue": Exercise(
        "by_cue(correct, cues)",
        (
            (
                (np.array([True, False, True, False]), ["none", "wrong", "none", "none"]),
                {"none": 2 / 3, "wrong": 0.0},
            ),
            (
                (np.array([True, False, True]), ["right", "none", "right"]),
                {"none": 0.0, "right": 1.0},
            ),
        ),
        _by_cue,
        (
            Mistake(
                lambda correct, cues: {
                    cue: float(correct[np.array(cues) == cue].sum()) for cue in set(cues)
                },
                "Those are counts; divide by the questions of the cue.",
            ),
            Mistake(
                lambda correct, cues: {
                    cue: float((correct & (np.array(cues) == cue)).mean()) for cue in set(cues)
                },
                "That is the share of all questions; divide by the questions of the cue.",
            ),
        ),
    ),
    # Half of 0.8 is 0.4, which is still allowed; half of 0.5 is 0.25.
    "allowed": Exercise(
        "allowed(valid, unsteered)",
        (
            (
                (np.array([[0.9, 0.6, 0.45], [0.4, 0.39, 0.0]]), 0.8),
                np.array([[True, True, True], [True, False, False]]),
            ),
            ((np.array([[0.3, 0.25, 0.2]]), 0.5), np.array([[True, True, False]])),
        ),
        _allowed,
        (
            Mistake(
                lambda valid, unsteered: valid >= unsteered,
                "That allows no loss at all; half of the unsteered share is enough.",
            ),
            Mistake(
                lambda valid, unsteered: valid > unsteered / 2,
                "Exactly half is still allowed.",
            ),
            Mistake(
                lambda valid, _: valid >= 0.5,
                "Half of what the unsteered model has, not one half.",
            ),
        ),
    ),
    # Only the third is mended; the first and the fifth are broken. Then both are mended.
    "mended_broken": Exercise(
        "mended_broken(before, after)",
        (
            (
                (
                    np.array([True, True, False, False, True]),
                    np.array([False, True, True, False, False]),
                ),
                (1, 2),
            ),
            ((np.array([False, False]), np.array([True, True])), (2, 0)),
        ),
        _mended_broken,
        (
            Mistake(
                lambda before, after: (int((before & ~after).sum()), int((after & ~before).sum())),
                "The other way round: mended is right only after.",
            ),
            Mistake(
                lambda before, after: int(after.sum() - before.sum()),
                "That is the net gain, which hides the harm; return both counts.",
            ),
        ),
    ),
    # Mean 1/2. One fact with two gains, one with none: sums +1 and -1, root of 2, over 4. Apart: four squares of 1/4.
    # One gain in each of two facts, in whatever order: sums of 0. Three items of one fact: sums +1/2 and -1/2.
    "clustered_error": Exercise(
        "clustered_error(gains, facts)",
        (
            ((np.array([1.0, 1.0, 0.0, 0.0]), ["a", "a", "b", "b"]), 2**0.5 / 4),
            ((np.array([1.0, 1.0, 0.0, 0.0]), ["a", "b", "c", "d"]), 0.25),
            ((np.array([1.0, 0.0, 1.0, 0.0]), ["a", "a", "b", "b"]), 0.0),
            ((np.array([1.0, 1.0, 0.0, 0.0]), ["a", "b", "a", "b"]), 0.0),
            ((np.array([1.0, 1.0, 0.0, 0.0]), ["a", "a", "a", "b"]), 0.5**0.5 / 4),
        ),
        _clustered_error,
        (
            Mistake(
                lambda gains, _: gains.std() / np.sqrt(len(gains)),
                "That takes every question as a fact of its own; add up within facts before you square.",
            ),
            Mistake(
                lambda gains, facts: np.sqrt((_sums(gains, facts) ** 2).sum()) / len(set(facts)),
                "Divide by the number of items, not of facts.",
            ),
            Mistake(
                lambda gains, facts: _clustered_error(gains, _runs(facts)),
                "You added up neighbours only; the items of a fact need not stand side by side.",
            ),
        ),
    ),
}
"""By name."""


def _sums(gains: np.ndarray, facts: Sequence[str]) -> np.ndarray:
    return np.bincount(np.unique(facts, return_inverse=True)[1], weights=gains - gains.mean())


def _runs(facts: Sequence[str]) -> list[str]:
    starts = np.cumsum([i == 0 or one != facts[i - 1] for i, one in enumerate(facts)])
    return [str(start) for start in starts]
