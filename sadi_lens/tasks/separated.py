"""Rows of CSV, TSV and their like, with what is most often wrong in one written by hand."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sadi_lens.types.wording import short

SEPARATORS = ",;\t|"


def csv_rows(path: Path, text: str, separator: str | None) -> Iterator[tuple[str, Any]]:
    """Rows as texts, with the number of the line that they end in; an empty cell is no value.

    Args:
        path: For messages.
        text: What the file holds.
        separator: Between cells; None: the one that cuts the header into the most columns.

    Raises:
        ValueError: If a row has other cells than the header, or quote marks that do not enclose a cell; the line is
            named.
    """
    first = text.partition("\n")[0].rstrip("\r")
    given = first.lower().startswith("sep=") and len(first) == 5  # as Excel writes it
    if given:
        separator, text = first[4], text.partition("\n")[2]
    separator = separator or _separator(text)
    raw: list[str] = []  # lines of the row that is read

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            raw.append(line)
            yield line

    reader = csv.reader(lines(), delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        twice = [name for name in header if header.count(name) > 1]
        if twice:
            raise ValueError(f"{path}, line 1: the column {twice[0]!r} stands twice")
        raw.clear()
        for cells in reader:
            where = f"{path}, line {reader.line_num + given}"
            row = "".join(raw)
            raw.clear()
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise ValueError(
                    f"{where}: {len(cells)} cells, the header has {len(header)} ({', '.join(header)[:100]}); "
                    "put a cell that holds the separator in quotes"
                )
            if fault := _quoting(cells, row, separator):
                raise ValueError(f"{where}: {fault}")
            yield where, {name: cell or None for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        remedy = (
            "; write texts as long as this to JSONL or Parquet" if "limit" in str(error) else ""
        )
        raise ValueError(f"{path}, line {reader.line_num + given}: {error}{remedy}") from error


def _quoting(cells: Sequence[str], row: str, separator: str) -> str:
    """What is wrong with the quote marks of a row that can be read all the same, but as other texts than are meant."""
    lines = list(io.StringIO(row, newline=""))
    # Each a row by itself; in the lines of a cell that is quoted as it should be, tabs stand as they come.
    are_rows = all(one.count(separator) == len(cells) - 1 for one in (lines[0], lines[-1]))
    for cell in cells:
        begun = cell.lstrip(" ")
        # In a cell that is quoted as it should be, its own marks stand twice.
        if begun != cell and begun.startswith('"') and separator + cell in separator + row:
            return (
                f"a cell begins with a space and a quote mark: {short(cell)}. Leave out the space before it; where the "
                "mark belongs to the text, put the cell in quotes and write its own marks twice"
            )
        if are_rows and separator == "\t" and "\t" in cell and "\n" in cell:
            return (
                f"a quote mark opens a cell that holds further columns and lines: {short(cell)}. Put a text that "
                "begins with a quote mark in quotes, and write its own marks twice"
            )
    return ""


def _separator(text: str) -> str:
    """The one that cuts the header into the most columns; a comma where none does."""

    def columns(separator: str) -> int:
        try:
            return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), []))
        except csv.Error:
            return 0

    return max(SEPARATORS, key=columns)
