"""Direct effects: the gradient along the one path that leads from a unit's own output straight to the logits."""

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.engine.hooks import Hook, attached, require_eval
from sadi_lens.engine.passes import batches_on_one_side, device_of, pad_id, pad_left
from sadi_lens.engine.runner import owned
from sadi_lens.engine.text import EncodedItem, encode_item
from sadi_lens.engine.twin import input_rows, sites_of
from sadi_lens.find.gradients import frozen, gradient_tokens
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.model import (
    HookedModel,
    ModelInfo,
    block_hooks,
    hook_name,
    unit_shape,
)

ROUNDING = 0.02
"""Share of a sum's parts that it may miss them by."""


def direct_gradients(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    component: str,
    *,
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> Float[np.ndarray, "pair layer unit d"]:
    """Gradient of logit(right) - logit(wrong) along the direct path of every unit, at the last prompt token.

    The logits are those of the first answer tokens. Direct: through the unit's own output matrix, the residual
    stream, the final norm (differentiated, not held constant) and the unembedding; later layers do not see it.

    Returns:
        Logits per activation unit, float32 on the CPU.

    Raises:
        ValueError: If right and wrong answers begin with the same token in every pair, or a block does not add what its
            attention and MLP put out as it is.
    """
    require_eval(model)
    info = ModelInfo.of(model)
    items = [
        encode_item(model, one.prompt, (one.positive, one.negative), prepend_bos=prepend_bos)
        for one in pairs
    ]
    if all(item.answers[0][0] == item.answers[1][0] for item in items):
        raise ValueError(
            "right and wrong answers begin with the same token in every pair, so there is no direct effect to "
            "attribute; use ranking 'gradient', which sees whole answers"
        )
    shape = (len(items), info.n_layers, *unit_shape(info, component))
    found = np.empty(shape, dtype=np.float32)
    lengths = [len(item.prompt) for item in items]
    bar = tqdm(total=len(items), desc="attribution", unit="pair", disable=not progress)
    with bar, frozen(model):
        whole = [(length, length) for length in lengths]
        most = max_tokens or gradient_tokens(model, max(lengths))
        for indices in batches_on_one_side(model, whole, lengths, most):
            chosen = [items[index] for index in indices]
            for layer, values in enumerate(_direct(model, chosen, component, info)):
                found[indices, layer] = values.reshape(len(indices), *shape[2:]).cpu().numpy()
            bar.update(len(indices))
    return found


def _direct(
    model: HookedModel, items: list[EncodedItem], component: str, info: ModelInfo
) -> Generator[Tensor]:
    """Gradient of every layer's units; the graph is cut so that each backward pass crosses one output matrix."""
    ids, mask = pad_left([item.prompt for item in items], pad_id(model), device_of(model))
    seen: dict[tuple[str, int], Tensor] = {}
    output = {"head": "attention", "neuron": "mlp"}.get(component)

    def keep(name: str, layer: int) -> Hook:
        def hook_fn(activation: Tensor, hook: Any) -> None:
            seen[name, layer] = activation

        return hook_fn

    def cut(name: str, layer: int) -> Hook:
        def hook_fn(activation: Tensor, hook: Any) -> Tensor:
            seen[name, layer] = activation.detach().requires_grad_()
            return seen[name, layer]

        return hook_fn

    hooks: list[tuple[str, Hook]] = []
    for layer in range(info.n_layers):
        names = block_hooks(layer)
        if output:
            hooks.append((hook_name(component, layer), cut("unit", layer)))
        if component != "hidden":
            hooks += [(names[name], keep(name, layer)) for name in ("read", "attention", "mlp")]
        hooks.append((names["sum"], cut("sum", layer)))
    with owned(model), attached(model, hooks):
        logits = model(ids, attention_mask=mask, use_cache=False, logits_to_keep=1)[:, -1].float()
    row = torch.arange(len(items), device=logits.device)
    right, wrong = (
        torch.tensor([item.answers[side][0] for item in items], device=logits.device)
        for side in (0, 1)
    )
    difference = (logits[row, right] - logits[row, wrong]).sum()
    final = seen["sum", info.n_layers - 1]
    (direction,) = torch.autograd.grad(difference, final)
    for layer in range(info.n_layers):
        if component != "hidden":
            _require_sum(seen, layer, info)
        if output is None:
            yield direction[:, -1].float()
            continue
        written = seen[output, layer]
        (gradient,) = torch.autograd.grad(
            written, seen["unit", layer], direction.to(written.device)
        )
        yield gradient[:, -1].float()


def _require_sum(seen: dict[tuple[str, int], Tensor], layer: int, info: ModelInfo) -> None:
    """Refuse a block whose output is not read + attention + mlp."""
    read, attention, mlp, total = (
        seen[name, layer][:, -1].detach().float() for name in ("read", "attention", "mlp", "sum")
    )
    off = _off(total, read + attention + mlp, read.abs() + attention.abs() + mlp.abs())
    if off is not None:
        raise ValueError(
            f"layer {layer} of {info.name} does not add what its attention and MLP put out to the residual stream "
            f"as it is (off by {off:.3g}): direct attribution is not defined there. Use ranking 'gradient'."
        )


def _off(total: Tensor, parts: Tensor, size: Tensor) -> float | None:
    """By how much a sum misses its parts, where that is more than rounding; value by value, since a few are huge."""
    off = (total - parts).abs()
    return float(off.max()) if bool((off > ROUNDING * (size + total.abs())).any()) else None


@torch.inference_mode()
def require_plain_heads(model: HookedModel, prompt: Sequence[int]) -> None:
    """Refuse a model in which heads do not write z W_O to the residual stream as it is.

    Args:
        model: A bridged model in eval mode.
        prompt: Tokens at whose end it is looked at.

    Raises:
        ValueError: If a norm or a factor stands between (Gemma 2 and 3, OLMo 2, Granite), a block does not add what
            its parts put out, or the output matrix cannot be read.
    """
    require_eval(model)
    info, sites = ModelInfo.of(model), sites_of(model)
    if sites is None:
        raise ValueError(f"{info.name} has no output matrix of heads that can be read")
    seen: dict[tuple[str, int], Tensor] = {}

    def keep(name: str, layer: int) -> Hook:
        return lambda activation, hook: seen.update({(name, layer): activation})

    layers = range(info.n_layers)
    names = [{**block_hooks(layer), "head": hook_name("head", layer)} for layer in layers]
    hooks = [(hook, keep(name, layer)) for layer in layers for name, hook in names[layer].items()]
    with owned(model), attached(model, hooks):
        model(
            torch.tensor([list(prompt)], device=device_of(model)), use_cache=False, logits_to_keep=1
        )
    for layer in layers:
        _require_sum(seen, layer, info)
        module = sites["head", layer].module
        z = seen["head", layer][:, -1].flatten(1).float()
        rows = input_rows(module).to(z.device)
        bias = getattr(module, "bias", None)
        shift = z.new_zeros(rows.shape[1]) if bias is None else bias.float()
        added = seen["attention", layer][:, -1].float()
        if (off := _off(added, z @ rows + shift, z.abs() @ rows.abs() + shift.abs())) is not None:
            raise ValueError(
                f"layer {layer} of {info.name} does not add what its heads write to the residual stream as it is (off "
                f"by {off:.3g}; a norm or a factor stands between): their direct path cannot be measured by z W_O. Use "
                "unit_scores with ranking 'attribution', which follows it"
            )
