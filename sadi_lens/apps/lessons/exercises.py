"""The exercises of the lessons: cases worked out by hand, solutions, usual mistakes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sadi_lens.apps.lessons.exercise import Exercise, Mistake


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


def _choose(accuracy: np.ndarray, valid_rate: np.ndarray, floor: float) -> tuple[int, int]:
    best = np.where(valid_rate >= floor, accuracy, -1.0).argmax()
    row, column = np.unravel_index(best, accuracy.shape)
    return int(row), int(column)


_ACCURACY = np.array([[0.7, 0.9], [0.8, 0.95]])
_VALID = np.array([[1.0, 0.9], [0.95, 0.5]])

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
            (
                (_array(True, True, False, False, False), _array(False, True, True, False, False)),
                1 / 3,
            ),
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
    # Without a floor the last cell is best; at 0.9 it is out, a valid rate of 0.9 is still in; at 0.95 that is out too.
    "choose": Exercise(
        "choose(accuracy, valid_rate, floor)",
        (
            ((_ACCURACY, _VALID, 0.9), (0, 1)),
            ((_ACCURACY, _VALID, 0.0), (1, 1)),
            ((_ACCURACY, _VALID, 0.95), (1, 0)),
        ),
        _choose,
        (
            Mistake(
                lambda accuracy, _valid, _floor: (
                    int(accuracy.argmax()) // 2,
                    int(accuracy.argmax()) % 2,
                ),
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
