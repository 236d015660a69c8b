"""Prompts as people have them: text, token ids, or the messages of a chat."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sadi_lens.engine.text import (
    EncodedItem,
    encode,
    encode_item,
    require_context,
    require_rows,
    require_tokenizer,
)
from sadi_lens.tasks.chat import rendered, require_told
from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.model import HookedModel

TextOrChat = str | Sequence[Mapping[str, str]]
"""Text, or the messages of a chat (``{"role": "user", "content": ...}``) for the model's own template."""
Prompt = str | Sequence[int] | Sequence[Mapping[str, str]]
"""Text, token ids, or the messages of a chat."""


def several_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """A list of prompts; one text, one list of token ids and one chat are a list of one."""
    if isinstance(prompts, str):
        return [prompts]
    given = cast("list[Any]", list(prompts))
    is_one = bool(given) and all(isinstance(one, int | Mapping) for one in given)
    return [given] if is_one else given


def prompt_ids(
    model: HookedModel, prompt: Prompt, *, prepend_bos: bool | None = None, room: int = 0
) -> list[int]:
    """Tokens of a prompt that is to be continued by up to ``room`` tokens; ids that are given stay as they are.

    A chat that ends in a message of the assistant is continued in that message, as in Hugging Face's own pipeline.

    Raises:
        ValueError: If there is no token or one that the model does not embed, prompt and room do not fit the context,
            or the messages of a chat cannot be rendered.
    """
    given = cast("list[Any]", list(prompt))
    if isinstance(prompt, str) or (given and isinstance(given[0], Mapping)):
        text = cast("TextOrChat", prompt)
        return encode_prompt(model, text, prepend_bos=prepend_bos, room=room)
    require_ids(model, given, room)
    return given


def as_text(model: HookedModel, prompt: TextOrChat) -> str:
    """A prompt as the text that the model reads: messages as its chat template renders them, a text as it is.

    Raises:
        ValueError: If messages cannot be rendered.
    """
    if isinstance(prompt, str):
        return prompt
    tokenizer, messages = require_tokenizer(model), list(prompt)
    if not messages:
        raise ValueError("prompts: a chat must have at least one message, got []")
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "prompts are messages of a chat, but the model's tokenizer has no chat template; give text, or set "
            "tokenizer.chat_template"
        )
    try:
        require_told(tokenizer, messages)
        is_begun = messages[-1]["role"] == "assistant"
        options = {"add_generation_prompt": not is_begun, "continue_final_message": is_begun}
        return ChatPrompt(rendered(tokenizer, messages, tokenize=False, **options))
    except ValueError as error:
        raise ValueError(f"prompts: {error}") from error


def encode_prompts(
    model: HookedModel, prompts: Sequence[TextOrChat], *, prepend_bos: bool | None = None
) -> list[EncodedItem]:
    """Tokens of each prompt, as an item without answers.

    Raises:
        ValueError: If there is no prompt, otherwise as ``encode_prompt``.
    """
    if not len(prompts):
        raise ValueError("prompts must hold at least 1, got 0")
    return [
        EncodedItem(tuple(encode_prompt(model, one, prepend_bos=prepend_bos))) for one in prompts
    ]


def encode_prompt(
    model: HookedModel, prompt: TextOrChat, *, prepend_bos: bool | None = None, room: int = 0
) -> list[int]:
    """Tokens of a prompt that is to be continued by up to ``room`` tokens.

    Raises:
        ValueError: If it has no token or one that the model does not embed, prompt and room do not fit the context, or
            the messages of a chat cannot be rendered.
    """
    text = as_text(model, prompt)
    ids = encode(require_tokenizer(model), text, prepend_bos=prepend_bos)
    if not ids:
        raise ValueError(f"prompt must have at least one token, got {text!r}")
    require_rows(model, ids)
    require_context(model, len(ids), text, room)
    return ids


def require_ids(model: HookedModel, ids: Sequence[int], room: int = 0) -> None:
    """Refuse token ids that cannot be continued by ``room`` tokens."""
    if not ids or min(ids) < 0:
        raise ValueError(
            f"prompts must have at least one token each, none below 0, got {ids!r:.80}"
        )
    require_rows(model, ids, "one of prompts")
    require_context(model, len(ids), str(require_tokenizer(model).decode(ids)), room)


def joined_answers(model: HookedModel, asked: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Where an answer joins the last token of its prompt, in words; empty where none does.

    Read alone, such a prompt ends at another token than the one that is steered before its answers.

    Args:
        model: A bridged model.
        asked: Prompts with their answers; free text has none, and joins nothing.
    """
    joined = [
        prompt
        for prompt, answers in asked
        if answers and encode_item(model, prompt, tuple(answers)).merged
    ]
    if not joined:
        return ""
    return (
        f"it is measured at prompts alone, and in {len(joined)} of {len(asked)} an answer joins the prompt's last "
        f"token (first {joined[0][-30:]!r}); a space at the end of a prompt belongs to its answers"
    )
