"""K x strength on the dev split: many candidates of one method from one shared prefix per item."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import (
    EvaluationInterrupted,
    Settings,
    chance_of,
    fitting_samples,
    made,
)
from sadi_lens.measure.candidates import Candidate
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.checks import check_value, checked, require_fields
from sadi_lens.types.data import Sample
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask, top_k_mask
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import Evaluation, Sweep
from sadi_lens.types.results.choice import valid_floor
from sadi_lens.types.scores import Scores

KS = {
    "head": (1, 2, 4, 6, 8, 10),
    "hidden": (1, 2, 4, 6, 8, 10, 14, 20),
    "mlp_out": (1, 2, 4, 6, 8, 10, 14, 20),
    "neuron": (3, 5, 10, 30, 50, 100, 200, 300),
}
"""Numbers of units, after the reference code's grids."""
STRENGTHS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep; every item (or, for free text, cell) that was finished is in ``partial``.

    The same sweep with ``resume=`` this exception runs only what is missing.
    """

    def __init__(self, partial: Sweep | None, stopped: EvaluationInterrupted) -> None:
        super().__init__(str(stopped))
        self.partial = partial
        self.stopped = stopped

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.partial, self.stopped)


@checked()
def sweep(
    model: HookedModel,
    samples: Sequence[Sample],
    differences: "ActivationDifferences | Scores | Grid",
    ks: Sequence[int] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    *,
    ranking: str | None = None,
    make: Callable[[Mask, float], Intervention] = MaskedScaling,
    method: str = "scaling",
    position: str = DEFAULT_POSITION,
    scoring: str = "sum",
    max_new_tokens: int = 16,
    prepend_bos: bool | None = None,
    engine: str = "shared",
    keep_items: bool = False,
    too_long: str = "error",
    progress: bool = True,
    resume: SweepInterrupted | None = None,
) -> Sweep:
    """Accuracy for every number of units and every strength: choose on dev (``best()``), report on test.

    Args:
        model: A bridged model in eval mode.
        samples: The dev split.
        differences: Moments of the component to steer, ready scores of its units (``unit_scores``), or a ``Grid`` of
            candidates of any method; a grid brings its own ``ks``, ``strengths``, ranking and method.
        ks: Numbers of units; default ``KS`` of the component, as far as the model has that many.
        strengths: Strengths (the paper's delta; its code's multiplier is 1 + delta).
        ranking: How moments rank units (``sadi_lens.types.masks.RANKINGS``); default ``"signed"``.
        make: Builds the intervention from a mask and a strength; default SADI.
        method: Name of what ``make`` builds, for the result.
        position: Which tokens are edited.
        scoring: See ``evaluate``.
        max_new_tokens: See ``evaluate``.
        prepend_bos: See ``evaluate``.
        engine: See ``evaluate``.
        keep_items: Keep which items each cell got right, for ``Sweep.selection``.
        too_long: See ``evaluate``.
        progress: Show a bar.
        resume: What stopped this sweep before: only what is missing is run.

    Raises:
        ValueError: If a grid is empty, a value out of range or twice, or ``resume`` comes from another sweep.
        SweepInterrupted: On Ctrl-C, with everything finished in ``.partial``.

    Example:
        >>> heads = sl.activation_differences(
        ...     model, task.pairs[:20], components=["head"], progress=False
        ... )["head"]
        >>> grid = sl.sweep(model, task.dev[:40], heads, [1, 3], [2.0, 5.0], progress=False)
        >>> grid.unsteered_accuracy, grid.accuracy.tolist()
        (0.825, [[0.825, 0.825], [1.0, 1.0]])
        >>> grid.best().k
        3
    """
    check_value("differences", differences, ActivationDifferences | Scores | Grid)
    settings = Settings(differences.task, position, scoring, prepend_bos, max_new_tokens, engine)
    if not isinstance(differences, Grid):
        differences = _grid(differences, ks, strengths, ranking, make, method)
    kept = fitting_samples(model, samples, settings, too_long=too_long)
    return differences.run(
        model,
        kept,
        settings,
        keep_items=keep_items,
        skipped=len(samples) - len(kept),
        progress=progress,
        resume=resume,
    )


def _grid(
    differences: ActivationDifferences | Scores,
    ks: Sequence[int] | None,
    strengths: Sequence[float],
    ranking: str | None,
    make: Callable[[Mask, float], Intervention],
    method: str,
) -> "Grid":
    """What ``make`` builds from the top K of a ranking, for every K and strength."""
    if ks is None:
        ks = ks_of(differences)
    masks = [top_k_mask(differences, k, ranking=ranking) for k in ks]
    cells = [
        Candidate(made(make, one, float(s)), one.k, float(s)) for one in masks for s in strengths
    ]
    used = str(masks[0].provenance["ranking"]) if masks else ""
    return Grid.of(cells, used, method, task=differences.task)


def ks_of(differences: ActivationDifferences | Scores) -> list[int]:
    """``KS`` of a component, as far as the model has that many units."""
    size = (differences.values if isinstance(differences, Scores) else differences.mean).size
    return [k for k in KS[differences.component] if k <= size]


@dataclass(frozen=True)
class Grid:
    """Candidates for every value of a first axis and every strength, row by row."""

    cells: tuple[Candidate, ...]
    ks: tuple[int, ...]
    strengths: tuple[float, ...]
    component: str
    ranking: str = ""
    method: str = "scaling"
    axis: str = "K"
    task: str = ""

    def __post_init__(self) -> None:
        require_fields(self, ks=0)
        if not self.cells or self.cells[0].intervention is None:
            raise ValueError("ks and strengths must not be empty, and all cells must steer")
        if any(one.before or one.build for one in self.cells):
            raise ValueError("cells of a grid are interventions on one model and its own prompts")
        every = [(k, s) for k in self.ks for s in self.strengths]
        if [(one.k, one.strength) for one in self.cells] != every:
            raise ValueError(
                f"ks and strengths must differ, and every cell must come once; got {len(self.cells)} cells of "
                f"{self.axis} {list(self.ks)} x strength {list(self.strengths)}"
            )
        if {getattr(one.intervention, "component", None) for one in self.cells} != {self.component}:
            raise ValueError(f"cells must all steer component {self.component!r}")

    @classmethod
    def of(
        cls,
        cells: Sequence[Candidate],
        ranking: str = "",
        method: str = "scaling",
        axis: str = "K",
        task: str = "",
    ) -> "Grid":
        """A grid from candidates listed row by row.

        Args:
            cells: Every value of the first axis with every strength, row by row.
            ranking: How units were ranked, for the result; empty where they were not.
            method: Name of the method.
            axis: What ``k`` of a candidate is: ``"K"`` or ``"layer"``.
            task: Where the candidates come from.

        Raises:
            ValueError: If there is none, or a cell is missing or comes twice.
        """
        ks = tuple(dict.fromkeys(one.k for one in cells))
        strengths = tuple(dict.fromkeys(one.strength for one in cells))
        first = cells[0].intervention if cells else None
        component = "head" if first is None else first.component
        return cls(tuple(cells), ks, strengths, component, ranking, method, axis, task)

    def run(
        self,
        model: HookedModel,
        samples: Sequence[Sample],
        settings: Settings,
        *,
        keep_items: bool = False,
        skipped: int = 0,
        progress: bool = True,
        resume: SweepInterrupted | None = None,
    ) -> Sweep:
        """The unsteered model and every cell on the same samples; see ``sweep``."""
        try:
            found = evaluate_all(
                model,
                samples,
                [None, *(one.intervention for one in self.cells)],
                settings,
                progress=progress,
                description="sweep",
                resume=None if resume is None else resume.stopped,
            )
        except EvaluationInterrupted as stopped:
            left = None
            if stopped.partial:
                left = self._table(stopped.partial, chance_of(samples), keep_items, skipped)
            raise SweepInterrupted(left, stopped) from None
        return self._table(found, chance_of(samples), keep_items, skipped)

    def _table(
        self, found: Sequence[Evaluation], chance: float, keep_items: bool, skipped: int
    ) -> Sweep:
        """Results of the unsteered model and of the first cells, as far as they were finished."""
        base, rest = found[0], found[1:]
        shape = (len(self.ks), len(self.strengths))

        def table(values: list[float]) -> np.ndarray:
            full = np.full(len(self.cells), np.nan)
            full[: len(values)] = values
            return full.reshape(shape)

        is_whole = len(rest) == len(self.cells)
        correct = np.array([one.correct for one in rest]) if keep_items and is_whole else None
        balanced = [one.picks.balanced_accuracy for one in found if one.picks]
        return Sweep(
            component=self.component,
            ranking=self.ranking,
            method=self.method,
            model=base.model,
            task=base.task,
            split=base.split,
            position=base.position,
            n=base.n,
            ks=self.ks,
            strengths=self.strengths,
            accuracy=table([one.accuracy for one in rest]),
            margin=table([one.margin for one in rest]),
            valid_rate=table([one.valid_rate for one in rest]),
            unsteered_accuracy=base.accuracy,
            unsteered_margin=base.margin,
            chance=chance,
            unsteered_valid_rate=base.valid_rate,
            correct=None if correct is None else correct.reshape(*shape, base.n),
            unsteered_correct=base.correct if keep_items else None,
            axis=self.axis,
            skipped=skipped,
            balanced_accuracy=table(balanced[1:]) if balanced else None,
            unsteered_balanced_accuracy=balanced[0] if balanced else float("nan"),
            clusters=base.clusters,
            standard_errors=None
            if base.clusters is None
            else table([one.standard_error for one in rest]),
        )


def best_of(found: Sequence[Evaluation], unsteered: Evaluation | None = None) -> int:
    """Place of the best result: accuracy, then margin, then the earlier one; -1 where none is better than unsteered."""

    def merit(one: Evaluation) -> tuple[float, float]:
        return one.accuracy, -math.inf if math.isnan(one.margin) else one.margin

    floor = 0.0 if unsteered is None else valid_floor(unsteered.valid_rate, None)
    kept = [index for index, one in enumerate(found) if one.valid_rate >= floor]
    best = max(kept, key=lambda index: merit(found[index]), default=-1)
    if unsteered is not None and best >= 0 and merit(found[best]) <= merit(unsteered):
        return -1
    return best
