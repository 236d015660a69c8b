"""Several answers of one prompt in one sequence: a tree of tokens, told to the model by its attention mask.

The last prompt token and the answers behind it stand side by side on the sequence axis. Each token sees the prompt, the
last prompt token and its own answer so far, and has the position it would have in its own text. So the keys and values
of a prompt are computed once and never copied, however many answers, or interventions, branch off.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadi_lens.engine.text import EncodedItem, pad_left


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
        items: Items with any number of answers; missing ones are filled with padding.
        drop_last: Leave the last token of every answer out, which predicts nothing that is asked for.
        pad: Id to pad prompts with.
        device: Where the tensors go.
    """
    tails = [
        [answer[: len(answer) - 1] if drop_last else answer for answer in item.answers]
        for item in items
    ]
    width = max(len(tail) for row in tails for tail in row)
    n_answers = max(len(row) for row in tails)
    prompts, mask = pad_left([item.prompt for item in items], pad, "cpu")
    # Room that an answer leaves is filled with a token of the text: what no token sees must still be finite.
    ids = prompts[:, -1:].repeat(1, 1 + n_answers * width)
    for row, answers in enumerate(tails):
        for column, tail in enumerate(answers):
            start = 1 + column * width
            ids[row, start : start + len(tail)] = torch.tensor(tail, dtype=torch.long)
    depth = torch.cat(
        [torch.zeros(1, dtype=torch.long), torch.arange(1, width + 1).repeat(n_answers)]
    )
    sees = torch.block_diag(torch.ones(1, 1), *[torch.ones(width, width).tril()] * n_answers).bool()
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


def repeated_mask(
    tree: Branches, repeats: int, dtype: torch.dtype
) -> Float[Tensor, "item 1 query key"]:
    """Mask for the nodes, ``repeats`` times side by side, behind cached prefixes; copies do not see one another."""
    same = torch.eye(repeats, dtype=torch.bool, device=tree.sees.device)
    own = (same[:, None, :, None] & tree.sees[None, :, None, :]).flatten(2, 3).flatten(0, 1)
    past = tree.prefix_mask.bool()[:, None].expand(-1, own.shape[0], -1)
    visible = torch.cat([past, own.expand(past.shape[0], -1, -1)], dim=-1)
    return additive(visible[:, None], dtype)


def whole_mask(tree: Branches, dtype: torch.dtype) -> Float[Tensor, "item 1 query key"]:
    """Mask for prefix and nodes as one sequence, nothing cached."""
    n, past = tree.prefix.shape
    length = past + tree.sees.shape[0]
    visible = torch.ones(length, length, dtype=torch.bool, device=tree.ids.device).tril()
    visible[past:, past:] = tree.sees
    real = torch.ones(n, length, dtype=torch.bool, device=tree.ids.device)
    real[:, :past] = tree.prefix_mask.bool()
    return additive((visible & real[:, None])[:, None], dtype)


def whole_positions(tree: Branches) -> Int[Tensor, "item pos"]:
    """Positions of prefix and nodes as one sequence."""
    before = (tree.prefix_mask.cumsum(dim=-1) - 1).clamp(min=0)
    return torch.cat([before, tree.positions], dim=1)
