"""The one reader: activations at the last token of every text of an item, and at the last prompt token.

All texts of an item begin with its prompt, so it is run once, with the answers behind it side by side
(``sadi_lens.engine.prefix``), without unembedding. Where a model cannot be run that way, every text is a row of its
own. The numbers are the same to rounding.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadi_lens.engine.hooks import FlatHook, Hook, attached
from sadi_lens.engine.intervention import Intervention, require_layer
from sadi_lens.engine.passes import (
    batches_on_one_side,
    branches,
    device_of,
    pad_id,
    pad_left,
    pass_tokens,
    smaller_when_full,
    whole_inputs,
)
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.runner import GATE, RawRunner, Runner, runner_of
from sadi_lens.engine.steering import applied
from sadi_lens.engine.text import EncodedItem, require_rows
from sadi_lens.types.checks import checked
from sadi_lens.types.model import HookedModel, ModelInfo, hook_name, n_units, unit_shape

CPU_TOKENS = 512
"""One pass on a CPU: with more, the holes that large activations leave in the heap decide the peak memory."""
READ_BYTES = 2**29
"""Bound on the activations that are kept of one pass."""


class Read(NamedTuple):
    """Activations of some items, float32 on the model's device; places: the end of each text, of the prompt."""

    indices: list[int]
    values: dict[str, Float[Tensor, "item place layer unit d"]]
    """By component; d = d_head for heads, else 1."""
    unedited: dict[str, Float[Tensor, "item place layer unit d"]]
    """The same before the edit of that very place, where there is an intervention."""


def read(
    model: HookedModel,
    items: Sequence[EncodedItem],
    components: Sequence[str],
    layers: Sequence[int] | None = None,
    *,
    intervention: Intervention | None = None,
    position: str = "last_prompt",
    on_bridge: bool = False,
    max_tokens: int | None = None,
) -> Iterator[Read]:
    """Read components at the end of every text and of every prompt, a few items at a time, shortest first.

    Args:
        model: A bridged model in eval mode.
        items: Prompts with answers, as many in each; without answers the prompt's end is the only place.
        components: Which to read.
        layers: Which to read; default all.
        intervention: What the run is steered with; for items without answers.
        position: Where: ``"last_prompt"`` or ``"all"``.
        on_bridge: Read where ``steer`` acts, as a steered read does: what is compared with one is equal to the bit.
        max_tokens: Tokens (padding included) of one pass; default what the memory allows.

    Raises:
        ValueError: If the model is in training mode, a layer does not exist, or an activation is not finite (the
            first layer and component are named).
        MemoryError: If one item does not fit alone.
    """
    info = ModelInfo.of(model)
    for layer in layers or ():
        require_layer(layer, info.n_layers)
    layers = list(range(info.n_layers)) if layers is None else list(layers)
    longest = max(item.length for item in items)
    runner = runner_of(model)
    if on_bridge or GATE in components or intervention is not None:
        # Read where ``steer`` acts: a push is a small difference of large numbers.
        runner = Runner(model)
    is_raw = isinstance(runner, RawRunner)
    is_tree = intervention is None and is_raw and runner.shares_prefix(longest)
    bound = max_tokens or pass_tokens(model, longest)
    if max_tokens is None and device_of(model).type == "cpu":
        bound = max(longest, min(bound, CPU_TOKENS))
    n_texts = len(items[0].answers)
    values = 4 * (n_texts + 1) * len(layers) * sum(_width(info, one) for one in components)
    least = math.ceil(bound * values / READ_BYTES)
    sizes = [max(least, _tokens(item, is_tree=is_tree)) for item in items]

    @torch.inference_mode()
    def run(indices: list[int], _at_once: int) -> Read:
        chosen = [items[index] for index in indices]
        note = _Notes(components, layers, device_of(model))
        if is_tree and isinstance(runner, RawRunner):
            _run_trees(runner, chosen, note)
        else:
            _run_texts(runner, chosen, note, intervention, position)
        return Read(indices, note.values(info), note.values(info, edited=False))

    groups = batches_on_one_side(model, [item.lengths for item in items], sizes, bound)
    for _, found in smaller_when_full(groups, run):
        _require_finite(found.values, layers)
        yield found


def _tokens(item: EncodedItem, *, is_tree: bool) -> int:
    """Tokens that one item takes up in a pass."""
    n, widest = len(item.answers), max((len(answer) for answer in item.answers), default=0)
    return len(item.prompt) + n * widest if is_tree else max(1, n) * item.length


def _width(info: ModelInfo, component: str) -> int:
    return math.prod(unit_shape(info, "neuron" if component == GATE else component))


class _Notes:
    """Hooks that keep what is at some places, before and after edits."""

    def __init__(
        self, components: Sequence[str], layers: Sequence[int], device: torch.device
    ) -> None:
        self.components, self.layers, self.device = components, layers, device
        self._found: dict[tuple[str, int, bool], Tensor] = {}

    def hooks(
        self,
        rows: Int[Tensor, "item place"],
        columns: Int[Tensor, "item place"],
        *,
        edited: bool = True,
    ) -> list[tuple[str, int, FlatHook]]:
        """One a component and layer."""

        def bind(component: str, layer: int) -> FlatHook:
            def hook(activation: Tensor) -> None:
                where = activation.device  # layers may lie on several
                taken = activation[rows.to(where), columns.to(where)]
                self._found[component, layer, edited] = taken.to(self.device, torch.float32)

            return hook

        return [
            (name, layer, bind(name, layer))
            for name in self.components
            for layer in dict.fromkeys(self.layers)
        ]

    def values(
        self, info: ModelInfo, *, edited: bool = True
    ) -> dict[str, Float[Tensor, "item place layer unit d"]]:
        """What was kept."""
        if (self.components[0], self.layers[0], edited) not in self._found:
            return {}
        stacked = {
            name: torch.stack([self._found[name, layer, edited] for layer in self.layers], dim=2)
            for name in self.components
        }
        return {
            name: one.unflatten(-1, (-1, info.d_head if name == "head" else 1))
            for name, one in stacked.items()
        }


def _run_trees(runner: RawRunner, items: list[EncodedItem], notes: _Notes) -> None:
    """One sequence an item: the prompt, and behind it all answers side by side."""
    device = notes.device
    tree = branches(items, drop_last=False, pad=pad_id(runner.model), device=device)
    past, starts = tree.prefix.shape[1], tree.starts()
    columns = torch.tensor(
        [
            [
                past + start - 1 + len(answer)
                for start, answer in zip(starts, item.answers, strict=True)
            ]
            + [past + item.lead]
            for item in items
        ],
        device=device,
    )
    rows = torch.arange(len(items), device=device)[:, None].expand_as(columns)
    with runner.attach(notes.hooks(rows, columns)):
        ids, mask, where = whole_inputs(tree, runner.module.dtype)
        runner.body(ids, attention_mask=mask, use_cache=False, **runner.given_positions(where))


def _run_texts(
    runner: Runner,
    items: list[EncodedItem],
    notes: _Notes,
    intervention: Intervention | None,
    position: str,
) -> None:
    """Every text whole, one row each, padded on the left."""
    device, n_texts = notes.device, len(items[0].answers)
    texts = [item.prompt + answer for item in items for answer in item.answers or ((),)]
    ids, mask = pad_left(texts, pad_id(runner.model), device)
    end = ids.shape[1] - 1
    ends = [
        [end] * n_texts + [end - (len(item.answers[0]) if item.answers else 0) + item.lead]
        for item in items
    ]
    columns = torch.tensor(ends, device=device)
    first = torch.arange(len(items), device=device)[:, None] * max(1, n_texts)
    rows = torch.cat([first + torch.arange(n_texts, device=device), first], dim=1)
    tracker = PositionTracker(position, prompt_end=end)
    before = [] if intervention is None else notes.hooks(rows, columns, edited=False)
    after = notes.hooks(rows, columns)
    with applied(runner, [intervention], tracker, before=before, after=after, refuses=True):
        runner.logits(ids, mask, 1)


def _require_finite(values: dict[str, Tensor], layers: Sequence[int]) -> None:
    """Name the first place, in the order of the computation, where something is not finite."""
    finite = {
        name: one.isfinite().movedim(2, 0).flatten(1).all(dim=1).tolist()
        for name, one in values.items()
    }
    for place, layer in enumerate(layers):
        for name in ("head", GATE, "neuron", "mlp_out", "hidden"):
            if name in finite and not finite[name][place]:
                raise ValueError(
                    f"activations of component {name!r} are not finite in layer {layer}, the first of those read "
                    f"({', '.join(values)}). Load the model in a wider dtype (bfloat16 or float32), or find the "
                    "weight that is NaN"
                )


@checked()
@torch.inference_mode()
def read_activations(
    model: HookedModel,
    ids: Int[Tensor, "batch pos"],
    attention_mask: Int[Tensor, "batch pos"] | None = None,
    components: Sequence[str] = ("head", "hidden", "neuron"),
) -> dict[str, list[Tensor]]:
    """Activations of every layer at every position, in the model's dtype, as TransformerLens has them.

    Args:
        model: A bridged model; what is steered or hooked on it counts.
        ids: Token ids.
        attention_mask: 1 for real tokens; needed wherever rows are padded on the left.
        components: Which to read.

    Returns:
        Component -> one tensor a layer, [batch pos head d_head] or [batch pos unit].

    Raises:
        ValueError: If there is no token, one that the model does not embed, or the mask is of another shape.
    """
    info = ModelInfo.of(model)
    if not ids.numel() or int(ids.min()) < 0:
        raise ValueError(
            f"ids must be [batch pos] of at least one token, none below 0, got {tuple(ids.shape)}"
        )
    require_rows(model, [int(ids.max())], "ids")
    if attention_mask is not None and attention_mask.shape != ids.shape:
        raise ValueError(
            f"attention_mask must be {tuple(ids.shape)} as ids, got {tuple(attention_mask.shape)}"
        )
    for name in components:
        n_units(info, name)
    found: dict[tuple[str, int], Tensor] = {}

    def keep(site: tuple[str, int]) -> Hook:
        # What an intervention runs clean before the pass is overwritten by the pass itself.
        return lambda activation, hook: found.update({site: activation.clone()})

    layers = range(info.n_layers)
    sites = [(name, layer) for name in components for layer in layers]
    with attached(model, [(hook_name(*site), keep(site)) for site in sites]):
        model(ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=1)
    return {name: [found[name, layer] for layer in layers] for name in components}
