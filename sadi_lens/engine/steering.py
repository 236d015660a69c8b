"""Putting an intervention on a model: which tokens it acts on, for one pass or for generation.

The words for positions, and how they are found in a padded or cached batch: ``sadi_lens.engine.positions``.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from jaxtyping import Int
from torch import Tensor

from sadi_lens.engine.hooks import Hook, attached
from sadi_lens.engine.intervention import ContextualIntervention, Intervention
from sadi_lens.engine.passes import PassReader, chooses_positions
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.checks import checked
from sadi_lens.types.components import hook_name
from sadi_lens.types.model import HookedModel, ModelInfo


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


@checked()
@contextmanager
def steer(
    model: HookedModel,
    intervention: Intervention | None,
    *,
    position: str = DEFAULT_POSITION,
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

    Example:
        >>> mask = sl.Mask.from_units("head", [(2, 2), (3, 1)], model)
        >>> tokens = model.tokenizer(task.test[0].prompt, return_tensors="pt")["input_ids"]
        >>> plain = model(tokens)
        >>> with sl.steer(model, sl.MaskedScaling(mask, strength=5.0)):
        ...     steered = model(tokens)
        >>> [bool((steered[0, at] == plain[0, at]).all()) for at in (-2, -1)]  # only the last prompt token
        [True, False]
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


@checked()
def fwd_hooks(
    intervention: Intervention | None,
    *,
    position: str = DEFAULT_POSITION,
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
