"""Tasks: the embedded ones and a user's own."""

from sadi_lens.tasks.embedded import EMBEDDED_TASKS
from sadi_lens.tasks.loading import load_task

__all__ = ["EMBEDDED_TASKS", "load_task"]
