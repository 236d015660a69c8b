"""What a GGUF file holds and the model read from it lacks: transformers leaves that out without a word.

It builds an architecture as its configuration class has it by default, so biases, factors of the rotary embedding
(Llama 3.1 and later) or its scaling (Gemma 3 from 4B on, Qwen's long contexts) may be gone.
"""

import math
from collections.abc import Generator
from pathlib import Path
from typing import Any

_EPSILONS = (
    "rms_norm_eps",
    "layer_norm_epsilon",
    "layer_norm_eps",
    "norm_eps",
    "norm_epsilon",
)
_READ_AS = {
    "attention.layer_norm_rms_epsilon": _EPSILONS,
    "attention.layer_norm_epsilon": _EPSILONS,
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
}
"""Numbers of a GGUF file, and the places where a configuration may have them."""
_UNSCALED = ("none", "default")
_OTHER_SCALE: dict[tuple[str, Any], int] = {("gemma2", 46): 144, ("gemma3", 62): 168}
"""(architecture, layers) -> what queries are scaled by the root of, where it is not ``head_dim``: Gemma 2 and 3 27B.
GGUF files do not say it, and llama.cpp too knows it by the number of layers."""
_ROUNDING = 1e-5
"""Numbers are float32 in the file."""


def require_all_read(file: Path, model: Any) -> None:
    """Refuse a file of which weights or settings were left out.

    Raises:
        ValueError: With what is lacking.
    """
    from gguf import GGUFReader

    reader: Any = GGUFReader(file)
    lacking = [*_tensors(reader, model), *_settings(reader, model.config)]
    if lacking:
        raise ValueError(
            f"transformers reads this GGUF file as another model than it holds: it leaves out {'; '.join(lacking)}. "
            "Load the model from its own Hugging Face folder or Hub name"
        )


def _tensors(reader: Any, model: Any) -> Generator[str]:
    """Weights that have no place in the model: the file has more numbers than it, tied ones counted once."""
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    sizes = {one.name: int(one.n_elements) for one in reader.tensors}
    if tied:  # transformers ties Falcon and Bloom also where the file repeats the matrix
        sizes.pop("output.weight", None)
    spare = sum(sizes.values()) - sum(one.numel() for one in model.parameters())
    if spare > 0:
        names = sorted(set(sizes) - _placed(reader, model))[:3]
        yield f"{spare:,} of the weights (such as those of {', '.join(names)})"


def _placed(reader: Any, model: Any) -> set[str]:
    """Names of the tensors that the model's own parameters have in such a file."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = _architecture(reader)
    kind = next((one for one, name in MODEL_ARCH_NAMES.items() if name == architecture), None)
    if kind is None:
        return set()
    names = get_tensor_name_map(kind, int(model.config.num_hidden_layers))
    parts = (name.rpartition(".") for name, _ in model.named_parameters())
    return {f"{names.get_name(stem)}.{kind_of}" for stem, _, kind_of in parts}


def _architecture(reader: Any) -> str:
    return reader.fields["general.architecture"].contents()


def _settings(reader: Any, config: Any) -> Generator[str]:
    """Numbers that the configuration has otherwise, or not at all."""
    prefix = f"{_architecture(reader)}."
    said = {
        name.removeprefix(prefix): field.contents()
        for name, field in reader.fields.items()
        if name.startswith(prefix)
    }
    for key, places in _READ_AS.items():
        found = [getattr(config, one) for one in places if hasattr(config, one)]
        if key in said and not _holds(found, said[key]):
            taken = f"{found[0]:g}" if found and found[0] is not None else "none"
            yield f"{key} {said[key]:g} (it takes {taken})"
    scale = _OTHER_SCALE.get((_architecture(reader), said.get("block_count")))
    taken = getattr(config, "query_pre_attn_scalar", None)
    if scale not in (None, taken):
        yield f"block_count {said['block_count']}, so an attention scale of {scale} (it takes {taken})"
    ropes = _ropes(config)
    bases = [one["rope_theta"] for one in ropes if "rope_theta" in one]
    base = said.get("rope.freq_base")
    if base is not None and bases and not _holds(bases, base):
        yield f"rope.freq_base {base:g} (it takes {bases[0]:g})"
    scaling = said.get("rope.scaling.type", "none")
    if scaling not in _UNSCALED and all(
        one.get("rope_type", "default") == "default" for one in ropes
    ):
        yield f"rope.scaling.type {scaling}, factor {said.get('rope.scaling.factor')}"
    dimensions = said.get("rope.dimension_count")
    if dimensions is None or not ropes or hasattr(config, "global_head_dim"):  # of two widths
        return
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    turned = {int(width * one.get("partial_rotary_factor", 1.0)) for one in ropes}
    if dimensions not in turned:
        yield f"rope.dimension_count {dimensions} (it turns {max(turned)} of {width})"


def _ropes(config: Any) -> list[dict[str, Any]]:
    """Parameters of the rotary embedding, of each kind of layer where they differ."""
    found = getattr(config, "rope_parameters", None) or {}
    nested = [one for one in found.values() if isinstance(one, dict)]
    return nested or ([found] if found else [])


def _holds(found: list[Any], wanted: float) -> bool:
    return any(
        isinstance(one, int | float) and math.isclose(one, wanted, rel_tol=_ROUNDING)
        for one in found
    )
