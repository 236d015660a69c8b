"""K x strength on the dev split, and the random-mask null, both from one shared prefix per item."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import EvaluationInterrupted, Settings, require_kind
from sadi_lens.measure.evaluation import chance_of, evaluate_all, fitting_samples, split_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Sample
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import Mask, random_mask, top_k_mask
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import Evaluation, NullBand, Sweep
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
    differences: ActivationDifferences | Scores,
    ks: Sequence[int] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    *,
    ranking: str | None = None,
    make: Callable[[Mask, float], Intervention] = MaskedScaling,
    method: str = "scaling",
    position: str = "last_prompt",
    scoring: str = "sum",
    max_new_tokens: int = 16,
    prepend_bos: bool | None = None,
    engine: str = "shared",
    keep_items: bool = False,
    too_long: str = "error",
    progress: bool = True,
    resume: SweepInterrupted | None = None,
) -> Sweep:
    """Accuracy for every number of units and every strength.

    Choose on dev (``Sweep.best()``), report on test.

    Args:
        model: A bridged model in eval mode.
        samples: The dev split.
        differences: Moments of the component to steer, or ready scores of its units (``unit_scores``).
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
        ValueError: If a grid is empty, a value out of range, or ``resume`` comes from another sweep.
        SweepInterrupted: On Ctrl-C, with everything finished in ``.partial``.
    """
    require_kind(resume, SweepInterrupted)
    if ks is None:
        size = (differences.values if isinstance(differences, Scores) else differences.mean).size
        ks = [k for k in KS[differences.component] if k <= size]
    if not len(ks) or not len(strengths):
        raise ValueError(
            f"ks and strengths must not be empty, got {list(ks)} and {list(strengths)}"
        )
    masks = [top_k_mask(differences, k, ranking=ranking) for k in ks]
    cells = [make(mask, float(strength)) for mask in masks for strength in strengths]

    settings = Settings(differences.task, position, scoring, prepend_bos, max_new_tokens, engine)
    given, samples = len(samples), fitting_samples(model, samples, settings, too_long=too_long)
    chance = chance_of(samples)

    def build(found: Sequence[Evaluation]) -> Sweep:
        shape = (len(ks), len(strengths))

        def table(values: list[float]) -> np.ndarray:
            full = np.full(len(cells), np.nan)
            full[: len(values)] = values
            return full.reshape(shape)

        base, rest = found[0], found[1:]
        kept = np.array([one.correct for one in rest])
        return Sweep(
            component=differences.component,
            ranking=str(masks[0].provenance["ranking"]),
            method=method,
            model=base.model,
            task=differences.task,
            split=split_of(samples),
            position=position,
            n=base.n,
            ks=tuple(int(k) for k in ks),
            strengths=tuple(float(strength) for strength in strengths),
            accuracy=table([one.accuracy for one in rest]),
            margin=table([one.margin for one in rest]),
            valid_rate=table([one.valid_rate for one in rest]),
            unsteered_accuracy=base.accuracy,
            unsteered_margin=base.margin,
            chance=chance,
            unsteered_valid_rate=base.valid_rate,
            correct=kept.reshape(*shape, base.n)
            if keep_items and len(rest) == len(cells)
            else None,
            unsteered_correct=base.correct if keep_items else None,
            skipped=given - len(samples),
        )

    try:
        found = evaluate_all(
            model,
            samples,
            [None, *cells],
            settings,
            progress=progress,
            description="sweep",
            resume=None if resume is None else resume.stopped,
        )
    except EvaluationInterrupted as stopped:
        partial = build(stopped.partial) if stopped.partial else None
        raise SweepInterrupted(partial, stopped) from None
    return build(found)


@checked()
def null_band(
    model: HookedModel,
    samples: Sequence[Sample],
    mask: Mask,
    strength: float,
    *,
    n: int = 200,
    per_layer: bool = False,
    tune_on: Sequence[Sample] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
    position: str = "last_prompt",
    scoring: str = "sum",
    task: str = "",
    max_new_tokens: int = 16,
    prepend_bos: bool | None = None,
    progress: bool = True,
) -> NullBand:
    """Accuracies of ``n`` random masks with the K (and, if asked, the per-layer counts) of ``mask``.

    What is left when only the choice of units is taken away. At the strength that was tuned for ``mask`` the null is
    conditional on that cell, and its p-values are too small: random masks never chose. With ``tune_on`` each mask
    chooses its own strength there, as the method did, at ``len(strengths)`` times the cost on that split.

    Args:
        model: A bridged model in eval mode.
        samples: The items that the method was scored on.
        mask: The mask to match.
        strength: The strength that was chosen for it; used by every random mask unless ``tune_on`` is given.
        n: Masks to draw.
        per_layer: Match the count of every layer too.
        tune_on: Samples on which each random mask chooses among ``strengths`` (the dev split).
        strengths: The grid for ``tune_on``.
        seed: Seed of the draws.
        position: Which tokens are edited.
        scoring: See ``evaluate``.
        task: Name for the result.
        max_new_tokens: See ``evaluate``.
        prepend_bos: See ``evaluate``.
        progress: Show a bar.

    Raises:
        ValueError: If ``n`` is below 1; otherwise as ``evaluate``.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    seeds = np.random.SeedSequence(seed).generate_state(n)
    masks = [random_mask(mask, seed=int(one), per_layer=per_layer) for one in seeds]

    settings = Settings(task, position, scoring, prepend_bos, max_new_tokens)

    def score(items: Sequence[Sample], drawn: list[Intervention | None]) -> list[Evaluation]:
        return evaluate_all(
            model, items, drawn, settings, progress=progress, description="random masks"
        )

    chosen = [float(strength)] * n
    if tune_on is not None:
        dev = score(tune_on, [MaskedScaling(one, float(s)) for one in masks for s in strengths])
        for draw in range(n):
            cells = dev[draw * len(strengths) : (draw + 1) * len(strengths)]
            best = max(cells, key=lambda cell: (cell.accuracy, cell.margin))
            chosen[draw] = float(strengths[cells.index(best)])
    found = score(samples, [MaskedScaling(*cell) for cell in zip(masks, chosen, strict=True)])
    words = "each at its own strength" if tune_on is not None else f"strength {strength:g}"
    return NullBand(
        label=f"random {mask.component} masks, K {mask.k}{' per layer' if per_layer else ''}, {words}",
        k=mask.k,
        strength=float(strength),
        per_layer=per_layer,
        # float64, as the accuracies they are compared with: a tie must stay a tie.
        accuracies=np.array([one.accuracy for one in found], dtype=np.float64),
        margins=np.array([one.margin for one in found]),
        tuned=tune_on is not None,
    )
