"""How much fits into one forward pass, and what to do when it did not."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

from sadi_lens.engine.text import device_of
from sadi_lens.types.model import HookedModel

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
