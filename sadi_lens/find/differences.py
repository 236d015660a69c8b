"""Reading activations, and the one streaming pass that gives the differences of contrastive pairs.

D = mean_i [A(x_i y_i+) - A(x_i y_i-)] at the last token of the text (Wang et al., ICLR 2025, step 1).
Moments are merged pass by pass on the model's device (``sadi_lens.engine.moments``), so memory does not grow
with the number of pairs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.engine.hooks import Hook, attached, device_of, require_eval
from sadi_lens.engine.moments import Moments
from sadi_lens.engine.reading import read_pairs
from sadi_lens.engine.text import EncodedItem, encode_pairs, fitting, warn_unknown
from sadi_lens.types.checks import checked
from sadi_lens.types.components import COMPONENTS, hook_name, n_units
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.differences import ActivationDifferences, UnitDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import HookedModel, ModelInfo

MAX_TOKENS = 4096
"""Tokens of one forward pass: enough to fill two cores or a small GPU, little enough to fit either."""


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


@checked()
def activation_differences(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    *,
    components: Sequence[str] | None = None,
    task: str = "",
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    too_long: str = "error",
    progress: bool = True,
) -> dict[str, ActivationDifferences]:
    """Mean and spread of positive minus negative activations, all components in one pass.

    Read at the last token of prompt + answer, where D is defined; the activation at the last prompt token,
    where steering acts, is averaged beside it for the fixed controls. The prompt is run once for both answers where
    the architecture allows it (``sadi_lens.engine.reading``), and nothing is unembedded.

    Args:
        model: A bridged model in eval mode.
        pairs: At least one.
        components: Default: all that the model has (heads, hidden, MLP output, neurons).
        task: Name written into the result.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_tokens: Tokens (padding included) of one forward pass; default what memory allows.
        too_long: A pair that does not fit the context is an ``"error"``, or left out and counted: ``"skip"``.
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
    given = [(pair.prompts, (pair.positive, pair.negative)) for pair in pairs]
    kept = fitting(model, given, "pairs", too_long=too_long, prepend_bos=prepend_bos)
    skipped, pairs = len(pairs) - len(kept), [pairs[row] for row in kept]
    warn_unknown(model, [pair.texts for pair in pairs])
    items = _encode_pairs(model, pairs, prepend_bos)
    reader = _MomentReader(info, components, device_of(model))
    bar = tqdm(total=len(items), desc="differences", unit="pair", disable=not progress)
    with bar:
        for indices in read_pairs(model, items, components, reader, max_tokens):
            bar.update(len(indices))
    merged = sum(item.merged for item in items)
    found: dict[str, ActivationDifferences] = {}
    for name in components:
        scalar = reader.scalars[name]
        found[name] = ActivationDifferences(
            component=name,
            model=info,
            n=len(items),
            mean=scalar.mean_array(),
            std=scalar.std_array(),
            vector=reader.vectors[name].mean_array(),
            prompt_mean=reader.prompts[name].mean_array(),
            prompt_rms=np.sqrt(reader.squares[name].mean_array()),
            task=task,
            merged_boundaries=merged,
            skipped=skipped,
        )
    return found


class _MomentReader:
    """Adds up what ``activation_differences`` reports; heads also have a vector, elsewhere it is the unit's value."""

    def __init__(self, info: ModelInfo, components: Sequence[str], device: torch.device) -> None:
        self.scalars: dict[str, Moments] = {}
        self.vectors: dict[str, Moments] = {}
        self.prompts: dict[str, Moments] = {}
        self.squares: dict[str, Moments] = {}
        for name in components:
            shape = (info.n_layers, n_units(info, name))
            d = info.d_head if name == "head" else 1
            self.scalars[name], self.squares[name] = Moments(shape, device), Moments(shape, device)
            self.vectors[name], self.prompts[name] = (
                Moments((*shape, d), device) for _ in range(2)
            )

    def take(
        self,
        component: str,
        layer: int,
        difference: Float[Tensor, "pair unit d"],
        prompt: Float[Tensor, "pair unit d"],
    ) -> None:
        """One layer of the running pass."""
        self.scalars[component].take(difference.mean(dim=-1), layer)
        self.vectors[component].take(difference, layer)
        self.prompts[component].take(prompt, layer)
        self.squares[component].take(prompt.square().sum(dim=-1), layer)

    def keep(self, indices: list[int]) -> None:
        """The pass counts."""
        for moments in (self.scalars, self.vectors, self.prompts, self.squares):
            for one in moments.values():
                one.keep(len(indices))


@checked()
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
    reader = _UnitReader(len(items), mask)
    bar = tqdm(total=len(items), desc="unit differences", unit="pair", disable=not progress)
    with bar:
        for indices in read_pairs(model, items, [mask.component], reader, max_tokens):
            bar.update(len(indices))
    found = reader.values
    return UnitDifferences(mask.component, ModelInfo.of(model), mask.units, found, task)


class _UnitReader:
    """Keeps the differences of a mask's units."""

    def __init__(self, n: int, mask: Mask) -> None:
        self.values = np.empty((n, mask.k), dtype=np.float32)
        self._columns: dict[int, list[tuple[int, int]]] = {}
        for column, (layer, unit) in enumerate(mask.units):
            self._columns.setdefault(layer, []).append((column, unit))
        self._taken: dict[int, Tensor] = {}

    def take(
        self,
        component: str,  # noqa: ARG002 - as in PairReader
        layer: int,
        difference: Float[Tensor, "pair unit d"],
        prompt: Float[Tensor, "pair unit d"],  # noqa: ARG002
    ) -> None:
        """One layer of the running pass."""
        if layer in self._columns:
            units = [unit for _, unit in self._columns[layer]]
            self._taken[layer] = difference[:, units].mean(dim=-1)

    def keep(self, indices: list[int]) -> None:
        """The pass counts."""
        for layer, columns in self._columns.items():
            where = np.ix_(indices, [column for column, _ in columns])
            self.values[where] = self._taken[layer].cpu().numpy()


def _encode_pairs(
    model: HookedModel, pairs: Sequence[ContrastivePair], prepend_bos: bool | None
) -> list[EncodedItem]:
    require_eval(model)
    return encode_pairs(model, pairs, prepend_bos=prepend_bos)
