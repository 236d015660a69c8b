"""Intervals, paired tests and null bands, all on SciPy."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sadi_lens.types import require_one_of

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A two-sided 95% interval."""

    low: float
    high: float


METHODS = {"wilson": "wilson", "clopper_pearson": "exact"}
"""Our name of an interval -> SciPy's."""


def proportion_interval(correct: Bool[np.ndarray, " item"], method: str = "wilson") -> Interval:
    """Interval of a proportion: Wilson (1927) score, or Clopper and Pearson (1934), which never covers too little.

    Raises:
        ValueError: If there is no item or the method is unknown.
    """
    if not correct.size:
        raise ValueError("an interval needs at least 1 item, got 0")
    return count_interval(int(correct.sum()), correct.size, method)


def count_interval(n_correct: int, n: int, method: str = "wilson") -> Interval:
    """``proportion_interval`` from counts alone, as a published number gives them.

    Raises:
        ValueError: If the counts are impossible or the method unknown.
    """
    from scipy import stats

    require_one_of("method", method, METHODS)
    if n < 1 or not 0 <= n_correct <= n:
        raise ValueError(f"n_correct must be in [0, n] and n at least 1, got {n_correct} of {n}")
    found: Any = stats.binomtest(n_correct, n).proportion_ci(CONFIDENCE, method=METHODS[method])
    return Interval(float(found.low), float(found.high))


def standard_error(accuracy: float, n: int) -> float:
    """Standard error of a proportion, sqrt(p (1 - p) / n); 0 at 0% and 100%, where only an interval helps."""
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return math.sqrt(accuracy * (1 - accuracy) / n)


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


def empirical_p(value: float, null: Float[np.ndarray, " draw"]) -> float:
    """One-sided p-value of ``value`` among null draws, with the +1 correction.

    (1 + number of draws >= value) / (1 + number of draws); Phipson and Smyth (2010). Never 0.
    """
    return float((1 + np.sum(null >= value)) / (1 + null.size))
