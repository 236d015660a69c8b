"""Shape and identity of a checkpoint on disk, as ``ModelInfo.of`` has them of the loaded model."""

import json
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from sadi_lens.models._files import require_files
from sadi_lens.types.folded import require_as_written
from sadi_lens.types.model import ModelInfo, fingerprint

ARCHITECTURES = ("LlamaForCausalLM",)
"""Models whose texts in vLLM were compared with those of ``sl.generate``."""


def checkpoint_folder(name: str, revision: str | None = None) -> Path:
    """Where a model that was loaded from ``name`` lies on this disk.

    Raises:
        FileNotFoundError: If it does not.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        wanted = name if revision is None else f"{name} --revision {revision}"
        raise FileNotFoundError(
            f"{name} is no folder and no downloaded model; run `hf download {wanted}` first, or give a folder"
        ) from error


def checkpoint_info(folder: Path) -> ModelInfo:
    """Shape and fingerprint of a safetensors checkpoint.

    Raises:
        FileNotFoundError: If configuration or weights are missing.
        ValueError: If the architecture is another than ``ARCHITECTURES``, a file is cut, a file of a folded checkpoint
            was changed, a weight is in none of the files, or vLLM would read other files, too.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config: Any = AutoConfig.from_pretrained(folder)
    architecture = (config.architectures or ["?"])[0]
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"{folder} is a {architecture}; steering in vLLM was tried with {', '.join(ARCHITECTURES)} only"
        )
    require_files(folder, needs_tokenizer=False)
    require_as_written(folder)
    with torch.device("meta"):
        empty: Any = AutoModelForCausalLM.from_config(config)
    names = [name for name, _ in empty.named_parameters()]
    heads = int(config.num_attention_heads)
    return ModelInfo(
        name=folder.name,
        architecture=architecture,
        n_layers=int(config.num_hidden_layers),
        n_heads=heads,
        d_head=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        d_model=int(config.hidden_size),
        d_mlp=int(config.intermediate_size),
        fingerprint=fingerprint(_weights(folder, names)),
    )


def _weights(folder: Path, names: list[str]) -> Iterator[Tensor]:
    """Named weights, mapped from disk: only what is looked at is read."""
    from safetensors import safe_open

    index = folder / "model.safetensors.index.json"
    single = "model.safetensors"
    homes: dict[str, str] = {}
    if index.is_file():
        homes = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    elif not (folder / single).is_file():
        raise ValueError(f"{folder} has no safetensors; which weights it holds cannot be checked")
    _require_no_others(folder, {single, *homes.values()}, has_index=index.is_file())
    files: dict[str, Any] = {}
    for name in names:
        home = homes.get(name, single)
        if home not in files:
            files[home] = safe_open(folder / home, framework="pt")
        if name not in files[home].keys():  # noqa: SIM118  # not a dict
            raise ValueError(f"{folder} lacks the weight {name!r}; it cannot be told from others")
        yield files[home].get_tensor(name)


def _require_no_others(folder: Path, known: Container[str], *, has_index: bool) -> None:
    """Without an index vLLM reads every file of weights, and ``consolidated*`` before all others."""
    for path in sorted(folder.glob("*.safetensors")):
        if path.name.startswith("consolidated") or (not has_index and path.name not in known):
            raise ValueError(
                f"{path} would be read by vLLM beside or instead of the weights that transformers reads; move it "
                "out of the folder"
            )
