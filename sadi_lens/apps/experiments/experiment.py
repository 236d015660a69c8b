"""What an experiment is: axes whose product is the list of cells. Read from YAML, checked before anything runs."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.dataclasses import dataclass

from sadi_lens.apps.experiments.reading import first_fault, read_yaml
from sadi_lens.measure.choosing import RULES
from sadi_lens.measure.methods import METHODS, Method
from sadi_lens.tasks import BENCHMARKS, EMBEDDED_TASKS, NEGATIVES, load_benchmark, load_task
from sadi_lens.tasks.benchmarks import DUPLICATES
from sadi_lens.tasks.loading import names_file
from sadi_lens.tasks.published import published_titles
from sadi_lens.types.answers import SCORINGS
from sadi_lens.types.base import POSITIONS, require_count, require_one_of
from sadi_lens.types.checks import as_path
from sadi_lens.types.data import SPLITS, Task
from sadi_lens.types.model import COMPONENTS
from sadi_lens.types.scores import RANKINGS
from sadi_lens.types.seals import sha256

GRIDS = tuple(one.name for one in METHODS.values() if isinstance(one, Method) and one.axis)
"""Methods that an experiment can run: those of ``sadi_lens.measure.methods.METHODS`` whose candidates form a grid."""
FIGURES = ("methods", "sweeps", "differences", "layers", "pairs")
GIVEN, OWN, ALL = "given", "own", "all"
EXAMPLES = Path(__file__).parent / "examples"

T = TypeVar("T")


def grid_method(name: str) -> Method:
    """A method of ``GRIDS``.

    Raises:
        ValueError: If there is none of that name.
    """
    require_one_of("methods", name, GRIDS)
    found = METHODS[name]
    assert isinstance(found, Method)
    return found


def _among(allowed: Sequence[str] | Mapping[str, Any]) -> AfterValidator:
    """A name that must be known."""

    def check(value: str, info: ValidationInfo) -> str:
        require_one_of(str(info.field_name), value, allowed)
        return value

    return AfterValidator(check)


def _listed(value: Any) -> Any:
    """A single value stands for a list of one."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(value) if is_list else (value,)


def _distinct(values: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"{info.field_name} must differ, got {list(values)}")
    return values


def _pairs_count(value: Any) -> int | str:
    if value == ALL:
        return ALL
    try:
        require_count("n_pairs", value)
    except ValueError as error:
        raise ValueError(f"{error}; 'all' stands for all of them") from error
    return value


Several = Annotated[tuple[T, ...], BeforeValidator(_listed), AfterValidator(_distinct)]
Axis = Annotated[Several[T], Field(min_length=1)]
Text = Annotated[str, Field(strict=True)]
Named = Annotated[str, Field(strict=True, min_length=1)]
"""A name or a place; an empty one would be none at all."""
Count = Annotated[int, Field(strict=True, ge=1)]
Seed = Annotated[int, Field(strict=True, ge=0)]
Switch = Annotated[bool, Field(strict=True)]
Strength = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_CONFIG = ConfigDict(extra="forbid")


def _in_words(cls: type[T]) -> type[T]:
    """A class whose constructor says in one line what it refuses."""
    check: Callable[..., None] = cls.__init__

    @functools.wraps(check)
    def init(self: T, *args: Any, **values: Any) -> None:
        try:
            check(self, *args, **values)
        except ValidationError as error:
            kinds: dict[str, Any] = {"key": cls, "key of a task": TaskSpec}
            known = {name: [one.name for one in fields(kind)] for name, kind in kinds.items()}
            raise ValueError(first_fault(error, values, known)) from error

    cls.__init__ = init
    return cls


@_in_words
@dataclass(frozen=True, config=_CONFIG)
class TaskSpec:
    """A task by name, with where its rows are.

    Raises:
        ValueError: If the name is neither embedded, published nor a file.
    """

    name: Named
    data: Named | None = None
    """Folder of local files of a published data set."""
    subset: Named | None = None
    """Language or domain."""
    duplicates: Annotated[str, _among(DUPLICATES)] = "refuse"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name == "suggest":
            raise ValueError(
                "task 'suggest' keeps what each model knows, so a table of several would be of different items; run "
                "`sadi-lens compare` for each model"
            )
        if not self.is_file:
            require_one_of("task", self.name, [*EMBEDDED_TASKS, *BENCHMARKS])
        if self.name not in BENCHMARKS:  # they would change the name of its rows, and nothing else
            for one in fields(self)[1:]:
                if getattr(self, one.name) != one.default:
                    raise ValueError(
                        f"{one.name} belongs to a published data set, and task {self.name!r} is none; leave it out"
                    )
        return self

    @property
    def is_file(self) -> bool:
        """Whether the rows are a user's own: a file, or a folder of splits, as ``load_task`` reads it."""
        return names_file(self.name) and self.name not in BENCHMARKS

    @property
    def label(self) -> str:
        """Name in tables."""
        name = Path(self.name.removesuffix(".gz")).stem if self.is_file else self.name
        return f"{name}-{self.subset}" if self.subset else name

    def load(self, data: str | None = None) -> Task:
        """The whole task."""
        if self.is_file or self.name in EMBEDDED_TASKS:
            return load_task(self.name)
        return load_benchmark(
            self.name, self.data or data, subset=self.subset, duplicates=self.duplicates
        )


def _spec(value: Any) -> Any:
    if isinstance(value, str):
        return TaskSpec(value)
    if not isinstance(value, TaskSpec | Mapping) or (
        isinstance(value, Mapping) and "name" not in value
    ):
        raise ValueError(f"a task must be a name or a mapping with a name, got {value!r}")
    return value


@_in_words
@dataclass(frozen=True, config=_CONFIG)
class Experiment:
    """Every cell of models x tasks x shots x pairs x components x rankings x methods x positions x seeds.

    In each cell the mask comes from pairs, K and strength from dev, the reported numbers from test.

    Raises:
        ValueError: If a value is unknown, empty, repeated or out of range.
    """

    name: Annotated[Text, Field(pattern=r"^[\w-]+$")]
    tasks: Axis[Annotated[TaskSpec, BeforeValidator(_spec)]]
    models: Axis[Named] = ("tiny",)
    components: Axis[Annotated[str, _among(COMPONENTS)]] = ("head",)
    rankings: Axis[Annotated[str, _among(RANKINGS)]] = ("signed",)
    methods: Axis[Annotated[str, _among(GRIDS)]] = ("sadi",)
    negatives: Axis[Annotated[str, _among((GIVEN, *NEGATIVES))]] = (GIVEN,)
    """``"given"``: the task's own pairs; else as in ``sadi_lens.tasks.NEGATIVES``."""
    n_pairs: Axis[Annotated[int | str, BeforeValidator(_pairs_count)]] = (ALL,)
    pair_tasks: Axis[Named] = (OWN,)
    """Tasks whose pairs make the mask; ``"own"`` is in-domain."""
    shots: Axis[Seed] = (0,)
    positions: Axis[Annotated[str, _among((OWN, *POSITIONS))]] = (OWN,)
    """``"own"``: where a method's definition acts (CAA and ITI at every step), the last prompt token where it leaves
    that open."""
    seeds: Axis[Seed] = (0,)
    """Of drawn pairs, negatives, examples and random units; a cell that draws nothing runs once."""
    scorings: Axis[Annotated[str, _among(SCORINGS)]] = ("sum",)
    """Of the test items; dev chooses by the first."""
    ks: Mapping[Annotated[str, _among(COMPONENTS)], Axis[Count]] = field(
        default_factory=dict[str, tuple[int, ...]]
    )
    """Component -> numbers of units; default ``sadi_lens.measure.sweeps.KS``."""
    strengths: Several[Strength] = ()
    """Default each method's own; for SADI ``sadi_lens.measure.sweeps.STRENGTHS``."""
    choose: Annotated[str, _among(RULES)] = "best"
    """``"best"`` cell on dev, or ``"stable"``."""
    sizes: Mapping[Annotated[str, _among(SPLITS)], Count] = field(default_factory=dict[str, int])
    """Most items of a split."""
    data: Named | None = None
    """Folder of local data sets for tasks that name none."""
    chat_template: Switch = False
    balance: Switch = False
    """Balance the labels of the pairs."""
    unfit: Annotated[str, _among(("refuse", "drop"))] = "refuse"
    """What to do with items that the model cannot read: ``"refuse"`` or ``"drop"`` (counted)."""
    max_new_tokens: Count = 16
    toxic_texts: Named | None = None
    """Text file, one toxic text a line, for ``negatives: toxic``."""
    classifier: Named | None = None
    """Folder of a local toxicity classifier; without one that score is absent."""
    figures: Several[Annotated[str, _among(FIGURES)]] = ("methods", "sweeps")
    published: Named | None = None
    """Published table to lay the results beside."""
    description: Text = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        labels = [spec.label for spec in self.tasks]
        if len(set(labels)) < len(labels):
            raise ValueError(f"tasks must have different names, got {labels}")
        for name in self.pair_tasks:
            require_one_of("pair_tasks", name, [OWN, *labels, *EMBEDDED_TASKS])
        for label in labels:
            if set(self.pair_tasks) == {label}:
                raise ValueError(
                    f"task {label!r} would have no cell: pair_tasks names only the task itself, whose own pairs are "
                    f"{OWN!r}; add {OWN!r} or another task"
                )
        if "toxic" in self.negatives and self.toxic_texts is None:
            raise ValueError("negatives 'toxic' needs toxic_texts, a file of one text a line")
        if self.published is not None:
            require_one_of("published", self.published, published_titles())
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Experiment":
        """An experiment from plain values, as YAML gives them; a single value stands for a list of one.

        Raises:
            ValueError: If a key is unknown, missing or its value of the wrong kind.
        """
        return cls(**{str(key): value for key, value in values.items()})

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Experiment":
        """An experiment from a file, or by name from the examples that come with the library.

        Raises:
            FileNotFoundError: If there is no such file or example.
            ValueError: If it is not YAML or says something wrong; the file is named.
        """
        path = as_path("path", path)
        if not path.is_file():
            example = EXAMPLES / f"{path}.yaml"
            if path.suffix or not example.is_file():
                known = sorted(one.stem for one in EXAMPLES.glob("*.yaml"))
                raise FileNotFoundError(f"{path} does not exist; examples: {', '.join(known)}")
            path = example
        values = read_yaml(path)
        try:
            return cls.from_dict({"name": path.stem, **values})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error

    @property
    def digest(self) -> str:
        """Hash of ``settings``: a cell carries that of the experiment that ran it."""
        return sha256(json.dumps(self.settings(), sort_keys=True).encode())[:16]

    def settings(self) -> dict[str, Any]:
        """Everything that decides a number, as plain values; figures and description do not."""
        values = asdict(self)
        for key in ("figures", "published", "description", "name"):
            del values[key]
        return values
