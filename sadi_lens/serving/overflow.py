"""A request whose activations leave the range of numbers ends with an error, and no other one with it.

The worker looks at what it edited and at the logits, and names such requests in its output; the scheduler ends them,
and those that read from the prefix cache what was computed so.
Without this vLLM goes on: a norm makes zeros of what is infinite, and finite, wrong tokens of those.
"""

from typing import Any

import torch

from sadi_lens.types.base import LARGEST

MARK = "sadi_lens_overflowed"
"""Of the runner's output, and of the scheduler: requests to be ended -> place in the text of what overflowed."""
_BLOCKS = "sadi_lens_overflowed_blocks"
"""Of the scheduler: hashes of cached blocks in which something overflowed; a hash holds all that stands before."""
_MOST = 1 << 20
SAID = (
    f"generation ended with an error. Where the request is steered: an edited activation or a logit is not finite, or "
    f"over {LARGEST:g}. Use a table of smaller strength or a wider dtype"
)


def is_over(values: torch.Tensor) -> torch.Tensor:
    """Bool for each row: whether a value is not finite, or beyond what a norm can square."""
    # As float32: in float16 LARGEST is infinite, and nothing is over it.
    return ~(values.abs().amax(dim=-1).float() <= LARGEST)


def lacks_logits(logits: torch.Tensor) -> torch.Tensor:
    """Bool for each row: whether a logit is NaN or infinite; minus infinity is a token that is left out."""
    return (logits.isnan() | logits.isposinf()).any(dim=-1)


def patch_sampling(runner: Any) -> None:
    """Put the names of such requests into what the model runner gives to the scheduler."""
    own = runner.sample_tokens

    def sample(self: Any, *args: Any, **kwargs: Any) -> Any:
        steering = self.sadi_lens
        if steering is None or not steering.steered:
            return own(self, *args, **kwargs)
        over: dict[str, int | None] = dict(steering.overflowed)
        logits = getattr(self.execute_model_state, "logits", None)
        ids = list(self.input_batch.req_ids)
        if logits is not None and logits.shape[0] == len(ids):
            bad = lacks_logits(logits).tolist()
            named = {name for name, one in zip(ids, bad, strict=True) if one} & steering.steered
            over |= dict.fromkeys(named - over.keys())
        output = own(self, *args, **kwargs)
        if over:
            setattr(getattr(output, "_model_runner_output", output), MARK, over)
        return output

    runner.sample_tokens = sample


def patch_scheduler() -> None:
    """End the requests that the runner named."""
    from vllm.v1.core.sched.scheduler import Scheduler  # pyright: ignore[reportMissingImports]
    from vllm.v1.request import RequestStatus  # pyright: ignore[reportMissingImports]

    own_update, own_tokens = Scheduler.update_from_output, Scheduler._update_request_with_output

    def update(self: Any, scheduler_output: Any, output: Any) -> Any:
        found: dict[str, int | None] = getattr(output, MARK, {})
        known = getattr(self, MARK, {}) | found
        setattr(self, MARK, {key: at for key, at in known.items() if key in self.requests})
        blocks: dict[Any, None] = self.__dict__.setdefault(_BLOCKS, {})
        for key, place in found.items():
            if key in self.requests and place is not None:
                hashes, at = self.requests[key].block_hashes, place // self.hash_block_size
                blocks.update(dict.fromkeys(hashes[at : at + 1]))
        while len(blocks) > _MOST:
            blocks.pop(next(iter(blocks)))
        return own_update(self, scheduler_output, output)

    def tokens(self: Any, request: Any, *args: Any, **kwargs: Any) -> tuple[Any, bool]:
        found, stopped = own_tokens(self, request, *args, **kwargs)
        blocks = getattr(self, _BLOCKS, None)
        is_over = request.request_id in getattr(self, MARK, ())  # a prompt in chunks had no token
        if not is_over and not (blocks and any(one in blocks for one in request.block_hashes)):
            return found, stopped
        request.status = RequestStatus.FINISHED_ERROR
        request.resumable = False
        return found, True

    Scheduler.update_from_output, Scheduler._update_request_with_output = update, tokens
