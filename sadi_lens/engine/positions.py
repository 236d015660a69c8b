"""Which tokens of a pass are edited.

Positions, in the words of the design:

    last_prompt   the last prompt token only (the paper)
    every_step    the last prompt token and every token after it
    all           every token

They are worked out from the attention mask and the length of the KV cache in absolute coordinates, never from
token ids, so padding on either side, cached and uncached passes and beams give the same numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sadi_lens.types.base import POSITIONS, require_one_of

Edit = Callable[[Tensor, int], Tensor]
"""(activation, layer) -> the edited activation."""


class PositionTracker:
    """Says for each forward pass which of its tokens are edited.

    Args:
        position: ``"last_prompt"``, ``"every_step"`` or ``"all"``.
        prompt_end: Absolute index (padding counted) of the last prompt token of each row, when the caller knows it.
        prompt_lengths: Real tokens of each prompt, when rows also hold what follows the prompt.
        prompts: Tokens of each prompt, when passes do not show them whole (a shared prefix).

    Without either, a pass that starts a new text is taken to be the prompt, up to its last attended token; passes
    that continue its KV cache (or a fork of it) are steps.
    """

    def __init__(
        self,
        position: str,
        *,
        prompt_end: Sequence[int] | Int[Tensor, " row"] | None = None,
        prompt_lengths: Sequence[int] | Int[Tensor, " row"] | None = None,
        prompts: Sequence[tuple[int, ...]] | None = None,
    ) -> None:
        require_one_of("position", position, POSITIONS)
        self.position = position
        self.is_fixed = prompt_end is not None
        self.prompt_end = None if prompt_end is None else torch.as_tensor(prompt_end)
        self.lengths = None if prompt_lengths is None else torch.as_tensor(prompt_lengths)
        self.prompts = None if prompts is None else tuple(prompts)
        self._are_read = False
        self.seen = 0
        self.rows = self.past = 0
        self.is_start = True
        self.attended: Bool[Tensor, "row total"] | None = None
        self.edited: Bool[Tensor, "row pos"] | None = None
        self.share = "none"
        """How many of the tokens are edited: ``"none"``, ``"some"`` or ``"all"``."""
        self.paused = False
        """While true nothing is edited: a clean run is under way."""
        self.before_pass: Callable[..., None] | None = None
        """Called with (module, args, kwargs) once the positions of a pass are known."""
        self.after_pass: Callable[[Any], None] | None = None
        """Called with the output of a pass."""

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
        self.rows, self.past, self.attended, self.is_start = rows, past, attended, starts
        if self.position == "all":
            chosen = attended
        else:
            assert self.prompt_end is not None
            end = per_row(self.prompt_end, rows, "prompts").to(attended.device).reshape(-1, 1)
            chosen = attended & (index == end if self.position == "last_prompt" else index >= end)
        self.edited = chosen[:, past:]
        self.share = "all" if self.edited.all() else "some" if self.edited.any() else "none"

    def _find_end(
        self, attended: Bool[Tensor, "row total"], index: Int[Tensor, " total"]
    ) -> Int[Tensor, " row"]:
        if self.lengths is None:
            return (attended * index).amax(dim=1)
        rows = attended.shape[0]
        lengths = per_row(self.lengths, rows, "prompt_lengths").to(attended.device).reshape(-1, 1)
        real = attended.sum(dim=1, keepdim=True)
        if bool(((lengths < 1) | (lengths > real)).any()):
            raise ValueError(
                f"prompt_lengths must be in [1, tokens of the row], got {lengths.flatten().tolist()} "
                f"for rows of {real.flatten().tolist()} tokens"
            )
        return (attended.cumsum(dim=1) == lengths).int().argmax(dim=1)

    def prompt_end_in_pass(self) -> Int[Tensor, " row"] | None:
        """Index within the pass of each row's last prompt token; None if the pass does not hold all of them."""
        assert self.attended is not None
        assert self.prompt_end is not None
        end = per_row(self.prompt_end, self.rows, "prompts").to(self.attended.device) - self.past
        n_new = self.attended.shape[1] - self.past
        return end if bool(((end >= 0) & (end < n_new)).all()) else None

    def place(self) -> Int[Tensor, "row pos"]:
        """Number of each token in its prompt, 0 for the first; -1 for padding and what follows the prompt."""
        assert self.attended is not None
        assert self.prompt_end is not None
        end = per_row(self.prompt_end, self.rows, "prompts").to(self.attended.device).reshape(-1, 1)
        index = torch.arange(self.attended.shape[1], device=self.attended.device)
        number = self.attended.cumsum(dim=1) - 1
        return torch.where(self.attended & (index <= end), number, -1)[:, self.past :]

    def note_prompts(self, tokens: Int[Tensor, "row pos"]) -> None:
        """Read the prompts off a pass that starts a new text, unless they were given."""
        assert self.attended is not None
        if self.past == 0 and (self.prompts is None or self._are_read):
            inside = self.place() >= 0
            self.prompts = tuple(
                tuple(row[keep].tolist()) for row, keep in zip(tokens, inside, strict=True)
            )
            self._are_read = True

    def row_prompts(self) -> tuple[tuple[int, ...], ...]:
        """Tokens of each row's prompt.

        Raises:
            ValueError: If they were neither given nor seen, or do not match the rows.
        """
        found = self.prompts or ()
        if not found or self.rows % len(found):
            raise ValueError(
                f"prompts must be known and match the batch: got {len(found)} for {self.rows} rows; "
                "a pass on top of a prefilled KV cache does not show them"
            )
        return tuple(one for one in found for _ in range(self.rows // len(found)))

    def apply(
        self, edit: Edit, activation: Tensor, layer: int, *, everywhere: bool = False
    ) -> Tensor | None:
        """The activation with ``edit`` at the chosen positions; None where there is none.

        Args:
            edit: Makes the edited activation of a whole pass.
            activation: [row pos ...].
            layer: Handed to ``edit``.
            everywhere: ``edit`` chooses its own positions.
        """
        if self.paused or (self.share == "none" and not everywhere):
            return None
        if self.share == "all" or everywhere:
            return edit(activation, layer)
        assert self.edited is not None
        edited = self.edited.to(activation.device)
        where = edited.reshape(*edited.shape, *(1,) * (activation.ndim - 2))
        return torch.where(where, edit(activation, layer), activation)


def per_row(values: Tensor, rows: int, name: str) -> Tensor:
    """One entry of the first axis a row; several rows a prompt (beams) stand together."""
    given = values.shape[0] if values.ndim else 0
    if given == 0 or rows % given:
        raise ValueError(f"{name} must match the batch: got {given} for {rows} rows")
    return values.repeat_interleave(rows // given, dim=0)
