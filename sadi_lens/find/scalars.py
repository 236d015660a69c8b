"""Trained multipliers, one a unit: how far scaling can go when every strength is learned.

    A' = A * (1 + s)        s [layer unit] minimises mean softplus(-margin) + penalty * sum |s|

margin = log-probability (nats) of a pair's right answer minus that of its wrong one. Absolute values are minimised by
soft thresholding after each step of Adam, so that s is exactly 0 where scaling a unit does not pay.

This is ActivScalar (Stoehr et al., 2024, arXiv 2410.04962), who learn a scalar for each vector, with a penalty
on |s|; with a logistic loss on pairs in the place of their flip of one answer into another, and Adam with soft
thresholding in the place of plain gradient descent.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from sadi_lens.engine.scoring import score_answers
from sadi_lens.engine.text import encode_pairs
from sadi_lens.find.gradients import margin_gradients
from sadi_lens.find.pair_activations import require_one_prompt
from sadi_lens.interventions.unit_scaling import UnitScaling
from sadi_lens.types.base import DEFAULT_POSITION, LARGEST
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, Sample
from sadi_lens.types.model import HookedModel, ModelInfo, n_units

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's own (Kingma and Ba, 2015)."""


@checked()
def learn_scalars(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    component: str,
    *,
    penalty: float = 0.01,
    steps: int = 40,
    learning_rate: float = 0.3,
    batch: int = 48,
    position: str = DEFAULT_POSITION,
    seed: int = 0,
    progress: bool = True,
) -> UnitScaling:
    """Learn a strength for every unit of a component from pairs; the units that are left at 0 are not steered.

    Args:
        model: A bridged model in eval mode; left as it is.
        pairs: At least one.
        component: Whose units.
        penalty: Nats per unit of absolute strength; 0 lets every unit have a strength.
        steps: Of Adam, each on ``batch`` pairs drawn without repetition.
        learning_rate: Of Adam: about how far a strength moves in one step.
        batch: Pairs of one step.
        position: Which tokens are scaled.
        seed: Of the draws.
        progress: Show a bar.

    Raises:
        ValueError: If there is no pair, pairs have two prompts, or a number is out of range.

    Example:
        >>> learned = sl.find.learn_scalars(
        ...     model, task.pairs[:24], "head", penalty=0.02, steps=10, batch=12, progress=False
        ... )
        >>> plain, steered = sl.evaluate(model, task.dev[:40], [None, learned], progress=False)
        >>> bool(steered.accuracy > plain.accuracy)
        True
    """
    _require_usable(pairs, penalty, learning_rate)
    info = ModelInfo.of(model)
    scales = np.zeros((info.n_layers, n_units(info, component)))
    first, second = np.zeros_like(scales), np.zeros_like(scales)
    rng = np.random.default_rng(seed)
    for step in tqdm(range(1, steps + 1), desc="learn scalars", disable=not progress):
        drawn = rng.permutation(len(pairs))[:batch]
        gradient = _slope(model, [pairs[row] for row in drawn], component, scales, position)
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        size = np.sqrt(second / (1 - BETAS[1] ** step)) + EPSILON
        scales = scales - learning_rate * (first / (1 - BETAS[0] ** step)) / size
        # The proximal step of the penalty, in the metric of this step of Adam.
        scales = np.sign(scales) * np.maximum(np.abs(scales) - learning_rate * penalty / size, 0)
        if np.abs(scales).max() > LARGEST:
            raise ValueError(
                f"learning_rate {learning_rate:g} takes strengths beyond {LARGEST:g}; use a smaller one"
            )
    return UnitScaling(component, scales)


def _require_usable(pairs: Sequence[ContrastivePair], penalty: float, learning_rate: float) -> None:
    if penalty < 0:
        raise ValueError(f"penalty must be at least 0, got {penalty}")
    if learning_rate <= 0:
        raise ValueError(f"learning_rate must be above 0, got {learning_rate}")
    if not len(pairs):
        raise ValueError("pairs must hold at least 1, got 0")
    require_one_prompt(pairs, "learn_scalars")


def _slope(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    component: str,
    scales: np.ndarray,
    position: str,
) -> Float[np.ndarray, "layer unit"]:
    """Gradient of the mean logistic loss of the margins: -sigmoid(-margin) * d margin / d s."""
    samples = [Sample(one.prompt, (one.positive, one.negative), 0) for one in pairs]
    margins = np.empty(len(pairs))
    items = encode_pairs(model, pairs)
    for found in score_answers(model, items, [UnitScaling(component, scales)], position):
        margins[found.indices] = found.logprobs[0, :, 0] - found.logprobs[0, :, 1]
    gradients = margin_gradients(
        model, samples, component, start=scales, position=position, progress=False
    )[..., 0]
    weights = 1 / (1 + np.exp(margins))
    return -(weights[:, None, None] * gradients).mean(axis=0)
