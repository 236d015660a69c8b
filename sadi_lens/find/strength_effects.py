"""Effects of SADI's strength beyond the first order: along a path of strengths, and exactly, unit by unit.

    integrated   (1/m) sum_k  d margin / d s_u   at  s = S (k - 1/2) / m on every unit      m backward passes
    exact        margin(strength S on u alone) - margin                                     one run a unit

Integrated gradients (Sundararajan et al., 2017; for circuits EAP-IG, Hanna et al., 2024) with the strength in the
place of the input: S times the sum over units is margin(S everywhere) - margin, up to the error of the midpoint rule.
The slope at strength 0 alone, one backward pass, is attribution patching (Nanda, 2023) of this edit; it is the ranking
``"effect"``.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sadi_lens.engine.scoring import score_answers
from sadi_lens.engine.text import encode_item
from sadi_lens.find.gradients import margin_gradients
from sadi_lens.interventions import MaskedScaling
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.data import Sample, wrong_choices
from sadi_lens.types.masks import Mask
from sadi_lens.types.model import HookedModel, ModelInfo, n_units

PATH_STRENGTH, PATH_STEPS = 1.0, 8
"""End of the path and points on it. All units move together, so a far end leaves what the model knows."""
EXACT_STRENGTH = 3.0
"""In the middle of the default grid."""
AT_ONCE = 96
"""Units run in one pass over the items."""


def integrated_gradients(
    model: HookedModel,
    samples: Sequence[Sample],
    component: str,
    *,
    strength: float = PATH_STRENGTH,
    steps: int = PATH_STEPS,
    position: str = DEFAULT_POSITION,
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> Float[np.ndarray, "sample layer unit 1"]:
    """Mean slope of every sample's margin in each unit's strength along the path from 0 to ``strength``.

    Raises:
        ValueError: As ``margin_gradients``.
    """
    info = ModelInfo.of(model)
    whole = np.full((info.n_layers, n_units(info, component)), float(strength))
    slopes = [
        margin_gradients(
            model,
            samples,
            component,
            start=whole * (step + 0.5) / steps,
            position=position,
            prepend_bos=prepend_bos,
            max_tokens=max_tokens,
            progress=progress,
        )
        for step in range(steps)
    ]
    return np.mean(slopes, axis=0)


def exact_effects(
    model: HookedModel,
    samples: Sequence[Sample],
    component: str,
    *,
    strength: float = EXACT_STRENGTH,
    position: str = DEFAULT_POSITION,
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,  # noqa: ARG001  # the engine sizes its passes
    progress: bool = True,  # noqa: ARG001  # one signature
) -> Float[np.ndarray, "sample layer unit 1"]:
    """What scaling each unit alone adds to every sample's margin (nats): the yardstick of all rankings of SADI.

    Raises:
        ValueError: If a sample does not tokenise or fit.
    """
    info = ModelInfo.of(model)
    shape = (info.n_layers, n_units(info, component))
    units = [(layer, unit) for layer in range(shape[0]) for unit in range(shape[1])]
    items = [encode_item(model, s.prompt, s.choices, prepend_bos=prepend_bos) for s in samples]
    found = np.empty((len(samples), len(units)), dtype=np.float32)
    for first in range(0, len(units), AT_ONCE):
        some = units[first : first + AT_ONCE]
        scaled = [MaskedScaling(_mask(component, shape, unit), strength) for unit in some]
        for batch in score_answers(model, items, [None, *scaled], position):
            margins = _margins(batch.logprobs, [samples[index] for index in batch.indices])
            found[batch.indices, first : first + len(some)] = (margins[1:] - margins[0]).T
    return found.reshape(len(samples), *shape, 1)


def _mask(component: str, shape: tuple[int, int], unit: tuple[int, int]) -> Mask:
    selected = np.zeros(shape, dtype=bool)
    selected[unit] = True
    return Mask(component, selected)


def _margins(
    scores: Float[np.ndarray, "intervention item choice"], samples: Sequence[Sample]
) -> Float[np.ndarray, "intervention item"]:
    """Right choice minus the best wrong one (nats)."""
    right = scores[:, np.arange(len(samples)), [one.answer or 0 for one in samples]]
    is_wrong = wrong_choices(samples, scores.shape[2])
    return right - np.where(is_wrong, scores, -np.inf).max(axis=2)
