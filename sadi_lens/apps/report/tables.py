"""The tables of a report: what is shown in a cell, and the number it is sorted by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sadi_lens.plots._null import null_of, place_text
from sadi_lens.plots._words import MINUS, percent, signed
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import unit_label
from sadi_lens.types.results import Choice, Comparison, MethodRow, NullBand, Sweep
from sadi_lens.types.results.table import interval_text
from sadi_lens.types.stats import Interval

NOTHING = "\u2013"


class Cell(NamedTuple):
    """One cell; ``sort`` is empty where there is no value, which always sorts last."""

    text: str
    sort: str
    note: str = ""
    """A second, smaller line."""


MISSING = Cell(NOTHING, "")


@dataclass(frozen=True)
class Table:
    """A table of a page; a column is a number column if its cells are sorted as numbers."""

    caption: str
    columns: tuple[tuple[str, bool], ...]
    """(head, is a number)."""
    rows: tuple[tuple[Cell, ...], ...]
    lead: tuple[int, ...] = ()
    """Rows to set in bold."""
    name: str = ""
    """What a fold that hides the table is called."""


def text(value: object) -> Cell:
    """A cell of words."""
    return Cell(str(value), str(value))


def number(value: int | float, shown: str) -> Cell:
    """A cell that shows ``shown`` and sorts by ``value``; a dash for NaN."""
    if math.isnan(value):
        return MISSING
    return Cell(shown, repr(float(value)))


def share(value: float) -> Cell:
    """A share as a percentage."""
    return number(value, percent(value))


def methods(comparison: Comparison, lead: Sequence[str] = ()) -> Table:
    """Every method on the same items."""
    rows = comparison.rows
    columns: dict[str, list[Cell]] = {
        "accuracy": [
            share(row.accuracy)._replace(note=interval_text(row.interval, ".1f", 100))
            for row in rows
        ],
        "gain (points)": [MISSING, *(_points(row.gain, row.gain_interval) for row in rows[1:])],
        "McNemar p": [MISSING, *(_tested(row) for row in rows[1:])],
        "random as good": [_random(comparison, row) for row in rows],
        "margin (nats)": [number(row.margin, signed(row.margin, ".2f")) for row in rows],
        "valid answers": [share(row.valid_rate) for row in rows],
    }
    caption = (
        f"Every method on the same {comparison.n:,} {comparison.split} items. Accuracy: 95% Wilson interval. Gain: "
        "points over the unsteered model, 95% paired score interval, McNemar's mid-p (below it Holm's, of all rows); "
        "by cluster where items share a fact or text. Random as good: how many random masks do at least as well, with "
        "a p-value where they chose on dev as the method did. Margin: log-probability of the right choice minus the "
        "best wrong one."
    )
    return _by_method(caption, comparison, columns, lead)


def _tested(row: MethodRow) -> Cell:
    """The p-value of a row, and below it corrected for all rows."""
    note = "" if math.isnan(row.holm_p) else f"Holm {row.holm_p:.2g}"
    return number(row.mcnemar_p, f"{row.mcnemar_p:.2g}")._replace(note=note)


def _random(comparison: Comparison, row: MethodRow) -> Cell:
    null = null_of(comparison, row)
    if null is None:
        return MISSING
    return number(null.as_good(row.accuracy) / null.n, place_text(null, row, ""))


def gains(comparison: Comparison, lead: Sequence[str] = ()) -> Table:
    """What each gain is made of: items mended and broken, guards and written answers where they were measured."""
    rows = comparison.rows
    columns: dict[str, list[Cell]] = {
        "mended": [MISSING, *(number(row.mended, f"{row.mended:,}") for row in rows[1:])],
        "broken": [MISSING, *(number(row.broken, f"{row.broken:,}") for row in rows[1:])],
    }
    caption = "What each gain is made of. Mended: items right only with steering. Broken: right only without."
    if any(row.guards is not None for row in rows):
        columns["balanced gain (points)"] = [MISSING, *(_balanced(row) for row in rows[1:])]
        columns["AUC"] = [
            MISSING if one is None else number(one.auc, f"{one.auc:.2f}")
            for one in (row.guards for row in rows)
        ]
        caption += " Balanced gain and AUC do not reward a favourite answer."
    if any(row.written is not None for row in rows):
        columns["writes the right answer"] = [
            MISSING if one is None else share(one.accuracy) for one in (row.written for row in rows)
        ]
    return _by_method(caption, comparison, columns, lead)


def _by_method(
    caption: str, comparison: Comparison, columns: Mapping[str, list[Cell]], lead: Sequence[str]
) -> Table:
    """A table with one line per method, its settings under its name."""
    names = [text(row.label)._replace(note=row.settings) for row in comparison.rows]
    return Table(
        caption,
        (("method", False), *((head, True) for head in columns)),
        tuple(zip(names, *columns.values(), strict=True)),
        tuple(index for index, row in enumerate(comparison.rows) if row.label in lead),
    )


def _points(gain: float, interval: Interval) -> Cell:
    """A difference in points over its interval."""
    if tuple(interval) == (0, 0):
        return number(gain, "0")._replace(note="unsteered")
    note = interval_text(interval, "+.1f", 100).replace("-", MINUS)
    return number(gain, signed(100 * gain, ".1f"))._replace(note=note)


def _balanced(row: MethodRow) -> Cell:
    if row.guards is None:
        return MISSING
    return _points(row.guards.balanced_gain, row.guards.balanced_interval)


def nulls(bands: Sequence[NullBand]) -> Table:
    """Random masks: how well units picked by chance do."""
    is_given = not any(band.tuned for band in bands)
    return Table(
        "Random masks of the same size, scaled in the same way.",
        (
            ("masks", False),
            ("drawn", True),
            ("K", is_given),
            ("strength", is_given),
            ("median accuracy [5%, 95%]", True),
        ),
        tuple(
            (
                text(band.label),
                number(band.n, f"{band.n:,}"),
                *(
                    (text("its own"), text("its own, both from dev"))
                    if band.tuned
                    else (number(band.k, str(band.k)), number(band.strength, f"{band.strength:g}"))
                ),
                share(band.median)._replace(note=interval_text(band.band, ".1f", 100)),
            )
            for band in bands
        ),
    )


def cells(sweep: Sweep, choice: Choice | None) -> Table:
    """Every cell of a sweep."""
    chosen: list[int] = []
    rows: list[tuple[Cell, ...]] = []
    for row, k in enumerate(sweep.ks):
        for column, strength in enumerate(sweep.strengths):
            if choice is not None and (choice.k, choice.strength) == (k, strength):
                chosen.append(len(rows))
            accuracy = float(sweep.accuracy[row, column])
            gain = accuracy - sweep.unsteered_accuracy
            margin = float(sweep.margin[row, column])
            rows.append(
                (
                    number(k, str(k)),
                    number(strength, f"{strength:g}"),
                    share(accuracy),
                    number(gain, signed(100 * gain, ".1f")),
                    number(margin, signed(margin, ".2f")),
                    share(float(sweep.valid_rate[row, column])),
                )
            )
    return Table(
        f"All {len(rows)} cells on {sweep.n:,} {sweep.split} items, {sweep.ranking} ranking; unsteered accuracy "
        f"{percent(sweep.unsteered_accuracy)}." + (" Bold: chosen." if chosen else ""),
        (
            ("K", True),
            ("strength", True),
            ("accuracy", True),
            ("gain (points)", True),
            ("margin (nats)", True),
            ("valid answers", True),
        ),
        tuple(rows),
        tuple(chosen),
    )


def units(label: str, mask: Mask, differences: ActivationDifferences | None) -> Table:
    """The units of a mask with their mean difference."""
    columns = [("unit", False), ("layer", True), ("index", True)]
    measured: list[list[Cell]] = [[] for _ in mask.units]
    if differences is not None:
        columns += [
            ("mean difference", True),
            ("standard error", True),
            ("rank by signed value", True),
        ]
        measured = _measured(mask, differences)
    rows = [
        (
            text(unit_label(mask.component, layer, unit)),
            number(layer, str(layer)),
            number(unit, str(unit)),
            *values,
        )
        for (layer, unit), values in zip(mask.units, measured, strict=True)
    ]
    n = mask.selected.size
    return Table(
        f"{mask.k:,} of {n:,} units, {mask.rule}.",
        tuple(columns),
        tuple(rows),
        name=f"{label} ({mask.k:,} of {n:,})",
    )


def _measured(mask: Mask, differences: ActivationDifferences) -> list[list[Cell]]:
    mean, error = differences.mean, differences.standard_error
    order = np.argsort(-mean, axis=None, kind="stable")
    rank = np.empty(order.size, dtype=int)
    rank[order] = np.arange(1, order.size + 1)
    rank = rank.reshape(mean.shape)
    return [
        [
            number(float(mean[at]), signed(float(mean[at]), ".4g")),
            number(float(error[at]), f"{error[at]:.2g}"),
            number(float(rank[at]), f"{rank[at]:,}"),
        ]
        for at in mask.units
    ]


def pairs(caption: str, values: Mapping[str, Any]) -> Table:
    """Names and values, as for settings and versions."""
    return Table(
        caption,
        (("name", False), ("value", False)),
        tuple((text(name), text(_shown(value))) for name, value in values.items()),
    )


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(str(one) for one in value)
    if isinstance(value, float):
        return f"{value:g}" if math.isfinite(value) else NOTHING
    return str(value)
