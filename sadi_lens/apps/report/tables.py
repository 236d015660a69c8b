"""The tables of a report: what is shown in a cell, and the number it is sorted by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sadi_lens.plots._layout import MINUS, percent, signed
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import unit_label
from sadi_lens.types.results import Choice, Comparison, NullBand, Sweep
from sadi_lens.types.results.table import interval_text

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
    lead: int | None = None
    """Row to set in bold."""
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


def methods(comparison: Comparison, lead: str = "") -> Table:
    """Every method on the same items, the random masks below."""
    rows: list[tuple[Cell, ...]] = []
    for index, row in enumerate(comparison.rows):
        accuracy = share(row.accuracy)._replace(note=interval_text(row.interval, ".1f", 100))
        gain = number(row.gain, signed(100 * row.gain, ".1f"))._replace(
            note=interval_text(row.gain_interval, "+.1f", 100).replace("-", MINUS)
        )
        rows.append(
            (
                text(row.label)._replace(note=row.settings),
                accuracy,
                gain if index else MISSING,
                number(row.mcnemar_p, f"{row.mcnemar_p:.2g}") if index else MISSING,
                number(row.null_p, f"{row.null_p:.3f}"),
                number(row.margin, signed(row.margin, ".2f")),
                share(row.valid_rate),
            )
        )
    labels = [row.label for row in comparison.rows]
    return Table(
        f"Every method on the same {comparison.n:,} {comparison.split} items. Accuracy: 95% Wilson interval. Gain: "
        "points over the unsteered model, 95% paired score interval, McNemar's mid-p; by cluster where "
        "items share a fact or text. Null p: share of random "
        "masks that do at least as well. Margin: log-probability of the right choice minus the best wrong one.",
        (
            ("method", False),
            ("accuracy", True),
            ("gain (points)", True),
            ("McNemar p", True),
            ("null p", True),
            ("margin (nats)", True),
            ("valid answers", True),
        ),
        tuple(rows),
        labels.index(lead) if lead in labels else None,
    )


def nulls(bands: Sequence[NullBand]) -> Table:
    """Random masks: how well units picked by chance do."""
    return Table(
        "Random masks of the same size, scaled in the same way.",
        (
            ("masks", False),
            ("drawn", True),
            ("K", True),
            ("strength", False),
            ("median accuracy [5%, 95%]", True),
        ),
        tuple(
            (
                text(band.label),
                number(band.n, f"{band.n:,}"),
                number(band.k, str(band.k)),
                text("each its own, from dev" if band.tuned else f"{band.strength:g}"),
                share(float(np.median(band.accuracies)))._replace(
                    note=interval_text(band.band, ".1f", 100)
                ),
            )
            for band in bands
        ),
    )


def cells(sweep: Sweep, choice: Choice | None) -> Table:
    """Every cell of a sweep."""
    chosen: int | None = None
    rows: list[tuple[Cell, ...]] = []
    for row, k in enumerate(sweep.ks):
        for column, strength in enumerate(sweep.strengths):
            if choice is not None and (choice.k, choice.strength) == (k, strength):
                chosen = len(rows)
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
        f"{percent(sweep.unsteered_accuracy)}." + (" Bold: chosen." if chosen is not None else ""),
        (
            ("K", True),
            ("strength", True),
            ("accuracy", True),
            ("gain (points)", True),
            ("margin (nats)", True),
            ("valid answers", True),
        ),
        tuple(rows),
        chosen,
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
    return f"{value:g}" if isinstance(value, float) else str(value)
