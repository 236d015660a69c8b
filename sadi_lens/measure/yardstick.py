"""Rankings of units against what scaling each unit alone really does."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr

from sadi_lens.find.rankings import ALL_RANKINGS
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.candidates import evaluate_candidates
from sadi_lens.measure.choosing import choose
from sadi_lens.measure.methods import BUDGET, METHODS, Material, Method
from sadi_lens.measure.methods.sadi import sadi
from sadi_lens.types.base import DEFAULT_POSITION, require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Task
from sadi_lens.types.model import HookedModel

if TYPE_CHECKING:
    import pandas as pd

YARDSTICK = "exact"
TOP = 10
"""Units compared as a set."""
COLUMNS = [
    "ranking",
    "spearman",
    "top_shared",
    "k",
    "strength",
    "dev_accuracy",
    "test_accuracy",
    "test_low",
    "test_high",
    "seconds",
]
DEFAULT = ("signed", "magnitude", "effect", "integrated", "attribution", "gradient", YARDSTICK)


@checked()
def rankings_table(
    model: HookedModel,
    task: Task,
    component: str = "head",
    rankings: Sequence[str] = DEFAULT,
    *,
    budget: int = BUDGET,
    position: str = DEFAULT_POSITION,
    seed: int = 0,
) -> "pd.DataFrame":
    """How well each ranking of units agrees with single-unit effects, and what SADI reaches with it.

    The yardstick is the ranking ``"exact"``: the mean gain of the pairs' margin from scaling one unit alone. It is no
    upper bound for masks of several units, whose effects need not add.

    Args:
        model: A bridged model in eval mode.
        task: Needs pairs (scores), dev (K and strength) and test (the accuracy reported).
        component: Whose units.
        rankings: Names of ``sadi_lens.find.rankings.ALL_RANKINGS``.
        budget: Cells of K and strength that each may try on dev.
        position: Which tokens are edited.
        seed: Of a probe's folds.

    Returns:
        One row per ranking, the unsteered model first: ``spearman`` (rank correlation with the yardstick over all
        units), ``top_shared`` (share of its first ``TOP`` units among the yardstick's), ``k``, ``strength``,
        ``dev_accuracy``, ``test_accuracy`` with the ends of its 95% interval by cluster (``test_low``,
        ``test_high``), ``seconds`` (CPU, to score the units).

    Raises:
        ValueError: If the task lacks a split or a name is unknown.

    Example:
        >>> small = sl.Task("hints", pairs=task.pairs[:12], dev=task.dev[:20], test=task.test[:20])
        >>> table = sl.measure.rankings_table(model, small, "head", ["effect", "exact"], budget=6)
        >>> table.ranking.tolist(), bool(table.spearman[1] > 0.5), float(table.spearman[2])
        (['unsteered', 'effect', 'exact'], True, 1.0)
    """
    import pandas as pd

    for ranking in rankings:
        require_one_of("ranking", ranking, ALL_RANKINGS)
    material = Material(model, task.pairs, task.name, component, position, seed)
    settings = Settings(task.name, position)
    # Each is timed when it is read, which is once.
    scored = {name: _timed(material, name) for name in dict.fromkeys((YARDSTICK, *rankings))}
    rows: list[dict[str, object]] = []
    for name in ("unsteered", *rankings):
        method = METHODS["unsteered"]
        row: dict[str, object] = {"ranking": name}
        if name != "unsteered":
            method = Method(name, "adaptive", sadi, ranking=name, axis="K")
            values, seconds = scored[name]
            row |= {"seconds": seconds, **_agreement(values, scored[YARDSTICK][0])}
        chosen = choose(material, method, task.dev, settings, budget=budget)
        (found,) = evaluate_candidates(model, task.test, [chosen.candidate], settings)
        row |= {"k": chosen.candidate.k, "strength": chosen.candidate.strength}
        row |= {"dev_accuracy": chosen.dev_accuracy, "test_accuracy": found.accuracy}
        row |= dict(zip(("test_low", "test_high"), found.interval, strict=True))
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _timed(material: Material, ranking: str) -> tuple[np.ndarray, float]:
    """Scores of all units under a ranking, and the seconds that it took to get them."""
    started = time.process_time()
    values = material.scores(material.component, ranking).values
    return values, time.process_time() - started


def _agreement(values: np.ndarray, exact: np.ndarray) -> dict[str, object]:
    """How a ranking orders the units against the yardstick."""
    found: Any = spearmanr(np.ravel(values), np.ravel(exact))
    first, best = (set(np.argsort(-one, axis=None)[:TOP].tolist()) for one in (values, exact))
    return {"spearman": float(found[0]), "top_shared": len(first & best) / len(best)}
