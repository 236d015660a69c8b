"""Exercises of lesson 1: D, the mask, the steering step and the hook that applies it."""

from typing import Any

import numpy as np
import torch

from sadi_lens.apps.lessons.exercise import Exercise, Mistake


def _difference(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    return (right - wrong).mean(axis=0)


def _top_k(mean: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(-mean, axis=None, kind="stable")
    mask = np.zeros(mean.size, dtype=bool)
    mask[order[:k]] = True
    return mask.reshape(mean.shape)


def _steer(activation: np.ndarray, mask: np.ndarray, strength: float) -> np.ndarray:
    return activation + strength * (activation * mask)


def _hook_fn(z: torch.Tensor, hook: Any, mask: torch.Tensor, strength: float) -> torch.Tensor:
    last = z[:, -1:] * (1 + strength * mask)[:, None]
    return torch.cat([z[:, :-1], last], dim=1)


# 1 prompt, 2 tokens, 2 heads of 2 values: head 0 of the last token is multiplied by 1 + 2 = 3.
_Z = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, -1.0], [7.0, 8.0]]]])
_STEERED = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[15.0, -3.0], [7.0, 8.0]]]])
_HEAD_0 = torch.tensor([1.0, 0.0])
# Two prompts of one token: head 1 is multiplied by 1 - 1 = 0.
_TWO = torch.tensor([[[[2.0, 1.0], [3.0, 6.0]]], [[[-4.0, 0.0], [5.0, 7.0]]]])
_TWO_STEERED = torch.tensor([[[[2.0, 1.0], [0.0, 0.0]]], [[[-4.0, 0.0], [0.0, 0.0]]]])

_LAYERS = np.array([[0.5, -3.0], [2.0, 0.5]])

EXERCISES = {
    # Pairs differ by (1, 0) and (3, -2); their mean is (2, -1). One pair is its own mean. Of 1, 2 and 7.5 it is 3.5.
    "difference": Exercise(
        "difference(right, wrong)",
        (
            (
                (np.array([[[2.0, 1.0]], [[3.0, 0.0]]]), np.array([[[1.0, 1.0]], [[0.0, 2.0]]])),
                np.array([[2.0, -1.0]]),
            ),
            ((np.array([[[1.0], [2.0]]]), np.array([[[4.0], [0.0]]])), np.array([[-3.0], [2.0]])),
            ((np.array([[[1.0]], [[2.0]], [[7.5]]]), np.zeros((3, 1, 1))), np.array([[3.5]])),
        ),
        _difference,
        (
            Mistake(lambda r, w: (w - r).mean(axis=0), "That is wrong minus right."),
            Mistake(lambda r, w: r - w, "Now average over the pairs, the first axis."),
            Mistake(
                lambda r, w: np.abs(r - w).mean(axis=0),
                "The sign counts: a unit that is smaller on the right answer has a negative D.",
            ),
            Mistake(lambda r, w: float((r - w).mean()), "You averaged over the units as well."),
            Mistake(lambda r, w: np.median(r - w, axis=0), "That is the median; D is a mean."),
        ),
    ),
    # 2 is the largest; the two 0.5 tie, and the one in the lower layer comes first; -3 comes last. Below: 5, 4, and of
    # the two 1 the one in the lower layer.
    "top_k": Exercise(
        "top_k(mean, k)",
        (
            ((_LAYERS, 2), np.array([[True, False], [True, False]])),
            ((_LAYERS, 1), np.array([[False, False], [True, False]])),
            ((_LAYERS, 3), np.array([[True, False], [True, True]])),
            (
                (np.array([[1.0, 5.0, 0.0], [0.0, 1.0, 4.0]]), 3),
                np.array([[True, True, False], [False, False, True]]),
            ),
        ),
        _top_k,
        (
            Mistake(
                lambda mean, k: _top_k(np.abs(mean), k),
                "You ranked by magnitude. The paper ranks by signed value, so the -3 comes last.",
            ),
            Mistake(
                lambda mean, k: mean >= np.sort(mean, axis=None)[-k],
                "A tie at the last place gives you more than k units; take the one in the lower layer.",
            ),
            Mistake(
                lambda mean, k: np.abs(mean) >= np.sort(np.abs(mean), axis=None)[-k],
                "You ranked by magnitude; the paper ranks by signed value, so the -3 comes last. And a tie at the last "
                "place gives you more than k units.",
            ),
            Mistake(lambda mean, k: _top_k(-mean, k), "Those are the k smallest."),
            Mistake(
                lambda mean, k: _top_k(mean.ravel()[::-1], k)[::-1].reshape(mean.shape),
                "Of equal values you took the one in the higher layer: reversing a sorted array reverses ties, too.",
            ),
            Mistake(
                lambda mean, k: np.stack([_top_k(row, min(k, row.size)) for row in mean]),
                "You took k units in each layer; the mask has k units over all layers together.",
            ),
        ),
    ),
    # 2 + 3 * 2 = 8; -1 + 3 * -1 = -4; where the mask is 0 nothing moves.
    "steer": Exercise(
        "steer(activation, mask, strength)",
        (
            (
                (np.array([2.0, -1.0, 0.5]), np.array([True, True, False]), 3.0),
                np.array([8.0, -4.0, 0.5]),
            ),
            (
                (np.array([2.0, -1.0, 0.5]), np.array([True, True, False]), 0.0),
                np.array([2.0, -1.0, 0.5]),
            ),
            (
                (
                    np.array([[1.0, 4.0], [-2.0, 0.0]]),
                    np.array([[False, True], [True, False]]),
                    -1.0,
                ),
                np.array([[1.0, 0.0], [0.0, 0.0]]),
            ),
        ),
        _steer,
        (
            Mistake(
                lambda a, m, d: np.where(m, d * a, a),
                "You multiplied by the strength. The paper's strength is what is added: A + strength * A, so that "
                "0 changes nothing. (Its released code multiplies: multiplier = 1 + strength.)",
            ),
            Mistake(
                lambda a, m, d: a + d * m,
                "You added the strength itself: that is a fixed push, the same for every input.",
            ),
            Mistake(
                lambda a, m, d: d * (a * m), "That is the push alone; add it to the activation."
            ),
            Mistake(
                lambda a, _m, d: a + d * a, "You scaled every unit; only the mask's should move."
            ),
        ),
    ),
    "hook_fn": Exercise(
        "hook_fn(z, hook, mask, strength)",
        (
            ((_Z, None, _HEAD_0, 2.0), _STEERED),
            ((_TWO, None, 1 - _HEAD_0, -1.0), _TWO_STEERED),
        ),
        _hook_fn,
        (
            Mistake(
                lambda z, hook, mask, strength: z * (1 + strength * mask)[:, None],
                "You scaled every token; only the last one is steered.",
            ),
            Mistake(
                lambda z, hook, mask, strength: z[:, -1:] * (1 + strength * mask)[:, None],
                "Return all tokens, the earlier ones unchanged: what a hook returns replaces the activation.",
            ),
            Mistake(
                lambda z, hook, mask, strength: torch.cat(
                    [z[:, :-1], z[:, -1:] * (1 + strength * mask)], dim=1
                ),
                "The mask is over heads, the last axis over the values of a head: index it with [:, None].",
            ),
        ),
        by_name=("hook", "mask", "strength"),
    ),
}
"""By name."""
