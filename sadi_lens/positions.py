"""Which tokens of a pass are edited.

Positions, in the words of the design:

    last_prompt   the last prompt token only (the paper)
    every_step    the last prompt token and every token after it
    all           every token

They are worked out from the attention mask and the length of the KV cache in absolute coordinates, never from
token ids, so padding on either side, cached and uncached passes and beams give the same numbers.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sadi_lens.types import POSITIONS, require_one_of

Edit = Callable[[Tensor, int], Tensor]
"""(activation, layer) -> the edited activation."""


class PositionTracker:
    """Says for each forward pass which of its tokens are edited.

    Args:
        position: ``"last_prompt"``, ``"every_step"`` or ``"all"``.
        prompt_end: Absolute index (padding counted) of the last prompt token of each row, when the caller knows it.
        prompt_lengths: Real tokens of each prompt, when rows also hold what follows the prompt.

    Without either, a pass that starts a new text is taken to be the prompt, up to its last attended token; passes
    that continue its KV cache (or a fork of it) are steps.
    """

    def __init__(
        self,
        position: str,
        *,
        prompt_end: Sequence[int] | Int[Tensor, " row"] | None = None,
        prompt_lengths: Sequence[int] | Int[Tensor, " row"] | None = None,
    ) -> None:
        require_one_of("position", position, POSITIONS)
        self.position = position
        self.is_fixed = prompt_end is not None
        self.prompt_end = None if prompt_end is None else torch.as_tensor(prompt_end)
        self.lengths = None if prompt_lengths is None else torch.as_tensor(prompt_lengths)
        self.seen = 0
        self.edited: Bool[Tensor, "row pos"] | None = None
        self.share = "none"
        """How many of the tokens are edited: ``"none"``, ``"some"`` or ``"all"``."""

    def begin(self, rows: int, n_new: int, past: int, attention_mask: Tensor | None) -> None:
        """Prepare a pass over ``n_new`` tokens a row that follow ``past`` cached ones.

        Raises:
            ValueError: If the attention mask is not [row past+new], or a prompt is longer than its row, or prompts
                and rows do not match.
        """
        total = past + n_new
        if (
            attention_mask is not None and attention_mask.ndim == 4
        ):  # static caches; True or 0 where seen
            last = attention_mask[:, 0, -1]
            attention_mask = last if last.dtype == torch.bool else last == 0
            attention_mask = attention_mask.expand(rows, -1)
        if attention_mask is None:
            attended = torch.ones((rows, total), dtype=torch.bool)
        elif attention_mask.ndim != 2 or attention_mask.shape[1] < total:
            raise ValueError(
                f"attention_mask must be [row, {total}] (cached and new tokens), "
                f"got {tuple(attention_mask.shape)}"
            )
        else:
            attended = attention_mask[:, :total].bool()
        index = torch.arange(total, device=attended.device)
        # A cache longer than anything seen here was filled elsewhere: this pass ends its prompt.
        starts = past == 0 or past > self.seen
        if not self.is_fixed and (starts or self.prompt_end is None):
            self.prompt_end = self._find_end(attended, index)
            self.seen = 0
        self.seen = max(self.seen, total)
        if self.position == "all":
            chosen = attended
        else:
            assert self.prompt_end is not None
            end = _per_row(self.prompt_end, rows, "prompts").to(attended.device).reshape(-1, 1)
            chosen = attended & (index == end if self.position == "last_prompt" else index >= end)
        self.edited = chosen[:, past:]
        self.share = "all" if self.edited.all() else "some" if self.edited.any() else "none"

    def _find_end(
        self, attended: Bool[Tensor, "row total"], index: Int[Tensor, " total"]
    ) -> Int[Tensor, " row"]:
        if self.lengths is None:
            return (attended * index).amax(dim=1)
        rows = attended.shape[0]
        lengths = _per_row(self.lengths, rows, "prompt_lengths").to(attended.device).reshape(-1, 1)
        real = attended.sum(dim=1, keepdim=True)
        if bool(((lengths < 1) | (lengths > real)).any()):
            raise ValueError(
                f"prompt_lengths must be in [1, tokens of the row], got {lengths.flatten().tolist()} "
                f"for rows of {real.flatten().tolist()} tokens"
            )
        return (attended.cumsum(dim=1) == lengths).int().argmax(dim=1)

    def apply(self, edit: Edit, activation: Tensor, layer: int) -> Tensor | None:
        """The activation with ``edit`` at the chosen positions; None where there is none."""
        if self.share == "none":
            return None
        if self.share == "all":
            return edit(activation, layer)
        assert self.edited is not None
        edited = self.edited.to(activation.device)
        where = edited.reshape(*edited.shape, *(1,) * (activation.ndim - 2))
        return torch.where(where, edit(activation, layer), activation)


def _per_row(values: Tensor, rows: int, name: str) -> Tensor:
    """One value a row; several rows a prompt (beams) stand together."""
    if values.numel() == 0 or rows % values.numel():
        raise ValueError(f"{name} must match the batch: got {values.numel()} for {rows} rows")
    return values.reshape(-1).repeat_interleave(rows // values.numel())
