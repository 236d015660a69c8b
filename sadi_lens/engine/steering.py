"""Putting interventions on a model for whatever passes come: one text, or a generation step by step.

The words for positions, and how they are found in a padded or cached batch: ``sadi_lens.engine.positions``.
"""

import inspect
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ContextDecorator, contextmanager
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sadi_lens.engine.contract import require_fit
from sadi_lens.engine.edits import Edits
from sadi_lens.engine.hooks import FlatHook, Hook, on_point
from sadi_lens.engine.intervention import ContextualIntervention, Intervention
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.prefix import fork_cache, holds_other_rows
from sadi_lens.engine.runner import Hold, Runner
from sadi_lens.types.base import DEFAULT_POSITION, NotFiniteError
from sadi_lens.types.checks import checked
from sadi_lens.types.model import HookedModel, ModelInfo, hook_name

CLEAN = "sadi_lens_clean"
"""Attribute of a KV cache filled by a steered run: the cache of the clean run over the same text."""


@contextmanager
def applied(
    runner: Runner,
    interventions: Sequence[Intervention | None],
    tracker: PositionTracker,
    which: Int[Tensor, " row"] | None = None,
    before: Sequence[tuple[str, int, FlatHook]] = (),
    after: Sequence[tuple[str, int, FlatHook]] = (),
    steered_by: str = "",
    refuses: bool = False,
    for_user: bool = False,
) -> Generator[None]:
    """Interventions on a model, one a row, with other hooks before and after them; see ``Runner.attach``.

    A row whose edited activations leave the range of numbers (``sadi_lens.types.base.LARGEST``) has NaN logits.

    Raises:
        ValueError: If an intervention was made for a model of another shape.
        NotFiniteError: At the end of such a pass instead, with ``refuses``.
    """
    for one in {id(one): one for one in interventions if one is not None}.values():
        require_fit(one, runner.info)
    edits = Edits(interventions, which, n_heads=runner.info.n_heads)
    hooks = edits.hooks(tracker)
    steered_by = steered_by if hooks else ""
    with runner.attach([*before, *hooks, *after], steered_by, for_user=for_user) as hold:
        if not hooks:
            yield
            return
        with _watched(runner, _Passes(edits, tracker, hold, refuses)):
            yield


class _Passes:
    """Works out positions before each pass, and runs it clean first where an edit must know that."""

    def __init__(self, edits: Edits, tracker: PositionTracker, hold: Hold, refuses: bool) -> None:
        self.edits, self.needs, self.refuses = edits, edits.needs, refuses
        self.tracker, self.hold = tracker, hold
        self._clean_cache: Any = None

    def before(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.hold.require_own()
        tracker = self.tracker
        if tracker.is_paused:  # the clean run inside a pass
            return
        tokens = args[0] if args else kwargs.get("input_ids")
        shape = (kwargs["inputs_embeds"] if tokens is None else tokens).shape
        cache = kwargs.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        tracker.begin(shape[0], shape[1], past, kwargs.get("attention_mask"))
        if "prompts" in self.needs and tokens is not None:
            tracker.note_prompts(tokens)
        if "clean" in self.needs and tracker.columns[1] > tracker.columns[0]:
            self._run_clean(module, args, kwargs)

    def after(self, _module: Any, _args: tuple[Any, ...], output: Any) -> None:
        """The clean cache of a pass travels with the cache it filled, also into copies of it."""
        if self.tracker.is_paused:
            return
        self._mark_overflow(output)
        cache = getattr(output, "past_key_values", None)
        # No later token is edited at last_prompt, so nothing clean is needed again.
        if None not in (self._clean_cache, cache) and self.tracker.position != "last_prompt":
            setattr(cache, CLEAN, self._clean_cache)
        self._clean_cache = None

    def _mark_overflow(self, output: Any) -> None:
        found = self.edits.peaks.overflow()
        if found is None:
            return
        rows, where = found
        logits = getattr(output, "logits", None)
        if self.refuses or logits is None:
            first = int(rows.flatten().nonzero()[0])
            raise NotFiniteError("an edited activation", self.edits.label_of(first), where)
        output.logits = logits.masked_fill(rows.to(logits.device)[:, None, None], math.nan)

    def _run_clean(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given: Any = kwargs.get("past_key_values")
        cache = fork_cache(getattr(given, CLEAN, given))
        if given is not None and cache.get_seq_length() != given.get_seq_length():
            raise ValueError(
                f"the KV cache holds {given.get_seq_length()} tokens, its clean run {cache.get_seq_length()}: "
                "some were added outside of steer; continue it inside"
            )
        if given is not None and holds_other_rows(given, cache):
            raise ValueError(
                "the rows of the KV cache are others than when steer saw them last (beam search reorders them), and "
                "its clean run did not follow; pass num_beams=1, or use_cache=False and to steer prompt_lengths"
            )
        own = {**kwargs, "past_key_values": cache, "logits_to_keep": 1}
        own.pop("labels", None)
        self.tracker.is_paused = True
        try:
            with torch.no_grad():
                output = module(*args, **own)
        finally:
            self.tracker.is_paused = False
        self._clean_cache = getattr(output, "past_key_values", None)


@contextmanager
def _watched(runner: Runner, passes: _Passes) -> Generator[None]:
    handles = [
        runner.module.register_forward_pre_hook(passes.before, with_kwargs=True),
        runner.module.register_forward_hook(passes.after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Steered(ContextDecorator):
    """A ``with`` that can be entered again: each time anew."""

    def __init__(
        self, model: HookedModel, apply: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._model, self._apply = model, apply
        self._entered: list[AbstractContextManager[None]] = []

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        kinds = (
            inspect.iscoroutinefunction,
            inspect.isgeneratorfunction,
            inspect.isasyncgenfunction,
        )
        if any(is_one(func) for is_one in kinds):
            raise TypeError(
                f"steer(...) as a decorator must be on a function that has run when it returns, got "
                f"{getattr(func, '__qualname__', func)}, whose call only begins it: its passes would be unsteered. "
                "Put `with steer(...)` into it"
            )
        return super().__call__(func)

    def __enter__(self) -> HookedModel:
        one = self._apply()
        one.__enter__()
        self._entered.append(one)
        return self._model

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if not self._entered:
            raise RuntimeError("steer(...) is left without having been entered")
        return self._entered.pop().__exit__(kind, error, trace)


@checked()
def steer(
    model: HookedModel,
    intervention: Intervention | None,
    *,
    position: str = DEFAULT_POSITION,
    prompt_lengths: Sequence[int] | Int[Tensor, " row"] | None = None,
) -> AbstractContextManager[HookedModel]:
    """Steer every TransformerLens call inside the ``with``; the model is left as it was, also on an error.

    Left-padded batches need their ``attention_mask``, as for any TransformerBridge call. A pass without KV cache is
    taken for a new prompt: for a generation loop that feeds the growing text again and again, give
    ``prompt_lengths`` or use ``sadi_lens.generate``.

    Args:
        model: A bridged model.
        intervention: What to do; None is the unsteered model.
        position: ``"last_prompt"`` (the paper), ``"every_step"``, ``"generated"`` or ``"all"``.
        prompt_lengths: Real tokens of each prompt, for rows that also hold the answer. Default: a pass that starts
            a new text is the prompt; passes that continue its KV cache are steps.

    Inside, other calls of this library that measure the model are refused: they would measure it steered. So is a
    pass of another thread or task; another thread that steers or measures waits until this block is left.

    Raises:
        ValueError: If the intervention was made for a model of another shape, or the position is unknown.
        NotFiniteError: From a pass inside, if the strength takes activations out of the range of numbers.
        RuntimeError: If another task of this thread steers the model.

    Example:
        >>> mask = sl.Mask.from_units("head", [(2, 2), (3, 1)], model)
        >>> tokens = model.tokenizer(task.test[0].prompt, return_tensors="pt")["input_ids"]
        >>> plain = model(tokens)
        >>> with sl.steer(model, sl.MaskedScaling(mask, strength=5.0)):
        ...     steered = model(tokens)
        >>> [bool((steered[0, at] == plain[0, at]).all()) for at in (-2, -1)]  # only the last prompt token
        [True, False]
    """
    label = "" if intervention is None else intervention.label
    steered_by = label or "an intervention"

    def apply() -> AbstractContextManager[None]:
        tracker = PositionTracker(position, prompt_lengths=prompt_lengths)
        return applied(
            Runner(model),
            [intervention],
            tracker,
            steered_by=steered_by,
            refuses=True,
            for_user=True,
        )

    return _Steered(model, apply)


@checked()
def fwd_hooks(
    intervention: Intervention | None,
    *,
    position: str = DEFAULT_POSITION,
    attention_mask: Int[Tensor, "batch pos"] | None = None,
    prompt_lengths: Sequence[int] | Int[Tensor, " batch"] | None = None,
    model: HookedModel | None = None,
) -> list[tuple[str, Hook]]:
    """The same edit as ``steer`` for ``model.run_with_hooks(tokens, fwd_hooks=...)``: one pass over whole texts.

    Hooks cannot see the attention mask of the pass, so give it here too when rows are padded. Nor do they see how many
    layers the model has: give ``model`` too, and an intervention for another shape is refused as by ``steer``;
    otherwise only another number of units is, in the pass.

    Raises:
        ValueError: If the intervention was made for a model of another shape, the position is unknown, or the
            intervention needs more than hooks can see: a clean run (``Clamped``) or the prompts (``SwappedPrompt``).
            Use ``steer`` for those.
    """
    tracker = PositionTracker(position, prompt_lengths=prompt_lengths)
    if model is not None and intervention is not None:
        require_fit(intervention, ModelInfo.of(model))
    need = intervention.need if isinstance(intervention, ContextualIntervention) else None
    if need in ("clean", "prompts"):
        raise ValueError(
            f"fwd_hooks cannot give {type(intervention).__name__} what it needs ({need!r}): hooks see activations "
            "only; use steer"
        )
    edits = Edits([intervention], n_heads=1)

    def bind(hook: FlatHook) -> Hook:
        flat = on_point(hook)

        def hook_fn(activation: Tensor, hook: Any) -> Tensor | None:
            rows, n_new = activation.shape[:2]
            past = 0 if attention_mask is None else attention_mask.shape[1] - n_new
            tracker.begin(rows, n_new, past, attention_mask)
            if activation.ndim == 4:
                edits.n_heads = activation.shape[2]
            found = flat(activation, hook=hook)
            over = edits.peaks.overflow()
            if over is not None and intervention is not None:
                raise NotFiniteError("an edited activation", intervention.label, over[1])
            return found

        return hook_fn

    return [(hook_name(name, layer), bind(hook)) for name, layer, hook in edits.hooks(tracker)]
