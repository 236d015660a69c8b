"""What is lost or gained when an intervention is folded into the weights: position "all" against "last_prompt".

    python tests/benchmarks/folding.py [--assets FOLDER] [--out FOLDER] [--test N]

SADI on heads, ranked as in the paper ("signed") and by "effect". K and strength are chosen on dev three times: for the
last prompt token, the same cell then put at every token, and for every token anew. The last is written with
``export_folded`` and read again by transformers alone; its accuracy must be that of the hooked model. One row a task
and ranking: accuracy on test and its gain over the unsteered model (paired). FOLDER/models/craftgpt-5m and
FOLDER/datasets/sst2 add the real model. Writes FOLDER/folding.json and folding.md and prints the table.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_models import CHAT, REVIEW, mood_task, sst2_task

import sadi_lens as sl
from sadi_lens.engine.text import encode
from sadi_lens.types.paired import paired_interval

RANKINGS = ("signed", "effect")


def jobs(assets: Path | None, n: int) -> Iterator[tuple[Any, sl.Task]]:
    """Models with their tasks."""
    tiny = sl.load_model("tiny")
    for name in ("hints", "sentiment", "effects"):
        yield tiny, sl.load_task(name)
    if assets is not None:
        chat = sl.load_model(str(assets / "models" / "craftgpt-5m"))
        sizes = {"pairs": 200, "dev": 200, "test": n}
        yield chat, sst2_task(chat, assets / "datasets" / "sst2", REVIEW, sizes)
        yield chat, mood_task("mood (chat)", CHAT)


def folded_accuracy(model: Any, sadi: sl.MaskedScaling, samples: Any) -> tuple[float, float]:
    """Accuracy of the exported checkpoint, by transformers and log-softmax alone; the largest change of a logit."""
    from transformers import AutoModelForCausalLM

    right, largest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = sl.interventions.export_folded(model, sadi, Path(folder) / "folded")
        plain = AutoModelForCausalLM.from_pretrained(path).eval()
        for sample in samples:
            start = len(encode(model.tokenizer, sample.prompt))
            scores: list[float] = []
            for choice in sample.choices:
                ids = torch.tensor([encode(model.tokenizer, sample.prompt + choice)])
                logits = plain(ids).logits
                scores.append(
                    float(
                        logits[0, start - 1 : -1]
                        .log_softmax(-1)
                        .gather(-1, ids[0, start:, None])
                        .sum()
                    )
                )
            with sl.steer(model, sadi, position="all"):
                largest = max(largest, float((model(ids) - logits).abs().max()))
            right += int(np.argmax(scores)) == sample.answer
    return right / len(samples), largest


def row(model: Any, task: sl.Task, ranking: str) -> dict[str, Any]:
    """One task and ranking."""
    quiet = {"progress": False}
    scores = sl.unit_scores(model, task, "head", ranking, **quiet)
    chosen = {
        position: sl.sweep(model, task.dev, scores, position=position, **quiet).best()
        for position in ("last_prompt", "all")
    }
    made = {
        position: sl.MaskedScaling(sl.top_k_mask(scores, one.k), one.strength)
        for position, one in chosen.items()
    }
    base = sl.evaluate(model, task.test, **quiet)
    found: dict[str, Any] = {
        "model": base.model.name.split("/")[-1],
        "task": task.name,
        "ranking": ranking,
        "n": base.n,
        "unsteered": base.accuracy,
    }
    for name, source, position in (
        ("last_prompt", "last_prompt", "last_prompt"),
        ("same cell at all", "last_prompt", "all"),
        ("all", "all", "all"),
    ):
        one = sl.evaluate(model, task.test, made[source], position=position, **quiet)
        gain = paired_interval(one.correct, base.correct, base.clusters)
        found[name] = {
            "k": chosen[source].k,
            "strength": chosen[source].strength,
            "accuracy": one.accuracy,
            "gain": one.accuracy - base.accuracy,
            "low": gain.low,
            "high": gain.high,
            "valid": one.valid_rate,
        }
    accuracy, largest = folded_accuracy(model, made["all"], task.test)
    found["folded"] = {"accuracy": accuracy, "largest_logit_difference": largest}
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """One Markdown line a row."""
    lines = [
        "| model, task (n), ranking | unsteered | last prompt token | the same cell at all | chosen for all | folded |",
        "|---|---|---|---|---|---|",
    ]

    def cell(one: dict[str, Any]) -> str:
        gain = f"{100 * one['gain']:+.1f} [{100 * one['low']:+.1f}, {100 * one['high']:+.1f}]"
        where = f"K {one['k']}, {one['strength']:g}"
        return f"{one['accuracy']:.1%} ({gain}; {where}; valid {one['valid']:.0%})"

    for one in rows:
        cells = [cell(one[name]) for name in ("last_prompt", "same cell at all", "all")]
        folded = f"{one['folded']['accuracy']:.1%} (logits to {one['folded']['largest_logit_difference']:.0e})"
        name = f"{one['model']}, {one['task']} ({one['n']}), {one['ranking']}"
        lines.append(f"| {name} | {one['unsteered']:.1%} | {' | '.join(cells)} | {folded} |")
    return "\n".join(lines)


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--test", type=int, default=1000, help="test items of SST-2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for model, task in jobs(arguments.assets, arguments.test):
        for ranking in RANKINGS:
            rows.append(row(model, task, ranking))
            (arguments.out / "folding.json").write_text(json.dumps(rows, indent=2) + "\n")
            (arguments.out / "folding.md").write_text(table(rows) + "\n")
            sys.stdout.write(table(rows).splitlines()[-1] + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
