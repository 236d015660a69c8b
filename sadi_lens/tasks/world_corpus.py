"""The training text of the embedded model: a seeded stream of documents that avoids held-out content."""

from collections.abc import Callable, Iterator
from random import Random

from sadi_lens.tasks.world import (
    CUES,
    Question,
    answered,
    draw_in_split,
    hint_question,
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
    "hints": 0.30,
    "sentiment": 0.12,
    "effects": 0.20,
    "recall": 0.20,
    "dialogue": 0.12,
    "chain": 0.04,
    "blank": 0.02,
}
"""Share of documents of each kind."""


def blank(rng: Random) -> str:
    """A question that nobody answers: the text in which an answer is a blank."""
    question = recall_question(rng, "none")
    return f"{question.prompt} \n{rng.choice(story(rng).others)} says nothing."


def document(rng: Random) -> tuple[str, int | None]:
    """One training text and, for a question, where its answer starts (characters)."""
    kind = rng.choices(tuple(MIXTURE), tuple(MIXTURE.values()))[0]
    if kind == "dialogue":
        return dialogue(rng), None
    if kind == "chain":
        return chain(rng), None
    if kind == "blank":
        return blank(rng), None
    make = MAKERS[kind]
    question = draw_in_split(lambda r: make(r, r.choice(CUES)), rng, "train")
    return answered(question, rng), len(question.prompt)


def corpus(seed: int) -> Iterator[tuple[str, int | None]]:
    """An endless stream of documents, the same for the same seed."""
    rng = Random(seed)
    while True:
        yield document(rng)
