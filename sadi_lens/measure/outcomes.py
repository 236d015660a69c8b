"""From scores and texts to an ``Evaluation``; ``common`` holds what all rows of a call share."""

import dataclasses
import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from sadi_lens.measure.choices import ChoiceRow, ChoiceScores
from sadi_lens.types.answers import matches
from sadi_lens.types.data import Sample
from sadi_lens.types.results import Evaluation
from sadi_lens.types.stats import proportion_interval


def items_hash(samples: Sequence[Sample]) -> str:
    """Identity of a list of samples, so that results of different items are never paired."""
    digest = hashlib.sha256()
    for one in samples:
        digest.update(repr((one.prompt, one.choices, one.answer, one.target)).encode())
        if one.also_right or one.aliases:
            digest.update(repr((one.also_right, one.aliases)).encode())
    return digest.hexdigest()[:16]


def text_outcome(
    label: str, samples: Sequence[Sample], texts: list[str], common: dict[str, Any]
) -> Evaluation:
    """Generated texts, matched with what counts as right."""
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
        **common,
    )


def _accepted(sample: Sample) -> tuple[str, ...]:
    if sample.target is not None:
        return (sample.target, *sample.aliases)
    assert sample.answer is not None
    return tuple(sample.choices[index] for index in (sample.answer, *sample.also_right))


def choice_outcomes(
    samples: Sequence[Sample],
    names: Sequence[str],
    common: dict[str, Any],
    found: ChoiceScores,
) -> tuple[Evaluation, ...]:
    """One an intervention, over the items that were finished."""
    kept = np.flatnonzero(found.done)
    if not kept.size:
        return ()
    chosen = [samples[index] for index in kept.tolist()]
    own = {**common, "items": items_hash(chosen)}
    return tuple(
        _outcome(name, chosen, row, own) for name, row in zip(names, found.rows(kept), strict=True)
    )


def _outcome(
    label: str,
    samples: Sequence[Sample],
    found: ChoiceRow,
    common: dict[str, Any],
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
        **common,
    )


def joined(
    done: Bool[np.ndarray, " item"], one: Evaluation, two: Evaluation, **changes: Any
) -> Evaluation:
    """Results of some items and of the others as one, in the order of the samples.

    Args:
        done: The items of ``one``; ``two`` has the rest.
        one: The first part.
        two: The second.
        **changes: Fields that the whole has of its own.
    """
    order = np.argsort(np.concatenate([np.flatnonzero(done), np.flatnonzero(~done)]))
    wide = max(one.choice_scores.shape[1], two.choice_scores.shape[1])

    def padded(scores: np.ndarray) -> np.ndarray:
        room = wide - scores.shape[1]
        return np.pad(scores, ((0, 0), (0, room)), constant_values=np.nan)

    correct, margins, valid, scores = (
        np.concatenate(parts)[order]
        for parts in (
            (one.correct, two.correct),
            (one.margins, two.margins),
            (one.valid, two.valid),
            (padded(one.choice_scores), padded(two.choice_scores)),
        )
    )
    return dataclasses.replace(
        one,
        correct=correct,
        margins=margins,
        valid=valid,
        choice_scores=scores,
        interval=proportion_interval(correct),
        **changes,
    )
