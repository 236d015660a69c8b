"""The numbers of an explorer page, as the JSON that its script reads."""

import base64
import math
from typing import Any

import numpy as np

from sadi_lens.apps.explorer.strata import in_words, opening
from sadi_lens.plots._layout import evenly, float32, require_finite
from sadi_lens.plots._maps import colour_range
from sadi_lens.plots._theme import THEMES
from sadi_lens.plots._unit_map import MAX_CELLS, strongest
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import COMPONENTS, unit_label
from sadi_lens.types.results import ExplorerGrid, PromptGrid, SignFlipNull
from sadi_lens.types.results.explorer import METHODS

MAX_DOTS = 480
"""Dev samples that are drawn and can be read; with more, evenly spaced ones. Counts are of all."""
ITEM_LETTERS = 150
"""Letters of a dev sample's prompt that are kept, its last."""


def grid_data(grid: ExplorerGrid) -> dict[str, Any]:
    """What the page shows of a grid."""
    kept = evenly(grid.n, MAX_DOTS) if grid.n else np.arange(0)
    strata = grid.strata()
    return {
        "position": grid.position,
        "methods": METHODS,
        "ks": grid.ks,
        "strengths": grid.strengths,
        "zero": grid.strengths.index(0.0),
        "cell": grid.cell,
        "unit": COMPONENTS[grid.component].unit,
        "n": grid.n,
        "split": grid.split,
        **{
            name: rounded(getattr(grid, name), 5)
            for name in ("accuracy", "low", "high", "margin", "valid_rate")
        },
        "correct": packed(grid.correct),
        "donated": None if grid.donated is None else packed(grid.donated),
        "dots": kept.tolist(),
        "items": [_tail(grid.items[one]) for one in kept] if grid.items else [],
        "answers": [grid.answers[one] for one in kept] if grid.answers else [],
        "strata": [
            {
                "outcome": outcome,
                "n": count,
                "words": in_words(outcome),
                "isOpening": outcome == opening(strata),
            }
            for outcome, count in strata.items()
        ],
        "outcomes": ["".join(str(int(one)) for one in row) for row in grid.outcomes()[kept]],
        "units": grid.units,
        "randomUnits": grid.random_units,
        "labels": {
            f"{layer},{unit}": unit_label(grid.component, layer, unit)
            for units in (grid.units, *grid.random_units)
            for layer, unit in units
        },
        "letter": COMPONENTS[grid.component].letter,
        "elements": _elements(grid.differences, grid.null),
        "prompts": [_prompt(one, grid) for one in grid.prompts],
        "pushes": None
        if grid.pushes is None
        else {
            "norm": rounded(grid.pushes.norm, 2),
            "fixed": rounded(grid.pushes.fixed_norm, 2),
            "fixedDegrees": _degrees(grid.pushes.fixed_cosine),
            "degrees": _degrees(grid.pushes.cosine),
        },
        "diverging": {name: theme.diverging for name, theme in THEMES.items()},
    }


def packed(bits: np.ndarray) -> str:
    """Booleans of any shape, eight to a byte (the first in the highest bit), as base64."""
    return base64.b64encode(np.packbits(bits.ravel()).tobytes()).decode()


def rounded(values: np.ndarray, digits: int = 0) -> Any:
    """Nested lists of numbers with so many decimals; None where a number is not finite, which JSON lacks."""
    flat = [
        (round(one, digits) if digits else round(one)) if math.isfinite(one) else None
        for one in values.astype(np.float64).ravel().tolist()
    ]
    return np.array(flat, dtype=object).reshape(values.shape).tolist()


def _degrees(cosine: np.ndarray) -> Any:
    return rounded(np.degrees(np.arccos(np.clip(cosine.astype(np.float64), -1, 1))))


def _prompt(one: PromptGrid, grid: ExplorerGrid) -> dict[str, Any]:
    outcome = None if one.item is None else grid.outcomes()[one.item].tolist()
    return {
        "prompt": one.prompt,
        "choices": one.choices,
        "answer": one.answer,
        "target": one.target,
        "item": one.item,
        "stratum": None if outcome is None else in_words(outcome),
        "tokens": one.tokens,
        "choiceTokens": one.choice_tokens,
        # In thousandths.
        "unsteered": rounded(1000 * one.unsteered),
        "probability": rounded(1000 * one.probability),
        "top": one.top.tolist(),
        "topProbability": rounded(1000 * one.top_probability),
        "kl": rounded(one.kl, 3),
        "margin": rounded(one.margin, 3),
        "favourite": one.favourite.tolist(),
        "texts": one.texts,
        "text": one.text.tolist(),
        "writes": one.writes.astype(int).tolist(),
        "change": _tenths(one.change, one),
        "donor": one.donor,
        "donated": None if one.donated is None else _prompt(one.donated, grid),
    }


def _tenths(change: np.ndarray, one: PromptGrid) -> Any:
    """Tenths of a nat, as many as the text of the cell has tokens."""
    whole = np.round(10 * np.nan_to_num(change)).astype(int)
    cells = np.empty(one.text.shape, dtype=object)
    for at in np.ndindex(*cells.shape):
        cells[at] = whole[at][: len(one.texts[one.text[at]])].tolist()
    return cells.tolist()


def _elements(differences: ActivationDifferences, null: SignFlipNull | None) -> dict[str, Any]:
    """Mean difference of every unit; of thousands, the largest of each run of units."""
    mean = float32(differences.mean)
    require_finite(mean, f"the explorer of {differences.component!r} on {differences.model.name}")
    n_units = mean.shape[1]
    edges, shown = np.arange(n_units + 1), mean
    if n_units > MAX_CELLS:
        edges, winner = strongest(mean)
        shown = np.take_along_axis(mean, winner, axis=1)
    limit, grey = colour_range(shown, null)
    # A three-hundredth of the range is finer than a colour.
    digits = max(0, math.ceil(-math.log10(limit / 300)))
    is_grey = (
        np.abs(np.nan_to_num(shown, nan=np.inf)) <= grey if grey else np.zeros(shown.shape, bool)
    )
    return {
        "edges": edges.tolist(),
        "values": rounded(shown, digits),
        "limit": limit,
        "grey": ["".join("01"[int(one)] for one in line) for line in is_grey],
    }


def _tail(prompt: str) -> str:
    text = " ".join(prompt.split())
    return text if len(text) <= ITEM_LETTERS else f"\u2026{text[1 - ITEM_LETTERS :]}"
