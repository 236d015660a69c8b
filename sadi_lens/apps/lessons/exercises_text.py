"""Exercises of lesson 5: openings, the place where texts part, margins, and the distance of two predictions."""

from collections.abc import Sequence

import numpy as np

from sadi_lens.apps.lessons.exercise import Exercise, Mistake


def _share_opening(texts: Sequence[str], openings: tuple[str, ...]) -> float:
    return sum(text.startswith(openings) for text in texts) / len(texts)


def _first_difference(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _margin_moved(steered: np.ndarray, plain: np.ndarray) -> np.ndarray:
    moved = (steered - plain).astype(float)
    return np.array([moved.mean(), moved.std() / len(moved) ** 0.5])


def _kl(log_p: np.ndarray, log_q: np.ndarray) -> float:
    return float((np.exp(log_p) * (log_p - log_q)).sum())


_HALF = np.log(np.array([0.5, 0.5]))
_SKEWED = np.log(np.array([0.25, 0.75]))

EXERCISES = {
    # "Well" opens one of two; "You are" the first of three, and only as its beginning.
    "share_opening": Exercise(
        "share_opening(texts, openings)",
        (
            ((["Well, it is", "You are so silly"], ("Well",)), 0.5),
            ((["You are kind", "So you are", "Oh, You are"], ("You are", "Go")), 1 / 3),
            ((["Go", "Well"], ("Well", "Go")), 1.0),
        ),
        _share_opening,
        (
            Mistake(
                lambda texts, openings: (
                    sum(any(one in text for one in openings) for text in texts) / len(texts)
                ),
                "The words must stand at the beginning.",
            ),
            Mistake(
                lambda texts, openings: sum(text.startswith(openings) for text in texts),
                "That is a count; divide by the texts.",
            ),
        ),
    ),
    # Words 0 and 1 agree, word 2 does not; equal texts and prefixes differ where the shorter one ends. What is alike
    # again after the first difference does not count.
    "first_difference": Exercise(
        "first_difference(one, other)",
        (
            ((["You", "are", "so"], ["You", "are", "very"]), 2),
            ((["Go"], ["Well"]), 0),
            ((["Oh", "no"], ["Oh", "no", "poor"]), 2),
            ((["Oh", "no", "poor"], ["Oh"]), 1),
            ((["They", "went", "home"], ["They", "ran", "home"]), 1),
        ),
        _first_difference,
        (
            Mistake(
                lambda a, b: sum(x != y for x, y in zip(a, b, strict=False)),
                "That counts the words that differ; asked is the place of the first.",
            ),
            Mistake(
                lambda a, b: sum(x == y for x, y in zip(a, b, strict=False)),
                "That counts the words that agree, also those after the first difference.",
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
    # 1/2 log(0.5 / 0.25) + 1/2 log(0.5 / 0.75) = 1/2 log(4 / 3); the other way round 1/4 log(1/2) + 3/4 log(3/2).
    "kl": Exercise(
        "kl(log_p, log_q)",
        (
            ((_HALF, _SKEWED), 0.143841),
            ((_SKEWED, _HALF), 0.130812),
            ((_HALF, _HALF), 0.0),
        ),
        _kl,
        (
            Mistake(
                lambda p, q: float((np.exp(q) * (q - p)).sum()),
                "That is KL(q || p): the average is over p, the first one.",
            ),
            Mistake(
                lambda p, q: float((p - q).sum()),
                "Weigh each word by its probability under p, exp(log_p).",
            ),
            Mistake(
                lambda p, q: float((np.exp(p) * (p - q)).sum() / np.log(2)),
                "That is in bits; nats need no division.",
            ),
        ),
    ),
    # Moved by (1, 3): mean 2, standard deviation 1, so the error is 1 / sqrt(2). Moved by 2 four times: no error. Moved
    # by (0, 3, 3): mean 2, variance (4 + 1 + 1) / 3 = 2.
    "margin_moved": Exercise(
        "margin_moved(steered, plain)",
        (
            (
                (np.array([1.0, 5.0]), np.array([0.0, 2.0])),
                np.array([2.0, 0.5**0.5]),
            ),
            (
                (np.array([2.0, 3.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0, 3.0])),
                np.array([2.0, 0.0]),
            ),
            (
                (np.array([1.0, 4.0, 3.0]), np.array([1.0, 1.0, 0.0])),
                np.array([2.0, (2 / 3) ** 0.5]),
            ),
        ),
        _margin_moved,
        (
            Mistake(
                lambda s, p: np.array([(s - p).mean(), (s - p).std()]),
                "The error of a mean is the standard deviation divided by the root of the number of pairs.",
            ),
            Mistake(
                lambda s, p: np.array([s.mean() - p.mean(), s.std() / len(s) ** 0.5]),
                "Subtract pair by pair first: what both have in common is no noise.",
            ),
            Mistake(
                lambda s, p: np.array([(s - p).mean(), (s - p).std(ddof=1) / len(s) ** 0.5]),
                "That divides the squares by n - 1 (torch, or ddof=1). Here they are divided by n, as by numpy's "
                ".std(); with hundreds of pairs it makes no difference.",
            ),
        ),
    ),
}
"""By name."""
