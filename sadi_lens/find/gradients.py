"""First-order effects on the margin, from one backward pass a batch.

margin = log-probability (nats) of the right choice minus the best wrong one. Every unit gets a number of its own in
the flow of the network (a scale s or a shift v), and

    through="scale"   A' = A * (1 + s)   d margin / d s = sum over edited tokens of A . d margin / d A'
    through="shift"   A' = A + v         d margin / d v = sum over edited tokens of     d margin / d A'

so the first is the effect of SADI's strength on one unit, the second that of a fixed addition. ``direct_gradients``
keeps only the path that leads from a unit's own output straight to the logits.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.engine.fitting import batches_on_one_side, device_of, pad_id, pad_left
from sadi_lens.engine.hooks import require_eval
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.runner import FlatHook, runner_of
from sadi_lens.engine.text import EncodedItem, encode_item
from sadi_lens.types.base import DEFAULT_POSITION, LARGEST, NotFiniteError, require_one_of
from sadi_lens.types.data import Sample
from sadi_lens.types.model import HookedModel, ModelInfo, n_units

MAX_TOKENS = 2048
"""Tokens of one pass; a backward pass keeps the activations of every layer."""


def margin_gradients(
    model: HookedModel,
    samples: Sequence[Sample],
    component: str,
    *,
    through: str = "scale",
    start: Float[np.ndarray, "layer unit"] | None = None,
    position: str = DEFAULT_POSITION,
    prepend_bos: bool | None = None,
    max_tokens: int = MAX_TOKENS,
    progress: bool = True,
) -> Float[np.ndarray, "sample layer unit d"]:
    """Gradient of every sample's margin with respect to a scale or a shift of every unit.

    Args:
        model: A bridged model in eval mode; its parameters and their gradients are left as they are.
        samples: At least one, with choices.
        component: Whose units.
        through: ``"scale"`` (d = 1) or ``"shift"`` (d = d_head for heads, else 1).
        start: Scales s at which the gradient is taken; default 0, the unsteered model.
        position: Which tokens are edited.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_tokens: Tokens (padding included) of one pass.
        progress: Show a bar.

    Returns:
        Nats per unit of s (or of v), float32 on the CPU.

    Raises:
        ValueError: If there is no sample or one has no choices, a name is unknown, ``start`` has another shape or
            comes with ``through="shift"``, or a gradient is not finite.
    """
    require_eval(model)
    require_one_of("through", through, ("scale", "shift"))
    info = ModelInfo.of(model)
    shape = (info.n_layers, n_units(info, component))
    _require_start(start, shape, through)
    items = _encode(model, samples, prepend_bos)
    d = info.d_head if through == "shift" and component == "head" else 1
    base = np.zeros((*shape, d)) if start is None else start[..., None]
    found = np.empty((len(items), *shape, d), dtype=np.float32)
    lengths = [item.length * len(item.answers) for item in items]
    bar = tqdm(total=len(items), desc="gradients", unit="item", disable=not progress)
    with bar, frozen(model):
        for indices in batches_on_one_side(model, [i.lengths for i in items], lengths, max_tokens):
            start_of_all = torch.tensor(base, dtype=torch.float32, device=device_of(model))
            leaf = start_of_all.repeat(len(indices), 1, 1, 1).requires_grad_()
            margins = _margins(
                model,
                [items[index] for index in indices],
                [samples[index].answer or 0 for index in indices],
                leaf,
                component,
                through,
                position,
            )
            (gradient,) = torch.autograd.grad(margins.sum(), leaf)
            found[indices] = _finite(gradient, component).cpu().numpy()
            bar.update(len(indices))
    return found


def _finite(gradient: Tensor, component: str) -> Tensor:
    if not gradient.isfinite().all():
        raise ValueError(
            f"the gradient of the margin is not finite for component {component!r}; load the model in "
            "a wider dtype, or start from a smaller strength"
        )
    return gradient


def _require_start(start: np.ndarray | None, shape: tuple[int, int], through: str) -> None:
    if start is not None and (through == "shift" or start.shape != shape):
        raise ValueError(
            f"start must be scales [layer unit] of shape {shape} for through='scale', got {start.shape} "
            f"for through={through!r}"
        )


def _encode(
    model: HookedModel, samples: Sequence[Sample], prepend_bos: bool | None
) -> list[EncodedItem]:
    if not samples or any(not sample.choices for sample in samples):
        raise ValueError(
            "samples must hold at least 1 item, all with choices: free text has no margin"
        )
    return [encode_item(model, one.prompt, one.choices, prepend_bos=prepend_bos) for one in samples]


def _margins(
    model: HookedModel,
    items: list[EncodedItem],
    right: list[int],
    leaf: Float[Tensor, "item layer unit d"],
    component: str,
    through: str,
    position: str,
) -> Float[Tensor, " item"]:
    """Margin of each item, one row a choice: prompts padded on the left, answers on the right."""
    device, pad = device_of(model), pad_id(model)
    rows = [(index, answer) for index, item in enumerate(items) for answer in item.answers]
    which = torch.tensor([index for index, _ in rows], device=device)
    ids, mask = pad_left([items[index].prompt for index, _ in rows], pad, device)
    width, longest = ids.shape[1], max(len(answer) for _, answer in rows)
    answers = torch.full((len(rows), longest), pad, device=device)
    known = torch.zeros((len(rows), longest), dtype=torch.bool, device=device)
    for row, (_, answer) in enumerate(rows):
        answers[row, : len(answer)] = torch.tensor(answer, device=device)
        known[row, : len(answer)] = True
    ids = torch.cat([ids, answers[:, :-1]], dim=1)
    mask = torch.cat([mask, known[:, :-1].to(mask)], dim=1)
    tracker = PositionTracker(position, prompt_end=width - 1)
    tracker.begin(ids.shape[0], ids.shape[1], 0, mask)
    runner = runner_of(model)
    peaks: list[Tensor] = []

    def bind(layer: int) -> FlatHook:
        def edit(activation: Tensor) -> Tensor:
            values = leaf[which, layer].to(activation.device)
            wide = values.expand(-1, -1, activation.shape[-1] // values.shape[1]).flatten(1)[
                :, None
            ]
            wide = wide if through == "shift" else 1 + wide
            wide = wide.to(activation.dtype)
            edited = activation + wide if through == "shift" else activation * wide
            peaks.append(edited.detach().abs().max())
            return edited

        return lambda activation: tracker.apply(edit, activation)

    with runner.attach([(component, layer, bind(layer)) for layer in range(leaf.shape[1])]):
        logits = runner.logits(ids, mask, longest)
    if not all(float(one) <= LARGEST for one in peaks):
        raise NotFiniteError(
            "an edited activation", "the strength given", f"component {component!r}"
        )
    tokens = torch.log_softmax(logits[:, -longest:].float(), dim=-1)
    tokens = tokens.gather(-1, answers[..., None].to(tokens.device))[..., 0]
    score = (tokens * known.to(tokens.device)).sum(dim=1)
    margins: list[Tensor] = []
    first = 0
    for item, answer in zip(items, right, strict=True):
        own = score[first : first + len(item.answers)]
        first += len(item.answers)
        wrong = torch.cat([own[:answer], own[answer + 1 :]])
        margins.append(own[answer] - wrong.max())
    return torch.stack(margins)


@contextmanager
def frozen(model: HookedModel) -> Generator[None]:
    """Gradients on, but none for the parameters; every flag as it was afterwards."""
    trained = [one for one in model.original_model.parameters() if one.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
