"""Objects as JSON values and arrays, and back: equal in type and value, or refused with the reason.

A dict with text keys is ``{"dict": {...}}``, with other keys ``{"pairs": [[key, value], ...]}``; a list is
``{"list": [...]}``, a tuple a bare JSON list; a number that JSON lacks is ``{"float": "nan"}``, one of numpy
``{"scalar": value, "dtype": ...}``; a prompt in a chat template is ``{"chat": text}``; an object is its fields beside
``"type"``. Nothing is pickled.
"""

import importlib
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np

from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.invariants import require_invariants

MAX_DEPTH = 100
"""Levels of dicts, lists and objects in one another."""
DIFFERENCES = "ByComponent"
"""The one dict that is more than that."""
# Type name -> module, imported only when such an object is met: results load without torch.
MODULES = {
    "ModelInfo": "sadi_lens.types.model",
    DIFFERENCES: "sadi_lens.types.differences",
    "ActivationDifferences": "sadi_lens.types.differences",
    "UnitDifferences": "sadi_lens.types.differences",
    "Mask": "sadi_lens.types.masks",
    "Scores": "sadi_lens.types.scores",
    "Interval": "sadi_lens.types.stats",
    "Evaluation": "sadi_lens.types.results",
    "GroupResult": "sadi_lens.types.results",
    "Guards": "sadi_lens.types.results",
    "NullBand": "sadi_lens.types.results",
    "Picks": "sadi_lens.types.results",
    "Written": "sadi_lens.types.results",
    "MethodRow": "sadi_lens.types.results",
    "SideEffects": "sadi_lens.types.results",
    "Contrast": "sadi_lens.types.results",
    "Comparison": "sadi_lens.types.results",
    "Choice": "sadi_lens.types.results",
    "Selection": "sadi_lens.types.results",
    "Shard": "sadi_lens.types.results",
    "Sweep": "sadi_lens.types.results",
    "UnitActivations": "sadi_lens.types.results",
    "SignFlipNull": "sadi_lens.types.results",
    "ActivationShifts": "sadi_lens.types.results",
    "GenerationTrace": "sadi_lens.types.results",
    "TokenRoles": "sadi_lens.types.results",
    "SideEffectCurve": "sadi_lens.types.results",
    "PairsCurve": "sadi_lens.types.results",
    "SignAgreement": "sadi_lens.types.results",
    "CheckReport": "sadi_lens.types.results",
    "CheckRow": "sadi_lens.types.results",
    "Edit": "sadi_lens.types.results",
    "PruneStep": "sadi_lens.types.results",
    "Pruned": "sadi_lens.types.results",
    "Receipt": "sadi_lens.types.results",
    "Stability": "sadi_lens.types.results",
    "UnitEffects": "sadi_lens.types.results",
    "PromptGrid": "sadi_lens.types.results",
    "PushGrid": "sadi_lens.types.results",
    "ExplorerGrid": "sadi_lens.types.results",
    "MaskedScaling": "sadi_lens.interventions",
    "MaskedAddition": "sadi_lens.interventions",
    "VectorAddition": "sadi_lens.interventions",
    "Push": "sadi_lens.interventions",
    "AUSteer": "sadi_lens.interventions",
    "ActAdd": "sadi_lens.interventions",
    "CAST": "sadi_lens.interventions",
    "Clamped": "sadi_lens.interventions",
    "HouseholderRotation": "sadi_lens.interventions",
    "ITI": "sadi_lens.interventions",
    "InferAlignerGate": "sadi_lens.interventions",
    "SignedScaling": "sadi_lens.interventions",
    "SphericalSteering": "sadi_lens.interventions",
    "ControlToken": "sadi_lens.interventions",
    "SwappedPrompt": "sadi_lens.interventions",
    "UnitScaling": "sadi_lens.interventions",
    "MeanAblation": "sadi_lens.interventions",
    "ResampleAblation": "sadi_lens.interventions",
    "DirectPath": "sadi_lens.interventions",
    "TDA": "sadi_lens.interventions",
    "SteeringTable": "sadi_lens.serving.tables",
}


def encode(thing: Any, where: str, arrays: dict[str, np.ndarray] | None, depth: int = 0) -> Any:
    """JSON values for ``thing``.

    Args:
        thing: An object of one of ``MODULES``, numbers, texts, arrays; dicts, lists and tuples of them.
        where: What messages call it.
        arrays: Takes the arrays, by number; None to write them into the JSON.
        depth: Of the caller.

    Raises:
        TypeError: If a type would come back as another one.
        ValueError: If it is nested too deep (or holds itself), or its parts contradict each other.
    """
    if depth > MAX_DEPTH:
        raise ValueError(
            f"{where[:80]}... is nested deeper than {MAX_DEPTH} levels, or holds itself"
        )
    if isinstance(thing, np.ndarray):
        return _encode_array(thing, where, arrays)
    if isinstance(thing, np.generic):
        return _encode_scalar(thing, where)
    kind = type(thing)
    if kind is float and not math.isfinite(thing):
        return {"float": str(thing)}
    if thing is None or kind in (str, int, float, bool):
        return thing
    if kind is ChatPrompt:
        return {"chat": str(thing)}

    def inner(one: Any, name: Any) -> Any:
        return encode(one, f"{where}.{name}", arrays, depth + 1)

    if kind is list:
        return {"list": [inner(one, index) for index, one in enumerate(thing)]}
    if kind is tuple:
        return [inner(one, index) for index, one in enumerate(thing)]
    if kind is dict:
        if all(type(key) is str for key in thing):
            return {"dict": {key: inner(value, key) for key, value in thing.items()}}
        return {"pairs": [[inner(key, f"key {key!r}"), inner(value, key)] for key, value in thing.items()]}  # fmt: skip
    if kind.__name__ == DIFFERENCES and _class(DIFFERENCES) is kind:
        return {
            "type": DIFFERENCES,
            "dict": {key: inner(value, key) for key, value in thing.items()},
        }
    if MODULES.get(kind.__name__) and _class(kind.__name__) is kind:
        require_invariants(thing, where)
        return {
            "type": kind.__name__,
            **{name: inner(getattr(thing, name), name) for name in _fields(kind)},
        }
    raise TypeError(_reason(thing, where))


def _reason(thing: Any, where: str) -> str:
    name = type(thing).__name__
    for base, remedy in ((Mapping, "dict(...)"), (list, "list(...)"), (tuple, "tuple(...)"), (str, "str(...)"),
                         (int, "int(...)"), (float, "float(...)")):  # fmt: skip
        if isinstance(thing, base):
            return f"{where} is of type {name}, which would come back as another one; save {remedy} of it"
    return f"cannot save {name} at {where}; known: {sorted(MODULES)}, dict, list, tuple, numbers, text, arrays"


def _encode_array(thing: np.ndarray, where: str, arrays: dict[str, np.ndarray] | None) -> Any:
    if type(thing) is not np.ndarray or thing.dtype.kind not in "biuf" or thing.dtype.itemsize > 8:
        raise TypeError(
            f"cannot save {type(thing).__name__} of {thing.dtype} at {where}: arrays must be plain numpy arrays of "
            "bool, integers or floats up to 64 bits; convert it with np.asarray(..., dtype=...)"
        )
    dtype, shape = thing.dtype.str, list(thing.shape)
    if arrays is None:
        return {"array": _numbers(thing), "dtype": dtype, "shape": shape}
    name = str(len(arrays))
    # Little-endian and in C order, as safetensors has it; 0-d arrays stay 0-d.
    arrays[name] = thing.astype(thing.dtype.newbyteorder("<"), order="C")
    return {"array": name, "dtype": dtype, "shape": shape}


def _numbers(array: np.ndarray) -> list[Any]:
    """Flat; NaN and infinity, which JSON lacks, as text; float32 in as few digits as give it back."""
    flat = array.ravel().tolist()
    if array.dtype.kind != "f":
        return flat
    if array.dtype == np.float32:
        short = [float(one) for one in array.ravel().astype("U")]
        flat = short if np.array_equal(np.array(short, array.dtype), array.ravel(), True) else flat
    return [value if math.isfinite(value) else str(value) for value in flat]


def _encode_scalar(thing: np.generic, where: str) -> Any:
    if isinstance(thing, np.str_):
        return {"scalar": str(thing), "dtype": "str"}
    if thing.dtype.kind not in "biuf" or thing.dtype.itemsize > 8:
        raise TypeError(f"cannot save a numpy {thing.dtype} at {where}; convert it with .item()")
    return {"scalar": _numbers(np.asarray(thing))[0], "dtype": thing.dtype.str}


def decode(values: Any, arrays: Mapping[str, np.ndarray], source: str) -> Any:
    """What ``encode`` was given.

    Raises:
        ValueError: If the values are not such, or the parts of an object contradict each other; ``source`` is named.
    """
    try:
        return _decode(values, arrays)
    except RecursionError as error:
        raise ValueError(f"{source} cannot be read: it is nested too deep") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        words = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{source} cannot be read: {words}") from error


def _decode(values: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(values, list):
        return tuple(_decode(one, arrays) for one in values)
    if not isinstance(values, dict):
        return values
    if "type" in values:
        return _decode_object(values, arrays)
    match sorted(values):
        case ["array", "dtype", "shape"]:
            return _decode_array(values, arrays)
        case ["dtype", "scalar"]:
            if values["dtype"] == "str":
                return np.str_(values["scalar"])
            return np.array(_float(values["scalar"]), dtype=_dtype(values["dtype"]))[()]
        case ["list"]:
            return [_decode(one, arrays) for one in values["list"]]
        case ["float"]:
            return _float(values["float"])
        case ["chat"]:
            return ChatPrompt(values["chat"])
        case ["dict"]:
            return {key: _decode(value, arrays) for key, value in values["dict"].items()}
        case ["pairs"]:
            return {_decode(key, arrays): _decode(value, arrays) for key, value in values["pairs"]}
        case names:
            raise ValueError(f"it holds an unknown form with keys {names}")


def _decode_object(values: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    name = values["type"]
    if not isinstance(name, str) or name not in MODULES:
        raise ValueError(f"it holds an unknown type {name!r}; known: {sorted(MODULES)}")
    kind = _class(name)
    if name == DIFFERENCES:
        return kind({key: _decode(value, arrays) for key, value in values["dict"].items()})
    given = {key: _decode(value, arrays) for key, value in values.items() if key != "type"}
    _require_fields_of(kind, name, given)
    try:
        thing = kind(**given)
    except TypeError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error
    require_invariants(thing, name)
    return thing


def _require_fields_of(kind: Any, name: str, given: Mapping[str, Any]) -> None:
    known = _fields(kind)
    other = [key for key in given if key not in known]
    if is_dataclass(kind):
        needed = {one.name for one in fields(kind) if one.default is one.default_factory is MISSING}
    else:
        needed = {*known} - {*getattr(kind, "_field_defaults", ())}
    lacking = [key for key in known if key in needed and key not in given]
    for what, names in (("lacks", lacking), ("has the unknown", other)):
        if names:
            raise ValueError(
                f"{name} {what} {', '.join(map(repr, names))}: it was written by another version, or changed"
            )


def _decode_array(values: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    dtype, shape = _dtype(values["dtype"]), values["shape"]
    if isinstance(values["array"], list):
        flat = [_float(one) for one in values["array"]]
        return np.array(flat, dtype=dtype).reshape(shape)
    found = arrays[values["array"]]
    if list(found.shape) != shape or found.dtype != dtype.newbyteorder("<"):
        raise ValueError(
            f"array {values['array']} is {found.dtype} {list(found.shape)}, not {dtype} {shape}"
        )
    return found.astype(dtype)


def _dtype(name: Any) -> np.dtype:
    dtype = np.dtype(name)
    if not isinstance(name, str) or dtype.kind not in "biuf":
        raise ValueError(f"unknown dtype {name!r}")
    return dtype


def _float(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("nan", "inf", "-inf"):
            raise ValueError(f"{value!r} is not a number")
        return float(value)
    return value


def _class(name: str) -> Any:
    return getattr(importlib.import_module(MODULES[name]), name)


def _fields(kind: Any) -> list[str]:
    return [one.name for one in fields(kind)] if is_dataclass(kind) else list(kind._fields)
