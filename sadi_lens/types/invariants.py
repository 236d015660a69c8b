"""What must hold between the parts of a saved object: types, shapes against the model and each other, ranges."""

import functools
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, Union, get_args, get_origin

import numpy as np

from sadi_lens.types.base import ArrayEq, not_one_of
from sadi_lens.types.checks import as_array
from sadi_lens.types.contradictions import contradictions
from sadi_lens.types.model import COMPONENTS, ModelInfo, n_units

PROBABILITIES = ("accuracy", "accuracies", "valid_rate", "unsteered_accuracy", "unsteered_valid_rate", "chance",
                 "dev_accuracy", "mcnemar_p", "holm_p", "null_p", "layer_null_p", "majority", "balanced_accuracy",
                 "unsteered_balanced_accuracy", "auc", "agreement", "repetition", "frequency", "bootstrap",
                 "split_half", "jaccard_all", "jaccard_disjoint", "noise", "noise_all", "noise_disjoint",
                 "held_out", "top_probability", "probability")  # fmt: skip
COUNTS = ("k", "ks", "n", "n_pairs", "n_cells", "n_texts", "n_tokens", "n_candidates", "n_clusters", "n_splits",
          "n_prompt", "passes", "runs", "skipped", "merged_boundaries", "mended", "broken", "index", "count", "sizes",
          "layer", "unit")  # fmt: skip
"""Whole numbers that are never negative."""
SOME = {"Sweep": ("n",), "ActivationDifferences": ("n",), "Shard": ("n", "count"), "Contrast": ("n_family",),
        "GroupResult": ("n",), "Comparison": ("n",), "SignAgreement": ("n",), "SideEffectCurve": ("n",),
        "PairsCurve": ("k", "n_pairs", "sizes"), "Selection": ("n_splits",), "Stability": ("n_pairs",)}  # fmt: skip
"""Numbers of what a result rests on: at least 1."""
FINITE = {"ActivationDifferences": ("mean", "vector", "prompt_mean", "prompt_rms"), "Choice": ("strength",),
          "NullBand": ("strength",), "Sweep": ("strengths", "unsteered_accuracy"),
          "SignFlipNull": ("maxima",),
          "UnitEffects": ("strength",)}  # fmt: skip
LENGTHS = {
    "k": "ks",
    "strength": "strengths",
    "token": "tokens",
    "method": "methods",
    "size": "sizes",
}
"""Axis of an array -> the field that names its places."""
DRAWN = "ActivationDifferences"
"""May lack values, or be a part of a model's, where it is only drawn; what is saved or merged may not."""
COMMON = {
    "layer",
    "unit",
    "d",
    "item",
    "flip",
    "draw",
    "half",
    "pair",
    "prompt",
    "sample",
    *LENGTHS,
}
"""Axes that have one length in all arrays of an object; those of another name may differ."""


class Consistent(ArrayEq):
    """A frozen dataclass that cannot be built from parts that contradict each other; equal part by part.

    Its arrays are its own and cannot be written to, so that it does not become another result later on:
    ``found.mean *= -1`` would change it before Python says that it is frozen.
    """

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]  # mixed into dataclasses only
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray) and (value.flags.writeable or not value.flags.owndata):
                value = value.copy()
                value.setflags(write=False)
                object.__setattr__(self, one.name, value)
        require_invariants(self)


UNTYPED = {
    "Mask": {"selected": ["layer", "unit"]},
    "Scores": {"values": ["layer", "unit"]},
    "Evaluation": {"clusters": ["item"]},
    "PairsCurve": {"noise_all": ["size", "draw"], "noise_disjoint": ["size", "draw"]},
    "SideEffectCurve": {"moved": ["strength"]},
    "SignFlipNull": {"magnitudes": ["flip"]},
    "Stability": {"noise": ["half"]},
    "UnitDifferences": {"clusters": ["pair"]},
    "UnitEffects": {"clusters": ["sample"]},
    "Sweep": {
        "correct": ["k", "strength", "item"],
        "unsteered_correct": ["item"],
        "balanced_accuracy": ["k", "strength"],
        "clusters": ["item"],
        "standard_errors": ["k", "strength"],
    },
}
"""Axes of arrays that may be given as anything that becomes one."""


def require_invariants(thing: Any, where: str = "") -> None:
    """Refuse an object whose parts contradict each other.

    Args:
        thing: A dataclass or named tuple.
        where: Where it stands, for the message; empty where it is only being built.

    Raises:
        ValueError: With the first part that does not fit.
    """
    kind = type(thing)
    what = f"{kind.__name__} ({where})" if where else kind.__name__
    is_whole = bool(where) or kind.__name__ != DRAWN
    for name, one in _wanted(kind).items():
        value = getattr(thing, name)
        if not _fits(value, one.hint):
            raise ValueError(f"{name} of {what} must be {_words(one.hint)}, got {_words(value)}")
        if one.least is not None and not _is_count(value, one.least):
            raise ValueError(f"{name} of {what} must be at least {one.least}, got {_words(value)}")
        if one.is_probability and not _is_probability(value):
            raise ValueError(f"{name} of {what} must be in [0, 1], got {_words(value)}")
        if name == "component" and value not in ("", *COMPONENTS):
            raise not_one_of(f"component of {what}", value, COMPONENTS)
        if is_whole and one.is_finite and not np.isfinite(value).all():
            raise ValueError(f"{name} of {what} must be finite, got NaN or infinity")
    _require_shapes(thing, what, is_whole=is_whole)
    for fault in contradictions(thing):
        raise ValueError(f"{what} contradicts itself: {fault}")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    if is_dataclass(kind):
        return {one.name: one.type for one in fields(kind)}
    return dict(kind.__annotations__)


class _Wanted(NamedTuple):
    """What a field must be."""

    hint: Any
    least: int | None
    is_probability: bool
    is_finite: bool


@functools.cache
def _wanted(kind: Any) -> dict[str, _Wanted]:
    some, finite = SOME.get(kind.__name__, ()), FINITE.get(kind.__name__, ())
    return {
        name: _Wanted(
            hint,
            1 if name in some else 0 if name in COUNTS else None,
            name in PROBABILITIES,
            name in finite,
        )
        for name, hint in _hints(kind).items()
    }


@functools.cache
def _axes(kind: Any) -> dict[str, list[str]]:
    """Name of an array -> names of its axes."""
    known = {
        name: hint.dim_str.split()
        for name, hint in _hints(kind).items()
        if hasattr(hint, "dim_str")
    }
    return known | UNTYPED.get(kind.__name__, {})


@functools.cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint), get_args(hint)


def _is_count(value: Any, least: int) -> bool:
    return all(one >= least for one in (value if isinstance(value, tuple) else (value,)))


def _fits(value: Any, hint: Any) -> bool:
    if type(value) is hint or hint is Any or isinstance(hint, str):
        return True
    if hasattr(hint, "dim_str"):
        return isinstance(value, np.ndarray) and _is_array(value.dtype, value.shape, hint)
    origin, args = _parts(hint)
    if hint in (int, float):
        numbers = (int, np.integer) if hint is int else (int, float, np.integer, np.floating)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint is None or hint is types.NoneType:
        return value is None
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = [args[0]] * len(value) if args[1:] == (...,) else args
        return len(value) == len(wanted) and all(map(_fits, value, wanted))
    if origin is not None:
        return not isinstance(origin, type) or isinstance(
            value, Mapping if origin is dict else origin
        )
    return not isinstance(hint, type) or isinstance(value, hint)


@functools.lru_cache
def _is_array(dtype: np.dtype[Any], shape: tuple[int, ...], hint: Any) -> bool:
    """Whether arrays of this kind are of an array type of jaxtyping: dtype and number of axes."""
    return isinstance(np.broadcast_to(np.zeros((), dtype), shape), hint)


def _is_probability(value: Any) -> bool:
    if isinstance(value, float):
        return value != value or -1e-9 <= value <= 1 + 1e-9
    try:
        values = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return False
    return bool((np.isnan(values) | ((values >= -1e-9) & (values <= 1 + 1e-9))).all())


def _require_shapes(thing: Any, what: str, *, is_whole: bool) -> None:
    """Every axis has one length, in all arrays of an object and against its model."""
    axes = _axes(type(thing))
    sizes: dict[str, int] = {}
    if is_whole:
        sizes = _sizes(thing, {"layer", "unit"} <= {one for dims in axes.values() for one in dims})
    for name, dims in axes.items():
        value = getattr(thing, name)
        if value is None:
            continue
        is_array = isinstance(value, np.ndarray)
        shape = value.shape if is_array else as_array(f"{name} of {what}", value).shape
        wanted = [
            sizes.setdefault(dim, size) if dim in COMMON else size
            for dim, size in zip(dims, shape, strict=False)
        ]
        if len(shape) != len(dims) or list(shape) != wanted:
            raise ValueError(f"{name} of {what} must be {dims} = {wanted}, got {list(shape)}")


def _sizes(thing: Any, has_all_units: bool) -> dict[str, int]:
    """What is known of the axes from what is not an array."""
    sizes = {
        axis: len(getattr(thing, name)) for axis, name in LENGTHS.items() if hasattr(thing, name)
    }
    model, component = getattr(thing, "model", None), getattr(thing, "component", None)
    mask = getattr(thing, "mask", None)
    if isinstance(model, ModelInfo) and component in COMPONENTS:
        n = n_units(model, component)
        if has_all_units:
            sizes |= {"layer": model.n_layers, "unit": n}
        elif hasattr(thing, "units"):
            _require_units(thing.units, model.n_layers, n)
            sizes["unit"] = len(thing.units)
    elif mask is not None:
        sizes |= (
            {"layer": mask.n_layers, "unit": mask.n_units} if has_all_units else {"unit": mask.k}
        )
    if type(thing).__name__ == "Sweep":
        sizes["item"] = thing.n
    return sizes


def _require_units(units: tuple[Any, ...], n_layers: int, n: int) -> None:
    for layer, unit in units:
        if not (0 <= layer < n_layers and 0 <= unit < n):
            raise ValueError(
                f"unit must be in [0, {n_layers - 1}] x [0, {n - 1}], got ({layer}, {unit})"
            )


def _words(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if hasattr(value, "dim_str"):
        return f"an array [{value.dim_str}] ({value.__name__.split('[')[0]})"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    text = value.__name__ if isinstance(value, type) else str(value)
    text = repr(value) if isinstance(value, str) else text
    return text if len(text) <= 60 else f"{text[:57]}..."
