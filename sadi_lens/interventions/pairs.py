"""Activations of contrastive pairs, one by one: what methods need that moments do not hold."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.engine.prompts import TextOrChat, encode_prompts
from sadi_lens.engine.reading import read
from sadi_lens.engine.text import encode_pairs
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.model import HookedModel, component_name


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
    max_tokens: int | None = None,
    progress: bool = True,
) -> Iterator[PairActivations]:
    """Read a component at the tokens that pairs differ in, a few pairs at a time.

    Args:
        model: A bridged model in eval mode.
        pairs: At least one.
        component: Which to read.
        layers: Default: all.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_tokens: Tokens (padding included) of one forward pass; default what memory allows.
        progress: Show a bar.

    Yields:
        Batches; together, every pair once, shortest first.

    Raises:
        ValueError: If there is no pair, a text does not fit, the model is in training mode or lacks the component or
            a layer, or an activation is not finite.
    """
    component = component_name(component)
    items = encode_pairs(model, pairs, prepend_bos=prepend_bos)
    with tqdm(total=len(items), desc="pairs", unit="pair", disable=not progress) as bar:
        for found in read(model, items, [component], layers, max_tokens=max_tokens):
            positive, negative, prompt = found.values[component].cpu().unbind(dim=1)
            yield PairActivations(found.indices, positive, negative, prompt)
            bar.update(len(found.indices))


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
    order = torch.tensor(indices, device="cpu").argsort()
    return PairActivations(
        sorted(indices),
        torch.cat([batch.positive for batch in found])[order],
        torch.cat([batch.negative for batch in found])[order],
        torch.cat([batch.prompt for batch in found])[order],
    )


def prompt_activations(
    model: HookedModel,
    prompts: Sequence[TextOrChat],
    component: str,
    layers: Sequence[int],
    *,
    prepend_bos: bool | None = None,
) -> Float[Tensor, "prompt layer unit d"]:
    """A component at the last token of each prompt, float32 on the CPU.

    Raises:
        ValueError: As ``pair_activations``.
    """
    component = component_name(component)
    items = encode_prompts(model, prompts, prepend_bos=prepend_bos)
    found = list(read(model, items, [component], layers))
    order = torch.tensor([index for one in found for index in one.indices], device="cpu").argsort()
    return torch.cat([one.values[component].cpu()[:, 0] for one in found])[order]
