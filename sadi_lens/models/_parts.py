"""What is more or less than a language model: adapters to be merged, vision-language models with a text side."""

import pickle  # for the name of its error; nothing is unpickled
import warnings
from typing import Any

import torch
from torch import Tensor

from sadi_lens.models._selfcheck import LENGTHS, TOLERANCE, random_batch, relative_difference

PREFIX_LANGUAGE_MODELS = ("paligemma",)
"""Model types whose prompt is read with attention in both directions."""
_WHOLE = "Save a whole checkpoint that does what the adapter does, and load that"


def merge_adapter(model: Any, folder: str) -> Any:
    """The model with a PEFT adapter (LoRA and its kin) merged into its weights.

    Raises:
        ImportError: If PEFT is not installed.
        ValueError: If the adapter cannot be merged, does not belong to this model, or computes something else when it
            is merged.
    """
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise ImportError(
            f"{folder} is a PEFT adapter; loading it needs PEFT: pip install 'sadi_lens[sft]'"
        ) from error
    try:
        config: Any = PeftConfig.from_pretrained(folder)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder}/adapter_config.json is not that of a PEFT adapter ({type(error).__name__}: {error}); save the "
            "adapter again with model.save_pretrained"
        ) from error
    if config.is_prompt_learning:
        raise ValueError(
            f"{folder} is an adapter of type {config.peft_type.value}: it learns prompt vectors and changes no weight, "
            "so it cannot be merged. LoRA and its kin can"
        )
    most = getattr(model.config, "max_position_embeddings", None) or max(LENGTHS)
    ids = random_batch(model, int(most), seed=0)[0][:1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # PEFT's own, between its release and transformers'
            warnings.filterwarnings("error", message=".*missing adapter keys")
            adapted: Any = PeftModel.from_pretrained(model, folder)
    except pickle.UnpicklingError as error:
        raise ValueError(pickle_refused(f"the adapter {folder}")) from error
    except (KeyError, RuntimeError, ValueError, Warning) as error:
        raise ValueError(
            f"the adapter {folder} does not fit {type(model).__name__} of {config.base_model_name_or_path}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    want = _logits(adapted.eval(), ids)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*tied_target_modules")
            merged = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:  # its check for NaN
        raise ValueError(
            f"the adapter {folder} cannot be merged: {error}. Its weights are damaged; save or fetch it again"
        ) from error
    except Warning as error:
        raise ValueError(
            f"the adapter {folder} changes one of the two matrices that {type(model).__name__} ties, so merged it "
            f"would be another model. {_WHOLE}"
        ) from error
    except RuntimeError as error:
        raise ValueError(f"the adapter {folder} cannot be merged: {error}") from error
    off = relative_difference(_logits(merged, ids), want)
    # Also refuses NaN; where the adapter itself gives some, the self-check says so.
    if bool(want.isfinite().all()) and not off <= TOLERANCE.get(
        model.dtype, max(TOLERANCE.values())
    ):
        raise ValueError(
            f"the adapter {folder} computes something else when it is merged: logits are off by {off:.2g} standard "
            f"deviations at a token. {_WHOLE}"
        )
    return merged


@torch.inference_mode()
def _logits(model: Any, ids: Tensor) -> Tensor:
    return model(ids, use_cache=False).logits[0]


def pickle_refused(what: str) -> str:
    """The message for weights in a pickle that torch does not read as tensors alone."""
    return (
        f"the weights of {what} are damaged, or a pickle that holds more than tensors; it was not run. Use "
        "*.safetensors, or save the weights alone"
    )


def is_vision_language(config: Any) -> bool:
    """Whether transformers loads this model as image and text to text only."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    return (
        type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING
    )


def require_text_side(config: Any, name: str) -> None:
    """Refuse a vision-language model whose text side is no causal language model by itself."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    kind, text = type(config).__name__.removesuffix("Config"), config.get_text_config()
    if config.model_type in PREFIX_LANGUAGE_MODELS:
        raise ValueError(
            f"{name} is a vision-language model ({kind}) that reads its prompt with attention in both directions; "
            "sadi_lens steers decoder-only language models (GPT, Llama, Mistral, ...)"
        )
    if type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"{name} is a vision-language model ({kind}), and transformers has no causal language model for its text "
            f"side ({type(text).__name__}). Use the language model that it was built on"
        )


def text_side(place: str, **options: Any) -> tuple[Any, Any]:
    """The language model inside a vision-language checkpoint, and what loading reported; tensors are shared."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForImageTextToText

    loaded: Any = AutoModelForImageTextToText.from_pretrained(place, **options)
    whole, report = loaded
    text = whole.config.get_text_config()
    architecture: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(text)]
    with torch.device("meta"):
        model = architecture(text)
    body = getattr(whole.model, "language_model", None) or getattr(whole.model, "text_model", None)
    if type(body) is not type(model.model):
        raise ValueError(
            f"{place} is a vision-language model whose text side is {type(body).__name__}, not the "
            f"{type(model.model).__name__} of a {type(model).__name__}. Use the language model that it was built on"
        )
    model.model, model.lm_head = body, whole.lm_head
    model.generation_config = whole.generation_config
    return model.eval(), report
