"""Loading any causal language model as a checked TransformerBridge; two models come with the package.

In: a name on the Hugging Face Hub, a local folder, or a Hugging Face model. Out: a bridge in eval mode whose logits
and hook points were compared with the model itself. Touches: the caches of Hugging Face, where a Hub name is given,
and the model that is wrapped.
"""

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
