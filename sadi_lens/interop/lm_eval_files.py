"""Files that lm-evaluation-harness reads: a task of our samples, vectors for its own model ``steered``."""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from sadi_lens.engine.intervention import AffineIntervention, Intervention
from sadi_lens.engine.runner import RawRunner, runner_of
from sadi_lens.types.base import NotFiniteError
from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.checks import as_path, checked
from sadi_lens.types.data import Sample
from sadi_lens.types.files import write_whole
from sadi_lens.types.model import HookedModel, ModelInfo


@checked()
def export_lm_eval_task(samples: Sequence[Sample], folder: str | Path, *, name: str) -> Path:
    """Write choice samples as a task; ``lm_eval --include_path FOLDER --tasks NAME`` runs it.

    Text = prompt + choice exactly as in the samples; the harness reports ``acc`` by summed log-probability.

    Args:
        samples: With choices; a free-text target has no counterpart there.
        folder: Gets ``NAME.yaml`` and ``NAME.jsonl``, which must not be there yet.
        name: Of the task: letters, digits, ``_``.

    Returns:
        The YAML file.

    Raises:
        ValueError: If there is no sample, one has no choices or several right ones or is in a
            chat template, or the name cannot be used.
        FileExistsError: If one of the files is there.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"name must be letters, digits and '_', got {name!r}")
    if not samples:
        raise ValueError("samples must hold at least 1 item, got 0")
    for one in samples:
        if not one.choices or one.also_right:
            raise ValueError(
                f"a task needs choices of which one is right (prompt {one.prompt[-40:]!r})"
            )
        if isinstance(one.prompt, ChatPrompt):
            raise ValueError(
                "the samples are in a chat template, whose marks the harness cannot tell from text (it would add the "
                "tokenizer's own to them): export them as they are and run lm_eval with --apply_chat_template (prompt "
                f"{one.prompt[-40:]!r})"
            )
        if one.prompt != one.prompt.rstrip():
            raise ValueError(
                f"the harness moves spaces and line breaks at the end of a prompt into the answer: move them there "
                f"yourself (prompt {one.prompt[-40:]!r})"
            )
    folder = as_path("folder", folder)
    data, task = folder / f"{name}.jsonl", folder / f"{name}.yaml"
    for path in (data, task):
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another name or folder")
    rows = [
        {"prompt": one.prompt, "choices": list(one.choices), "answer": one.answer}
        for one in samples
    ]
    lines = ("\n".join(map(json.dumps, rows)) + "\n").encode()
    _require_read_back(lines, rows)
    config: dict[str, Any] = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data.resolve())}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "prompt",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    write_whole(data, lines)
    try:
        return write_whole(task, yaml.safe_dump(config, sort_keys=False).encode())
    except OSError:
        data.unlink()  # half a task would be in the way of the whole one
        raise


def _require_read_back(lines: bytes, rows: list[dict[str, Any]]) -> None:
    """The harness reads JSON through pyarrow, which makes dates of texts where all in a column look like some."""
    from pyarrow import json as arrow

    options = arrow.ReadOptions(block_size=len(lines))
    found = arrow.read_json(io.BytesIO(lines), read_options=options).to_pylist()
    for row, other in zip(rows, found, strict=True):
        for name in ("prompt", "choices"):
            if row[name] != other[name]:
                raise ValueError(
                    f"the harness would read {name} {row[name]!r:.80} as {other[name]!r:.80}: all of them look like "
                    "dates. Begin every choice with its space, or add a word"
                )


@checked()
def export_lm_eval_steered(
    model: HookedModel, intervention: Intervention, path: str | Path, *, position: str = "all"
) -> Path:
    """Write a fixed addition for the harness's own model ``steered``, which adds a vector at every token.

    What is added to heads or neurons arrives at the output of ``o_proj`` or ``down_proj`` as W times the addition.

    Args:
        model: From ``load_model``.
        intervention: One that adds and does not scale.
        path: A ``.pt`` file (the format that the harness reads), which must not be there yet.
        position: Only ``"all"``.

    Returns:
        The file.

    Raises:
        ValueError: If it is no fixed addition (SADI is none), the position is another, or the model is no Llama.
        NotFiniteError: If a value to be added is infinite or NaN.
        FileExistsError: If the file is there.
    """
    path = as_path("path", path)
    if path.suffix != ".pt":
        raise ValueError(
            f"path must end in .pt, which is what the harness reads, got {path.name!r}"
        )
    if path.exists():
        raise FileExistsError(f"{path} exists; choose another name")
    if position != "all":
        raise ValueError(
            f"position must be 'all': the model 'steered' adds at every token, got {position!r}. Use the model 'sadi'"
        )
    if not isinstance(intervention, AffineIntervention):
        raise ValueError(
            f"{type(intervention).__name__} is no fixed addition; use the model 'sadi'"
        )
    intervention.check(ModelInfo.of(model))
    raw = runner_of(model)
    if not isinstance(raw, RawRunner):
        raise ValueError("the model was not loaded by load_model, or carries hooks")
    modules: dict[int, str] = {id(module): name for name, module in raw.body.named_modules()}
    found: dict[str, dict[str, Any]] = {}
    for layer in intervention.layers:
        scale, shift = intervention.affine(layer)
        if scale is not None or shift is None:
            raise ValueError(
                f"{intervention.label!r} scales what is there, and the model 'steered' can only add the same vector to "
                "every input; use the model 'sadi', or a checkpoint of export_folded with the model 'hf'"
            )
        module, is_input = raw.sites[intervention.component, layer]
        vector = _through(module, shift.float()) if is_input else shift.float()
        if not bool(vector.isfinite().all()):
            raise NotFiniteError("the vector to be added", intervention.label, f"layer {layer}")
        found[modules[id(module)]] = {
            "steering_vector": vector.flatten().clone(),
            "steering_coefficient": 1.0,
            "action": "add",
            "bias": None,
            "head_index": None,
        }
    held = io.BytesIO()
    torch.save(found, held)
    return write_whole(path, held.getvalue())


def _through(module: Any, vector: torch.Tensor) -> torch.Tensor:
    """W times what is added to the input of a linear layer: what arrives at its output."""
    weight = module.weight.detach().float()
    if type(module).__name__ == "Conv1D":
        weight = weight.T
    vector = vector.expand(-1, weight.shape[1] // vector.shape[0])
    return weight.cpu() @ vector.flatten()
