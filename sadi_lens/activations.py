"""Reading activations, and the one streaming pass that gives the differences of contrastive pairs.

D = mean_i [A(x_i y_i+) - A(x_i y_i-)] at the last token of the text (Wang et al., ICLR 2025, step 1).
Moments are merged batch by batch (Chan, Golub and LeVeque, 1983) on the model's device, so memory does not
grow with the number of pairs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.components import COMPONENTS, hook_name, n_units
from sadi_lens.hooks import Hook, attached, require_eval
from sadi_lens.masks import Mask
from sadi_lens.pair_passes import difference_batches
from sadi_lens.text import EncodedItem, encode_item
from sadi_lens.types import (
    ActivationDifferences,
    ContrastivePair,
    HookedModel,
    ModelInfo,
    UnitDifferences,
)

MAX_TOKENS = 4096
"""Tokens of one forward pass: enough to fill two cores or a small GPU, little enough to fit either."""
PAIR_BYTES = 128 * 2**20
"""Bound on the activations that the pairs of one pass hand over to the moments."""


@torch.inference_mode()
def read_activations(
    model: HookedModel,
    ids: Int[Tensor, "batch pos"],
    attention_mask: Int[Tensor, "batch pos"] | None = None,
    components: Sequence[str] = ("head", "hidden", "neuron"),
) -> dict[str, list[Tensor]]:
    """Activations of every layer at every position, in the model's dtype.

    Args:
        model: A bridged model.
        ids: Token ids.
        attention_mask: 1 for real tokens; needed wherever rows are padded on the left.
        components: Which to read.

    Returns:
        Component -> one tensor a layer, [batch pos head d_head] or [batch pos unit].
    """
    info = ModelInfo.of(model)
    found: dict[str, list[Tensor]] = {name: [] for name in components}

    def keep(component: str) -> Hook:
        def hook_fn(activation: Tensor, hook: Any) -> None:
            found[component].append(activation.clone())

        return hook_fn

    for name in components:
        n_units(info, name)
    hooks = [
        (hook_name(name, layer), keep(name))
        for name in components
        for layer in range(info.n_layers)
    ]
    with attached(model, hooks):
        model(ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=1)
    return found


def activation_differences(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    *,
    components: Sequence[str] | None = None,
    task: str = "",
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> dict[str, ActivationDifferences]:
    """Mean and spread of positive minus negative activations, all components in one pass.

    Read at the last token of prompt + answer, where D is defined; the activation at the last prompt token,
    where steering acts, is averaged beside it for the fixed controls. The prompt is run once for both answers where
    the architecture allows it (``sadi_lens.pair_passes``), and nothing is unembedded.

    Args:
        model: A bridged model in eval mode.
        pairs: At least one.
        components: Default: all that the model has (heads, hidden, MLP output, neurons).
        task: Name written into the result.
        prepend_bos: See ``sadi_lens.text.encode``.
        max_tokens: Tokens (padding included) of one forward pass; default what memory allows.
        progress: Show a bar.

    Returns:
        Component -> moments over pairs (float32, CPU).

    Raises:
        ValueError: If there are no pairs, a text does not fit, the model is in training mode or lacks a
            component, or an activation is not finite (the first layer and component are named).
    """
    info = ModelInfo.of(model)
    if components is None:
        components = [name for name in COMPONENTS if name != "neuron" or info.d_mlp]
    if isinstance(components, str) or len(set(components)) < len(components) or not components:
        raise ValueError(f"components must be a list of different names, got {components!r}")
    for name in components:
        n_units(info, name)
    items = _encode_pairs(model, pairs, prepend_bos)
    scalars = {name: Moments() for name in components if name == "head"}
    vectors: dict[str, Moments] = {name: Moments() for name in components}
    prompts: dict[str, Moments] = {name: Moments() for name in components}
    squares: dict[str, Moments] = {name: Moments() for name in components}
    bar = tqdm(total=len(items), desc="differences", unit="pair", disable=not progress)
    with bar:
        for batch in difference_batches(model, items, components, max_tokens):
            for name in components:
                difference, prompt = batch.differences[name], batch.prompts[name]
                if name in scalars:  # elsewhere a unit is one value, and its vector is its scalar
                    scalars[name].update(difference.mean(dim=-1))
                vectors[name].update(difference)
                prompts[name].update(prompt)
                squares[name].update(prompt.square().sum(dim=-1))
                del difference, prompt
            bar.update(len(batch.indices))
            del batch  # or it would live on while the next one is read
    merged = sum(item.merged for item in items)
    found: dict[str, ActivationDifferences] = {}
    for name in components:
        scalar = scalars.get(name, vectors[name])
        shape = vectors[name].mean_array().shape[:2]
        found[name] = ActivationDifferences(
            component=name,
            model=info,
            n=len(items),
            mean=scalar.mean_array().reshape(shape),
            std=scalar.std_array().reshape(shape),
            vector=vectors[name].mean_array(),
            prompt_mean=prompts[name].mean_array(),
            prompt_rms=np.sqrt(squares[name].mean_array()),
            task=task,
            merged_boundaries=merged,
        )
    return found


def unit_differences(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    mask: Mask,
    *,
    task: str = "",
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> UnitDifferences:
    """Difference of each selected unit in every pair: what the distribution figures draw.

    Raises:
        ValueError: As ``activation_differences``; also for an empty mask.
    """
    if not mask.k:
        raise ValueError("mask must select at least 1 unit, got 0")
    mask.check(ModelInfo.of(model))
    items = _encode_pairs(model, pairs, prepend_bos)
    layers, units = (list(axis) for axis in zip(*mask.units, strict=True))
    values = np.empty((len(items), mask.k), dtype=np.float32)
    bar = tqdm(total=len(items), desc="unit differences", unit="pair", disable=not progress)
    with bar:
        for batch in difference_batches(model, items, [mask.component], max_tokens):
            scalar = batch.differences[mask.component].mean(dim=-1)
            values[batch.indices] = scalar[:, layers, units].cpu().numpy()
            bar.update(len(batch.indices))
    return UnitDifferences(mask.component, ModelInfo.of(model), mask.units, values, task)


def _encode_pairs(
    model: HookedModel, pairs: Sequence[ContrastivePair], prepend_bos: bool | None
) -> list[EncodedItem]:
    require_eval(model)
    if not pairs:
        raise ValueError("pairs must hold at least 1 contrastive pair, got 0")
    return [
        encode_item(model, pair.prompt, (pair.positive, pair.negative), prepend_bos=prepend_bos)
        for pair in pairs
    ]


class Moments:
    """Running mean and sum of squared deviations over the first axis."""

    def __init__(self) -> None:
        self.n = 0
        self.mean: Tensor | float = 0.0
        self.squared: Tensor | float = 0.0

    def update(self, batch: Tensor) -> None:
        """Add a batch; its first axis is averaged over."""
        wide = batch if batch.device.type == "mps" else batch.double()
        n = wide.shape[0]
        mean = wide.mean(dim=0)
        squared = (wide - mean).square().sum(dim=0)
        shift = mean - self.mean
        total = self.n + n
        self.squared = self.squared + squared + shift.square() * (self.n * n / total)
        self.mean = self.mean + shift * (n / total)
        self.n = total

    def mean_array(self) -> np.ndarray:
        """Mean, float32 on the CPU."""
        assert isinstance(self.mean, Tensor)
        return self.mean.float().cpu().numpy()

    def std_array(self) -> np.ndarray:
        """Standard deviation with n - 1, float32 on the CPU; NaN for one value."""
        assert isinstance(self.squared, Tensor)
        if self.n < 2:
            return np.full(tuple(self.squared.shape), np.nan, dtype=np.float32)
        return (self.squared / (self.n - 1)).sqrt().float().cpu().numpy()
