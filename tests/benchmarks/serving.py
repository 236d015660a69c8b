"""Tokens per CPU-second of Hugging Face, sadi_lens and vLLM, unsteered and steered, in one process.

    .venv-vllm/bin/python tests/benchmarks/serving.py [--shape smollm2] [--rounds 3] [--new 32] [--mixed]

Greedy, float32, prompts of 32 tokens (mixed: of 8 to 120, as users send them), no end-of-text token. CPU seconds of all
threads, so that other load counts less; of every batch size the best of the rounds, in which the systems take turns.
Prints one JSON object and a table.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from shapes import prompts

import sadi_lens as sl

SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
BATCHES = (1, 8, 32)


def systems(shape: str, n_new: int) -> tuple[dict[str, Callable[[list[str]], Any]], Any]:
    """Name -> continue these prompts by ``n_new`` tokens each; the model."""
    model = sl.load_model(shape, dtype=torch.float32)
    tokenizer, hf = model.tokenizer, model.raw_model
    units = [(layer, layer % int(model.cfg.n_heads)) for layer in range(int(model.cfg.n_layers))]
    steered = sl.MaskedScaling(sl.Mask.from_units("head", units, model), 1.0)
    folder = Path(tempfile.mkdtemp(prefix="sadi_lens-serving-"))
    hf.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    engine = sl.serving.VLLMEngine(
        folder / "model",
        {"heads": steered},
        enable_prefix_caching=False,
        max_model_len=256,
        max_num_seqs=max(BATCHES),
        gpu_memory_utilization=0.3,
    )
    options = {"max_new_tokens": n_new, "min_new_tokens": n_new}

    @torch.inference_mode()
    def plain(texts: list[str]) -> None:
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        hf.generate(**batch, do_sample=False, pad_token_id=tokenizer.pad_token_id, **options)

    def served(table: str | None) -> Callable[[list[str]], Any]:
        return lambda texts: engine.generate(
            texts, table, position="every_step", max_new_tokens=n_new, min_tokens=n_new
        )

    return {
        "Hugging Face": plain,
        "sadi_lens": lambda texts: sl.generate(
            model, texts, steered, position="every_step", **options
        ),
        "vLLM, unsteered": served(None),
        "vLLM, steered": served("heads"),
    }, model


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--shape", default="smollm2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--mixed", action="store_true", help="prompts of 8 to 120 tokens")
    asked = parser.parse_args()
    os.environ |= SETTINGS
    torch.set_num_threads(1)
    runs, model = systems(asked.shape, asked.new)
    lengths = [8 + 16 * (place % 8) if asked.mixed else 32 for place in range(max(BATCHES))]
    texts = [prompts(model, place + 1, n)[place] for place, n in enumerate(lengths)]
    for run in runs.values():
        run(texts[:2])
    best = {name: dict.fromkeys(BATCHES, 0.0) for name in runs}
    for _ in range(asked.rounds):
        for size in BATCHES:
            for name, run in runs.items():
                start = time.process_time()
                run(texts[:size])
                rate = size * asked.new / (time.process_time() - start)
                best[name][size] = max(best[name][size], rate)
    settings = {
        "shape": asked.shape,
        "mixed": asked.mixed,
        "new": asked.new,
        "rounds": asked.rounds,
    }
    lines = [json.dumps({**settings, **best})]
    lines += [f"| tokens per CPU-second, batch of | {' | '.join(map(str, BATCHES))} |"]
    lines += ["|---|" + "---|" * len(BATCHES)]
    for name, row in best.items():
        lines.append(f"| {name} | {' | '.join(f'{row[size]:.1f}' for size in BATCHES)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
