"""The protocol of a hooked model, and what is known of a model: its shape and the identity of its weights."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class HookedModel(Protocol):
    """What sadi_lens needs of a model: a TransformerLens ``TransformerBridge`` in raw mode."""

    cfg: Any
    tokenizer: Any
    original_model: Any

    def get_hook_point(self, hook_name: str) -> Any: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass
class Kept:
    """What this library knows of a model, kept on the model itself."""

    name: str = ""
    """What the user called it."""
    info: "ModelInfo | None" = None
    record: Any = None
    """How ``load_model`` loaded it."""
    checked: Any = None
    """(weights, what runs it as long as these are the weights): ``sadi_lens.engine.runner``."""
    owner: Any = None
    """Whose hooks are on it now: ``sadi_lens.engine.hooks``."""

    def __deepcopy__(self, memo: Any) -> "Kept":
        """A copied model is nobody's, and not yet looked at."""
        return Kept(self.name, self.info, self.record)

    @classmethod
    def of(cls, model: HookedModel) -> "Kept":
        """The one of a model; made on the first call."""
        return model.__dict__.setdefault("_sadi_lens", cls())


@dataclass(frozen=True)
class ModelInfo:
    """Shape and identity of a model, as written into every result and artifact.

    Example:
        >>> sl.types.ModelInfo.of(model).name
        'tiny'
    """

    name: str
    architecture: str
    n_layers: int
    n_heads: int
    """Query heads (hook_z has one entry per query head, also under GQA)."""
    d_head: int
    d_model: int
    d_mlp: int
    """Neurons per layer; 0 where a layer has none that can be hooked (mixture of experts)."""
    fingerprint: str
    """Hash of shapes and a sample of every weight, equal for float32 and bfloat16 copies."""

    @property
    def shape(self) -> str:
        """The sizes in one phrase, for messages."""
        return (
            f"{self.n_layers} layers, {self.n_heads} heads of {self.d_head}, "
            f"d_model {self.d_model}, d_mlp {self.d_mlp}"
        )

    @classmethod
    def of(cls, model: "HookedModel | ModelInfo") -> "ModelInfo":
        """Read shape and fingerprint off a bridged model; cached on the model."""
        if isinstance(model, ModelInfo):
            return model
        kept = Kept.of(model)
        if kept.info is not None:
            return kept.info
        cfg = model.cfg
        is_moe = bool(getattr(cfg, "num_experts", None))
        kept.info = cls(
            name=str(kept.name or cfg.model_name),
            architecture=str(getattr(cfg, "architecture", None) or type(model).__name__),
            n_layers=int(cfg.n_layers),
            n_heads=int(cfg.n_heads),
            d_head=int(cfg.d_head),
            d_model=int(cfg.d_model),
            d_mlp=0 if is_moe else int(cfg.d_mlp or 0),
            fingerprint=fingerprint_of(model),
        )
        return kept.info


def fingerprint_of(model: HookedModel) -> str:
    """Identity of the weights as they are now."""
    return fingerprint(model.original_model.parameters())


def fingerprint(parameters: Iterable[Any]) -> str:
    """A hash of the shapes of tensors and of 64 values of each."""
    digest = hashlib.sha256()
    for parameter in parameters:
        digest.update(str(tuple(parameter.shape)).encode())
        if parameter.is_meta:  # off-loaded to disk by accelerate: its shape must do
            continue
        flat = parameter.detach().reshape(-1)
        step = max(1, flat.numel() // 64)
        digest.update(flat[::step][:64].bfloat16().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
