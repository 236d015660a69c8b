"""Numbers as text, and a comparison as rows of it: for terminals, Markdown and pages."""

import math
from collections.abc import Sequence

import numpy as np

from sadi_lens.types.results.comparison import Comparison, MethodRow, SideEffects
from sadi_lens.types.results.guards import SHOWN

METHOD_COLUMNS = (
    *("method", "settings", "accuracy", "gain", "mended / broken", "random as good"),
    *("margin (nats)", "valid"),
)
COMPARED_COLUMNS = (
    *METHOD_COLUMNS[:2],
    "dev (tried)",
    *METHOD_COLUMNS[2:5],
    "Holm p",
    *METHOD_COLUMNS[5:],
)
GUARD_COLUMNS = ("method", "answers", "balanced accuracy", "gain", "AUC", "gain", "d'", "bias c")
WRITTEN_COLUMNS = ("method", "written right", "gain", "valid", "agrees with the scores")
SIDE_COLUMNS = ("method", "KL (nats/token)", "perplexity", "repeated", "compression", "CPU ms/item")


def number_text(value: float, form: str) -> str:
    """A number in a format, what rounds to zero without a minus; nothing where there is none (NaN)."""
    return "" if math.isnan(value) else format(value, form.replace("+", "+z"))


def interval_text(ends: Sequence[float], form: str, scale: float = 1) -> str:
    """``[low, high]``; nothing where an end is NaN."""
    texts = [number_text(scale * end, form) for end in ends]
    return f"[{', '.join(texts)}]" if all(texts) else ""


def points_text(gain: float, ends: Sequence[float] = ()) -> str:
    """A difference of shares in points with its sign, as ``+3.2 [-0.1, +6.5]``; nothing for NaN.

    No estimate ends at 0 on both sides: that is the gain of the unsteered model itself (``MethodRow.is_unsteered``).
    """
    if tuple(ends) == (0, 0):
        return "0 (unsteered)"
    own = number_text(100 * gain, "+.1f")
    return f"{own} {interval_text(ends, '+.1f', 100)}" if own and ends else own


def p_text(p: float) -> str:
    """A p value with three decimals; nothing for NaN."""
    return "< 0.001" if p < 0.001 else number_text(p, ".3f")


def null_text(comparison: Comparison, row: MethodRow) -> str:
    """Random masks that do as well, of those with as many units in each layer, too; nothing where there are none.

    With a p-value only where they chose on dev as the method did.
    """
    texts: list[str] = []
    for label, p in ((row.null, row.null_p), (row.layer_null, row.layer_null_p)):
        if label:
            band = next(one for one in comparison.nulls if one.label == label)
            ends = interval_text(band.p_interval(row.accuracy), ".2f")
            place = f", p {p:.3f} {ends}" if p == p else ""
            layers = " (per layer)" if band.per_layer else ""
            texts.append(f"{band.as_good(row.accuracy)} of {band.n}{layers}{place}")
    return "; ".join(texts)


def power_text(comparison: Comparison) -> str:
    """What these items could tell apart, at the share of items that the first adaptive row changes.

    Nothing where no row is adaptive or nothing changed.
    """
    row = next((one for one in comparison.rows[1:] if one.kind == "adaptive"), None)
    changed = 0 if row is None else row.mended + row.broken
    if row is None or not changed:
        return ""
    clusters = ""
    if comparison.n_clusters:
        clusters = f" in {comparison.n_clusters} cluster{'s' * (comparison.n_clusters > 1)}"
    least, share = comparison.detectable(row.label), changed / comparison.n
    of = f"the {share:.0%} of items that {row.label} changes"
    if least > share:  # a difference is no larger than the share of items that change
        return f"n = {comparison.n}{clusters} cannot tell any difference apart (80% power) at {of}"
    return (
        f"n = {comparison.n}{clusters} can tell {100 * least:.1f} points apart (80% power, at {of})"
    )


def group_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Accuracy of each method by group of items, with what it mends and breaks there; empty without groups."""
    return [
        (row.label, *(f"{one.accuracy:.1%} (+{one.mended} -{one.broken})" for one in row.groups))
        for row in comparison.rows
        if row.groups
    ]


def group_columns(comparison: Comparison) -> tuple[str, ...]:
    """Headings of ``group_rows``."""
    return ("method", *(f"{one.name} (n = {one.n})" for one in comparison.rows[0].groups))


def method_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """``METHOD_COLUMNS`` of every method, then of every random-mask null."""
    base = comparison.rows[0]
    rows = [
        (
            row.label,
            row.settings,
            f"{row.accuracy:.1%} {interval_text(row.interval, '.0%')}",
            "" if row is base else points_text(row.gain, row.gain_interval),
            "" if row is base else f"{row.mended} / {row.broken}",
            null_text(comparison, row),
            number_text(row.margin, "+.2f"),
            f"{row.valid_rate:.0%}",
        )
        for row in comparison.rows
    ]
    for null in comparison.nulls:
        median = float(np.median(null.accuracies))
        rows.append(
            (
                f"random masks, median of {null.n} [5%, 95%]",
                null.label.split(", ", 1)[-1],
                f"{median:.1%} {interval_text(null.band, '.0%')}",
                points_text(median - base.accuracy),
                "",
                "",
                number_text(float(np.median(null.margins)), "+.2f"),
                "",
            )
        )
    return rows


def compared_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """``COMPARED_COLUMNS``: the method rows with what dev said and the corrected p-value."""
    rows = method_rows(comparison)
    extra = [(_dev_text(row), number_text(row.holm_p, ".2g")) for row in comparison.rows]
    extra += [("", "")] * len(comparison.nulls)
    return [
        (*row[:2], dev, *row[2:5], p, *row[5:]) for row, (dev, p) in zip(rows, extra, strict=True)
    ]


def _dev_text(row: MethodRow) -> str:
    """Accuracy on dev and the number of candidates tried there; nothing where it was not run."""
    own = number_text(row.dev_accuracy, ".1%")
    return own and f"{own} ({row.n_candidates})"


def guard_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """``GUARD_COLUMNS``: the answers that each method gives, and its gain where no favourite helps."""
    base = comparison.rows[0]
    return [
        (
            row.label,
            ", ".join(f"{name} {share:.0%}" for name, share in guards.shares[:SHOWN]),
            f"{guards.balanced_accuracy:.1%}",
            "" if row is base else points_text(guards.balanced_gain, guards.balanced_interval),
            number_text(guards.auc, ".2f"),
            ""
            if row is base or math.isnan(guards.auc)
            else f"{guards.auc_gain:+.2f} {interval_text(guards.auc_interval, '+.2f')}",
            number_text(guards.d_prime, ".2f"),
            number_text(guards.bias, "+.2f"),
        )
        for row in comparison.rows
        if (guards := row.guards) is not None
    ]


def written_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """``WRITTEN_COLUMNS``: what each method writes by itself, where that was asked for."""
    base = comparison.rows[0]
    return [
        (
            row.label,
            f"{one.accuracy:.1%} {interval_text(one.interval, '.0%')}",
            "" if row is base else points_text(one.gain, one.gain_interval),
            f"{one.valid_rate:.0%}",
            f"{one.agreement:.0%}",
        )
        for row in comparison.rows
        if (one := row.written) is not None
    ]


def side_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """``SIDE_COLUMNS``: what each method does to neutral text, and its time."""
    return [_side_row(row, row.side_effects) for row in comparison.rows]


def _side_row(row: MethodRow, effects: SideEffects | None) -> tuple[str, ...]:
    values = ("", "", "", "")
    if effects is not None:
        values = (
            number_text(effects.kl, ".3f"),
            number_text(effects.perplexity_ratio, ".2f") and f"x {effects.perplexity_ratio:.2f}",
            number_text(effects.repetition, ".0%"),
            number_text(effects.compression, ".2f"),
        )
    return (row.label, *values, number_text(1000 * row.seconds, ".1f"))
