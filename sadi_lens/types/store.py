"""Saving and loading: a folder of config.json + arrays.safetensors, or one JSON file for a whole run.

Nothing is pickled. A folder is written beside its place and moved there when complete, so a crash leaves either
the old artifact or the new one. The library's version and the model's fingerprint are inside.
"""

import importlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sadi_lens.types.files import partial, write_whole
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import HookedModel, ModelInfo

FORMAT_VERSION = 1
CONFIG, ARRAYS = "config.json", "arrays.safetensors"
# Type name -> module, imported only when such an object is met: results load without torch.
MODULES = {
    "ModelInfo": "sadi_lens.types.model",
    "ActivationDifferences": "sadi_lens.types.differences",
    "UnitDifferences": "sadi_lens.types.differences",
    "Mask": "sadi_lens.types.masks",
    "Scores": "sadi_lens.types.scores",
    "Interval": "sadi_lens.types.stats",
    "Evaluation": "sadi_lens.types.results",
    "NullBand": "sadi_lens.types.results",
    "MethodRow": "sadi_lens.types.results",
    "SideEffects": "sadi_lens.types.results",
    "Contrast": "sadi_lens.types.results",
    "Comparison": "sadi_lens.types.results",
    "Choice": "sadi_lens.types.results",
    "Selection": "sadi_lens.types.results",
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
    "SteeringTable": "sadi_lens.serving.tables",
}


def save(thing: Any, path: str | Path) -> Path:
    """Write a mask, differences, an intervention or a result as a folder; replaces an earlier one whole.

    Args:
        thing: An instance of one of ``MODULES``, or a dict of them.
        path: Folder to write.

    Returns:
        The folder.

    Raises:
        TypeError: If ``thing`` is of another type.
        FileExistsError: If ``path`` exists and is not such a folder.
    """
    path = Path(path)
    if path.exists() and not _is_ours(path):
        raise FileExistsError(
            f"{path} exists and was not written by sadi_lens.save; it is left alone"
        )
    arrays: dict[str, np.ndarray] = {}
    config = {**_header(), "object": _encode(thing, "object", arrays)}
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    new = partial(path)
    new.mkdir()
    try:
        save_file(arrays, new / ARRAYS)
        (new / CONFIG).write_text(_dump(config), encoding="utf-8")
        _swap(new, path)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return path


def _is_ours(path: Path) -> bool:
    """Whether a folder holds a saved object and nothing else, so that replacing it loses nothing."""
    try:
        _parse((path / CONFIG).read_text(encoding="utf-8"), path / CONFIG)
    except (OSError, ValueError):
        return False
    return {one.name for one in path.iterdir()} <= {CONFIG, ARRAYS}


def _swap(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``; whatever happens between, one of the two is there."""
    if not path.exists():
        new.rename(path)
        return
    old = partial(path)
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old)


def load(
    path: str | Path,
    *,
    model: HookedModel | ModelInfo | None = None,
    allow_other_weights: bool = False,
) -> Any:
    """Read what ``save`` wrote, equal to what was saved.

    Args:
        path: The folder.
        model: The model it is to be used with; a different one is refused.
        allow_other_weights: Accept a model of the same shape with other weights (a fine-tune, say).

    Raises:
        FileNotFoundError: If there is no such artifact.
        ValueError: If it is damaged, of a newer format, or was made on another model.
    """
    path = Path(path)
    if not (path / CONFIG).is_file():
        raise FileNotFoundError(f"{path} holds no {CONFIG}; it is not a saved sadi_lens object")
    config = _parse((path / CONFIG).read_text(encoding="utf-8"), path / CONFIG)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path / ARRAYS)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path / ARRAYS} cannot be read: {error}") from error
    thing = _decode(config["object"], arrays, str(path))
    if model is not None:
        for one in thing.values() if isinstance(thing, dict) else [thing]:
            _require_same_model(one, ModelInfo.of(model), path, allow_other_weights)
    return thing


def write_json(results: Mapping[str, Any], path: str | Path) -> Path:
    """Write results as one JSON file that holds everything needed to draw them again."""
    path = Path(path)
    text = _dump({**_header(), "object": _encode(dict(results), "results", None)})
    return write_whole(path, lambda to: to.write_text(text, encoding="utf-8"))


def read_json(path: str | Path) -> dict[str, Any]:
    """Read what ``write_json`` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or not written by sadi_lens.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; `sadi-lens demo` writes one")
    return _decode(_parse(path.read_text(encoding="utf-8"), path)["object"], {}, str(path))


def read_header(path: str | Path) -> dict[str, Any]:
    """What stands beside the results in a file of ``write_json``: format and versions.

    Raises:
        OSError: If there is no such file.
        ValueError: If it was not written by sadi_lens.
    """
    path = Path(path)
    config = _parse(path.read_text(encoding="utf-8"), path)
    return {key: value for key, value in config.items() if key != "object"}


def _header() -> dict[str, Any]:
    versions: dict[str, str] = {}
    for package in ("sadi_lens", "torch", "transformers", "transformer_lens", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"format": "sadi_lens", "format_version": FORMAT_VERSION, "versions": versions}


def _dump(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != "sadi_lens":
        raise ValueError(f"{path} was not written by sadi_lens (no format mark)")
    if "object" not in config:
        raise ValueError(f"{path} is incomplete: it holds no object")
    if config.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {config.get('format_version')}, this library reads "
            f"{FORMAT_VERSION}; it was written by sadi_lens "
            f"{config.get('versions', {}).get('sadi_lens', '?')}"
        )
    return config


def _encode(thing: Any, where: str, arrays: dict[str, np.ndarray] | None) -> Any:
    if isinstance(thing, np.ndarray):
        if arrays is None:
            return {"array": _lists(thing), "dtype": str(thing.dtype), "shape": list(thing.shape)}
        arrays[where] = np.ascontiguousarray(thing)
        return {"array": where}
    if isinstance(thing, np.generic):
        thing = thing.item()
    if isinstance(thing, float) and not math.isfinite(thing):
        return {"float": str(thing)}
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    name = type(thing).__name__
    if is_dataclass(thing) and name in MODULES:
        names = [field.name for field in fields(thing)]
    elif isinstance(thing, tuple) and name in MODULES:  # a NamedTuple
        names = list(type(thing).__annotations__)
    elif isinstance(thing, list):
        return {
            "list": [_encode(one, f"{where}.{index}", arrays) for index, one in enumerate(thing)]
        }
    elif isinstance(thing, tuple):
        return [_encode(one, f"{where}.{index}", arrays) for index, one in enumerate(thing)]
    elif isinstance(thing, Mapping):
        return {"dict": {k: _encode(v, f"{where}.{k}", arrays) for k, v in thing.items()}}
    else:
        raise TypeError(f"cannot save {type(thing).__name__} at {where}; known: {sorted(MODULES)}")
    return {
        "type": name,
        **{one: _encode(getattr(thing, one), f"{where}.{one}", arrays) for one in names},
    }


def _lists(array: np.ndarray) -> Any:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    # Flat, because the shape is written beside it; NaN and infinity have no JSON number.
    return [value if math.isfinite(value) else str(value) for value in array.ravel().tolist()]


def _decode(thing: Any, arrays: Mapping[str, np.ndarray], source: str) -> Any:
    if isinstance(thing, list):
        return tuple(_decode(one, arrays, source) for one in thing)
    if not isinstance(thing, dict):
        return thing
    if "array" in thing:
        if "dtype" in thing:
            return np.asarray(thing["array"]).astype(thing["dtype"]).reshape(thing["shape"])
        if thing["array"] not in arrays:
            raise ValueError(f"{source} lacks the array {thing['array']!r}")
        return arrays[thing["array"]]
    if "list" in thing:
        return list(_decode(thing["list"], arrays, source))
    if "float" in thing:
        return float(thing["float"])
    if "dict" in thing:
        return {key: _decode(value, arrays, source) for key, value in thing["dict"].items()}
    name = thing.get("type")
    if name not in MODULES:
        raise ValueError(f"{source} holds an unknown type {name!r}; known: {sorted(MODULES)}")
    cls = getattr(importlib.import_module(MODULES[name]), name)
    values = {key: _decode(value, arrays, source) for key, value in thing.items() if key != "type"}
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{source}: {name} cannot be read: {error}") from error


def _require_same_model(thing: Any, info: ModelInfo, path: Path, allow: bool) -> None:
    mask = thing if isinstance(thing, Mask) else getattr(thing, "mask", None)
    made_on = getattr(thing, "model", None) or getattr(mask, "model", None)
    if made_on is None:
        if hasattr(thing, "check"):
            thing.check(info)
        return
    if made_on.shape != info.shape:
        raise ValueError(
            f"{path} was made on {made_on.name} ({made_on.shape}), not on {info.name} ({info.shape})"
        )
    if made_on.fingerprint != info.fingerprint and not allow:
        raise ValueError(
            f"{path} was made on {made_on.name} with weights {made_on.fingerprint}; {info.name} has the same "
            f"shape but weights {info.fingerprint}. Pass allow_other_weights=True to use it all the same."
        )
