"""Hugging Face model -> TransformerBridge on a twin that shares its tensors, so the model itself stays usable."""

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn


def refuse_unsupported(config: Any, name: str, *, is_custom_code: bool = False) -> None:
    """Check the configuration before any weight is read: raise for architectures that cannot be steered correctly.

    Args:
        config: Hugging Face configuration.
        name: How the user called the model.
        is_custom_code: The architecture comes with the checkpoint, so that it cannot be looked up.
    """
    kind = type(config).__name__.removesuffix("Config")
    if config.is_encoder_decoder:
        raise ValueError(
            f"{name} is an encoder-decoder model ({kind}); sadi_lens steers decoder-only language models "
            "(GPT, Llama, Mistral, ...), where the last prompt token predicts the answer"
        )
    is_encoder = _is_encoder(config)
    if is_encoder or not (is_custom_code or _is_causal(config)):
        why = (
            "every token sees the whole text"
            if is_encoder
            else "transformers has no causal language model for it"
        )
        raise ValueError(
            f"{name} is not a causal language model ({kind}: {why}); sadi_lens "
            "steers decoder-only language models (GPT, Llama, Mistral, ...)"
        )
    if config.model_type == "falcon" and config.new_decoder_architecture:
        raise ValueError(
            f"{name} uses Falcon's new decoder architecture (40B, 180B, 11B), which TransformerLens 4.3 splits "
            "into the wrong heads: its logits are off by several standard deviations. Use falcon-7b or "
            "another architecture"
        )


def _is_encoder(config: Any) -> bool:
    """BERT and its kin, which transformers can also run as decoders; GPT-NeoX has the flag without a meaning."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    flag = getattr(config, "is_decoder", None)
    return flag is False and type(config) in MODEL_FOR_MASKED_LM_MAPPING


def _is_causal(config: Any) -> bool:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING


def share_tensors(model: Any) -> Any:
    """A copy of a Hugging Face model with its own modules and configuration but the very same tensors."""
    memo: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        # accelerate keeps off-loaded weights in the hook: share them too.
        weights = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
        if weights is not None:
            memo[id(weights)] = weights
    return copy.deepcopy(model, memo)


def eager_twin(model: Any) -> Any:
    """``share_tensors`` in eval mode with eager attention: what TransformerLens computes, from its own source."""
    twin = share_tensors(model).eval()
    twin.config.architectures = [type(model).__name__]
    twin.set_attn_implementation("eager")
    if twin.config._attn_implementation != "eager":
        twin.config._attn_implementation = "eager"  # Falcon refuses to be asked, but reads this
    return twin


def boot_twin(model: Any, name: str) -> Any:
    """A raw-mode TransformerBridge around a twin of ``model``; ``model`` itself is left as it is.

    Raises:
        ValueError: If TransformerLens does not know the architecture or cannot split its weights.
    """
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    architecture = type(model).__name__
    twin = eager_twin(model)
    try:
        bridge = build_bridge_from_module(
            twin, architecture, hf_config=twin.config, model_name=name
        ).eval()
    except Exception as error:
        raise ValueError(
            f"TransformerLens cannot wrap {name} ({architecture}): {type(error).__name__}: {error}. "
            "TransformerBridge.list_supported_models() names what it can"
        ) from error
    for name_of_width in ("ffn_hidden_size", "ffn_dim"):  # Falcon, OPT
        width = getattr(twin.config, name_of_width, None)
        if isinstance(width, int) and width > 0:
            bridge.cfg.d_mlp = width  # TransformerLens assumes 4 * d_model
    return bridge


def attach_tokenizer(bridge: Any, tokenizer: Any) -> None:
    """Give the bridge this very tokenizer, so that ``bridge(text)`` sees what ``tokenizer(text)`` gives.

    TransformerLens would load its own copy from disk with a BOS switched on, and put a BOS before every text.
    With these flags it neither adds nor strips a token.
    """
    first = tokenizer("a")["input_ids"][:1]
    prepends = bool(first) and first[0] in (tokenizer.bos_token_id, tokenizer.cls_token_id)
    bridge.tokenizer = tokenizer
    bridge.cfg.tokenizer_prepends_bos = prepends
    bridge.cfg.default_prepend_bos = prepends
    bridge.cfg.tokenizer_appends_eos = False


def position_ids(model: Any, attention_mask: Tensor) -> dict[str, Tensor]:
    """Positions counted from the first real token, for models whose forward takes them."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return {}
    return {"position_ids": (attention_mask.cumsum(dim=-1) - 1).clamp(min=0)}


def n_embeddings(model: nn.Module) -> int:
    """Rows of the token embedding."""
    return int(model.get_input_embeddings().weight.shape[0])  # pyright: ignore[reportCallIssue]


def first_device(model: nn.Module) -> torch.device:
    """Device of the token embedding, where ids go."""
    return next(model.parameters()).device
