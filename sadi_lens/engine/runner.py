"""Where: the modules of a model, and hooks on them.

A bridge costs about half a millisecond of Python per layer and call, attends eagerly and cannot leave the unembedding
out. ``load_model`` keeps the Hugging Face model that the bridge was booted from; both share their tensors. Which
module a hook point sits on is read off the bridge itself, and believed only after activations and logits of both have
been compared on a padded batch. A model that fails, that was changed since, or that carries hooks of someone else, runs
as a bridge.
"""

import inspect
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from sadi_lens.engine.hooks import FlatHook, attached, on_point, require_eval
from sadi_lens.engine.owner import Hold, owned
from sadi_lens.engine.passes import rope_boundary
from sadi_lens.engine.prefix import takes_trees
from sadi_lens.engine.twin import Site, computes_the_same, sites_of
from sadi_lens.types.model import HookedModel, Kept, ModelInfo, gate_hook, hook_name

GATE = "gate"
"""What enters the non-linearity of an MLP; read on bridges only, in the place of a component."""


class Runner:
    """A model as a bridge: what a hook of ours or of others sees and does counts."""

    def __init__(self, model: HookedModel) -> None:
        self.model = model
        self.info = ModelInfo.of(model)
        self.module: Any = model.original_model
        """What is called with token ids, in every pass."""

    @contextmanager
    def attach(
        self, hooks: Sequence[tuple[str, int, FlatHook]], steered_by: str = ""
    ) -> Generator[Hold]:
        """(component, layer, hook) on for the duration, in this order, then exactly these off again.

        Args:
            hooks: May be none: also a clean pass wants the model for itself.
            steered_by: Label of what they do, where they stay on for whatever passes come.
        """
        with (
            owned(self.model, steered_by) as hold,
            self._hooked([(name, layer, hold.only_here(hook)) for name, layer, hook in hooks]),
        ):
            yield hold

    @contextmanager
    def _hooked(self, hooks: Sequence[tuple[str, int, FlatHook]]) -> Generator[None]:
        named = [
            (gate_hook(layer) if name == GATE else hook_name(name, layer), on_point(hook))
            for name, layer, hook in hooks
        ]
        with attached(self.model, named):
            yield

    def logits(
        self, ids: Int[Tensor, "row pos"], mask: Int[Tensor, "row pos"], keep: int
    ) -> Float[Tensor, "row kept vocab"]:
        """One pass over whole texts, padded on the left: logits of the last ``keep`` tokens."""
        found = self.model(ids, attention_mask=mask, use_cache=False, logits_to_keep=keep)
        return found[:, -keep:]


class RawRunner(Runner):
    """The Hugging Face model behind a bridge, with the sites of the four components."""

    def __init__(self, model: HookedModel, sites: dict[tuple[str, int], Site]) -> None:
        super().__init__(model)
        self.module = model.__dict__["raw_model"]
        self.body: Any = self.module.base_model
        """Without the unembedding."""
        self.sites = sites
        self._parameters = inspect.signature(self.module.forward).parameters
        self._takes_trees: bool | None = None
        """None until it was tried."""

    def positions(self, attention_mask: Int[Tensor, "row pos"]) -> dict[str, Tensor]:
        """Positions counted from the first real token, for models whose forward takes them."""
        return self.given_positions((attention_mask.cumsum(dim=-1) - 1).clamp(min=0))

    def given_positions(self, positions: Int[Tensor, "row pos"]) -> dict[str, Tensor]:
        """``positions`` as the forward takes them, if it does."""
        return {"position_ids": positions} if "position_ids" in self._parameters else {}

    def shares_prefix(self, longest: int) -> bool:
        """Whether texts of up to ``longest`` tokens may be run as trees (``sadi_lens.engine.prefix``)."""
        if self.longest is not None and longest > self.longest:
            return False
        if self._takes_trees is None:
            self._takes_trees = takes_trees(self)
        return self._takes_trees

    @property
    def longest(self) -> int | None:
        """Tokens that every layer can look back on; None where there is no such bound."""
        config = self.module.config.get_text_config()
        bounds = [
            getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")
        ]
        bounds.append(rope_boundary(self.model))
        return min((int(one) for one in bounds if one), default=None)

    @contextmanager
    def _hooked(self, hooks: Sequence[tuple[str, int, FlatHook]]) -> Generator[None]:
        with ExitStack() as stack:
            for component, layer, hook in hooks:
                stack.callback(_register(self.sites[component, layer], hook).remove)
            yield

    def logits(
        self, ids: Int[Tensor, "row pos"], mask: Int[Tensor, "row pos"], keep: int
    ) -> Float[Tensor, "row kept vocab"]:
        """One pass over whole texts, padded on the left: logits of the last ``keep`` tokens."""
        options = {"logits_to_keep": keep} if "logits_to_keep" in self._parameters else {}
        options |= self.positions(mask)
        found = self.module(ids, attention_mask=mask, use_cache=False, **options)
        return found.logits[:, -keep:]


def _register(site: Site, hook: FlatHook) -> Any:
    if site.is_input:

        def before(_module: Any, args: tuple[Any, ...]) -> Any:
            found = hook(args[0])
            return None if found is None else (found, *args[1:])

        return site.module.register_forward_pre_hook(before)

    def after(_module: Any, _args: Any, output: Any) -> Any:
        if not isinstance(output, tuple):
            return hook(output)
        found = hook(output[0])
        return None if found is None else (found, *output[1:])

    return site.module.register_forward_hook(after)


def runner_of(model: HookedModel) -> Runner:
    """The Hugging Face model where it computes what the bridge would compute now, else the bridge.

    Compared once; again only after weights were replaced or written to. The bridge where hooks of someone else are on
    it, since they would not run elsewhere, and where any module of either is in training mode.

    Raises:
        RuntimeError: If the model is not to be had (see ``owned``).
        ValueError: If the model is in training mode.
    """
    with owned(model):
        kept, weights = Kept.of(model), _weights(model)
        if weights is not None and (kept.checked is None or kept.checked[0] != weights):
            kept.checked = (weights, _checked(model))
        found = Runner(model) if weights is None else kept.checked[1]
    if not isinstance(found, RawRunner):  # otherwise that was looked at
        require_eval(model)
    return found


def _checked(model: HookedModel) -> Runner:
    """The Hugging Face model, or the bridge where the two differ."""
    bridge, sites = Runner(model), sites_of(model)
    if sites is None:
        return bridge
    raw = RawRunner(model, sites)
    return raw if computes_the_same(bridge, raw, sites) else bridge


def _weights(model: Any) -> list[Any] | None:
    """Which tensors bridge and raw model hold, and how often each was written to; None if one cannot be used."""
    if model.__dict__.get("raw_model") is None or getattr(model, "compatibility_mode", False):
        return None
    outer = model.original_model  # the bridge has its parts, not itself
    if outer._forward_pre_hooks or outer._forward_hooks:
        return None
    if outer.training or outer.base_model.training:
        return None
    found: list[Any] = []
    seen: set[int] = set()
    waiting: list[Any] = [model, model.__dict__["raw_model"]]
    # Every module once; at every call, so without the nested generators of ``modules()``.
    while waiting:
        module = waiting.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        own = module.__dict__
        if "fwd_hooks" in own:  # a hook point, which has no parts
            hooks = own["fwd_hooks"] or own["bwd_hooks"]
            if hooks and not all(
                one.is_permanent for one in (*own["fwd_hooks"], *own["bwd_hooks"])
            ):
                return None
            continue
        if module.training:
            return None
        waiting.extend(own["_modules"].values())
        for one in own["_parameters"].values():
            if one is not None:
                version = None if one.is_inference() else one._version
                found.append((one.data_ptr(), one.device, version))
    return found
