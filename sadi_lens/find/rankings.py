"""Every ranking of units behind one call, ``unit_scores``, and what it reads of a model.

A ranking is a rule on numbers of each pair, so that a resampled set of pairs can be ranked without another run
(``sadi_lens.measure.stability``). D_i is the difference of pair i at the last token of the text, g_i a gradient of its
margin at the last prompt token, with d values a unit:

    signed        mean_i mean_d D_i                       magnitude    its absolute value
    l2            | mean_i D_i |                          standardised |t| of mean_d D_i
    consistency   max(share D_i > 0, share D_i < 0)       effect       mean_i g_i . A_i
    gradient      (mean_i g_i) . (mean_i D_i)             attribution  the same, g_i of the direct path only
    probe         cross-validated accuracy of telling A(x y+) from A(x y-)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from sadi_lens.find.direct import direct_gradients
from sadi_lens.find.gradients import margin_gradients
from sadi_lens.find.pair_activations import count_clusters, read_pairs, require_one_prompt
from sadi_lens.find.probes import probe_units
from sadi_lens.find.strength_effects import exact_effects, integrated_gradients
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, Sample, Task, pair_clusters
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.scores import RANKINGS, Scores, t_values

ALL_RANKINGS = {
    **RANKINGS,
    "reference": "what the reference code selects (gated MLPs: the non-linearity's output, else as signed)",
    "consistency": "share of pairs that agree on the sign of the difference (AUSteer)",
    "probe": "cross-validated accuracy of a logistic probe (ITI)",
    "attribution": "direct effect of adding the mean difference on right minus wrong logit",
    "gradient": "first-order effect of adding the mean difference on the margin",
    "effect": "first-order effect of scaling the unit on the margin",
    "integrated": "the same slope, averaged along a path on which all units are scaled (integrated gradients)",
    "exact": "gain of the margin from really scaling the unit alone, one run a unit",
}
"""Every ranking of ``unit_scores``; those of ``RANKINGS`` can also be had from ``activation_differences``."""

_BY_STRENGTH = {"integrated": integrated_gradients, "exact": exact_effects}
OF_MARGINS = ("effect", "gradient", "attribution", *_BY_STRENGTH)
"""Those that compare two answers to one prompt."""


@checked()
def unit_scores(
    model: HookedModel,
    task_or_pairs: Task | Sequence[ContrastivePair],
    component: str,
    ranking: str = "signed",
    *,
    n_folds: int = 5,
    seed: int = 0,
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> Scores:
    """Score of every unit of a component under any ranking of ``ALL_RANKINGS``.

    Which of them see the model and which only the coordinates it happens to be written in: a rotation of a head's
    value basis, absorbed by W_V and W_O, changes nothing the model computes. Under it ``"signed"``, ``"magnitude"``,
    ``"standardised"``, ``"consistency"`` and ``"reference"`` of heads change, because they read a mean over d_head;
    ``"l2"``, ``"probe"``, ``"attribution"``, ``"gradient"`` and ``"effect"`` do not. (``"l2"`` and ``"probe"`` do
    under a rescaling.) Neurons and residual dimensions have no such freedom within the model's own basis.

    * ``"reference"``: the selection of the reference code (Wang et al., 2025) without its tie and layer-index
      errors. For heads and the MLP output (what it calls hidden) it *is* ``"signed"``. For neurons of a gated MLP it
      reads the non-linearity's output, before the gate is multiplied with the other projection. (It also strips
      the prompt and puts one space before the answer; make the pairs so to have that.)
    * ``"consistency"``: AUSteer's count (2026), on the unit's scalar; they rank single values, not whole heads.
    * ``"probe"``: ITI (Li et al., 2023): scikit-learn's logistic regression on the unit's values as they are,
      accuracy out of fold, all texts of a prompt always in the same fold.
    * ``"attribution"``: direct logit attribution of the mean difference, added at the last prompt token. The final
      norm is differentiated, not held constant.
    * ``"gradient"``: the same over every path and for the whole answer (gradient x difference): the slope of the
      margin in the strength of a fixed addition to that unit alone.
    * ``"effect"``: gradient x activation: the slope of the margin in SADI's strength on that unit alone. Unlike all
      others it looks at the input that is steered, not at the answer that follows. (Attribution patching of this
      edit: one backward pass.)
    * ``"integrated"`` and ``"exact"``: see ``sadi_lens.find.strength_effects``; the last is what the others estimate,
      at the price of one run a unit.

    Args:
        model: A bridged model in eval mode.
        task_or_pairs: A task (its pairs are used) or contrastive pairs.
        component: Whose units.
        ranking: A name in ``ALL_RANKINGS``.
        n_folds: Folds of the probe.
        seed: Of the folds.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_tokens: Tokens (padding included) of one pass, forward or backward; default what memory allows.
        progress: Show bars.

    Returns:
        Scores [layer unit]; ``top_k_mask`` takes the units with the largest.

    Raises:
        ValueError: If there is no pair, a name is unknown, pairs are of fewer clusters than folds, or a score cannot be
            had (not finite, no direct path, the same for every unit).

    Example:
        >>> found = sl.unit_scores(model, task.pairs[:10], "head", "effect", progress=False)
        >>> found.values.shape == (model.cfg.n_layers, model.cfg.n_heads)
        True
    """
    pairs, task = pairs_of(task_or_pairs)
    options: dict[str, Any] = {
        "prepend_bos": prepend_bos,
        "max_tokens": max_tokens,
        "progress": progress,
    }
    if ranking == "probe":
        n = count_clusters(pairs)
        if n < n_folds:
            raise ValueError(
                f"a probe with {n_folds} folds needs pairs of at least {n_folds} clusters, got {len(pairs)} of "
                f"{n}; pass a smaller n_folds or more pairs"
            )
        texts = read_pairs(model, pairs, component, **options)
        options = {"n_folds": n_folds, "seed": seed, "progress": progress}
        values = probe_units(*texts, clusters=pair_clusters(pairs), **options)
    else:
        found = pair_arrays(model, pairs, component, ranking, **options)
        values = rank_pairs(ranking, found, np.ones((1, len(pairs))))[0]
    if np.ptp(values) == 0:
        raise ValueError(
            f"every {component} unit has the same score {float(values.flat[0]):g} under ranking {ranking!r}: these "
            "pairs rank nothing. (Effects of a fixed addition cancel where right and wrong answers are balanced; "
            "'effect' does not.)"
        )
    return Scores(component, ranking, values, ModelInfo.of(model), len(pairs), task)


def pairs_of(
    task_or_pairs: Task | Sequence[ContrastivePair],
) -> tuple[Sequence[ContrastivePair], str]:
    """The pairs, and the name of the task they came with."""
    if isinstance(task_or_pairs, Task):
        return task_or_pairs.pairs, task_or_pairs.name
    return task_or_pairs, ""


def pair_arrays(
    model: HookedModel,
    pairs: Sequence[ContrastivePair],
    component: str,
    ranking: str,
    *,
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> tuple[Float[np.ndarray, "pair layer unit d"], ...]:
    """What ``rank_pairs`` needs of every pair for a ranking: one array, or two (gradients and differences).

    Raises:
        ValueError: If the ranking is unknown, or is ``"probe"``, which no numbers of single pairs are enough for.
    """
    require_one_of("ranking", ranking, ALL_RANKINGS)
    if ranking == "probe":
        raise ValueError("ranking 'probe' is fitted on all pairs together; use another ranking")
    options: dict[str, Any] = {
        "prepend_bos": prepend_bos,
        "max_tokens": max_tokens,
        "progress": progress,
    }
    samples: list[Sample] = []
    if ranking in OF_MARGINS:
        require_one_prompt(pairs, f"ranking {ranking!r}")
        samples = [Sample(one.prompt, (one.positive, one.negative), 0) for one in pairs]
    if ranking == "effect":
        return (margin_gradients(model, samples, component, **options),)
    if ranking in _BY_STRENGTH:
        return (_BY_STRENGTH[ranking](model, samples, component, **options),)
    before_gate = ranking == "reference" and component == "neuron" and bool(model.cfg.gated_mlp)
    if ranking == "reference" and component == "hidden":
        raise ValueError(
            "the reference code calls the MLP output hidden; use component 'mlp_out' with ranking 'reference', "
            "or 'signed' for the residual stream"
        )
    right, wrong = read_pairs(model, pairs, component, before_gate=before_gate, **options)
    difference = right - wrong
    if ranking == "gradient":
        shifts = margin_gradients(model, samples, component, through="shift", **options)
        return shifts, difference
    if ranking == "attribution":
        return direct_gradients(model, pairs, component, **options), difference
    if ranking != "l2":
        difference = difference.mean(axis=3, keepdims=True)
    return (difference,)


def rank_pairs(
    ranking: str,
    arrays: tuple[Float[np.ndarray, "pair layer unit d"], ...],
    counts: Float[np.ndarray, "draw pair"],
    signs: Float[np.ndarray, "draw pair"] | None = None,
) -> Float[np.ndarray, "draw layer unit"]:
    """Scores of resampled sets of pairs: in draw r pair i stands ``counts[r, i]`` times.

    With ``signs`` right and wrong answer are exchanged in the pairs where it is -1: every number of a pair, difference
    or gradient, changes its sign.

    Raises:
        ValueError: If ``"standardised"`` is asked of fewer than 2 pairs.
    """
    n = counts.sum(axis=1)[:, None, None]
    share = counts / counts.sum(axis=1, keepdims=True)
    first = arrays[0]

    def mean(values: np.ndarray, weights: np.ndarray | None = signs) -> np.ndarray:
        """Weighted mean over pairs, [draw layer unit d]."""
        flat = values.reshape(len(values), -1).astype(np.float64)
        whole = share if weights is None else share * weights
        return (whole @ flat).reshape(len(share), *values.shape[1:])

    if ranking == "l2":
        return np.linalg.norm(mean(first), axis=3)
    if ranking in ("gradient", "attribution"):
        return (mean(first) * mean(arrays[1])).sum(axis=3)
    scalar = first[..., 0]
    if ranking == "consistency" and signs is None:
        return np.maximum(mean(scalar > 0), mean(scalar < 0))
    if ranking == "consistency":  # what is up is half of what differs and of the balance of signs
        return (mean(scalar != 0, None) + np.abs(mean(np.sign(scalar)))) / 2
    if ranking == "magnitude":
        return np.abs(mean(scalar))
    if ranking != "standardised":
        return mean(scalar)
    if n.min() < 2:
        raise ValueError(f"ranking='standardised' needs at least 2 pairs, got {int(n.min())}")
    # The difference of squares below must not cancel; exchanged at random, means are near 0 anyway.
    centre = scalar.mean(axis=0, dtype=np.float64) if signs is None else np.zeros(scalar.shape[1:])
    off = scalar - centre
    shift = mean(off)
    variance = np.maximum(mean(off**2, None) - shift**2, 0) * n / (n - 1)
    return t_values(centre + shift, np.sqrt(variance / n))
