"""Intervals, paired tests and null bands, all on SciPy."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A two-sided 95% interval."""

    low: float
    high: float


def proportion_interval(correct: Bool[np.ndarray, " item"]) -> Interval:
    """Wilson (1927) score interval of a proportion.

    Raises:
        ValueError: If there is no item.
    """
    if not correct.size:
        raise ValueError("an interval needs at least 1 item, got 0")
    return _wilson(int(correct.sum()), correct.size)


@lru_cache(maxsize=4096)  # a sweep asks for the same few counts in every cell
def _wilson(n_correct: int, n: int) -> Interval:
    from scipy import stats

    found = stats.binomtest(n_correct, n).proportion_ci(CONFIDENCE, method="wilson")
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


def empirical_p(value: float, null: Float[np.ndarray, " draw"]) -> float:
    """One-sided p-value of ``value`` among null draws, with the +1 correction.

    (1 + number of draws >= value) / (1 + number of draws); Phipson and Smyth (2010). Never 0.
    """
    return float((1 + np.sum(null >= value)) / (1 + null.size))
