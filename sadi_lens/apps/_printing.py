"""Tables of the command line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

if TYPE_CHECKING:
    from sadi_lens.types.results import Comparison


NARROW, FEW = 100, 5
"""Columns of a terminal below which a table of more than so many columns is not drawn as one."""
INTERVALS = "accuracy: 95% Wilson interval; gain in points: 95% paired score interval"


console = Console()
if not console.is_terminal:  # a file or a pipe has no width: do not fold the table to 80 columns
    console = Console(width=132)


def print_table(results: dict) -> None:
    """What a demo found: every method, then the random masks."""
    from sadi_lens.types.results.table import METHOD_COLUMNS, method_rows, power_text

    comparison = results["comparison"]
    settings = results["settings"]
    null_words = (
        "each with its own K and strength from dev; p with its 95% interval"
        if settings["tune_null"]
        else "at SADI's own cell (they never chose, which favours SADI: no p-value)"
    )
    print_rows(
        METHOD_COLUMNS,
        method_rows(comparison),
        title=f"{comparison.task} on {comparison.model.name}: test n = {comparison.n}, K and strength chosen on "
        f"{settings['n_dev']} dev items, mask from {settings['n_pairs']} pairs",
        caption=f"{INTERVALS}; random masks that are at least as good: {null_words}; "
        f"{power_text(comparison)}",
    )
    _print_groups(comparison)
    _print_guards(comparison)
    for line in comparison.notes:
        console.print(escape(line), highlight=False)


def print_comparison(comparison: "Comparison") -> None:
    """Every method with what dev said, then its side effects, then what follows."""
    from sadi_lens.types.results.conclusions import conclusions
    from sadi_lens.types.results.table import (
        COMPARED_COLUMNS,
        SIDE_COLUMNS,
        WRITTEN_COLUMNS,
        compared_rows,
        power_text,
        side_rows,
        written_rows,
    )

    print_rows(
        COMPARED_COLUMNS,
        compared_rows(comparison),
        title=f"{comparison.task} on {comparison.model.name}: test n = {comparison.n}, position {comparison.position}",
        caption=f"{INTERVALS}; dev: accuracy there of what was chosen among (tried) candidates; Holm p: McNemar's "
        "mid-p against the unsteered model, corrected for the number of methods; random masks that are at least as "
        f"good: p with its 95% interval where they chose on dev, too; {power_text(comparison)}",
    )
    _print_groups(comparison)
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


def _print_groups(comparison: "Comparison") -> None:
    from sadi_lens.types.results.table import group_columns, group_rows

    rows = group_rows(comparison)
    if rows:
        print_rows(
            group_columns(comparison),
            rows,
            title="by group of items",
            caption="accuracy (+ items mended, - items broken, against the unsteered model)",
        )


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
    """A table of cells in words; in a narrow terminal, where many columns would break words, a paragraph a row."""
    if console.width < NARROW and len(columns) > FEW:
        _print_paragraphs(columns, rows, title, caption)
        return
    table = Table(title=title or None, caption=caption or None)
    for name in columns:
        table.add_column(name, justify="left" if name in LEFT else "right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def _print_paragraphs(
    columns: Sequence[str], rows: Sequence[tuple[str, ...]], title: str, caption: str
) -> None:
    if title:
        console.print(escape(title), style="italic", highlight=False)
    for first, *cells in rows:
        console.print(escape(first), style="bold", highlight=False)
        facts = [
            f"{escape(name)}\u00a0{escape(cell)}"
            for name, cell in zip(columns[1:], cells, strict=True)
            if cell
        ]
        console.print(Padding(" \u00b7 ".join(facts), (0, 0, 0, 2)), highlight=False)
    if caption:
        console.print(escape(caption), style="dim", highlight=False)
