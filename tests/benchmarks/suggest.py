"""Does steering keep SmolLM2 or Gemma 3 270M from giving in to a wrong suggestion?

    python tests/benchmarks/suggest.py --model smollm2 --out FOLDER

Chosen on dev, test read once (split by fact, intervals by fact): every method by cue, by log-probability and as greedy
text, with random masks and matched controls; then whether a mask found on some wordings or families works on others.
Writes results.json and table.md.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

import sadi_lens as sl
from sadi_lens.measure.methods import BUDGET, METHODS, Method
from sadi_lens.measure.methods.sadi import sadi
from sadi_lens.tasks.suggest import ENDINGS, WORDINGS
from sadi_lens.tasks.suggest_facts import FACTS
from sadi_lens.types.results.conclusions import conclusions
from sadi_lens.types.results.table import null_text
from sadi_lens.types.store import write_json

ROWS = (
    "sadi-head",
    "sadi-effect",
    "magnitude",
    "sadi-signed",
    "fixed",
    "matched-norm",
    "matched-mean",
    "caa",
    "iti",
    "bottom-k",
    "random",
    "random-supervised",
    "prompting",
)
OF_EFFECT = tuple(
    replace(METHODS[name], name=f"{name}, sadi-effect", of="sadi-effect")
    for name in ("matched-norm", "matched-mean", "same-answer", "other-answer", "own-direction")
)
TRAINED = ("sadi-effect", "prompting", "few-shot", "sft", "sft-sadi", "tda", "scalars")
"""Dear: for ``--methods trained --budget 4 --test 120``."""
MAGNITUDE = Method("SADI, magnitude", "adaptive", sadi, ranking="magnitude", axis="K")
NEUTRAL = (
    "The river was low that summer, and the boats lay on the sand for weeks.",
    "She put the letter into the drawer and did not open it again until spring.",
    "Bread is made of flour, water, salt and yeast, and needs some hours to rise.",
    "The train to the coast leaves every hour and takes about forty minutes.",
    "He had painted the fence twice, and still the old colour showed in places.",
    "Most of the houses in the street were built before there was electricity.",
    "After the meeting they walked to the market and bought a bag of plums.",
    "A clock on the wall said ten past four, but nobody in the room believed it.",
)


def endings_table(model: Any, n: int) -> pd.DataFrame:
    """Accuracy by cue and valid-answer rate of every ending on dev, unsteered."""
    rows = []
    for ending, words in ENDINGS.items():
        found = sl.evaluate(model, sl.load_task("suggest", ending=ending).dev[:n], progress=False)
        by_cue = pd.Series(found.correct).groupby(list(found.groups)).mean()
        rows.append({"ending": words or ending, "n": found.n, **by_cue, "valid": found.valid_rate})
    return pd.DataFrame(rows)


def known_facts(model: Any, ending: str) -> tuple[list[str], pd.DataFrame]:
    """Facts of pairs and dev that the model answers unaided, and its accuracy by family."""
    facts, samples = sl.tasks.suggest_unaided(ending=ending)
    found = sl.evaluate(model, samples, progress=False)
    frame = pd.DataFrame({"family": [f.split("/")[0] for f in facts], "correct": found.correct})
    families = frame.groupby("family").correct.agg(["mean", "size"]).reset_index()
    return [f for f, is_right in zip(facts, found.correct, strict=True) if is_right], families


def transfer(model: Any, known: list[str], ending: str, size: int) -> pd.DataFrame:
    """Heads ranked by effect, chosen on some wordings or families, on the others under a wrong suggestion."""
    wordings, families = list(WORDINGS), list(FACTS)
    half = len(families) // 2
    parts = {
        "wording": ({"wordings": wordings[:1]}, {"wordings": wordings[1:]}),
        "families": ({"families": families[:half]}, {"families": families[half:]}),
    }
    rows = []
    for what, (here, there) in parts.items():
        own = sl.load_task("suggest", ending=ending, known=known, **here)
        other = sl.load_task("suggest", ending=ending, known=known, **there)
        scores = sl.unit_scores(model, own.pairs[:size], "head", "effect", progress=False)
        best = sl.sweep(model, own.dev[:size], scores, progress=False).best()
        scaling = sl.MaskedScaling(sl.top_k_mask(scores, max(best.k, 1)), best.strength)
        for where, task in (("same", own), ("other", other)):
            test = [one for one in task.test if one.group == "wrong"]
            plain, steered = sl.evaluate(model, test, [None, scaling], progress=False)
            words = f"K {best.k}, strength {best.strength:g}"
            row = {"chosen on": f"some {what}", "tested on": f"{where} {what}", "settings": words}
            rows.append(row | {"n": plain.n, "unsteered": plain.accuracy, "SADI": steered.accuracy})
    return pd.DataFrame(rows)


def texts(model: Any, known: list[str], ending: str, size: int, position: str) -> pd.DataFrame:
    """What the model writes after a wrong suggestion, unsteered and steered, on the first items of test."""
    task = sl.load_task("suggest", ending=ending, known=known)
    scores = sl.unit_scores(model, task.pairs[:size], "head", "effect", progress=False)
    best = sl.sweep(model, task.dev[:size], scores, position=position, progress=False).best()
    scaling = sl.MaskedScaling(sl.top_k_mask(scores, max(best.k, 1)), best.strength)
    rows = []
    for one in [one for one in task.test if one.group == "wrong"][:6]:
        plain, steered = sl.generate(
            model, [one.prompt] * 2, [None, scaling], position=position, max_new_tokens=12
        )
        rows.append(
            {
                "prompt": one.prompt[-90:],
                "right": one.target or one.choices[one.answer or 0],
                "unsteered": plain,
                "SADI": steered,
            }
        )
    return pd.DataFrame(rows).map(lambda cell: " ".join(str(cell).replace("|", "\\|").split()))


def cell(row: Any, found: sl.types.Comparison) -> list[str]:
    """One row of the table of methods."""
    groups = found.by_group()
    own = groups[groups["label"] == row.label].set_index("group")
    gain = row.gain_interval
    written = row.written
    return [
        row.label,
        row.settings,
        f"{100 * row.accuracy:.1f}",
        "" if row.kind == "unsteered" else f"{100 * row.gain:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]",
        *[f"{100 * own.loc[cue, 'accuracy']:.0f}" for cue in ("none", "right", "wrong")],
        null_text(found, row),
        f"{100 * row.valid_rate:.0f}",
        "" if written is None else f"{100 * written.accuracy:.1f}",
        "" if row.side_effects is None else f"{row.side_effects.kl:.2f}",
        f"{row.choice_seconds:.0f}",
    ]  # fmt: skip


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table."""
    shares = frame.select_dtypes("float").columns
    frame = frame.assign(**{name: (100 * frame[name]).round(1) for name in shares})
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(map(str, one)) + " |" for one in lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--ending", default="statement")
    parser.add_argument("--endings", type=int, default=0, help="dev items for the table of endings")
    parser.add_argument("--size", type=int, default=80, help="pairs, and dev items to choose on")
    parser.add_argument("--test", type=int, help="test items; default all")
    parser.add_argument("--n-null", type=int, default=40)
    parser.add_argument("--tune-null", action="store_true", help="let random masks choose on dev")
    parser.add_argument("--methods", default="all", help="all, trained, controls, or names a,b,c")
    parser.add_argument("--reference", help="method that the others are contrasted with")
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--position", default="last_prompt")
    parser.add_argument("--out", type=Path, default=Path("runs/suggest"))
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    started = time.process_time()
    model = sl.load_model(arguments.model)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = f"# suggest on {arguments.model}, ending {arguments.ending!r}, {arguments.position}\n\n"
    if arguments.endings:
        text += markdown(endings_table(model, arguments.endings)) + "\n"
    known, families = known_facts(model, arguments.ending)
    text += markdown(families.rename(columns={"mean": "unaided", "size": "facts"})) + "\n"
    whole = sl.load_task("suggest", ending=arguments.ending, known=known)
    task = sl.Task(
        "suggest",
        whole.pairs[: arguments.size],
        whole.dev[: arguments.size],
        whole.test[: arguments.test],
    )
    sets = {"all": ROWS, "trained": TRAINED, "controls": ("sadi-effect",)}
    named = sets.get(arguments.methods) or arguments.methods.split(",")
    methods: list[Any] = [MAGNITUDE if one == "magnitude" else one for one in named]
    methods += OF_EFFECT if arguments.methods in ("all", "controls") else ()
    found = sl.compare(
        model,
        task,
        methods,
        budget=arguments.budget,
        position=arguments.position,
        reference=arguments.reference,
        neutral=list(NEUTRAL),
        n_null=arguments.n_null,
        tune_null=arguments.tune_null,
        written=True,
        max_new_tokens=4,
    )
    write_json({"comparison": found}, arguments.out / "results.json")
    names = [
        "method",
        "settings",
        "all",
        "gain",
        "none",
        "right",
        "wrong",
        "random as good",
        "valid",
    ]
    rows = [cell(row, found) for row in found.rows]
    text += markdown(
        pd.DataFrame(rows, columns=[*names, "writes right", "KL on other text", "CPU s"])
    )
    text += "\n" + "\n".join(f"- {one}" for one in conclusions(found)) + "\n\n"
    (arguments.out / "table.md").write_text(text, encoding="utf-8")
    if arguments.methods == "all":
        text += markdown(transfer(model, known, arguments.ending, arguments.size)) + "\n"
        text += markdown(texts(model, known, arguments.ending, arguments.size, arguments.position))
    text += f"\n{time.process_time() - started:.0f} s CPU\n"
    (arguments.out / "table.md").write_text(text, encoding="utf-8")
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
