"""Models and texts of the benchmarks: random weights of a known shape, prompts of an exact number of tokens."""

import random
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

import sadi_lens as sl
from sadi_lens.engine.text import encode

sys.path.insert(0, str(Path(__file__).parents[1]))
from factories import word_tokenizer

WORDS = (" good", " bad", " red", " blue", " was", " in")
ANSWERS = (" good", " bad")
LLAMA_7B = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
SHAPES: dict[str, Any] = {
    "tiny": None,
    "gpt2-small": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config()),
    "llama-12x768": lambda: llama(
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        vocab_size=32000,
        max_position_embeddings=1024,
    ),
}


def llama(**settings: Any) -> Any:
    """A Llama of this shape."""
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))


def build(shape: str) -> Any:
    """A loaded model of a shape; the same weights every time."""
    if SHAPES[shape] is None:
        return sl.load_model(shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hf = SHAPES[shape]().eval()
    return sl.load_model(hf, tokenizer=word_tokenizer(bos=False))


def prompts(model: Any, n: int, length: int) -> list[str]:
    """``n`` random texts of exactly ``length`` tokens."""
    extra = len(encode(model.tokenizer, WORDS[0])) - 1
    rng = random.Random(length)
    found = ["".join(rng.choices(WORDS, k=length - extra)) for _ in range(n)]
    wrong = {len(encode(model.tokenizer, text)) for text in found} - {length}
    if wrong:
        raise RuntimeError(f"prompts of {length} tokens came out as {sorted(wrong)}")
    return found


def cells(model: Any, seed: int = 0) -> Any:
    """Differences of heads (random: masks then spread over all layers), the numbers of units and the strengths."""
    pairs = [sl.ContrastivePair(text, *ANSWERS) for text in prompts(model, 8, 16)]
    found = sl.activation_differences(model, pairs, components=["head"], progress=False)["head"]
    size, rng = found.mean.size, random.Random(seed)
    ks = sorted({1, 2, 4, 6, 8, 10, 14, 20, 28, 36, 48, 64})
    ks = [k for k in ks if k <= size]
    return found, ks, [round(rng.uniform(0.5, 20), 2) for _ in range(96 // len(ks))]
