"""Steered generation: batched, KV-cached, streamed; every prompt may have its own intervention."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, overload

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sadi_lens.engine.continuations import (
    Aside,
    Continuation,
    Stream,
    Streamer,
    Watched,
    by_prompt,
    listener,
    own_generation_config,
    put_aside,
    repeated,
    together,
)
from sadi_lens.engine.contract import require_fit
from sadi_lens.engine.hooks import FlatHook, require_eval
from sadi_lens.engine.intervention import ContextualIntervention, Intervention
from sadi_lens.engine.passes import device_of, pad_id, pad_left, smaller_when_full
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.prefix import repeated_prefix
from sadi_lens.engine.prompts import Prompt, prompt_ids, several_prompts
from sadi_lens.engine.runner import RawRunner, Runner, runner_of
from sadi_lens.engine.sampling import checked_sampling
from sadi_lens.engine.steering import applied
from sadi_lens.engine.text import require_tokenizer, warn_unknown
from sadi_lens.types.base import DEFAULT_POSITION, NotFiniteError
from sadi_lens.types.checks import checked
from sadi_lens.types.model import HookedModel, ModelInfo


@overload
def generate(
    model: HookedModel,
    prompts: Prompt | Sequence[Prompt],
    intervention: Intervention | Sequence[Intervention | None] | None = None,
    *,
    return_tokens: Literal[False] = False,
    **options: Any,
) -> list[str]: ...


@overload
def generate(
    model: HookedModel,
    prompts: Prompt | Sequence[Prompt],
    intervention: Intervention | Sequence[Intervention | None] | None = None,
    *,
    return_tokens: Literal[True],
    **options: Any,
) -> list[Continuation]: ...


@checked()
def generate(
    model: HookedModel,
    prompts: Prompt | Sequence[Prompt],
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
    return_tokens: bool = False,
    **sampling: Any,
) -> list[str] | list[Continuation]:
    """Continue prompts under an intervention, batched and KV-cached; greedy unless asked otherwise.

    Args:
        model: A bridged model in eval mode, with its tokenizer.
        prompts: One or several: text, token ids, or the messages of a chat, which the model's own template renders
            (``[{"role": "user", "content": "..."}]``); one that ends in the assistant's words is continued there.
        intervention: What to do; None is the unsteered model. A list has one for each prompt: repeat a prompt to see
            it unsteered and steered in several ways in one batch.
        position: Which tokens it acts on.
        max_new_tokens: At most this many tokens a prompt.
        use_cache: Whether to keep keys and values (same text either way).
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        batch_size: Prompts of one batch; fewer where memory runs out.
        seed: Used when ``do_sample=True``; the global random state is left as it was. A text depends on its batch, too.
        skip_special_tokens: Passed to the tokenizer's decode.
        stream: True writes the text of a single prompt to the terminal or notebook as it comes; a function gets
            (index of the prompt, piece of text). Not with beams.
        return_tokens: Give a ``Continuation`` for each prompt: text, and the tokens before and after.
        **sampling: Passed to Hugging Face's ``generate``: ``do_sample``, ``temperature``, ``top_p``, ``num_beams``,
            ``repetition_penalty``, ``eos_token_id``, ``stop_strings``, ... (``sadi_lens.engine.sampling.OPTIONS``).
            ``prefix_allowed_tokens_fn`` gets (index of the prompt, its tokens so far), whatever its batch.
            What a checkpoint's own generation_config asks for is not applied, its end-of-text tokens apart: greedy
            means greedy. Functions among them, and ``stream``, may use the model: what they run is not steered.

    Returns:
        The continuation of each prompt, without the prompt.

    Raises:
        ValueError: If a prompt has no token (an empty text is continued from BOS where the tokenizer sets one) or does
            not fit the context with ``max_new_tokens``, the interventions are not one a prompt, the model is in
            training mode or of another shape, ``stream=True`` for several prompts, or an option of ``sampling`` is
            unknown, out of range or without effect.
        NotFiniteError: If a next-token distribution is not finite.

    Example:
        >>> sl.generate(model, "Tom has a cat", max_new_tokens=8)
        ['Story: Sam is a goat. Sam']
    """
    sampling |= {"max_new_tokens": max_new_tokens, "use_cache": use_cache}
    options = Options(position, seed, skip_special_tokens, stream, sampling)
    # Without a KV cache the bridge generates: the slow way that the other is checked by.
    runner = runner_of(model) if use_cache else Runner(model)
    several = several_prompts(prompts)
    found = continued(
        runner, several, intervention, options, prepend_bos=prepend_bos, batch_size=batch_size
    )
    warn_unknown(model, [[one] for one in several if isinstance(one, str)], stacklevel=4)
    return found if return_tokens else [one.text for one in found]


@dataclass
class Options:
    """What all batches of a call share; see ``generate``."""

    position: str
    seed: int = 0
    skip_special_tokens: bool = True
    stream: bool | Stream = False
    sampling: dict[str, Any] = field(default_factory=dict)
    before: Sequence[tuple[str, int, FlatHook]] = ()
    after: Sequence[tuple[str, int, FlatHook]] = ()
    """Hooks before and after the edits."""
    broken: set[int] | None = None
    """Takes the places of prompts whose logits were not finite; None refuses them."""
    rows: Sequence[int] | None = None
    """What each prompt is called in messages; default its place."""


@torch.inference_mode()
def continued(
    runner: Runner,
    prompts: Sequence[Prompt],
    intervention: Intervention | Sequence[Intervention | None] | None,
    options: Options,
    *,
    prepend_bos: bool | None = None,
    batch_size: int = 32,
) -> list[Continuation]:
    """``generate`` on a given runner."""
    model = runner.model
    sampling = checked_sampling(model, options.sampling)
    options = replace(options, sampling=sampling)
    require_tokenizer(model)
    edits = _one_a_prompt(runner.info, intervention, len(prompts))
    if not isinstance(runner, RawRunner):  # otherwise that was looked at
        require_eval(model)
    beams = sampling.get("num_beams", 1)
    told = listener(options.stream, len(prompts), beams)
    if sampling["use_cache"] and beams > 1 and options.position != "last_prompt":
        _require_no_clean_cache(edits, options.position)
    room = sampling["max_new_tokens"]
    rows = [prompt_ids(model, one, prepend_bos=prepend_bos, room=room) for one in prompts]

    def run(group: list[int], _at_once: int) -> list[Continuation]:
        batch = [edits[index] for index in group]
        return _run(runner, [rows[index] for index in group], batch, group, told, options)

    groups = together(model, [len(row) for row in rows], sampling, batch_size)
    continuations: dict[int, Continuation] = {}
    for group, found in smaller_when_full(groups, run):
        continuations |= zip(group, found, strict=True)
    return [continuations[index] for index in range(len(rows))]


def _run(
    runner: Runner,
    rows: list[list[int]],
    edits: list[Intervention | None],
    group: list[int],
    told: Stream | None,
    options: Options,
) -> list[Continuation]:
    """Continue one batch of prompts."""
    model, tokenizer = runner.model, require_tokenizer(runner.model)
    own = getattr(model.original_model, "generation_config", None)
    settings: dict[str, Any] = {
        "do_sample": False,
        "eos_token_id": getattr(own, "eos_token_id", None),
    }
    settings |= options.sampling
    if allowed := settings.get("prefix_allowed_tokens_fn"):
        settings["prefix_allowed_tokens_fn"] = by_prompt(allowed, group, rows)
    ids, mask = pad_left(rows, pad_id(model), device_of(model))
    tracker = PositionTracker(options.position, prompt_end=ids.shape[1] - 1)
    put_aside(tracker, settings)

    def broken(row: int, n_rows: int) -> None:
        place = row * len(group) // n_rows  # beams stand together
        if options.broken is None:
            label = getattr(edits[place], "label", "unsteered")
            row = group[place] if options.rows is None else options.rows[group[place]]
            raise NotFiniteError("a next-token distribution", label, f"prompt {row}")
        options.broken.add(group[place])

    watched = Watched(tokenizer, settings, ids.shape[1], broken)
    if told is not None:
        told = Aside(tracker, told)
        settings["streamer"] = Streamer(watched, group, told, options.skip_special_tokens)
    different, which = _different(edits, settings.get("num_beams", 1))
    is_random = bool(settings["do_sample"])
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices, enabled=is_random):
        if is_random:
            first = np.random.SeedSequence([options.seed, group[0]]).generate_state(1)
            torch.manual_seed(int(first[0]))
        with (
            applied(runner, different, tracker, which, options.before, options.after),
            own_generation_config(runner.module, pad_id(model)),
        ):
            first = repeated(runner, rows, different, options)
            if first:
                before = ids[first, :-1], mask[first, :-1]
                settings["past_key_values"] = repeated_prefix(runner, *before, len(rows), first)
            found = runner.module.generate(ids, attention_mask=mask, **settings)
    new = found[:, ids.shape[1] :].tolist()
    new = [watched.until_end(row, tokens) for row, tokens in enumerate(new)]
    texts = tokenizer.batch_decode(new, skip_special_tokens=options.skip_special_tokens)
    return [
        Continuation(text, tuple(row), tuple(watched.without_end(tokens)))
        for text, row, tokens in zip(texts, rows, new, strict=True)
    ]


def _one_a_prompt(info: ModelInfo, given: Any, n: int) -> list[Intervention | None]:
    """The intervention of each prompt, checked against the model."""
    edits: list[Intervention | None] = list(given) if isinstance(given, Sequence) else [given] * n
    if len(edits) != n:
        raise ValueError(
            f"a list of interventions must have one for each prompt: got {len(edits)} for {n} prompts"
        )
    for one in {id(one): one for one in edits if one is not None}.values():
        require_fit(one, info)
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
) -> tuple[list[Intervention | None], Int[Tensor, " row"] | None]:
    """Each different intervention once, and which of them a row has; the beams of a prompt stand together."""
    different = list({id(one): one for one in edits}.values())
    place = {id(one): index for index, one in enumerate(different)}
    if len(different) == 1:
        return different, None
    return different, torch.tensor(
        [place[id(one)] for one in edits], device="cpu"
    ).repeat_interleave(beams)
