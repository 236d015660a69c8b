"""``load_benchmark``: the paper's tasks from local files or the Hub, cut into pairs, dev and test."""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sadi_lens.tasks.benchmark import Benchmark
from sadi_lens.tasks.commonsense import COMMONSENSE
from sadi_lens.tasks.conduct import CONDUCT
from sadi_lens.tasks.contrast import NEGATIVES, make_pairs
from sadi_lens.tasks.files import SUFFIXES, find_file, read_hub, read_rows
from sadi_lens.tasks.judgement import JUDGEMENT
from sadi_lens.tasks.knowledge import KNOWLEDGE
from sadi_lens.types.base import SharedItemsError, require_one_of
from sadi_lens.types.checks import as_path, checked
from sadi_lens.types.data import SPLITS, Sample, Task

BENCHMARKS: dict[str, Benchmark] = {
    one.name: one for one in (*COMMONSENSE, *JUDGEMENT, *KNOWLEDGE, *CONDUCT)
}
"""Name -> published data set."""
SHARES = {"pairs": 2, "dev": 1, "test": 2}
"""Parts of a source split that several of ours are cut from."""
DUPLICATES = ("refuse", "drop")


@checked()
def load_benchmark(
    name: str,
    data: str | Path | None = None,
    *,
    subset: str | None = None,
    form: str = "",
    sizes: Mapping[str, int] | None = None,
    negatives: str | None = None,
    toxic_texts: Sequence[str] = (),
    duplicates: str = "refuse",
    seed: int = 0,
) -> Task:
    """A task of the paper: items with sadi_lens's wording of its prompt structure, pairs, dev and test.

    Where the data set has too few labelled splits, one of them is cut by a hash of the prompt (of the premise or
    passage that items share, so that these stay together): an item's place does not depend on the other items.
    Every split is in the order of that hash, so the first n are a random sample.

    Args:
        name: One of ``BENCHMARKS``.
        data: Folder of local files of the same columns (or its parent); None takes the Hub.
        subset: Language or domain, where there are several.
        form: ``"cloze"``: the choices are text that goes on from the prompt, as in lm-evaluation-harness (score them
            ``"per_byte"``: they differ in length). Default: as the paper asks, most often by letters. Any form can be
            asked through a chat template (``with_chat_template``).
        sizes: Most items of ``"pairs"``, ``"dev"`` and ``"test"``; default all.
        negatives: See ``sadi_lens.tasks.contrast.NEGATIVES``; default the paper's. ``"hard"`` needs a model and
            is made with ``make_pairs``.
        toxic_texts: For ``negatives="toxic"``; without them such a task has no pairs.
        duplicates: An item that stands in two splits, or shares its passage or premise with one in another, is
            refused, or dropped from the earlier one (pairs before dev before test); how many is said in the
            description.
        seed: Another seed cuts other splits and draws other negatives.

    Raises:
        ValueError: If a name is unknown, a row is wrong, a split is empty or has one class, or items are shared.
        FileNotFoundError: If a local folder lacks the files.
        OSError: If the Hub cannot be reached.
    """
    benchmark = _benchmark(name)
    require_one_of("duplicates", duplicates, DUPLICATES)
    negatives = negatives or benchmark.negatives
    require_one_of("negatives", negatives, NEGATIVES)
    for split in sizes or {}:
        require_one_of("split in sizes", split, SPLITS)
    subset = _subset(benchmark, subset)
    folder = None if data is None else _folder(benchmark, as_path("data", data))
    plan = _hub_plan(benchmark) if folder is None else _local_plan(benchmark, folder, subset)
    parts: dict[str, list[Sample]] = {}
    for source in dict.fromkeys(plan.values()):
        wanted = [split for split in SPLITS if plan.get(split) == source]
        items = read_benchmark(name, source, data, subset=subset, form=form)
        parts |= _cut(_by_hash(items, seed), wanted)
    dropped = _drop_duplicates(parts) if duplicates == "drop" else 0
    for split, most in (sizes or {}).items():
        if most < 1:
            raise ValueError(f"sizes must be at least 1, got {split}: {most}")
        parts[split] = parts[split][:most]
    for split, items in parts.items():
        _require_usable(items, f"{split} of {name} (from {plan[split]!r})")
    pairs = ()
    if negatives != "toxic" or toxic_texts:
        pairs = make_pairs(parts["pairs"], negatives, seed=seed, texts=toxic_texts)
    note = f" {dropped} items that stood in two splits were dropped." if dropped else ""
    is_open = benchmark.is_open
    try:
        _require_parted(name, parts)
        return Task(
            name="-".join(
                [name, *([] if subset in (None, "all") else [subset]), *([form] if form else [])]
            ),
            pairs=pairs,
            dev=() if is_open else tuple(replace(one, split="dev") for one in parts["dev"]),
            test=() if is_open else tuple(replace(one, split="test") for one in parts["test"]),
            description=f"{benchmark.licence}; pairs, dev, test from {', '.join(plan[s] for s in SPLITS)}.{note}",
            prompts=tuple(dict.fromkeys(one.prompt for one in parts["test"])) if is_open else (),
            pair_items=tuple(parts["pairs"]),
        )
    except SharedItemsError as error:
        if duplicates == "drop":
            raise
        raise SharedItemsError(
            f"{error}; duplicates='drop' leaves them out of the earlier split"
        ) from error


@checked()
def read_benchmark(
    name: str,
    split: str,
    data: str | Path | None = None,
    *,
    subset: str | None = None,
    form: str = "",
) -> list[Sample]:
    """Every item of one source split, in its order.

    Args:
        name: One of ``BENCHMARKS``.
        split: The source's own name of the split (a file stem, or the Hub's).
        data: See ``load_benchmark``.
        subset: See ``load_benchmark``.
        form: See ``load_benchmark``.

    Raises:
        ValueError: If a row is wrong; the file and line are named, and the columns that are needed.
    """
    benchmark = _benchmark(name)
    cloze = benchmark.cloze if _form(benchmark, form) else None
    subset = _subset(benchmark, subset)
    if data is None:
        _hub_plan(benchmark)
        config = benchmark.hub_config and benchmark.hub_config.format(subset=subset)
        rows = read_hub(
            benchmark.hub,
            config,
            split,
            revision=benchmark.hub_revision,
            local_instead=_needs(benchmark),
        )
    else:
        folder = _folder(benchmark, as_path("data", data))
        stem = benchmark.file.format(split=split, subset=subset)
        path = find_file(folder, stem)
        if path is None:
            raise FileNotFoundError(
                f"{folder} has no file {stem} ({', '.join(SUFFIXES)}): {_needs(benchmark)}"
            )
        rows = read_rows(path)
    items: list[Sample] = []
    for where, row in rows:
        try:
            if benchmark.belongs and subset and not benchmark.belongs(row, subset):
                continue
            if benchmark.keeps and not benchmark.keeps(row):
                continue
            items.append(cloze(row, subset) if cloze else benchmark.read(row))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}. {name} needs {benchmark.columns}") from error
    return items


def _benchmark(name: str) -> Benchmark:
    require_one_of("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]


def _form(benchmark: Benchmark, form: str) -> str:
    require_one_of(f"form of {benchmark.name}", form, ("", "cloze") if benchmark.cloze else ("",))
    return form


def _subset(benchmark: Benchmark, subset: str | None) -> str | None:
    if not benchmark.subsets:
        if subset is not None:
            raise ValueError(f"{benchmark.name} has no subsets, got {subset!r}")
        return None
    if subset is not None:
        require_one_of(f"subset of {benchmark.name}", subset, benchmark.subsets)
    return subset or benchmark.subsets[0]


def _folder(benchmark: Benchmark, data: Path) -> Path:
    if not data.is_dir():
        raise FileNotFoundError(f"data folder {data} does not exist; {_needs(benchmark)}")
    inner = data / benchmark.folder
    return inner if inner.is_dir() else data


def _needs(benchmark: Benchmark) -> str:
    plans = " or ".join(
        ", ".join(dict.fromkeys(benchmark.file.format(split=one, subset="SUBSET") for one in plan))
        for plan in (list(dict.fromkeys(plan.values())) for plan in benchmark.local_plans)
    )
    return (
        f"a folder {benchmark.folder}/ with the files {plans} ({' or '.join(SUFFIXES)}), "
        f"columns {benchmark.columns}"
    )


def _hub_plan(benchmark: Benchmark) -> Mapping[str, str]:
    if not benchmark.hub:
        raise FileNotFoundError(
            f"{benchmark.name} is read from local files only; give {_needs(benchmark)}"
        )
    return benchmark.hub_plan


def _local_plan(benchmark: Benchmark, folder: Path, subset: str | None) -> Mapping[str, str]:
    for plan in benchmark.local_plans:
        stems = {benchmark.file.format(split=one, subset=subset) for one in plan.values()}
        if all(find_file(folder, stem) for stem in stems):
            return plan
    raise FileNotFoundError(
        f"{folder} lacks files of {benchmark.name}"
        f"{f' ({subset})' if subset else ''}: needs {_needs(benchmark)}"
    )


def _by_hash(items: list[Sample], seed: int) -> list[Sample]:
    def key(item: Sample) -> str:
        return hashlib.sha256(f"{seed}/{item.cluster or item.prompt}".encode()).hexdigest()

    return sorted(items, key=key)  # items of a cluster stand together


def _cut(items: list[Sample], wanted: list[str]) -> dict[str, list[Sample]]:
    ends = np.cumsum([0, *(SHARES[split] for split in wanted)])
    ends = np.rint(ends * len(items) / ends[-1]).astype(int)
    for place in range(1, len(ends) - 1):  # no cluster is cut in two
        end = ends[place]
        while 0 < end < len(items) and _is_same_cluster(items[end - 1], items[end]):
            end += 1
        ends[place] = end
    return {
        split: items[start:end] for split, start, end in zip(wanted, ends, ends[1:], strict=False)
    }


def _is_same_cluster(one: Sample, other: Sample) -> bool:
    return one.cluster is not None and one.cluster == other.cluster


def _drop_duplicates(parts: dict[str, list[Sample]]) -> int:
    """Keep a prompt, and all items of a cluster, in the last of test, dev, pairs that has it."""
    taken: set[Hashable] = set()
    dropped = 0
    for split in reversed(SPLITS):
        kept = [item for item in parts[split] if not taken & _known_by(item)]
        dropped += len(parts[split]) - len(kept)
        taken = taken.union(*map(_known_by, kept))
        parts[split] = kept
    return dropped


def _known_by(item: Sample) -> set[Hashable]:
    cluster = () if item.cluster is None else ((item.cluster,),)
    return {item.prompt.rstrip(), *cluster}


def _require_parted(name: str, parts: Mapping[str, Sequence[Sample]]) -> None:
    """Refuse a cluster that source splits share: where they are cut here, none is cut in two."""
    clusters = {split: {one.cluster for one in parts[split]} - {None} for split in SPLITS}
    for first, second in (("pairs", "dev"), ("pairs", "test"), ("dev", "test")):
        shared = sorted(map(str, clusters[first] & clusters[second]))
        if shared:
            raise SharedItemsError(
                f"{first} and {second} of task {name!r} must share no passage, premise or other cluster of items, "
                f"{len(shared)} stand in both, first {shared[0][:60]!r}"
            )


def _require_usable(items: Sequence[Sample], what: str) -> None:
    if not items:
        raise ValueError(f"{what} is empty")
    if items[0].choices and len({item.choices for item in items}) == 1:
        labels = {item.answer for item in items}
        if len(labels) == 1 and len(items) > 1:
            raise ValueError(
                f"{what} has one class: all {len(items)} items have the answer "
                f"{items[0].choices[labels.pop() or 0]!r}. Nothing can be told from it; take other rows"
            )
