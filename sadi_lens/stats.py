"""Intervals, paired tests and null bands, all on SciPy and statsmodels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

CONFIDENCE = 0.95
ALPHA = 0.05
"""A method is called outside the null, or different from another, when its p-value is below this."""
MIN_NULL = 20
"""Draws of a null that can give a p-value below ``ALPHA``."""


class Interval(NamedTuple):
    """A two-sided 95% interval."""

    low: float
    high: float


def proportion_interval(correct: Bool[np.ndarray, " item"]) -> Interval:
    """Wilson (1927) score interval of a proportion.

    Raises:
        ValueError: If there is no item.
    """
    from scipy import stats

    if not correct.size:
        raise ValueError("an interval needs at least 1 item, got 0")
    found = stats.binomtest(int(correct.sum()), correct.size).proportion_ci(
        CONFIDENCE, method="wilson"
    )
    return Interval(float(found.low), float(found.high))


def paired_interval(
    steered: Bool[np.ndarray, " item"],
    base: Bool[np.ndarray, " item"],
    *,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> Interval:
    """Bootstrap percentile interval (Efron, 1979) of the accuracy difference on the same items.

    Resamples items, so that the pairing of the two conditions is kept.

    Raises:
        ValueError: If the two do not hold the same number of items.
    """
    from scipy import stats

    if steered.shape != base.shape or not steered.size:
        raise ValueError(
            f"paired results need the same items, at least 1; got {steered.size} and {base.size}"
        )
    difference = steered.astype(float) - base.astype(float)
    if np.ptp(difference) == 0:  # every resample gives the same mean
        return Interval(float(difference[0]), float(difference[0]))
    found = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=n_resamples,
        batch=1000,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def mcnemar_p(steered: Bool[np.ndarray, " item"], base: Bool[np.ndarray, " item"]) -> float:
    """McNemar's exact two-sided test of paired accuracies (binomial test on the items that changed)."""
    from scipy import stats

    gained, lost = int((steered & ~base).sum()), int((base & ~steered).sum())
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjustment: each p-value corrected for the number of tests made together.

    Raises:
        ValueError: If a value is not a probability.
    """
    from statsmodels.stats.multitest import multipletests

    wrong = [p for p in p_values if not 0 <= p <= 1]
    if wrong:
        raise ValueError(f"p-values must be in [0, 1], got {wrong[0]}")
    if not p_values:
        return []
    adjusted = np.asarray(multipletests(list(p_values), method="holm")[1])
    return [float(p) for p in adjusted]


def empirical_p(value: float, null: Float[np.ndarray, " draw"]) -> float:
    """One-sided p-value of ``value`` among null draws, with the +1 correction.

    (1 + number of draws >= value) / (1 + number of draws); Phipson and Smyth (2010). Never 0.
    """
    return float((1 + np.sum(null >= value)) / (1 + null.size))


def jaccard_chance(n: int, k: int) -> float:
    """Mean Jaccard index of two random sets of ``k`` among ``n``: E[i / (2 k - i)], i hypergeometric.

    Raises:
        ValueError: If ``k`` is not in [1, n].
    """
    from scipy import stats

    if not 1 <= k <= n:
        raise ValueError(f"k must be in [1, {n}], got {k}")
    both = np.arange(max(0, 2 * k - n), k + 1)
    return float(np.sum(stats.hypergeom.pmf(both, n, k, k) * both / (2 * k - both)))
