"""``load_task``: embedded tasks by name, or a user's own pairs and samples from whatever holds them."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from sadi_lens.tasks.benchmarks import BENCHMARKS, load_benchmark
from sadi_lens.tasks.doubts import doubts
from sadi_lens.tasks.embedded import EMBEDDED_TASKS
from sadi_lens.tasks.files import SUFFIXES, read_rows
from sadi_lens.tasks.rows import FIELDS, read_row, renamed
from sadi_lens.tasks.sources import rows_of
from sadi_lens.tasks.suggest import suggest_task
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import as_path, checked
from sadi_lens.types.data import ContrastivePair, Sample, Task
from sadi_lens.types.wording import short


@checked()
def load_task(
    source: Any,
    *,
    name: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    space: bool | None = None,
    **options: Any,
) -> Task:
    """A task by name, or from a user's own rows.

    Names: ``hints``, ``sentiment``, ``effects``, ``recall``, ``kindness`` (embedded model), ``suggest`` (language
    models), those of ``sadi_lens.tasks.BENCHMARKS``, which come from the Hub (see ``load_benchmark``).

    A row holds ``prompt, positive, negative`` (a pair; with ``negative_prompt`` for personas), ``prompt, choices,
    answer`` (the index of the right choice, its label or its text) or ``prompt, target`` (free text), and may hold
    ``aliases``, ``also_right`` and ``split``: ``"pairs"``, ``"dev"`` or ``"test"``. Rows without one go to ``pairs``
    (pairs) and ``test`` (samples). ``cluster`` says what several rows share (a fact, event, person or text): intervals,
    tests and resampling count them as one draw; ``group`` what results of samples are also told apart by, as a cue.
    Other columns are not read.

    Args:
        source: A name (``"./hints"`` where a file or folder of one's own has that of a task); a file (JSONL, JSON, CSV
            or TSV in any usual encoding, Parquet, each perhaps compressed with gzip); a folder with one file a split,
            or of ``save_to_disk``; a data frame, an Arrow table, a ``datasets.Dataset`` or ``DatasetDict``; dicts, as a
            list or generator, or columns. Rows of a part called ``pairs``, ``dev`` or ``test`` are of that split.
        name: Name of the task; default the file's.
        split: Which part of a source that has several.
        columns: Names of this source's own columns, as in ``{"prompt": "question", "answer": "label"}``. ``choices``
            may stand in several: ``{"choices": ["A", "B", "C"]}``.
        space: Whether an answer gets the space that parts it from its prompt. Default: it stays as it is given, and
            answers that lack one are warned about.
        **options: Of ``suggest``; see ``sadi_lens.tasks.suggest_items``.

    Raises:
        ValueError: If the name is unknown or a row is wrong; the message names the file and line (or row number).
        FileNotFoundError: If a file does not exist.
        TypeError: If the source is of no kind that holds rows.

    Example:
        >>> len(sl.load_task("hints").pairs)
        240
        >>> rows = [{"question": "The sky is", "options": ["blue", "red"], "label": 0}]
        >>> names = {"prompt": "question", "choices": "options", "answer": "label"}
        >>> load_task(rows, columns=names, space=True).test[0].choices
        (' blue', ' red')
    """
    for field, own in (columns or {}).items():
        require_one_of("columns", field, FIELDS)
        if not isinstance(own, str) and (field != "choices" or not own):
            raise ValueError(
                f"columns[{field!r}] must name one column, got {short(own)}; choices alone may stand in several"
            )
    path: Path | None = None
    if isinstance(source, str | Path):
        path = as_path("source", source)
        is_known = isinstance(source, str) and is_named(source)
        if is_known and _exists(path):
            warnings.warn(
                f"{source!r} is the task of that name; for the file or folder beside it write './{source}'",
                stacklevel=3,
            )
        if is_known or not _exists(path):
            given = {"split": split, "columns": columns, "space": space}
            return _by_name(str(source), {one for one in given if given[one] is not None}, options)
        _refuse_options(options)
        rows = read_rows(path, split=split)
        name = name or path.name.removesuffix(".gz").rsplit(".", 1)[0]
    else:
        _refuse_options(options)
        rows = rows_of(source, split=split)
    task = _build(rows, name or "custom", columns or {}, space)
    if not task.pairs and not task.dev and not task.test:
        where = "" if path is None else f": {path} holds none, or a header alone"
        raise ValueError(f"task {task.name!r} has no rows{where}")
    return task


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # no name of a file, such as the text of one
        raise ValueError(f"source {short(str(path))} is no path: {error.strerror}") from error


def is_named(name: str) -> bool:
    """Whether ``name`` is that of a task that comes by name."""
    return name == "suggest" or name in EMBEDDED_TASKS or name in BENCHMARKS


def names_file(name: str) -> bool:
    """Whether ``name`` is that of a file or folder of rows, there or not."""
    return Path(name).suffix in (*SUFFIXES, ".gz") or "/" in name or "\\" in name


def _refuse_options(options: Mapping[str, Any]) -> None:
    if options:
        raise ValueError(f"only the task 'suggest' has options, got {sorted(options)}")


def _by_name(name: str, own: set[str], options: Mapping[str, Any]) -> Task:
    if names_file(name) and name not in BENCHMARKS:
        raise FileNotFoundError(f"task file {name} does not exist")
    require_one_of("task", name, [*EMBEDDED_TASKS, "suggest", *BENCHMARKS])
    if own:
        raise ValueError(
            f"{', '.join(sorted(own))} can be given for a user's own rows only, not for the task {name!r}"
        )
    if name == "suggest":
        for one in options:
            require_one_of(
                "an option of the task 'suggest'", one, signature(suggest_task).parameters
            )
        return suggest_task(**options)
    _refuse_options(options)
    return load_benchmark(name) if name in BENCHMARKS else EMBEDDED_TASKS[name]()


def _build(
    rows: Iterable[tuple[str, Any]],
    name: str,
    columns: Mapping[str, str | Sequence[str]],
    space: bool | None,
) -> Task:
    pairs: list[ContrastivePair] = []
    samples: dict[str, list[Sample]] = {"dev": [], "test": []}
    unspaced: list[tuple[str, str, str]] = []
    read: list[tuple[str, ContrastivePair | Sample]] = []
    for where, row in rows:
        if not isinstance(row, Mapping):
            raise ValueError(
                f"{where}: a row must be an object with named fields, got {short(row)}"
            )
        try:
            thing, split, bare = read_row(renamed(row, columns), space=bool(space))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from error
        unspaced += [(where, *bare)] if bare else []
        read.append((where, thing))
        if isinstance(thing, ContrastivePair):
            pairs.append(thing)
        else:
            samples[split].append(thing)
    said = doubts(read)
    if unspaced and space is None:
        where, prompt, answer = unspaced[0]
        said.append(
            f"rows whose answer follows its prompt without a space: {len(unspaced)}, first {where}: "
            f"{prompt[-30:] + answer[:30]!r}. To most tokenizers that is another token than the word of running text. "
            "Pass space=True to set the spaces, space=False to leave the answers as they are"
        )
    task = Task(name, tuple(pairs), tuple(samples["dev"]), tuple(samples["test"]))
    for words in said:
        warnings.warn(words, stacklevel=4)
    return task
