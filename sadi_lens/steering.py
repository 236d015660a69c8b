"""Putting an intervention on a model: which tokens it acts on, for one pass or for generation.

Positions, in the words of the design:

    last_prompt   the last prompt token only (the paper)
    every_step    the last prompt token and every token after it
    all           every token

They are worked out from the attention mask and the length of the KV cache in absolute coordinates, never from
token ids, so padding on either side, cached and uncached passes and beams give the same numbers.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sadi_lens.components import hook_name
from sadi_lens.hooks import Hook, attached, device_of, require_eval
from sadi_lens.interventions import Intervention
from sadi_lens.text import encode_prompt, pad_id, pad_left, require_tokenizer
from sadi_lens.types import POSITIONS, HookedModel, ModelInfo, require_one_of

Edit = Callable[[Tensor, int], Tensor]


class PositionTracker:
    """Says for each forward pass which of its tokens are edited.

    Args:
        position: ``"last_prompt"``, ``"every_step"`` or ``"all"``.
        prompt_end: Absolute index (padding counted) of the last prompt token of each row, when the caller knows it.
        prompt_lengths: Real tokens of each prompt, when rows also hold what follows the prompt.

    Without either, a pass that starts a new text is taken to be the prompt, up to its last attended token; later
    passes that continue its KV cache are steps.
    """

    def __init__(
        self,
        position: str,
        *,
        prompt_end: Sequence[int] | Int[Tensor, " row"] | None = None,
        prompt_lengths: Sequence[int] | Int[Tensor, " row"] | None = None,
    ) -> None:
        require_one_of("position", position, POSITIONS)
        self.position = position
        self.is_fixed = prompt_end is not None
        self.prompt_end = None if prompt_end is None else torch.as_tensor(prompt_end)
        self.lengths = None if prompt_lengths is None else torch.as_tensor(prompt_lengths)
        self.seen = 0
        self.edited: Bool[Tensor, "row pos"] | None = None

    def begin(
        self, rows: int, n_new: int, past: int, attention_mask: Int[Tensor, "row total"] | None
    ) -> None:
        """Prepare a pass over ``n_new`` tokens a row that follow ``past`` cached ones.

        Raises:
            ValueError: If the attention mask is not [row past+new] or a prompt is longer than its row.
        """
        total = past + n_new
        if attention_mask is None:
            attended = torch.ones((rows, total), dtype=torch.bool)
        elif attention_mask.ndim != 2 or attention_mask.shape[1] < total:
            raise ValueError(
                f"attention_mask must be [row, {total}] (cached and new tokens), "
                f"got {tuple(attention_mask.shape)}"
            )
        else:
            attended = attention_mask[:, :total].bool()
        index = torch.arange(total, device=attended.device)
        starts = past == 0 or past != self.seen
        if not self.is_fixed and (starts or self.prompt_end is None):
            self.prompt_end = self._find_end(attended, index)
        self.seen = total
        if self.position == "all":
            self.edited = attended[:, past:]
            return
        end = self.prompt_end
        assert end is not None
        end = end.to(attended.device)
        if end.numel() not in (1, rows):
            end = end.repeat_interleave(rows // end.numel())  # beams and several sequences a prompt
        end = end.reshape(-1, 1)
        chosen = index == end if self.position == "last_prompt" else index >= end
        self.edited = (chosen & attended)[:, past:]

    def _find_end(
        self, attended: Bool[Tensor, "row total"], index: Int[Tensor, " total"]
    ) -> Int[Tensor, " row"]:
        if self.lengths is None:
            return (attended * index).amax(dim=1)
        lengths = self.lengths.to(attended.device).reshape(-1, 1)
        real = attended.sum(dim=1, keepdim=True)
        if bool(((lengths < 1) | (lengths > real)).any()):
            raise ValueError(
                f"prompt_lengths must be in [1, tokens of the row], got {lengths.flatten().tolist()} "
                f"for rows of {real.flatten().tolist()} tokens"
            )
        return (attended.cumsum(dim=1) == lengths).int().argmax(dim=1)

    def apply(self, edit: Edit, activation: Tensor, layer: int) -> Tensor | None:
        """The activation with ``edit`` at the chosen positions; None where there is none."""
        edited = self.edited
        assert edited is not None
        edited = edited.to(activation.device)
        if bool(edited.all()):
            return edit(activation, layer)
        if not bool(edited.any()):
            return None
        where = edited.reshape(*edited.shape, *(1,) * (activation.ndim - 2))
        return torch.where(where, edit(activation, layer), activation)


def hooks_for(intervention: Intervention, tracker: PositionTracker) -> list[tuple[str, Hook]]:
    """(hook name, function) of every layer the intervention touches, positions from ``tracker``."""

    def bind(layer: int) -> Hook:
        def hook_fn(activation: Tensor, hook: Any) -> Tensor | None:
            return tracker.apply(intervention.edit, activation, layer)

        return hook_fn

    return [
        (hook_name(intervention.component, layer), bind(layer)) for layer in intervention.layers
    ]


@contextmanager
def tracked(
    model: HookedModel, hooks: Sequence[tuple[str, Hook]], tracker: PositionTracker
) -> Generator[None]:
    """``hooks`` attached, and ``tracker`` told about every forward pass before it runs."""

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tokens = args[0] if args else kwargs.get("input_ids")
        tokens = kwargs["inputs_embeds"] if tokens is None else tokens
        cache = kwargs.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        tracker.begin(tokens.shape[0], tokens.shape[1], past, kwargs.get("attention_mask"))

    with attached(model, hooks):
        handle = model.original_model.register_forward_pre_hook(before, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


@contextmanager
def steer(
    model: HookedModel,
    intervention: Intervention | None,
    *,
    position: str = "last_prompt",
    prompt_lengths: Sequence[int] | Int[Tensor, " row"] | None = None,
) -> Generator[HookedModel]:
    """Steer every TransformerLens call inside the ``with``; the model is left as it was, also on an error.

    Left-padded batches need their ``attention_mask``, as for any TransformerBridge call.

    Args:
        model: A bridged model.
        intervention: What to do; None is the unsteered model.
        position: ``"last_prompt"`` (the paper), ``"every_step"`` or ``"all"``.
        prompt_lengths: Real tokens of each prompt, for rows that also hold the answer. Default: a pass that starts
            a new text is the prompt; passes that continue its KV cache are steps.

    Raises:
        ValueError: If the intervention was made for a model of another shape, or the position is unknown.
    """
    tracker = PositionTracker(position, prompt_lengths=prompt_lengths)
    if intervention is None:
        yield model
        return
    intervention.check(ModelInfo.of(model))
    if not intervention.layers:
        yield model
        return
    with tracked(model, hooks_for(intervention, tracker), tracker):
        yield model


def fwd_hooks(
    intervention: Intervention | None,
    *,
    position: str = "last_prompt",
    attention_mask: Int[Tensor, "batch pos"] | None = None,
    prompt_lengths: Sequence[int] | Int[Tensor, " batch"] | None = None,
) -> list[tuple[str, Hook]]:
    """The same edit as ``steer`` for ``model.run_with_hooks(tokens, fwd_hooks=...)``: one pass over whole texts.

    Hooks cannot see the attention mask of the pass, so give it here too when rows are padded.

    Raises:
        ValueError: If the position is unknown.
    """
    tracker = PositionTracker(position, prompt_lengths=prompt_lengths)
    if intervention is None:
        return []

    def bind(hook: Hook) -> Hook:
        def hook_fn(activation: Tensor, hook_point: Any) -> Tensor | None:
            rows, n_new = activation.shape[:2]
            past = 0 if attention_mask is None else attention_mask.shape[1] - n_new
            tracker.begin(rows, n_new, past, attention_mask)
            return hook(activation, hook_point)

        # TransformerLens passes the hook point by the keyword `hook`.
        return lambda activation, hook: hook_fn(activation, hook)

    return [(name, bind(hook)) for name, hook in hooks_for(intervention, tracker)]


@torch.inference_mode()
def generate(
    model: HookedModel,
    prompts: str | Sequence[str],
    intervention: Intervention | None = None,
    *,
    position: str = "every_step",
    max_new_tokens: int = 40,
    use_cache: bool = True,
    prepend_bos: bool | None = None,
    batch_size: int = 32,
    seed: int = 0,
    skip_special_tokens: bool = True,
    **sampling: Any,
) -> list[str]:
    """Continue prompts under an intervention, batched and KV-cached; greedy unless asked otherwise.

    Args:
        model: A bridged model in eval mode, with its tokenizer.
        prompts: One or several.
        intervention: What to do; None is the unsteered model.
        position: Which tokens it acts on.
        max_new_tokens: At most this many tokens a prompt.
        use_cache: Whether to keep keys and values (same text either way).
        prepend_bos: See ``sadi_lens.text.encode``.
        batch_size: Prompts of one batch.
        seed: Used when ``do_sample=True``; the global random state is left as it was.
        skip_special_tokens: Passed to the tokenizer's decode.
        **sampling: Passed to Hugging Face's ``generate``: ``do_sample``, ``temperature``, ``top_p``, ``num_beams``,
            ``repetition_penalty``, ``eos_token_id``, ...

    Returns:
        The continuation of each prompt, without the prompt.

    Raises:
        ValueError: If a prompt is empty or does not fit the context with ``max_new_tokens``, or the model is in
            training mode or of another shape.
    """
    if isinstance(prompts, str):
        prompts = [prompts]
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    require_eval(model)
    tokenizer = require_tokenizer(model)
    if intervention is not None:
        intervention.check(ModelInfo.of(model))
    rows = [
        encode_prompt(model, prompt, prepend_bos=prepend_bos, room=max_new_tokens)
        for prompt in prompts
    ]
    texts: list[str] = []
    devices = [device_of(model)] if device_of(model).type == "cuda" else []
    for start in range(0, len(rows), batch_size):
        ids, mask = pad_left(rows[start : start + batch_size], pad_id(model), device_of(model))
        end = ids.shape[1] - 1
        tracker = PositionTracker(position, prompt_end=[end])
        hooks = hooks_for(intervention, tracker) if intervention is not None else []
        with torch.random.fork_rng(devices=devices), tracked(model, hooks, tracker):
            if sampling.get("do_sample"):
                torch.manual_seed(seed + start)
            found = model.original_model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                use_cache=use_cache,
                pad_token_id=pad_id(model),
                **{"do_sample": False, **sampling},
            )
        texts += tokenizer.batch_decode(
            found[:, end + 1 :], skip_special_tokens=skip_special_tokens
        )
    return texts
