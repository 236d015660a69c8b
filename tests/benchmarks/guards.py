"""Benchmarks on SmolLM2, each with its guards: is a gain knowledge, or another favourite answer?

    python tests/benchmarks/guards.py --assets FOLDER --out FOLDER [--tasks boolq copa-cloze ...]

FOLDER/datasets is needed. K and strength are chosen on dev, test is read once. Each task writes NAME.md as it ends.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import sadi_lens as sl
from sadi_lens.types.results.conclusions import conclusions
from sadi_lens.types.results.table import interval_text, number_text, points_text

RUNS: dict[str, dict[str, Any]] = {
    "boolq": {"name": "boolq"},
    "sst2": {"name": "sst2"},
    "sst2-chat": {"name": "sst2", "chat": True},
    "copa": {"name": "copa"},
    "copa-cloze": {"name": "copa", "form": "cloze"},
    "mmlu": {"name": "mmlu"},
    "xcopa-zh": {"name": "xcopa", "subset": "zh"},
    "xcopa-zh-cloze": {"name": "xcopa", "subset": "zh", "form": "cloze"},
    "refusal": {"name": "caa", "subset": "refusal"},
}
METHODS = ("unsteered", "sadi-head", "sadi-effect", "fixed-norm")
COLUMNS = [
    "task",
    "method",
    "accuracy",
    "gain",
    "valid",
    "answers",
    "majority",
    "balanced",
    "gain",
    "AUC",
    "gain",
]


def table(name: str, comparison: Any) -> list[str]:
    """Rows of a Markdown table, then what follows from them."""
    lines: list[str] = []
    for at, row in enumerate(comparison.rows):
        guards = row.guards
        cells = [
            f"{name} (n {comparison.n})" if not at else "",
            f"{row.label} {row.settings}".strip(),
            f"{row.accuracy:.1%}",
            points_text(row.gain, row.gain_interval) if at else "",
            f"{row.valid_rate:.0%}",
        ]
        if guards is not None:
            cells += [
                ", ".join(f"{answer} {share:.0%}" for answer, share in guards.shares),
                f"{guards.majority:.1%}",
                f"{guards.balanced_accuracy:.1%}",
                points_text(guards.balanced_gain, guards.balanced_interval) if at else "",
                number_text(guards.auc, ".2f"),
                f"{guards.auc_gain:+.2f} {interval_text(guards.auc_interval, '+.2f')}"
                if at
                else "",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    said = [line for line in conclusions(comparison) if "favourite" in line or "threshold" in line]
    return lines + [f"\n{name}: {line}" for line in said]


def main() -> None:
    """Run every task and write its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/guards"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tasks", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--sizes", nargs=3, type=int, default=(48, 48, 120))
    parser.add_argument("--budget", type=int, default=9)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    model = sl.load_model(arguments.model)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.tasks:
        started = time.process_time()
        options = dict(RUNS[name])
        is_chat = options.pop("chat", False)
        sizes = dict(zip(("pairs", "dev", "test"), arguments.sizes, strict=True))
        task = sl.tasks.load_benchmark(
            options.pop("name"), arguments.assets / "datasets", sizes=sizes, duplicates="drop", **options
        )  # fmt: skip
        if is_chat:
            task = sl.tasks.with_chat_template(task, model.tokenizer)
        scoring = "per_byte" if "cloze" in name else "sum"
        found = sl.compare(
            model, task, METHODS, budget=arguments.budget, n_null=0, scoring=scoring, progress=False
        )
        lines = [
            "| " + " | ".join(COLUMNS) + " |",
            "|" + "---|" * len(COLUMNS),
            *table(name, found),
        ]
        lines.append(f"\n{time.process_time() - started:.0f} s of CPU, scoring {scoring}")
        (arguments.out / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print("\n".join(lines), flush=True)  # noqa: T201  # this is a script


if __name__ == "__main__":
    main()
