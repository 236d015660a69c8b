"""Which tokens of a pass are edited.

Positions, in the words of the design:

    last_prompt   the last prompt token only (the paper)
    every_step    the last prompt token and every token after it
    generated     every token after the last prompt token
    all           every token

They are worked out from the attention mask and the length of the KV cache in absolute coordinates, never from
token ids, so padding on either side, cached and uncached passes and beams give the same numbers.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadi_lens.types.base import POSITIONS, require_one_of


class Positions:
    """Tokens of the pass under way, where activations are [row ... pos width] with one axis or two over rows."""

    columns: tuple[int, int] = (0, 0)
    """Columns from ... to that hold edited tokens."""
    real: Bool[Tensor, "row ... pos"] | None = None
    """Which tokens within the columns are edited; None for all of them."""
    is_start = True
    """Whether the pass starts a new text."""
    is_paused = False
    """While true nothing is edited: a clean run is under way."""

    def split(self, activation: Float[Tensor, "row pos width"]) -> Tensor:
        """The axes of a module's activation as this class speaks of them."""
        return activation

    def join(self, activation: Tensor) -> Float[Tensor, "row pos width"]:
        """``split`` undone."""
        return activation

    def at_prompt_end(self, activation: Tensor) -> Tensor | None:
        """[row ... width] at each row's last prompt token; None if the pass does not hold all of them."""
        raise NotImplementedError

    def place(self) -> Int[Tensor, "row ... pos"]:
        """Number of each token in its prompt, 0 for the first; -1 for padding and what follows the prompt."""
        raise NotImplementedError

    def row_prompts(self) -> tuple[tuple[int, ...], ...]:
        """Tokens of each row's prompt, row axes flattened."""
        raise NotImplementedError

    def per_row(self, values: Tensor) -> Tensor:
        """What was read in an earlier pass for the rows of this one."""
        return values


class PositionTracker(Positions):
    """Says for each forward pass over rows of text which of its tokens are edited.

    Args:
        position: One of ``POSITIONS``.
        prompt_end: Absolute index (padding counted) of the last prompt token, when the caller knows it: of all rows
            alike (prompts padded on the left), or one a row.
        prompt_lengths: Real tokens of each prompt, when rows also hold what follows the prompt.

    Without either, a pass that starts a new text is taken to be the prompt, up to its last attended token; passes
    that continue its KV cache (or a fork of it) are steps.
    """

    def __init__(
        self,
        position: str,
        *,
        prompt_end: int | Int[Tensor, " row"] | None = None,
        prompt_lengths: Sequence[int] | Int[Tensor, " row"] | None = None,
    ) -> None:
        require_one_of("position", position, POSITIONS)
        self.position = position
        self.is_fixed = prompt_end is not None
        self.prompt_end = prompt_end
        self.lengths = None if prompt_lengths is None else _on_cpu(prompt_lengths)
        self.seen = self.rows = self.past = self.n_new = 0
        self._mask: Tensor | None = None
        self._prompts: tuple[tuple[int, ...], ...] = ()

    def begin(self, rows: int, n_new: int, past: int, attention_mask: Tensor | None) -> None:
        """Prepare a pass over ``n_new`` tokens a row that follow ``past`` cached ones.

        Raises:
            ValueError: If the attention mask is not [row past+new], or a prompt is longer than its row, or prompts
                and rows do not match.
        """
        total = past + n_new
        # A cache longer than anything seen here was filled elsewhere: this pass ends its prompt.
        self.is_start = past == 0 or past > self.seen
        self.rows, self.past, self.n_new, self._mask = rows, past, n_new, attention_mask
        self.__dict__.pop("attended", None)
        if not self.is_fixed and (self.is_start or self.prompt_end is None):
            self.prompt_end = self._find_end()
            self.seen = 0
        self.seen = max(self.seen, total)
        end = self.prompt_end
        if isinstance(end, int):  # padded on the left: no padding from the end on
            first = end + (self.position == "generated")
            start = 0 if self.position == "all" else max(0, first - past)
            stop = min(n_new, end - past + 1) if self.position == "last_prompt" else n_new
            self.columns = (start, stop)
            reaches_padding = self.position == "all" and past <= end
            chosen = self.attended[:, past:] if reaches_padding else None
        else:
            chosen = self._chosen(self._ends())
            self.columns = (0, n_new if bool(chosen.any()) else 0)
        self.real = None if chosen is None or bool(chosen.all()) else chosen

    @cached_property
    def attended(self) -> Bool[Tensor, "row total"]:
        """Real tokens, cached and new."""
        mask, total = self._mask, self.past + self.n_new
        if mask is None:
            return torch.ones((self.rows, total), dtype=torch.bool)
        if mask.ndim == 4:  # static caches; True or 0 where seen
            last = mask[:, 0, -1]
            mask = (last if last.dtype == torch.bool else last == 0).expand(self.rows, -1)
        if mask.ndim != 2 or mask.shape[1] < total:
            raise ValueError(
                f"attention_mask must be [row, {total}] (cached and new tokens), got {tuple(mask.shape)}"
            )
        return mask[:, :total].bool()

    def _ends(self) -> Int[Tensor, "row 1"]:
        assert self.prompt_end is not None
        end = _on_cpu(self.prompt_end).reshape(-1)
        return self.per_row(end).to(self.attended.device)[:, None]

    def _chosen(self, end: Int[Tensor, "row 1"]) -> Bool[Tensor, "row pos"]:
        index = torch.arange(self.attended.shape[1], device=self.attended.device)
        if self.position == "all":
            chosen = self.attended
        else:
            first = end + (self.position == "generated")
            chosen = self.attended & (
                index == end if self.position == "last_prompt" else index >= first
            )
        return chosen[:, self.past :]

    def _find_end(self) -> Int[Tensor, " row"]:
        attended = self.attended
        if self.lengths is None:
            index = torch.arange(attended.shape[1], device=attended.device)
            return (attended * index).amax(dim=1)
        lengths = self.per_row(self.lengths, "prompt_lengths").to(attended.device).reshape(-1, 1)
        real = attended.sum(dim=1, keepdim=True)
        if bool(((lengths < 1) | (lengths > real)).any()):
            raise ValueError(
                f"prompt_lengths must be in [1, tokens of the row], got {lengths.flatten().tolist()} "
                f"for rows of {real.flatten().tolist()} tokens"
            )
        return (attended.cumsum(dim=1) == lengths).int().argmax(dim=1)

    def at_prompt_end(self, activation: Float[Tensor, "row pos width"]) -> Tensor | None:
        """[row width] at each row's last prompt token; None if the pass does not hold all of them."""
        end = self._ends()[:, 0] - self.past
        if not bool(((end >= 0) & (end < self.n_new)).all()):
            return None
        row = torch.arange(activation.shape[0], device=activation.device)
        return activation[row, end.to(activation.device)]

    def place(self) -> Int[Tensor, "row pos"]:
        """Number of each token in its prompt, 0 for the first; -1 for padding and what follows the prompt."""
        index = torch.arange(self.attended.shape[1], device=self.attended.device)
        number = self.attended.cumsum(dim=1) - 1
        return torch.where(self.attended & (index <= self._ends()), number, -1)[:, self.past :]

    def note_prompts(self, tokens: Int[Tensor, "row pos"]) -> None:
        """Read the prompts off a pass that starts a new text."""
        if self.past == 0:
            inside = self.place() >= 0
            self._prompts = tuple(
                tuple(row[keep].tolist()) for row, keep in zip(tokens, inside, strict=True)
            )

    def row_prompts(self) -> tuple[tuple[int, ...], ...]:
        """Tokens of each row's prompt.

        Raises:
            ValueError: If they were not seen, or do not match the rows.
        """
        found = self._prompts
        if not found or self.rows % len(found):
            raise ValueError(
                f"prompts must be known and match the batch: got {len(found)} for {self.rows} rows; "
                "a pass on top of a prefilled KV cache does not show them"
            )
        return tuple(one for one in found for _ in range(self.rows // len(found)))

    def per_row(self, values: Tensor, name: str = "prompts") -> Tensor:
        """One entry of the first axis a row; several rows a prompt (beams) stand together.

        Raises:
            ValueError: If they do not match the rows.
        """
        given = values.shape[0] if values.ndim else 0
        if given == 0 or self.rows % given:
            raise ValueError(f"{name} must match the batch: got {given} for {self.rows} rows")
        return values.repeat_interleave(self.rows // given, dim=0)


def _on_cpu(values: int | Sequence[int] | Int[Tensor, " row"]) -> Int[Tensor, "..."]:
    """Numbers as a tensor: a tensor as it is, others on the CPU, whatever device is the default."""
    return values if isinstance(values, Tensor) else torch.tensor(values, device="cpu")
