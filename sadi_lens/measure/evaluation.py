"""Scoring samples: log-probability of choices, exact match of free text, each with n and an interval."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict, Unpack, overload

import numpy as np
from tqdm.auto import tqdm

from sadi_lens.engine.contract import require_fit
from sadi_lens.engine.intervention import Intervention
from sadi_lens.measure.calls import (
    Call,
    EvaluationInterrupted,
    Settings,
    are_texts,
    fitting_samples,
    joined,
    kept,
    require_told_apart,
    split_of,
)
from sadi_lens.measure.identity import form_of
from sadi_lens.measure.outcomes import Origin, choice_outcomes, score_choices
from sadi_lens.measure.picks import Answers
from sadi_lens.measure.writing import by_generation
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Sample
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import Evaluation


class Options(TypedDict, total=False):
    """Keywords of ``evaluate``, for type checkers."""

    position: str
    scoring: str
    task: str
    label: str | Sequence[str] | None
    prepend_bos: bool | None
    max_new_tokens: int
    engine: str
    too_long: str
    progress: bool
    resume: EvaluationInterrupted | None


@overload
def evaluate(
    model: HookedModel,
    samples: Sequence[Sample],
    intervention: Intervention | None = None,
    **options: Unpack[Options],
) -> Evaluation: ...
@overload
def evaluate(
    model: HookedModel,
    samples: Sequence[Sample],
    intervention: Sequence[Intervention | None],
    **options: Unpack[Options],
) -> list[Evaluation]: ...
@checked()
def evaluate(
    model: HookedModel,
    samples: Sequence[Sample],
    intervention: Intervention | Sequence[Intervention | None] | None = None,
    *,
    position: str = DEFAULT_POSITION,
    scoring: str = "sum",
    task: str = "",
    label: str | Sequence[str] | None = None,
    prepend_bos: bool | None = None,
    max_new_tokens: int = 16,
    engine: str = "shared",
    too_long: str = "error",
    progress: bool = True,
    resume: EvaluationInterrupted | None = None,
) -> Evaluation | list[Evaluation]:
    """Accuracy of one intervention, or of each of a list, with its 95% interval, margin and valid-answer rate.

    Choices are scored by log-probability given the prompt; free text is generated greedily and compared after
    normalisation (see ``normalise``). A list costs less than its members one by one: what they share is computed once.

    Args:
        model: A bridged model in eval mode.
        samples: At least one, all with choices or all with a target.
        intervention: None is the unsteered model. A list gives a list of results, in its order.
        position: Which tokens it acts on.
        scoring: One of ``SCORINGS``. Free text is generated and matched, or scored ``"teacher_forced"``.
        task: Name written into the result.
        label: Name of the row, or a list of them; default the intervention's own.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_new_tokens: Room for a free-text answer.
        engine: ``"shared"``, or ``"plain"``: text by text, nothing shared (slow; the same numbers to rounding).
        too_long: An item that does not fit the context is an ``"error"``, or left out and counted: ``"skip"``.
        progress: Show a bar.
        resume: What stopped this call before: only what is missing is run.

    Raises:
        ValueError: If there is no sample or no intervention, a prompt or choice does not tokenise or fit, the model is
            in training mode or of another shape, or ``resume`` comes from another call.
        NotFiniteError: If the model's output is not finite.
        EvaluationInterrupted: On Ctrl-C, with everything finished in ``.partial``.

    Example:
        >>> heads = sl.activation_differences(
        ...     model, task.pairs[:20], components=["head"], progress=False
        ... )["head"]
        >>> scaling = sl.MaskedScaling(sl.top_k_mask(heads, 3), strength=5.0)
        >>> plain, steered = sl.evaluate(model, task.dev[:40], [None, scaling], progress=False)
        >>> plain.accuracy, steered.accuracy
        (0.825, 1.0)
        >>> print(f"95% interval of the second: {steered.interval.low:.3f} to {steered.interval.high:.3f}")
        95% interval of the second: 0.865 to 1.000
    """
    settings = Settings(task, position, scoring, prepend_bos, max_new_tokens, engine)
    labels = [label] if isinstance(label, str) else label
    if intervention is None or isinstance(intervention, Intervention):
        is_one, interventions = True, [intervention]
    else:
        is_one, interventions = False, list(intervention)
    kept = fitting_samples(model, samples, settings, too_long=too_long)
    found = evaluate_all(
        model,
        kept,
        interventions,
        settings,
        labels=labels,
        progress=progress,
        resume=resume,
        is_grid=False,
    )
    skipped = len(samples) - len(kept)
    found = [replace(one, skipped=skipped) for one in found] if skipped else found
    return found[0] if is_one else found


def evaluate_all(
    model: HookedModel,
    samples: Sequence[Sample],
    interventions: Sequence[Intervention | None],
    settings: Settings,
    *,
    labels: Sequence[str] | None = None,
    progress: bool = True,
    description: str = "evaluate",
    resume: EvaluationInterrupted | None = None,
    is_grid: bool = True,
) -> list[Evaluation]:
    """``evaluate`` of a list of interventions, with the settings in one object.

    A grid goes on where a cell overflows: its items count as wrong there, which is said. Otherwise that is refused.
    """
    call = _call(model, samples, interventions, labels, settings)
    if resume is not None:
        resume.require(call.described(model))

    def run() -> list[Evaluation]:
        bar = tqdm(total=len(samples) * len(interventions), desc=description, disable=not progress)
        with bar:
            if settings.scoring == "generation" or (
                samples[0].target is not None and settings.scoring != "teacher_forced"
            ):
                return by_generation(model, call, _origin(model, call), bar, resume, is_grid)
            return _by_choices(model, call, bar, resume, is_grid)

    return kept(description, lambda: call.described(model), run)


def _call(
    model: HookedModel,
    samples: Sequence[Sample],
    interventions: Sequence[Intervention | None],
    labels: Sequence[str] | None,
    settings: Settings,
) -> Call:
    """A call that the model can run.

    Raises:
        ValueError: If a list is empty, the labels are not as many as the interventions, samples of both kinds are
            given, or an intervention is for another model.
    """
    are_texts(samples)
    require_told_apart(samples, settings.scoring)
    if not interventions:
        raise ValueError("interventions must hold at least 1 (None is the unsteered model), got 0")
    info = ModelInfo.of(model)
    for one in interventions:
        if one is not None:
            require_fit(one, info)
    if labels is None:
        labels = ["unsteered" if one is None else one.label for one in interventions]
    if len(labels) != len(interventions):
        raise ValueError(
            f"label must name every intervention: {len(labels)} for {len(interventions)}"
        )
    return Call(samples, interventions, labels, settings)


def _origin(model: HookedModel, call: Call) -> Origin:
    settings = call.settings
    return Origin(
        ModelInfo.of(model),
        settings.task,
        split_of(call.samples),
        settings.position,
        settings.scoring,
        form=form_of(model, (one.prompt for one in call.samples), settings.prepend_bos),
    )


def _by_choices(
    model: HookedModel,
    call: Call,
    bar: Any,
    resume: EvaluationInterrupted | None,
    is_grid: bool,
) -> list[Evaluation]:
    """Score a few items at a time, each under all interventions."""
    samples = call.samples
    before = () if resume is None else resume.partial
    done = np.zeros(len(samples), dtype=bool) if resume is None else resume.done
    missing = np.flatnonzero(~done)
    if not missing.size:
        return list(before)
    bar.update(int(done.sum()) * len(call.interventions))
    rest = [samples[index] for index in missing.tolist()]
    scores = score_choices(model, rest, call.interventions, call.settings, bar)
    now = done.copy()
    now[missing[scores.done]] = True
    answers = Answers.of(samples)
    few = answers and answers.take(missing)
    results = choice_outcomes(rest, call.labels, _origin(model, call), scores, few, is_grid)
    if before and results:
        finished = [one for one, is_done in zip(samples, now, strict=True) if is_done]
        pairs = zip(before, results, strict=True)
        results = tuple(joined(done[now], one, two, finished) for one, two in pairs)
    results = results or before
    if scores.interrupted:
        raise EvaluationInterrupted(results, now, call.described(model))
    return list(results)
