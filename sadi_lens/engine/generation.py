"""Steered generation: batched, KV-cached, streamed; every prompt may have its own intervention.

Runs on the raw Hugging Face model with hooks at the same places as on the bridge, which spares the bridge's half
millisecond of Python per layer and token; on the bridge where the two were not found to agree
(``sadi_lens.engine.runner``), without a KV cache, and for interventions that are not affine.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sadi_lens.engine.edits import AffineEdits, is_affine
from sadi_lens.engine.hooks import device_of, require_eval
from sadi_lens.engine.intervention import ContextualIntervention, Intervention
from sadi_lens.engine.memory import smaller_when_full
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.row_edits import RowEdits
from sadi_lens.engine.runner import RawHook, RawModel, raw_model
from sadi_lens.engine.steering import hooks_for, tracked
from sadi_lens.engine.streaming import Stream, Streamer, listener
from sadi_lens.engine.text import encode_prompt, pad_id, pad_left, require_tokenizer
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.model import HookedModel, ModelInfo

_RESERVED = {
    "pad_token_id",
    "return_dict_in_generate",
    "num_return_sequences",
    "generation_config",
    "streamer",
}


@checked()
@torch.inference_mode()
def generate(
    model: HookedModel,
    prompts: str | Sequence[str],
    intervention: Intervention | Sequence[Intervention | None] | None = None,
    *,
    position: str = DEFAULT_POSITION,
    max_new_tokens: int = 40,
    use_cache: bool = True,
    prepend_bos: bool | None = None,
    batch_size: int = 32,
    seed: int = 0,
    skip_special_tokens: bool = True,
    stream: bool | Stream = False,
    **sampling: Any,
) -> list[str]:
    """Continue prompts under an intervention, batched and KV-cached; greedy unless asked otherwise.

    Args:
        model: A bridged model in eval mode, with its tokenizer.
        prompts: One or several.
        intervention: What to do; None is the unsteered model. A list has one for each prompt: repeat a prompt to see
            it unsteered and steered in several ways in one batch.
        position: Which tokens it acts on.
        max_new_tokens: At most this many tokens a prompt.
        use_cache: Whether to keep keys and values (same text either way).
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        batch_size: Prompts of one batch; fewer where memory runs out.
        seed: Used when ``do_sample=True``; the global random state is left as it was.
        skip_special_tokens: Passed to the tokenizer's decode.
        stream: True writes the text of a single prompt to the terminal or notebook as it comes; a function gets
            (index of the prompt, piece of text). Not with beams.
        **sampling: Passed to Hugging Face's ``generate``: ``do_sample``, ``temperature``, ``top_p``, ``num_beams``,
            ``repetition_penalty``, ``eos_token_id``, ... What a checkpoint's own generation_config asks for is not
            applied, its end-of-text tokens apart: greedy means greedy.

    Returns:
        The continuation of each prompt, without the prompt.

    Raises:
        ValueError: If a prompt is empty or does not fit the context with ``max_new_tokens``, the interventions are not
            one a prompt, the model is in training mode or of another shape, or ``stream=True`` for several prompts.

    Example:
        >>> sl.generate(model, "Tom has a cat", max_new_tokens=8)
        ['Story: Sam is a goat. Sam']
        >>> mask = sl.Mask.from_units("head", [(2, 2), (3, 1)], model)
        >>> texts = sl.generate(model, ["Ann says", "Tom was"], sl.MaskedScaling(mask, 5.0))
        >>> len(texts)
        2
    """
    if isinstance(prompts, str):
        prompts = [prompts]
    require_one_of("position", position, POSITIONS)
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    if _RESERVED & set(sampling):
        raise ValueError(
            f"generate returns one text a prompt and sets {sorted(_RESERVED & set(sampling))} itself; "
            "repeat a prompt for several samples of it"
        )
    tokenizer = require_tokenizer(model)
    edits = _one_a_prompt(model, intervention, len(prompts))
    raw = raw_model(model) if use_cache and all(map(is_affine, edits)) else None
    if raw is None:  # otherwise that was looked at
        require_eval(model)
    beams = int(sampling.get("num_beams") or 1)
    told = listener(stream, len(prompts), beams)
    if use_cache and beams > 1 and position != "last_prompt":
        _require_no_clean_cache(edits, position)
    rows = [
        encode_prompt(model, prompt, prepend_bos=prepend_bos, room=max_new_tokens)
        for prompt in prompts
    ]
    own = getattr(model.original_model, "generation_config", None)
    settings = {
        "do_sample": False,
        "eos_token_id": getattr(own, "eos_token_id", None),
        "max_new_tokens": max_new_tokens,
        "use_cache": use_cache,
        **sampling,
    }
    devices = list(range(torch.cuda.device_count()))

    def run(group: list[int], _at_once: int) -> list[str]:
        ids, mask = pad_left([rows[index] for index in group], pad_id(model), device_of(model))
        batch = [edits[index] for index in group]
        if told is not None:
            settings["streamer"] = Streamer(tokenizer, group, told, skip_special_tokens)
        is_random = bool(sampling.get("do_sample"))
        with torch.random.fork_rng(devices=devices, enabled=is_random):
            if is_random:
                first = np.random.SeedSequence([seed, group[0]]).generate_state(1)
                torch.manual_seed(int(first[0]))
            where = (
                _on_bridge(model, batch, position, beams, mask)
                if raw is None
                else _on_raw(raw, batch, position, beams, mask)
            )
            with where as module, _own_generation_config(module, pad_id(model)):
                found = module.generate(ids, attention_mask=mask, **settings)
        new = found[:, ids.shape[1] :]
        return tokenizer.batch_decode(new, skip_special_tokens=skip_special_tokens)

    starts = range(0, len(rows), batch_size)
    groups = (list(range(start, min(start + batch_size, len(rows)))) for start in starts)
    texts = [""] * len(rows)
    for group, found in smaller_when_full(groups, run):
        for index, text in zip(group, found, strict=True):
            texts[index] = text
    return texts


def _one_a_prompt(model: HookedModel, given: Any, n: int) -> list[Intervention | None]:
    """The intervention of each prompt, checked against the model."""
    edits: list[Intervention | None] = list(given) if isinstance(given, Sequence) else [given] * n
    if len(edits) != n:
        raise ValueError(
            f"a list of interventions must have one for each prompt: got {len(edits)} for {n} prompts"
        )
    info = ModelInfo.of(model)
    for one in {id(one): one for one in edits if one is not None}.values():
        one.check(info)
    return edits


def _require_no_clean_cache(edits: Sequence[Intervention | None], position: str) -> None:
    for one in edits:
        if isinstance(one, ContextualIntervention) and one.need == "clean":
            raise ValueError(
                f"{type(one).__name__} at position {position!r} keeps a clean cache that does not follow beams; "
                "pass use_cache=False or num_beams=1"
            )


def _different(
    edits: Sequence[Intervention | None], beams: int
) -> tuple[list[Intervention | None], Int[Tensor, " row"]]:
    """Each different intervention once, and which of them a row has; the beams of a prompt stand together."""
    different = list({id(one): one for one in edits}.values())
    place = {id(one): index for index, one in enumerate(different)}
    which = torch.tensor([place[id(one)] for one in edits])
    return different, which.repeat_interleave(beams)


@contextmanager
def _on_bridge(
    model: HookedModel,
    edits: Sequence[Intervention | None],
    position: str,
    beams: int,
    mask: Int[Tensor, "row pos"],
) -> Generator[Any]:
    """The bridge's module with hooks on, positions counted from the mask of every pass."""
    tracker = PositionTracker(position, prompt_end=[mask.shape[1] - 1])
    different, which = _different(edits, beams)
    if len(different) > 1:
        hooks = RowEdits(different, which.to(mask.device)).hooks(tracker)
    else:
        hooks = [] if different[0] is None else hooks_for(different[0], tracker)
    with tracked(model, hooks, tracker):
        yield model.original_model


@contextmanager
def _on_raw(
    raw: RawModel,
    edits: Sequence[Intervention | None],
    position: str,
    beams: int,
    mask: Int[Tensor, "row pos"],
) -> Generator[Any]:
    """The Hugging Face model with hooks on; what to edit is worked out once a pass, from the cache's length."""
    different, which = _different(edits, beams)
    rows = AffineEdits(different)
    end, padding = mask.shape[1] - 1, None if bool(mask.all()) else (mask == 0)[..., None]
    start, stop = 0, 0
    is_idle = is_plain = is_whole = False

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal start, stop, is_idle, is_plain, is_whole
        cache = kwargs.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        tokens = args[0] if args else kwargs.get("input_ids")
        n_new = (kwargs["inputs_embeds"] if tokens is None else tokens).shape[1]
        start = 0 if position == "all" else max(0, end - past)
        stop = min(n_new, end - past + 1) if position == "last_prompt" else n_new
        is_idle = stop <= start
        is_whole = start == 0 and stop == n_new
        is_plain = is_whole and (past > 0 or padding is None)

    def hook_for(component: str, layer: int) -> RawHook:
        own: Callable[[Tensor], Tensor] | None = None

        def hook(activation: Tensor) -> Tensor | None:
            nonlocal own
            if is_idle:
                return None
            if own is None:
                edit = rows.at(component, layer, activation)
                edit = edit.pick(0 if len(different) == 1 else which.to(activation.device))
                own = (edit if len(different) == 1 else edit.pick(np.s_[:, None])).function()
            if is_plain:
                return own(activation)
            edited = activation.clone()
            edited[:, start:stop] = own(activation[:, start:stop])
            if is_whole and padding is not None:  # no token attends to it, but 0 * infinity is NaN
                left = padding.repeat_interleave(beams, dim=0).to(activation.device)
                edited = torch.where(left, activation, edited)
            return edited

        return hook

    with raw.attached([(*site, hook_for(*site)) for site in rows.sites]):
        handle = raw.hf.register_forward_pre_hook(before, with_kwargs=True) if rows.sites else None
        try:
            yield raw.hf
        finally:
            if handle is not None:
                handle.remove()


@contextmanager
def _own_generation_config(module: Any, pad: int) -> Generator[None]:
    """An empty one in the place of the checkpoint's, whose penalties would otherwise apply to every call."""
    from transformers import GenerationConfig

    before = getattr(module, "generation_config", None)
    module.generation_config = GenerationConfig(pad_token_id=pad)
    try:
        yield
    finally:
        module.generation_config = before
