"""What really happened: a receipt of every edit of a generation, and a check of the ways to run a model.

Both are measured around the hooks, not worked out from the intervention.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sadi_lens.engine.generation import Options, continued
from sadi_lens.engine.hooks import FlatHook, require_eval
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.passes import device_of, pad_id, pad_left
from sadi_lens.engine.prompts import TextOrChat, as_text, encode_prompt
from sadi_lens.engine.runner import own_dtype, runner_of
from sadi_lens.engine.steering import steer
from sadi_lens.engine.text import require_tokenizer
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.checks import checked
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import CheckReport, CheckRow, Edit, Receipt

PROMPTS = (
    "The ball is in the big red box.",
    "Ann says",
    "Tom was happy because the weather on the hill was good, so he went out and",
)
"""What ``check`` runs when no prompts are given: unequal lengths are what matters."""
WAYS = {
    "batch or single": ("left", "single"),
    "left or right padding": ("left", "right"),
    "KV cache or none": ("cached", "left"),
}
"""Row of a check -> the two ways to run that it compares (``_Runs.logits``)."""


@checked()
def receipt(
    model: HookedModel,
    prompt: TextOrChat,
    intervention: Intervention,
    *,
    position: str = DEFAULT_POSITION,
    max_new_tokens: int = 20,
    prepend_bos: bool | None = None,
    **sampling: Any,
) -> Receipt:
    """Generate, and list what was edited: token, component, layer, norm before and after.

    Each hook point of the intervention is read just before and just after its own hooks, so what is listed is what
    changed, whatever the intervention meant to do.

    Args:
        model: A bridged model in eval mode.
        prompt: One prompt, text or the messages of a chat; a chat stands in the receipt as its template renders it.
        intervention: What to do.
        position: Which tokens it acts on.
        max_new_tokens: At most this many tokens.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        **sampling: See ``generate``; one row only, so no beams.

    Raises:
        ValueError: As ``generate``; also where the generation runs several rows.
    """
    text = as_text(model, prompt)
    watched = _Watched(intervention)
    runner = runner_of(model)
    sampling = {"max_new_tokens": max_new_tokens, "use_cache": True, **sampling}
    options = Options(
        position,
        sampling=sampling,
        before=watched.hooks(watched.before),
        after=watched.hooks(watched.after),
    )
    handle = runner.module.register_forward_pre_hook(watched.begin, with_kwargs=True)
    try:
        (found,) = continued(runner, [text], intervention, options, prepend_bos=prepend_bos)
    finally:
        handle.remove()
    return Receipt(
        label=intervention.label,
        model=ModelInfo.of(model),
        position=position,
        prompt=text,
        text=found.text,
        n_prompt=[*watched.starts, len(watched.tokens)][1],
        passes=len(watched.starts),
        edits=watched.listed(require_tokenizer(model)),
        firings=watched.firings,
    )


class _Watched:
    """What passes through the hook points of an intervention: tokens, and activations before and after its hooks."""

    def __init__(self, intervention: Intervention) -> None:
        self.component, self.layers = intervention.component, intervention.layers
        self.tokens: list[int] = []
        self.starts: list[int] = []
        """Token at which each pass begins."""
        self.edits: list[tuple[int, int, int, list[float]]] = []
        """Pass, token, layer, norms before, after and of the difference."""
        self.fired = dict.fromkeys(self.layers, 0)
        self.changed = dict.fromkeys(self.layers, 0)
        self._old: dict[int, Tensor] = {}

    def listed(self, tokenizer: Any) -> tuple[Edit, ...]:
        return tuple(
            Edit(step, at, tokenizer.decode([self.tokens[at]]), self.component, layer, *norms)
            for step, at, layer, norms in self.edits
        )

    @property
    def firings(self) -> tuple[tuple[int, int, int], ...]:
        return tuple((layer, self.fired[layer], self.changed[layer]) for layer in self.layers)

    def begin(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else kwargs["input_ids"]
        if ids.shape[0] != 1:
            raise ValueError(f"a receipt is of one row, the generation runs {ids.shape[0]}")
        self.starts.append(len(self.tokens))
        self.tokens.extend(ids[0].tolist())

    def hooks(self, make: Callable[[int], FlatHook]) -> list[tuple[str, int, FlatHook]]:
        return [(self.component, layer, make(layer)) for layer in self.layers]

    def before(self, layer: int) -> FlatHook:
        def hook(activation: Tensor) -> None:
            self.fired[layer] += 1
            self._old[layer] = activation

        return hook

    def after(self, layer: int) -> FlatHook:
        def hook(activation: Tensor) -> None:
            old, new = (one[0].float() for one in (self._old.pop(layer), activation))
            norms = torch.stack([one.norm(dim=1) for one in (old, new, new - old)], dim=1)
            where = (old != new).any(dim=1).nonzero()[:, 0].tolist()
            self.changed[layer] += bool(where)
            step, start = len(self.starts) - 1, self.starts[-1]
            self.edits += [(step, start + at, layer, norms[at].tolist()) for at in where]

        return hook


@checked()
@torch.inference_mode()
def check(
    model: HookedModel,
    intervention: Intervention,
    prompts: Sequence[TextOrChat] = PROMPTS,
    *,
    position: str = DEFAULT_POSITION,
    n_steps: int = 4,
    prepend_bos: bool | None = None,
) -> CheckReport:
    """Run the same texts in every way that must not matter, and report the largest logit difference of each.

    Batch or single; left or right padding; KV cache or none; strength 0 or unsteered; before or after steering. The
    texts are the prompts, each followed by ``n_steps`` fixed tokens; logits from the last prompt token on are
    compared. Beside each stands the same difference without the intervention, so that a model that cannot batch is
    not blamed on the steering.

    Args:
        model: A bridged model in eval mode.
        intervention: What to check. Without a ``strength`` of its own, the row of strength 0 is left out.
        prompts: At least 2, better of unequal length; texts or chats.
        position: Which tokens it acts on.
        n_steps: Tokens after each prompt, at least 1.
        prepend_bos: See ``sadi_lens.engine.text.encode``.

    Raises:
        ValueError: If there are fewer than 2 prompts, ``n_steps`` is below 1, or the intervention was made for a
            model of another shape.
    """
    require_eval(model)
    if len(prompts) < 2:
        raise ValueError(f"prompts must be a list of at least 2, got {prompts!r}")
    rows = [encode_prompt(model, one, prepend_bos=prepend_bos, room=n_steps) for one in prompts]
    runs = _Runs(model, rows, n_steps, position)
    names = sorted({name for pair in WAYS.values() for name in pair})
    plain, steered = (
        {name: runs.logits(name, one) for name in names} for one in (None, intervention)
    )
    again = runs.logits("single", None)
    size = max(float(one.abs().max()) for one in (plain["single"], steered["single"]))
    tolerance = torch.finfo(plain["single"].dtype).eps ** 0.5 * size
    table = [
        CheckRow(name, _far(steered[a], steered[b]), _far(plain[a], plain[b]), tolerance)
        for name, (a, b) in WAYS.items()
    ]
    if is_dataclass(intervention) and any(one.name == "strength" for one in fields(intervention)):
        none = runs.logits("single", replace(intervention, strength=0.0))  # type: ignore[type-var]
        table.append(CheckRow("strength 0 or unsteered", _far(none, again), None, 0.0))
    table.append(CheckRow("before or after steering", _far(plain["single"], again), None, 0.0))
    return CheckReport(
        label=intervention.label,
        model=ModelInfo.of(model),
        position=position,
        effect=_far(steered["single"], plain["single"]),
        rows=tuple(table),
        n=len(rows),
    )


class _Runs:
    """The same texts run in different ways; every way gives logits [row step vocab] from the last prompt token on."""

    def __init__(
        self, model: HookedModel, prompts: list[list[int]], n_steps: int, position: str
    ) -> None:
        self.model, self.prompts, self.position = model, prompts, position
        # Any tokens will do: nothing is generated.
        self.steps = [[row[index % len(row)] for index in range(n_steps)] for row in prompts]
        self.texts = [row + more for row, more in zip(prompts, self.steps, strict=True)]
        self.lengths = [len(row) for row in prompts]

    def logits(self, way: str, intervention: Intervention | None) -> Tensor:
        """``way``: ``"single"``, ``"left"`` or ``"right"`` (padding), ``"cached"``."""
        with own_dtype(self.model):
            return self._logits(way, intervention)

    def _logits(self, way: str, intervention: Intervention | None) -> Tensor:
        if way == "cached":
            return self._cached(intervention)
        if way == "single":
            one_by_one = [
                self._whole([row], [length], "left", intervention)
                for row, length in zip(self.texts, self.lengths, strict=True)
            ]
            return torch.cat(one_by_one)
        return self._whole(self.texts, self.lengths, way, intervention)

    def _whole(
        self,
        rows: list[list[int]],
        lengths: list[int],
        side: str,
        intervention: Intervention | None,
    ) -> Tensor:
        ids, mask = pad_left(rows, pad_id(self.model), device_of(self.model))
        ends = [ids.shape[1]] * len(rows)
        if side == "right":
            ends = [len(row) for row in rows]
            for row, end in enumerate(ends):
                ids[row], mask[row] = ids[row].roll(end), mask[row].roll(end)
        with steer(self.model, intervention, position=self.position, prompt_lengths=lengths):
            logits = self.model(ids, attention_mask=mask, use_cache=False)
        n = len(self.steps[0]) + 1
        return torch.stack([logits[row, end - n : end] for row, end in enumerate(ends)])

    def _cached(self, intervention: Intervention | None) -> Tensor:
        ids, mask = pad_left(self.prompts, pad_id(self.model), device_of(self.model))
        steps = torch.tensor(self.steps, device=ids.device)
        options: dict[str, Any] = {"return_type": "logits_and_cache", "use_cache": True}
        with steer(self.model, intervention, position=self.position):
            logits, cache = self.model(ids, attention_mask=mask, **options)
            found = [logits[:, -1]]
            for index in range(steps.shape[1]):
                mask = torch.cat([mask, mask[:, -1:]], dim=1)
                logits, cache = self.model(
                    steps[:, index : index + 1],
                    attention_mask=mask,
                    past_key_values=cache,
                    **options,
                )
                found.append(logits[:, -1])
        return torch.stack(found, dim=1)


def _far(one: Tensor, two: Tensor) -> float:
    """Largest absolute difference of two tensors of logits."""
    return float((one.float() - two.float()).abs().max())
