"""Answers as text: when one is right, and what a prompt looks like without its question."""

import re
import string
from collections.abc import Sequence


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
