"""What interventions must know of a pass besides the activation they edit, gathered while it runs.

clean        the same text run unsteered just before, with a KV cache of its own
prompt_end   an activation at the last prompt token, remembered for the tokens that follow
place        the number of each token in its prompt
prompts      the tokens of each row's prompt
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sadi_lens.engine.hooks import Hook
from sadi_lens.engine.intervention import Context, ContextualIntervention, Intervention
from sadi_lens.engine.positions import PositionTracker, per_row
from sadi_lens.engine.prefix import fork_cache
from sadi_lens.types.components import hook_name

CLEAN = "sadi_lens_clean"
"""Attribute of a KV cache filled by a steered run: the cache of the clean run over the same text."""


class PassReader:
    """Gathers the contexts of some interventions and makes their edits.

    Args:
        interventions: Those that any row of the run gets.
        tracker: Positions of the run; told to call ``begin`` before each pass.
    """

    def __init__(
        self, interventions: Sequence[Intervention | None], tracker: PositionTracker
    ) -> None:
        self.tracker = tracker
        self.sites: dict[str, set[tuple[str, int]]] = {"clean": set(), "prompt_end": set()}
        needs: set[str] = set()
        for one in interventions:
            if isinstance(one, ContextualIntervention) and one.layers:  # type: ignore[attr-defined]
                needs.add(one.need)
                if one.need in self.sites:
                    own = {(one.component, one.source(layer)) for layer in one.layers}  # type: ignore[attr-defined]
                    self.sites[one.need] |= own
        self.wants_prompts = "prompts" in needs
        self.clean: dict[tuple[str, int], Tensor] = {}
        self.prompt_end: dict[tuple[str, int], Tensor] = {}
        if needs:
            tracker.before_pass = self.begin
            tracker.after_pass = self.keep_clean_cache
        self._clean_cache: Any = None

    def hooks(self) -> list[tuple[str, Hook]]:
        """Hooks that read; attach them before those that edit."""

        def bind(site: tuple[str, int]) -> Hook:
            def hook_fn(activation: Tensor, hook: Any) -> None:
                self._read(site, activation)

            return hook_fn

        sites = self.sites["clean"] | self.sites["prompt_end"]
        return [(hook_name(*site), bind(site)) for site in sorted(sites)]

    def edit(self, one: Any, activation: Tensor, layer: int, rows: Tensor | None = None) -> Tensor:
        """``one.edit`` with the context it asks for.

        Args:
            one: The intervention.
            activation: Of ``rows`` only, where these are given.
            layer: The layer.
            rows: Bool [row]: which rows of the pass ``activation`` holds.
        """
        if not isinstance(one, ContextualIntervention):
            return one.edit(activation, layer)
        context = self._context(one, layer)
        return one.edit(activation, layer, context if rows is None else context.rows(rows))

    def begin(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a pass, when its positions are known: note its prompts, run it clean."""
        tokens = args[0] if args else kwargs.get("input_ids")
        if self.wants_prompts and tokens is not None:
            self.tracker.note_prompts(tokens)
        if self.sites["clean"] and self.tracker.share != "none":
            self._run_clean(module, args, kwargs)

    def keep_clean_cache(self, output: Any) -> None:
        """After a pass: its clean cache travels with the cache it filled, also into copies of it."""
        cache = getattr(output, "past_key_values", None)
        # No later token is edited at last_prompt, so nothing clean is needed again.
        if None not in (self._clean_cache, cache) and self.tracker.position != "last_prompt":
            setattr(cache, CLEAN, self._clean_cache)
        self._clean_cache = None

    def _run_clean(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given: Any = kwargs.get("past_key_values")
        cache = fork_cache(getattr(given, CLEAN, given))
        if given is not None and cache.get_seq_length() != given.get_seq_length():
            raise ValueError(
                f"the KV cache holds {given.get_seq_length()} tokens, its clean run {cache.get_seq_length()}: "
                "some were added outside of steer; continue it inside"
            )
        own = {**kwargs, "past_key_values": cache, "logits_to_keep": 1}
        own.pop("labels", None)
        self.tracker.paused = True
        try:
            with torch.no_grad():
                output = module(*args, **own)
        finally:
            self.tracker.paused = False
        self._clean_cache = getattr(output, "past_key_values", None)

    def _read(self, site: tuple[str, int], activation: Tensor) -> None:
        tracker = self.tracker
        if tracker.paused:
            if site in self.sites["clean"]:
                self.clean[site] = activation
            return
        if site in self.sites["prompt_end"]:
            at = tracker.prompt_end_in_pass()
            if at is not None:
                row = torch.arange(activation.shape[0], device=activation.device)
                self.prompt_end[site] = activation[row, at.to(activation.device)]
            elif tracker.is_start:
                self.prompt_end.pop(site, None)

    def _context(self, one: ContextualIntervention, layer: int) -> Context:
        if one.need == "place":
            return Context(place=self.tracker.place())
        if one.need == "prompts":
            return Context(prompts=self.tracker.row_prompts())
        site = (one.component, one.source(layer))  # type: ignore[attr-defined]
        if one.need == "clean":
            return Context(clean=self.clean[site])
        if site not in self.prompt_end:
            raise ValueError(
                f"{type(one).__name__} decides at the last prompt token, but no pass has held it: "
                "the KV cache or prompt_lengths given put it before this pass"
            )
        return Context(prompt_end=per_row(self.prompt_end[site], self.tracker.rows, "prompts"))


def chooses_positions(intervention: Intervention | None) -> bool:
    """Whether it acts on tokens of its own choice, wherever in the prompt these are."""
    return isinstance(intervention, ContextualIntervention) and intervention.need == "place"
