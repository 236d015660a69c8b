"""Words of figures: text that is safe to draw, how wide it is, and numbers as they are written."""

import html
import math
import textwrap
import unicodedata
from collections.abc import Sequence

from sadi_lens.plots._theme import FONT_SIZE

MINUS, TIMES = "\u2212", "\u00d7"
"""True signs, as wide as a plus."""

EM, TITLE_EM = 0.6, 0.54
"""Mean width of a character over the font size; DejaVu Sans, the widest font of the list: of short texts at most,
and of sentences."""
NAME = 60
"""Columns that a name takes at most in a title."""
_JOINERS = "\u200c\u200d"
"""Invisible, and a part of words and emoji."""
_FILLER = "\ue000"
"""Stands beside a character of two columns while lines are folded; private, so that no text to be drawn holds it."""


def plain(text: object) -> str:
    """Text on one line; what cannot be drawn (control characters, reversed writing) as a box."""
    flat = " ".join(str(text).split())
    return "".join(one if one.isprintable() or one in _JOINERS else "□" for one in flat)


def escape(text: object) -> str:
    """Text as Plotly must get it to show it literally: no tags, no entities, no LaTeX, no ``%{names}``."""
    safe = html.escape(plain(text), quote=False)
    return safe.replace("$", "&#36;").replace("%{", "&#37;{")


def n_columns(text: str) -> int:
    """Columns that a text takes: two for a wide character (Chinese, Japanese, emoji), none for what combines."""
    return sum(_columns(one) for one in text)


def _columns(one: str) -> int:
    if one in _JOINERS or unicodedata.combining(one) or unicodedata.category(one) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def text_width(text: str, size: float = FONT_SIZE) -> int:
    """Pixels that ``text`` takes at most in the fonts used."""
    return math.ceil(n_columns(text) * size * EM)


def cut(text: object, most: int) -> str:
    """Text on one line of at most ``most`` columns, with … where it was cut; not escaped."""
    flat = plain(text)
    if n_columns(flat) <= most:
        return flat
    kept, used = "", 0
    for one in flat:
        used += _columns(one)
        if used > most - 1:
            break
        kept += one
    return kept.rstrip() + "…"


def name_text(name: object, most: int = NAME) -> str:
    """A name as a figure shows it, cut where it is long; not escaped."""
    return cut(name, most) or "(unnamed)"


def wrap(text: object, pixels: int, size: int, em: float = EM) -> list[str]:
    """Lines of at most ``pixels``, each escaped."""
    flat = "".join(one + _FILLER * (_columns(one) - 1) for one in plain(text))
    lines = textwrap.wrap(flat, max(12, int(pixels / (size * em))))
    return [escape(line.replace(_FILLER, "")) for line in lines]


def join_facts(facts: Sequence[str], pixels: int, size: int) -> list[str]:
    """Facts joined by a middle dot, broken between facts where possible; empty ones are dropped."""
    most = int(pixels / (size * EM))
    lines: list[str] = []
    for fact in filter(None, facts):
        joined = f"{lines[-1]} · {fact}" if lines else fact
        if lines and n_columns(joined) <= most:
            lines[-1] = joined
        else:
            lines.append(fact)
    return [part for line in lines for part in wrap(line, pixels, size)]


def signed(value: float, digits: str) -> str:
    """A number with its sign, as ``+0.16``; negative ones with a true minus, what rounds to zero with a plus."""
    return f"{value:+z{digits}}".replace("-", MINUS)


def number(value: float, digits: str = "g") -> str:
    """A number with a true minus, where it is negative."""
    return f"{value:{digits}}".replace("-", MINUS)


def named(word: str, value: object) -> str:
    """``word value``, or nothing where the value is empty."""
    return f"{word} {value}" if str(value) else ""


def token_text(token: str, most: int = 14) -> str:
    """A token as it is drawn: spaces as a middle dot, line ends as an arrow, long ones cut; escaped."""
    shown = token.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥")
    shown = "".join(one if one.isprintable() or one in _JOINERS else "□" for one in shown) or "∅"
    return escape(cut(shown, most))


def prompt_text(prompts: Sequence[str], index: int) -> str:
    """The end of an item's prompt for a hover, escaped; its number where there are no prompts."""
    if not prompts:
        return f"item {index}"
    text = " ".join(prompts[index].split())
    return escape(text if len(text) <= 60 else "…" + text[-59:])


def counted(n: int, noun: str) -> str:
    """``1 pair``, ``200 pairs``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def percent(share: float) -> str:
    """A share as ``54.0%``."""
    return f"{100 * share:.1f}%"
