"""One prefix for many continuations: a tree of tokens on the Hugging Face model, told to it by its attention mask.

The prompt without its last token is run once. The last prompt token and the answers behind it stand side by side on
the sequence axis: each token sees the prompt, the last prompt token and its own answer so far, and has the position
it would have in its own text. Several copies of these, one an intervention, stand side by side in the same way, so
keys and values of a prompt are computed once and never copied. Whether an architecture takes such a mask and such
positions is found out by trying: ``shares_prefix`` compares with plain texts once.
"""

import copy
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadi_lens.engine.fitting import pad_left
from sadi_lens.engine.joining import joining
from sadi_lens.engine.runner import RawRunner, Runner
from sadi_lens.engine.text import EncodedItem
from sadi_lens.engine.twin import agree

logger = logging.getLogger(__name__)


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


def _additive(visible: Bool[Tensor, "..."], dtype: torch.dtype) -> Float[Tensor, "..."]:
    """0 where a token is seen, the most negative number where it is not."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)


def _copies_mask(
    tree: Branches, copies: int, dtype: torch.dtype
) -> Float[Tensor, "item 1 query key"]:
    """For the nodes, ``copies`` times side by side, behind cached prefixes; copies do not see one another."""
    same = torch.eye(copies, dtype=torch.bool, device=tree.sees.device)
    own = (same[:, None, :, None] & tree.sees[None, :, None, :]).flatten(2, 3).flatten(0, 1)
    past = tree.prefix_mask.bool()[:, None].expand(-1, own.shape[0], -1)
    visible = torch.cat([past, own.expand(past.shape[0], -1, -1)], dim=-1)
    return _additive(visible[:, None], dtype)


def whole_inputs(runner: RawRunner, tree: Branches, copies: int = 1) -> dict[str, Tensor]:
    """Prefix and nodes as one sequence a row, nothing cached: ids, mask and positions as the forward takes them."""
    n, past = tree.prefix.shape
    length = past + tree.sees.shape[0]
    visible = torch.ones(length, length, dtype=torch.bool, device=tree.ids.device).tril()
    visible[past:, past:] = tree.sees
    real = torch.ones(n, length, dtype=torch.bool, device=tree.ids.device)
    real[:, :past] = tree.prefix_mask.bool()
    mask = _additive((visible & real[:, None])[:, None], runner.module.dtype)
    before = (tree.prefix_mask.cumsum(dim=-1) - 1).clamp(min=0)
    positions = torch.cat([before, tree.positions], dim=1)
    return {
        "input_ids": torch.cat([tree.prefix, tree.ids], dim=1).repeat(copies, 1),
        "attention_mask": mask.repeat(copies, 1, 1, 1),
        **runner.given_positions(positions.repeat(copies, 1)),
    }


class _PrefixDone(Exception):
    """Raised to end a pass early: every layer has its keys and values."""


def prefill(runner: RawRunner, tree: Branches) -> Any:
    """Keys and values of the prefixes; None where prompts have one token.

    The last layer ends once it has its keys and values: nothing reads what it would compute from them.
    """
    from transformers import DynamicCache

    if not tree.prefix.shape[1]:
        return None
    # Without the configuration every layer keeps all tokens; ``RawRunner.longest`` bounds their number.
    cache = DynamicCache()

    def stop(_activation: Tensor) -> None:
        raise _PrefixDone

    is_dispatched = getattr(runner.module, "hf_device_map", None) is not None
    last = [] if is_dispatched else [("head", runner.info.n_layers - 1, stop)]
    with runner.attach(last), suppress(_PrefixDone):
        runner.body(
            tree.prefix,
            attention_mask=tree.prefix_mask,
            past_key_values=cache,
            use_cache=True,
            **runner.positions(tree.prefix_mask),
        )
    return cache


def repeated_prefix(runner: Runner, prompt: Sequence[int], n: int) -> Any:
    """Keys and values of a prompt without its last token, computed once, for ``n`` rows."""
    assert isinstance(runner, RawRunner)
    item = EncodedItem(tuple(prompt))
    tree = branches([item], drop_last=True, pad=0, device=next(runner.module.parameters()).device)
    cache = prefill(runner, tree)
    cache.batch_repeat_interleave(n)
    return cache


def fork_cache(cache: Any) -> Any:
    """A copy of a key-value cache; updating it does not change the original."""
    if cache is None:
        return None
    layers = getattr(cache, "layers", None)
    if layers is None or not all(type(one).__name__.startswith("Dynamic") for one in layers):
        return copy.deepcopy(cache)  # others write in place
    new = copy.copy(cache)
    new.layers = [copy.copy(layer) for layer in layers]
    return new


def run_copies(
    runner: RawRunner, tree: Branches, cache: Any, present: Sequence[int]
) -> Float[Tensor, "item copy node vocab"]:
    """Logits of every node in every copy.

    Args:
        runner: The model; edits are on it already.
        tree: Prompts and what follows them.
        cache: Of ``prefill``; it is not changed.
        present: Copies that run in each layer (``sadi_lens.engine.joining``); the last number is that of all.
    """
    copies = present[-1]
    known = {} if cache is None else {"past_key_values": fork_cache(cache)}
    with joining(runner, present, tree.ids.shape[1], axis=1):
        logits = runner.module(
            tree.ids.repeat(1, copies),
            attention_mask=_copies_mask(tree, copies, runner.module.dtype),
            use_cache=cache is not None,
            **runner.given_positions(tree.positions.repeat(1, copies)),
            **known,
        ).logits
    return logits.unflatten(1, (copies, -1))


def run_rows(
    runner: RawRunner, tree: Branches, present: Sequence[int]
) -> Float[Tensor, "item copy node vocab"]:
    """As ``run_copies`` where edits reach the prompt: each copy is a row of its own, with the whole prompt."""
    copies = present[-1]
    with joining(runner, present, tree.ids.shape[0], axis=0):
        logits = runner.module(
            **whole_inputs(runner, tree, copies), use_cache=False, logits_to_keep=tree.ids.shape[1]
        ).logits
    return logits.unflatten(0, (copies, -1)).transpose(0, 1)


def padded_answers(
    items: Sequence[EncodedItem], device: Any
) -> tuple[Int[Tensor, "item choice token"], Bool[Tensor, "item choice token"]]:
    """Answers of a few items, and which of these tokens are real."""
    n_choices = max(len(item.answers) for item in items)
    width = max(len(answer) for item in items for answer in item.answers)
    answers = torch.zeros(len(items), n_choices, width, dtype=torch.long)
    real = torch.zeros(answers.shape, dtype=torch.bool)
    for row, item in enumerate(items):
        for column, answer in enumerate(item.answers):
            answers[row, column, : len(answer)] = torch.tensor(answer)
            real[row, column, : len(answer)] = True
    return answers.to(device), real.to(device)


def answer_logprobs(
    logits: Float[Tensor, "item copy node vocab"],
    tree: Branches,
    answers: Int[Tensor, "item choice token"],
    real: Bool[Tensor, "item choice token"],
) -> Float[Tensor, "item copy choice"]:
    """Log-probability (nats) of every answer in every copy of a tree without the answers' last tokens."""
    n, copies = logits.shape[:2]
    found = logits.float().log_softmax(dim=-1)
    scores = found[:, :, 0].gather(-1, answers[:, None, :, 0].expand(n, copies, -1))
    if tree.width:
        later = found[:, :, 1:].unflatten(2, (-1, tree.width))
        index = answers[:, None, :, 1:, None].expand(n, copies, -1, -1, 1)
        scores = scores + (later.gather(-1, index)[..., 0] * real[:, None, :, 1:]).sum(dim=-1)
    return scores


def shares_prefix(runner: Runner, longest: int) -> bool:
    """Whether texts of up to ``longest`` tokens may be run as trees: tried once on short ones."""
    if not isinstance(runner, RawRunner):
        return False
    if runner.longest is not None and longest > runner.longest:
        return False
    if runner.takes_trees is None:
        runner.takes_trees = _try(runner)
    return runner.takes_trees


@torch.inference_mode()
def _try(runner: RawRunner) -> bool:
    """Two prompts of unequal length with two answers each, against one plain pass per text."""
    table = runner.module.get_input_embeddings().weight
    draw = torch.Generator().manual_seed(1)

    def tokens(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, int(table.shape[0]), (n,), generator=draw).tolist())

    items = [EncodedItem(tokens(n), (tokens(2), tokens(1)), 0) for n in (6, 4)]
    tree = branches(items, drop_last=False, pad=0, device=table.device)
    try:
        late = [1] * (runner.info.n_layers - 1) + [2]  # the second copy joins as late as it can
        trees = [
            run_copies(runner, tree, prefill(runner, tree), late),
            run_rows(runner, tree, late),
        ]
    except torch.OutOfMemoryError:  # says nothing of the architecture
        raise
    except (AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
        # An architecture that builds its own mask (alibi), or its own cache.
        logger.info("%s takes no tree of answers: %r", runner.info.architecture, error)
        return False
    found = torch.cat(trees, dim=1)
    for row, item in enumerate(items):
        for start, answer in zip(tree.starts(), item.answers, strict=True):
            text = torch.tensor([item.prompt + answer], device=table.device)
            want = runner.module(text, use_cache=False).logits[0, len(item.prompt) - 1 :]
            nodes = [0, *range(start, start + len(answer))]
            if not all(agree(one, want) for one in found[row][:, nodes]):
                logger.info("%s computes something else on a tree", runner.info.architecture)
                return False
    return True
