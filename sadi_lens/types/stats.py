"""Intervals of proportions, Holm's correction and empirical p-values, all on SciPy and statsmodels."""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sadi_lens.types.base import require_one_of

CONFIDENCE = 0.95
ALPHA = 0.05
"""A method is called outside the null, or different from another, when its p-value is below this."""
FEW_CLUSTERS, ENOUGH_CLUSTERS = 8, 16
"""Clusters that must differ from the others before the correlation of their items is looked at, and fully believed."""
MIN_NULL = 20
"""Draws of a null that can give a p-value below ``ALPHA``."""
N_NULL = 60
"""Draws by default: as many for each of three places, which Holm's correction is for."""


class Interval(NamedTuple):
    """A two-sided 95% interval."""

    low: float
    high: float


INTERVALS = {"wilson": "wilson", "clopper_pearson": "beta"}
"""Our name of an interval -> that of statsmodels."""


def proportion_interval(
    correct: Bool[np.ndarray, " item"],
    method: str = "wilson",
    clusters: Int[np.ndarray, " item"] | None = None,
) -> Interval:
    """Interval of a proportion: Wilson (1927) score, or Clopper and Pearson (1934), which never covers too little.

    With clusters both use the effective number of items and Student's quantile (Korn and Graubard, 1998), see
    ``effective_size``.

    Args:
        correct: Right or wrong.
        method: One of ``INTERVALS``.
        clusters: Number of each item's cluster; None: items are independent.

    Returns:
        Lower and upper end of the two-sided 95% interval, in [0, 1].

    Raises:
        ValueError: If there is no item or the method is unknown.

    Example:
        >>> import numpy as np
        >>> from sadi_lens.types.stats import proportion_interval
        >>> right = np.array([True] * 8 + [False] * 2)
        >>> [round(end, 3) for end in proportion_interval(right)]
        [0.49, 0.943]
        >>> [round(end, 3) for end in proportion_interval(right, clusters=np.arange(10) // 2)]
        [0.257, 0.979]
    """
    if not correct.size:
        raise ValueError("an interval needs at least 1 item, got 0")
    if clusters is None:
        return count_interval(int(correct.sum()), correct.size, method)
    require_one_of("method", method, INTERVALS)
    n, quantile = effective_size(correct.astype(float), clusters)
    if not math.isfinite(quantile):
        return Interval(0.0, 1.0)
    return _interval(n * float(correct.mean()), n, INTERVALS[method], quantile)


def count_interval(n_correct: int, n: int, method: str = "wilson") -> Interval:
    """``proportion_interval`` from counts alone, as a published number gives them.

    Raises:
        ValueError: If the counts are impossible or the method unknown.
    """
    require_one_of("method", method, INTERVALS)
    if n < 1 or not 0 <= n_correct <= n:
        raise ValueError(f"n_correct must be in [0, n] and n at least 1, got {n_correct} of {n}")
    return _interval(n_correct, n, INTERVALS[method], _NORMAL)


_NORMAL = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@lru_cache(maxsize=4096)  # a sweep asks for the same few counts in every cell
def _interval(n_correct: float | int, n: float | int, method: str, quantile: float) -> Interval:
    from statsmodels.stats.proportion import proportion_confint

    alpha = math.erfc(quantile / math.sqrt(2))
    ends: Any = proportion_confint(n_correct, n, alpha=alpha, method=method)
    return Interval(float(ends[0]), float(ends[1]))


def effective_size(
    values: Float[np.ndarray, " item"], clusters: Int[np.ndarray, " item"] | None
) -> tuple[float, float]:
    """How many independent items would give as precise a mean, and the quantile of its 95% interval.

    n over the design effect: the variance of the mean by cluster over that of independent items. By cluster is the
    larger of two, which are the same where clusters are of one size: the cluster-robust one (CR1: Liang and Zeger,
    1986, times G / (G - 1)), and that of a one-way random-effects model, moments from the analysis of variance (Searle,
    1971). The first does not see how alike the items of one large cluster are, the second takes all clusters to be
    equally alike. The quantile is Student's with Satterthwaite's (1946) degrees of freedom of the first, 2 V^2 / Var(V)
    with V the sum of the clusters' squared sums, at most G - 1: one large cluster among small ones tells as little as
    a few. Where fewer than ``FEW_CLUSTERS`` hold another value than the most frequent one, the correlation of items
    cannot be seen: then each cluster counts once, n^2 / (sum of squared cluster sizes), with G - 1 degrees of freedom.
    Up to ``ENOUGH_CLUSTERS``, or half of all, the variance is at least a share of that one, which falls to 0.

    Args:
        values: One number an item.
        clusters: Number of each item's cluster; None: n itself and the normal quantile.

    Returns:
        Effective size, at most 2 n; and the quantile, infinite where there is one cluster only.
    """
    if clusters is None:
        return float(values.size), _NORMAL
    sizes = np.bincount(clusters)
    sizes, names = sizes[sizes > 0], np.unique(clusters, return_inverse=True)[1]
    n, n_clusters = values.size, sizes.size
    if n_clusters < 2:
        return 1.0, math.inf
    found, counts = np.unique(values, return_counts=True)
    n_others = np.unique(names[values != found[counts.argmax()]]).size
    if n_others < FEW_CLUSTERS:
        return n * n / float(sizes @ sizes), _student(n_clusters - 1.0)
    rest = values - values.mean()
    squares = np.bincount(names, weights=rest) ** 2
    total, total_rest = float(squares.sum()), float(rest @ rest)
    between = float((squares / sizes).sum())
    variance = total * n_clusters / (n_clusters - 1)
    if n > n_clusters:
        within = (total_rest - between) / (n - n_clusters)
        typical = (n - float(sizes @ sizes) / n) / (n_clusters - 1)
        shared = (between / (n_clusters - 1) - within) / typical
        variance = max(variance, n * within + shared * float(sizes @ sizes))
    enough = min(ENOUGH_CLUSTERS, n_clusters / 2)
    unseen = max(0.0, enough - n_others) / (ENOUGH_CLUSTERS - FEW_CLUSTERS)
    variance = max(variance, unseen * total_rest * float(sizes @ sizes) / n)
    spread = float(squares @ squares) - total**2 / n_clusters
    freedom = n_clusters - 1.0
    if total > 1e-12 * total_rest:  # otherwise clusters are exactly alike
        freedom = min(freedom, 2 * total**2 / max(spread, 1e-300))
    return min(2.0 * n, n * total_rest / max(variance, 1e-300)), _student(freedom)


def stretched(
    found: Interval, estimate: float, clusters: Int[np.ndarray, " item"] | None
) -> Interval:
    """A bootstrap interval of a difference of shares, as wide as the number of clusters that were drawn asks for.

    Percentiles of G resampled clusters are too narrow by t(G - 1) / z sqrt(G / (G - 1)): the ends move away from the
    estimate by that factor, within [-1, 1]. NaN with fewer than ``FEW_CLUSTERS``; unchanged without clusters.
    """
    if clusters is None or math.isnan(found.low):
        return found
    n = np.unique(clusters).size
    if n < FEW_CLUSTERS:
        return Interval(math.nan, math.nan)
    factor = _student(n - 1.0) / _NORMAL * math.sqrt(n / (n - 1))
    low, high = (estimate + factor * (end - estimate) for end in found)
    return Interval(max(-1.0, low), min(1.0, high))


@lru_cache(maxsize=4096)
def _student(freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


def mean_interval(
    values: Float[np.ndarray, " item"], clusters: Int[np.ndarray, " item"] | None = None
) -> Interval:
    """95% interval of a mean: Student's t; by cluster, at the effective number of items, where items share one.

    NaN for a single item, and where all are of one cluster: nothing says what another would do.

    Example:
        >>> import numpy as np
        >>> from sadi_lens.types.stats import mean_interval
        >>> [round(end, 3) for end in mean_interval(np.array([1.0, 2.0, 3.0, 4.0]))]
        [0.446, 4.554]
    """
    mean, error = float(values.mean()), mean_error(values, clusters)
    if math.isnan(error):
        return Interval(math.nan, math.nan)
    quantile = effective_size(values, clusters)[1]
    half = error * (_student(values.size - 1.0) if clusters is None else quantile)
    return Interval(mean - half, mean + half)


def mean_error(
    values: Float[np.ndarray, " item"], clusters: Int[np.ndarray, " item"] | None = None
) -> float:
    """Standard error of a mean at the effective number of items; NaN for one item, or items of one cluster."""
    size, quantile = effective_size(values, clusters)
    is_known = values.size > 1 and math.isfinite(quantile)
    return float(values.std(ddof=1)) / math.sqrt(size) if is_known else math.nan


def standard_error(accuracy: float, n: int) -> float:
    """Standard error of a proportion, sqrt(p (1 - p) / n); 0 at 0% and 100%, where only an interval helps."""
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return math.sqrt(accuracy * (1 - accuracy) / n)


def clustered_error(
    correct: Bool[np.ndarray, " item"], clusters: Int[np.ndarray, " item"] | None
) -> float:
    """Standard error of an accuracy at the effective number of items."""
    accuracy = float(correct.mean())
    size, _ = effective_size(correct.astype(float), clusters)
    return math.sqrt(accuracy * (1 - accuracy) / size)


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
    wrong = [p for p in p_values if not 0 <= p <= 1]
    if wrong:
        raise ValueError(f"p-values must be in [0, 1], got {wrong[0]}")
    return list(_holm(tuple(p_values))) if p_values else []


# statsmodels collects garbage each time: a sixth of a second in a notebook with a model.
@lru_cache(1024)
def _holm(p_values: tuple[float, ...]) -> tuple[float, ...]:
    from statsmodels.stats.multitest import multipletests

    adjusted = np.asarray(multipletests(list(p_values), method="holm")[1])
    return tuple(float(p) for p in adjusted)


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
