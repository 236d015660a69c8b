"""The engine at the size of Llama-2-7B, random weights in bfloat16, on a GPU.

    python tests/benchmarks/gpu.py [--out FOLDER]           # needs about 30 GB of device memory
    python tests/benchmarks/gpu.py --shape small --device cpu --pairs 20 --items 4     # does the script run?

Wall time, device synchronised: mask building from 1,000 pairs of 100 tokens (goal: under 15 s), and 96 cells of heads
on 100 items of 100 tokens (goal: under 20 s). Timed after one warm-up on a few pairs and items. Prints one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from shapes import ANSWERS, LLAMA_7B, cells, llama, prompts, word_tokenizer

import sadi_lens as sl

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 300,
    "max_position_embeddings": 256,
}


def build(shape: str, device: str) -> Any:
    """The weights are made on the device, in bfloat16, so that nothing of 27 GB stands in float32."""
    from transformers import set_seed

    set_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            hf = llama(**(LLAMA_7B if shape == "7b" else SMALL)).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    return sl.load_model(hf, tokenizer=word_tokenizer(bos=False))


def seconds(run: Callable[[], Any], device: str) -> float:
    """Wall time until the device is done."""
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronise()
    start = time.perf_counter()
    run()
    synchronise()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--shape", choices=["7b", "small"], default="7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = arguments.device
    model = build(arguments.shape, device)
    texts = prompts(model, max(arguments.pairs, arguments.items), arguments.tokens - 1)
    pairs = [sl.ContrastivePair(text, *ANSWERS) for text in texts[: arguments.pairs]]
    samples = [sl.Sample(text, ANSWERS, 0) for text in texts[: arguments.items]]
    found, ks, strengths = cells(model)

    def extract(n: int) -> None:
        names = ["head", "hidden", "neuron"]
        sl.activation_differences(model, pairs[:n], components=names, progress=False)

    def sweep(n: int) -> None:
        sl.sweep(model, samples[:n], found, ks, strengths, progress=False)

    extract(4)
    sweep(2)
    row = {
        "shape": arguments.shape,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "pairs": len(pairs),
        "tokens": arguments.tokens,
        "extraction_s": seconds(lambda: extract(len(pairs)), device),
        "items": len(samples),
        "cells": len(ks) * len(strengths),
        "sweep_s": seconds(lambda: sweep(len(samples)), device),
        "batch": sl.engine.choose_batch(model, arguments.tokens),
        "peak_gb": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
    }
    sys.stdout.write(json.dumps(row, indent=2) + "\n")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "gpu.json").write_text(json.dumps(row, indent=2) + "\n")


if __name__ == "__main__":
    main()
