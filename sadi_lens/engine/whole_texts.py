"""Log-probabilities of answers from whole texts: for a model that takes no tree of answers, and to check by."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.passes import (
    batches_by_tokens,
    device_of,
    pad_id,
    pad_left,
    pass_tokens,
    smaller_when_full,
    valid_answers,
)
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.runner import Runner
from sadi_lens.engine.steering import applied
from sadi_lens.engine.text import EncodedItem


class ItemScores(NamedTuple):
    """Scores of a few items under every intervention."""

    indices: list[int]
    logprobs: Float[np.ndarray, "intervention item choice"]
    """Summed log-probability of each answer (nats); NaN where an item has fewer answers."""
    valid: Bool[np.ndarray, "intervention item"]
    """The most likely tokens begin one of the answers, up to the token that tells it from the others."""
    argmax: Int[np.ndarray, "intervention item choice token"]
    """The most likely token in place of each answer token, given the answer before it; -1 behind the answer."""


class _Row(NamedTuple):
    """A text that is run: a prompt and an answer without its last token, which predicts nothing."""

    place: int
    """Of the item among those of the pass."""
    tail: tuple[int, ...]


def score_texts(
    runner: Runner,
    items: Sequence[EncodedItem],
    interventions: Sequence[Intervention | None],
    position: str,
    *,
    is_shared: bool,
) -> Iterator[ItemScores]:
    """Whole texts, one intervention after the other; several texts a pass if ``is_shared``."""
    longest = max(item.length for item in items)
    bound = pass_tokens(runner.model, longest) if is_shared else 0
    sizes = [item.length * len(item.answers) for item in items]

    def run(indices: list[int], at_once: int) -> ItemScores:
        chosen = [items[index] for index in indices]
        rows = [_Row(at, one[:-1]) for at, item in enumerate(chosen) for one in item.answers]
        rows = list(dict.fromkeys(rows)) if is_shared else rows
        most = at_once * len(indices) if is_shared else 1
        groups = [rows[start : start + most] for start in range(0, len(rows), most)]
        scores = _empty(len(interventions), chosen)
        for number, one in enumerate(interventions):
            for group in groups:
                logits = _tail_logits(runner, chosen, group, one, position)
                _note_scores(scores, number, chosen, group, logits)
        logprobs, argmax = scores
        return ItemScores(indices, logprobs, valid_answers(chosen, argmax), argmax)

    at_once = max(len(item.answers) for item in items)
    for _, found in smaller_when_full(batches_by_tokens(sizes, bound), run, at_once):
        yield found


_Scores = tuple[
    Float[np.ndarray, "intervention item choice"],
    Int[np.ndarray, "intervention item choice token"],
]


def _empty(n: int, items: Sequence[EncodedItem]) -> _Scores:
    choices = max(len(item.answers) for item in items)
    tokens = max(len(answer) for item in items for answer in item.answers)
    shape = (n, len(items), choices)
    return (
        np.full(shape, np.nan, dtype=np.float32),
        np.full((*shape, tokens), -1, dtype=np.int64),
    )


@torch.inference_mode()
def _tail_logits(
    runner: Runner,
    items: Sequence[EncodedItem],
    rows: Sequence[_Row],
    intervention: Intervention | None,
    position: str,
) -> list[Tensor]:
    """Logits of each row from its last prompt token on, [token vocab]."""
    device = device_of(runner.model)
    texts = [items[row.place].prompt + row.tail for row in rows]
    ids, mask = pad_left(texts, pad_id(runner.model), device)
    lengths = [len(row.tail) for row in rows]
    ends = ids.shape[1] - 1 - torch.tensor(lengths, device=device)
    tracker = PositionTracker(position, prompt_end=ends)
    with applied(runner, [intervention], tracker):
        logits = runner.logits(ids, mask, max(lengths) + 1)
    return [one[-1 - n :].float() for one, n in zip(logits, lengths, strict=True)]


def _note_scores(
    scores: _Scores,
    number: int,
    items: Sequence[EncodedItem],
    rows: Sequence[_Row],
    logits: Sequence[Tensor],
) -> None:
    """Write the log-probabilities under one intervention for the answers in ``rows``."""
    logprobs, argmax = scores
    for row, own in zip(rows, logits, strict=True):
        item, best = items[row.place], own.argmax(dim=-1).cpu().numpy()
        found = own.log_softmax(dim=-1)
        for column, answer in enumerate(item.answers):
            if answer[:-1] == row.tail:
                own_scores = found[range(len(answer)), list(answer)]
                logprobs[number, row.place, column] = float(own_scores.sum())
                argmax[number, row.place, column, : len(answer)] = best
