"""Exercises of lesson 4: valid answers, a floor on them, what a choice is worth, and how sure a gain is."""

from collections.abc import Sequence

import numpy as np

from sadi_lens.apps.lessons.exercise import Exercise, Mistake


def _valid_rate(tokens: Sequence[str], choices: Sequence[tuple[str, ...]]) -> float:
    return sum(token in own for token, own in zip(tokens, choices, strict=True)) / len(tokens)


def _choose(accuracy: np.ndarray, valid_rate: np.ndarray, floor: float) -> tuple[int, int]:
    best = np.where(valid_rate >= floor, accuracy, -1.0).argmax()
    row, column = np.unravel_index(best, accuracy.shape)
    return int(row), int(column)


def _worth(correct: np.ndarray, n: int) -> float:
    best = correct[:, :n].mean(axis=1).argmax()
    return float(correct[best, n:].mean())


def _gain_interval(steered: np.ndarray, plain: np.ndarray, draws: np.ndarray) -> np.ndarray:
    gain = steered.astype(float) - plain
    return np.quantile(gain[draws].mean(axis=1), [0.025, 0.975])


_ACCURACY = np.array([[0.7, 0.9], [0.8, 0.95]])
_VALID = np.array([[1.0, 0.9], [0.95, 0.5]])
_WIDE = np.array([[0.5, 0.6, 0.7], [0.6, 0.9, 0.95]])
_CORRECT = np.array([[True, True, False, False], [True, False, True, True]])
_NONE_BOTH = (np.array([True, True]), np.array([False, True]))

EXERCISES = {
    # " bird" is one of its two options, " the" is not, " red" is an option of another question only, " bi" none at all.
    "valid_rate": Exercise(
        "valid_rate(tokens, choices)",
        (
            (([" bird", " the"], [(" bird", " sheep"), (" red", " blue")]), 0.5),
            (([" red", " sheep"], [(" bird", " sheep"), (" red", " blue")]), 0.0),
            (([" sheep"], [(" bird", " sheep")]), 1.0),
            (([" bi"], [(" bird", " sheep")]), 0.0),
        ),
        _valid_rate,
        (
            Mistake(
                lambda tokens, choices: (
                    sum(any(token in own for own in choices) for token in tokens) / len(tokens)
                ),
                "A token must be an option of its own question.",
            ),
            Mistake(
                lambda tokens, choices: sum(
                    token in own for token, own in zip(tokens, choices, strict=True)
                ),
                "That is a count; divide by the questions.",
            ),
            Mistake(
                lambda tokens, choices: (
                    sum(token == own[0] for token, own in zip(tokens, choices, strict=True))
                    / len(tokens)
                ),
                "Any of the options is a valid answer, right or wrong.",
            ),
            Mistake(
                lambda tokens, choices: (
                    sum(
                        any(token in option for option in own)
                        for token, own in zip(tokens, choices, strict=True)
                    )
                    / len(tokens)
                ),
                "A part of an option is no option; the token must be the whole of it.",
            ),
        ),
    ),
    # Without a floor the last cell is best; at 0.9 it is out, a valid rate of 0.9 is still in; at 0.95 that is out too.
    "choose": Exercise(
        "choose(accuracy, valid_rate, floor)",
        (
            ((_ACCURACY, _VALID, 0.9), (0, 1)),
            ((_ACCURACY, _VALID, 0.0), (1, 1)),
            ((_ACCURACY, _VALID, 0.95), (1, 0)),
            ((_WIDE, np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.4]]), 0.5), (1, 1)),
        ),
        _choose,
        (
            Mistake(
                lambda accuracy, _valid, _floor: _choose(accuracy, accuracy, 0.0),
                "You took the highest accuracy whatever it costs; leave out cells below the floor.",
            ),
            Mistake(
                lambda accuracy, valid, floor: _choose(accuracy, valid, floor + 1e-9),
                "A cell whose valid rate is the floor itself is good enough: use >=.",
            ),
            Mistake(
                lambda accuracy, valid, floor: int(
                    np.where(valid >= floor, accuracy, -1.0).argmax()
                ),
                "That is the place in the flattened grid; np.unravel_index turns it into row and column.",
            ),
        ),
    ),
    # On the first two questions cell 0 is best (2 of 2); on the other two it has none. On the first alone both are
    # right: a tie goes to the earlier cell, which has 1 of the other 3.
    "worth": Exercise(
        "worth(correct, n)",
        (((_CORRECT, 1), 1 / 3), ((_CORRECT, 2), 0.0), ((_CORRECT, 3), 0.0)),
        _worth,
        (
            Mistake(
                lambda correct, n: float(correct[:, :n].mean(axis=1).max()),
                "That is its accuracy on the questions it was chosen on.",
            ),
            Mistake(
                lambda correct, n: float(correct[:, n:].mean(axis=1).max()),
                "You chose on the other questions; they may only measure.",
            ),
            Mistake(
                lambda correct, n: float(correct[correct[:, :n].mean(axis=1).argmax()].mean()),
                "Leave out the questions it was chosen on.",
            ),
            Mistake(
                lambda correct, n: _worth(correct[::-1], n),
                "Of equally good cells take the earlier one.",
            ),
        ),
    ),
    # The gains are (1, 0). The draws (0, 0) and (1, 1) have the means 1 and 0: quantiles 0.025 and 0.975 between.
    # The draw (0, 1) has the mean 1/2 always.
    "gain_interval": Exercise(
        "gain_interval(steered, plain, draws)",
        (
            ((*_NONE_BOTH, np.array([[0, 0], [1, 1]])), np.array([0.025, 0.975])),
            ((*_NONE_BOTH, np.array([[0, 1], [1, 0]])), np.array([0.5, 0.5])),
            (
                (np.array([False, True]), np.array([True, True]), np.array([[0, 0]])),
                np.array([-1.0, -1.0]),
            ),
        ),
        _gain_interval,
        (
            Mistake(
                lambda s, _p, draws: np.quantile(s[draws].mean(axis=1), [0.025, 0.975]),
                "That is the accuracy of the steered model; subtract the unsteered one question by question.",
            ),
            Mistake(
                lambda s, p, draws: np.quantile(
                    (s.astype(float) - p)[draws].mean(axis=1), [0.05, 0.95]
                ),
                "That leaves out 5% on each side; 95% in the middle leave out 2.5%.",
            ),
            Mistake(
                lambda s, p, _draws: np.quantile(s.astype(float) - p, [0.025, 0.975]),
                "Those are quantiles of single questions; average each draw first.",
            ),
        ),
    ),
}
"""By name."""
