"""Activations of single units, their sign-flip null, and how far methods move a layer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.prompts import TextOrChat, as_text, encode_prompts
from sadi_lens.engine.reading import read
from sadi_lens.engine.text import encode_pairs
from sadi_lens.find.differences import unit_differences
from sadi_lens.find.pair_activations import count_clusters
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.differences import UnitDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import HookedModel, ModelInfo, n_units, unit_shape
from sadi_lens.types.results import ActivationShifts, SignFlipNull, UnitActivations


@checked()
def unit_activations(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    mask: Mask,
    *,
    task: str = "",
    max_tokens: int | None = None,
    progress: bool = True,
) -> UnitActivations:
    """Activation of each selected unit at the last token of prompt + right and prompt + wrong answer.

    Their difference is ``unit_differences``; heads are averaged over d_head.

    Raises:
        ValueError: If there are no pairs, the mask is empty or of another shape, or a text does not fit.
    """
    if not mask.k:
        raise ValueError("mask must select at least 1 unit, got 0")
    info = ModelInfo.of(model)
    mask.check(info)
    items = encode_pairs(model, pairs)
    layers, units = (list(axis) for axis in zip(*mask.units, strict=True))
    values = np.empty((2, len(items), mask.k), dtype=np.float32)
    bar = tqdm(total=len(items), desc="unit activations", unit="pair", disable=not progress)
    with bar:
        for found in read(model, items, [mask.component], max_tokens=max_tokens):
            scalar = found.values[mask.component].mean(dim=-1)[:, :2, layers, units]
            values[:, found.indices] = scalar.transpose(0, 1).cpu().numpy()
            bar.update(len(found.indices))
    return UnitActivations(mask.component, info, mask.units, values[0], values[1], task)


def can_flip_signs(pairs: Sequence[ContrastivePair]) -> bool:
    """Whether there is anything to permute for ``sign_flip_null``: pairs of one cluster are swapped together."""
    return count_clusters(pairs) > 1


@checked()
def sign_flip_null(
    differences: UnitDifferences, *, draws: int = 200, seed: int = 0
) -> SignFlipNull:
    """Largest mean difference of any unit when right and wrong answer are swapped at random in each pair.

    The null of "no unit tells the answers apart": the sign of each pair's whole difference is arbitrary then
    (a sign-flip permutation test over pairs; maxima over units control for looking at all of them). Pairs of one
    cluster (a fact; a prompt where none is named) are swapped together.

    Args:
        differences: Of every unit of a component: ``all_unit_differences``.
        draws: Random sign vectors.
        seed: Their seed; the global random state is not touched.

    Raises:
        ValueError: If ``draws`` is below 20, there are fewer than 2 pairs or clusters, or a value is not finite.
    """
    values = np.asarray(differences.values, dtype=np.float32)
    if draws < 20:
        raise ValueError(f"draws must be at least 20 for a 95th percentile, got {draws}")
    if values.shape[0] < 2:
        raise ValueError(f"a sign-flip null needs at least 2 pairs, got {values.shape[0]}")
    if not np.isfinite(values).all():
        raise ValueError(
            f"differences must be finite, {int((~np.isfinite(values)).sum())} of {values.size} are not"
        )
    clusters = np.arange(len(values)) if differences.clusters is None else differences.clusters
    _, clusters = np.unique(clusters, return_inverse=True)
    if not clusters.any():
        raise ValueError(
            f"a sign-flip null needs at least 2 clusters of pairs, all {len(values)} are of one"
        )
    generator = np.random.default_rng(seed)
    both = np.array([-1, 1], dtype=np.float32)
    signs = generator.choice(both, size=(draws, clusters.max() + 1))[:, clusters]
    maxima = np.full(draws, -np.inf, dtype=np.float32)
    magnitudes = np.zeros(draws, dtype=np.float32)
    step = max(1, 2**24 // draws)
    for start in range(0, values.shape[1], step):
        means = signs @ values[:, start : start + step] / np.float32(values.shape[0])
        maxima = np.maximum(maxima, means.max(axis=1))
        magnitudes = np.maximum(magnitudes, np.maximum(means.max(axis=1), -means.min(axis=1)))
    return SignFlipNull(
        differences.component,
        differences.model,
        values.shape[0],
        maxima,
        differences.task,
        seed,
        magnitudes,
    )


@checked()
def all_unit_differences(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    component: str,
    *,
    task: str = "",
    progress: bool = True,
) -> UnitDifferences:
    """Difference of every unit of a component in every pair; pairs x layers x units floats in memory."""
    info = ModelInfo.of(model)
    everything = np.ones((info.n_layers, n_units(info, component)), dtype=bool)
    mask = Mask(component, everything, rule="every unit", model=info)
    return unit_differences(model, pairs, mask, task=task, progress=progress)


@checked()
def activation_shifts(
    model: HookedModel,
    prompts: Sequence[TextOrChat],
    methods: Mapping[str, Intervention],
    *,
    layer: int | None = None,
    component: str = "hidden",
    kinds: Mapping[str, str] | None = None,
    groups: Sequence[str] = (),
    confounds: Sequence[str] = (),
    matched: str = "",
    task: str = "",
    max_tokens: int | None = None,
) -> ActivationShifts:
    """One layer's activations at the last prompt token, unsteered and under each method.

    Args:
        model: A bridged model in eval mode.
        prompts: At least one, texts or chats.
        methods: Label -> intervention, applied at the last prompt token.
        layer: Which layer to read; default the last.
        component: Which activations to read; default the residual stream.
        kinds: Label -> ``MethodRow.kind``; default ``"other"``.
        groups: One an item: what it belongs to.
        confounds: One an item: a property that should not matter.
        matched: How the methods were matched, ``"norm"``, ``"kl"`` or ``"coefficient"``; stated in the figure.
        task: Name written into the result.
        max_tokens: Tokens (padding included) of one forward pass; default what memory allows.

    Raises:
        ValueError: If there is no prompt or no method, or the layer does not exist.
    """
    info = ModelInfo.of(model)
    layer = info.n_layers - 1 if layer is None else layer
    if not prompts or not methods:
        got = f"{len(prompts)} and {len(methods)}"
        raise ValueError(f"activation_shifts needs at least 1 prompt and 1 method, got {got}")
    texts = [as_text(model, one) for one in prompts]
    items = encode_prompts(model, texts)
    width = math.prod(unit_shape(info, component))
    states = np.empty((1 + len(methods), len(items), width), dtype=np.float32)
    how: Any = {"on_bridge": True, "max_tokens": max_tokens}
    for state, one in zip(states, (None, *methods.values()), strict=True):
        for found in read(model, items, [component], [layer], intervention=one, **how):
            state[found.indices] = found.values[component].flatten(1).cpu().numpy()
    return ActivationShifts(
        model=info,
        component=component,
        layer=layer,
        position="last_prompt",
        before=states[0],
        after=states[1:],
        methods=tuple(methods),
        kinds=tuple((kinds or {}).get(label, "other") for label in methods),
        prompts=tuple(texts),
        groups=tuple(groups),
        confounds=tuple(confounds),
        matched=matched,
        task=task,
    )
