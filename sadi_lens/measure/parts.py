"""Whether shards are parts of one call on these items: what ``merge`` asks before it computes anything."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sadi_lens.measure.picks import accepted_texts, margins_of
from sadi_lens.types.answers import matches
from sadi_lens.types.data import Sample, items_hash
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.invariants import require_invariants
from sadi_lens.types.results import Evaluation, NullBand, Shard, Sweep

RETURNS: dict[str, type] = {
    "activation_differences": ActivationDifferences,
    "evaluate": Evaluation,
    "sweep": Sweep,
    "null_band": NullBand,
}
"""Name of a call -> what it returns, alone, in a list or by component."""
OWN: dict[type, tuple[str, ...]] = {
    ActivationDifferences: (
        *("n", "mean", "std", "vector", "prompt_mean", "prompt_rms", "merged_boundaries"),
        "skipped",
    ),
    Evaluation: (
        *("correct", "margins", "valid", "choice_scores", "items", "texts", "clusters", "groups"),
        *("picks", "split"),
    ),
    Sweep: (
        *("n", "split", "accuracy", "margin", "valid_rate", "correct", "unsteered_correct"),
        *("unsteered_accuracy", "unsteered_margin", "unsteered_valid_rate", "clusters", "chance"),
        *("balanced_accuracy", "unsteered_balanced_accuracy", "standard_errors"),
    ),
    NullBand: ("accuracies", "margins"),
}
"""Fields that differ from shard to shard; all others are of the call."""


def require_parts(shards: Sequence[Shard], items: Sequence[Any]) -> None:
    """Refuse shards, in order and one of each, whose results are not of one call or not of their own items.

    Raises:
        ValueError: Which shard, what it holds and what it should.
    """
    first = results_of(shards[0])
    for one in shards:
        name, own = f"{one.index}/{one.count}", items[one.index :: one.count]
        if one.n != len(own):
            raise ValueError(
                f"shard {name} must hold {len(own)} of {len(items)} items, got n = {one.n}"
            )
        found = results_of(one)
        if found.keys() != first.keys():
            raise ValueError(
                f"shards are of different calls: {name} holds {', '.join(found)}, {shards[0].index}/{one.count} "
                f"{', '.join(first)}"
            )
        for key, value in found.items():
            where = f"shard {name}, {key}"
            require_invariants(value, where)
            _require_alike(value, first[key], where)
            _require_own(value, own, where)


def results_of(shard: Shard) -> dict[str, Any]:
    """The results in a shard by name: of a component, or by place.

    Raises:
        ValueError: If they are not what the call returns.
    """
    kind, value = RETURNS[shard.call], shard.value
    found = {"value": value}
    if shard.call == "activation_differences":
        found = dict(value) if isinstance(value, Mapping) else {}
    elif shard.call == "evaluate" and isinstance(value, list):
        found = {f"value {at}": one for at, one in enumerate(value)}
    if not found or not all(type(one) is kind for one in found.values()):
        raise ValueError(
            f"shard {shard.index}/{shard.count} must hold what {shard.call} returns ({kind.__name__}), got "
            f"{type(value).__name__}; run it again"
        )
    return {str(key): one for key, one in found.items()}


def _require_alike(value: Any, other: Any, where: str) -> None:
    own = OWN[type(value)]
    for name in value.__dataclass_fields__:
        mine, theirs = getattr(value, name), getattr(other, name)
        if name not in own and not (mine == theirs or (mine != mine and theirs != theirs)):
            raise ValueError(
                f"shards are of different calls: {name} of {where} is {mine}, elsewhere {theirs}"
            )
    if isinstance(value, NullBand) and value.n != other.n:
        raise ValueError(f"{where} must hold {other.n} draws as the others do, got {value.n}")


def _require_own(value: Any, own: Sequence[Any], where: str) -> None:
    """Results of these items, and as they follow from the items."""
    if isinstance(value, NullBand):
        return
    skipped = value.skipped if isinstance(value, ActivationDifferences) else 0
    if value.n + skipped != len(own):
        raise ValueError(f"{where} must be of {len(own)} items, got n = {value.n}")
    if isinstance(value, Sweep) and (value.correct is None or value.unsteered_correct is None):
        raise ValueError(f"{where} lacks the items: run_shard keeps them; run it again")
    if isinstance(value, Evaluation):
        if value.items != items_hash(own):
            raise ValueError(f"{where} is of other items than those of the shard; run it again")
        _require_scored(value, own, where)


def _require_scored(value: Evaluation, own: Sequence[Sample], where: str) -> None:
    if value.texts or value.scoring in ("generation", "exact_match"):
        if len(value.texts) != value.n:
            raise ValueError(
                f"{where} must hold a text for each of {value.n} items, got {len(value.texts)}"
            )
        matched = [matches(*one) for one in zip(value.texts, map(accepted_texts, own), strict=True)]
        if (value.correct & ~np.array(matched)).any():
            raise ValueError(f"{where} counts texts as right that are not; run it again")
        return
    width = max(len(one.choices) or 1 for one in own)
    if value.choice_scores.shape[1] != width:
        raise ValueError(
            f"choice_scores of {where} must have {width} choices an item, got {value.choice_scores.shape[1]}"
        )
    margins, _ = margins_of(own, value.choice_scores)
    is_right = value.correct if value.scoring == "teacher_forced" else margins > 0
    if not (
        np.allclose(margins, value.margins, rtol=1e-5, atol=1e-5, equal_nan=True)
        and np.array_equal(is_right, value.correct)
    ):
        raise ValueError(
            f"{where} contradicts itself: correct and margins do not follow from choice_scores"
        )
