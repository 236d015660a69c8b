"""What a method's gain costs as its strength grows: one point a strength for ``plots.side_effect_curve``."""

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from sadi_lens.engine.intervention import Intervention
from sadi_lens.measure.calls import Settings, made
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.measure.neutral import divergence, halves_of
from sadi_lens.types.base import DEFAULT_POSITION, NotFiniteError, require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.contradictions import KINDS
from sadi_lens.types.data import Sample
from sadi_lens.types.model import HookedModel
from sadi_lens.types.paired import direction, mcnemar_p, paired_interval
from sadi_lens.types.results import SideEffectCurve
from sadi_lens.types.stats import holm


@checked()
def side_effect_curve(
    model: HookedModel,
    samples: Sequence[Sample],
    texts: Sequence[str],
    make: Callable[[float], Intervention],
    strengths: Sequence[float],
    *,
    label: str,
    kind: str = "adaptive",
    position: str = DEFAULT_POSITION,
    text_position: str = "every_step",
    scoring: str = "sum",
    task: str = "",
    prepend_bos: bool | None = None,
    progress: bool = True,
) -> SideEffectCurve:
    """Accuracy on samples and KL(unsteered || steered) on neutral texts, for every strength of one method.

    Args:
        model: A bridged model in eval mode.
        samples: What the method is for; at least one.
        texts: What it should leave alone, each of two words or more; the second half of each is read.
        make: Builds the intervention from a strength, as ``lambda s: MaskedScaling(mask, s)``.
        strengths: At least one.
        label: Name of the method in the figure.
        kind: ``"adaptive"``, ``"fixed"``, ``"random"`` or ``"other"``: colours follow it.
        position: Which tokens of the samples are edited.
        text_position: Which tokens of the texts are edited; the default leaves steering on to the end.
        scoring: See ``evaluate``.
        task: Name for the result.
        prepend_bos: For the samples, see ``evaluate``; texts begin as the tokenizer begins them.
        progress: Show a bar.

    Raises:
        ValueError: If strengths or texts are empty, a text cannot be cut or does not fit, or as ``evaluate``.
    """
    _require_some(strengths, texts)
    require_one_of("kind", kind, KINDS[1:])
    all_made = [made(make, float(strength)) for strength in strengths]
    halves = [halves_of(text) for text in texts]
    settings, cells = Settings(task, position, scoring, prepend_bos), [None, *all_made]
    base, *found = evaluate_all(
        model, samples, cells, settings, progress=progress, description="side effects"
    )
    p = holm([mcnemar_p(one.correct, base.correct, base.clusters) for one in found])
    gains = [paired_interval(one.correct, base.correct, base.clusters) for one in found]
    kl = [_kl(model, halves, one, text_position) for one in all_made]
    rows = np.array([(one.accuracy, *one.interval) for one in found], dtype=np.float32)
    accuracy, low, high = rows.T.copy()
    return SideEffectCurve(
        label=label,
        kind=kind,
        model=base.model,
        task=task,
        split=base.split,
        n=base.n,
        strengths=tuple(map(float, strengths)),
        accuracy=accuracy,
        low=low,
        high=high,
        kl=np.array(kl, dtype=np.float32),
        unsteered_accuracy=base.accuracy,
        component=all_made[0].component,
        position=position,
        moved=np.array([direction(*one) for one in zip(p, gains, strict=True)]),
    )


def _require_some(strengths: Sequence[float], texts: Sequence[str]) -> None:
    if not len(strengths) or not len(texts):
        raise ValueError(
            f"strengths and texts must hold at least 1 each, got {len(strengths)} and {len(texts)}"
        )


def _kl(
    model: HookedModel,
    halves: Sequence[tuple[str, str]],
    intervention: Intervention,
    position: str,
) -> float:
    try:
        return divergence(model, halves, intervention, position=position).kl
    except NotFiniteError as error:  # the other strengths stand
        warnings.warn(str(error), stacklevel=3)
        return math.nan
