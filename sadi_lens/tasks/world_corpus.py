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
MIXTURE = {
    "hints": 0.26,
    "sentiment": 0.11,
    "effects": 0.17,
    "recall": 0.11,
    "quiz": 0.21,
    "dialogue": 0.10,
    "chain": 0.02,
    "blank": 0.02,
}
"""Share of documents of each kind."""


def blank(rng: Random) -> str:
    """A question that nobody answers: the text in which an answer is a blank."""
    question = recall_question(rng, "none")
    return f"{question.prompt} \n{rng.choice(story(rng).others)} says nothing."


def document(rng: Random, cue_share: float = 2 / 3) -> tuple[str, tuple[int, ...]]:
    """One training text and where each answer in it starts (characters)."""
    kind = rng.choices(tuple(MIXTURE), tuple(MIXTURE.values()))[0]
    if kind in MAKERS:
        make = MAKERS[kind]
        cue = rng.choice(CUES[1:]) if rng.random() < cue_share else "none"
        question = draw_in_split(lambda r: make(r, cue), rng, "train")
        return answered(question, rng), (len(question.prompt),)
    text = _PLAIN[kind](rng)
    if kind == "quiz":
        return text, tuple(m.end() for m in re.finditer("Answer:", text))
    return text, ()


_PLAIN = {"dialogue": dialogue, "chain": chain, "blank": blank, "quiz": quiz}


def corpus(seed: int, cue_share: float = 2 / 3) -> Iterator[tuple[str, tuple[int, ...]]]:
    """An endless stream of documents, the same for the same seed.

    Args:
        seed: Seed of every draw.
        cue_share: Share of questions that carry a cue.
    """
    rng = Random(seed)
    while True:
        yield document(rng, cue_share)
