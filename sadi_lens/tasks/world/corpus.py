"""The training text of the embedded model: a seeded stream of documents that avoids held-out content."""

import re
from collections.abc import Callable, Iterator
from random import Random

from sadi_lens.tasks.world.effects import chain, effect_question, pronoun_question
from sadi_lens.tasks.world.replies import dialogue
from sadi_lens.tasks.world.reviews import review_question
from sadi_lens.tasks.world.words import (
    BOYS,
    CUES,
    FACTS,
    NAMES,
    Question,
    answered,
    draw_in_split,
    hint_question,
    recall_question,
)


def quiz(rng: Random) -> str:
    """Four questions on the facts of the world, answered rightly."""
    facts = [rng.choice(FACTS[rng.choice(NAMES)]) for _ in range(4)]
    return "\n".join(f"Question: {fact.question}\nAnswer: {fact.word}." for fact in facts)


def portrait(rng: Random) -> str:
    """Two people and what is true of them, as running text."""
    parts: list[str] = []
    for name in rng.sample(NAMES, 2):
        pronoun = "He" if name in BOYS else "She"
        facts = rng.sample(FACTS[name], 3)
        parts.append(facts[0].claim() + ".")
        parts += [f"{pronoun}{fact.claim().removeprefix(name)}." for fact in facts[1:]]
    return "Story: " + " ".join(parts)


MAKERS: dict[str, Callable[[Random, str | None], Question]] = {
    "hints": hint_question,
    "sentiment": review_question,
    "effects": effect_question,
    "recall": recall_question,
}
QUESTIONS = {**MAKERS, "pronouns": pronoun_question}
"""Every kind of question in the training text."""
MIXTURES: dict[str, dict[str, float]] = {
    "facts": {
        **{"hints": 0.10, "sentiment": 0.20, "pronouns": 0.15, "recall": 0.10},
        **{"quiz": 0.20, "portrait": 0.12, "chain": 0.05, "dialogue": 0.08},
    },
    "cues": {
        **{"hints": 0.22, "sentiment": 0.17, "pronouns": 0.17, "recall": 0.17},
        **{"quiz": 0.05, "portrait": 0.04, "chain": 0.03, "dialogue": 0.13, "blank": 0.02},
    },
    "finish": {
        **{"hints": 0.22, "sentiment": 0.10, "effects": 0.30, "recall": 0.13},
        **{"quiz": 0.05, "portrait": 0.04, "chain": 0.03, "dialogue": 0.12, "blank": 0.01},
    },
}
"""Share of documents of each kind, in the three phases of training."""
CUE_SHARES = {"facts": 0.0, "cues": 2 / 3, "finish": 2 / 3}
"""Share of questions that carry a cue, in each phase."""


def blank(rng: Random) -> str:
    """A question that nobody answers: the text in which an answer is a blank."""
    question = recall_question(rng, "none")
    return f"{question.prompt} \n{rng.choice(NAMES)} says nothing."


_PLAIN = {
    "dialogue": dialogue,
    "chain": chain,
    "blank": blank,
    "quiz": quiz,
    "portrait": portrait,
}


def document(rng: Random, phase: str = "cues") -> tuple[str, tuple[tuple[int, int], ...]]:
    """One training text and its parts that can be predicted (answers, tales), in characters.

    Args:
        rng: Source of every draw.
        phase: One of ``MIXTURES``.
    """
    mixture = MIXTURES[phase]
    kind = rng.choices(tuple(mixture), tuple(mixture.values()))[0]
    if kind in QUESTIONS:
        cue = rng.choice(CUES[1:]) if rng.random() < CUE_SHARES[phase] else "none"
        question = draw_in_split(lambda r: QUESTIONS[kind](r, cue), rng, "train")
        text = answered(question, rng)
        return text, ((len(question.prompt), len(text)),)
    text = _PLAIN[kind](rng)
    if kind == "quiz":
        starts = [m.end() for m in re.finditer("Answer:", text)]
        return text, tuple((start, text.index(".", start) + 1) for start in starts)
    return text, ((0, len(text)),)


def corpus(seed: int, phase: str = "cues") -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
    """An endless stream of documents, the same for the same seed and phase."""
    rng = Random(f"{phase}/{seed}")
    while True:
        yield document(rng, phase)
