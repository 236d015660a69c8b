"""Commands that list or write what there is: ``sadi-lens tasks``, ``task`` and ``methods``."""

from pathlib import Path
from typing import Annotated

import typer

from sadi_lens.apps._app import command, say
from sadi_lens.apps._loading import Asked, Data, Sizes, first_of
from sadi_lens.apps._printing import print_rows


@command("tasks")
def tasks() -> None:
    """List every task by name, with its sizes."""
    from sadi_lens.tasks import BENCHMARKS, EMBEDDED_TASKS, load_task

    rows = [
        (
            name,
            *(str(len(getattr(one, split))) for split in ("pairs", "dev", "test")),
            one.description,
        )
        for name in (*EMBEDDED_TASKS, "suggest")
        for one in [load_task(name)]
    ]
    rows += [
        (
            one.name,
            "",
            "",
            "",
            f"{f'{one.hub} on the Hugging Face Hub, or ' if one.hub else ''}--data FOLDER; {one.licence}",
        )
        for one in BENCHMARKS.values()
    ]
    print_rows(("task", "pairs", "dev", "test", "what it is"), rows)


@command("task hints --out hints.jsonl")
def task(
    name: Annotated[str, typer.Argument(help="A task by name, or a file of rows")],
    out: Annotated[Path, typer.Option(help="File to write, JSON lines")],
    data: Data = None,
    sizes: Sizes = None,
) -> None:
    """Write a task as JSON lines: to look at, to change, and for --data."""
    asked = Asked("tiny", name, data, sizes)
    found = first_of(asked.load_task(), asked.split_sizes())
    from sadi_lens.tasks import write_task

    path = write_task(found, out)
    counts = ", ".join(
        f"{len(getattr(found, split))} {split}" for split in ("pairs", "dev", "test")
    )
    say(f"{path}: {counts}")


@command("methods")
def methods() -> None:
    """List every method that compare knows."""
    from sadi_lens.measure.methods import METHODS
    from sadi_lens.types.results.conclusions import CONTROLS

    print_rows(
        ("method", "kind", "what it does"),
        [
            (name, one.kind, getattr(one, "about", "") or f"control: {CONTROLS[name]}")
            for name, one in METHODS.items()
        ],
    )
