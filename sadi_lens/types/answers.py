"""Answers: the ways to score one, when a text is right, what a prompt is without its question."""

import re
import string
from collections.abc import Sequence

SCORINGS = {
    "sum": "log-probability of the choice, summed over its tokens",
    "per_token": "mean log-probability of the choice's tokens",
    "pmi": "log-probability of the choice minus the same after the prompt's last line alone (Holtzman et al., 2021)",
    "teacher_forced": "the most likely tokens spell the right answer, each given the right answer before it",
    "generation": "the greedy continuation is the right answer",
}
"""How an answer is scored. ``"teacher_forced"`` is what SADI's reference code reports: an answer of several tokens
gets its own beginning for free, and a model that prefers another word altogether is wrong."""


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces (Rajpurkar et al., 2016).

    Where nothing would be left (an answer "A"), articles and then punctuation stay.
    """
    text = " ".join(text.lower().split())
    bare = " ".join(text.translate(str.maketrans("", "", string.punctuation)).split())
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split()) or bare or text


def matches(text: str, targets: str | Sequence[str]) -> bool:
    """Whether a generated answer is a target: its first line, or the first sentence of that, after ``normalise``."""
    line = text.strip().split("\n", maxsplit=1)[0]
    sentence = re.split(r"\.(?=\s|$)", line, maxsplit=1)[0]
    found = (normalise(line), normalise(sentence))
    return any(
        normalise(one) in found for one in ([targets] if isinstance(targets, str) else targets)
    )


def neutral_prompt(prompt: str) -> str:
    """The last line of a prompt, such as "Answer:": the prompt without its question.

    Raises:
        ValueError: If the prompt has one line only.
    """
    head, _, last = prompt.rstrip().rpartition("\n")
    if not head.strip():
        raise ValueError(
            f"scoring='pmi' needs prompts of several lines, whose last one ('Answer:', say) stands for the prompt "
            f"without its question; got {prompt[-40:]!r}"
        )
    return last + prompt[len(prompt.rstrip()) :]
