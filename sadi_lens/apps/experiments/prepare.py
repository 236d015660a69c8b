"""Models, tasks and pairs of an experiment, made once and kept while cells need them."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from sadi_lens.apps.experiments.cells import Cell
from sadi_lens.apps.experiments.experiment import ALL, GIVEN, OWN, Experiment, TaskSpec, grid_method
from sadi_lens.apps.experiments.folder import RunFolder
from sadi_lens.engine.text import encode, encode_item, require_context
from sadi_lens.measure.evaluation import evaluate
from sadi_lens.measure.identity import reading_of
from sadi_lens.measure.methods import Material
from sadi_lens.measure.open_ended import Classifier, load_classifier
from sadi_lens.models import KNOWN, load_model
from sadi_lens.models.known import EMBEDDED
from sadi_lens.tasks import balance_pairs, make_pairs, with_chat_template, with_examples
from sadi_lens.tasks.contrast import balance_warning, right_answer
from sadi_lens.tasks.files import read_lines
from sadi_lens.types.base import SharedItemsError
from sadi_lens.types.checks import as_path
from sadi_lens.types.data import ContrastivePair, Sample, Task, samples_hash
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.seals import sha256, sha256_of


@dataclass
class Inputs:
    """Models, tasks and pairs of an experiment, loaded when a cell needs them; only the last of each is kept."""

    experiment: Experiment
    folder: RunFolder
    added: dict[str, str] = field(default_factory=dict[str, str])
    """Kind and name of everything that was loaded -> its fingerprint."""
    _kept: dict[str, tuple[object, Any]] = field(default_factory=dict[str, tuple[object, Any]])

    def _keep(self, kind: str, key: object, make: Any) -> Any:
        if self._kept.get(kind, (None,))[0] != key:
            self._kept.pop(kind, None)  # free the old one before the new one is made
            self._kept[kind] = (key, make())
        return self._kept[kind][1]

    def model(self, name: str) -> HookedModel:
        """The model, checked against the weights that the run was begun with."""

        def make() -> HookedModel:
            loaded = self.load(name)
            self._add("model", name, ModelInfo.of(loaded).fingerprint)
            for kind, found in reading_of(loaded).items():
                self._add(f"{kind} of", name, found)
            # Not refused when others: a README counts for nothing.
            # Read once, since weights are large.
            is_noted = f"files of {name}" in self.folder.inputs()
            if not is_noted and (files := _model_files(name)):
                self.folder.add_input("files of", name, files)
            return loaded

        return self._keep("model", name, make)

    def load(self, name: str) -> HookedModel:
        """The model alone: nothing is written."""
        return self._keep("loaded", name, lambda: load_model(name))

    def require_unchanged(self) -> None:
        """Refuse rows, texts and models of one's own that are others than those that finished cells were made from.

        What is not on this machine (any more) is not asked for: finished cells do not need it.

        Raises:
            ValueError: With what changed.
        """
        one, noted = self.experiment, self.folder.inputs()
        for spec in one.tasks:
            place = spec.name if spec.is_file else spec.data or one.data
            if f"task {spec.label}" in noted and place and as_path("data", place).exists():
                with contextlib.suppress(FileNotFoundError):
                    self._add("task", spec.label, task_hash(spec.load(one.data)))
        for name, note in (
            ("toxic_texts", self._toxic_texts),
            ("classifier", self._note_classifier),
        ):
            place = getattr(one, name)
            if f"{name} {place}" in noted and as_path(name, place).exists():
                note(place)
        for name in one.models:
            was = noted.get(f"files of {name}")
            if was and _model_files(name) not in ("", was):
                self.model(name)  # it says what else is another one

    def _toxic_texts(self, path: str) -> list[str]:
        texts = read_lines(as_path("toxic_texts", path))
        self._add("toxic_texts", path, sha256(json.dumps(texts).encode())[:16])
        return texts

    def _note_classifier(self, folder: str) -> None:
        hashes = files_of(as_path("classifier", folder))
        self._add("classifier", folder, sha256(json.dumps(hashes).encode())[:16])

    def classifier(self) -> Classifier | None:
        """The toxicity classifier, if there is one."""
        folder = self.experiment.classifier
        if folder is None:
            return None

        def make() -> Classifier:
            self._note_classifier(folder)
            return load_classifier(folder)

        return self._keep("classifier", folder, make)

    def _add(self, kind: str, name: str, fingerprint: str) -> None:
        self.folder.add_input(kind, name, fingerprint)
        self.added[f"{kind} {name}"] = fingerprint

    def of(self, cell: Cell) -> dict[str, str]:
        """Fingerprints of all that a cell that was run here was made from."""
        one = self.experiment
        model = ("model", "dtype of", "configuration of", "tokenizer of")
        names = [*(f"{kind} {cell.model}" for kind in model), f"task {cell.task}"]
        names += [f"task {cell.pair_task}"] if cell.pair_task not in ("", OWN) else []
        names += [f"toxic_texts {one.toxic_texts}"] if cell.negatives == "toxic" else []
        names += [f"classifier {one.classifier}"]
        return {name: self.added[name] for name in names if name in self.added}

    def task(self, cell: Cell) -> tuple[Task, dict[str, int]]:
        """The task as the model reads it, and how many items of each split it could not read."""
        spec = self._spec(cell.task)
        key = (cell.model, spec, cell.shots, cell.seed if cell.shots else None)
        return self._keep("task", key, lambda: self._task(cell, spec))

    def _task(self, cell: Cell, spec: TaskSpec) -> tuple[Task, dict[str, int]]:
        task = spec.load(self.experiment.data)
        self._add("task", spec.label, task_hash(task))
        model = self.model(cell.model)
        task = with_examples(task, cell.shots, seed=cell.seed)
        if self.experiment.chat_template:
            task = with_chat_template(task, model.tokenizer)
        parts: dict[str, Any] = {}
        dropped: dict[str, int] = {}
        for split in ("pairs", "pair_items", "dev", "test"):
            items = getattr(task, split)
            kept = [one for one in items if _fits(model, one, self.experiment.max_new_tokens)]
            dropped[split] = len(items) - len(kept)
            parts[split] = tuple(kept[: self.experiment.sizes.get(_split_of(split))])
        lost = {split: n for split, n in dropped.items() if n}
        if lost and self.experiment.unfit == "refuse":
            raise ValueError(
                f"{cell.model} cannot read {lost} items of {task.name} (longer than its context, unknown tokens, or "
                "answers that are the same tokens). Set unfit: drop to leave them out, counted."
            )
        empty = [s for s in ("pairs", "dev", "test") if getattr(task, s) and not parts[s]]
        if empty:
            raise ValueError(f"{cell.model} can read no item of {empty[0]} of {task.name}")
        prompts = task.prompts[: self.experiment.sizes.get("test")]
        return replace(task, **parts, prompts=prompts), dropped

    def _spec(self, label: str) -> TaskSpec:
        """A task of the experiment, or an embedded one."""
        known = {one.label: one for one in self.experiment.tasks}
        return known.get(label) or TaskSpec(label)

    def _require_apart(self, task: str, other: TaskSpec) -> None:
        """Refuse pairs of another task that stand in dev or test of the own one."""
        own, pairs = (one.load(self.experiment.data) for one in (self._spec(task), other))
        try:
            replace(own, pairs=pairs.pairs, pair_items=pairs.pair_items)
        except SharedItemsError as error:
            raise ValueError(
                f"pair_tasks: pairs of {other.label!r} are items of {task!r}: {error}"
            ) from error

    def pairs(self, cell: Cell) -> tuple[ContrastivePair, ...]:
        """The pairs of a cell, with its kind of negatives, drawn by its seed."""
        return self._keep("pairs", cell.pairs_key, lambda: self._pairs(cell))

    def _pairs(self, cell: Cell) -> tuple[ContrastivePair, ...]:
        source, _ = self.task(cell)
        if cell.pair_task != OWN:
            spec = self._spec(cell.pair_task)
            self._require_apart(cell.task, spec)
            source, _ = self._task(replace(cell, task=spec.label, shots=0), spec)
        pairs = source.pairs
        if cell.negatives != GIVEN:
            items = source.pair_items
            if not items:
                raise ValueError(
                    f"task {source.name!r} gives pairs, not the items they were made of: negatives must be 'given', "
                    f"got {cell.negatives!r}"
                )
            scores = None
            if cell.negatives == "hard":
                scores = evaluate(self.model(cell.model), items, progress=False).choice_scores
            texts: list[str] = []
            if cell.negatives == "toxic" and (path := self.experiment.toxic_texts):
                texts = self._toxic_texts(path)
            pairs = make_pairs(
                items, cell.negatives, seed=cell.seed, choice_scores=scores, texts=texts
            )
        if self.experiment.balance:
            pairs = balance_pairs(pairs)
        if cell.n_pairs != ALL:
            n = int(cell.n_pairs)
            if n > len(pairs):
                raise ValueError(
                    f"n_pairs must be at most {len(pairs)} for {cell.label} on {cell.task}, got {n}"
                )
            # A prefix of one order, so that more pairs contain fewer.
            order = Random(f"pairs/{cell.seed}").sample(range(len(pairs)), len(pairs))
            pairs = tuple(pairs[index] for index in order[:n])
        if not pairs:
            raise ValueError(f"task {source.name!r} has no pairs, and a mask needs them")
        return tuple(pairs)

    def balance_note(self, cell: Cell) -> str:
        """What is unbalanced about the pairs; empty where nothing is."""
        return balance_warning(self.pairs(cell)) or ""

    def material(self, cell: Cell) -> Material:
        """What a cell's method may build from; differences are read once for all cells with the same pairs."""
        one = self.experiment
        wanted = [*one.components, *(grid_method(name).component for name in one.methods)]
        return Material(
            self.model(cell.model),
            self.pairs(cell),
            cell.task if cell.pair_task == OWN else cell.pair_task,
            cell.component,
            cell.position,
            cell.seed,
            cell.ranking or "signed",
            one.ks,
            one.strengths,
            tuple(dict.fromkeys(name for name in wanted if name)),
            self._keep("read", cell.pairs_key, dict[str, Any]),
        )


def task_hash(task: Task) -> str:
    """Identity of everything in a task that decides a number."""
    parts = [samples_hash(getattr(task, name)) for name in ("pair_items", "dev", "test")]
    pairs = [(p.prompt, p.positive, p.negative, p.negative_prompt, p.cluster) for p in task.pairs]
    parts += [pairs, task.prompts]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _split_of(name: str) -> str:
    return "pairs" if name == "pair_items" else name


def _answers(item: Sample | ContrastivePair) -> Sequence[str]:
    if isinstance(item, ContrastivePair):
        return (item.positive, item.negative)
    return item.choices or (right_answer(item),)


def _fits(model: HookedModel, item: Sample | ContrastivePair, room: int) -> bool:
    """Whether the model can read a prompt with each of its answers."""
    tokenizer: Any = model.tokenizer
    unknown = tokenizer.unk_token_id
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    try:
        encoded = encode_item(model, item.prompt, _answers(item))
        if isinstance(item, Sample) and item.target is not None:
            length = len(encode(tokenizer, item.prompt))
            require_context(model, length, item.prompt, room)
    except ValueError:
        return False
    tokens = {*encoded.prompt, *(one for answer in encoded.answers for one in answer)}
    return unknown is None or unknown in special or unknown not in tokens


def files_of(folder: Path) -> list[tuple[str, str]]:
    """Files of a model folder with their hashes; hidden ones (git's, a download's) hold times and are left out."""
    places = sorted(
        one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()
    )
    seen = [one for one in places if not one.startswith(".") and "/." not in one]
    return [(one, sha256_of(folder / one)) for one in seen]


def _model_files(name: str) -> str:
    """Hash of the files of a model in a folder or file of one's own; empty for any other, and where it is not here."""
    place = Path(name).expanduser()
    if name in EMBEDDED or name in KNOWN or not place.exists():
        return ""
    held = files_of(place) if place.is_dir() else [(place.name, sha256_of(place))]
    return sha256(json.dumps(held).encode())[:16]
