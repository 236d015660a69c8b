"""Hooks on and off again: whose they are, one owner at a time, and the state that a model must be in.

Hooks belong to the model, so a pass sees all that are on it, whoever put them there. A second thread therefore waits
until the first is done. Where waiting would never end (the same thread, another task of its event loop), or where a
measurement would be steered by an enclosing ``with steer(...)``, it is refused.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sadi_lens.types.model import HookedModel, Kept, ModelInfo

logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds after which a thread that waits for a model says so."""
Hook = Callable[..., Tensor | None]
"""Called as hook(activation, hook=point); returns the new activation, or None to leave it."""


@contextmanager
def attached(model: HookedModel, hooks: Sequence[tuple[str, Hook]]) -> Generator[None]:
    """Hooks on for the duration, then exactly these handles off again, also on an exception.

    Raises:
        KeyError: If the model has no such hook point.
    """
    points = [(name, model.get_hook_point(name), hook) for name, hook in hooks]
    for name, point, _ in points:
        if point is None:
            raise KeyError(f"{ModelInfo.of(model).name} has no hook point {name!r}")
    handles: list[tuple[Any, Any]] = []
    try:
        for _, point, hook in points:
            point.add_hook(hook)
            handles.append((point, point.fwd_hooks[-1]))
        yield
    finally:
        for point, handle in handles:
            handle.hook.remove()
            point.fwd_hooks[:] = [one for one in point.fwd_hooks if one is not handle]


def require_eval(model: HookedModel) -> None:
    """Refuse a model in training mode: dropout would make every number random.

    Raises:
        ValueError: Naming the first module found in training mode.
    """
    # At every call, so without the nested generators of ``modules()``.
    waiting, seen = [model.original_model], set[int]()
    while waiting:
        module = waiting.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        if module.training:
            _refuse_training(model)
        waiting.extend(module._modules.values())


def _refuse_training(model: HookedModel) -> None:
    named = model.original_model.named_modules()
    name = next(name for name, module in named if module.training)
    raise ValueError(
        f"model must be in eval mode; found training mode at {name or 'the top'}. "
        "Call model.eval() first."
    )


_making = threading.Lock()


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
        """Refuse a pass of another thread or task, which would be steered as well.

        Raises:
            RuntimeError: Naming the intervention.
        """
        if (threading.get_ident(), _task()) != (self.thread, self.task):
            raise RuntimeError(
                f"{self.name} is being steered by {self.steered_by or 'a measurement'!r} in another thread or task, "
                "and this pass would be steered too. Put it into `with steer(model, None)`, which waits for a thread"
            )


_inherited: ContextVar[tuple[Hold, ...]] = ContextVar("_inherited", default=())
"""Holds of this context, and of the one that started it (``asyncio.to_thread``)."""


class Owner:
    """Who has a model now."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holds: list[Hold] = []

    @contextmanager
    def held(self, name: str, steered_by: str) -> Generator[Hold]:
        """The model for this thread or task alone."""
        mine = Hold(name, steered_by, threading.get_ident(), _task())
        with self._changed:
            while any([self._is_in_the_way(mine, one) for one in self._holds]):
                if not self._changed.wait(PATIENCE):
                    logger.warning("%s has been waited for: another thread has it", name)
            self._holds.append(mine)
        _inherited.set((*_inherited.get(), mine))
        try:
            yield mine
        finally:
            _inherited.set(tuple(one for one in _inherited.get() if one is not mine))
            with self._changed:
                self._holds.remove(mine)
                self._changed.notify_all()

    def _is_in_the_way(self, mine: Hold, other: Hold) -> bool:
        what = repr(other.steered_by) if other.steered_by else "a measurement"
        if other.thread != mine.thread:
            if other in _inherited.get():
                raise RuntimeError(
                    f"{mine.name} is in use by {what} in the task that started this thread and waits for it, so "
                    "waiting would never end. Leave that block first"
                )
            return True
        if other.task is not mine.task:
            raise RuntimeError(
                f"{mine.name} is in use by {what} in another task of this thread, and waiting for it would never "
                "end. Run one after the other, or in threads (asyncio.to_thread), which wait for one another"
            )
        if other.steered_by and not mine.steered_by:
            raise RuntimeError(
                f"{mine.name} is being steered by {what} in an enclosing `with steer(...)`, which would change what "
                "is measured here. Leave that block first; to measure the intervention, give it to the call"
            )
        return False


@contextmanager
def owned(model: HookedModel, steered_by: str = "") -> Generator[Hold]:
    """The model for this thread or task alone.

    Raises:
        RuntimeError: If another task of this thread has it, or (without ``steered_by``) this one steers it.
    """
    kept = Kept.of(model)
    with _making:
        kept.owner = kept.owner or Owner()
    with kept.owner.held(ModelInfo.of(model).name, steered_by) as hold:
        yield hold


def _task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop in this thread
        return None
