"""What a command is asked to run on: the options for model and data, checked before anything heavy is imported."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sadi_lens.types.answers import SCORINGS

if TYPE_CHECKING:
    from sadi_lens.types.data import Task

LARGE = 20_000_000
"""Weights from which on a model gets ``LARGE_SIZES``; ``tiny`` has 1 million."""
LARGE_SIZES = {"pairs": 100, "dev": 60, "test": 150}
MOST_UNITS = 4096
"""Units of a component up to which every one is read pair by pair, for a null or to be kept in results."""

ModelName = Annotated[
    str,
    typer.Option(
        help="tiny, smollm2, gemma3-270m, a local folder, a GGUF file or a Hugging Face name"
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        help="A task by name (`sadi-lens tasks` lists them), or a file; default hints for tiny, else suggest"
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(help="File or folder of rows; with the --task of a benchmark, its local files"),
]
Sizes = Annotated[
    str | None,
    typer.Option(
        help="PAIRS,DEV,TEST: most items of each; default all, for models of 20 million weights or more 100,60,150"
    ),
]
ChatTemplate = Annotated[
    bool, typer.Option(help="Ask through the tokenizer's chat template", show_default=False)
]
Scoring = Annotated[str, typer.Option(help=f"One of {', '.join(SCORINGS)} (see evaluate)")]
Dtype = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or float16; default the model's")
]
OutFolder = Annotated[Path, typer.Option(help="Folder for figures/ and results.json")]
Png = Annotated[bool, typer.Option(help="Also write PNG (needs Chromium)")]
Position = Annotated[
    str, typer.Option(help="last_prompt, every_step, generated or all: which tokens are edited")
]
Writing = Annotated[
    str,
    typer.Option(
        help="Task whose prompts the model continues freely, in a tab of its own; or none"
    ),
]


def is_large(model: Any) -> bool:
    """Whether a model has ``LARGE`` weights or more."""
    return sum(one.numel() for one in model.original_model.parameters()) >= LARGE


def writing_task(name: str) -> "Task | None":
    """The task of ``--writing``; None for ``"none"``.

    Raises:
        ValueError: If it is unknown, or has no pairs or no prompts to continue.
    """
    if name == "none":
        return None
    from sadi_lens.tasks import load_task

    task = load_task(name)
    if not task.pairs or not task.prompts:
        raise ValueError(
            f"writing needs a task with pairs and prompts to continue, as kindness or none; {name!r} lacks them"
        )
    return task


def first_of(task: "Task", sizes: dict[str, int]) -> "Task":
    """The first items of each split.

    >>> from sadi_lens.apps._loading import first_of
    >>> small = first_of(task, {"pairs": 10, "dev": 20, "test": 30})
    >>> len(small.pairs), len(small.dev), len(small.test)
    (10, 20, 30)
    """
    parts = {split: getattr(task, split)[:most] for split, most in sizes.items()}
    items = task.pair_items
    if len(items) == len(task.pairs):
        items = items[: sizes.get("pairs", len(items))]
    return replace(task, **parts, pair_items=items)


@dataclass(frozen=True)
class Asked:
    """Model and data as they were asked for; wrong names and places are refused at once, without torch.

    Raises:
        FileNotFoundError: If a file or folder does not exist.
        ValueError: If a name is unknown, or sizes or scoring cannot be meant.
    """

    model: str
    task: str | None = None
    data: Path | None = None
    sizes: str | None = None
    chat_template: bool = False
    dtype: str | None = None
    position: str = "last_prompt"
    scoring: str = "sum"

    def __post_init__(self) -> None:
        from sadi_lens.models._names import resolve
        from sadi_lens.types.base import POSITIONS, require_one_of

        resolve(self.model)
        self.split_sizes()
        require_one_of("position", self.position, POSITIONS)
        require_one_of("scoring", self.scoring, SCORINGS)
        if self.data is not None and not self.data.exists():
            raise FileNotFoundError(f"data {str(self.data)!r} does not exist")

    @property
    def task_name(self) -> str:
        """The task asked for, or the one that goes with the model."""
        return self.task or ("hints" if self.model == "tiny" else "suggest")

    @property
    def named(self) -> str:
        """The task where it is one that comes by name; empty for rows of one's own, whatever their file is called."""
        from sadi_lens.tasks.loading import is_named

        return self.task_name if self.data is None and is_named(self.task_name) else ""

    def neutral(self) -> list[str]:
        """Texts for the side effects of a task that has some."""
        from sadi_lens.tasks.embedded import neutral_texts

        return neutral_texts(self.named)

    def split_sizes(self) -> dict[str, int]:
        """Split -> most items; empty where nothing was asked for."""
        if self.sizes is None:
            return {}
        parts = self.sizes.split(",")
        if len(parts) != 3 or not all(one.strip().isdecimal() and int(one) for one in parts):
            raise ValueError(
                f"sizes must be three numbers of at least 1, PAIRS,DEV,TEST as in 100,60,150; got {self.sizes!r}"
            )
        return dict(zip(("pairs", "dev", "test"), map(int, parts), strict=True))

    def load(self) -> tuple[Any, "Task", list[str]]:
        """The model, the task as it will be run, and what was done to it, in words."""
        task = self.load_task()
        from sadi_lens.models import load_model
        from sadi_lens.tasks import with_chat_template

        model = load_model(self.model, dtype=self.dtype)
        notes: list[str] = []
        if self.named == "suggest":
            _require_words(model, task)
            task, note = known_facts(model, is_chat=self.chat_template)
            notes.append(note)
        sizes = self.split_sizes() or (LARGE_SIZES if is_large(model) else {})
        short = first_of(task, sizes)
        if short != task and not self.sizes:
            notes.append(
                f"a model of this size gets the first {', '.join(f'{n} {split}' for split, n in sizes.items())} items; "
                "--sizes says otherwise"
            )
        if self.chat_template:
            short = with_chat_template(short, model.tokenizer)
        return model, short, notes

    def load_task(self) -> "Task":
        """The task as it is."""
        from sadi_lens.tasks import BENCHMARKS, load_benchmark, load_task

        if self.data is None:
            return load_task(self.task_name)
        if self.task in BENCHMARKS:
            return load_benchmark(self.task, self.data)
        if self.task is not None:
            raise ValueError(
                f"--data with --task takes the name of a benchmark ({', '.join(BENCHMARKS)}), got {self.task!r}; leave "
                "--task out to run on the rows as they are"
            )
        return load_task(self.data)


def _require_words(model: Any, task: "Task") -> None:
    """Refuse a task of which the model knows no item's words: its numbers would say nothing."""
    unknown = model.tokenizer.unk_token_id
    texts = [pair.prompt for pair in task.pairs]
    if all(unknown in ids for ids in model.tokenizer(texts)["input_ids"]):
        raise ValueError(
            f"every prompt of {task.name!r} holds words that this model's tokenizer does not have. The embedded model "
            "has tasks of its own: hints is its like of suggest"
        )


def known_facts(model: Any, *, is_chat: bool) -> tuple["Task", str]:
    """``suggest`` without the pairs and dev facts that the model does not answer unaided; test keeps every fact.

    Args:
        model: A bridged model.
        is_chat: Whether the items will be asked through the chat template: then the facts are, too.
    """
    from sadi_lens.measure.evaluation import evaluate
    from sadi_lens.tasks import load_task, suggest_unaided, with_chat_template
    from sadi_lens.types.data import Task

    facts, samples = suggest_unaided()
    if is_chat:
        samples = with_chat_template(Task("unaided", dev=samples), model.tokenizer).dev
    found = evaluate(model, samples, progress=False)
    known = [fact for fact, is_right in zip(facts, found.correct, strict=True) if is_right]
    return load_task("suggest", known=known), (
        f"of {len(facts)} facts for pairs and dev the model answers {len(known)} unaided "
        f"({found.accuracy:.0%}); the others are dropped from both, test keeps every fact"
    )
