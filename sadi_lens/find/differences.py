"""The differences of contrastive pairs, in one streaming pass.

D = mean_i [A(x_i y_i+) - A(x_i y_i-)] at the last token of the text (Wang et al., ICLR 2025, step 1).
Moments are merged pass by pass on the model's device, so memory does not grow with the number of pairs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.engine.passes import device_of
from sadi_lens.engine.reading import read
from sadi_lens.engine.text import (
    EncodedItem,
    encode_pairs,
    fitting,
    shared_length,
    warn_unknown,
)
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, pair_clusters
from sadi_lens.types.differences import ActivationDifferences, ByComponent, UnitDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import COMPONENTS, HookedModel, ModelInfo, n_units, unit_shape


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
    read_at: str = "last",
    progress: bool = True,
) -> ByComponent:
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
        read_at: ``"last"`` token of the text (the paper); or ``"letter"``, the first token in which the two answers
            differ, as the A of `` (A)``, whose closing bracket says nothing (Panickssery et al., 2024).
        progress: Show a bar.

    Returns:
        Component -> moments over pairs (float32, CPU).

    Raises:
        ValueError: If there are no pairs, a text does not fit, the model is in training mode or lacks a
            component, an activation is not finite (the first layer and component are named), or at
            ``read_at="letter"`` the answers of a pair do not part or stand after different prompts.

    Example:
        >>> found = sl.activation_differences(model, task.pairs[:20], progress=False)
        >>> sorted(found)
        ['head', 'hidden', 'mlp_out', 'neuron']
        >>> found["head"].mean.shape, found["head"].vector.shape  # layers, heads, d_head
        ((5, 16), (5, 16, 8))
    """
    info = ModelInfo.of(model)
    components = _different(info, components)
    items = _items(model, pairs, prepend_bos, too_long, read_at)
    moments = {name: _Moments(info, name, device_of(model)) for name in components}
    with tqdm(total=len(items), desc="differences", unit="pair", disable=not progress) as bar:
        for found in read(model, items, components, max_tokens=max_tokens):
            for name, values in found.values.items():
                moments[name].update(values)
            bar.update(len(found.indices))
    merged, skipped = sum(item.merged for item in items), len(pairs) - len(items)
    more = {"merged_boundaries": merged, "skipped": skipped, "read_at": read_at}
    return ByComponent({name: one.result(info, task=task, **more) for name, one in moments.items()})


def _to_letter(pair: ContrastivePair, item: EncodedItem) -> EncodedItem:
    """The answers up to the first token in which they differ."""
    same = shared_length(*item.answers)
    if pair.negative_prompt is not None or same == min(map(len, item.answers)):
        raise ValueError(
            f'read_at="letter" needs two answers to one prompt that part at some token, got {pair.positive!r} and '
            f'{pair.negative!r} (prompt {pair.prompt[-40:]!r}); use read_at="last"'
        )
    return replace(item, answers=tuple(answer[: same + 1] for answer in item.answers))


def _items(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    prepend_bos: bool | None,
    too_long: str,
    read_at: str,
) -> list[EncodedItem]:
    """Tokens of the pairs that fit the context; words that the model does not know are warned about."""
    given = [(pair.prompts, (pair.positive, pair.negative)) for pair in pairs]
    kept = fitting(model, given, "pairs", too_long=too_long, prepend_bos=prepend_bos)
    pairs = [pairs[row] for row in kept]
    warn_unknown(model, [pair.texts for pair in pairs])
    items = encode_pairs(model, pairs, prepend_bos=prepend_bos)
    if read_at == "last":
        return items
    return [_to_letter(*both) for both in zip(pairs, items, strict=True)]


def _different(info: ModelInfo, components: Sequence[str] | None) -> Sequence[str]:
    if components is None:
        return [name for name in COMPONENTS if name != "neuron" or info.d_mlp]
    if not components:
        raise ValueError("components must hold at least 1 name, got none")
    for name in components:
        n_units(info, name)
    return components


class Moments:
    """Mean and sum of squared deviations over rows of values of one shape, pass by pass, in place.

    Merged by the formula of Chan, Golub and LeVeque (1983), in float64 where the device has it. What is kept has no
    axis over rows and stays where it is.

    Args:
        shape: Of the values of one row.
        device: Where to accumulate.
    """

    def __init__(self, shape: Sequence[int], device: Any = "cpu") -> None:
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self.n = 0
        self.mean, self.squared = (
            torch.zeros(tuple(shape), dtype=dtype, device=device) for _ in range(2)
        )

    def update(self, rows: Tensor) -> None:
        """More values, [row ...]."""
        wide = rows.to(self.mean.device, self.mean.dtype)
        mean = wide.mean(dim=0)
        total = self.n + rows.shape[0]
        shift = mean - self.mean
        self.mean += shift * (rows.shape[0] / total)
        self.squared += (wide - mean).square_().sum(dim=0)
        self.squared += shift.square_() * (self.n * rows.shape[0] / total)
        self.n = total

    def mean_array(self) -> np.ndarray:
        """Mean, float32 on the CPU."""
        return self.mean.float().cpu().numpy()

    def std_array(self) -> np.ndarray:
        """Standard deviation with n - 1, float32 on the CPU; NaN for one value."""
        if self.n < 2:
            return np.full(tuple(self.squared.shape), np.nan, dtype=np.float32)
        return (self.squared / (self.n - 1)).sqrt().float().cpu().numpy()


class _Moments:
    """Moments of one component; heads also have a vector, elsewhere it is the unit's value."""

    def __init__(self, info: ModelInfo, component: str, device: torch.device) -> None:
        self.component = component
        wide = (info.n_layers, *unit_shape(info, component))
        shape = wide[:2]
        self.scalar, self.square = Moments(shape, device), Moments(shape, device)
        self.vector, self.prompt = Moments(wide, device), Moments(wide, device)

    def update(self, values: Float[Tensor, "pair 3 layer unit d"]) -> None:
        """Some pairs: at the last token of the positive and the negative text, at the last prompt token."""
        positive, negative, prompt = values.unbind(dim=1)
        difference = positive - negative
        self.scalar.update(difference.mean(dim=-1))
        self.vector.update(difference)
        self.prompt.update(prompt)
        self.square.update(prompt.square().sum(dim=-1))

    def result(self, info: ModelInfo, **more: Any) -> ActivationDifferences:
        """What was added up."""
        return ActivationDifferences(
            component=self.component,
            model=info,
            n=self.scalar.n,
            mean=self.scalar.mean_array(),
            std=self.scalar.std_array(),
            vector=self.vector.mean_array(),
            prompt_mean=self.prompt.mean_array(),
            prompt_rms=np.sqrt(self.square.mean_array()),
            **more,
        )


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
    items = encode_pairs(model, pairs, prepend_bos=prepend_bos)
    touched = sorted({layer for layer, _ in mask.units})
    at = ([touched.index(layer) for layer, _ in mask.units], [unit for _, unit in mask.units])
    differences = np.empty((len(items), mask.k), dtype=np.float32)
    bar = tqdm(total=len(items), desc="unit differences", unit="pair", disable=not progress)
    with bar:
        for found in read(model, items, [mask.component], touched, max_tokens=max_tokens):
            values = found.values[mask.component]
            scalar = (values[:, 0] - values[:, 1]).mean(dim=-1)
            differences[found.indices] = scalar[:, at[0], at[1]].cpu().numpy()
            bar.update(len(found.indices))
    return UnitDifferences(
        mask.component, ModelInfo.of(model), mask.units, differences, task, pair_clusters(pairs)
    )
