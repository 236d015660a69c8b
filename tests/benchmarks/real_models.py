"""SADI on two small real pretrained models: sentiment and mood, with K and strength chosen on dev.

    python tests/benchmarks/real_models.py --assets FOLDER --out FOLDER

FOLDER/models/craftgpt-5m, FOLDER/models/stories260K and FOLDER/datasets/sst2 are needed. Writes one
results.json a run and prints a Markdown table. Nothing here is tuned on test.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import sadi_lens as sl
from sadi_lens.apps.demo import run_demo
from sadi_lens.engine.text import encode
from sadi_lens.types.results.table import METHOD_COLUMNS, method_rows
from sadi_lens.types.store import write_json

MOODS = (" happy", " sad")
GOOD = [
    "won a game",
    "found my toy",
    "got a new puppy",
    "made a new friend",
    "ate some cake",
    "had a fun party",
    "went to the park",
    "got a nice gift",
    "played with my friends",
    "saw a rainbow",
    "baked cookies",
    "passed my test",
    "got a big hug",
    "heard a funny joke",
    "had a good day",
    "went on a trip",
    "learned to swim",
    "planted a flower",
    "sang a song",
    "finished my work",
]
BAD = [
    "lost a game",
    "broke my toy",
    "lost my puppy",
    "had a fight with my friend",
    "dropped my cake",
    "missed the party",
    "fell down at the park",
    "lost my money",
    "am all alone",
    "got sick",
    "burned the cookies",
    "failed my test",
    "hurt my leg",
    "had a bad dream",
    "had a bad day",
    "missed my bus",
    "fell in the mud",
    "killed a flower",
    "heard bad news",
    "cut my hand",
]
WHO = ("i", "today i", "this morning i", "yesterday i", "oh, i", "well, i")


def mood_task(name: str, template: str, seed: int = 0) -> sl.Task:
    """Good and bad events told in the first person; the right choice is the mood they bring.

    Split by event, so that no event of dev or test stands in the pairs.
    """
    rng = random.Random(seed)
    good, bad = rng.sample(GOOD, len(GOOD)), rng.sample(BAD, len(BAD))
    parts = {"pairs": slice(0, 6), "dev": slice(6, 12), "test": slice(12, 20)}
    found: dict[str, list[tuple[str, int, str]]] = {
        split: [
            (template.format(f"{who} {event}"), label, event)
            for label, events in enumerate((good, bad))
            for event in events[part]
            for who in WHO
        ]
        for split, part in parts.items()
    }
    return sl.Task(
        name,
        pairs=tuple(sl.ContrastivePair(p, MOODS[y], MOODS[1 - y]) for p, y, _ in found["pairs"]),
        dev=tuple(sl.Sample(p, MOODS, y, split="dev", cluster=c) for p, y, c in found["dev"]),
        test=tuple(sl.Sample(p, MOODS, y, split="test", cluster=c) for p, y, c in found["test"]),
    )


def sst2_task(model: Any, folder: Path, template: str, sizes: dict[str, int]) -> sl.Task:
    """SST-2 sentences that the model can read (no unknown token, within its context)."""
    unknown, room = model.tokenizer.unk_token_id, int(model.cfg.n_ctx) - 1

    def fits(text: str) -> bool:
        ids = encode(model.tokenizer, text)
        return len(ids) <= room and (unknown is None or unknown not in ids)

    found: dict[str, list[tuple[str, int]]] = {}
    for split, file in (("pairs", "train"), ("dev", "dev"), ("test", "test")):
        lines = (folder / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        texts = [(template.format(row["sentence"]), 1 - int(row["label"])) for row in rows]
        found[split] = [(text, y) for text, y in texts if fits(text)][: sizes[split]]
    return sl.Task(
        "sst2",
        pairs=tuple(sl.ContrastivePair(p, MOODS[y], MOODS[1 - y]) for p, y in found["pairs"]),
        dev=tuple(sl.Sample(p, MOODS, y, split="dev") for p, y in found["dev"]),
        test=tuple(sl.Sample(p, MOODS, y, split="test") for p, y in found["test"]),
    )


CHAT = "_[inst] {}_[/inst] i feel"
REVIEW = "_[inst] {}._[/inst] i feel"
STORY = "Once upon a time, Tom said: {}. Tom was very"


def main() -> None:
    """Run all three and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--null", type=int, default=60)
    parser.add_argument("--components", nargs="+", default=["head", "neuron", "hidden"])
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    chat = sl.load_model(str(arguments.assets / "models" / "craftgpt-5m"))
    stories = sl.load_model(str(arguments.assets / "models" / "stories260K"))
    sizes = {"pairs": 200, "dev": 200, "test": 1000}
    runs = [
        (chat, sst2_task(chat, arguments.assets / "datasets" / "sst2", REVIEW, sizes)),
        (chat, mood_task("mood (chat)", CHAT)),
        (stories, mood_task("mood (story)", STORY)),
    ]
    for model, task in runs:
        for component in arguments.components:
            results = run_demo(
                model, task, component=component, n_null=arguments.null, progress=False
            )
            name = f"{results['comparison'].model.name.split('/')[-1]}-{task.name}-{component}"
            write_json(results, arguments.out / f"{name.replace(' ', '_')}.json")
            sizes_ = f"{len(task.pairs)} pairs, {len(task.dev)} dev, {len(task.test)} test"
            print(f"\n### {name} ({sizes_})\n")  # noqa: T201  # this is a script
            print("| " + " | ".join(METHOD_COLUMNS) + " |")  # noqa: T201
            print("|" + "---|" * len(METHOD_COLUMNS))  # noqa: T201
            for row in method_rows(results["comparison"]):
                print("| " + " | ".join(row) + " |")  # noqa: T201
            print(f"\n{results['finding']}")  # noqa: T201


if __name__ == "__main__":
    main()
