"""Intervals, paired tests and null bands, all on SciPy and statsmodels."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sadi_lens.types.base import require_one_of

CONFIDENCE = 0.95
ALPHA = 0.05
"""A method is called outside the null, or different from another, when its p-value is below this."""
MIN_NULL = 20
"""Draws of a null that can give a p-value below ``ALPHA``."""


class Interval(NamedTuple):
    """A two-sided 95% interval."""

    low: float
    high: float


INTERVALS = {"wilson": "wilson", "clopper_pearson": "exact"}
"""Our name of an interval -> SciPy's."""


def proportion_interval(correct: Bool[np.ndarray, " item"], method: str = "wilson") -> Interval:
    """Interval of a proportion: Wilson (1927) score, or Clopper and Pearson (1934), which never covers too little.

    Returns:
        Lower and upper end of the two-sided 95% interval, in [0, 1].

    Raises:
        ValueError: If there is no item or the method is unknown.

    Example:
        >>> import numpy as np
        >>> from sadi_lens.types.stats import proportion_interval
        >>> low, high = proportion_interval(np.array([True] * 8 + [False] * 2))
        >>> round(low, 3), round(high, 3)
        (0.49, 0.943)
    """
    if not correct.size:
        raise ValueError("an interval needs at least 1 item, got 0")
    return count_interval(int(correct.sum()), correct.size, method)


def count_interval(n_correct: int, n: int, method: str = "wilson") -> Interval:
    """``proportion_interval`` from counts alone, as a published number gives them.

    Raises:
        ValueError: If the counts are impossible or the method unknown.
    """
    require_one_of("method", method, INTERVALS)
    if n < 1 or not 0 <= n_correct <= n:
        raise ValueError(f"n_correct must be in [0, n] and n at least 1, got {n_correct} of {n}")
    return _interval(n_correct, n, INTERVALS[method])


@lru_cache(maxsize=4096)  # a sweep asks for the same few counts in every cell
def _interval(n_correct: int, n: int, method: str) -> Interval:
    from scipy import stats

    found: Any = stats.binomtest(n_correct, n).proportion_ci(CONFIDENCE, method=method)
    return Interval(float(found.low), float(found.high))


def standard_error(accuracy: float, n: int) -> float:
    """Standard error of a proportion, sqrt(p (1 - p) / n); 0 at 0% and 100%, where only an interval helps."""
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return math.sqrt(accuracy * (1 - accuracy) / n)


def jaccard_chance(n: int, k: int, other: int | None = None) -> float:
    """Mean Jaccard index of two random sets of ``k`` and ``other`` (default ``k``) among ``n``.

    E[i / (k + other - i)], the overlap i hypergeometric.

    Returns:
        Expected size of the intersection over the union, in [0, 1].

    Raises:
        ValueError: If a size is not in [0, n], or both are 0: two empty sets have no index.

    Example:
        >>> from sadi_lens.types.stats import jaccard_chance
        >>> round(jaccard_chance(80, 10), 3)
        0.07
    """
    from scipy import stats

    other = k if other is None else other
    if not (0 <= k <= n and 0 <= other <= n) or not k + other:
        raise ValueError(f"sizes must be in [0, {n}] and not both 0, got {k} and {other}")
    both = np.arange(max(0, k + other - n), min(k, other) + 1)
    weight = stats.hypergeom.pmf(both, n, k, other)
    return float(np.sum(weight * both / (k + other - both)))


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
    """McNemar's exact two-sided test of paired accuracies (binomial test on the items that changed).

    Returns:
        The p-value; 1 where no item changed.

    Example:
        >>> import numpy as np
        >>> from sadi_lens.types.stats import mcnemar_p
        >>> mcnemar_p(np.array([True] * 6), np.array([False] * 6))  # 2 / 2**6
        0.03125
    """
    from scipy import stats

    gained, lost = int((steered & ~base).sum()), int((base & ~steered).sum())
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjustment: each p-value corrected for the number of tests made together.

    Returns:
        The adjusted p-values, in the order given.

    Raises:
        ValueError: If a value is not a probability.

    Example:
        >>> from sadi_lens.types.stats import holm
        >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
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

    (1 + number of draws >= value) / (1 + number of draws); Phipson and Smyth (2010). Never 0. NaN where the value is
    NaN; a draw that is NaN is unknown and counts as one that is at least as large, against the value.

    Example:
        >>> import numpy as np
        >>> from sadi_lens.types.stats import empirical_p
        >>> empirical_p(0.9, np.array([0.5, 0.7, 0.9]))  # (1 + 1) / (1 + 3)
        0.5
    """
    if math.isnan(value):
        return float("nan")
    return float((1 + np.sum(~(null < value))) / (1 + null.size))
