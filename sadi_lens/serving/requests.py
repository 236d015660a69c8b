"""What a call of ``VLLMEngine`` becomes in vLLM, and what comes of its answers."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sadi_lens.engine.passes import valid_answers
from sadi_lens.engine.text import EncodedItem
from sadi_lens.measure.outcomes import ChoiceScores
from sadi_lens.serving.asked import LENGTH_KEY, NAME_KEY

OURS = {
    "n": "repeat a prompt for several samples of it",
    "max_tokens": "give max_new_tokens",
    "extra_args": "name a table for each prompt",
    "prompt_logprobs": "evaluate reads them",
    "logprobs": "engine.llm.generate gives them",
    "include_stop_str_in_output": "what stop names stays, as with stop_strings of sl.generate",
}
"""Options of ``vllm.SamplingParams`` that ``generate`` sets itself or has no place for, and what to do."""
SCORED: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 1}
"""Settings of a text that is scored."""


def settings_of(
    sampling: Mapping[str, Any], stops: Sequence[int], max_new_tokens: int
) -> dict[str, Any]:
    """Settings of ``vllm.SamplingParams``: greedy unless asked otherwise.

    Args:
        sampling: What a user asked for.
        stops: Tokens that end a text, unless ``ignore_eos``.
        max_new_tokens: At most this many.

    Raises:
        ValueError: If an option has no effect here.
    """
    for name in OURS.keys() & sampling.keys():
        raise ValueError(f"{name}={sampling[name]!r} is not for generate: {OURS[name]}")
    given = dict(sampling)
    kept = [] if given.pop("ignore_eos", False) else stops
    return {
        "temperature": 0.0,
        "max_tokens": max_new_tokens,
        "ignore_eos": True,  # only what the checkpoint's generation config names ends a text
        "stop_token_ids": [*kept, *(given.pop("stop_token_ids", None) or ())],
        **given,
    }


def stop_tokens(folder: Path) -> list[int]:
    """Tokens that end a text, by the checkpoint's generation config or its configuration."""
    from transformers import AutoConfig, GenerationConfig

    try:
        own: Any = GenerationConfig.from_pretrained(folder)
    except OSError:
        own = AutoConfig.from_pretrained(folder)
    found = own.eos_token_id
    return [] if found is None else [found] if isinstance(found, int) else list(found)


def asking(asked: str | None, prompt_length: int) -> dict[str, Any] | None:
    """Extra arguments of a request; None for an unsteered one."""
    return None if asked is None else {NAME_KEY: asked, LENGTH_KEY: prompt_length}


Text = tuple[int, int, int, tuple[int, ...], tuple[int, ...]]
"""(way, item, choice, prompt, answer)."""


def texts_to_score(items: Sequence[EncodedItem], n_ways: int) -> Iterator[Text]:
    """Every answer in every way; those of one prompt stand together, so that the cache has what they share."""
    for row, item in enumerate(items):
        for way in range(n_ways):
            for column, answer in enumerate(item.answers):
                yield way, row, column, tuple(item.prompt), tuple(answer)


def scores_of(items: Sequence[EncodedItem], texts: Sequence[Text], found: Any) -> ChoiceScores:
    """Log-probability of every answer, from vLLM's answers to ``texts``."""
    shape = (
        1 + max(way for way, *_ in texts),
        len(items),
        max(len(item.answers) for item in items),
    )
    scores = np.full(shape, np.nan, dtype=np.float32)
    argmax = np.full((*shape, max(len(answer) for *_, answer in texts)), -1)
    for (way, row, column, prompt, answer), one in zip(texts, found, strict=True):
        rows = one.prompt_logprobs[len(prompt) :]
        scores[way, row, column] = sum(
            each[token].logprob for each, token in zip(rows, answer, strict=True)
        )
        argmax[way, row, column, : len(answer)] = [
            next(token for token, each in own.items() if each.rank == 1) for own in rows
        ]
    return ChoiceScores(scores, valid_answers(items, argmax), None, np.ones(len(items), dtype=bool))
