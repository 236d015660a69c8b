"""An intervention written into the weights: an ordinary Hugging Face checkpoint that needs no code of ours.

At position ``"all"`` an affine edit of what enters a linear map is that map with other weights:
W (s * x + t) + b = (W diag(s)) x + (W t + b). Heads enter W_O and neurons W_out, so their edits fold. Where a map has
no bias, only a scaling does. What enters the residual stream is also read by every later block past any one weight, so
edits of it do not fold; nor do edits that act on some tokens only.
"""

import copy
import json
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from sadi_lens.engine.intervention import AffineIntervention, Intervention, flat
from sadi_lens.engine.runner import RawRunner, runner_of
from sadi_lens.engine.twin import input_rows
from sadi_lens.types.base import NotFiniteError, require_one_of
from sadi_lens.types.checks import as_path, checked
from sadi_lens.types.files import partial, remove_abandoned, replace_folder, require_place
from sadi_lens.types.folded import FILES, FORMAT, changed_files, files_of
from sadi_lens.types.model import COMPONENTS, HookedModel, ModelInfo
from sadi_lens.types.seals import sealed_json, sha256_of

FOLDABLE = ("head", "neuron")


@checked()
def export_folded(
    model: HookedModel,
    intervention: Intervention,
    path: str | os.PathLike[str],
    *,
    position: str = "all",
    overwrite: bool = False,
) -> Path:
    """Write the model with the intervention in its weights; transformers, vLLM and others load it as any checkpoint.

    Equal to the hooked model at position ``"all"`` to rounding (in bfloat16, to the rounding of its weights). The
    intervention is recorded in ``config.json`` (``sadi_lens``) and in the README beside it, the files with their hashes
    in ``sadi_lens.json``.

    Args:
        model: From ``load_model``; it is left as it is.
        intervention: Affine, on heads or neurons.
        path: Folder to write; appears when it is complete.
        position: Only ``"all"`` can be folded; anything else is refused with the reason.
        overwrite: Replace a folder that this function wrote, in one step; any other is refused.

    Returns:
        The folder.

    Raises:
        FileExistsError: If ``path`` exists and ``overwrite`` is not set, or it holds anything that this function did
            not write.
        ValueError: If the intervention, the position or the model cannot be folded, with the reason.
        NotFiniteError: If a weight would be infinite or NaN.
    """
    path = as_path("path", path)
    remove_abandoned(path)
    _require_place(path, overwrite)
    info = ModelInfo.of(model)
    _require_foldable(intervention, position, info)
    intervention.check(info)
    raw = runner_of(model)
    if not isinstance(raw, RawRunner):
        raise ValueError(
            f"{info.name} cannot be folded: it was not loaded by load_model, carries hooks, or its Hugging Face model "
            "does not compute what the bridge does"
        )
    weights = _folded(raw, intervention)
    new = partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _clear_errors(path):
            _write(model, raw, weights, intervention, new)
        _require_place(path, overwrite)
        replace_folder(new, path)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return path


def _require_place(path: Path, overwrite: bool) -> None:
    """Refuse to replace anything but a folder that holds what ``export_folded`` wrote, unchanged."""
    if not os.path.lexists(path):
        return require_place(path / FILES)
    if not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it")
    if path.is_symlink() or not path.is_dir():
        raise FileExistsError(f"{path} is not a folder; it is left alone. Give another place")
    try:
        written = files_of(path)
        names = {one.name for one in path.iterdir() if one.is_file() and not one.is_symlink()}
        others = {one.name for one in path.iterdir()} - names
        foreign = sorted(others | (names ^ {FILES, *written}))
        foreign = foreign or changed_files(path, written)
    except (OSError, ValueError):
        foreign = [FILES]
    if foreign:
        raise FileExistsError(
            f"{path} is not what export_folded wrote ({foreign[0]} is missing, changed or of someone else); it is left "
            "alone. Move it away or give another place"
        )
    return None


@contextmanager
def _clear_errors(path: Path) -> Generator[None]:
    """Safetensors and tokenizers have their own errors for a disk that takes no more."""
    try:
        yield
    except Exception as error:
        found = re.search(r"os error (\d+)", str(error))
        code = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
        if code is None:
            raise
        raise OSError(
            code, f"cannot write {path}: {os.strerror(code)}; make room or give another place"
        ) from error


def _require_foldable(intervention: Intervention, position: str, info: ModelInfo) -> None:
    if position != "all":
        raise ValueError(
            f"position {position!r} cannot be folded: weights act on every token alike. Choose K and strength at "
            "position='all' and fold that"
        )
    require_one_of("component", intervention.component, COMPONENTS)
    if intervention.component not in FOLDABLE:
        raise ValueError(
            f"component {intervention.component!r} cannot be folded: it is not the input of one linear map "
            f"({', '.join(FOLDABLE)} are)"
        )
    if intervention.component == "neuron" and not info.d_mlp:
        raise ValueError(
            f"neurons of {info.name} cannot be folded: in a mixture of experts each expert has its own"
        )
    if not isinstance(intervention, AffineIntervention):
        raise ValueError(
            f"{type(intervention).__name__} cannot be folded: it is not affine in the activation, a weight is"
        )


def _folded(raw: RawRunner, intervention: Any) -> dict[str, Tensor]:
    """Name -> new tensor, for every weight and bias that changes."""
    names = {id(module): name for name, module in raw.module.named_modules()}
    new: dict[str, Tensor] = {}
    for layer in intervention.layers:
        module = raw.sites[intervention.component, layer].module
        name, weight = names[id(module)], module.weight
        if weight.is_meta or not weight.is_floating_point() or weight.ndim != 2:
            raise ValueError(
                f"{name} cannot be folded: its weight is {weight.dtype} on {weight.device}. Load the model whole, "
                "in a floating-point dtype"
            )
        rows = input_rows(module)
        scale, shift = (
            None if part is None else flat(part, rows.shape[0]).to(weight.device)
            for part in intervention.affine(layer)
        )
        if shift is not None:
            if getattr(module, "bias", None) is None:
                raise ValueError(
                    f"{intervention.label!r} adds to what enters {name}, which has no bias to take it up; only a "
                    "scaling can be folded into this model"
                )
            new[f"{name}.bias"] = (module.bias.detach().float() + shift @ rows).to(
                module.bias.dtype
            )
        if scale is not None:
            scaled = scale[:, None] * rows
            scaled = scaled if type(module).__name__ == "Conv1D" else scaled.T
            new[f"{name}.weight"] = scaled.to(weight.dtype).contiguous()
    for name, values in new.items():
        if not bool(values.isfinite().all()):
            raise NotFiniteError(f"the weight {name!r}", intervention.label, f"in {values.dtype}")
    return new


def _write(
    model: HookedModel,
    raw: RawRunner,
    weights: dict[str, Tensor],
    intervention: Intervention,
    folder: Path,
) -> None:
    state = raw.module.state_dict()
    unknown = sorted(set(weights) - set(state))
    if unknown:
        raise ValueError(f"{raw.info.name} has no weight {unknown[0]!r} in its state_dict")
    record = {
        "folded": intervention.label,
        "type": type(intervention).__name__,
        "component": intervention.component,
        "position": "all",
        "base_model": raw.info.name,
        "base_fingerprint": raw.info.fingerprint,
        "changed": sorted(weights),
    }
    raw.module.save_pretrained(folder, state_dict=state | weights)
    config = copy.deepcopy(raw.module.config)
    config.sadi_lens = record
    config.architectures = [type(raw.module).__name__]
    config.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(_card(record), encoding="utf-8")
    files = {one.name: sha256_of(one) for one in sorted(folder.iterdir())}
    text = sealed_json({"format": FORMAT, "files": files})
    (folder / FILES).write_text(text, encoding="utf-8")


def _card(record: dict[str, Any]) -> str:
    changed = "\n".join(f"- `{name}`" for name in record["changed"])
    return (
        f"# {record['base_model']}, steered\n\n"
        f"The weights of `{record['base_model']}` with one intervention of sadi_lens folded in:\n"
        f"**{record['folded']}**, at every token of prompt and answer. No code of sadi_lens is needed to run it.\n\n"
        "Steering the last prompt token only, as in the SADI paper, gives other numbers.\n\n"
        f"Changed, all else as in the base model:\n\n{changed}\n\n"
        f"```json\n{json.dumps(record, indent=2)}\n```\n"
    )
