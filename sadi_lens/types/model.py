"""A model as this library knows it: its protocol, shape and identity, and the components that can be steered.

The only module that spells TransformerLens hook names. Names are valid on a ``TransformerBridge`` in raw
mode; values equal those of the Hugging Face module inputs and outputs named below.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sadi_lens.types.base import not_one_of

MOST_VALUES = 1 << 20
"""Of one tensor, in a fingerprint."""


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
    read_at: Any = None
    """Where the weights lay, and how often each had been written to, when ``info`` was read."""
    tokenizer: Any = None
    """(tokenizer, its sizes when it was read, its hashes)."""
    record: Any = None
    """How ``load_model`` loaded it."""
    checked: Any = None
    """(weights, what runs it as long as these are the weights): ``sadi_lens.engine.runner``."""
    holds: list[Any] = field(default_factory=list)
    """Whose hooks are on it now: ``sadi_lens.engine.runner``."""

    def __deepcopy__(self, memo: Any) -> "Kept":
        """A copied model is nobody's, and not yet looked at."""
        return Kept(self.name, record=self.record)

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
    """Hash of shapes and of values in every row and column, equal for float32 and bfloat16 copies."""

    @property
    def shape(self) -> str:
        """The sizes in one phrase, for messages."""
        return (
            f"{self.n_layers} layers, {self.n_heads} heads of {self.d_head}, "
            f"d_model {self.d_model}, d_mlp {self.d_mlp}"
        )

    @classmethod
    def of(cls, model: "HookedModel | ModelInfo") -> "ModelInfo":
        """Read shape and fingerprint off a bridged model; kept on the model until its weights are written to.

        What is written through ``.data`` torch does not count: write inside of ``torch.no_grad()``, or load again.
        """
        if isinstance(model, ModelInfo):
            return model
        kept = Kept.of(model)
        now = _stamp(model)
        if kept.info is not None and kept.read_at == now:
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
        kept.read_at = now
        return kept.info


def _stamp(model: HookedModel) -> list[tuple[int, int | None]]:
    """Where every weight lies, and how often it was written to."""
    raw: Any = model.__dict__.get("raw_model") or model.original_model  # they share their weights
    return [
        (one.data_ptr(), None if one.is_inference() else one._version)
        for module in every_module(raw)
        for one in module._parameters.values()
        if one is not None
    ]


def every_module(model: Any) -> list[Any]:
    """Every module of a model once; looked at in every call, so without the nested generators of ``modules()``."""
    found: dict[int, Any] = {}
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if module is not None and id(module) not in found:
            found[id(module)] = module
            waiting.extend(module._modules.values())
    return list(found.values())


def fingerprint_of(model: HookedModel) -> str:
    """Identity of the weights as they are now."""
    return fingerprint(model.original_model.parameters())


def fingerprint(parameters: Iterable[Any]) -> str:
    """A hash of the shapes of tensors and of values of each, one in every row and every column.

    So a model of which a single unit was scaled (what ``export_folded`` does) is another one.
    """
    digest = hashlib.sha256()
    for parameter in parameters:
        digest.update(str(tuple(parameter.shape)).encode())
        if parameter.is_meta:  # off-loaded to disk by accelerate: its shape must do
            continue
        values = _of_rows_and_columns(parameter.detach())
        digest.update(values.bfloat16().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _of_rows_and_columns(values: Any) -> Any:
    """A diagonal that begins again at the edge it meets: one value in every row (of all other axes) and column."""
    matrix = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(1, -1)
    if not matrix.numel():
        return matrix.reshape(-1)
    longest = max(matrix.shape)
    step = max(1, longest // MOST_VALUES)  # of packed weights, which are one long column
    places = np.arange(0, longest, step)
    return matrix[places % matrix.shape[0], places % matrix.shape[1]]


@dataclass(frozen=True)
class Component:
    """One kind of unit and where it lives.

    The hooked tensor is [batch pos head d_head] for heads, [batch pos unit] otherwise.
    """

    name: str
    hook: str
    """TransformerLens hook point of layer ``{layer}``."""
    letter: str
    """Letter in short unit names, as in L8H6."""
    unit: str
    """What one unit is called in axis titles."""


COMPONENTS = {
    component.name: component
    for component in (
        # Per-head output before W_O (input of o_proj / c_proj / dense).
        Component("head", "blocks.{layer}.attn.hook_z", "H", "head"),
        # Residual stream after the block.
        Component("hidden", "blocks.{layer}.hook_resid_post", "D", "dimension"),
        # Output of the MLP block: what the paper's reference code calls hidden.
        Component("mlp_out", "blocks.{layer}.hook_mlp_out", "D", "dimension"),
        # What enters W_out (gated MLPs: act(gate) * up).
        Component("neuron", "blocks.{layer}.mlp.hook_post", "N", "neuron"),
    )
}


ALIASES = {"z": "head", "resid_post": "hidden"}
"""Names of TransformerLens that are accepted for ours; every result carries our name."""


def require_component(component: str) -> Component:
    """Look a component up by its name or by TransformerLens' (``"z"``, ``"resid_post"``).

    Args:
        component: ``"head"``, ``"hidden"``, ``"mlp_out"``, ``"neuron"`` or a key of ``ALIASES``.

    Returns:
        The entry of ``COMPONENTS``.

    Raises:
        ValueError: If it is unknown, with the nearest known name.

    Example:
        >>> from sadi_lens.types.model import require_component
        >>> require_component("resid_post").name
        'hidden'
    """
    name = ALIASES.get(component, component)
    if name not in COMPONENTS:
        raise not_one_of("component", name, COMPONENTS)
    return COMPONENTS[name]


def component_name(component: str) -> str:
    """Our name of a component that was given by our name or by TransformerLens'."""
    return require_component(component).name


def hook_name(component: str, layer: int) -> str:
    """TransformerLens name of the hook point of ``component`` in ``layer``.

    Example:
        >>> from sadi_lens.types.model import hook_name
        >>> hook_name("head", 3)
        'blocks.3.attn.hook_z'
    """
    return require_component(component).hook.format(layer=layer)


def unit_label(component: str, layer: int, unit: int) -> str:
    """The field's short name of a unit: L8H6 for a head, L3D17 for a dimension, L3N470 for a neuron."""
    return f"L{layer}{require_component(component).letter}{unit}"


def n_units(info: ModelInfo, component: str) -> int:
    """Units per layer of a component.

    Raises:
        ValueError: If the component is unknown, or the model has no such units.

    Example:
        >>> from sadi_lens.types.model import n_units
        >>> info = sl.types.ModelInfo.of(model)
        >>> n_units(info, "head") == info.n_heads
        True
    """
    counts = {
        "head": info.n_heads,
        "hidden": info.d_model,
        "mlp_out": info.d_model,
        "neuron": info.d_mlp,
    }
    component = component_name(component)
    if not counts[component]:
        raise ValueError(
            f"{info.name} ({info.architecture}) has no MLP neurons that can be hooked: in a mixture "
            "of experts TransformerLens' hook_post is the block output. Use 'head' or 'hidden'."
        )
    return counts[component]


def unit_shape(info: ModelInfo, component: str) -> tuple[int, int]:
    """Units per layer of a component, and values of each: d_head for heads, else 1."""
    return n_units(info, component), info.d_head if component == "head" else 1


def gate_hook(layer: int) -> str:
    """Hook point of an MLP before its non-linearity (gated MLPs: the output of the gate projection)."""
    return f"blocks.{layer}.mlp.hook_pre"


def block_hooks(layer: int) -> dict[str, str]:
    """Hook points of what a block reads from the residual stream and adds to it: read, attention, mlp, sum."""
    return {
        "read": f"blocks.{layer}.hook_resid_pre",
        "attention": f"blocks.{layer}.hook_attn_out",
        "mlp": f"blocks.{layer}.hook_mlp_out",
        "sum": f"blocks.{layer}.hook_resid_post",
    }
