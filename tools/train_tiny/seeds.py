"""Every method on every training seed: ``PYTHONPATH=tools python -m train_tiny.seeds --out DIR --seeds 10``.

Trains what is missing (``DIR/SEED``), measures it without steering, applies the rule, then chooses every ranking of
SADI and a fixed vector on dev and scores each once on test (``DIR/SEED/rows.json``). Can be stopped and started again.
``--only-table`` prints the tables of what is there.
"""

import argparse
import json
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
import torch
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from transformers import AutoTokenizer, LlamaForCausalLM

import sadi_lens as sl
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.choosing import choose_all, report
from sadi_lens.measure.methods import METHODS, Material, Method
from sadi_lens.measure.methods.sadi import fixed, sadi
from sadi_lens.tasks.embedded import CUE_MIXTURES, SIZES, held_out
from train_tiny import train
from train_tiny.card import measure
from train_tiny.rule import faults

TASKS = ("hints", "sentiment", "effects")
RANKINGS = (
    *("signed", "magnitude", "l2", "standardised", "consistency"),
    *("probe", "attribution", "gradient", "effect"),
)

logger = logging.getLogger(__name__)


def methods() -> list[Method]:
    """The unsteered model, SADI on heads by every ranking, and fixed vectors of the same masks' norm."""
    unsteered = METHODS["unsteered"]
    assert isinstance(unsteered, Method)
    return [
        unsteered,
        *(Method(f"SADI, {one}", "adaptive", sadi, ranking=one, axis="K") for one in RANKINGS),
        *(
            Method(f"fixed, {one}", "fixed", partial(fixed, "norm"), ranking=one, axis="K")
            for one in ("signed", "effect")
        ),
    ]


def evaluate_seed(folder: Path) -> dict[str, Any]:
    """Unsteered numbers, the rule's verdict, and each method's answers on test, task by task."""
    hf = LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    measured = measure(hf, AutoTokenizer.from_pretrained(folder))
    model = sl.load_model(folder)
    found: dict[str, Any] = {"accuracy": measured.accuracy, "faults": faults(measured), "rows": []}
    for name in TASKS:
        task = sl.load_task(name)
        questions = held_out(name, "test", SIZES["test"], CUE_MIXTURES[name])
        chosen, _ = choose_all(
            Material(model, task.pairs, name),
            methods(),
            task.dev,
            Settings(name),
            budget=None,
            progress=False,
        )
        scored = report(model, list(chosen.values()), task.test, Settings(name), progress=False)
        for method, one in zip(chosen, scored, strict=True):
            found["rows"].append(
                {
                    "task": name,
                    "method": method,
                    "dev": chosen[method].dev_accuracy,
                    "test": one.accuracy,
                    "k": chosen[method].candidate.k,
                    "strength": chosen[method].candidate.strength,
                    "correct": one.correct.astype(int).tolist(),
                    "content": [question.content for question in questions],
                }
            )
    return found


def gains(found: dict[int, dict[str, Any]]) -> pd.DataFrame:
    """Gain over the unsteered model of every item: seed, task, method, content, gain in points."""
    rows: list[pd.DataFrame] = []
    for seed, one in found.items():
        base = {row["task"]: row for row in one["rows"] if row["method"] == "unsteered"}
        for row in one["rows"]:
            if row["method"] == "unsteered":
                continue
            gain = 100.0 * (np.array(row["correct"]) - np.array(base[row["task"]]["correct"]))
            fields = {"seed": seed, "task": row["task"], "method": row["method"]}
            rows.append(pd.DataFrame({**fields, "fact": row["content"], "gain": gain}))
    return pd.concat(rows, ignore_index=True)


class Mean(NamedTuple):
    """A mean over training seeds and facts."""

    mean: float
    error: float
    """Standard error: of other seeds and other facts."""
    low: float
    high: float


def mixed(table: pd.DataFrame) -> Mean:
    """Mean gain with random effects of seed and of fact, crossed; 95% by t with Satterthwaite's degrees of freedom.

    Every seed answers every fact, so REML's estimates are those of the mean squares of the two-way table wherever
    they are not negative (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4).

    Args:
        table: Columns seed, fact, gain, of one method on one task.

    Raises:
        ValueError: If a seed lacks a fact.
    """
    cells = table.groupby(["seed", "fact"], as_index=False)["gain"].mean()
    n_seeds, n_facts = cells.seed.nunique(), cells.fact.nunique()
    if len(cells) != n_seeds * n_facts:
        raise ValueError(f"{n_seeds} seeds and {n_facts} facts need every pair, got {len(cells)}")
    found = anova_lm(ols("gain ~ C(seed) + C(fact)", cells).fit())
    squares = found["sum_sq"] / found["df"]
    of_seed, of_fact, rest = (float(squares[name]) for name in ("C(seed)", "C(fact)", "Residual"))
    parts = {"C(seed)": of_seed, "C(fact)": of_fact, "Residual": -rest}
    if of_seed < rest or of_fact < rest:  # a component at zero: the other one is left
        name = "C(seed)" if of_seed >= of_fact else "C(fact)"
        parts = {name: max(of_seed, of_fact)}
    total = sum(parts.values())
    mean, error = float(cells.gain.mean()), math.sqrt(total / (n_seeds * n_facts))
    if not total:
        return Mean(mean, 0.0, mean, mean)
    freedom = total**2 / sum(one**2 / float(found["df"][name]) for name, one in parts.items())
    half = float(scipy.stats.t.ppf(0.975, freedom)) * error
    return Mean(mean, error, mean - half, mean + half)


def tables(found: dict[int, dict[str, Any]]) -> str:
    """The seeds under the rule, then the distribution of every method over them, in Markdown."""
    lines = [
        "| seed | accepted | " + " | ".join(found[min(found)]["accuracy"]) + " |",
        "|---|---|" + "---|" * len(found[min(found)]["accuracy"]),
    ]
    for seed, one in sorted(found.items()):
        cells = [
            f"{100 * row['none']:.0f} / {100 * row['right']:.0f} / {100 * row['wrong']:.0f}, {100 * row['dev']:.0f}"
            for row in one["accuracy"].values()
        ]
        verdict = "yes" if not one["faults"] else "no: " + "; ".join(one["faults"])
        lines.append(f"| {seed} | {verdict} | " + " | ".join(cells) + " |")
    every = gains(found)
    lines += ["", "| task | method | " + " | ".join(f"seed {one}" for one in sorted(found))]
    lines[-1] += " | mean gain [95%] |"
    lines.append("|---|---|" + "---|" * (len(found) + 1))
    for (task, method), table in every.groupby(["task", "method"], sort=False):
        cells = [f"{table[table.seed == seed].gain.mean():+.1f}" for seed in sorted(found)]
        middle = f"{table.gain.mean():+.1f}"
        if len(found) > 1:
            mean = mixed(table)
            middle = f"{mean.mean:+.1f} [{mean.low:+.1f}, {mean.high:+.1f}]"
        lines.append(f"| {task} | {method} | " + " | ".join(cells) + f" | {middle} |")
    return "\n".join(lines)


def read(out: Path, seeds: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What was measured so far."""
    files = {seed: out / str(seed) / "rows.json" for seed in seeds}
    return {seed: json.loads(file.read_text()) for seed, file in files.items() if file.is_file()}


def one_seed(out: Path, seed: int, device: str = "cpu") -> None:
    """Train ``out/SEED`` and measure it, unless that was done."""
    torch.set_num_threads(1)
    folder = out / str(seed)
    if not (folder / "README.md").is_file():
        train.main(["--out", str(folder), "--seed", str(seed), "--device", device])
    if not (folder / "rows.json").is_file():
        (folder / "rows.json").write_text(json.dumps(evaluate_seed(folder)))


def main(argv: list[str] | None = None) -> None:
    """Train and measure seeds 0 to N - 1, then print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with one folder a seed")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--device", default="cpu", help="where to train; measured on the CPU")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, one thread each")
    parser.add_argument("--only-table", action="store_true", help="run nothing")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not args.only_table:
        with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
            list(pool.map(partial(one_seed, args.out, device=args.device), range(args.seeds)))
    logger.info("%s", tables(read(args.out, range(args.seeds))))


if __name__ == "__main__":
    main()
