"""The Hugging Face model behind a bridge, with hooks at the same places: what runs where it computes the same.

A bridge costs about half a millisecond of Python per layer and call, attends eagerly and cannot leave the unembedding
out. ``load_model`` keeps the model that the bridge was booted from; both share their tensors. Which module a hook
point sits on is read off the bridge itself, and believed only after activations and logits of both have been compared
on a padded batch. A model that fails, that was changed since, or that carries hooks of someone else, runs as a bridge.
"""

import inspect
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from sadi_lens.engine.hooks import Hook, attached, device_of
from sadi_lens.types.components import COMPONENTS, hook_name
from sadi_lens.types.model import HookedModel, ModelInfo

RawHook = Callable[[Tensor], Tensor | None]
"""Called with the activation [batch pos width], heads side by side; returns the new one, or None to leave it."""
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4, torch.float16: 5e-2, torch.bfloat16: 2e-1}
"""Largest root-mean-square difference of an activation or logit from the bridge's, as a share of its own size."""
_KEY = "sadi_lens_raw"


class Site(NamedTuple):
    """A hook point as a place in the Hugging Face model."""

    module: Any
    is_input: bool
    """The first argument of the module; otherwise its (first) output."""


class RawModel:
    """A Hugging Face causal language model with the sites of the four components."""

    def __init__(self, model: HookedModel) -> None:
        self.info = ModelInfo.of(model)
        self.hf: Any = model.__dict__["raw_model"]
        self.body: Any = self.hf.base_model
        """Without the unembedding."""
        modules = dict(self.hf.named_modules())
        # A wrapped module stands in the bridge under several paths; one of them is its own in Hugging Face.
        places = model.original_model.named_modules(remove_duplicate=False)
        clean = ((id(one), name.replace("._original_component", "")) for name, one in places)
        home = {key: modules[name] for key, name in clean if name in modules}
        self.sites: dict[tuple[str, int], Site] = {}
        for layer in range(self.info.n_layers):
            for component in COMPONENTS:
                if component == "neuron" and not self.info.d_mlp:
                    continue
                path, _, side = model.get_hook_point(hook_name(component, layer)).name.rpartition(
                    "."
                )
                wrapper: Any = model.get_submodule(path)  # type: ignore[attr-defined]  # a torch module
                module = home[id(wrapper.original_component)]
                self.sites[component, layer] = Site(module, side == "hook_in")
        self.layers = range(self.info.n_layers)
        self.blocks = [self.sites["hidden", layer].module for layer in self.layers]
        self._takes_positions = "position_ids" in inspect.signature(self.hf.forward).parameters
        self.shares_prefix: bool | None = None
        """Whether branches may stand side by side; None until it was tried."""

    def positions(self, attention_mask: Int[Tensor, "row pos"]) -> dict[str, Tensor]:
        """Positions counted from the first real token, for models whose forward takes them."""
        return self.given_positions((attention_mask.cumsum(dim=-1) - 1).clamp(min=0))

    def given_positions(self, positions: Int[Tensor, "row pos"]) -> dict[str, Tensor]:
        """``positions`` as the forward takes them, if it does."""
        return {"position_ids": positions} if self._takes_positions else {}

    @property
    def longest(self) -> int | None:
        """Tokens that every layer can look back on; None where there is no such bound."""
        config = self.hf.config.get_text_config()
        bounds = [
            getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")
        ]
        return min((int(one) for one in bounds if one), default=None)

    @contextmanager
    def attached(self, hooks: Sequence[tuple[str, int, RawHook]]) -> Generator[None]:
        """(component, layer, hook) on for the duration, then exactly these off again, in whatever order runs end."""
        undo: list[Callable[[], None]] = []
        try:
            for component, layer, hook in hooks:
                undo.append(_attach(self.sites[component, layer], hook))
            yield
        finally:
            for one in undo:
                one()


class _Hooked:
    """Hooks of a module, in the place of its ``forward``.

    A module with PyTorch hooks takes a slower way through ``__call__``, which a small model feels at every token; so
    does one hook in a list, so that one alone is called as it is.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.own = module.__dict__.get("forward")  # accelerate keeps one there
        self.forward = module.forward
        self.before: tuple[RawHook, ...] = ()
        self.after: tuple[RawHook, ...] = ()

    def change(self, side: str, hooks: tuple[RawHook, ...]) -> None:
        """Other hooks on one side."""
        setattr(self, side, hooks)
        is_single = len(self.before) == 1 and not self.after
        self.module.forward = self._single(self.before[0]) if is_single else self._several()

    def remove(self) -> None:
        """Put the module's own ``forward`` back."""
        if self.own is None:
            del self.module.forward
        else:
            self.module.forward = self.own

    def _single(self, hook: RawHook) -> Callable[..., Any]:
        forward = self.forward

        def hooked(activation: Tensor, *args: Any, **kwargs: Any) -> Any:
            found = hook(activation)
            return forward(activation if found is None else found, *args, **kwargs)

        return hooked

    def _several(self) -> Callable[..., Any]:
        forward, before, after = self.forward, self.before, self.after

        def hooked(*args: Any, **kwargs: Any) -> Any:
            for hook in before:
                found = hook(args[0])
                args = args if found is None else (found, *args[1:])
            output = forward(*args, **kwargs)
            for hook in after:
                found = hook(output[0] if isinstance(output, tuple) else output)
                if found is not None:
                    output = (found, *output[1:]) if isinstance(output, tuple) else found
            return output

        return hooked


_hooked: dict[int, _Hooked] = {}
"""The modules that have hooks now, by their id."""
_changing = threading.Lock()


def _attach(site: Site, hook: RawHook) -> Callable[[], None]:
    """A hook on a module; returns what takes it off again."""
    key, side = id(site.module), "before" if site.is_input else "after"
    with _changing:
        hooked = _hooked[key] if key in _hooked else _Hooked(site.module)
        _hooked[key] = hooked
        hooked.change(side, (*getattr(hooked, side), hook))

    def undo() -> None:
        with _changing:
            rest = tuple(one for one in getattr(hooked, side) if one is not hook)
            hooked.change(side, rest)
            if not (hooked.before or hooked.after):
                _hooked.pop(key).remove()

    return undo


def raw_model(model: HookedModel) -> RawModel | None:
    """The Hugging Face model of a bridge, if it computes what the bridge would compute now.

    Compared once; again only after weights were replaced or written to. None where hooks of someone else are on the
    bridge, since they would not run, and where any module of either is in training mode.
    """
    state: dict[str, Any] = model.__dict__
    if state.get("raw_model") is None or getattr(model, "compatibility_mode", False):
        return None
    weights = _weights(model)
    if weights is None:
        return None
    if state.get(_KEY, (None, None))[0] != weights:
        state[_KEY] = (weights, _checked(model))
    return state[_KEY][1]


def _weights(model: Any) -> list[Any] | None:
    """Which tensors bridge and raw model hold, and how often each was written to; None if hooked or in training."""
    outer = model.original_model  # the bridge has its parts, not itself
    if outer._forward_pre_hooks or outer._forward_hooks:
        return None
    if outer.training or outer.base_model.training:
        return None
    found: list[Any] = []
    seen: set[int] = set()
    waiting: list[Any] = [model, model.__dict__["raw_model"]]
    while (
        waiting
    ):  # every module once; at every call, so without the nested generators of ``modules()``
        module = waiting.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        own = module.__dict__
        if "fwd_hooks" in own:  # a hook point, which has no parts
            hooks = own["fwd_hooks"] or own["bwd_hooks"]
            if hooks and not all(
                one.is_permanent for one in (*own["fwd_hooks"], *own["bwd_hooks"])
            ):
                return None
            continue
        if module.training:
            return None
        waiting.extend(own["_modules"].values())
        for one in own["_parameters"].values():
            if one is not None:
                version = None if one.is_inference() else one._version
                found.append((one.data_ptr(), one.device, version))
    return found


@torch.inference_mode()
def _checked(model: HookedModel) -> RawModel | None:
    """The raw model, or None where it cannot be built or does not agree with the bridge."""
    try:
        raw = RawModel(model)
        ids, mask = check_batch(model)
        theirs: dict[tuple[str, int], Tensor] = {}
        ours: dict[tuple[str, int], Tensor] = {}

        def note(found: dict[tuple[str, int], Tensor], site: tuple[str, int]) -> Hook:
            def hook_fn(activation: Tensor, hook: Any = None) -> None:
                found[site] = activation.flatten(2).clone()

            return hook_fn

        with attached(model, [(hook_name(*site), note(theirs, site)) for site in raw.sites]):
            want = model(ids, attention_mask=mask, use_cache=False)
        with raw.attached([(*site, note(ours, site)) for site in raw.sites]):
            got = raw.hf(ids, attention_mask=mask, use_cache=False, **raw.positions(mask)).logits
        real = mask.bool()
        is_same = agree(got[real], want[real]) and all(
            ours[site].shape == theirs[site].shape and agree(ours[site][real], theirs[site][real])
            for site in raw.sites
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError):
        return (
            None  # an architecture whose modules are laid out in another way: the bridge knows it
        )
    return raw if is_same else None


def check_batch(model: HookedModel) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
    """Two rows of random tokens, the second padded on the left."""
    length = min(10, int(model.cfg.n_ctx))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, int(model.cfg.d_vocab), (2, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, : length // 3] = 0
    device = device_of(model)
    return ids.to(device), mask.to(device)


def agree(got: Tensor, want: Tensor) -> bool:
    """Whether two tensors are equal to the rounding of their dtype; NaN and infinity are not."""
    tolerance = TOLERANCE.get(want.dtype, max(TOLERANCE.values()))
    got, want = got.float(), want.to(got.device).float()
    size = want.square().mean().sqrt()
    return bool((got - want).square().mean().sqrt() <= tolerance * size)
