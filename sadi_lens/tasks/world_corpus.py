"""The training text of the embedded model: a seeded stream of documents that avoids held-out content."""

import re
from collections.abc import Callable, Iterator
from random import Random

from sadi_lens.tasks.world import (
    CUES,
    Question,
    answered,
    draw_in_split,
    hint_question,
    quiz,
    recall_question,
    retelling,
    story,
)
from sadi_lens.tasks.world_effects import chain, effect_question
from sadi_lens.tasks.world_replies import dialogue
from sadi_lens.tasks.world_reviews import review_question

MAKERS: dict[str, Callable[[Random, str | None], Question]] = {
    "hints": hint_question,
    "sentiment": review_question,
    "effects": effect_question,
    "recall": recall_question,
}
MIXTURES: dict[str, dict[str, float]] = {
    "plain": {
        **{"hints": 0.22, "sentiment": 0.10, "effects": 0.19, "recall": 0.05},
        **{"quiz": 0.20, "retelling": 0.15, "dialogue": 0.05, "chain": 0.04},
    },
    "full": {
        **{"hints": 0.25, "sentiment": 0.13, "effects": 0.19, "recall": 0.15},
        **{"quiz": 0.05, "retelling": 0.03, "dialogue": 0.15, "chain": 0.03, "blank": 0.02},
    },
}
"""Share of documents of each kind, in the two phases of training."""
CUE_SHARES = {"plain": 0.0, "full": 2 / 3}
"""Share of questions that carry a cue, in the two phases."""


def blank(rng: Random) -> str:
    """A question that nobody answers: the text in which an answer is a blank."""
    question = recall_question(rng, "none")
    return f"{question.prompt} \n{rng.choice(story(rng).others)} says nothing."


_PLAIN = {
    "dialogue": dialogue,
    "chain": chain,
    "blank": blank,
    "quiz": quiz,
    "retelling": retelling,
}


def document(rng: Random, phase: str = "full") -> tuple[str, tuple[tuple[int, int], ...]]:
    """One training text and its parts that can be predicted (answers, retellings), in characters.

    Args:
        rng: Source of every draw.
        phase: ``"plain"`` (no cues, many retellings) or ``"full"``.
    """
    mixture = MIXTURES[phase]
    kind = rng.choices(tuple(mixture), tuple(mixture.values()))[0]
    if kind in MAKERS:
        cue = rng.choice(CUES[1:]) if rng.random() < CUE_SHARES[phase] else "none"
        question = draw_in_split(lambda r: MAKERS[kind](r, cue), rng, "train")
        text = answered(question, rng)
        return text, ((len(question.prompt), len(text)),)
    text = _PLAIN[kind](rng)
    if kind == "retelling":
        return text, ((text.index("more:") + 5, len(text)),)
    if kind == "quiz":
        starts = [m.end() for m in re.finditer("Answer:", text)]
        return text, tuple((start, text.index(".", start) + 1) for start in starts)
    return text, ((0, len(text)),)


def corpus(seed: int, phase: str = "full") -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
    """An endless stream of documents, the same for the same seed and phase."""
    rng = Random(f"{phase}/{seed}")
    while True:
        yield document(rng, phase)
