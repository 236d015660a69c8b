"""What makes SmolLM2 or Gemma 3 270M give in to a suggestion, and what steering does about it.

    python tests/benchmarks/suggest.py --model smollm2 --out FOLDER

Everything is chosen on dev: the facts that the model knows, K, layer and strength. Test is read once, by cue, by
log-probability and as greedy text. Writes results.json and table.md.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import sadi_lens as sl
from sadi_lens.tasks.suggest import CUES, ENDINGS
from sadi_lens.types.answers import matches

KS = (1, 2, 4, 8, 16, 32)
STRENGTHS = (-1.0, -0.5, 1.0, 2.0, 5.0, 10.0)
VECTOR_STRENGTHS = (0.5, 1.0, 2.0, 4.0)
RANKINGS = ("signed", "magnitude", "standardised", "effect")


def by_cue(items: Sequence[Any], correct: np.ndarray) -> dict[str, float]:
    """Accuracy in percent over all items and by cue."""
    frame = pd.DataFrame({"cue": [one.cue for one in items], "correct": correct})
    means = frame.groupby("cue").correct.mean()
    return {"all": 100 * correct.mean(), **{cue: 100 * float(means[cue]) for cue in CUES}}


def endings_table(model: Any, n: int) -> list[dict[str, Any]]:
    """Accuracy and valid-answer rate of every ending on dev, unsteered."""
    rows = []
    for ending in ENDINGS:
        items = sl.tasks.suggest_items(ending=ending)["dev"][:n]
        found = sl.evaluate(model, sl.load_task("suggest", ending=ending).dev[:n], progress=False)
        rows.append(
            {"ending": ENDINGS[ending], "n": len(items)}
            | by_cue(items, found.correct)
            | {f"valid {cue}": rate for cue, rate in by_cue(items, found.valid).items()}
        )
    return rows


def known_facts(model: Any, ending: str) -> tuple[list[str], pd.DataFrame]:
    """Facts of pairs and dev that the model answers unaided, and its accuracy by family."""
    facts, samples = sl.tasks.suggest_unaided(ending=ending)
    found = sl.evaluate(model, samples, progress=False)
    frame = pd.DataFrame({"family": [f.split("/")[0] for f in facts], "correct": found.correct})
    families = frame.groupby("family").correct.agg(["mean", "size"])
    return [f for f, is_right in zip(facts, found.correct, strict=True) if is_right], families


def best_of(model: Any, dev: Sequence[Any], interventions: Sequence[Any]) -> Any:
    """The intervention with the highest accuracy on dev; a tie goes to the larger mean margin."""
    found = sl.evaluate(model, dev, interventions, progress=False)
    scores = [(one.accuracy, float(np.mean(one.margins))) for one in found]
    return interventions[max(range(len(scores)), key=scores.__getitem__)]


def chosen_methods(model: Any, task: Any) -> dict[str, Any]:
    """Each method at its best cell on dev."""
    differences = sl.activation_differences(
        model, task.pairs, components=["head", "hidden"], progress=False
    )
    chosen = {}
    for ranking in RANKINGS:
        scores = (
            sl.unit_scores(model, task.pairs, "head", ranking, progress=False)
            if ranking == "effect"
            else differences["head"]
        )
        named = {} if ranking == "effect" else {"ranking": ranking}
        cells = [
            sl.MaskedScaling(sl.top_k_mask(scores, k, **named), strength)
            for k in KS
            for strength in STRENGTHS
        ]
        chosen[f"SADI heads, {ranking}"] = best_of(model, task.dev, cells)
    layers = range(0, sl.types.ModelInfo.of(model).n_layers, 2)
    vectors = [
        sl.VectorAddition.from_differences(differences["hidden"], layer, strength)
        for layer in layers
        for strength in VECTOR_STRENGTHS
    ]
    chosen["CAA"] = best_of(model, task.dev, vectors)
    return chosen


def settings_of(intervention: Any) -> str:
    """K and strength, or layer and strength."""
    if intervention is None:
        return ""
    place = (
        f"layer {intervention.layer}"
        if hasattr(intervention, "layer")
        else f"K {intervention.mask.k}"
    )
    return f"{place}, strength {intervention.strength:g}"


def written(model: Any, items: Sequence[Any], intervention: Any, position: str) -> dict[str, Any]:
    """Greedy text: how often it begins with the right or the wrong answer, and the first few texts."""
    texts = sl.generate(
        model,
        [one.prompt for one in items],
        intervention,
        position=position,
        max_new_tokens=6,
    )
    pairs = list(zip(texts, items, strict=True))
    return {
        "right": 100 * float(np.mean([matches(text, (one.right,)) for text, one in pairs])),
        "wrong": 100 * float(np.mean([matches(text, (one.wrong,)) for text, one in pairs])),
        "texts": [[one.prompt, text] for text, one in pairs[:5]],
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--ending", default="statement")
    parser.add_argument("--endings", type=int, default=0, help="dev items for the table of endings")
    parser.add_argument("--dev", type=int, default=80, help="dev items to choose on")
    parser.add_argument("--pairs", type=int, default=80)
    parser.add_argument("--texts", type=int, default=40, help="test items to continue")
    parser.add_argument("--out", type=Path, default=Path("runs/suggest"))
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    model = sl.load_model(arguments.model)
    results: dict[str, Any] = {"model": arguments.model, "ending": arguments.ending}
    if arguments.endings:
        results["endings"] = endings_table(model, arguments.endings)
    known, families = known_facts(model, arguments.ending)
    results["families"] = families.reset_index().to_dict("records")
    options = {"ending": arguments.ending, "known": known}
    items, task = sl.tasks.suggest_items(**options), sl.load_task("suggest", **options)
    results["dropped"] = {
        split: len(getattr(sl.load_task("suggest"), split)) - len(getattr(task, split))
        for split in ("pairs", "dev")
    }
    small = sl.Task("suggest", task.pairs[: arguments.pairs], task.dev[: arguments.dev])
    methods = {"unsteered": None, **chosen_methods(model, small)}
    found = sl.evaluate(model, task.test, list(methods.values()), progress=False)
    misled = [one for one in items["test"] if one.cue == "wrong"][: arguments.texts]
    rows = []
    for (name, method), one in zip(methods.items(), found, strict=True):
        row: dict[str, Any] = {"method": name, "settings": settings_of(method), "n": one.n}
        row |= by_cue(items["test"], one.correct) | {"valid": 100 * one.valid_rate}
        for position in ("last_prompt", "every_step"):
            row[position] = written(model, misled, method, position)
        rows.append(row)
    results["methods"] = rows
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (arguments.out / "table.md").write_text(markdown(results), encoding="utf-8")
    print(markdown(results))  # noqa: T201  # this is a script


def markdown(results: dict[str, Any]) -> str:
    """The tables."""
    lines = []
    if "endings" in results:
        lines += [
            "| ending | none | right | wrong | valid none | valid wrong |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| `{row['ending']}` | {row['none']:.0f} | {row['right']:.0f} | {row['wrong']:.0f} | "
            f"{row['valid none']:.0f} | {row['valid wrong']:.0f} |"
            for row in results["endings"]
        ]
        lines.append("")
    lines += [
        "| method | settings | all | none | right | wrong | valid | writes right / wrong when misled | every step |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["methods"]:
        written_ = [
            f"{row[p]['right']:.0f} / {row[p]['wrong']:.0f}" for p in ("last_prompt", "every_step")
        ]
        numbers = [f"{row[key]:.1f}" for key in ("all", "none", "right", "wrong", "valid")]
        lines.append(
            "| " + " | ".join([row["method"], row["settings"], *numbers, *written_]) + " |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
