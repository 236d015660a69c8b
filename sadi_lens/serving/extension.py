"""What vLLM's workers are told to import: it makes their process steer, or ends it.

A plugin that cannot be imported is only logged by vLLM, and what follows would run unsteered.
"""

from typing import Any

from sadi_lens.serving.plugin import register

register()


class SteeredWorker:
    """Methods that vLLM's workers get (``worker_extension_cls``), for tables that come at run time."""

    model_runner: Any

    def sadi_lens_read(self, folder: str) -> list[str]:
        """Add the tables of one more folder; all names there are now."""
        return self.model_runner.sadi_lens.read([folder])

    def sadi_lens_edited(self) -> int:
        """Spans of tokens edited so far."""
        return self.model_runner.sadi_lens.edited
