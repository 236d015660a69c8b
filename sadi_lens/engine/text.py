"""Text to tokens: where the prompt ends and the answer begins, special tokens, what fits the context.

Text = prompt + answer exactly as given; special tokens are those that the tokenizer itself adds; a token that spans
their boundary belongs to the answer. The prompt of a chat template (``ChatPrompt``) has the template's tokens, no more.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.data import HALF_CHARACTER, ContrastivePair
from sadi_lens.types.model import HookedModel, ModelInfo

_ROWS_NAMED = 5


@dataclass(frozen=True)
class EncodedItem:
    """A prompt with its answers as tokens, or none; every text is ``prompt + answer``."""

    prompt: tuple[int, ...]
    """Tokens before the answer; the last one is the last prompt token."""
    answers: tuple[tuple[int, ...], ...] = ()
    merged: int = 0
    """Answers whose first characters the tokenizer merged with the end of the prompt."""
    lead: int = 0
    """Tokens of the first answer that belong to its prompt, where the texts have two; ``prompt`` is what they share."""

    @property
    def lengths(self) -> tuple[int, int]:
        """Tokens of the shortest and of the longest text."""
        answers = [len(answer) for answer in self.answers] or [0]
        return len(self.prompt) + min(answers), len(self.prompt) + max(answers)

    @property
    def length(self) -> int:
        """Tokens of the longest text."""
        return self.lengths[1]


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

    A text that already begins with the BOS token does not get a second one, and a ``ChatPrompt`` gets no special
    token at all: its tokens are those of ``apply_chat_template(..., tokenize=True)``. An EOS that
    the tokenizer puts behind every text is left off: nothing could follow it. ``prepend_bos`` forces a BOS on or off;
    None keeps the tokenizer's own rule.

    Raises:
        ValueError: If ``prepend_bos=True`` and the tokenizer has no BOS token.
    """
    if HALF_CHARACTER.search(text):
        raise ValueError(
            f"a prompt or answer holds half of a character (a lone surrogate): {text!r:.60}"
        )
    bos_token, bos = tokenizer.bos_token, tokenizer.bos_token_id
    has_bos_text = bool(bos_token) and text.startswith(bos_token)
    is_whole = has_bos_text or isinstance(text, ChatPrompt)
    ids: list[int] = list(tokenizer(text, add_special_tokens=not is_whole)["input_ids"])
    eos_token, eos = tokenizer.eos_token, tokenizer.eos_token_id
    if not is_whole and len(ids) > 1 and ids[-1] == eos and not text.endswith(eos_token):
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
    for answer in item.answers:
        require_rows(model, [*item.prompt, *answer])
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
    if isinstance(prompt, ChatPrompt):
        # Its tokens stand before the model writes the first of the answer.
        texts = [
            text
            if text[: len(alone)] == alone
            else [*alone, *tokenizer(answer, add_special_tokens=False)["input_ids"]]
            for text, answer in zip(texts, answers, strict=True)
        ]
    shared = [shared_length(alone, text) for text in texts]
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


def encode_pairs(
    model: HookedModel, pairs: Sequence[ContrastivePair], *, prepend_bos: bool | None = None
) -> list[EncodedItem]:
    """Tokens of each pair: its prompt, the positive answer, the negative one.

    Raises:
        ValueError: If there is no pair, or two prompts of a pair begin with different tokens; otherwise as
            ``encode_item``.
    """
    if not len(pairs):
        raise ValueError("pairs must hold at least 1 contrastive pair, got 0")
    return [_encode_pair(model, pair, prepend_bos) for pair in pairs]


def _encode_pair(
    model: HookedModel, pair: ContrastivePair, prepend_bos: bool | None
) -> EncodedItem:
    if pair.negative_prompt is None:
        answers = (pair.positive, pair.negative)
        return encode_item(model, pair.prompt, answers, prepend_bos=prepend_bos)
    sides = [
        encode_item(model, prompt, (answer,), prepend_bos=prepend_bos)
        for prompt, answer in zip(pair.prompts, (pair.positive, pair.negative), strict=True)
    ]
    texts = [side.prompt + side.answers[0] for side in sides]
    shared = min(shared_length(*texts), *(len(side.prompt) for side in sides))
    if not shared:
        raise ValueError(
            f"the prompts of a pair must begin with the same token, got {pair.prompts[0][:40]!r} and "
            f"{pair.prompts[1][:40]!r}; prepend_bos=True begins both with BOS"
        )
    return EncodedItem(
        sides[0].prompt[:shared],
        tuple(text[shared:] for text in texts),
        sum(side.merged for side in sides),
        len(sides[0].prompt) - shared,
    )


def require_rows(model: HookedModel, ids: Sequence[int], what: str = "the text") -> None:
    """Refuse token ids that the model does not embed."""
    rows = int(getattr(model.cfg, "d_vocab", 0) or 0)
    if rows > 0 and max(ids) >= rows:
        tokenizer = require_tokenizer(model)
        known = max(ids) < len(tokenizer)
        token = tokenizer.convert_ids_to_tokens(max(ids)) if known else None
        raise ValueError(
            f"{what} holds the token {token!r} (id {max(ids)}), but the model embeds {rows} tokens; leave it out"
        )


def require_context(model: HookedModel, length: int, prompt: str, room: int = 0) -> None:
    """Refuse a text that does not fit the model's context window."""
    n_ctx = int(getattr(model.cfg, "n_ctx", 0) or 0)
    if n_ctx and length + room > n_ctx:
        extra = f" + max_new_tokens {room}" if room else ""
        raise ValueError(
            f"text must fit the context of {n_ctx} tokens, got {length}{extra} "
            f"(ends in {prompt[-60:]!r}); shorten it"
        )


def shared_length(one: Sequence[int], two: Sequence[int]) -> int:
    """Tokens that both begin with."""
    if one == two[: len(one)]:
        return len(one)
    return next((at for at, (a, b) in enumerate(zip_longest(one, two)) if a != b), len(one))


def fitting(
    model: HookedModel,
    items: Sequence[tuple[tuple[str, ...], tuple[str, ...]]],
    what: str,
    *,
    too_long: str | None = "error",
    room: int = 0,
    prepend_bos: bool | None = None,
) -> list[int]:
    """Rows of the items that fit the model's context; looked at before anything is computed.

    Args:
        model: A bridged model.
        items: Prompts and answers of each; one prompt for all answers, or one for each.
        what: What they are, for the message.
        too_long: ``"error"`` (None: of a caller without it) refuses, ``"skip"`` leaves out, with a warning.
        room: Tokens that are to follow.
        prepend_bos: See ``encode``.

    Raises:
        ValueError: If one is too long and ``too_long="error"``, or all are.
    """
    n_ctx = int(getattr(model.cfg, "n_ctx", 0) or 0)
    tokenizer = require_tokenizer(model)

    def length(prompts: tuple[str, ...], answers: tuple[str, ...]) -> int:
        pairs = [(prompts[min(i, len(prompts) - 1)], one) for i, one in enumerate(answers or ("",))]
        texts = [prompt + answer for prompt, answer in pairs]
        if max(len(text.encode()) for text in texts) + room + 8 <= n_ctx:  # not more than bytes
            return 0
        return room + max(len(encode(tokenizer, text, prepend_bos=prepend_bos)) for text in texts)

    lengths = [length(*item) if n_ctx else 0 for item in items]
    if not (long := [row for row, one in enumerate(lengths) if one > n_ctx]):
        return list(range(len(items)))
    named = ", ".join(f"{row} ({lengths[row]})" for row in long[:_ROWS_NAMED])
    message = (
        f"{len(long)} of {len(items)} {what} must fit the context of {n_ctx} tokens"
        f"{f' with max_new_tokens {room}' if room else ''}; too long are rows (tokens) {named}"
        f"{', ...' if len(long) > _ROWS_NAMED else ''}"
    )
    if too_long != "skip":
        how = ": too_long='skip'" if too_long else ""
        raise ValueError(f"{message}. Shorten them, or leave them out{how}")
    if len(long) == len(items):
        raise ValueError(f"{message}: none is left")
    warnings.warn(f"{message}. They are left out", stacklevel=5)
    return [row for row in range(len(items)) if row not in set(long)]


def warn_unknown(model: HookedModel, items: Sequence[Sequence[str]], stacklevel: int = 5) -> None:
    """Warn of words in the texts of each row that the tokenizer does not know: to the model they are all one token."""
    tokenizer = require_tokenizer(model)
    unknown = tokenizer.unk_token_id
    backend = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    texts = [text for item in items for text in item]
    known = (None, tokenizer.bos_token_id, tokenizer.eos_token_id)
    if unknown in known or getattr(backend, "byte_fallback", False) or not texts:
        return
    tokenised = partial(tokenizer, add_special_tokens=False)
    rows = [row for row, item in enumerate(items) for _ in item]
    hits = [index for index, ids in enumerate(tokenised(texts)["input_ids"]) if unknown in ids]
    if not hits:
        return
    found = list(dict.fromkeys(rows[index] for index in hits))
    # As it stands there: with a space before it, the first word of a text may be another token.
    spaced = (re.sub(r"\s+", " ", texts[index]) for index in hits[:20])
    words = list(dict.fromkeys(word for text in spaced for word in re.findall(r" ?[^ ]+", text)))
    pairs = zip(words, tokenised(words)["input_ids"], strict=True)
    new = dict.fromkeys(word.strip() for word, ids in pairs if unknown in ids)
    first = list(new)[:_ROWS_NAMED] or [texts[hits[0]][:40]]
    warnings.warn(
        f"{len(found)} of {len(items)} items hold words that {ModelInfo.of(model).name} does not know (rows "
        f"{', '.join(map(str, found[:_ROWS_NAMED]))}; first {', '.join(map(repr, first))}): all of them are the token "
        f"{tokenizer.unk_token!r} to it, and its numbers say nothing about them",
        stacklevel=stacklevel,
    )
