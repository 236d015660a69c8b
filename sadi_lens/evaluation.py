"""Scoring samples: log-probability of choices, exact match of free text, each with n and an interval."""

import hashlib
import warnings
from collections.abc import Sequence

import numpy as np
from tqdm.auto import tqdm

from sadi_lens.answers import SCORINGS, matches
from sadi_lens.choices import ChoiceRow, ChoiceScores, score_choices
from sadi_lens.engine import ENGINES
from sadi_lens.generation import generate
from sadi_lens.hooks import require_eval
from sadi_lens.interventions import Intervention
from sadi_lens.results import Evaluation
from sadi_lens.stats import proportion_interval
from sadi_lens.types import POSITIONS, HookedModel, ModelInfo, Sample, require_one_of


class EvaluationInterrupted(KeyboardInterrupt):
    """Ctrl-C during an evaluation; what was finished is in ``partial``."""

    def __init__(self, partial: tuple[Evaluation, ...]) -> None:
        done = partial[0].n if partial else 0
        super().__init__(f"interrupted with {done} items scored; they are in .partial")
        self.partial = partial


def evaluate(
    model: HookedModel,
    samples: Sequence[Sample],
    intervention: Intervention | None = None,
    *,
    position: str = "last_prompt",
    scoring: str = "sum",
    task: str = "",
    label: str | None = None,
    prepend_bos: bool | None = None,
    max_new_tokens: int = 16,
    engine: str = "shared",
    progress: bool = True,
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
        prepend_bos: See ``sadi_lens.text.encode``.
        max_new_tokens: Room for a free-text answer.
        engine: ``"shared"``, or ``"plain"``: text by text, nothing shared (slow; the same numbers to rounding).
        progress: Show a bar.

    Raises:
        ValueError: If there is no sample, a prompt or choice does not tokenise or fit, or the model is in training
            mode or of another shape.
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
    )[0]


def evaluate_each(
    model: HookedModel,
    samples: Sequence[Sample],
    interventions: Sequence[Intervention | None],
    *,
    position: str = "last_prompt",
    scoring: str = "sum",
    task: str = "",
    labels: Sequence[str] | None = None,
    prepend_bos: bool | None = None,
    max_new_tokens: int = 16,
    engine: str = "shared",
    progress: bool = True,
    description: str = "evaluate",
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
    common: dict[str, object] = {
        "items": items_hash(samples),
        "model": info,
        "task": task,
        "split": split_of(samples),
        "position": position,
    }
    bar = tqdm(total=len(samples) * len(interventions), desc=description, disable=not progress)
    with bar:
        if scoring == "generation" or (is_text.pop() and scoring != "teacher_forced"):
            found: list[Evaluation] = []
            try:
                for name, one in zip(names, interventions, strict=True):
                    texts = generate(
                        model,
                        [sample.prompt for sample in samples],
                        one,
                        position=position,
                        max_new_tokens=max_new_tokens,
                        prepend_bos=prepend_bos,
                        use_cache=engine == "shared",
                        batch_size=128 if engine == "shared" else 1,
                    )
                    found.append(_text_result(name, samples, texts, common))
                    bar.update(len(samples))
            except KeyboardInterrupt:
                raise EvaluationInterrupted(tuple(found)) from None
            return tuple(found)
        found_scores = score_choices(
            model,
            samples,
            interventions,
            scoring,
            position,
            prepend_bos=prepend_bos,
            engine=engine,
            bar=bar,
        )
        return _choice_results(samples, names, common, scoring, found_scores)


def split_of(samples: Sequence[Sample]) -> str:
    """The samples' common split; ``"mixed"`` if they differ, ``"unknown"`` if none is recorded."""
    splits = {sample.split for sample in samples}
    if len(splits) > 1:
        return "mixed"
    return splits.pop() or "unknown"


def items_hash(samples: Sequence[Sample]) -> str:
    """Identity of a list of samples, so that results of different items are never paired."""
    digest = hashlib.sha256()
    for one in samples:
        digest.update(repr((one.prompt, one.choices, one.answer, one.target)).encode())
        if one.also_right or one.aliases:
            digest.update(repr((one.also_right, one.aliases)).encode())
    return digest.hexdigest()[:16]


def chance_of(samples: Sequence[Sample]) -> float:
    """Accuracy of guessing among the right choice and the wrong ones; NaN for free text."""
    if any(sample.target is not None for sample in samples):
        return float("nan")
    return float(np.mean([1 / (1 + len(sample.wrong)) for sample in samples]))


def _text_result(
    label: str, samples: Sequence[Sample], texts: list[str], common: dict[str, object]
) -> Evaluation:
    is_text = samples[0].target is not None
    accepted = [_accepted(sample) for sample in samples]
    correct = np.array([matches(*one) for one in zip(texts, accepted, strict=True)])
    return Evaluation(
        label=label,
        scoring="exact_match" if is_text else "generation",
        correct=correct,
        margins=np.full(correct.size, np.nan, dtype=np.float32),
        valid=np.array(
            [
                bool(text.strip()) if is_text else matches(text, sample.choices)
                for text, sample in zip(texts, samples, strict=True)
            ]
        ),
        choice_scores=np.empty((correct.size, 0), dtype=np.float32),
        interval=proportion_interval(correct),
        texts=tuple(texts),
        **common,  # type: ignore[arg-type]  # model, task, split, position
    )


def _accepted(sample: Sample) -> tuple[str, ...]:
    if sample.target is not None:
        return (sample.target, *sample.aliases)
    assert sample.answer is not None
    return tuple(sample.choices[index] for index in (sample.answer, *sample.also_right))


def _choice_results(
    samples: Sequence[Sample],
    names: Sequence[str],
    common: dict[str, object],
    scoring: str,
    found: ChoiceScores,
) -> tuple[Evaluation, ...]:
    kept = np.flatnonzero(found.done)
    results: tuple[Evaluation, ...] = ()
    if kept.size:
        chosen = [one for one, done in zip(samples, found.done, strict=True) if done]
        common = {**common, "items": items_hash(chosen), "scoring": scoring}
        results = tuple(
            _choice_result(name, chosen, row, common)
            for name, row in zip(names, found.rows(kept), strict=True)
        )
    if found.interrupted:
        raise EvaluationInterrupted(results)
    return results


def _choice_result(
    label: str,
    samples: Sequence[Sample],
    found: ChoiceRow,
    common: dict[str, object],
) -> Evaluation:
    scores = found.scores
    row = np.arange(len(samples))
    right = scores[row, [sample.answer or 0 for sample in samples]]
    is_wrong = np.zeros(scores.shape, dtype=bool)
    for index, sample in enumerate(samples):
        is_wrong[index, list(sample.wrong)] = True
    wrong = np.where(is_wrong, scores, -np.inf).max(axis=1)
    with np.errstate(invalid="ignore"):  # inf - inf is a broken item
        margins = (right - wrong).astype(np.float32)
    is_broken = np.isnan(margins)
    margins[~is_wrong.any(axis=1)] = np.nan  # nothing to be ahead of
    if is_broken.any():
        warnings.warn(
            f"{int(is_broken.sum())} of {len(samples)} items could not be scored under {label!r}: the model's output "
            "is not finite there. They count as wrong and invalid, their margin is NaN. Use a smaller strength or a "
            "wider dtype.",
            stacklevel=2,
        )
    correct = (margins > 0) if found.spelled is None else found.spelled & ~is_broken
    return Evaluation(
        label=label,
        correct=correct,
        margins=margins,
        valid=found.valid & ~is_broken,
        choice_scores=scores,
        interval=proportion_interval(correct),
        **common,  # type: ignore[arg-type]  # model, task, split, position, scoring
    )
