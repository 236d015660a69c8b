"""Forward passes over contrastive pairs: activations at the last token of both texts and at the last prompt token.

Both texts begin with the prompt, so it is run once, with the two answers behind it
(``sadi_lens.engine.branches``), on the raw Hugging Face model and without unembedding. Where a model cannot be
run that way, both whole texts pass through the bridge. The numbers are the same to rounding.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sadi_lens.engine.branches import branches, whole_mask, whole_positions
from sadi_lens.engine.hooks import Hook, attached, device_of
from sadi_lens.engine.memory import pass_tokens, smaller_when_full
from sadi_lens.engine.prefix import shares_prefix
from sadi_lens.engine.runner import RawHook, RawModel, raw_model
from sadi_lens.engine.text import EncodedItem, batches_by_tokens, pad_id, pad_left
from sadi_lens.types.components import hook_name
from sadi_lens.types.model import HookedModel, ModelInfo

PAIR_TOKENS = 512
"""One pass on a CPU: with more, the holes that large activations leave in the heap decide the peak memory."""


@runtime_checkable
class PairReader(Protocol):
    """What gets the activations of pairs, float32 on the model's device, while a pass runs."""

    def take(
        self,
        component: str,
        layer: int,
        difference: Float[Tensor, "pair unit d"],
        prompt: Float[Tensor, "pair unit d"],
    ) -> None:
        """Positive minus negative at the last token, and what is at the last prompt token; not yet to be counted."""
        ...

    def keep(self, indices: list[int]) -> None:
        """The pass is complete and finite; it had the pairs ``indices``, in this order."""
        ...


class _Taker(NamedTuple):
    """Hands the activations of one pass to a reader and notes which of them are not finite."""

    reader: PairReader
    finite: dict[tuple[str, int], Tensor]
    d_head: int

    def __call__(self, component: str, layer: int, difference: Tensor, prompt: Tensor) -> None:
        self.finite[component, layer] = difference.isfinite().all() & prompt.isfinite().all()
        d = self.d_head if component == "head" else 1
        shape = (difference.shape[0], -1, d)
        self.reader.take(component, layer, difference.reshape(shape), prompt.reshape(shape))


def read_pairs(
    model: HookedModel,
    items: Sequence[EncodedItem],
    components: Sequence[str],
    reader: PairReader,
    max_tokens: int | None = None,
) -> Iterator[list[int]]:
    """Run both texts of every pair, shortest first, in smaller passes where memory runs out.

    Args:
        model: A bridged model.
        items: Prompts with two answers: positive, negative.
        components: Which to read.
        reader: Gets every layer of every component as soon as it is there: no activations of a whole pass stand in
            memory.
        max_tokens: Tokens (padding included) of one pass; default what the memory allows.

    Yields:
        The pairs of a pass that the reader has kept.

    Raises:
        ValueError: If an activation is not finite; the pass it is in is not kept.
        MemoryError: If one pair does not fit alone.
    """
    info = ModelInfo.of(model)
    raw = raw_model(model)
    longest = max(item.length for item in items)
    shared = raw if raw is not None and shares_prefix(raw, longest) else None
    bound = max_tokens or pass_tokens(model, longest)
    if max_tokens is None and device_of(model).type == "cpu":
        bound = max(longest, min(bound, PAIR_TOKENS))
    sizes = [_tokens(item, is_shared=shared is not None) for item in items]

    def run(indices: list[int], _at_once: int) -> None:
        taker = _Taker(reader, {}, info.d_head)
        _run(model, shared, [items[index] for index in indices], components, taker)
        _require_finite(taker.finite, components, info)

    for indices, _ in smaller_when_full(batches_by_tokens(sizes, bound), run):
        reader.keep(indices)
        yield indices


@torch.inference_mode()
def _run(
    model: HookedModel,
    shared: RawModel | None,
    items: list[EncodedItem],
    components: Sequence[str],
    taker: _Taker,
) -> None:
    if shared is None:
        _from_texts(model, items, components, taker)
    else:
        _from_prompts(model, shared, items, components, taker)


def _tokens(item: EncodedItem, *, is_shared: bool) -> int:
    """Tokens that one pair takes up in a pass."""
    widest = max(len(answer) for answer in item.answers)
    return len(item.prompt) + 2 * widest if is_shared else 2 * item.length


def _from_prompts(
    model: HookedModel,
    raw: RawModel,
    items: list[EncodedItem],
    components: Sequence[str],
    taker: _Taker,
) -> None:
    """One sequence a pair: the prompt, and behind it both answers side by side."""
    device = device_of(model)
    tree = branches(items, drop_last=False, pad=pad_id(model), device=device)
    past = tree.prefix.shape[1]
    row = torch.arange(len(items))
    ends = [
        past + start - 1 + torch.tensor([len(item.answers[side]) for item in items])
        for side, start in enumerate(tree.starts())
    ]
    prompt_end = past + tree.starts()[0] - 1 + torch.tensor([item.lead for item in items])
    places = torch.stack([*ends, prompt_end]).to(device)
    row = row.to(device)

    def bind(component: str, layer: int) -> RawHook:
        def hook(activation: Tensor) -> None:
            where = activation.device  # layers may lie on several
            taken = activation[row.to(where), places.to(where)]
            positive, negative, prompt = taken.to(device, torch.float32)
            taker(component, layer, positive - negative, prompt)

        return hook

    sites = [(name, layer, bind(name, layer)) for name in components for layer in raw.layers]
    with raw.attached(sites):
        raw.body(
            torch.cat([tree.prefix, tree.ids], dim=1),
            attention_mask=whole_mask(tree, raw.hf.dtype),
            use_cache=False,
            **raw.given_positions(whole_positions(tree)),
        )


def _from_texts(
    model: HookedModel, items: list[EncodedItem], components: Sequence[str], taker: _Taker
) -> None:
    """Two sequences a pair, left padded, through the bridge."""
    device = device_of(model)
    rows = [item.prompt + item.answers[side] for side in (0, 1) for item in items]
    ids, mask = pad_left(rows, pad_id(model), device)
    n = len(items)
    prompt_end = [ids.shape[1] - 1 - len(item.answers[0]) + item.lead for item in items]

    def bind(component: str, layer: int) -> Hook:
        def hook_fn(activation: Tensor, hook: Any) -> None:
            last = activation[:, -1].to(device, torch.float32)
            prompt = activation[list(range(n)), prompt_end].to(device, torch.float32)
            taker(component, layer, last[:n] - last[n:], prompt)

        return hook_fn

    hooks = [
        (hook_name(name, layer), bind(name, layer))
        for name in components
        for layer in range(ModelInfo.of(model).n_layers)
    ]
    with attached(model, hooks):
        model(ids, attention_mask=mask, use_cache=False, logits_to_keep=1)


def _require_finite(
    finite: dict[tuple[str, int], Tensor], components: Sequence[str], info: ModelInfo
) -> None:
    """Name the first place, in the order of the computation, where something is not finite."""
    order = [
        (name, layer)
        for layer in range(info.n_layers)
        for name in ("head", "neuron", "mlp_out", "hidden")
        if name in components
    ]
    for (name, layer), is_finite in zip(
        order, torch.stack([finite[site] for site in order]).tolist(), strict=True
    ):
        if not is_finite:
            raise ValueError(
                f"activations of component {name!r} are not finite in layer {layer}, the first of "
                f"those read ({', '.join(components)}). Load the model in a wider dtype (bfloat16 or float32), "
                "or find the weight that is NaN."
            )
