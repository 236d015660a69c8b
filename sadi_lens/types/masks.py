"""Masks: which units are steered. Top K of a ranking, random and matched controls."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sadi_lens.types.base import ArrayEq, brief, not_one_of
from sadi_lens.types.checks import as_array, checked, require_fields
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.model import HookedModel, ModelInfo, n_units, unit_label
from sadi_lens.types.scores import RANKINGS, Scores, t_values

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Mask(ArrayEq):
    """Which units of one component are steered; made by ``top_k_mask``, ``random_mask``, ``Mask.from_units``.

    Example:
        >>> mask = sl.Mask.from_units("head", [(1, 2), (0, 3)], model)
        >>> mask.k, mask.labels
        (2, ('L0H3', 'L1H2'))
        >>> mask
        2 of 80 head units (by hand): L0H3, L1H2
    """

    component: str
    selected: Any
    """Bool array [layer unit]."""
    rule: str = "by hand"
    """How the units were chosen, in words."""
    model: ModelInfo | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Task, number of pairs, seed: whatever is needed to make it again."""

    def __post_init__(self) -> None:
        require_fields(self)
        selected = as_array("selected", self.selected)  # a copy
        if selected.ndim != 2 or selected.dtype != np.bool_:
            raise ValueError(f"selected must be a bool array [layer unit], got {brief(selected)}")
        selected.setflags(write=False)
        object.__setattr__(self, "selected", selected)
        object.__setattr__(self, "provenance", dict(self.provenance))

    def check(self, info: ModelInfo) -> None:
        """Check that the mask fits a model; warn if only the weights differ from those it was made on.

        Raises:
            ValueError: If the shapes differ; names both.
        """
        needed = (info.n_layers, n_units(info, self.component))
        if self.selected.shape != needed:
            raise ValueError(
                f"mask has {self.n_layers} layers x {self.n_units} {self.component} units, but "
                f"{info.name} has {needed[0]} x {needed[1]} ({info.shape}); make one for this model"
            )
        if self.model is not None and self.model.fingerprint != info.fingerprint:
            warnings.warn(
                f"the mask was made on {self.model.name} with weights {self.model.fingerprint}; "
                f"{info.name} has the same shape but other weights ({info.fingerprint})",
                stacklevel=3,
            )

    @property
    def k(self) -> int:
        """Number of selected units."""
        return int(self.selected.sum())

    @property
    def n_layers(self) -> int:
        """Layers of the model the mask is for."""
        return self.selected.shape[0]

    @property
    def n_units(self) -> int:
        """Units per layer."""
        return self.selected.shape[1]

    @cached_property
    def units(self) -> tuple[tuple[int, int], ...]:
        """(layer, unit) of every selected unit, in order."""
        return tuple((layer, unit) for layer, unit in np.argwhere(self.selected).tolist())

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Layers with a selected unit."""
        return tuple(np.flatnonzero(self.selected.any(axis=1)).tolist())

    @property
    def per_layer(self) -> tuple[int, ...]:
        """Selected units in each layer."""
        return tuple(self.selected.sum(axis=1).tolist())

    def __str__(self) -> str:
        first = np.argwhere(self.selected)[:12].tolist()
        shown = [unit_label(self.component, layer, unit) for layer, unit in first]
        more = f" and {self.k - len(shown):,} more" if self.k > len(shown) else ""
        return f"{self.k:,} of {self.selected.size:,} {self.component} units ({self.rule}): {', '.join(shown)}{more}"

    __repr__ = __str__

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the selected units, as ``L8H6``."""
        return tuple(unit_label(self.component, layer, unit) for layer, unit in self.units)

    @classmethod
    @checked()
    def from_units(
        cls, component: str, units: Sequence[tuple[int, int]], model: HookedModel | ModelInfo
    ) -> "Mask":
        """A mask made by hand.

        Args:
            component: ``"head"``, ``"hidden"``, ``"mlp_out"`` or ``"neuron"`` (or ``"z"``, ``"resid_post"``).
            units: (layer, unit) pairs, 0-based, each at most once.
            model: The model it is for (its shape is checked).

        Raises:
            ValueError: If a unit does not exist or is named twice.
        """
        info = ModelInfo.of(model)
        selected = np.zeros((info.n_layers, n_units(info, component)), dtype=bool)
        for layer, unit in units:
            if not (0 <= layer < selected.shape[0] and 0 <= unit < selected.shape[1]):
                raise ValueError(
                    f"unit must be in [0, {selected.shape[0] - 1}] x [0, {selected.shape[1] - 1}] "
                    f"for component {component!r} of {info.name}, got ({layer}, {unit})"
                )
            if selected[layer, unit]:
                raise ValueError(f"unit ({layer}, {unit}) is named twice")
            selected[layer, unit] = True
        return cls(component, selected, rule="by hand", model=info)

    def frame(self) -> "pd.DataFrame":
        """One row per selected unit."""
        import pandas as pd

        rows = [(self.component, layer, unit) for layer, unit in self.units]
        return pd.DataFrame(rows, columns=["component", "layer", "unit"])


@checked()
def top_k_mask(
    differences: ActivationDifferences | Scores,
    k: int,
    *,
    ranking: str | None = None,
    largest: bool = True,
) -> Mask:
    """The ``k`` units with the largest mean difference (or score), over all layers together.

    Ranked by signed value by default (Wang et al., 2025, and their code): a unit that is much larger on the
    wrong answer is not selected. Every mask contains that of ``k - 1``.

    Args:
        differences: Moments of one component, or ready ``Scores`` (``unit_scores``).
        k: Units to select, in ``[1, n_layers * n_units]``. Ties go to the lower layer, then unit.
        ranking: A name in ``RANKINGS``; default ``"signed"``. Scores bring their own.
        largest: False selects the units with the smallest score, for a control.

    Raises:
        ValueError: If ``k`` is out of range, a score is NaN, the ranking unknown, or not that of the scores.

    Example:
        >>> heads = sl.activation_differences(
        ...     model, task.pairs[:20], components=["head"], progress=False
        ... )["head"]
        >>> sl.top_k_mask(heads, 3).units  # (layer, head)
        ((2, 2), (2, 4), (3, 1))
    """
    if isinstance(differences, Scores):
        if ranking not in (None, differences.ranking):
            raise ValueError(
                f"these scores are of ranking {differences.ranking!r}, asked for {ranking!r}; leave ranking out"
            )
        ranking, score, what = differences.ranking, differences.values, "score"
    else:
        ranking = ranking or "signed"
        score, what = scores(differences, ranking), "mean difference"
        Scores(differences.component, ranking, score, differences.model, differences.n)  # no NaN
    made_of = {"ranking": ranking, "k": int(k), "task": differences.task, "n_pairs": differences.n}
    if getattr(differences, "read_at", "last") != "last":
        made_of["read_at"] = differences.read_at  # type: ignore[union-attr]
    return Mask(
        differences.component,
        select_top(score if largest else -score, k),
        rule=f"{'top' if largest else 'bottom'} {k} by {ranking} {what}",
        model=differences.model,
        provenance=made_of if largest else {**made_of, "largest": False},
    )


@checked()
def random_mask(
    like: Mask | ActivationDifferences | Scores,
    k: int | None = None,
    *,
    seed: int,
    per_layer: bool = False,
) -> Mask:
    """A mask of units drawn at random, matched in K and, if asked, in the count of every layer.

    Args:
        like: The mask to match, or differences or scores that give the shape (then ``k`` is needed).
        k: Units to select; default the K of ``like``.
        seed: Seed of this draw; the global random state is not touched.
        per_layer: Keep the per-layer counts of ``like`` (a mask).

    Raises:
        ValueError: If ``k`` is missing or out of range, or ``per_layer`` cannot be kept.

    Example:
        >>> mask = sl.Mask.from_units("head", [(2, 2), (2, 4), (3, 1)], model)
        >>> sl.random_mask(mask, seed=0).units
        ((2, 8), (3, 2), (4, 2))
        >>> sl.random_mask(mask, seed=0, per_layer=True).units
        ((2, 10), (2, 12), (3, 4))
    """
    generator = np.random.default_rng(seed)
    if isinstance(like, Mask):
        shape, k = like.selected.shape, like.k if k is None else k
    else:
        shape = (like.values if isinstance(like, Scores) else like.mean).shape
    if k is None:
        raise ValueError("k is needed when like is not a mask")
    require_k(k, shape[0] * shape[1])
    selected = np.zeros(shape, dtype=bool)
    if per_layer:
        if not isinstance(like, Mask) or like.k != k:
            raise ValueError("per_layer=True needs a mask to match, and its own k")
        for layer, count in enumerate(like.per_layer):
            selected[layer, generator.choice(shape[1], size=count, replace=False)] = True
    else:
        selected.reshape(-1)[generator.choice(selected.size, size=k, replace=False)] = True
    return Mask(
        like.component,
        selected,
        rule=f"random, k = {k}" + (", per-layer counts matched" if per_layer else ""),
        model=like.model,
        provenance={"seed": int(seed), "k": int(k), "per_layer": per_layer},
    )


def scores(differences: ActivationDifferences, ranking: str = "signed") -> np.ndarray:
    """Score of every unit under a ranking of ``RANKINGS``; the top K are those with the largest score.

    For heads ``"signed"``, ``"magnitude"`` and ``"standardised"`` are read off the mean over d_head, which
    depends on the head's arbitrary value basis (any rotation absorbed by W_V and W_O changes it): a property of
    the method, not of the model. ``"l2"`` stays the same under a rotation, not under a rescaling.

    Returns:
        Scores [layer unit], in activation units (standardised: in standard errors; infinite for a unit with the
        same difference, not 0, in every pair).

    Raises:
        ValueError: If the ranking is unknown, or ``"standardised"`` is asked of one pair, or of pairs that do not
            differ in any unit.
    """
    if ranking not in RANKINGS:
        raise not_one_of("ranking", ranking, RANKINGS)
    if ranking == "signed":
        return differences.mean
    if ranking == "magnitude":
        return np.abs(differences.mean)
    if ranking == "l2":
        return np.linalg.norm(differences.vector, axis=2)
    if differences.n < 2:
        raise ValueError(f"ranking='standardised' needs at least 2 pairs, got {differences.n}")
    error = differences.standard_error
    if not error.any():
        raise ValueError(
            "ranking='standardised' needs pairs that differ: every unit has the same difference in all "
            f"{differences.n} pairs"
        )
    return t_values(differences.mean, error)


def select_top(values: np.ndarray, k: int) -> np.ndarray:
    """Bool array with exactly the ``k`` largest values; ties go to the first in order (lower layer, then unit).

    Raises:
        ValueError: If ``k`` is not in [1, number of units].
    """
    require_k(k, values.size)
    selected = np.zeros(values.size, dtype=bool)
    selected[np.argsort(-values, axis=None, kind="stable")[:k]] = True
    return selected.reshape(values.shape)


def require_k(k: int, n: int) -> None:
    """Refuse a ``k`` that is not in [1, n]."""
    if not 1 <= k <= n:
        raise ValueError(f"k must be in [1, {n}], got {k}")
