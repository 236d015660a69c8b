"""Where hooks go, the modules of a model, and who has the model meanwhile.

A bridge costs about half a millisecond of Python per layer and call, attends eagerly and cannot leave the unembedding
out. ``load_model`` keeps the Hugging Face model that the bridge was booted from; both share their tensors. Which
module a hook point sits on is read off the bridge itself, and believed only after activations and logits of both have
been compared on a padded batch. A model that fails, that was changed since, or that carries hooks of someone else, runs
as a bridge.

A pass sees all hooks that are on a model, whoever put them there. A second thread therefore waits until the first is
done. Where waiting would never end (the same thread, another task of its event loop, a thread that its own task waits
for), or where a measurement would be steered by an enclosing ``with steer(...)``, it is refused.
"""

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadi_lens.engine.hooks import FlatHook, attached, on_point, require_eval, weights_in_use
from sadi_lens.engine.passes import device_of, rope_boundary
from sadi_lens.engine.twin import Site, computes_the_same, sites_of, takes_trees
from sadi_lens.types.model import HookedModel, Kept, ModelInfo, gate_hook, hook_name

logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds after which a thread that waits for a model says so."""
_changed = threading.Condition()
"""Of the holds on any model."""
GATE = "gate"
"""What enters the non-linearity of an MLP; read on bridges only, in the place of a component."""


@dataclass(eq=False)
class Hold:
    """A thread or task that has a model for itself."""

    name: str
    """Of the model."""
    steered_by: str
    """Label of the intervention that stays on it for whatever passes come; empty for a measurement."""
    thread: int
    task: Any

    def only_here(self, hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A hook that leaves a pass alone which another thread had begun before the hook was put on."""

        def own(activation: Any) -> Any:
            return hook(activation) if threading.get_ident() == self.thread else None

        return own

    def require_own(self) -> None:
        """Refuse a pass of another thread or task, which would be steered as well."""
        if (threading.get_ident(), _task()) != (self.thread, self.task):
            raise RuntimeError(
                f"{self.name} is being steered by {self.steered_by or 'a measurement'!r} in another thread or task, "
                "and this pass would be steered too. Put it into `with steer(model, None)`, which waits for a thread"
            )

    def must_wait_for(self, other: "Hold") -> bool:
        """Whether another hold comes first; refused where that would never end."""
        what = repr(other.steered_by) if other.steered_by else "a measurement"
        if other.thread != self.thread:
            if other in _inherited.get():
                raise RuntimeError(
                    f"{self.name} is in use by {what} in the task that started this thread and waits for it, so "
                    "waiting would never end. Leave that block first"
                )
            return True
        if other.task is not self.task:
            raise RuntimeError(
                f"{self.name} is in use by {what} in another task of this thread, and waiting for it would never "
                "end. Run one after the other, or in threads (asyncio.to_thread), which wait for one another"
            )
        if other.steered_by and not self.steered_by:
            raise RuntimeError(
                f"{self.name} is being steered by {what} in an enclosing `with steer(...)`, which would change what "
                "is measured here. Leave that block first; to measure the intervention, give it to the call"
            )
        return False


_inherited: ContextVar[tuple[Hold, ...]] = ContextVar("_inherited", default=())
"""Holds of this context, and of the one that started it (``asyncio.to_thread``)."""


@contextmanager
def owned(model: HookedModel, steered_by: str = "", *, for_user: bool = False) -> Generator[Hold]:
    """The model for this thread or task alone, in ``own_dtype`` unless passes are the user's own (``for_user``).

    Raises:
        RuntimeError: If another task of this thread has it, or (without ``steered_by``) this one steers it.
    """
    holds: list[Hold] = Kept.of(model).holds
    name = (Kept.of(model).info or ModelInfo.of(model)).name
    mine = Hold(name, steered_by, threading.get_ident(), _task())

    def is_free() -> bool:
        return not any([mine.must_wait_for(one) for one in holds])

    with _changed:
        while not _changed.wait_for(is_free, PATIENCE):
            logger.warning("%s has been waited for: another thread has it", mine.name)
        holds.append(mine)
    _inherited.set((*_inherited.get(), mine))
    try:
        with nullcontext() if for_user else own_dtype(model):
            yield mine
    finally:
        _inherited.set(tuple(one for one in _inherited.get() if one is not mine))
        with _changed:
            holds.remove(mine)
            _changed.notify_all()


@contextmanager
def own_dtype(model: HookedModel) -> Generator[None]:
    """No ``torch.autocast`` of the caller: what is measured runs in the model's own dtype, as its result says."""
    kind = device_of(model).type
    if not torch.is_autocast_enabled(kind):
        yield
        return
    with torch.autocast(kind, enabled=False):
        yield


def _task() -> Any:
    # At every pass: without a loop, current_task() would raise.
    loop = asyncio._get_running_loop()
    return None if loop is None else asyncio.current_task(loop)


class Runner:
    """A model as a bridge: what a hook of ours or of others sees and does counts."""

    def __init__(self, model: HookedModel) -> None:
        self.model = model
        self.info = ModelInfo.of(model)
        self.module: Any = model.original_model
        """What is called with token ids, in every pass."""

    @contextmanager
    def attach(
        self,
        hooks: Sequence[tuple[str, int, FlatHook]],
        steered_by: str = "",
        *,
        for_user: bool = False,
    ) -> Generator[Hold]:
        """(component, layer, hook) on for the duration, in this order, then exactly these off again.

        Args:
            hooks: May be none: also a clean pass wants the model for itself.
            steered_by: Label of what they do, where they stay on for whatever passes come.
            for_user: See ``owned``.
        """
        with (
            owned(self.model, steered_by, for_user=for_user) as hold,
            self._hooked(hooks, hold),
        ):
            yield hold

    @contextmanager
    def _hooked(self, hooks: Sequence[tuple[str, int, FlatHook]], hold: Hold) -> Generator[None]:
        points = (
            gate_hook(layer) if name == GATE else hook_name(name, layer) for name, layer, _ in hooks
        )
        here = (on_point(hold.only_here(hook)) for *_, hook in hooks)
        named = list(zip(points, here, strict=True))
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
        names = ("sliding_window", "attention_chunk_size")
        bounds = [*(getattr(config, name, None) for name in names), rope_boundary(self.model)]
        return min((int(one) for one in bounds if one), default=None)

    @contextmanager
    def _hooked(self, hooks: Sequence[tuple[str, int, FlatHook]], hold: Hold) -> Generator[None]:
        with ExitStack() as stack:
            for component, layer, hook in hooks:
                stack.callback(_register(self.sites[component, layer], hook, hold.thread).remove)
            yield

    def logits(
        self, ids: Int[Tensor, "row pos"], mask: Int[Tensor, "row pos"], keep: int
    ) -> Float[Tensor, "row kept vocab"]:
        """As ``Runner.logits``."""
        options = {"logits_to_keep": keep} if "logits_to_keep" in self._parameters else {}
        options |= self.positions(mask)
        found = self.module(ids, attention_mask=mask, use_cache=False, **options)
        return found.logits[:, -keep:]


def _register(site: Site, hook: FlatHook, thread: int) -> Any:
    """As ``Hold.only_here``, in as few calls as it takes: this is on the way of every token."""
    if site.is_input:

        def before(_module: Any, args: tuple[Any, ...]) -> Any:
            if threading.get_ident() != thread:
                return None
            found = hook(args[0])
            return None if found is None else (found, *args[1:])

        return site.module.register_forward_pre_hook(before)

    def after(_module: Any, _args: Any, output: Any) -> Any:
        if threading.get_ident() != thread:
            return None
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
        kept, weights = Kept.of(model), weights_in_use(model)
        if weights is not None and (kept.checked is None or kept.checked[0] != weights):
            bridge, sites = Runner(model), sites_of(model)
            raw = bridge if sites is None else RawRunner(model, sites)
            is_same = sites is not None and computes_the_same(bridge, raw, sites)
            kept.checked = (weights, raw if is_same else bridge)
        found = Runner(model) if weights is None else kept.checked[1]
    if not isinstance(found, RawRunner):  # otherwise that was looked at
        require_eval(model)
    return found
