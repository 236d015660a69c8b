"""Hooks on a bridge, on and off again, and the mode that a model must be in."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from sadi_lens.types.model import HookedModel, ModelInfo, every_module

Hook = Callable[..., Tensor | None]
"""Called as hook(activation, hook=point); returns the new activation, or None to leave it."""


FlatHook = Callable[[Tensor], Tensor | None]
"""Called with the activation [row pos width], heads side by side; returns the new one, or None to leave it."""


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


def on_point(hook: FlatHook) -> Hook:
    """A hook on flat activations as TransformerLens calls it."""

    def hook_fn(activation: Tensor, hook_point: Any) -> Tensor | None:  # noqa: ARG001
        found = hook(activation.flatten(2))
        return None if found is None else found.reshape(activation.shape)

    # TransformerLens passes the hook point by the keyword `hook`.
    return lambda activation, hook: hook_fn(activation, hook)


def require_eval(model: HookedModel) -> None:
    """Refuse a model in training mode: dropout would make every number random."""
    if any(module.training for module in every_module(model.original_model)):
        _refuse_training(model)


def _refuse_training(model: HookedModel) -> None:
    named = model.original_model.named_modules()
    name = next(name for name, module in named if module.training)
    raise ValueError(
        f"model must be in eval mode; found training mode at {name or 'the top'}. "
        "Call model.eval() first."
    )


def weights_in_use(model: Any) -> list[Any] | None:
    """Which tensors bridge and raw model hold, and how often each was written to.

    None where the raw model cannot stand for the bridge: hooks of someone else that it would not run, training mode.
    """
    if model.__dict__.get("raw_model") is None or getattr(model, "compatibility_mode", False):
        return None
    outer = model.original_model  # the bridge has its parts, not itself
    if outer._forward_pre_hooks or outer._forward_hooks:
        return None
    if outer.training or outer.base_model.training:
        return None
    found: list[Any] = []
    seen: set[int] = set()
    # The last one goes first: what comes from ``model`` on is no part of the raw model, which would not run its hooks.
    waiting: list[Any] = [model, model.__dict__["raw_model"]]
    is_of_bridge = False
    # Every module once; at every call, so without the nested generators of ``modules()``.
    while waiting:
        module = waiting.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        own = module.__dict__
        if "fwd_hooks" in own:  # a hook point, which has no parts
            if (own["fwd_hooks"] or own["bwd_hooks"]) and not all(
                one.is_permanent for one in (*own["fwd_hooks"], *own["bwd_hooks"])
            ):
                return None
            continue
        is_of_bridge = is_of_bridge or module is model
        if module.training or (is_of_bridge and _is_hooked(own)):
            return None
        if own["_modules"]:
            waiting.extend(own["_modules"].values())
        for one in own["_parameters"].values():
            if one is None:
                continue
            if id(one) in seen:  # the bridge holds what the raw model does: at the same places?
                found.append((id(one), None, None))
                continue
            seen.add(id(one))
            version = None if one.is_inference() else one._version
            found.append((one.data_ptr(), one.device, version))
    return found


# Who puts hooks on that change nothing: a forward pass of transformers that returns hidden states or attentions leaves
# its own behind for good.
_OBSERVERS = ("transformer_lens", "transformers.utils.output_capturing")


def _is_hooked(own: dict[str, Any]) -> bool:
    """Whether a torch hook is on a module that neither TransformerLens nor transformers put there to observe."""
    if not own["_forward_hooks"] and not own["_forward_pre_hooks"]:
        return False
    hooks = (*own["_forward_hooks"].values(), *own["_forward_pre_hooks"].values())
    return any(not str(getattr(one, "__module__", "")).startswith(_OBSERVERS) for one in hooks)
