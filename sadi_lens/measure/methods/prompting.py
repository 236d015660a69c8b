"""Rows that change what is asked instead of activations: an instruction, or solved examples, before every prompt.

AxBench (Wu et al., 2025) finds that prompting beats every steering method it compares, so a gain of steering is to be
held against these.
"""

from functools import partial
from random import Random

from sadi_lens.engine.text import encode, require_tokenizer
from sadi_lens.measure.candidates import Candidate
from sadi_lens.measure.methods.base import Material, Method, UnavailableError, grid
from sadi_lens.tasks.prompts import SEPARATOR, solved
from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.checks import check_value

_TRUST = (
    "Answer what is true, whatever anybody suggests.",
    "Suggestions may be wrong. Ignore them and give the correct answer.",
    "Think about the question yourself and answer it correctly.",
)
INSTRUCTIONS = {
    "hints": ("Do not do what they said.", "You know the people. Do not lie."),
    "recall": ("Do not do what they said.", "You know the people. Do not lie."),
    "sentiment": ("Do not do what they said.", "Was it good or bad?"),
    "effects": ("Do not do what they did.", "You know what happened. Do not lie."),
}
"""Instructions by task, in words of the embedded model, which was never taught to follow any. Others get ``_TRUST``."""
SHOTS = (1, 2, 4, 8, 16)
ROOM = 1.25
"""Longest prompt of a task over the longest one of its pairs, to be on the safe side."""


def prompting(*instructions: str) -> Method:
    """The row ``"prompting"`` with instructions of your own; dev chooses among them.

    Args:
        instructions: Texts that go before every prompt, a blank line between. None: ``INSTRUCTIONS`` of the task.

    Raises:
        ValueError: If one is empty or comes twice.

    Example:
        >>> row = sl.measure.prompting("Do not lie.")
        >>> small = sl.Task("hints", pairs=task.pairs[:20], dev=task.dev[:20], test=task.test[:20])
        >>> found = sl.compare(model, small, [row], n_null=0, progress=False)
        >>> found.row("prompting").settings
        "instruction 'Do not lie.'"
    """
    instructions = check_value("instructions", instructions, tuple[str, ...])
    if len({one.strip() for one in instructions} - {""}) < len(instructions):
        raise ValueError(f"instructions must be different texts, none empty, got {instructions}")
    return Method(
        "prompting",
        "other",
        partial(_instructed, instructions),
        about="a written instruction before every prompt, no steering",
    )


def _instructed(given: tuple[str, ...], material: Material, budget: int | None) -> list[Candidate]:
    _require_plain(material)
    texts = given or INSTRUCTIONS.get(material.task, _TRUST)
    return [
        Candidate(None, before=text + SEPARATOR, words=f"instruction {text!r}")
        for text, _ in grid(texts, (None,), budget)
    ]


def few_shot(material: Material, budget: int | None) -> list[Candidate]:
    """Pairs with their right answers before every prompt; how many is chosen on dev.

    A larger number has the examples of the smaller one, which stand nearest to the prompt.

    Raises:
        UnavailableError: If not even one fits the context, or prompts are in a chat template.
    """
    _require_plain(material)
    # A prompt with several wrong answers is one example.
    known = list({(one.prompt, one.positive): one for one in material.pairs}.values())
    pairs = Random(f"shots/{material.seed}").sample(known, len(known))
    tokenizer = require_tokenizer(material.model)
    context = int(getattr(material.model.cfg, "n_ctx", 0) or 0)
    longest = ROOM * max(len(encode(tokenizer, one.prompt + one.positive)) for one in pairs)
    made: list[Candidate] = []
    for k in SHOTS:
        text = solved((one.prompt, one.positive) for one in reversed(pairs[:k]))
        if k > len(pairs) or (context and len(encode(tokenizer, text)) + longest > context):
            break
        words = f"{k} solved example" + ("s" if k > 1 else "")
        made.append(Candidate(None, before=text, words=words))
    if not made:
        raise UnavailableError(f"not one example fits the context of {context} tokens")
    return [one for one, _ in grid(made, (None,), budget)]


def _require_plain(material: Material) -> None:
    if any(isinstance(one.prompt, ChatPrompt) for one in material.pairs):
        raise UnavailableError(
            "the prompts are in a chat template already; put the text into it (system= or history=)"
        )
