"""One prefix for many continuations: a tree of tokens on the Hugging Face model, told to it by its attention mask.

The prompt without its last token is run once. The last prompt token and the answers behind it stand side by side on
the sequence axis: each token sees the prompt, the last prompt token and its own answer so far, and has the position
it would have in its own text. Several copies of these, one an intervention, stand side by side in the same way, so
keys and values of a prompt are computed once and never copied. Whether an architecture takes such a mask and such
positions is found out by trying: ``sadi_lens.engine.twin.takes_trees``.
"""

import copy
import inspect
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadi_lens.engine.passes import Branches, additive, whole_inputs
from sadi_lens.engine.positions import Positions
from sadi_lens.engine.text import EncodedItem


def _copies_mask(
    tree: Branches, copies: int, dtype: torch.dtype
) -> Float[Tensor, "item 1 query key"]:
    """For the nodes, ``copies`` times side by side, behind cached prefixes; copies do not see one another."""
    same = torch.eye(copies, dtype=torch.bool, device=tree.sees.device)
    own = (same[:, None, :, None] & tree.sees[None, :, None, :]).flatten(2, 3).flatten(0, 1)
    past = tree.prefix_mask.bool()[:, None].expand(-1, own.shape[0], -1)
    visible = torch.cat([past, own.expand(past.shape[0], -1, -1)], dim=-1)
    return additive(visible[:, None], dtype)


class _PrefixDone(Exception):
    """Raised to end a pass early: every layer has its keys and values."""


def prefill(runner: Any, tree: Branches) -> Any:
    """Keys and values of the prefixes of a tree; None where prompts have one token."""
    return _prefill(runner, tree.prefix, tree.prefix_mask)


def _prefill(runner: Any, ids: Int[Tensor, "row pos"], mask: Int[Tensor, "row pos"]) -> Any:
    """The same of tokens padded on any side.

    The last layer ends once it has its keys and values: nothing reads what it would compute from them.
    """
    from transformers import DynamicCache

    if not ids.shape[1]:
        return None
    # Without the configuration every layer keeps all tokens; ``RawRunner.longest`` bounds their number.
    cache = DynamicCache()

    def stop(_activation: Tensor) -> None:
        raise _PrefixDone

    is_dispatched = getattr(runner.module, "hf_device_map", None) is not None
    last = [] if is_dispatched else [("head", runner.info.n_layers - 1, stop)]
    with runner.attach(last), suppress(_PrefixDone):
        runner.body(
            ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **runner.positions(mask),
        )
    return cache


def repeated_prefix(
    runner: Any,
    ids: Int[Tensor, "prompt pos"],
    mask: Int[Tensor, "prompt pos"],
    n_rows: int,
    first: Sequence[int],
) -> Any:
    """Keys and values of prompts without their last token, computed once for all rows that have them.

    Args:
        runner: Of the model.
        ids: Tokens of the prompts without their last one.
        mask: Which of them are no padding.
        n_rows: Rows of the batch.
        first: First row of each prompt; the rows up to the next one are the same.
    """
    cache = _prefill(runner, ids, mask)
    ends = [*first[1:], n_rows]
    lengths = [end - start for start, end in zip(first, ends, strict=True)]
    counts = torch.tensor(lengths, device=ids.device)
    prompts = torch.arange(len(first), device=ids.device).repeat_interleave(counts)
    cache.batch_select_indices(prompts)
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


def holds_other_rows(cache: Any, clean: Any) -> bool:
    """Whether two caches of as many tokens are of other texts: keys of the first layer come before any edit."""
    first = [(getattr(one, "layers", None) or [None])[0] for one in (cache, clean)]
    keys = [getattr(layer, "keys", None) for layer in first]
    known = [one for one in keys if isinstance(one, Tensor) and one.numel()]
    if len(known) < 2:  # of another kind, or still empty
        return False
    ours, theirs = known
    if ours.shape != theirs.shape:
        return True
    return bool((ours - theirs).abs().max() > 0.01 * theirs.abs().max())


def run_copies(
    runner: Any, tree: Branches, cache: Any, present: Sequence[int]
) -> Float[Tensor, "item copy node vocab"]:
    """Logits of every node in every copy.

    Args:
        runner: The model; edits are on it already.
        tree: Prompts and what follows them.
        cache: Of ``prefill``; it is not changed.
        present: Copies that run in each layer (``_joining``); the last number is that of all.
    """
    copies = present[-1]
    known = {} if cache is None else {"past_key_values": fork_cache(cache)}
    with _joining(runner, present, tree.ids.shape[1], axis=1):
        logits = runner.module(
            tree.ids.repeat(1, copies),
            attention_mask=_copies_mask(tree, copies, runner.module.dtype),
            use_cache=cache is not None,
            **runner.given_positions(tree.positions.repeat(1, copies)),
            **known,
        ).logits
    return logits.unflatten(1, (copies, -1))


def run_rows(
    runner: Any, tree: Branches, present: Sequence[int]
) -> Float[Tensor, "item copy node vocab"]:
    """As ``run_copies`` where edits reach the prompt: each copy is a row of its own, with the whole prompt."""
    copies = present[-1]
    with _joining(runner, present, tree.ids.shape[0], axis=0):
        ids, mask, where = whole_inputs(tree, runner.module.dtype, copies)
        logits = runner.module(
            ids,
            attention_mask=mask,
            use_cache=False,
            logits_to_keep=tree.ids.shape[1],
            **runner.given_positions(where),
        ).logits
    return logits.unflatten(0, (copies, -1)).transpose(0, 1)


class TreePositions(Positions):
    """Tokens of a tree (``sadi_lens.engine.prefix``): copies side by side in a row, or each copy in rows of its own.

    Args:
        position: One of ``sadi_lens.types.base.POSITIONS``.
        items: Whose prompts the trees stand behind.
        tree: The trees.
        copies: How many.
        is_whole: Every copy has rows of its own, with the whole prompt: [copy item pos width]; otherwise the prompt
            is cached: [item copy node width].
    """

    def __init__(
        self,
        position: str,
        items: Sequence[EncodedItem],
        tree: Branches,
        copies: int,
        is_whole: bool,
    ) -> None:
        self.copies, self.axis = copies, 0 if is_whole else 1
        self._prompts = [item.prompt for item in items]
        self._prefix = prefix_mask = tree.prefix_mask
        self._n_nodes = n_nodes = tree.ids.shape[1]
        self.end = prefix_mask.shape[1] if is_whole else 0
        stop = self.end + (1 if position == "last_prompt" else n_nodes)
        start = self.end + (position == "generated")
        self.columns = (0 if position == "all" else start, stop)
        if position == "all" and not bool(prefix_mask.all()):
            self.real = torch.nn.functional.pad(prefix_mask, (0, n_nodes), value=1).bool()

    def split(self, activation: Float[Tensor, "row pos width"]) -> Tensor:
        """[item copy node width], or [copy item pos width]; as many copies as run there."""
        size = self._n_nodes if self.axis else len(self._prompts)
        return activation.unflatten(self.axis, (-1, size))

    def join(self, activation: Tensor) -> Float[Tensor, "row pos width"]:
        """``split`` undone."""
        return activation.flatten(self.axis, self.axis + 1)

    def at_prompt_end(self, activation: Tensor) -> Tensor:
        """[item copy width], or [copy item width]."""
        return activation[..., self.end, :]

    def unsteered(self, activation: Tensor) -> Tensor:
        """The first copy, which nothing edits, in the place of every copy."""
        return activation.narrow(self.axis, 0, 1).expand(activation.shape)

    def place(self) -> Int[Tensor, "copy item pos"]:
        """Number of each token in its prompt, 0 for the first; -1 for padding and what follows the prompt."""
        before = torch.where(self._prefix == 1, self._prefix.cumsum(dim=1) - 1, -1)
        last = self._prefix.sum(dim=1, keepdim=True)
        after = torch.full((last.shape[0], self._n_nodes - 1), -1, device=last.device)
        return torch.cat([before, last, after], dim=1).expand(self.copies, -1, -1)

    def row_prompts(self) -> tuple[tuple[int, ...], ...]:
        """Tokens of each row's prompt, item and copy in the order of the axes."""
        if self.axis == 0:
            return tuple(self._prompts) * self.copies
        return tuple(one for one in self._prompts for _ in range(self.copies))


@contextmanager
def _joining(runner: Any, present: Sequence[int], size: int, *, axis: int) -> Generator[None]:
    """Let copies join layer by layer.

    Args:
        runner: The model.
        present: Copies that run in each layer, never fewer than in the one before.
        size: Tokens (``axis`` 1) or rows (``axis`` 0) of one copy.
        axis: Where copies stand side by side.
    """
    handles: list[Any] = []
    try:
        if present[0] < present[-1]:
            for layer, n in enumerate(present):
                block = runner.sites["hidden", layer].module
                new = n - present[layer - 1] if layer else 0
                hook = _hook(block, n * size, new, size, present[-1] * size, axis)
                handles.append(block.register_forward_pre_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(block: Any, kept: int, new: int, size: int, total: int, axis: int) -> Any:
    """Hand a block the state of ``kept`` tokens or rows, and their mask and positions."""
    parameters = inspect.signature(block.forward)
    state = next(iter(parameters.parameters))

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = parameters.bind(*args, **kwargs)
        found = given.arguments
        hidden = found[state]
        if new:
            first = hidden.narrow(axis, 0, size)
            hidden = torch.cat([hidden, *[first] * new], dim=axis)
        found[state] = hidden.narrow(axis, 0, kept)
        rest = found.get("kwargs", {})
        for values in (found, rest):
            for name in values:
                if "mask" in name:
                    values[name] = _mask(values[name], kept, total, axis)
                elif "position" in name:
                    values[name] = _positions(values[name], kept, total, axis)
        return given.args, given.kwargs

    return before


def _mask(mask: Any, kept: int, total: int, axis: int) -> Any:
    """[row 1 query key]: the queries of the first copies, and the keys up to their own."""
    if not isinstance(mask, Tensor):
        return mask
    if axis == 0:
        return mask.narrow(0, 0, kept) if mask.shape[0] == total else mask
    return mask[:, :, :kept, : mask.shape[3] - (total - kept)]


def _positions(values: Any, kept: int, total: int, axis: int) -> Any:
    """[row pos], [row pos d] or [pos], perhaps several in a tuple: cosines and sines."""
    if isinstance(values, tuple):
        return tuple(_positions(one, kept, total, axis) for one in values)
    if not isinstance(values, Tensor):
        return values
    if values.ndim == 1:
        return values[:kept] if axis else values
    return values.narrow(axis, 0, kept) if values.shape[axis] == total else values
