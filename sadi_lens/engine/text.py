"""Text to tokens: where the prompt ends and the answer begins, special tokens, padding.

The rules (design, "Text rules"): text = prompt + answer exactly as given; special tokens are those that the
tokenizer itself adds; a token that spans the boundary of prompt and answer belongs to the answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sadi_lens.types.model import HookedModel


@dataclass(frozen=True)
class EncodedItem:
    """A prompt with its answers as tokens; every text is ``prompt + answer``."""

    prompt: tuple[int, ...]
    """Tokens before the answer; the last one is the last prompt token."""
    answers: tuple[tuple[int, ...], ...]
    merged: int
    """Answers whose first characters the tokenizer merged with the end of the prompt."""

    @property
    def length(self) -> int:
        """Tokens of the longest text."""
        return len(self.prompt) + max(len(answer) for answer in self.answers)


def require_tokenizer(model: HookedModel) -> Any:
    """The model's tokenizer.

    Raises:
        ValueError: If it has none.
    """
    if getattr(model, "tokenizer", None) is None:
        raise ValueError(
            "the model has no tokenizer; pass one: load_model(hf_model, tokenizer=tokenizer)"
        )
    return model.tokenizer


def encode(tokenizer: Any, text: str, *, prepend_bos: bool | None = None) -> list[int]:
    """Tokens of a text as the tokenizer itself gives them.

    A text that already begins with the BOS token (a chat template's output) does not get a second one. An EOS that
    the tokenizer puts behind every text is left off: nothing could follow it.

    Args:
        tokenizer: A Hugging Face tokenizer.
        text: Any text.
        prepend_bos: True or False forces a BOS on or off; None keeps the tokenizer's own rule.

    Raises:
        ValueError: If ``prepend_bos=True`` and the tokenizer has no BOS token.
    """
    bos_token, bos = tokenizer.bos_token, tokenizer.bos_token_id
    has_bos_text = bool(bos_token) and text.startswith(bos_token)
    ids: list[int] = list(tokenizer(text, add_special_tokens=not has_bos_text)["input_ids"])
    eos_token, eos = tokenizer.eos_token, tokenizer.eos_token_id
    if eos is not None and len(ids) > 1 and ids[-1] == eos and not text.endswith(eos_token):
        ids = ids[:-1]
    if prepend_bos is None:
        return ids
    if bos is None:
        if prepend_bos:
            raise ValueError("prepend_bos=True, but the tokenizer has no BOS token")
        return ids
    starts = bool(ids) and ids[0] == bos
    if prepend_bos and not starts:
        return [bos, *ids]
    if not prepend_bos and starts and not has_bos_text:
        return ids[1:]
    return ids


def encode_item(
    model: HookedModel,
    prompt: str,
    answers: Sequence[str],
    *,
    prepend_bos: bool | None = None,
) -> EncodedItem:
    """Tokens of a prompt with each of its answers, cut where the first answer token stands.

    Raises:
        ValueError: If the prompt has no token, an answer adds none or is the same tokens as another, or a text is
            longer than the context.
    """
    item = cut_item(require_tokenizer(model), prompt, answers, prepend_bos=prepend_bos)
    require_context(model, item.length, prompt)
    return item


def cut_item(
    tokenizer: Any, prompt: str, answers: Sequence[str], *, prepend_bos: bool | None = None
) -> EncodedItem:
    """``encode_item`` without a model: any length.

    Raises:
        ValueError: If the prompt has no token, or an answer adds none or is the same tokens as another.
    """
    alone = encode(tokenizer, prompt, prepend_bos=prepend_bos)
    texts = [encode(tokenizer, prompt + answer, prepend_bos=prepend_bos) for answer in answers]
    shared = [_common(alone, text) for text in texts]
    end = min(shared)
    if end == 0:
        raise ValueError(
            f"prompt must have at least one token before the answer, got {prompt[-40:]!r}"
        )
    for answer, text in zip(answers, texts, strict=True):
        if len(text) <= end or text == alone:
            raise ValueError(f"answer {answer!r} adds no token to the prompt {prompt[-40:]!r}")
    for index, text in enumerate(texts):
        if text in texts[:index]:
            raise ValueError(
                f"answers {answers[texts.index(text)]!r} and {answers[index]!r} are the same tokens to this "
                f"tokenizer (prompt {prompt[-40:]!r}); it cannot tell them apart"
            )
    return EncodedItem(
        tuple(alone[:end]),
        tuple(tuple(text[end:]) for text in texts),
        sum(length < len(alone) for length in shared),
    )


def encode_prompt(
    model: HookedModel, prompt: str, *, prepend_bos: bool | None = None, room: int = 0
) -> list[int]:
    """Tokens of a prompt that is to be continued by up to ``room`` tokens.

    Raises:
        ValueError: If it has no token, or prompt and room do not fit the context.
    """
    ids = encode(require_tokenizer(model), prompt, prepend_bos=prepend_bos)
    if not ids:
        raise ValueError(f"prompt must have at least one token, got {prompt!r}")
    require_context(model, len(ids), prompt, room)
    return ids


def require_context(model: HookedModel, length: int, prompt: str, room: int = 0) -> None:
    """Refuse a text that does not fit the model's context window.

    Raises:
        ValueError: With both lengths.
    """
    n_ctx = int(getattr(model.cfg, "n_ctx", 0) or 0)
    if n_ctx and length + room > n_ctx:
        extra = f" + max_new_tokens {room}" if room else ""
        raise ValueError(
            f"text must fit the context of {n_ctx} tokens, got {length}{extra} "
            f"(ends in {prompt[-60:]!r}); shorten it"
        )


def pad_left(
    rows: Sequence[Sequence[int]], pad: int, device: Any
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
    """Rows of unequal length as one tensor, padded on the left, with the attention mask."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[index, width - len(row) :] = 1
    return ids.to(device), mask.to(device)


def pad_id(model: HookedModel) -> int:
    """Any valid id to pad with; padding is told apart by the attention mask, never by the id."""
    pad = require_tokenizer(model).pad_token_id
    return 0 if pad is None else int(pad)


def batches_by_tokens(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices, shortest first, grouped so that rows x longest stays within ``max_tokens`` (one row at least)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[index] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _common(one: Sequence[int], two: Sequence[int]) -> int:
    length = 0
    for first, second in zip(one, two, strict=False):
        if first != second:
            break
        length += 1
    return length
