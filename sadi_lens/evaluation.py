"""Scoring samples: log-probability of choices, exact match of free text, each with n and an interval."""

import hashlib
import re
import string
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from sadi_lens.engine import ENGINES, score_answers
from sadi_lens.generation import generate
from sadi_lens.hooks import require_eval
from sadi_lens.interventions import Intervention
from sadi_lens.results import Evaluation
from sadi_lens.stats import proportion_interval
from sadi_lens.text import encode_item
from sadi_lens.types import POSITIONS, HookedModel, ModelInfo, Sample, require_one_of

SCORINGS = ("sum", "per_token")


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
        scoring: ``"sum"`` of the choice's token log-probabilities, or their mean (``"per_token"``).
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
        if is_text.pop():
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
        return _choice_results(
            model, samples, interventions, names, common, scoring, prepend_bos, engine, bar
        )


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
    return digest.hexdigest()[:16]


def chance_of(samples: Sequence[Sample]) -> float:
    """Accuracy of guessing among the choices; NaN for free text."""
    if any(sample.target is not None for sample in samples):
        return float("nan")
    return float(np.mean([1 / len(sample.choices) for sample in samples]))


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces (Rajpurkar et al., 2016).

    Where nothing would be left (an answer "A"), articles and then punctuation stay.
    """
    text = " ".join(text.lower().split())
    bare = " ".join(text.translate(str.maketrans("", "", string.punctuation)).split())
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split()) or bare or text


def matches(text: str, target: str) -> bool:
    """Whether a generated answer is the target: its first line, or the first sentence of that, after ``normalise``."""
    line = text.strip().split("\n", maxsplit=1)[0]
    sentence = re.split(r"\.(?=\s|$)", line, maxsplit=1)[0]
    return normalise(target) in (normalise(line), normalise(sentence))


def _text_result(
    label: str, samples: Sequence[Sample], texts: list[str], common: dict[str, object]
) -> Evaluation:
    correct = np.array(
        [matches(text, sample.target or "") for text, sample in zip(texts, samples, strict=True)]
    )
    return Evaluation(
        label=label,
        scoring="exact_match",
        correct=correct,
        margins=np.full(correct.size, np.nan, dtype=np.float32),
        valid=np.array([bool(text.strip()) for text in texts]),
        choice_scores=np.empty((correct.size, 0), dtype=np.float32),
        interval=proportion_interval(correct),
        texts=tuple(texts),
        **common,  # type: ignore[arg-type]  # model, task, split, position
    )


def _choice_results(
    model: HookedModel,
    samples: Sequence[Sample],
    interventions: Sequence[Intervention | None],
    names: Sequence[str],
    common: dict[str, object],
    scoring: str,
    prepend_bos: bool | None,
    engine: str,
    bar: Any,
) -> tuple[Evaluation, ...]:
    items = [
        encode_item(model, sample.prompt, sample.choices, prepend_bos=prepend_bos)
        for sample in samples
    ]
    widest = max(len(sample.choices) for sample in samples)
    scores = np.full((len(interventions), len(samples), widest), np.nan, dtype=np.float32)
    valid = np.zeros(scores.shape[:2], dtype=bool)
    done = np.zeros(len(samples), dtype=bool)
    interrupted = False
    try:
        position = str(common["position"])
        for found in score_answers(model, items, interventions, position, engine=engine):
            scores[:, found.indices, : found.logprobs.shape[2]] = found.logprobs
            valid[:, found.indices] = found.valid
            done[found.indices] = True
            bar.update(len(found.indices) * len(interventions))
    except KeyboardInterrupt:
        interrupted = True
    if scoring == "per_token":
        for index, item in enumerate(items):
            scores[:, index, : len(item.answers)] /= [len(answer) for answer in item.answers]
    kept = [index for index in range(len(samples)) if done[index]]
    results: tuple[Evaluation, ...] = ()
    if kept:
        chosen = [samples[index] for index in kept]
        common = {**common, "items": items_hash(chosen)}
        results = tuple(
            _choice_result(name, chosen, scores[row, kept], valid[row, kept], scoring, common)
            for row, name in enumerate(names)
        )
    if interrupted:
        raise EvaluationInterrupted(results)
    return results


def _choice_result(
    label: str,
    samples: Sequence[Sample],
    scores: np.ndarray,
    valid: np.ndarray,
    scoring: str,
    common: dict[str, object],
) -> Evaluation:
    answer = np.array([sample.answer for sample in samples])
    row = np.arange(len(samples))
    right = scores[row, answer]
    wrong = scores.copy()
    wrong[row, answer] = -np.inf
    counts = np.array([len(sample.choices) for sample in samples])
    wrong[np.isnan(scores) & (np.arange(scores.shape[1]) >= counts[:, None])] = -np.inf
    margins = (right - wrong.max(axis=1)).astype(np.float32)
    broken = int(np.isnan(margins).sum())
    if broken:
        warnings.warn(
            f"{broken} of {len(samples)} items could not be scored under {label!r}: the model's output is not "
            "finite there. They count as wrong and invalid, their margin is NaN. Use a smaller strength or a "
            "wider dtype.",
            stacklevel=2,
        )
    correct = margins > 0
    return Evaluation(
        label=label,
        scoring=scoring,
        correct=correct,
        margins=margins,
        valid=valid & ~np.isnan(margins),
        choice_scores=scores,
        interval=proportion_interval(correct),
        **common,  # type: ignore[arg-type]  # model, task, split, position
    )
