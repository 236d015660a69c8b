"""Tables of the command line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from sadi_lens.types.results import Comparison


INTERVALS = "accuracy: 95% Wilson interval; gain in points: 95% paired score interval"


console = Console()
if not console.is_terminal:  # a file or a pipe has no width: do not fold the table to 80 columns
    console = Console(width=132)


def print_table(results: dict) -> None:
    """What a demo found: every method, then the random masks."""
    from sadi_lens.types.results.table import METHOD_COLUMNS, method_rows

    comparison = results["comparison"]
    settings = results["settings"]
    null_words = (
        "each with its own strength from dev"
        if settings["tune_null"]
        else "at the strength tuned for SADI's mask (they never chose, which favours SADI)"
    )
    print_rows(
        METHOD_COLUMNS,
        method_rows(comparison),
        title=f"{comparison.task} on {comparison.model.name}: test n = {comparison.n}, K and strength chosen on "
        f"{settings['n_dev']} dev items, mask from {settings['n_pairs']} pairs",
        caption=f"{INTERVALS}; null p: share of random masks at least as good, {null_words}",
    )
    _print_guards(comparison)


def print_comparison(comparison: "Comparison") -> None:
    """Every method with what dev said, then its side effects, then what follows."""
    from sadi_lens.types.results.conclusions import conclusions
    from sadi_lens.types.results.table import (
        COMPARED_COLUMNS,
        SIDE_COLUMNS,
        WRITTEN_COLUMNS,
        compared_rows,
        side_rows,
        written_rows,
    )

    print_rows(
        COMPARED_COLUMNS,
        compared_rows(comparison),
        title=f"{comparison.task} on {comparison.model.name}: test n = {comparison.n}, position {comparison.position}",
        caption=f"{INTERVALS}; dev: accuracy there of what was chosen among (tried) candidates; Holm p: McNemar's "
        "exact test against the unsteered model, corrected for the number of methods; null p: share of random masks at "
        "least as good",
    )
    _print_guards(comparison)
    if written := written_rows(comparison):
        print_rows(
            WRITTEN_COLUMNS,
            written,
            title="what is written",
            caption="greedy text that is the right answer (valid: one of the answers); agrees: right or wrong alike",
        )
    found = next((row.side_effects for row in comparison.rows if row.side_effects), None)
    words = f" on {found.n_texts} neutral texts ({found.n_tokens} tokens)" if found else ""
    print_rows(
        SIDE_COLUMNS,
        side_rows(comparison),
        title=f"side effects{words}, and time",
        caption="KL and perplexity against the unsteered model; repeated: token 4-grams seen before in a greedy "
        "continuation; compression: bytes before over after zlib; time is reported, not tested",
    )
    for line in (*comparison.notes, *conclusions(comparison)):
        console.print(escape(line), highlight=False)


def _print_guards(comparison: "Comparison") -> None:
    from sadi_lens.types.results.table import GUARD_COLUMNS, guard_rows

    guards = comparison.rows[0].guards
    if guards is not None:
        print_rows(
            GUARD_COLUMNS,
            guard_rows(comparison),
            title=f"which answers are given; always the most frequent right one: {guards.majority:.1%}",
            caption="balanced accuracy: mean over the answers; AUC: how well scores tell right from wrong wherever the "
            "threshold lies, 0.5 is no knowledge; gains with 95% bootstrap; d' and bias c of signal detection",
        )


LEFT = ("method", "settings", "answers", "task", "kind", "what it is", "what it does")
"""Columns of words."""


def print_rows(
    columns: Sequence[str], rows: Sequence[tuple[str, ...]], *, title: str = "", caption: str = ""
) -> None:
    """A table of cells in words."""
    table = Table(title=title or None, caption=caption or None)
    for name in columns:
        table.add_column(name, justify="left" if name in LEFT else "right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
