"""Activations of contrastive pairs, one by one: what methods need that moments do not hold."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.engine.hooks import Hook, attached, device_of, require_eval
from sadi_lens.engine.intervention import require_layer
from sadi_lens.engine.text import batches_by_tokens, encode_pairs, encode_prompt, pad_id, pad_left
from sadi_lens.find.differences import MAX_TOKENS
from sadi_lens.types.components import hook_name, n_units
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.model import HookedModel, ModelInfo


class PairActivations(NamedTuple):
    """Some pairs, at the last token of either text and at the last prompt token; float32, on the CPU."""

    indices: list[int]
    positive: Float[Tensor, "pair layer unit d"]
    negative: Float[Tensor, "pair layer unit d"]
    prompt: Float[Tensor, "pair layer unit d"]


def pair_activations(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    component: str,
    layers: Sequence[int] | None = None,
    *,
    prepend_bos: bool | None = None,
    max_tokens: int = MAX_TOKENS,
    progress: bool = True,
) -> Iterator[PairActivations]:
    """Read a component at the tokens that pairs differ in, a few pairs at a time.

    Args:
        model: A bridged model in eval mode.
        pairs: At least one.
        component: Which to read.
        layers: Default: all.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_tokens: Tokens (padding included) of one forward pass.
        progress: Show a bar.

    Yields:
        Batches; together, every pair once, shortest first.

    Raises:
        ValueError: If there is no pair, a text does not fit, the model is in training mode or lacks the component or
            a layer, or an activation is not finite.
    """
    items = encode_pairs(model, pairs, prepend_bos=prepend_bos)
    with tqdm(total=len(items), desc="pairs", unit="pair", disable=not progress) as bar:
        for indices in batches_by_tokens([2 * item.length for item in items], max_tokens):
            chosen = [items[index] for index in indices]
            rows = [item.prompt + item.answers[side] for side in (0, 1) for item in chosen]
            back = [
                (1, 1 + len(item.answers[side]) - item.lead) for side in (0, 1) for item in chosen
            ]
            values = _read(model, rows, component, layers, back)
            n = len(chosen)
            yield PairActivations(indices, values[:n, 0], values[n:, 0], values[:n, 1])
            bar.update(n)


def whole_pairs(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    component: str,
    layers: Sequence[int],
    **options: Any,
) -> PairActivations:
    """All pairs at once, in their own order; for a few layers."""
    found = list(pair_activations(model, pairs, component, layers, **options))
    indices = [index for batch in found for index in batch.indices]
    order = torch.tensor(indices).argsort()
    return PairActivations(
        sorted(indices),
        torch.cat([batch.positive for batch in found])[order],
        torch.cat([batch.negative for batch in found])[order],
        torch.cat([batch.prompt for batch in found])[order],
    )


def prompt_activations(
    model: HookedModel,
    prompts: Sequence[str],
    component: str,
    layers: Sequence[int],
    *,
    prepend_bos: bool | None = None,
) -> Float[Tensor, "prompt layer unit d"]:
    """A component at the last token of each prompt, float32 on the CPU.

    Raises:
        ValueError: As ``pair_activations``.
    """
    if not prompts:
        raise ValueError("prompts must hold at least 1, got 0")
    rows = [tuple(encode_prompt(model, one, prepend_bos=prepend_bos)) for one in prompts]
    found: dict[int, Tensor] = {}
    for indices in batches_by_tokens([len(row) for row in rows], MAX_TOKENS):
        chosen = [rows[index] for index in indices]
        values = _read(model, chosen, component, layers, [(1,)] * len(chosen))
        found |= dict(zip(indices, values[:, 0], strict=True))
    return torch.stack([found[index] for index in range(len(rows))])


@torch.inference_mode()
def _read(
    model: HookedModel,
    rows: Sequence[tuple[int, ...]],
    component: str,
    layers: Sequence[int] | None,
    back: Sequence[tuple[int, ...]],
) -> Float[Tensor, "row place layer unit d"]:
    """Row r at its ``back[r]``-th tokens from the end."""
    require_eval(model)
    info = ModelInfo.of(model)
    n_units(info, component)
    layers = range(info.n_layers) if layers is None else layers
    for layer in layers:
        require_layer(layer, info.n_layers)
    ids, mask = pad_left(rows, pad_id(model), device_of(model))
    at = ids.shape[1] - torch.tensor(back)
    row = torch.arange(len(rows))[:, None]
    found: dict[int, Tensor] = {}

    def keep(layer: int) -> Hook:
        def hook_fn(activation: Tensor, hook: Any) -> None:
            found[layer] = activation[row, at].float().cpu()

        return hook_fn

    with attached(model, [(hook_name(component, layer), keep(layer)) for layer in set(layers)]):
        model(ids, attention_mask=mask, use_cache=False, logits_to_keep=1)
    stacked = torch.stack([found[layer] for layer in layers], dim=2)
    if not bool(stacked.isfinite().all()):
        raise ValueError(
            f"activations of component {component!r} are not finite; load the model in a wider dtype "
            "(bfloat16 or float32)"
        )
    return stacked if component == "head" else stacked[..., None]
