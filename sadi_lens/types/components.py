"""The components of a transformer that can be steered: their hook points and how many units they have.

The only module that spells TransformerLens hook names. Names are valid on a ``TransformerBridge`` in raw
mode; values equal those of the Hugging Face module inputs and outputs named below.
"""

from dataclasses import dataclass

from sadi_lens.types.base import require_one_of
from sadi_lens.types.model import ModelInfo


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
        >>> from sadi_lens.types.components import require_component
        >>> require_component("resid_post").name
        'hidden'
    """
    name = ALIASES.get(component, component)
    require_one_of("component", name, COMPONENTS)
    return COMPONENTS[name]


def component_name(component: str) -> str:
    """Our name of a component that was given by our name or by TransformerLens'.

    Raises:
        ValueError: As ``require_component``.
    """
    return require_component(component).name


def hook_name(component: str, layer: int) -> str:
    """TransformerLens name of the hook point of ``component`` in ``layer``.

    Example:
        >>> from sadi_lens.types.components import hook_name
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
        >>> from sadi_lens.types.components import n_units
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
