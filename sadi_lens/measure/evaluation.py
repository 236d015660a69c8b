"""Scoring samples: log-probability of choices, exact match of free text, each with n and an interval."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from sadi_lens.engine.dispatch import ENGINES
from sadi_lens.engine.generation import generate
from sadi_lens.engine.hooks import require_eval
from sadi_lens.engine.intervention import Intervention
from sadi_lens.measure.choices import score_choices
from sadi_lens.measure.outcomes import choice_outcomes, items_hash, joined, text_outcome
from sadi_lens.measure.resuming import EvaluationInterrupted, described, require_kind, weights_of
from sadi_lens.types.answers import SCORINGS
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, require_one_of
from sadi_lens.types.data import Sample
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import Evaluation

TEXTS_AT_ONCE = 128
"""Prompts that are continued in one batch."""


def evaluate(
    model: HookedModel,
    samples: Sequence[Sample],
    intervention: Intervention | None = None,
    *,
    position: str = DEFAULT_POSITION,
    scoring: str = "sum",
    task: str = "",
    label: str | None = None,
    prepend_bos: bool | None = None,
    max_new_tokens: int = 16,
    engine: str = "shared",
    progress: bool = True,
    resume: EvaluationInterrupted | None = None,
) -> Evaluation:
    """Accuracy of one intervention, with its 95% interval, margin and valid-answer rate.

    Choices are scored by log-probability given the prompt; free text is generated greedily and compared after
    normalisation (see ``normalise``).

    Args:
        model: A bridged model in eval mode.
        samples: At least one, all with choices or all with a target.
        intervention: None is the unsteered model.
        position: Which tokens it acts on.
        scoring: One of ``SCORINGS``. Free text is generated and matched, or scored ``"teacher_forced"``.
        task: Name written into the result.
        label: Name of the row; default the intervention's own.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_new_tokens: Room for a free-text answer.
        engine: ``"shared"``, or ``"plain"``: text by text, nothing shared (slow; the same numbers to rounding).
        progress: Show a bar.
        resume: What stopped this call before: only what is missing is run.

    Raises:
        ValueError: If there is no sample, a prompt or choice does not tokenise or fit, the model is in training
            mode or of another shape, or ``resume`` comes from another call.
        EvaluationInterrupted: On Ctrl-C, with everything finished in ``.partial``.
    """
    return evaluate_each(
        model,
        samples,
        [intervention],
        position=position,
        scoring=scoring,
        task=task,
        labels=None if label is None else [label],
        prepend_bos=prepend_bos,
        max_new_tokens=max_new_tokens,
        engine=engine,
        progress=progress,
        resume=resume,
    )[0]


def evaluate_each(
    model: HookedModel,
    samples: Sequence[Sample],
    interventions: Sequence[Intervention | None],
    *,
    position: str = DEFAULT_POSITION,
    scoring: str = "sum",
    task: str = "",
    labels: Sequence[str] | None = None,
    prepend_bos: bool | None = None,
    max_new_tokens: int = 16,
    engine: str = "shared",
    progress: bool = True,
    description: str = "evaluate",
    resume: EvaluationInterrupted | None = None,
) -> tuple[Evaluation, ...]:
    """``evaluate`` for many interventions on the same samples, sharing what they share.

    Raises:
        ValueError: As ``evaluate``.
        EvaluationInterrupted: On Ctrl-C, with everything finished in ``.partial``.
    """
    require_eval(model)
    require_one_of("position", position, POSITIONS)
    require_one_of("scoring", scoring, SCORINGS)
    require_one_of("engine", engine, ENGINES)
    if not samples:
        raise ValueError("samples must hold at least 1 item, got 0")
    info = ModelInfo.of(model)
    for one in interventions:
        if one is not None:
            one.check(info)
    if not interventions:
        raise ValueError("interventions must hold at least 1 (None is the unsteered model), got 0")
    names = labels or ["unsteered" if one is None else one.label for one in interventions]
    if len(names) != len(interventions):
        raise ValueError(
            f"labels must name every intervention: {len(names)} for {len(interventions)}"
        )
    is_text = {sample.target is not None for sample in samples}
    if len(is_text) > 1:
        raise ValueError("samples must all have choices or all have a target, got both kinds")
    common: dict[str, Any] = {
        "items": items_hash(samples),
        "model": info,
        "task": task,
        "split": split_of(samples),
        "position": position,
    }
    call: dict[str, Any] = {
        "samples": common["items"],
        "interventions": described(interventions),
        "labels": tuple(names),
        "task": task,
        "position": position,
        "scoring": scoring,
        "prepend_bos": prepend_bos,
        "max_new_tokens": max_new_tokens,
    }
    require_kind(resume, EvaluationInterrupted)
    if resume is not None:
        resume.require({**call, "weights": weights_of(model)})
    is_generated = scoring == "generation" or (is_text.pop() and scoring != "teacher_forced")
    bar = tqdm(total=len(samples) * len(interventions), desc=description, disable=not progress)
    run = _by_generation if is_generated else _by_choices
    with bar:
        return run(_Job(model, samples, interventions, names, common, call, engine, bar, resume))


class _Job(NamedTuple):
    """One call of ``evaluate_each``, looked through."""

    model: HookedModel
    samples: Sequence[Sample]
    interventions: Sequence[Intervention | None]
    names: Sequence[str]
    common: dict[str, Any]
    """Fields that all results share."""
    call: dict[str, Any]
    """What must be the same for ``resume``."""
    engine: str
    bar: Any
    resume: EvaluationInterrupted | None


def _by_generation(job: _Job) -> tuple[Evaluation, ...]:
    """One intervention after the other; a few items fill no batch: then several interventions share one."""
    model, samples, interventions, names, common, call, engine, bar, resume = job
    found = [] if resume is None else list(resume.partial)
    bar.update(len(samples) * len(found))
    rows = TEXTS_AT_ONCE if engine == "shared" else 1
    several = max(1, rows // len(samples))
    try:
        for start in range(len(found), len(interventions), several):
            some = interventions[start : start + several]
            texts = generate(
                model,
                [sample.prompt for sample in samples] * len(some),
                [one for one in some for _ in samples],
                position=call["position"],
                max_new_tokens=call["max_new_tokens"],
                prepend_bos=call["prepend_bos"],
                use_cache=engine == "shared",
                batch_size=rows,
            )
            for place, name in enumerate(names[start : start + several]):
                own = texts[place * len(samples) : (place + 1) * len(samples)]
                found.append(text_outcome(name, samples, own, common))
            bar.update(len(samples) * len(some))
    except KeyboardInterrupt:
        whole = np.ones(len(samples), dtype=bool)
        call = {**call, "weights": weights_of(model)}
        raise EvaluationInterrupted(tuple(found), whole, call) from None
    return tuple(found)


def _by_choices(job: _Job) -> tuple[Evaluation, ...]:
    """All interventions at once, a few items after the other."""
    model, samples, interventions, names, common, call, engine, bar, resume = job
    before = () if resume is None else resume.partial
    done = np.zeros(len(samples), dtype=bool) if resume is None else resume.done
    missing = np.flatnonzero(~done)
    if not missing.size:
        return before
    bar.update(int(done.sum()) * len(interventions))
    rest = [samples[index] for index in missing.tolist()]
    scores = score_choices(
        model,
        rest,
        interventions,
        call["scoring"],
        call["position"],
        prepend_bos=call["prepend_bos"],
        engine=engine,
        bar=bar,
    )
    now = done.copy()
    now[missing[scores.done]] = True
    results = choice_outcomes(rest, names, {**common, "scoring": call["scoring"]}, scores)
    if before and results:
        items = items_hash([one for one, is_done in zip(samples, now, strict=True) if is_done])
        pairs = zip(before, results, strict=True)
        results = tuple(joined(done[now], one, two, items=items) for one, two in pairs)
    results = results or before
    if scores.interrupted:
        raise EvaluationInterrupted(results, now, {**call, "weights": weights_of(model)})
    return results


def split_of(samples: Sequence[Sample]) -> str:
    """The samples' common split; ``"mixed"`` if they differ, ``"unknown"`` if none is recorded."""
    splits = {sample.split for sample in samples}
    if len(splits) > 1:
        return "mixed"
    return splits.pop() or "unknown"


def chance_of(samples: Sequence[Sample]) -> float:
    """Accuracy of guessing among the right choice and the wrong ones; NaN for free text."""
    if any(sample.target is not None for sample in samples):
        return float("nan")
    return float(np.mean([1 / (1 + len(sample.wrong)) for sample in samples]))
