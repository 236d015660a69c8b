"""How far an intervention really pushes, measured where it acts, and the same push on other prompts."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.engine.hooks import Hook, device_of, require_eval
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.moments import Moments
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.steering import hooks_for, tracked
from sadi_lens.engine.text import batches_by_tokens, encode_prompt, pad_id, pad_left
from sadi_lens.find.differences import MAX_TOKENS
from sadi_lens.interventions import Push, SwappedPrompt
from sadi_lens.types.checks import checked
from sadi_lens.types.components import n_units
from sadi_lens.types.model import HookedModel, ModelInfo


@checked()
@torch.inference_mode()
def measure_push(
    model: HookedModel,
    prompts: Sequence[str],
    intervention: Intervention,
    *,
    prepend_bos: bool | None = None,
    max_tokens: int = MAX_TOKENS,
    progress: bool = True,
) -> Push:
    """Edited minus unedited activation at the last prompt token, in the flow of the steered run.

    Args:
        model: A bridged model in eval mode.
        prompts: At least one.
        intervention: What to measure.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_tokens: Tokens of one forward pass.
        progress: Show a bar.

    Raises:
        ValueError: If there is no prompt, or the intervention does not fit the model.
    """
    rows = _encode(model, prompts, prepend_bos)
    info = ModelInfo.of(model)
    d = info.d_head if intervention.component == "head" else 1
    shape = (n_units(info, intervention.component), d)
    mean = np.zeros((info.n_layers, *shape), dtype=np.float32)
    moments, squares = Moments((len(intervention.layers), *shape)), Moments(())
    for _, pushes in _pushes(model, rows, intervention, max_tokens, progress):
        moments.update(pushes)
        squares.update(pushes.square().flatten(1).sum(dim=1))
    layers = list(intervention.layers)
    if layers:
        mean[layers] = moments.mean_array()
    rms = float(np.sqrt(squares.mean_array())) if layers else 0.0
    return Push(mean, rms, len(rows))


@checked()
@torch.inference_mode()
def swap_prompts(
    model: HookedModel,
    intervention: Intervention,
    prompts: Sequence[str],
    donors: Sequence[str] | None = None,
    *,
    seed: int = 0,
    prepend_bos: bool | None = None,
    max_tokens: int = MAX_TOKENS,
    progress: bool = True,
) -> SwappedPrompt:
    """The control that gives each prompt the push of another: see ``SwappedPrompt``.

    Args:
        model: A bridged model in eval mode.
        intervention: An adaptive intervention.
        prompts: Every prompt of the run (the same text may stand there again; its first donor counts).
        donors: One for each prompt. Default: the prompts themselves in a random circle, so that each is the donor
            of exactly one other.
        seed: Of the circle; the global random state is not touched.
        prepend_bos: As in the run.
        max_tokens: Tokens of one forward pass.
        progress: Show a bar.

    Raises:
        ValueError: If there are fewer than 2 different prompts and no donors, the lists differ in length, a prompt is
            its own donor, or the intervention does not fit the model.
    """
    if donors is None:
        prompts = list(dict.fromkeys(prompts))
        if len(prompts) < 2:
            raise ValueError(f"prompts must hold at least 2 different ones, got {len(prompts)}")
        order = np.random.default_rng(seed).permutation(len(prompts))
        following = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
        donors = [prompts[following[index]] for index in range(len(prompts))]
    if len(donors) != len(prompts):
        raise ValueError(f"donors must be one for each prompt: {len(donors)} for {len(prompts)}")
    rows = _encode(model, prompts, prepend_bos)
    given = _encode(model, donors, prepend_bos)
    chosen: dict[tuple[int, ...], tuple[int, ...]] = {}
    for prompt, row, donor in zip(prompts, rows, given, strict=True):
        if row == donor:
            raise ValueError(f"a prompt must not be its own donor, got {prompt[-60:]!r} for itself")
        chosen.setdefault(row, donor)
    unique = list(dict.fromkeys(chosen.values()))
    found: dict[tuple[int, ...], np.ndarray] = {}
    for indices, pushes in _pushes(model, unique, intervention, max_tokens, progress):
        for index, push in zip(indices, pushes.numpy(), strict=True):
            found[unique[index]] = push
    return SwappedPrompt(
        component=intervention.component,
        prompts=tuple(chosen),
        pushes=np.stack([found[donor] for donor in chosen.values()]),
        steered=tuple(intervention.layers),
        name=intervention.label,
    )


def _encode(
    model: HookedModel, prompts: Sequence[str], prepend_bos: bool | None
) -> list[tuple[int, ...]]:
    if not prompts:
        raise ValueError("prompts must hold at least 1, got 0")
    return [tuple(encode_prompt(model, prompt, prepend_bos=prepend_bos)) for prompt in prompts]


def _pushes(
    model: HookedModel,
    rows: Sequence[tuple[int, ...]],
    intervention: Intervention,
    max_tokens: int,
    progress: bool,
) -> Iterator[tuple[list[int], Float[Tensor, "prompt layer unit d"]]]:
    """Push of every touched layer at the last token of each row, a few rows at a time."""
    require_eval(model)
    info = ModelInfo.of(model)
    intervention.check(info)
    shape = (
        n_units(info, intervention.component),
        info.d_head if intervention.component == "head" else 1,
    )
    with tqdm(total=len(rows), desc="push", unit="prompt", disable=not progress) as bar:
        for indices in batches_by_tokens([len(row) for row in rows], max_tokens):
            ids, mask = pad_left(
                [rows[index] for index in indices], pad_id(model), device_of(model)
            )
            tracker = PositionTracker("last_prompt", prompt_end=[ids.shape[1] - 1])
            found: dict[int, Tensor] = {}

            def bind(edit: Hook, layer: int, found: dict[int, Tensor] = found) -> Hook:
                def hook_fn(activation: Tensor, hook: Any) -> Tensor | None:
                    edited = edit(activation, hook=hook)
                    now = activation if edited is None else edited
                    found[layer] = (now - activation)[:, -1].float().cpu()
                    return edited

                return hook_fn

            hooks = hooks_for(intervention, tracker)
            first = len(hooks) - len(intervention.layers)  # before it, those that only read
            for at, layer in enumerate(intervention.layers, start=first):
                hooks[at] = (hooks[at][0], bind(hooks[at][1], layer))
            with tracked(model, hooks, tracker):
                model(ids, attention_mask=mask, use_cache=False, logits_to_keep=1)
            pushes = torch.zeros((len(indices), len(intervention.layers), *shape))
            for place, layer in enumerate(intervention.layers):
                pushes[:, place] = found[layer].reshape(len(indices), *shape)
            yield indices, pushes
            bar.update(len(indices))
