"""How far an intervention really pushes, measured where it acts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.activations import MAX_TOKENS, Moments
from sadi_lens.components import hook_name, n_units
from sadi_lens.hooks import Hook, attached, device_of, require_eval
from sadi_lens.interventions import Intervention, Push
from sadi_lens.text import batches_by_tokens, encode_prompt, pad_id, pad_left
from sadi_lens.types import HookedModel, ModelInfo


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
        prepend_bos: See ``sadi_lens.text.encode``.
        max_tokens: Tokens of one forward pass.
        progress: Show a bar.

    Raises:
        ValueError: If there is no prompt, or the intervention does not fit the model.
    """
    require_eval(model)
    if not prompts:
        raise ValueError("prompts must hold at least 1, got 0")
    info = ModelInfo.of(model)
    intervention.check(info)
    rows = [encode_prompt(model, prompt, prepend_bos=prepend_bos) for prompt in prompts]
    d = info.d_head if intervention.component == "head" else 1
    mean = np.zeros((info.n_layers, n_units(info, intervention.component), d), dtype=np.float32)
    moments = {layer: Moments() for layer in intervention.layers}
    squares = Moments()
    bar = tqdm(total=len(rows), desc="push", unit="prompt", disable=not progress)
    with bar:
        for indices in batches_by_tokens([len(row) for row in rows], max_tokens):
            ids, mask = pad_left(
                [rows[index] for index in indices], pad_id(model), device_of(model)
            )
            lengths: list[Tensor] = []

            def bind(layer: int, lengths: list[Tensor] = lengths) -> Hook:
                def hook_fn(activation: Tensor, hook: Any) -> Tensor:
                    last = activation[:, -1:]
                    edited = intervention.edit(last, layer)
                    push = (edited - last)[:, 0].float().cpu()
                    moments[layer].update(push)
                    lengths.append(push.square().flatten(1).sum(dim=1))
                    return torch.cat([activation[:, :-1], edited], dim=1)

                return hook_fn

            hooks = [(hook_name(intervention.component, one), bind(one)) for one in moments]
            with attached(model, hooks):
                model(ids, attention_mask=mask, use_cache=False, logits_to_keep=1)
            if lengths:
                squares.update(torch.stack(lengths).sum(dim=0))
            bar.update(len(indices))
    for layer, found in moments.items():
        mean[layer] = found.mean_array().reshape(mean.shape[1:])
    rms = float(np.sqrt(squares.mean_array())) if moments else 0.0
    return Push(mean, rms, len(rows))
