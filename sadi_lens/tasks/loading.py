"""``load_task``: embedded tasks by name, or a user's own pairs and samples from JSONL, a data frame or dicts."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sadi_lens.tasks.benchmarks import BENCHMARKS, load_benchmark
from sadi_lens.tasks.embedded import EMBEDDED_TASKS
from sadi_lens.tasks.reading import read_jsonl
from sadi_lens.tasks.suggest import suggest_task
from sadi_lens.types.base import require_one_of
from sadi_lens.types.data import SPLITS, ContrastivePair, Sample, Task

if TYPE_CHECKING:
    import pandas as pd

PAIR_FIELDS = ("prompt", "positive", "negative")
CHOICE_FIELDS = ("prompt", "choices", "answer")
TARGET_FIELDS = ("prompt", "target")


def load_task(
    source: "str | Path | pd.DataFrame | Sequence[Mapping[str, Any]]",
    *,
    name: str | None = None,
    **options: Any,
) -> Task:
    """A task by name, or from a user's own rows.

    Names: ``hints``, ``sentiment``, ``effects``, ``recall`` and ``kindness``, for the embedded model; ``suggest``, for
    language models; also the published data sets
    (``sadi_lens.tasks.BENCHMARKS``), which come from the Hub (``load_benchmark`` has the options).

    A row holds ``prompt, positive, negative`` (a pair), ``prompt, choices, answer`` (the index of the right
    choice) or ``prompt, target`` (free text), and may hold ``split``: ``"pairs"``, ``"dev"`` or ``"test"``. Rows
    without one go to ``pairs`` (pairs) and ``test`` (samples).

    Args:
        source: A name, a ``.jsonl`` file, a data frame or a list of dicts.
        name: Name of the task; default the file's.
        **options: Of ``suggest``: ``families``, ``wordings``, ``ending``, ``seed``, ``known`` (see
            ``sadi_lens.tasks.suggest_items``).

    Raises:
        ValueError: If the name is unknown or a row is wrong; the message names the file and line (or row number).
        FileNotFoundError: If a file does not exist.

    Example:
        >>> task = sl.load_task("hints")
        >>> len(task.pairs), len(task.dev), len(task.test)
        (240, 240, 360)
        >>> rows = [{"prompt": "The sky is", "choices": [" blue", " red"], "answer": 0}]
        >>> sl.load_task(rows, name="colours").test[0].choices
        (' blue', ' red')
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if path.suffix not in (".jsonl", ".json") and not path.is_file():
            require_one_of("task", str(source), [*EMBEDDED_TASKS, "suggest", *BENCHMARKS])
            if str(source) == "suggest":
                return suggest_task(**options)
            _refuse_options(options)
            if str(source) in BENCHMARKS:
                return load_benchmark(str(source))
            return EMBEDDED_TASKS[str(source)]()
        _refuse_options(options)
        if not path.is_file():
            raise FileNotFoundError(f"task file {path} does not exist")
        return _build(read_jsonl(path), name or path.stem)
    _refuse_options(options)
    frame: Any = source
    records = frame.to_dict("records") if hasattr(frame, "columns") else list(source)
    rows = ((f"row {index}", record) for index, record in enumerate(records))
    return _build(rows, name or "custom")


def _refuse_options(options: Mapping[str, Any]) -> None:
    if options:
        raise ValueError(f"only the task 'suggest' has options, got {sorted(options)}")


def _build(rows: Iterable[tuple[str, Any]], name: str) -> Task:
    pairs: list[ContrastivePair] = []
    samples: dict[str, list[Sample]] = {"dev": [], "test": []}
    for where, row in rows:
        if not isinstance(row, Mapping):
            raise ValueError(f"{where}: a row must be an object with named fields, got {row!r}")
        try:
            thing, split = _read_row(row)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from error
        if isinstance(thing, ContrastivePair):
            pairs.append(thing)
        else:
            samples[split].append(thing)
    if not pairs and not samples["dev"] and not samples["test"]:
        raise ValueError(f"task {name!r} has no rows")
    return Task(name, tuple(pairs), tuple(samples["dev"]), tuple(samples["test"]))


def _read_row(row: Mapping[str, Any]) -> tuple[ContrastivePair | Sample, str]:
    given = {key for key, value in row.items() if not _is_missing(value)}
    split = row["split"] if "split" in given else None
    if split is not None:
        require_one_of("split", split, SPLITS)
    if given & {"positive", "negative"} and given & {"choices", "answer", "target"}:
        raise ValueError(f"a row is a pair or a sample, not both; got {sorted(given)}")
    forms = {"positive": PAIR_FIELDS, "negative": PAIR_FIELDS, "choices": CHOICE_FIELDS}
    wanted = next((forms[key] for key in forms if key in given), None)
    if wanted is None:
        wanted = TARGET_FIELDS if "target" in given else None
    if wanted is None:
        raise ValueError(
            f"needs {', '.join(PAIR_FIELDS)} or {', '.join(CHOICE_FIELDS)} or "
            f"{', '.join(TARGET_FIELDS)}; got {sorted(given)}"
        )
    lacking = [field for field in wanted if field not in given]
    if lacking:
        raise ValueError(f"lacks the field {lacking[0]!r}; got {sorted(given)}")
    texts = [row[field] for field in wanted if field not in ("choices", "answer")]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{', '.join(wanted)} must be text, got {texts!r}")
    if wanted is PAIR_FIELDS:
        if split not in (None, "pairs"):
            raise ValueError(f"a contrastive pair belongs to split 'pairs', got {split!r}")
        return ContrastivePair(*(row[field] for field in PAIR_FIELDS)), "pairs"
    if split == "pairs":
        raise ValueError(f"split 'pairs' needs {', '.join(PAIR_FIELDS)}, got {sorted(given)}")
    split = split or "test"
    if wanted is TARGET_FIELDS:
        return Sample(row["prompt"], target=row["target"], split=split), split
    choices, answer = row["choices"], row["answer"]
    if isinstance(choices, str) or not all(isinstance(choice, str) for choice in choices):
        raise TypeError(f"choices must be a list of texts, got {choices!r}")
    if isinstance(answer, bool) or not isinstance(answer, int | float) or answer % 1 != 0:
        raise TypeError(f"answer must be the index of the right choice, got {answer!r}")
    return Sample(row["prompt"], tuple(choices), int(answer), split=split), split


def _is_missing(value: Any) -> bool:
    """None, or the NaN that a data frame puts into empty cells."""
    return value is None or (isinstance(value, float) and value != value)
