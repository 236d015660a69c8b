"""Small random models of many architectures with one tokenizer; nothing of sadi_lens."""

from typing import Any

VOCAB = 96


def _shape(**overrides: Any) -> dict[str, Any]:
    shape = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return shape | overrides


def _without(*names: str, **overrides: Any) -> dict[str, Any]:
    return {name: value for name, value in _shape(**overrides).items() if name not in names}


# name -> (configuration class, model class, configuration)
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {
            "vocab_size": VOCAB,
            "n_embd": 32,
            "n_layer": 3,
            "n_head": 4,
            "n_positions": 64,
            "initializer_range": 0.2,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", _shape(num_key_value_heads=4)),
    "llama_gqa": ("LlamaConfig", "LlamaForCausalLM", _shape(num_key_value_heads=2)),
    "llama_head_dim": (
        "LlamaConfig",
        "LlamaForCausalLM",
        _shape(num_key_value_heads=2, head_dim=12),
    ),
    "mistral_sliding": (
        "MistralConfig",
        "MistralForCausalLM",
        _shape(num_key_value_heads=2, sliding_window=4),
    ),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", _shape(num_key_value_heads=2)),
    "gemma2": (
        "Gemma2Config",
        "Gemma2ForCausalLM",
        _shape(num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8, sliding_window=4),
    ),
    "neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", _shape()),
    "bloom": (
        "BloomConfig",
        "BloomForCausalLM",
        {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "n_layer": 3,
            "n_head": 4,
            "initializer_range": 0.2,
            "pad_token_id": 0,
        },
    ),
    "falcon_multi_query": (
        "FalconConfig",
        "FalconForCausalLM",
        _without(
            "intermediate_size",
            multi_query=True,
            parallel_attn=True,
            new_decoder_architecture=False,
            alibi=False,
            bias=False,
        ),
    ),
    "falcon_alibi": (
        "FalconConfig",
        "FalconForCausalLM",
        _without(
            "intermediate_size",
            multi_query=False,
            parallel_attn=False,
            new_decoder_architecture=False,
            alibi=True,
            bias=True,
        ),
    ),
}


def random_model(name: str, seed: int = 7, **changes: Any) -> Any:
    """A Hugging Face model of ``CASES`` in eval mode, with biases that are not zero (an edit could hide there)."""
    import torch
    import transformers

    config_name, model_name, settings = CASES[name]
    config = getattr(transformers, config_name)(**settings | changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, model_name)(config).eval()
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.2)
    return model


def number_tokenizer() -> Any:
    """Words ``w3``, ``w4``, ... of one token each."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", *(f"w{index}" for index in range(3, VOCAB))]
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
