"""Which of the few answers of a task every item gets: what the guards beside an accuracy are computed from."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sadi_lens.engine.text import EncodedItem
from sadi_lens.engine.whole_texts import ItemScores
from sadi_lens.types.answers import matches, normalise
from sadi_lens.types.data import Sample, wrong_choices
from sadi_lens.types.results import Picks

MAX_ANSWERS = 10
"""Answers that can be told apart by name in a table; where there are more, they are told apart by place."""


class Answers(NamedTuple):
    """The few answers that samples choose among."""

    names: tuple[str, ...]
    right: Int[np.ndarray, " item"]
    """Index in ``names`` of the right answer."""
    listed: Int[np.ndarray, "item choice"]
    """Index in ``names`` of every choice; -1 where an item has fewer."""

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Answers | None":
        """By name, where the items list at most ``MAX_ANSWERS`` texts between them; else by place in the list.

        None for free text, items with several right answers, long lists, and where one answer is right throughout:
        then there is no other to mistake it for.
        """
        if any(one.target is not None or one.also_right for one in samples):
            return None
        names = tuple(dict.fromkeys(text.strip() for one in samples for text in one.choices))
        most = max(len(one.choices) for one in samples)
        if len(names) <= MAX_ANSWERS:
            place = {name: at for at, name in enumerate(names)}
            rows = [[place[text.strip()] for text in one.choices] for one in samples]
        elif most <= MAX_ANSWERS:
            names = tuple(f"choice {at}" for at in range(1, most + 1))
            rows = [list(range(len(one.choices))) for one in samples]
        else:
            return None
        listed = np.array([row + [-1] * (most - len(row)) for row in rows])
        right = listed[np.arange(len(samples)), [one.answer or 0 for one in samples]]
        if np.unique(right).size < 2 or any(len(set(row)) < len(row) for row in rows):
            return None
        return cls(names, right, listed)

    def take(self, rows: Int[np.ndarray, " row"]) -> "Answers":
        """Those of some of the samples."""
        return Answers(self.names, self.right[rows], self.listed[rows])

    def by_scores(
        self, scores: Float[np.ndarray, "item choice"], correct: Bool[np.ndarray, " item"]
    ) -> Picks:
        """The answer with the highest score.

        Args:
            scores: Nats; an item with one that is not finite gets no answer, and all evidence is against it.
            correct: Whether an item counts as right, which is the last word on it.
        """
        rows, columns = np.nonzero(self.listed >= 0)
        table = np.full((len(scores), len(self.names)), np.nan)
        table[rows, self.listed[rows, columns]] = scores[rows, columns]
        is_listed = np.zeros(table.shape, dtype=bool)
        is_listed[rows, self.listed[rows, columns]] = True
        is_right = np.arange(len(self.names)) == self.right[:, None]
        is_broken = (is_listed & ~np.isfinite(table)).any(axis=1, keepdims=True)
        known = np.where(is_listed & ~is_broken, table, -np.inf)
        others = [np.delete(known, at, axis=1).max(axis=1) for at in range(len(self.names))]
        with np.errstate(invalid="ignore"):  # inf - inf is a broken item
            evidence = known - np.stack(others, axis=1)
        evidence = np.where(is_broken, np.where(is_right, -np.inf, np.inf), evidence)
        is_ahead = (evidence > 0) & ~is_right & is_listed & ~is_broken
        wrong = np.where(is_ahead.any(axis=1), is_ahead.argmax(axis=1), -1)
        evidence = np.where(is_listed, evidence, np.nan).astype(np.float32)
        return Picks(self.names, self.right, np.where(correct, self.right, wrong), evidence)

    def by_texts(
        self, texts: Sequence[str], samples: Sequence[Sample], correct: Bool[np.ndarray, " item"]
    ) -> Picks:
        """The answer that a generated text is, if it is one."""
        chosen = np.full(len(texts), -1)
        for row, (text, sample) in enumerate(zip(texts, samples, strict=True)):
            given = [at for at, choice in enumerate(sample.choices) if matches(text, choice)]
            if given:
                chosen[row] = self.listed[row, given[0]]
        chosen = np.where(correct, self.right, chosen)
        evidence = np.full((len(texts), len(self.names)), np.nan, dtype=np.float32)
        return Picks(self.names, self.right, chosen, evidence)


class Spelling:
    """Whether the most likely tokens are the text of the right answer after ``normalise``."""

    def __init__(
        self, tokenizer: Any, samples: Sequence[Sample], items: Sequence[EncodedItem]
    ) -> None:
        self.tokenizer = tokenizer
        self.right = [sample.answer or 0 for sample in samples]
        self.answers = [item.answers[right] for item, right in zip(items, self.right, strict=True)]
        self.texts: dict[tuple[int, ...], str] = {}

    def of(self, found: ItemScores) -> Bool[np.ndarray, "intervention item"]:
        """Whether each intervention spells the right answer of each item of a batch."""
        same = [
            [
                self._same(row, self.answers[index])
                for row in found.argmax[:, place, self.right[index]]
            ]
            for place, index in enumerate(found.indices)
        ]
        return np.array(same).T

    def _same(self, tokens: np.ndarray, answer: tuple[int, ...]) -> bool:
        return self._text(tuple(int(one) for one in tokens if one >= 0)) == self._text(answer)

    def _text(self, tokens: tuple[int, ...]) -> str:
        if tokens not in self.texts:
            self.texts[tokens] = normalise(self.tokenizer.decode(list(tokens)))
        return self.texts[tokens]


def joined_picks(one: Picks, two: Picks, order: Int[np.ndarray, " item"]) -> Picks:
    """Those of some items and of the others, in the order of the samples."""
    right, chosen, evidence = (
        np.concatenate(parts)[order]
        for parts in (
            (one.right, two.right),
            (one.chosen, two.chosen),
            (one.evidence, two.evidence),
        )
    )
    return Picks(one.names, right, chosen, evidence)


def accepted_texts(sample: Sample) -> tuple[str, ...]:
    """What counts as the right text of a sample."""
    if sample.target is not None:
        return (sample.target, *sample.aliases)
    assert sample.answer is not None
    return tuple(sample.choices[index] for index in (sample.answer, *sample.also_right))


def margins_of(
    samples: Sequence[Sample], scores: Float[np.ndarray, "*row item choice"]
) -> tuple[Float[np.ndarray, "*row item"], Bool[np.ndarray, "*row item"]]:
    """How far the right choice of each item is ahead of the best wrong one, and which items could not be scored."""
    right = scores[..., np.arange(len(samples)), [sample.answer or 0 for sample in samples]]
    is_wrong = wrong_choices(samples, scores.shape[-1])
    wrong = np.where(is_wrong, scores, -np.inf).max(axis=-1)
    with np.errstate(invalid="ignore"):  # inf - inf is a broken item
        margins = (right - wrong).astype(np.float32)
    is_broken = np.isnan(margins)
    margins[..., ~is_wrong.any(axis=1)] = np.nan  # nothing to be ahead of
    return margins, is_broken
