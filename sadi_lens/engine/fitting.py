"""What fits: a text into the context, rows into one pass, a pass into the memory."""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from sadi_lens.engine.text import encode, require_tokenizer
from sadi_lens.types.model import HookedModel, ModelInfo

Result = TypeVar("Result")

CPU_TOKENS, CPU_BYTES = 1024, 256 * 2**20
"""One pass on a CPU: enough to keep its cores busy; more is no faster and leaves larger holes in the heap."""
GPU_TOKENS, GPU_SHARE = 65536, 0.4
"""One pass on a GPU: tokens, and share of the free memory."""


def choose_batch(model: HookedModel, n_tokens: int) -> int:
    """Rows of ``n_tokens`` tokens that one forward pass of ``model`` should have on its device.

    On a CPU as many as keep its cores busy, on a GPU as many as fill it; never more than fit into the memory that is
    free now. The number of threads is the user's own affair (``torch.set_num_threads``) and left as it is.

    Args:
        model: A bridged model.
        n_tokens: Tokens of a row, prompt and continuation together.

    Raises:
        ValueError: If ``n_tokens`` is below 1.
    """
    if n_tokens < 1:
        raise ValueError(f"n_tokens must be at least 1, got {n_tokens}")
    return max(1, pass_tokens(model, n_tokens) // n_tokens)


def pass_tokens(model: HookedModel, longest: int) -> int:
    """Tokens (padding included) of one forward pass over rows of up to ``longest``."""
    most = GPU_TOKENS if device_of(model).type == "cuda" else CPU_TOKENS
    return max(longest, min(most, pass_bytes(model) // token_bytes(model, longest)))


def token_bytes(model: HookedModel, seen: int) -> int:
    """Rough working memory of one token that attends to ``seen`` others, its logits not counted."""
    cfg = model.cfg
    d_mlp = int(cfg.d_mlp or 4 * cfg.d_model)
    keys = 2 * int(cfg.n_heads) * int(cfg.d_head)
    own = 12 * int(cfg.d_model) + 4 * d_mlp + keys * (int(cfg.n_layers) + 2)
    scores = 2 * int(cfg.n_heads) * seen
    return 4 * (own + scores)


def pass_bytes(model: HookedModel) -> int:
    """Working memory that one pass may take: bounded, and a share of what is free."""
    device = device_of(model)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(GPU_SHARE * (free + unused))
    if device.type == "mps":
        return CPU_BYTES
    import psutil

    return min(CPU_BYTES, psutil.virtual_memory().available // 4)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(one in str(error).lower() for one in words)


def smaller_when_full(
    groups: Iterable[list[int]], run: Callable[[list[int], int], Result], at_once: int = 1
) -> Iterator[tuple[list[int], Result]]:
    """``run(group, at_once)`` for every group, smaller where memory runs out: half the group, then half ``at_once``.

    Raises:
        MemoryError: If one member does not fit alone.
    """
    waiting = deque(groups)
    while waiting:
        group = waiting.popleft()
        try:
            found = run(group, at_once)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(group) == 1 and at_once == 1:
                raise MemoryError(
                    f"item {group[0]} does not fit into memory even alone ({error}). Shorten its text, load the model "
                    "in a smaller dtype, or use another device"
                ) from error
            half = len(group) // 2
            waiting.extendleft([group[half:], group[:half]] if half else [group])
            at_once = at_once if half else at_once // 2
        else:
            yield group, found
            continue
        if torch.cuda.is_available():  # after the exception has let go of its tensors
            torch.cuda.empty_cache()


def device_of(model: HookedModel) -> torch.device:
    """Device that the token ids go to; weights that accelerate keeps off-loaded (meta) do not count."""
    devices = (one.device for one in model.original_model.parameters() if not one.is_meta)
    return next(devices, torch.device("cpu"))


_ROWS_NAMED = 5


def fitting(
    model: HookedModel,
    items: Sequence[tuple[tuple[str, ...], tuple[str, ...]]],
    what: str,
    *,
    too_long: str = "error",
    room: int = 0,
    prepend_bos: bool | None = None,
) -> list[int]:
    """Rows of the items that fit the model's context; looked at before anything is computed.

    Args:
        model: A bridged model.
        items: Prompts and answers of each; one prompt for all answers, or one for each.
        what: What they are, for the message.
        too_long: ``"error"`` refuses, ``"skip"`` leaves them out with a warning; both name the rows.
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
        if (
            max(len(text.encode()) for text in texts) + room + 8 <= n_ctx
        ):  # no more tokens than bytes
            return 0
        return room + max(len(encode(tokenizer, text, prepend_bos=prepend_bos)) for text in texts)

    lengths = [length(*item) if n_ctx else 0 for item in items]
    long = [row for row, one in enumerate(lengths) if one > n_ctx]
    if not long:
        return list(range(len(items)))
    named = ", ".join(f"{row} ({lengths[row]})" for row in long[:_ROWS_NAMED])
    more = ", ..." if len(long) > _ROWS_NAMED else ""
    message = (
        f"{len(long)} of {len(items)} {what} must fit the context of {n_ctx} tokens"
        f"{f' with max_new_tokens {room}' if room else ''}; too long are rows (tokens) {named}{more}"
    )
    if too_long == "error":
        raise ValueError(f"{message}. Shorten them, or leave them out: too_long='skip'")
    if len(long) == len(items):
        raise ValueError(f"{message}: none is left")
    warnings.warn(f"{message}. They are left out", stacklevel=4)
    return [row for row in range(len(items)) if row not in set(long)]


def warn_unknown(model: HookedModel, items: Sequence[Sequence[str]]) -> None:
    """Warn of words that the tokenizer does not know: to the model they are all one token.

    Args:
        model: A bridged model.
        items: Texts of each row.
    """
    tokenizer = require_tokenizer(model)
    unknown = tokenizer.unk_token_id
    backend = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    if unknown is None or unknown in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        return
    texts = [text for item in items for text in item]
    if getattr(backend, "byte_fallback", False) or not texts:
        return

    def has(texts: list[str]) -> list[bool]:
        return [unknown in ids for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    rows = [row for row, item in enumerate(items) for _ in item]
    hits = [index for index, is_in in enumerate(has(texts)) if is_in]
    if not hits:
        return
    found = list(dict.fromkeys(rows[index] for index in hits))
    words = list(dict.fromkeys(word for index in hits[:20] for word in texts[index].split()))
    is_new = has([f" {word}" for word in words])
    first = [word for word, is_in in zip(words, is_new, strict=True) if is_in][:_ROWS_NAMED]
    warnings.warn(
        f"{len(found)} of {len(items)} items hold words that {ModelInfo.of(model).name} does not know (rows "
        f"{', '.join(map(str, found[:_ROWS_NAMED]))}; first {', '.join(map(repr, first))}): all of them are the token "
        f"{tokenizer.unk_token!r} to it, and its numbers say nothing about them",
        stacklevel=4,
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


def rope_boundary(model: HookedModel) -> int | None:
    """Tokens beyond which LongRoPE (Phi-3 and its kin) encodes every position of a batch in another way, if it does."""
    config = model.original_model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [one for one in (rope, *rope.values()) if isinstance(one, dict)]
    found = [
        one.get("original_max_position_embeddings")
        or getattr(config, "original_max_position_embeddings", None)
        for one in kinds
        if one.get("rope_type") == "longrope"
    ]
    return min((int(one) for one in found if one), default=None)


def by_side(model: HookedModel, lengths: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Indices of texts that may share a batch without changing one another: on one side of ``rope_boundary``.

    Args:
        model: A bridged model.
        lengths: Tokens of the shortest and of the longest text of each item.

    Raises:
        ValueError: If an item has texts on both sides.
    """
    boundary = rope_boundary(model)
    if boundary is None:
        return [list(range(len(lengths)))]
    for shortest, longest in lengths:
        if shortest <= boundary < longest:
            raise ValueError(
                f"the texts of one item must be on one side of {boundary} tokens, where this model's LongRoPE changes "
                f"every position of a text; got texts of {shortest} to {longest} tokens"
            )
    sides = [
        [index for index, one in enumerate(lengths) if (one[1] > boundary) == is_long]
        for is_long in (False, True)
    ]
    return [one for one in sides if one]


def batches_on_one_side(
    model: HookedModel,
    lengths: Sequence[tuple[int, int]],
    sizes: Sequence[int],
    max_tokens: int,
) -> Iterator[list[int]]:
    """``batches_by_tokens`` of the sizes, within the groups of ``by_side``."""
    for members in by_side(model, lengths):
        for batch in batches_by_tokens([sizes[index] for index in members], max_tokens):
            yield [members[index] for index in batch]
