"""Putting an intervention on a model: which tokens it acts on, for one pass or for generation.

The words for positions, and how they are found in a padded or cached batch: ``sadi_lens.positions``.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sadi_lens.components import hook_name
from sadi_lens.hooks import Hook, attached, device_of, require_eval
from sadi_lens.interventions import ContextualIntervention, Intervention
from sadi_lens.passes import PassReader, chooses_positions
from sadi_lens.positions import PositionTracker
from sadi_lens.text import encode_prompt, pad_id, pad_left, require_tokenizer
from sadi_lens.types import HookedModel, ModelInfo


def hooks_for(intervention: Intervention, tracker: PositionTracker) -> list[tuple[str, Hook]]:
    """Hooks that read what the intervention must know, then one a layer that edits; positions from ``tracker``."""
    reader = PassReader([intervention], tracker)
    everywhere = chooses_positions(intervention)

    def edit(activation: Tensor, layer: int) -> Tensor:
        return reader.edit(intervention, activation, layer)

    def bind(layer: int) -> Hook:
        def hook_fn(activation: Tensor, hook: Any) -> Tensor | None:
            return tracker.apply(edit, activation, layer, everywhere=everywhere)

        return hook_fn

    edits = [
        (hook_name(intervention.component, layer), bind(layer)) for layer in intervention.layers
    ]
    return reader.hooks() + edits


@contextmanager
def tracked(
    model: HookedModel, hooks: Sequence[tuple[str, Hook]], tracker: PositionTracker
) -> Generator[None]:
    """``hooks`` attached, and ``tracker`` told about every forward pass before it runs."""

    def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if tracker.paused:  # the clean run inside a pass
            return
        tokens = args[0] if args else kwargs.get("input_ids")
        tokens = kwargs["inputs_embeds"] if tokens is None else tokens
        cache = kwargs.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        tracker.begin(tokens.shape[0], tokens.shape[1], past, kwargs.get("attention_mask"))
        if tracker.before_pass is not None:
            tracker.before_pass(module, args, kwargs)

    def after(_module: Any, _args: tuple[Any, ...], output: Any) -> None:
        if tracker.after_pass is not None and not tracker.paused:
            tracker.after_pass(output)

    if not hooks:
        yield
        return
    with attached(model, hooks):
        handles = [
            model.original_model.register_forward_pre_hook(before, with_kwargs=True),
            model.original_model.register_forward_hook(after),
        ]
        try:
            yield
        finally:
            for handle in handles:
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

    Left-padded batches need their ``attention_mask``, as for any TransformerBridge call. A pass without KV cache is
    taken for a new prompt: for a generation loop that feeds the growing text again and again, give
    ``prompt_lengths`` or use ``sadi_lens.generate``.

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
        ValueError: If the position is unknown, or the intervention needs more than hooks can see: a clean run
            (``Clamped``) or the prompts (``SwappedPrompt``). Use ``steer`` for those.
    """
    tracker = PositionTracker(position, prompt_lengths=prompt_lengths)
    if intervention is None:
        return []
    need = intervention.need if isinstance(intervention, ContextualIntervention) else None
    if need in ("clean", "prompts"):
        raise ValueError(
            f"fwd_hooks cannot give {type(intervention).__name__} what it needs ({need!r}): hooks see activations "
            "only; use steer"
        )

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
            ``repetition_penalty``, ``eos_token_id``, ... What a checkpoint's own generation_config asks for is not
            applied, its end-of-text tokens apart: greedy means greedy.

    Returns:
        The continuation of each prompt, without the prompt.

    Raises:
        ValueError: If a prompt is empty or does not fit the context with ``max_new_tokens``, or the model is in
            training mode or of another shape.
    """
    from transformers import GenerationConfig

    if isinstance(prompts, str):
        prompts = [prompts]
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    reserved = {
        "pad_token_id",
        "return_dict_in_generate",
        "num_return_sequences",
        "generation_config",
    }
    if reserved & set(sampling):
        raise ValueError(
            f"generate returns one text a prompt and sets {sorted(reserved & set(sampling))} itself; "
            "repeat a prompt for several samples of it"
        )
    require_eval(model)
    tokenizer = require_tokenizer(model)
    if intervention is not None:
        intervention.check(ModelInfo.of(model))
        need = intervention.need if isinstance(intervention, ContextualIntervention) else None
        if (
            need == "clean"
            and use_cache
            and position != "last_prompt"
            and int(sampling.get("num_beams", 1)) > 1
        ):
            raise ValueError(
                f"{type(intervention).__name__} at position {position!r} keeps a clean cache that does not follow "
                "beams; pass use_cache=False or num_beams=1"
            )
    rows = [
        encode_prompt(model, prompt, prepend_bos=prepend_bos, room=max_new_tokens)
        for prompt in prompts
    ]
    texts: list[str] = []
    own = getattr(model.original_model, "generation_config", None)
    settings = {"do_sample": False, "eos_token_id": getattr(own, "eos_token_id", None), **sampling}
    devices = list(range(torch.cuda.device_count()))
    for start in range(0, len(rows), batch_size):
        ids, mask = pad_left(rows[start : start + batch_size], pad_id(model), device_of(model))
        end = ids.shape[1] - 1
        tracker = PositionTracker(position, prompt_end=[end])
        hooks = hooks_for(intervention, tracker) if intervention is not None else []
        with torch.random.fork_rng(devices=devices), tracked(model, hooks, tracker):
            if sampling.get("do_sample"):
                torch.manual_seed(int(np.random.SeedSequence([seed, start]).generate_state(1)[0]))
            with _own_generation_config(model, GenerationConfig(pad_token_id=pad_id(model))):
                found = model.original_model.generate(
                    ids,
                    attention_mask=mask,
                    max_new_tokens=max_new_tokens,
                    use_cache=use_cache,
                    **settings,
                )
        texts += tokenizer.batch_decode(
            found[:, end + 1 :], skip_special_tokens=skip_special_tokens
        )
    return texts


@contextmanager
def _own_generation_config(model: HookedModel, config: Any) -> Generator[None]:
    """``config`` in the place of the checkpoint's, whose penalties would otherwise apply to every call."""
    before = getattr(model.original_model, "generation_config", None)
    model.original_model.generation_config = config
    try:
        yield
    finally:
        model.original_model.generation_config = before
