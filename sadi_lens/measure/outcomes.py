"""From scores and texts to an ``Evaluation``."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from sadi_lens.measure.calls import items_hash
from sadi_lens.measure.choices import ChoiceRow, ChoiceScores
from sadi_lens.types.answers import matches
from sadi_lens.types.data import Sample
from sadi_lens.types.model import ModelInfo
from sadi_lens.types.results import Evaluation
from sadi_lens.types.stats import proportion_interval


@dataclass(frozen=True)
class Origin:
    """What all results of one call share."""

    model: ModelInfo
    task: str
    split: str
    position: str
    scoring: str

    def result(
        self,
        label: str,
        items: str,
        *,
        correct: Bool[np.ndarray, " item"],
        margins: Float[np.ndarray, " item"],
        valid: Bool[np.ndarray, " item"],
        scores: Float[np.ndarray, "item choice"],
        texts: Sequence[str] = (),
    ) -> Evaluation:
        """The result of one intervention."""
        return Evaluation(
            label,
            self.model,
            self.task,
            self.split,
            self.position,
            self.scoring,
            correct,
            margins,
            valid,
            scores,
            proportion_interval(correct),
            items,
            tuple(texts),
        )


def text_outcome(
    label: str, samples: Sequence[Sample], texts: list[str], origin: Origin, items: str
) -> Evaluation:
    """Generated texts, matched with what counts as right."""
    is_text = samples[0].target is not None
    accepted = [_accepted(sample) for sample in samples]
    correct = np.array([matches(*one) for one in zip(texts, accepted, strict=True)])
    return replace(origin, scoring="exact_match" if is_text else "generation").result(
        label,
        items,
        correct=correct,
        margins=np.full(correct.size, np.nan, dtype=np.float32),
        valid=np.array(
            [
                bool(text.strip()) if is_text else matches(text, sample.choices)
                for text, sample in zip(texts, samples, strict=True)
            ]
        ),
        scores=np.empty((correct.size, 0), dtype=np.float32),
        texts=texts,
    )


def _accepted(sample: Sample) -> tuple[str, ...]:
    if sample.target is not None:
        return (sample.target, *sample.aliases)
    assert sample.answer is not None
    return tuple(sample.choices[index] for index in (sample.answer, *sample.also_right))


def choice_outcomes(
    samples: Sequence[Sample], labels: Sequence[str], origin: Origin, found: ChoiceScores
) -> tuple[Evaluation, ...]:
    """One result an intervention, over the items that were finished."""
    kept = np.flatnonzero(found.done)
    if not kept.size:
        return ()
    chosen = [samples[index] for index in kept.tolist()]
    items = items_hash(chosen)
    return tuple(
        _outcome(label, chosen, row, origin, items)
        for label, row in zip(labels, found.rows(kept), strict=True)
    )


def _outcome(
    label: str, samples: Sequence[Sample], found: ChoiceRow, origin: Origin, items: str
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
    return origin.result(
        label,
        items,
        correct=correct,
        margins=margins,
        valid=found.valid & ~is_broken,
        scores=scores,
    )


def joined(
    done: Bool[np.ndarray, " item"], one: Evaluation, two: Evaluation, items: str
) -> Evaluation:
    """Results of some items and of the others as one, in the order of the samples.

    Args:
        done: The items of ``one``; ``two`` has the rest.
        one: The first part.
        two: The second.
        items: Hash of the whole.
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
    return replace(
        one,
        correct=correct,
        margins=margins,
        valid=valid,
        choice_scores=scores,
        interval=proportion_interval(correct),
        items=items,
    )
