"""What the engine costs against the reference algorithm, against its own floor and against bare Hugging Face.

    python tests/benchmarks/engine.py --out FOLDER [--shapes tiny gpt2-small] [--prompts 64] [--repeats 5]

CPU time of one thread; ratios within one run, medians over repeats that alternate the two sides. Writes
FOLDER/engine.json and FOLDER/engine.md and prints the table. All of it takes about an hour.

sweep       96 cells of heads. Reference: two full forward passes per item and cell (the authors' code), bare and
            without hooks, timed on a few cells. Floor: one forward of the prefix and one of 96 single tokens.
extraction  heads, hidden and neurons of both sides. Reference: two bare forwards over the full texts.
generation  every layer steered, batch 1, text to text. Reference: the tokenizer and unsteered Hugging Face generate.
memory      peak resident size, each in a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shapes import ANSWERS, SHAPES, build, cells, prompts

import sadi_lens as sl
from sadi_lens.engine.text import encode

ORDER = ("sweep", "differences", "steered", "peak")
"""First words of the lines of the table."""
SIZES = {"pairs": (100, 1000, 10000), "cells": (96, 960, 3840)}


def cpu(run: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    run()
    return time.process_time() - start


def medians(repeats: int, *runs: Callable[[], Any]) -> list[list[float]]:
    """CPU seconds of every run in every repeat, the runs taking turns; the first round is thrown away."""
    rounds = [[cpu(run) for run in runs] for _ in range(repeats + 1)]
    return rounds[1:]


def ratio(rounds: list[list[float]], top: int, bottom: int, factor: float = 1.0) -> float:
    """Median over repeats of one time by another."""
    return statistics.median(factor * one[top] / one[bottom] for one in rounds)


def sweep_row(model: Any, shape: str, length: int, repeats: int) -> dict[str, Any]:
    """96 cells on a few items."""
    n = max(1, 256 // length)
    found, ks, strengths = cells(model)
    samples = [sl.Sample(text, ANSWERS, 0) for text in prompts(model, n, length)]
    ids = torch.tensor([encode(model.tokenizer, one.prompt) for one in samples])
    raw, n_cells, timed = model.raw_model, len(ks) * len(strengths), 4

    @torch.inference_mode()
    def reference() -> None:
        for _ in range(2 * timed):
            raw(ids[:1])

    @torch.inference_mode()
    def floor() -> None:
        raw.base_model(ids[:, :-1], use_cache=True)
        for _ in range(n):
            raw(ids[:1, -1:].expand(n_cells, 1), use_cache=False)

    def engine() -> None:
        sl.sweep(model, samples, found, ks, strengths, progress=False)

    rounds = medians(repeats, engine, reference, floor)
    few = [sl.MaskedScaling(sl.top_k_mask(found, k), strengths[0]) for k in ks[:: len(ks) // 3]]
    fast, slow = (
        sl.evaluate(model, samples[:2], few, engine=way, progress=False)
        for way in ("shared", "plain")
    )
    return {
        "what": "sweep",
        "shape": shape,
        "prompt": length,
        "cells": n_cells,
        "engine_s_per_item": statistics.median(one[0] for one in rounds) / n,
        "times_less_than_reference": ratio(rounds, 1, 0, n * n_cells / timed),
        "of_its_floor": ratio(rounds, 0, 2),
        "largest_difference": max(
            float(np.abs(one.choice_scores - two.choice_scores).max())
            for one, two in zip(fast, slow, strict=True)
        ),
        "same_accuracies": all(
            one.accuracy == two.accuracy for one, two in zip(fast, slow, strict=True)
        ),
    }


def extraction_row(model: Any, shape: str, length: int, repeats: int) -> dict[str, Any]:
    """Three components of both sides."""
    n = 64 if int(model.cfg.d_model) < 512 else 16
    pairs = [sl.ContrastivePair(text, *ANSWERS) for text in prompts(model, n, length)]
    texts = torch.tensor([encode(model.tokenizer, one.prompt + one.positive) for one in pairs])
    most = sl.engine.choose_batch(model, texts.shape[1])

    @torch.inference_mode()
    def reference() -> None:
        for _ in range(2):
            for start in range(0, len(pairs), most):
                model.raw_model(texts[start : start + most])

    def engine() -> None:
        names = ["head", "hidden", "neuron"]
        sl.activation_differences(model, pairs, components=names, progress=False)

    rounds = medians(repeats, engine, reference)
    return {
        "what": "extraction",
        "shape": shape,
        "prompt": length,
        "engine_s_per_pair": statistics.median(one[0] for one in rounds) / len(pairs),
        "of_two_bare_forwards": ratio(rounds, 0, 1),
    }


def generation_row(model: Any, shape: str, repeats: int) -> dict[str, Any]:
    """Greedy, one prompt of 32 tokens, 40 new ones; a head of every layer steered."""
    prompt, new = prompts(model, 1, 32)[0], 40
    layers = sl.types.ModelInfo.of(model).n_layers
    mask = sl.Mask.from_units("head", [(layer, 0) for layer in range(layers)], model)
    sadi = sl.MaskedScaling(mask, 1.0)
    own = {"max_new_tokens": new, "eos_token_id": None}

    @torch.inference_mode()
    def reference() -> None:
        ids = torch.tensor([encode(model.tokenizer, prompt)])
        seen = torch.ones_like(ids)
        found = model.raw_model.generate(
            ids, attention_mask=seen, do_sample=False, pad_token_id=0, **own
        )
        model.tokenizer.batch_decode(found[:, ids.shape[1] :])

    def engine() -> None:
        sl.generate(model, prompt, sadi, **own)

    rounds = medians(3 * repeats, engine, reference)
    return {
        "what": "generation",
        "shape": shape,
        "prompt": 32,
        "engine_tokens_per_s": new / statistics.median(one[0] for one in rounds),
        "of_raw_tokens_per_s": ratio(rounds, 1, 0),
        # Without a KV cache the bridge generates.
        "same_as_bridge": sl.generate(model, prompt, sadi, **own)
        == sl.generate(model, prompt, sadi, use_cache=False, **own),
    }


def peak(shape: str, kind: str, size: int) -> int:
    """Peak resident bytes of a process that extracts ``size`` pairs or sweeps ``size`` cells."""
    command = [sys.executable, __file__, "--peak", shape, kind, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def run_peak(shape: str, kind: str, size: int) -> None:
    """What ``peak`` runs."""
    model = build(shape)
    if kind == "pairs":
        pairs = [sl.ContrastivePair(text, *ANSWERS) for text in prompts(model, size, 24)]
        sl.activation_differences(model, pairs, progress=False)
    else:
        found, _, _ = cells(model)
        samples = [sl.Sample(text, ANSWERS, 0) for text in prompts(model, 4, 64)]
        strengths = np.linspace(0.1, 20, size // 6).tolist()
        sl.sweep(model, samples, found, [1, 2, 4, 6, 8, 10], strengths, progress=False)
    # Not getrusage: its maximum is handed down from the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_kb = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(str(1024 * int(peak_kb)))


def memory_rows(shape: str) -> list[dict[str, Any]]:
    """Peak memory against the number of pairs and of cells, and how far apart the peaks are."""
    rows: list[dict[str, Any]] = []
    for kind, sizes in SIZES.items():
        peaks = {size: round(peak(shape, kind, size) / 2**20) for size in sizes}
        growth = max(peaks.values()) / peaks[min(sizes)] - 1
        rows.append(
            {"what": "memory", "shape": shape, "of": kind, "peak_mb": peaks, "growth": growth}
        )
    return rows


def said(row: dict[str, Any]) -> tuple[str, str]:
    """What was measured, and what came out, in words."""
    if row["what"] == "sweep":
        same = "same accuracies" if row["same_accuracies"] else "OTHER ACCURACIES"
        return (
            f"sweep of {row['cells']} cells of heads, prompt {row['prompt']}: CPU time against the reference",
            f"{row['times_less_than_reference']:.0f}x less, {row['of_its_floor']:.2f} of its floor; {same}, "
            f"log-probabilities to {row['largest_difference']:.0e}",
        )
    if row["what"] == "extraction":
        return (
            f"differences of 3 components, both sides, prompt {row['prompt']}: share of two bare forwards",
            f"{row['of_two_bare_forwards']:.2f}",
        )
    if row["what"] == "generation":
        same = "same tokens" if row["same_as_bridge"] else "OTHER TOKENS"
        return (
            "steered generation, batch 1, text to text: share of unsteered Hugging Face's tokens per second",
            f"{row['of_raw_tokens_per_s']:.2f}, {same} as the bridge",
        )
    sizes = " / ".join(f"{int(size):,}" for size in row["peak_mb"])
    return (
        f"peak memory at {sizes} {row['of']}",
        " / ".join(f"{one:,}" for one in row["peak_mb"].values()) + f" MB ({row['growth']:+.1%})",
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a measurement a line, a shape a column."""
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        name, result = said(row)
        found.setdefault(name, {})[row["shape"]] = result
    lines = ["| | " + " | ".join(shapes) + " |", "|---" * (len(shapes) + 1) + "|"]
    for name, results in sorted(found.items(), key=lambda one: ORDER.index(one[0].split()[0])):
        lines.append(f"| {name} | {' | '.join(results.get(one, '') for one in shapes)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--prompts", nargs="+", type=int, default=[64, 512])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        run_peak(arguments.peak[0], arguments.peak[1], int(arguments.peak[2]))
        return
    rows: list[dict[str, Any]] = []
    arguments.out.mkdir(parents=True, exist_ok=True)

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        (arguments.out / "engine.json").write_text(json.dumps(rows, indent=2))
        (arguments.out / "engine.md").write_text(table(rows) + "\n")
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()

    for shape in arguments.shapes:
        model = build(shape)
        for length in arguments.prompts:
            if length + 2 <= int(model.cfg.n_ctx):
                add(sweep_row(model, shape, length, arguments.repeats))
                add(extraction_row(model, shape, length, arguments.repeats))
        add(generation_row(model, shape, arguments.repeats))
        for row in [] if arguments.no_memory else memory_rows(shape):
            add(row)
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    main()
