"""One prefix for many continuations, on the raw Hugging Face model.

The prompt without its last token is run once. What follows it (``sadi_lens.engine.branches``) is run once per
intervention, all copies side by side on the sequence axis, so that its keys and values are read where they
are. Copies that an intervention first changes in layer l are the same below it: they join there (``joining``).
Whether an architecture takes such a mask and such positions is found out by trying: ``shares_prefix`` compares
with plain texts once.
"""

import copy
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sadi_lens.engine.branches import Branches, branches, repeated_mask, whole_mask, whole_positions
from sadi_lens.engine.runner import RawModel, agree
from sadi_lens.engine.text import EncodedItem


class _PrefixDone(Exception):
    """Every layer has its keys and values."""


def prefill(raw: RawModel, tree: Branches) -> Any:
    """Keys and values of the prefixes; None where prompts have one token.

    The last layer ends once it has its keys and values: nothing reads what it would compute from them.
    """
    from transformers import DynamicCache

    if not tree.prefix.shape[1]:
        return None
    # Without the configuration every layer keeps all tokens; ``RawModel.longest`` bounds their number.
    cache = DynamicCache()

    def stop(_activation: Tensor) -> None:
        raise _PrefixDone

    is_dispatched = getattr(raw.hf, "hf_device_map", None) is not None
    last = [] if is_dispatched else [("head", raw.info.n_layers - 1, stop)]
    with raw.attached(last), suppress(_PrefixDone):
        raw.body(
            tree.prefix,
            attention_mask=tree.prefix_mask,
            past_key_values=cache,
            use_cache=True,
            **raw.positions(tree.prefix_mask),
        )
    return cache


def fork_cache(cache: Any) -> Any:
    """A copy whose ``update`` leaves the original as it was."""
    if cache is None:
        return None
    layers = getattr(cache, "layers", None)
    if layers is None or not all(type(one).__name__.startswith("Dynamic") for one in layers):
        return copy.deepcopy(cache)  # others write in place
    new = copy.copy(cache)
    new.layers = [copy.copy(layer) for layer in layers]
    return new


def run_copies(
    raw: RawModel, tree: Branches, cache: Any, present: Sequence[int]
) -> Float[Tensor, "item copy node vocab"]:
    """Logits of every node in every copy.

    Args:
        raw: The model; edits are on it already.
        tree: Prompts and what follows them.
        cache: Of ``prefill``; it is not changed.
        present: Copies that run in each layer, never fewer than in the one before; those that join start as the
            first one stands there.
    """
    copies = present[-1]
    known = {} if cache is None else {"past_key_values": fork_cache(cache)}
    with joining(raw, present, tree.ids.shape[1], axis=1):
        logits = raw.hf(
            tree.ids.repeat(1, copies),
            attention_mask=repeated_mask(tree, copies, raw.hf.dtype),
            use_cache=cache is not None,
            **raw.given_positions(tree.positions.repeat(1, copies)),
            **known,
        ).logits
    return logits.unflatten(1, (copies, -1))


def run_rows(
    raw: RawModel, tree: Branches, present: Sequence[int]
) -> Float[Tensor, "item copy node vocab"]:
    """As ``run_copies`` where edits reach the prompt: each copy is a row of its own, with the whole prompt."""
    copies, n = present[-1], tree.ids.shape[0]
    with joining(raw, present, n, axis=0):
        logits = raw.hf(
            torch.cat([tree.prefix, tree.ids], dim=1).repeat(copies, 1),
            attention_mask=whole_mask(tree, raw.hf.dtype).repeat(copies, 1, 1, 1),
            use_cache=False,
            logits_to_keep=tree.ids.shape[1],
            **raw.given_positions(whole_positions(tree).repeat(copies, 1)),
        ).logits
    return logits.unflatten(0, (copies, n)).transpose(0, 1)


@contextmanager
def joining(raw: RawModel, present: Sequence[int], width: int, *, axis: int) -> Generator[None]:
    """Let copies join layer by layer, as ``present`` says.

    Args:
        raw: The model.
        present: Copies that run in each layer.
        width: Tokens (axis 1) or rows (axis 0) of one copy.
        axis: Where copies stand side by side.
    """
    total = present[-1] * width
    if present[0] * width == total:
        yield
        return

    def narrow(value: Any, n: int) -> Any:
        """Masks and positions of the first ``n`` tokens: copies differ in nothing else."""
        if isinstance(value, tuple):
            return tuple(narrow(one, n) for one in value)
        if not isinstance(value, Tensor):
            return value
        if axis and value.ndim == 4 and value.shape[2] == total:
            return value[:, :, :n, : value.shape[3] - (total - n)]
        is_whole = value.ndim > axis and value.shape[axis] == total
        return value.narrow(axis, 0, n) if is_whole else value

    def hook_for(layer: int) -> Any:
        n = present[layer] * width
        new = present[layer] - present[layer - 1] if layer else 0

        def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden = args[0] if new else args[0].narrow(axis, 0, n)
            if new:
                first = hidden.narrow(axis, 0, width)
                hidden = torch.cat([hidden, *[first] * new], dim=axis)
            rest = (narrow(one, n) for one in args[1:])
            return (hidden, *rest), {name: narrow(one, n) for name, one in kwargs.items()}

        return before

    handles: list[Any] = []
    try:
        for layer, block in enumerate(raw.blocks):
            handles.append(block.register_forward_pre_hook(hook_for(layer), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def shares_prefix(raw: RawModel, longest: int) -> bool:
    """Whether the model may run texts of up to ``longest`` tokens this way: tried once on short ones."""
    if raw.longest is not None and longest > raw.longest:
        return False
    if raw.shares_prefix is None:
        raw.shares_prefix = _try(raw)
    return raw.shares_prefix


@torch.inference_mode()
def _try(raw: RawModel) -> bool:
    """Two prompts of unequal length with two answers each, against one plain pass per text."""
    vocab = int(raw.hf.get_input_embeddings().weight.shape[0])
    device = raw.hf.get_input_embeddings().weight.device
    draw = torch.Generator().manual_seed(1)

    def tokens(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, vocab, (n,), generator=draw).tolist())

    items = [EncodedItem(tokens(n), (tokens(2), tokens(1)), 0) for n in (6, 4)]
    tree = branches(items, drop_last=False, pad=0, device=device)
    # The second and third copy join as late as they can.
    present = [1] * (raw.info.n_layers - 1) + [3]
    try:
        copies = run_copies(raw, tree, prefill(raw, tree), present)
        rows = run_rows(raw, tree, present)
        whole = raw.hf(
            torch.cat([tree.prefix, tree.ids], dim=1),
            attention_mask=whole_mask(tree, raw.hf.dtype),
            use_cache=False,
            **raw.given_positions(whole_positions(tree)),
        ).logits[:, tree.prefix.shape[1] :]
        for row, item in enumerate(items):
            for start, answer in zip(tree.starts(), item.answers, strict=True):
                text = torch.tensor([item.prompt + answer], device=device)
                end = len(item.prompt) - 1
                want = raw.hf(text, use_cache=False).logits[0, end:]
                nodes = [0, *range(start, start + len(answer))]
                if not agree(whole[row, nodes], want):
                    return False
                found = torch.cat([copies[row], rows[row]])[:, nodes]
                if not all(agree(one, want) for one in found):
                    return False
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError):
        return False  # an architecture that builds its own mask (alibi), or its own cache
    return True
