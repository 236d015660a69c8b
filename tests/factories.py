"""Small random models and tokenizers for the tests; nothing of sadi_lens."""

import contextlib

WORDS = [
    "the",
    "a",
    "red",
    "blue",
    "green",
    "ball",
    "box",
    "hat",
    "is",
    "in",
    "was",
    "big",
    "small",
    "A",
    "B",
    "C",
    "good",
    "bad",
    "Tom",
    "Ann",
    "says",
    ".",
    "?",
    ":",
]


def word_tokenizer(bos: bool = True):
    """Tokens carry their leading space, as in GPT-2; BOS is added by the tokenizer itself."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    vocab = {word: index for index, word in enumerate(special + [f" {w}" for w in WORDS] + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[A-Za-z]+| ?[^\sA-Za-z]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
    )


def random_llama(seed: int = 0, **changes):
    """A small Llama with grouped-query attention and weights large enough for visible effects."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = word_tokenizer()
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **changes,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hf = LlamaForCausalLM(LlamaConfig(**settings)).eval()
    return hf, tokenizer


@contextlib.contextmanager
def on_the_bridge(model):
    """A hook that does nothing, as a user may put one on: everything then runs on the bridge, text by text."""
    point = model.get_hook_point("blocks.0.hook_resid_pre")
    point.add_hook(lambda _activation, hook: None)
    mine = point.fwd_hooks[-1]
    try:
        yield
    finally:
        mine.hook.remove()
        point.fwd_hooks[:] = [one for one in point.fwd_hooks if one is not mine]


def no_free_memory(monkeypatch):
    """A machine without free memory: passes become as small as they can."""
    import types

    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=4))
