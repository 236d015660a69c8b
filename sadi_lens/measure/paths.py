"""What scaled heads write: the whole effect, its direct part, head by head, and what is lost without the heads."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sadi_lens.engine.prompts import TextOrChat, encode_prompts, joined_answers
from sadi_lens.engine.twin import input_rows, sites_of
from sadi_lens.find.differences import activation_differences
from sadi_lens.find.direct import require_plain_heads
from sadi_lens.interventions import MaskedScaling
from sadi_lens.interventions.ablation import (
    DirectPath,
    MeanAblation,
    ResampleAblation,
    head_writes,
)
from sadi_lens.interventions.pairs import prompt_activations
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Sample, Task
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import HookedModel, ModelInfo, unit_label
from sadi_lens.types.results import Evaluation
from sadi_lens.types.stats import mean_interval

if TYPE_CHECKING:
    import pandas as pd


@checked()
def resample_ablation(
    model: HookedModel, mask: Mask, prompts: Sequence[TextOrChat], *, seed: int = 0
) -> ResampleAblation:
    """Selected units set to what they are at the end of another of the prompts, drawn as a random circle.

    Raises:
        ValueError: If there are fewer than 2 different prompts, or the mask does not fit the model.
    """
    mask.check(ModelInfo.of(model))
    unique = {
        one.prompt: text for one, text in zip(encode_prompts(model, prompts), prompts, strict=True)
    }
    if len(unique) < 2:
        raise ValueError(f"prompts must hold at least 2 different ones, got {len(unique)}")
    every = list(range(ModelInfo.of(model).n_layers))
    values = prompt_activations(model, list(unique.values()), mask.component, every).numpy()
    order = np.random.default_rng(seed).permutation(len(unique))
    donor = np.empty_like(order)
    donor[order] = np.roll(order, -1)
    return ResampleAblation(mask, tuple(unique), values[donor])


@checked()
def head_paths(
    model: HookedModel, task: Task, scaling: MaskedScaling, *, split: str = "dev", seed: int = 0
) -> "pd.DataFrame":
    """Where the effect of scaling some heads at the last prompt token goes.

    The direct part is measured, not taken to first order: what the heads write more than before (strength * z W_O of
    the unsteered run) is added behind the last block, so that only the final norm and the unembedding see it; then the
    same for each head alone. The rest of the whole effect goes through later layers (and through what the scaled heads
    of earlier layers change in those of later ones). The direct part reaches the first token of an answer alone.

    Args:
        model: A bridged model in eval mode.
        task: Its pairs give the means of the ablation, its ``split`` the items.
        scaling: SADI on heads.
        split: ``"dev"`` or ``"test"``.
        seed: Of the donors.

    Returns:
        One row per edit: ``edit`` (``unsteered``, ``scaled``, ``direct``, ``rest``, ``direct, L2H5`` of every head,
        ``mean ablation``, ``resample ablation``), ``margin`` (mean change of the margin against the unsteered model,
        nats), ``low``, ``high`` (95%, Student's t; by cluster where items share one), ``accuracy`` (NaN for ``rest``,
        which is no run), ``n``. ``.attrs`` says whose it is, and ``n_clusters``, 0 where items are independent.
        ``sadi_lens.plots.head_paths`` draws it.

    Raises:
        ValueError: If heads are not what is scaled, the split is empty or has free text, an answer joins the last token
            of its prompt, or a block does not add what its heads write to the residual stream as it is (Gemma 2 and 3,
            OLMo 2: a norm stands between; Granite: a factor).

    Example:
        >>> heads = sl.activation_differences(
        ...     model, task.pairs[:20], components=["head"], progress=False
        ... )["head"]
        >>> small = sl.Task("hints", pairs=task.pairs[:20], dev=task.dev[:20])
        >>> found = sl.measure.head_paths(model, small, sl.MaskedScaling(sl.top_k_mask(heads, 2), 5.0))
        >>> found.edit.tolist()[:4], len(found)
        (['unsteered', 'scaled', 'direct', 'rest'], 8)
    """
    import pandas as pd

    require_one_of("split", split, ("dev", "test"))
    samples: Sequence[Sample] = getattr(task, split)
    if scaling.component != "head" or not samples or any(not one.choices for one in samples):
        raise ValueError(
            f"head_paths needs SADI on heads and items with choices; got component {scaling.component!r} and "
            f"{len(samples)} items of {split}"
        )
    if words := joined_answers(model, [(one.prompt, one.choices) for one in samples]):
        raise ValueError(f"head_paths: {words}")
    require_plain_heads(model, encode_prompts(model, [samples[0].prompt])[0].prompt)
    edits = _edits(model, task, scaling, samples, seed)
    settings = Settings(task.name)
    results = evaluate_all(model, samples, list(edits.values()), settings, progress=False)
    found = dict(zip(edits, results, strict=True))
    margins = {name: one.margins - found["unsteered"].margins for name, one in found.items()}
    rows: list[dict[str, Any]] = []
    for name, change in margins.items():
        rows.append(_row(name, change, found[name]))
        if name == "direct":
            rest = _row("rest", margins["scaled"] - change, found[name])
            rows.append(rest | {"accuracy": float("nan")})
    frame = pd.DataFrame(rows)
    about = {"label": scaling.label, "task": task.name, "model": ModelInfo.of(model).name}
    clusters = found["unsteered"].clusters
    n_clusters = 0 if clusters is None else np.unique(clusters).size
    frame.attrs = {**about, "split": split, "n_clusters": n_clusters}
    return frame


def _edits(
    model: HookedModel, task: Task, scaling: MaskedScaling, samples: Sequence[Sample], seed: int
) -> dict[str, Any]:
    """Name of each row that is a run -> its intervention."""
    mask, prompts = scaling.mask, [one.prompt for one in samples]
    direct, each = _direct(model, samples, scaling)
    own = activation_differences(model, task.pairs, components=["head"], progress=False)["head"]
    return {
        "unsteered": None,
        "scaled": scaling,
        "direct": direct,
        **{f"direct, {unit_label('head', *place)}": one for place, one in each.items()},
        "mean ablation": MeanAblation.from_differences(mask, own),
        "resample ablation": resample_ablation(model, mask, prompts, seed=seed),
    }


def _row(edit: str, change: np.ndarray, one: Evaluation) -> dict[str, Any]:
    low, high = mean_interval(change, one.clusters)
    return {
        "edit": edit,
        "margin": float(change.mean()),
        "low": low,
        "high": high,
        "accuracy": one.accuracy,
        "n": change.size,
    }


def _direct(
    model: HookedModel, samples: Sequence[Sample], scaling: MaskedScaling
) -> tuple[DirectPath, dict[tuple[int, int], DirectPath]]:
    """The direct part of all heads together, and of each."""
    info = ModelInfo.of(model)
    unique = {
        one.prompt: sample.prompt
        for one, sample in zip(
            encode_prompts(model, [one.prompt for one in samples]), samples, strict=True
        )
    }
    every = list(range(info.n_layers))
    z = prompt_activations(model, list(unique.values()), "head", every).numpy()
    writes = head_writes(z, _output_weights(model, info), scaling.mask, scaling.strength)
    last = (info.n_layers - 1,)

    def path(push: np.ndarray, name: str) -> DirectPath:
        return DirectPath("hidden", tuple(unique), push[:, None, :, None], last, name)

    each = {
        unit: path(writes[:, place], f"head {unit[0]}.{unit[1]}, strength {scaling.strength:g}")
        for place, unit in enumerate(scaling.mask.units)
    }
    return path(writes.sum(axis=1), scaling.label), each


def _output_weights(model: HookedModel, info: ModelInfo) -> np.ndarray:
    """W_O, [layer head d_head d_model]."""
    sites = sites_of(model)
    if sites is None:
        raise ValueError(f"{info.name} has no output matrix of heads that can be read")
    rows = [input_rows(sites["head", layer].module) for layer in range(info.n_layers)]
    return torch.stack(rows).cpu().numpy().reshape(info.n_layers, info.n_heads, info.d_head, -1)
