"""Samples scored under interventions: log-probabilities of choices, matched texts, the ``Evaluation`` of either."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.scoring import score_answers
from sadi_lens.engine.text import EncodedItem, encode_item, require_tokenizer
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.picks import Answers, Spelling, accepted_texts, margins_of
from sadi_lens.tasks.contrast import right_answer
from sadi_lens.types.answers import matches, neutral_prompt
from sadi_lens.types.base import NotFiniteError
from sadi_lens.types.data import Sample, clusters_of, items_hash
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import Evaluation, Picks


class ChoiceRow(NamedTuple):
    """What every item got under one intervention."""

    scores: Float[np.ndarray, "item choice"]
    margins: Float[np.ndarray, " item"]
    correct: Bool[np.ndarray, " item"]
    valid: Bool[np.ndarray, " item"]
    broken: Bool[np.ndarray, " item"]
    """Could not be scored."""


@dataclass
class ChoiceScores:
    """Scores of every item under every intervention; after Ctrl-C, of the items that were finished."""

    scores: Float[np.ndarray, "intervention item choice"]
    """Nats; NaN where an item has fewer choices."""
    valid: Bool[np.ndarray, "intervention item"]
    spelled: Bool[np.ndarray, "intervention item"] | None
    """For ``"teacher_forced"``: whether the most likely tokens spell the right answer."""
    done: Bool[np.ndarray, " item"]
    interrupted: bool = False

    @classmethod
    def empty(cls, n: int, choices: Sequence[Sequence[str]], *, is_forced: bool) -> "ChoiceScores":
        """Of ``n`` interventions; nothing is done yet."""
        shape = (n, len(choices))
        return cls(
            scores=np.full((*shape, max(map(len, choices))), np.nan, dtype=np.float32),
            valid=np.zeros(shape, dtype=bool),
            spelled=np.zeros(shape, dtype=bool) if is_forced else None,
            done=np.zeros(len(choices), dtype=bool),
        )

    def divide(self, lengths: Sequence[Sequence[int]]) -> None:
        """Divide by the length of every choice of every item, in tokens or bytes."""
        for index, own in enumerate(lengths):
            self.scores[:, index, : len(own)] /= own

    def rows(self, samples: Sequence[Sample], kept: np.ndarray) -> Iterator[ChoiceRow]:
        """One row per intervention, of the items in ``kept``, which are ``samples``."""
        scores = self.scores[:, kept]
        margins, broken = margins_of(samples, scores)
        correct = (margins > 0) if self.spelled is None else self.spelled[:, kept] & ~broken
        yield from map(ChoiceRow, scores, margins, correct, self.valid[:, kept] & ~broken, broken)


def score_choices(
    model: HookedModel,
    samples: Sequence[Sample],
    interventions: Sequence[Intervention | None],
    settings: Settings,
    bar: Any,
) -> ChoiceScores:
    """Score every choice; on Ctrl-C, what was finished.

    Args:
        model: A bridged model in eval mode.
        samples: With choices, or (``"teacher_forced"`` only) with targets.
        interventions: None is the unsteered model.
        settings: Any scoring but ``"generation"``; ``"pmi"`` steers the prompt's last line alone too.
        bar: Progress bar, updated by items times interventions.

    Raises:
        ValueError: If a prompt or choice does not tokenise or fit, or has one line only (``"pmi"``).
    """
    choices = [one.choices or (right_answer(one),) for one in samples]
    scoring = settings.scoring

    def encoded(prompts: Sequence[str]) -> list[EncodedItem]:
        return [
            encode_item(model, prompt, answers, prepend_bos=settings.prepend_bos)
            for prompt, answers in zip(prompts, choices, strict=True)
        ]

    items = encoded([one.prompt for one in samples])
    result = ChoiceScores.empty(len(interventions), choices, is_forced=scoring == "teacher_forced")
    spelling = Spelling(require_tokenizer(model), samples, items)
    try:
        for found in score_answers(
            model, items, interventions, settings.position, engine=settings.engine
        ):
            result.scores[:, found.indices, : found.logprobs.shape[2]] = found.logprobs
            result.valid[:, found.indices] = found.valid
            if result.spelled is not None:
                result.spelled[:, found.indices] = spelling.of(found)
            result.done[found.indices] = True
            bar.update(len(found.indices) * len(interventions))
        if scoring == "pmi":
            bare = encoded([neutral_prompt(one.prompt) for one in samples])
            result.scores -= _bare_scores(model, bare, interventions, settings, result.scores.shape)
    except KeyboardInterrupt:
        result.interrupted = True
        if scoring == "pmi":  # half of a difference is no score
            result.done[:] = False
    if scoring == "per_token":
        result.divide([[len(one) for one in item.answers] for item in items])
    if scoring == "per_byte":
        result.divide([[len(text.strip().encode()) or 1 for text in texts] for texts in choices])
    return result


def _bare_scores(
    model: HookedModel,
    items: Sequence[EncodedItem],
    interventions: Sequence[Intervention | None],
    settings: Settings,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Log-probability of every choice after the neutral prompt; most items share theirs."""
    scores = np.full(shape, np.nan, dtype=np.float32)
    unique = {(item.prompt, item.answers): item for item in items}
    row_of = {key: row for row, key in enumerate(unique)}
    rows = np.array([row_of[item.prompt, item.answers] for item in items])
    for found in score_answers(
        model, list(unique.values()), interventions, settings.position, engine=settings.engine
    ):
        for place, row in enumerate(found.indices):
            scores[:, rows == row, : found.logprobs.shape[2]] = found.logprobs[:, place][:, None]
    return scores


@dataclass(frozen=True)
class Origin:
    """What all results of one call share."""

    model: ModelInfo
    task: str
    split: str
    position: str
    scoring: str
    clusters: Int[np.ndarray, " item"] | None = None
    groups: tuple[str, ...] = ()
    form: str = ""
    """See ``Evaluation``."""

    def of(self, samples: Sequence[Sample]) -> "Origin":
        """With what these items belong to."""
        groups = tuple(one.group or "" for one in samples)
        return replace(
            self,
            clusters=clusters_of(samples),
            groups=groups if any(groups) else (),
        )

    def result(
        self,
        label: str,
        items: str,
        *,
        correct: Bool[np.ndarray, " item"],
        margins: Float[np.ndarray, " item"],
        valid: Bool[np.ndarray, " item"],
        scores: Float[np.ndarray, "item choice"],
        picks: Picks | None,
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
            items,
            tuple(texts),
            clusters=self.clusters,
            groups=self.groups,
            picks=picks,
            form=self.form,
        )


def text_outcome(
    label: str,
    samples: Sequence[Sample],
    texts: list[str],
    origin: Origin,
    items: str,
    answers: Answers | None,
    broken: Bool[np.ndarray, " item"],
) -> Evaluation:
    """Generated texts, matched with what counts as right; those in ``broken`` came of logits that are not finite."""
    _say_broken(label, broken)
    is_text = samples[0].target is not None
    accepted = [accepted_texts(sample) for sample in samples]
    correct = np.array([matches(*one) for one in zip(texts, accepted, strict=True)]) & ~broken
    scoring = "exact_match" if is_text else "generation"
    return replace(origin.of(samples), scoring=scoring).result(
        label,
        items,
        correct=correct,
        margins=np.full(correct.size, np.nan, dtype=np.float32),
        valid=np.array(
            [
                bool(text.strip()) if is_text else matches(text, sample.choices)
                for text, sample in zip(texts, samples, strict=True)
            ]
        )
        & ~broken,
        scores=np.empty((correct.size, 0), dtype=np.float32),
        picks=answers and answers.by_texts(texts, samples, correct),
        texts=texts,
    )


def choice_outcomes(
    samples: Sequence[Sample],
    labels: Sequence[str],
    origin: Origin,
    found: ChoiceScores,
    answers: Answers | None,
    is_grid: bool,
) -> tuple[Evaluation, ...]:
    """One result an intervention, over the items that were finished; see ``evaluate_all``."""
    kept = np.flatnonzero(found.done)
    if not kept.size:
        return ()
    chosen = [samples[index] for index in kept.tolist()]
    items = items_hash(chosen)
    origin = origin.of(chosen)
    few = answers and answers.take(kept)
    return tuple(
        _outcome(label, row, origin, items, few, is_grid)
        for label, row in zip(labels, found.rows(chosen, kept), strict=True)
    )


def _outcome(
    label: str,
    row: ChoiceRow,
    origin: Origin,
    items: str,
    answers: Answers | None,
    is_grid: bool,
) -> Evaluation:
    if row.broken.any() and not is_grid:
        where = (
            f"{int(row.broken.sum())} of {row.broken.size} items, first {int(row.broken.argmax())}"
        )
        raise NotFiniteError("the model's output", label, where)
    _say_broken(label, row.broken)
    return origin.result(
        label,
        items,
        correct=row.correct,
        margins=row.margins,
        valid=row.valid,
        scores=row.scores,
        picks=answers and answers.by_scores(row.scores, row.correct),
    )


def _say_broken(label: str, broken: Bool[np.ndarray, " item"]) -> None:
    if broken.any():
        warnings.warn(
            f"{int(broken.sum())} of {broken.size} items could not be scored under {label!r}: the model's output "
            "is not finite there. They count as wrong and invalid, their margin is NaN. Use a smaller strength or a "
            "wider dtype.",
            stacklevel=2,
        )
