"""Models: loading any causal language model as a checked TransformerBridge, and the two that come with the package."""

from sadi_lens.models._selfcheck import SelfCheck
from sadi_lens.models.loading import LoadRecord, load_model, load_record
from sadi_lens.models.planted import planted_model, planted_task

__all__ = [
    "LoadRecord",
    "SelfCheck",
    "load_model",
    "load_record",
    "planted_model",
    "planted_task",
]
