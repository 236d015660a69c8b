"""What a published data set is to sadi_lens: where its rows are, and how a row becomes an item."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from sadi_lens.types.data import Sample
from sadi_lens.types.wording import short

LETTERS = "ABCDEFGHIJ"
ONE_SOURCE = {"pairs": "test", "dev": "test", "test": "test"}
"""Plan for a data set of which only one split is at hand: it is cut in three."""


@dataclass(frozen=True)
class Benchmark:
    """A published data set with the prompt structure of the paper, in sadi_lens's own words."""

    name: str
    licence: str
    columns: str
    """Columns of a row, for messages."""
    read: Callable[[Mapping[str, Any]], Sample]
    """Item of a row.

    Raises:
        ValueError: If a column is missing or a label unknown.
    """
    hub: str
    hub_plan: Mapping[str, str]
    """pairs, dev, test -> the Hub's split; one that is named twice is cut."""
    local_plans: tuple[Mapping[str, str], ...]
    """pairs, dev, test -> file stem; the first plan whose files are all there is taken."""
    folder: str
    """Usual name of the local folder."""
    hub_config: str | None = None
    """May hold ``{subset}``."""
    hub_revision: str | None = None
    """Branch of the Hub's repository, where the main one holds a script in place of data files."""
    cloze: Callable[[Mapping[str, Any], str | None], Sample] | None = None
    """Item of a row (and subset) with the choices as text that goes on from the prompt; None where there is none.

    Raises:
        ValueError: As ``read``.
    """
    file: str = "{split}"
    """Stem of a local file; may hold ``{subset}``."""
    subsets: tuple[str, ...] = ()
    """Languages or domains; the first is the default."""
    belongs: Callable[[Mapping[str, Any], str], bool] | None = None
    """Whether a row belongs to a subset, where a file holds several."""
    keeps: Callable[[Mapping[str, Any]], bool] | None = None
    """Whether a row is used at all, where a data set holds others too."""
    negatives: str = "random"
    """Negative answers of the paper's pairs (``sadi_lens.tasks.contrast.NEGATIVES``)."""
    is_open: bool = False
    """Prompts are continued freely; there is nothing to match."""


def text_of(row: Mapping[str, Any], *names: str) -> str:
    """The first of the named columns that is there, stripped.

    Raises:
        ValueError: If none is there or it is not text.
    """
    for name in names:
        if name in row:
            if not isinstance(row[name], str) or not row[name].strip():
                raise ValueError(f"column {name!r} must be text, got {short(row[name])}")
            return row[name].strip()
    raise ValueError(f"lacks the column {names[0]!r}; got {sorted(row)}")


def texts_of(name: str, values: Iterable[Any]) -> list[str]:
    """Texts of a list, stripped, without empty ones; a number is its text, as in MMLU's answers.

    Raises:
        ValueError: If one is neither: a missing value is no text.
    """
    found: list[str] = []
    for value in values:
        is_number = isinstance(value, Real) and value is not True and value is not False
        if value != value or not (isinstance(value, str) or is_number):
            raise ValueError(f"{name} must be texts, got {short(value)}")
        found.append(str(value).strip())
    return [text for text in found if text]


def label_of(row: Mapping[str, Any], name: str, n: int, *, first: int = 0) -> int:
    """A 0-based label from a column that counts from ``first``.

    Raises:
        ValueError: If it is missing or out of range.
    """
    if name not in row:
        raise ValueError(f"lacks the column {name!r}; got {sorted(row)}")
    value = row[name]
    try:
        label = float(value) - first
    except (TypeError, ValueError, OverflowError):
        label = -1
    if not 0 <= label < n or label % 1:
        raise ValueError(
            f"column {name!r} must be in [{first}, {n - 1 + first}], got {short(value)}"
        )
    return int(label)


def lettered(options: list[str], *, mark: str = ".") -> str:
    """Options one a line, as ``A. text``."""
    return "\n".join(
        f"{letter}{mark} {text}" for letter, text in zip(LETTERS, options, strict=False)
    )


def letters(n: int) -> tuple[str, ...]:
    """The answers ``" A"``, ``" B"``, ..."""
    return tuple(f" {letter}" for letter in LETTERS[:n])
