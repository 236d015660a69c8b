"""How texts become passes: how many the memory takes, which may share one, padding; several answers as a tree."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadi_lens.engine.text import EncodedItem, require_tokenizer, shared_length
from sadi_lens.types.checks import checked
from sadi_lens.types.model import HookedModel

Result = TypeVar("Result")

CPU_TOKENS, CPU_BYTES = 1024, 256 * 2**20
"""One pass on a CPU: enough to keep its cores busy; more is no faster and leaves larger holes in the heap."""
GPU_TOKENS, GPU_SHARE = 65536, 0.4
"""One pass on a GPU: tokens, and share of the free memory."""


@checked()
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


def pad_left(
    rows: Sequence[Sequence[int]], pad: int, device: Any
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
    """Rows of unequal length as one tensor, padded on the left, with the attention mask."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long, device="cpu")
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(row, dtype=torch.long, device="cpu")
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


class Branches(NamedTuple):
    """Prompts without their last token, and the tree that stands behind each."""

    prefix: Int[Tensor, "item past"]
    prefix_mask: Int[Tensor, "item past"]
    """1 for real tokens; padded on the left."""
    ids: Int[Tensor, "item node"]
    """The last prompt token, then the answers one after the other, each padded on the right."""
    positions: Int[Tensor, "item node"]
    sees: Bool[Tensor, "node node"]
    """Whether the token of the row attends to that of the column; padding is seen by padding only."""
    width: int
    """Nodes of one answer."""

    def starts(self) -> list[int]:
        """First node of each answer."""
        return list(range(1, self.ids.shape[1], self.width)) if self.width else []


def branches(items: Sequence[EncodedItem], *, drop_last: bool, pad: int, device: Any) -> Branches:
    """The trees of a few items.

    Args:
        items: Items with any number of answers, also none; missing ones are filled with padding.
        drop_last: Leave the last token of every answer out, which predicts nothing that is asked for.
        pad: Id to pad prompts with.
        device: Where the tensors go.
    """
    tails = [
        [answer[: len(answer) - 1] if drop_last else answer for answer in item.answers]
        for item in items
    ]
    width = max((len(tail) for row in tails for tail in row), default=0)
    n_answers = max(len(row) for row in tails)
    prompts, mask = pad_left([item.prompt for item in items], pad, "cpu")
    # Room that an answer leaves is filled with a token of the text: what no token sees must still be finite.
    ids = prompts[:, -1:].repeat(1, 1 + n_answers * width)
    for row, answers in enumerate(tails):
        for column, tail in enumerate(answers):
            start = 1 + column * width
            ids[row, start : start + len(tail)] = torch.tensor(tail, dtype=torch.long, device="cpu")
    on_cpu: Any = {"dtype": torch.long, "device": "cpu"}
    later = torch.arange(1, width + 1, **on_cpu).repeat(n_answers)
    depth = torch.cat([torch.zeros(1, **on_cpu), later])
    answer = torch.ones((width, width), **on_cpu).tril()
    sees = torch.block_diag(torch.ones((1, 1), **on_cpu), *[answer] * n_answers).bool()
    sees[:, 0] = True
    positions = mask.sum(dim=1, keepdim=True) - 1 + depth
    return Branches(
        prompts[:, :-1].to(device),
        mask[:, :-1].to(device),
        ids.to(device),
        positions.to(device),
        sees.to(device),
        width,
    )


def additive(visible: Bool[Tensor, "..."], dtype: torch.dtype) -> Float[Tensor, "..."]:
    """0 where a token is seen, the most negative number where it is not."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)


def whole_inputs(
    tree: Branches, dtype: torch.dtype, copies: int = 1
) -> tuple[Int[Tensor, "row pos"], Float[Tensor, "row 1 pos pos"], Int[Tensor, "row pos"]]:
    """Prefix and nodes as one sequence a row, nothing cached: ids, mask, positions."""
    n, past = tree.prefix.shape
    length = past + tree.sees.shape[0]
    visible = torch.ones(length, length, dtype=torch.bool, device=tree.ids.device).tril()
    visible[past:, past:] = tree.sees
    real = torch.ones(n, length, dtype=torch.bool, device=tree.ids.device)
    real[:, :past] = tree.prefix_mask.bool()
    mask = additive((visible & real[:, None])[:, None], dtype)
    before = (tree.prefix_mask.cumsum(dim=-1) - 1).clamp(min=0)
    positions = torch.cat([before, tree.positions], dim=1)
    ids = torch.cat([tree.prefix, tree.ids], dim=1)
    return ids.repeat(copies, 1), mask.repeat(copies, 1, 1, 1), positions.repeat(copies, 1)


def valid_answers(
    items: Sequence[EncodedItem], argmax: Int[np.ndarray, "intervention item choice token"]
) -> Bool[np.ndarray, "intervention item"]:
    """``ItemScores.valid`` from ``ItemScores.argmax``."""
    found = np.zeros(argmax.shape[:2], dtype=bool)
    for row, item in enumerate(items):
        for column, (answer, n) in enumerate(zip(item.answers, _told(item.answers), strict=True)):
            found[:, row] |= (argmax[:, row, column, :n] == answer[:n]).all(axis=1)
    return found


def _told(answers: tuple[tuple[int, ...], ...]) -> list[int]:
    """Tokens of each answer up to the first that no other answer shares; all, where it begins another one."""
    found: list[int] = []
    for at, one in enumerate(answers):
        others = answers[:at] + answers[at + 1 :]
        shared = max((shared_length(one, other) for other in others), default=0)
        found.append(min(len(one), shared + 1))
    return found
