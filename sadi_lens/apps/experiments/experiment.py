"""What an experiment is: axes whose product is the list of cells. Read from YAML, checked before anything runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sadi_lens.measure.methods import METHODS, Method
from sadi_lens.tasks import BENCHMARKS, EMBEDDED_TASKS, NEGATIVES, load_benchmark, load_task
from sadi_lens.tasks.benchmarks import DUPLICATES
from sadi_lens.types.answers import SCORINGS
from sadi_lens.types.base import POSITIONS, require_one_of
from sadi_lens.types.components import COMPONENTS
from sadi_lens.types.data import SPLITS, Task
from sadi_lens.types.masks import RANKINGS

GRIDS = tuple(one.name for one in METHODS.values() if isinstance(one, Method) and one.axis)
"""Methods that an experiment can run: those whose candidates form a grid, of ``sadi_lens.measure.methods.METHODS``."""
FIGURES = ("methods", "sweeps", "differences", "layers", "pairs")
GIVEN, OWN, ALL = "given", "own", "all"
EXAMPLES = Path(__file__).parent / "examples"


def grid_method(name: str) -> Method:
    """A method of ``GRIDS``.

    Raises:
        ValueError: If there is none of that name.
    """
    require_one_of("methods", name, GRIDS)
    found = METHODS[name]
    assert isinstance(found, Method)
    return found


@dataclass(frozen=True)
class TaskSpec:
    """A task by name, with where its rows are.

    Raises:
        ValueError: If the name is neither embedded, published nor a file.
    """

    name: str
    data: str | None = None
    """Folder of local files of a published data set."""
    subset: str | None = None
    """Language or domain."""
    duplicates: str = "refuse"

    def __post_init__(self) -> None:
        require_one_of("duplicates", self.duplicates, DUPLICATES)
        if not self.is_file:
            require_one_of("task", self.name, [*EMBEDDED_TASKS, *BENCHMARKS])

    @property
    def is_file(self) -> bool:
        """Whether the rows are a user's own."""
        return Path(self.name).suffix in (".jsonl", ".json")

    @property
    def label(self) -> str:
        """Name in tables."""
        name = Path(self.name).stem if self.is_file else self.name
        return f"{name}-{self.subset}" if self.subset else name

    def load(self, data: str | None = None) -> Task:
        """The whole task."""
        if self.is_file or self.name in EMBEDDED_TASKS:
            return load_task(self.name)
        return load_benchmark(
            self.name, self.data or data, subset=self.subset, duplicates=self.duplicates
        )


@dataclass(frozen=True)
class Experiment:
    """Every cell of models x tasks x shots x pairs x components x rankings x methods x positions x seeds.

    In each cell the mask comes from pairs, K and strength from dev, the reported numbers from test.

    Raises:
        ValueError: If a value is unknown, empty, repeated or out of range.
    """

    name: str
    tasks: tuple[TaskSpec, ...]
    models: tuple[str, ...] = ("tiny",)
    components: tuple[str, ...] = ("head",)
    rankings: tuple[str, ...] = ("signed",)
    methods: tuple[str, ...] = ("sadi",)
    negatives: tuple[str, ...] = (GIVEN,)
    """``"given"``: the task's own pairs; else as in ``sadi_lens.tasks.NEGATIVES``."""
    n_pairs: tuple[int | str, ...] = (ALL,)
    pair_tasks: tuple[str, ...] = (OWN,)
    """Tasks whose pairs make the mask; ``"own"`` is in-domain."""
    shots: tuple[int, ...] = (0,)
    positions: tuple[str, ...] = ("last_prompt",)
    seeds: tuple[int, ...] = (0,)
    """Of drawn pairs, negatives, examples and random units; a cell that draws nothing runs once."""
    scorings: tuple[str, ...] = ("sum",)
    """Of the test items; dev chooses by the first."""
    ks: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    """Component -> numbers of units; default ``sadi_lens.measure.sweeps.KS``."""
    strengths: tuple[float, ...] = ()
    """Default each method's own; for SADI ``sadi_lens.measure.sweeps.STRENGTHS``."""
    choose: str = "best"
    """``"best"`` cell on dev, or ``"stable"``."""
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Most items of a split."""
    data: str | None = None
    """Folder of local data sets for tasks that name none."""
    chat_template: bool = False
    balance: bool = False
    """Balance the labels of the pairs."""
    unfit: str = "refuse"
    """What to do with items that the model cannot read: ``"refuse"`` or ``"drop"`` (counted)."""
    max_new_tokens: int = 16
    toxic_texts: str | None = None
    """Text file, one toxic text a line, for ``negatives: toxic``."""
    classifier: str | None = None
    """Folder of a local toxicity classifier; without one that score is absent."""
    figures: tuple[str, ...] = ("methods", "sweeps")
    published: str | None = None
    """Published table to lay the results beside."""
    description: str = ""

    def __post_init__(self) -> None:
        if not self.name or not self.name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"name must be letters, digits, - and _, got {self.name!r}")
        for axis, allowed in _AXES.items():
            values = getattr(self, axis)
            if axis == "models" and not all(isinstance(one, str) and one for one in values):
                raise ValueError(f"models must be names or folders, got {list(values)}")
            if not values and axis != "figures":
                raise ValueError(f"{axis} must not be empty")
            if len(set(values)) < len(values):
                raise ValueError(f"{axis} must differ, got {list(values)}")
            for value in values:
                if allowed is not None:
                    require_one_of(axis, value, allowed)
        labels = [spec.label for spec in self.tasks]
        if len(set(labels)) < len(labels):
            raise ValueError(f"tasks must have different names, got {labels}")
        for name in self.pair_tasks:
            require_one_of("pair_tasks", name, [OWN, *labels, *EMBEDDED_TASKS])
        require_one_of("choose", self.choose, ("best", "stable"))
        require_one_of("unfit", self.unfit, ("refuse", "drop"))
        for n in self.n_pairs:
            if n != ALL and not _is_count(n, 1):
                raise ValueError(f"n_pairs must be whole numbers from 1, or 'all', got {n!r}")
        for name, least in (("shots", 0), ("seeds", 0)):
            bad = [one for one in getattr(self, name) if not _is_count(one, least)]
            if bad:
                raise ValueError(f"{name} must be whole numbers from {least}, got {bad[0]!r}")
        for component, ks in self.ks.items():
            require_one_of("ks", component, COMPONENTS)
            if not ks or not all(_is_count(k, 1) for k in ks):
                raise ValueError(f"ks of {component} must be whole numbers from 1, got {list(ks)}")
        if not all(_is_number(one) for one in self.strengths):
            raise ValueError(f"strengths must be finite numbers, got {list(self.strengths)}")
        for split, n in self.sizes.items():
            require_one_of("sizes", split, SPLITS)
            if not _is_count(n, 1):
                raise ValueError(f"sizes must be whole numbers from 1, got {split}: {n!r}")
        if not _is_count(self.max_new_tokens, 1):
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Experiment":
        """An experiment from plain values, as YAML gives them; a single value stands for a list of one.

        Raises:
            ValueError: If a key is unknown, missing or its value of the wrong kind.
        """
        known = {one.name: one for one in fields(cls)}
        for key in values:
            require_one_of("key", str(key), known)
        for key in ("name", "tasks"):
            if key not in values:
                raise ValueError(f"lacks the key {key!r}; got {sorted(values)}")
        given: dict[str, Any] = dict(values)
        for key in (*_AXES, "strengths"):
            if key in given:
                given[key] = _listed(given[key])
        if not all(_is_number(one) for one in given.get("strengths", ())):
            raise ValueError(f"strengths must be finite numbers, got {list(given['strengths'])}")
        given["strengths"] = tuple(float(one) for one in given.get("strengths", ()))
        given["tasks"] = tuple(_task(one) for one in given["tasks"])
        for key in ("ks", "sizes"):
            if not isinstance(given.get(key, {}), Mapping):
                raise ValueError(f"{key} must be a mapping, got {given[key]!r}")
        if "ks" in given:
            given["ks"] = {str(name): _listed(ks) for name, ks in given["ks"].items()}
        for key in ("chat_template", "balance"):
            if not isinstance(given.get(key, False), bool):
                raise ValueError(f"{key} must be true or false, got {given[key]!r}")
        for key in ("name", "data", "toxic_texts", "classifier", "published", "description"):
            if not isinstance(given.get(key), str | None):
                raise ValueError(f"{key} must be text, got {given[key]!r}")
        return cls(**given)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Experiment":
        """An experiment from a file, or by name from the examples that come with the library.

        Raises:
            FileNotFoundError: If there is no such file or example.
            ValueError: If it is not YAML or says something wrong; the file is named.
        """
        import yaml

        path = Path(path)
        if not path.is_file():
            example = EXAMPLES / f"{path}.yaml"
            if path.suffix or not example.is_file():
                known = sorted(one.stem for one in EXAMPLES.glob("*.yaml"))
                raise FileNotFoundError(f"{path} does not exist; examples: {', '.join(known)}")
            path = example
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not YAML: {error}") from error
        if not isinstance(values, Mapping):
            raise ValueError(f"{path} must hold keys and values, got {type(values).__name__}")
        try:
            return cls.from_dict({"name": path.stem, **values})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error

    def settings(self) -> dict[str, Any]:
        """Everything that decides a number, as plain values; figures and description do not."""
        values = asdict(self)
        for key in ("figures", "published", "description", "name"):
            del values[key]
        return values


_AXES: dict[str, Any] = {
    "tasks": None,
    "models": None,
    "components": COMPONENTS,
    "rankings": RANKINGS,
    "methods": GRIDS,
    "negatives": (GIVEN, *NEGATIVES),
    "n_pairs": None,
    "pair_tasks": None,
    "shots": None,
    "positions": POSITIONS,
    "seeds": None,
    "scorings": SCORINGS,
    "figures": FIGURES,
}


def _listed(value: Any) -> tuple[Any, ...]:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(value) if is_list else (value,)


def _task(value: Any) -> TaskSpec:
    if isinstance(value, str | TaskSpec):
        return TaskSpec(value) if isinstance(value, str) else value
    if not isinstance(value, Mapping) or "name" not in value:
        raise ValueError(f"a task must be a name or a mapping with a name, got {value!r}")
    for key in value:
        require_one_of("key of a task", str(key), [one.name for one in fields(TaskSpec)])
    return TaskSpec(**value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
