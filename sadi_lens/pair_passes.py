"""Forward passes over contrastive pairs: activations at the last token of both texts and at the last prompt token.

Both texts begin with the prompt, so it is run once, with the two answers behind it (``sadi_lens.branches``), on the raw
Hugging Face model and without unembedding. Where a model cannot be run that way, both whole texts pass through the
bridge. The numbers are the same to rounding.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sadi_lens.branches import branches, whole_mask, whole_positions
from sadi_lens.components import hook_name, n_units
from sadi_lens.hooks import Hook, attached, device_of
from sadi_lens.memory import pass_tokens
from sadi_lens.raw import RawHook, RawModel, raw_model
from sadi_lens.sharing import shares_prefix
from sadi_lens.text import EncodedItem, batches_by_tokens, pad_id, pad_left
from sadi_lens.types import HookedModel, ModelInfo

PAIR_BYTES = 128 * 2**20
"""Bound on the activations that the pairs of one pass hand over to the moments."""


class PairBatch(NamedTuple):
    """Activations of a few pairs, float32 on the model's device."""

    indices: list[int]
    differences: dict[str, Float[Tensor, "pair layer unit d"]]
    prompts: dict[str, Float[Tensor, "pair layer unit d"]]


class _Taken(NamedTuple):
    """One component in one layer."""

    difference: Tensor
    prompt: Tensor


_Found = dict[str, list[_Taken]]


def difference_batches(
    model: HookedModel,
    items: Sequence[EncodedItem],
    components: Sequence[str],
    max_tokens: int | None = None,
) -> Iterator[PairBatch]:
    """Run both texts of every pair, shortest first.

    Args:
        model: A bridged model.
        items: Prompts with two answers: positive, negative.
        components: Which to read.
        max_tokens: Tokens (padding included) of one pass; default what the memory allows.
    """
    info = ModelInfo.of(model)
    widths = {name: info.d_head if name == "head" else 1 for name in components}
    values = sum(n_units(info, name) * width for name, width in widths.items())
    raw = raw_model(model)
    longest = max(item.length for item in items)
    shared = raw if raw is not None and shares_prefix(raw, longest) else None
    # Differences and prompt activations, in float32 and again in float64.
    most = max(1, PAIR_BYTES // (24 * info.n_layers * values))
    bound = max_tokens or pass_tokens(model, longest)
    sizes = [_tokens(item, is_shared=shared is not None) for item in items]
    for indices in batches_by_tokens([max(size, bound // most) for size in sizes], bound):
        # Nothing of a pass stays bound here while the next one runs.
        yield _read_batch(model, shared, items, indices, widths)


def _read_batch(
    model: HookedModel,
    shared: RawModel | None,
    items: Sequence[EncodedItem],
    indices: list[int],
    widths: dict[str, int],
) -> PairBatch:
    chosen = [items[index] for index in indices]
    with torch.inference_mode():
        found = (
            _from_texts(model, chosen, list(widths))
            if shared is None
            else _from_prompts(model, shared, chosen, list(widths))
        )
    _require_finite(found, ModelInfo.of(model))
    return PairBatch(
        indices,
        {name: _stack([one.difference for one in found[name]], widths[name]) for name in widths},
        {name: _stack([one.prompt for one in found[name]], widths[name]) for name in widths},
    )


def _tokens(item: EncodedItem, *, is_shared: bool) -> int:
    """Tokens that one pair takes up in a pass."""
    widest = max(len(answer) for answer in item.answers)
    return len(item.prompt) + 2 * widest if is_shared else 2 * item.length


def _from_prompts(
    model: HookedModel, raw: RawModel, items: list[EncodedItem], components: Sequence[str]
) -> _Found:
    """One sequence a pair: the prompt, and behind it both answers side by side."""
    device = device_of(model)
    tree = branches(items, drop_last=False, pad=pad_id(model), device=device)
    past = tree.prefix.shape[1]
    row = torch.arange(len(items))
    places = [
        past + start - 1 + torch.tensor([len(item.answers[side]) for item in items])
        for side, start in enumerate(tree.starts())
    ]
    places.append(torch.full((len(items),), past))
    found: _Found = {name: [] for name in components}

    def keep(taken: list[_Taken]) -> RawHook:
        def hook(activation: Tensor) -> None:
            positive, negative, prompt = (
                activation[row, at].to(device, torch.float32) for at in places
            )
            taken.append(_Taken(positive - negative, prompt))

        return hook

    sites = [(name, layer, keep(found[name])) for name in components for layer in raw.layers]
    with raw.attached(sites):
        raw.body(
            torch.cat([tree.prefix, tree.ids], dim=1),
            attention_mask=whole_mask(tree, raw.hf.dtype),
            use_cache=False,
            **raw.given_positions(whole_positions(tree)),
        )
    return found


def _from_texts(model: HookedModel, items: list[EncodedItem], components: Sequence[str]) -> _Found:
    """Two sequences a pair, left padded, through the bridge."""
    device = device_of(model)
    rows = [item.prompt + item.answers[side] for side in (0, 1) for item in items]
    ids, mask = pad_left(rows, pad_id(model), device)
    n = len(items)
    prompt_end = [ids.shape[1] - 1 - len(item.answers[0]) for item in items]
    found: _Found = {name: [] for name in components}

    def keep(taken: list[_Taken]) -> Hook:
        def hook_fn(activation: Tensor, hook: Any) -> None:
            last = activation[:, -1].to(device, torch.float32)
            prompt = activation[list(range(n)), prompt_end].to(device, torch.float32)
            taken.append(_Taken(last[:n] - last[n:], prompt))

        return hook_fn

    hooks = [
        (hook_name(name, layer), keep(found[name]))
        for name in components
        for layer in range(ModelInfo.of(model).n_layers)
    ]
    with attached(model, hooks):
        model(ids, attention_mask=mask, use_cache=False, logits_to_keep=1)
    return found


def _stack(layers: list[Tensor], d: int) -> Float[Tensor, "pair layer unit d"]:
    return torch.stack(layers, dim=1).flatten(2).unflatten(-1, (-1, d))


def _require_finite(found: _Found, info: ModelInfo) -> None:
    """Name the first place, in the order of the computation, where something is not finite."""
    for layer in range(info.n_layers):
        for name in ("head", "neuron", "mlp_out", "hidden"):
            if name in found and not all(bool(one.isfinite().all()) for one in found[name][layer]):
                raise ValueError(
                    f"activations of component {name!r} are not finite in layer {layer}, the first of "
                    f"those read ({', '.join(found)}). Load the model in a wider dtype (bfloat16 or float32), "
                    "or find the weight that is NaN."
                )
