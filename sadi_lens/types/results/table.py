"""A comparison as rows of text, for terminals and Markdown."""

import math

import numpy as np

from sadi_lens.types.results.comparison import Comparison, MethodRow, SideEffects

METHOD_COLUMNS = ("method", "settings", "accuracy", "gain", "null p", "margin (nats)", "valid")
COMPARED_COLUMNS = (
    *METHOD_COLUMNS[:2],
    "dev (tried)",
    *METHOD_COLUMNS[2:4],
    "Holm p",
    *METHOD_COLUMNS[4:],
)
SIDE_COLUMNS = ("method", "KL (nats/token)", "perplexity", "repeated", "compression", "CPU ms/item")


def method_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """``METHOD_COLUMNS`` of every method, then of every random-mask null."""
    base = comparison.rows[0]
    rows = [
        (
            row.label,
            row.settings,
            f"{row.accuracy:.1%} [{row.interval.low:.0%}, {row.interval.high:.0%}]",
            ""
            if row is base
            else f"{100 * row.gain:+.1f} [{100 * row.gain_interval.low:+.1f}, {100 * row.gain_interval.high:+.1f}]",
            _number(row.null_p, ".3f"),
            f"{row.margin:+.2f}",
            f"{row.valid_rate:.0%}",
        )
        for row in comparison.rows
    ]
    for null in comparison.nulls:
        median = float(np.median(null.accuracies))
        rows.append(
            (
                f"random masks, median of {null.n} [5%, 95%]",
                f"K {null.k}, {'own strength' if null.tuned else f'strength {null.strength:g}'}",
                f"{median:.1%} [{null.band.low:.0%}, {null.band.high:.0%}]",
                f"{100 * (median - base.accuracy):+.1f}",
                "",
                f"{np.median(null.margins):+.2f}",
                "",
            )
        )
    return rows


def compared_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """``COMPARED_COLUMNS``: the method rows with what dev said and the corrected p-value."""
    rows = method_rows(comparison)
    extra = [
        (f"{row.dev_accuracy:.1%} ({row.n_candidates})", _number(row.holm_p, ".2g"))
        for row in comparison.rows
    ]
    extra += [("", "")] * len(comparison.nulls)
    return [
        (*row[:2], dev, *row[2:4], p, *row[4:]) for row, (dev, p) in zip(rows, extra, strict=True)
    ]


def side_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """``SIDE_COLUMNS``: what each method does to neutral text, and its time."""
    return [_side_row(row, row.side_effects) for row in comparison.rows]


def _side_row(row: MethodRow, effects: SideEffects | None) -> tuple[str, ...]:
    values = ("", "", "", "")
    if effects is not None:
        values = (
            _number(effects.kl, ".3f"),
            _number(effects.perplexity_ratio, ".2f") and f"x {effects.perplexity_ratio:.2f}",
            _number(effects.repetition, ".0%"),
            _number(effects.compression, ".2f"),
        )
    return (row.label, *values, _number(1000 * row.seconds, ".1f"))


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)
