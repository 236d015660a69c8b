"""One owner of a model at a time.

Hooks belong to the model, so a pass sees all that are on it, whoever put them there. A second thread therefore waits
until the first is done. Where waiting would never end (the same thread, another task of its event loop, a thread that
its own task waits for), or where a measurement would be steered by an enclosing ``with steer(...)``, it is refused.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sadi_lens.types.model import HookedModel, Kept, ModelInfo

logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds after which a thread that waits for a model says so."""
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
        """Refuse a pass of another thread or task, which would be steered as well."""
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


def owned(model: HookedModel, steered_by: str = "") -> AbstractContextManager[Hold]:
    """The model for this thread or task alone.

    Raises:
        RuntimeError: If another task of this thread has it, or (without ``steered_by``) this one steers it.
    """
    kept = Kept.of(model)
    with _making:
        kept.owner = kept.owner or Owner()
    return kept.owner.held(ModelInfo.of(model).name, steered_by)


def _task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop in this thread
        return None
