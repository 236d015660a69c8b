"""Which prompt ending and position make a steered model *write* the right answer after a wrong suggestion?

    python tests/benchmarks/writes.py --model smollm2 --out FOLDER

For every ending and position: heads by effect, K and strength chosen on dev by what is written, then the written
answers of test under a wrong suggestion, once. All facts, nothing is filtered. Writes table.md as it goes.
"""

import argparse
import time
from pathlib import Path

import pandas as pd

import sadi_lens as sl
from sadi_lens.types.paired import paired_interval

KS = (5, 10, 20)
STRENGTHS = (0.5, 1.0, 2.0)
OPTIONS = {"scoring": "generation", "max_new_tokens": 8, "progress": False}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--endings", nargs="+", default=("statement", "one word", "the answer is"))
    parser.add_argument("--positions", nargs="+", default=("last_prompt", "every_step", "all"))
    parser.add_argument("--sizes", nargs=3, type=int, default=(60, 40, 120))
    parser.add_argument("--out", type=Path, default=Path("runs/writes"))
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    started = time.process_time()
    model = sl.load_model(arguments.model)
    n_pairs, n_dev, n_test = arguments.sizes
    rows: list[dict[str, object]] = []
    arguments.out.mkdir(parents=True, exist_ok=True)
    for ending in arguments.endings:
        task = sl.load_task("suggest", ending=ending)
        wrong = {
            split: [one for one in getattr(task, split) if one.group == "wrong"]
            for split in ("dev", "test")
        }
        dev, test = wrong["dev"][:n_dev], wrong["test"][:n_test]
        scores = sl.unit_scores(model, task.pairs[:n_pairs], "head", "effect", progress=False)
        plain = sl.evaluate(model, test, **OPTIONS)
        for position in arguments.positions:
            best = sl.sweep(model, dev, scores, KS, STRENGTHS, position=position, **OPTIONS).best()
            found = plain
            if not best.is_unsteered:
                sadi = sl.MaskedScaling(sl.top_k_mask(scores, best.k), best.strength)
                found = sl.evaluate(model, test, sadi, position=position, **OPTIONS)
            low, high = paired_interval(found.correct, plain.correct, found.clusters)
            rows.append(
                {
                    "ending": ending,
                    "position": position,
                    "chosen on dev": best.settings,
                    "n": found.n,
                    "writes right, unsteered": f"{plain.accuracy:.1%}",
                    "valid": f"{plain.valid_rate:.0%}",
                    "writes right, SADI": f"{found.accuracy:.1%}",
                    "valid, SADI": f"{found.valid_rate:.0%}",
                    "gain": f"{100 * (found.accuracy - plain.accuracy):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
                }
            )
            frame = pd.DataFrame(rows)
            lines = [
                list(frame.columns),
                ["---"] * len(frame.columns),
                *frame.astype(str).values.tolist(),
            ]
            text = "\n".join("| " + " | ".join(map(str, one)) + " |" for one in lines)
            text += f"\n\n{arguments.model}, {time.process_time() - started:.0f} s CPU\n"
            (arguments.out / "table.md").write_text(text, encoding="utf-8")
    print(text)  # noqa: T201  # this is a script


if __name__ == "__main__":
    main()
