"""Activations of single texts, all kept: what rankings and resampling need that moments do not give."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from sadi_lens.engine.prompts import encode_prompt
from sadi_lens.engine.reading import read
from sadi_lens.engine.runner import GATE
from sadi_lens.engine.text import EncodedItem, encode_item, encode_pairs
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, Sample, pair_clusters
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import HookedModel, ModelInfo, n_units
from sadi_lens.types.results import SignAgreement


def read_pairs(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    component: str,
    *,
    before_gate: bool = False,
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> tuple[Float[np.ndarray, "pair layer unit d"], Float[np.ndarray, "pair layer unit d"]]:
    """Activations at the last token of every right text and of every wrong one, all kept (float32, CPU).

    Args:
        model: A bridged model in eval mode.
        pairs: At least one.
        component: What to read; d = d_head for heads, else 1.
        before_gate: For ``"neuron"`` of a gated MLP: the non-linearity's output instead of what enters W_out.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_tokens: Tokens of one forward pass; default what memory allows.
        progress: Show a bar.

    Raises:
        ValueError: If there is no pair, a text does not fit, or an activation is not finite.
    """
    items = encode_pairs(model, pairs, prepend_bos=prepend_bos)
    name = GATE if before_gate else component
    found = _read_all(model, items, name, max_tokens, progress)
    if before_gate:
        found = _non_linearity(model)(torch.from_numpy(found)).numpy()
    return found[:, 0], found[:, 1]


def _read_all(
    model: HookedModel,
    items: Sequence[EncodedItem],
    component: str,
    max_tokens: int | None,
    progress: bool,
) -> Float[np.ndarray, "item place layer unit d"]:
    parts: list[np.ndarray] = []
    indices: list[int] = []
    with tqdm(total=len(items), desc="activations", unit="text", disable=not progress) as bar:
        for found in read(model, items, [component], max_tokens=max_tokens):
            parts.append(found.values[component].cpu().numpy())
            indices += found.indices
            bar.update(len(found.indices))
    return np.concatenate(parts)[np.argsort(indices)]


def _non_linearity(model: HookedModel) -> Any:
    from transformers.activations import ACT2FN

    config = model.original_model.config
    name = getattr(config, "hidden_act", None) or getattr(config, "hidden_activation", None)
    if name not in ACT2FN:
        raise ValueError(
            f"ranking 'reference' needs the MLP's non-linearity, but the configuration of "
            f"{ModelInfo.of(model).name} names {name!r}; use 'signed'"
        )
    return ACT2FN[name]


@checked()
def sign_agreement(
    model: HookedModel,
    inputs: Sequence[ContrastivePair | Sample | str],
    differences: ActivationDifferences,
    *,
    prepend_bos: bool | None = None,
    progress: bool = True,
) -> SignAgreement:
    """Share of inputs whose activation at the last prompt token has the sign of D, unit by unit.

    A' = A + delta (A * M) pushes along A: towards the right answer where A points the way of D, away from it where
    not. Given twice for heads: by their scalar (mean over d_head, what the signed ranking reads) and by the
    projection on D's direction.

    Args:
        model: A bridged model in eval mode.
        inputs: Pairs, samples or prompts, at least 1; only the prompt is run.
        differences: D of the component to look at, made on this model.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        progress: Show a bar.

    Raises:
        ValueError: If there is no input, the differences are of a model of another shape, or an activation is not
            finite.
    """
    if not inputs:
        raise ValueError(
            f"inputs must be a list of at least 1 prompt, pair or sample, got {inputs!r}"
        )
    info = ModelInfo.of(model)
    wanted = (info.n_layers, n_units(info, differences.component))
    if differences.mean.shape != wanted:
        raise ValueError(
            f"differences are {differences.mean.shape} [layer unit], {info.name} has {wanted} "
            f"{differences.component} units; make them on this model"
        )
    items = [EncodedItem(_prompt_tokens(model, one, prepend_bos)) for one in inputs]
    found = _read_all(model, items, differences.component, None, progress)[:, 0]
    scalar = found.mean(axis=3) * np.sign(differences.mean)
    projection = (found * differences.vector).sum(axis=3)
    none = ~differences.vector.any(axis=2)
    return SignAgreement(
        component=differences.component,
        model=info,
        n=len(items),
        scalar=np.where(differences.mean == 0, np.nan, (scalar > 0).mean(axis=0)).astype(
            np.float32
        ),
        projection=np.where(none, np.nan, (projection > 0).mean(axis=0)).astype(np.float32),
        task=differences.task,
    )


def _prompt_tokens(
    model: HookedModel, one: ContrastivePair | Sample | str, prepend_bos: bool | None
) -> tuple[int, ...]:
    """Tokens up to the last prompt token: where an answer is known, the last one before it."""
    if isinstance(one, ContrastivePair):
        own = one.negative_prompt is not None
        answers: tuple[str, ...] = (one.positive,) if own else (one.positive, one.negative)
    else:
        answers = () if isinstance(one, str) else one.choices
    prompt = one if isinstance(one, str) else one.prompt
    if not answers:
        return tuple(encode_prompt(model, prompt, prepend_bos=prepend_bos))
    return encode_item(model, prompt, answers, prepend_bos=prepend_bos).prompt


def count_clusters(pairs: Sequence[ContrastivePair]) -> int:
    """How many clusters pairs are of (``pair_clusters``): as many draws as they are worth."""
    found = pair_clusters(pairs)
    return len(pairs) if found is None else int(found.max()) + 1


def require_one_prompt(pairs: Sequence[ContrastivePair], what: str) -> None:
    """Refuse pairs whose texts have different prompts, where only answers to one prompt can be compared."""
    for row, pair in enumerate(pairs):
        if pair.negative_prompt is not None:
            raise ValueError(
                f"{what} compares two answers to one prompt; pairs[{row}] has two prompts "
                f"(negative_prompt {pair.negative_prompt[-40:]!r}). Use a ranking of the moments"
            )
