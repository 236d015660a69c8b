"""Log-probabilities of answers, read off the logits of a tree (``sadi_lens.engine.prefix``)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sadi_lens.engine.prefix import Branches
from sadi_lens.engine.text import EncodedItem


def padded(items: Sequence[EncodedItem], device: torch.device) -> tuple[Tensor, Tensor]:
    """Answers as [item choice token] and which of these are real."""
    n_choices = max(len(item.answers) for item in items)
    width = max(len(answer) for item in items for answer in item.answers)
    answers = torch.zeros(len(items), n_choices, width, dtype=torch.long)
    real = torch.zeros(answers.shape, dtype=torch.bool)
    for row, item in enumerate(items):
        for column, answer in enumerate(item.answers):
            answers[row, column, : len(answer)] = torch.tensor(answer)
            real[row, column, : len(answer)] = True
    return answers.to(device), real.to(device)


def read_off(
    logits: Float[Tensor, "item copy node vocab"], tree: Branches, answers: Tensor, real: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What ``ItemScores`` holds: [copy item choice], [copy item] and [copy item choice token]."""
    n, copies = logits.shape[:2]
    answers, real = answers.to(logits.device), real.to(logits.device)
    found = logits.float().log_softmax(dim=-1)
    scores = found[:, :, 0].gather(-1, answers[:, None, :, 0].expand(n, copies, -1))
    if tree.width:
        later = found[:, :, 1:].unflatten(2, (-1, tree.width))
        index = answers[:, None, :, 1:, None].expand(n, copies, -1, -1, 1)
        scores = scores + (later.gather(-1, index)[..., 0] * real[:, None, :, 1:]).sum(dim=-1)
    best = logits.argmax(dim=-1)
    top = best[:, :, :1]
    valid = ((top == answers[:, None, :, 0]) & real[:, None, :, 0]).any(dim=-1)
    argmax = top[..., None].expand(n, copies, *answers.shape[1:]).clone()
    if tree.width:
        argmax[..., 1:] = best[:, :, 1:].unflatten(2, (-1, tree.width))
    argmax = argmax.masked_fill(~real[:, None], -1)
    return tuple(part.transpose(0, 1).cpu().numpy() for part in (scores, valid, argmax))  # type: ignore[return-value]
