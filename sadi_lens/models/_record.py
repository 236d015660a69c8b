"""How a model was loaded: what was chosen, and what the self-check measured."""

from dataclasses import dataclass

from sadi_lens.models._selfcheck import SelfCheck
from sadi_lens.types.checks import checked
from sadi_lens.types.model import HookedModel, Kept


@dataclass(frozen=True)
class LoadRecord:
    """How a model was loaded: what was chosen, and what the self-check measured."""

    name: str
    source: str
    """Folder, Hub name or ``"object"``."""
    dtype: str
    device: str
    """Device of the embedding, or the ``device_map`` that was asked for."""
    pad_token: str
    """Token used for padding; its positions are masked."""
    has_chat_template: bool
    """Whether the tokenizer has a chat template (``sadi_lens.tasks.with_chat_template``)."""
    licence: str
    """Of the weights, where it is known; empty otherwise."""
    notes: tuple[str, ...]
    """Choices made for the user, in words."""
    check: SelfCheck | None
    """None if ``self_check=False``."""


@checked()
def load_record(model: HookedModel) -> LoadRecord:
    """How ``load_model`` loaded this model.

    >>> import sadi_lens as sl
    >>> sl.models.load_record(sl.load_model("tiny")).dtype
    'float32'

    Raises:
        ValueError: If the model was not loaded by ``load_model``.
    """
    record = Kept.of(model).record
    if record is None:
        raise ValueError("this model was not loaded by load_model, so there is no record of it")
    return record
