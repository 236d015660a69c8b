"""``write_task``: a task as JSON lines, which ``load_task`` reads again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.checks import as_path, checked
from sadi_lens.types.data import Sample, Task
from sadi_lens.types.files import write_whole


@checked()
def write_task(task: Task, path: str | Path) -> Path:
    """Pairs, dev and test, one JSON object a line, with the fields that ``load_task`` reads.

    Description, prompts to continue freely and the items behind the pairs are not written.

    Args:
        task: Any task in plain text.
        path: File to write; one that is there is left alone.

    Raises:
        ValueError: If the task has no rows, or its prompts are in a chat template, whose marks a file cannot tell from
            text.
        FileExistsError: If ``path`` exists.

    Example:
        >>> path = sl.tasks.write_task(task, folder / "mine.jsonl")
        >>> again = sl.load_task(path, space=False)
        >>> again.name, again.pairs == task.pairs, again.test == task.test
        ('mine', True, True)
    """
    rows = list(_rows(task))
    if not rows:
        raise ValueError(f"task {task.name!r} has no pairs, dev or test to write")
    if any(isinstance(row["prompt"], ChatPrompt) for row in rows):
        raise ValueError(
            f"task {task.name!r} is in a chat template; write it as it is and render what load_task reads"
        )
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    return write_whole(as_path("path", path), text.encode())


def _rows(task: Task) -> Iterator[dict[str, Any]]:
    for pair in task.pairs:
        row: dict[str, Any] = {
            "split": "pairs",
            "prompt": pair.prompt,
            "positive": pair.positive,
            "negative": pair.negative,
        }
        if pair.negative_prompt is not None:
            row["negative_prompt"] = pair.negative_prompt
        if pair.cluster is not None:
            row["cluster"] = pair.cluster
        yield row
    for split in ("dev", "test"):
        for sample in getattr(task, split):
            yield {"split": split, **_fields(sample)}


def _fields(sample: Sample) -> dict[str, Any]:
    own = ("target", "aliases") if sample.target else ("choices", "answer", "also_right")
    names = ("prompt", *own, "cluster", "group")
    values = {name: getattr(sample, name) for name in names}
    return {name: value for name, value in values.items() if value not in (None, ())}
