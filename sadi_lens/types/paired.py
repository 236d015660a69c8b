"""Two conditions on the same items: the interval of their difference, the test, and what n can tell apart.

Items of one cluster (the same fact, event, person) go up and down together. Everything here takes their clusters.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from sadi_lens.types.checks import checked
from sadi_lens.types.stats import ALPHA, CONFIDENCE, Interval, effective_size

POWER = 0.8
"""How often a true difference is to be found."""
USUAL_DISCORDANCE = 0.1
"""Share of items that two conditions answer differently, where nothing is measured yet."""


def paired_interval(
    first: Bool[np.ndarray, " item"],
    second: Bool[np.ndarray, " item"],
    clusters: Int[np.ndarray, " item"] | None = None,
) -> Interval:
    """95% score interval of the accuracy difference on the same items (Tango, 1998).

    It has a width where no item changed. With clusters, counts are divided by the design effect of the differences
    and the normal quantile becomes Student's (see ``effective_size``).

    Args:
        first: Right or wrong under the first condition.
        second: Under the second.
        clusters: Number of each item's cluster; None: items are independent.

    Returns:
        Ends of the interval of ``first`` minus ``second``, in [-1, 1].

    Raises:
        ValueError: If the two do not hold the same number of items.

    Example:
        >>> import numpy as np
        >>> from sadi_lens.types.paired import paired_interval
        >>> right = np.arange(100) < 60
        >>> [round(end, 3) for end in paired_interval(right, right)]
        [-0.037, 0.037]
        >>> events = np.arange(100) // 10
        >>> [round(end, 3) for end in paired_interval(right, right, events)]
        [-0.339, 0.339]
    """
    from scipy.optimize import brentq

    difference = _difference(first, second)
    n, quantile = effective_size(difference, clusters)
    if not math.isfinite(quantile):
        return Interval(-1.0, 1.0)
    share = n / difference.size
    gained, lost = share * (difference > 0).sum(), share * (difference < 0).sum()
    estimate = float(difference.mean())

    def score(delta: float) -> float:
        return _score(float(gained), float(lost), n, delta)

    found: list[float] = []
    inside = min(max(estimate, 1e-9 - 1), 1 - 1e-9)  # at -1 and 1 the score is 0 / 0
    for end, target in ((-1.0, quantile), (1.0, -quantile)):
        if estimate * end >= 1 - 1e-9:
            found.append(end)
            continue
        edge = end * (1 - (1e-12 if abs(estimate) >= 1 - 1e-9 else 1e-9))
        outside: Any = brentq(lambda delta, t=target: score(delta) - t, edge, inside)
        found.append(float(outside))
    return Interval(*found)


def _score(gained: float, lost: float, n: float, delta: float) -> float:
    """Tango's (1998) score of a difference ``delta``: Eq. 8 and 11, with counts that need not be whole."""
    a = 2 * n
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1 - delta)
    p_lost = (math.sqrt(max(b * b - 4 * a * c, 0)) - b) / (2 * a)
    variance = n * (2 * p_lost + delta * (1 - delta))
    return (gained - lost - n * delta) / math.sqrt(max(variance, 1e-300))


def mcnemar_p(
    first: Bool[np.ndarray, " item"],
    second: Bool[np.ndarray, " item"],
    clusters: Int[np.ndarray, " item"] | None = None,
) -> float:
    """Two-sided mid-p value of McNemar's test (Fagerland et al., 2013), by cluster where there are any.

    Under the null hypothesis the two conditions could be exchanged in every cluster: the net number of items gained
    is compared with its exact distribution over all signs of the clusters' sums. With one item a cluster that is
    McNemar's binomial. Half of the probability of the observed value counts (mid-p), because the exact test is
    conservative where few items change.

    Returns:
        The p-value; 1 where nothing changed.

    Raises:
        ValueError: If the two do not hold the same number of items.

    Example:
        >>> import numpy as np
        >>> from sadi_lens.types.paired import mcnemar_p
        >>> first, second = np.array([True] * 6), np.array([False] * 6)
        >>> round(mcnemar_p(first, second), 6)  # 2 / 2**6, half of it
        0.015625
        >>> round(mcnemar_p(first, second, np.array([0, 0, 1, 1, 2, 2])), 6)  # 2 / 2**3, half of it
        0.125
    """
    from scipy.stats import binom

    difference = _difference(first, second)
    labels = np.arange(difference.size) if clusters is None else clusters
    sums = np.abs(np.bincount(labels, weights=difference).astype(int))
    if not sums.any():
        return 1.0
    density = np.ones(1)
    for size, count in zip(*np.unique(sums[sums > 0], return_counts=True), strict=True):
        spread = np.zeros(2 * size * count + 1)
        spread[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        density = np.convolve(density, spread)
    net = np.abs(np.arange(density.size) - density.size // 2)
    observed = abs(int(difference.sum()))
    p = density[net > observed].sum() + density[net == observed].sum() / 2
    return min(1.0, float(p))


def direction(p: float, interval: Interval) -> int:
    """1 or -1 where a difference is told from zero: p below ``ALPHA`` and an interval without 0; else 0."""
    low, high = interval
    return 0 if p >= ALPHA or low <= 0 <= high else (1 if low > 0 else -1)


@checked(n=0)
def detectable(n: float, discordance: float = USUAL_DISCORDANCE) -> float:
    """Smallest difference of two paired accuracies that a two-sided 5% test finds with 80% power.

    (z_0.975 + z_0.8) sqrt(discordance / n): Connor (1987), Eq. 3, with the variance under no difference. A difference
    is no larger than the share of items that change, so it is never below (z_0.975 + z_0.8)^2 / n.

    Args:
        n: Independent items.
        discordance: Share of items that the two conditions answer differently.

    Returns:
        A difference in [0, 1]; 1 where nothing smaller can be found.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> from sadi_lens.types.paired import detectable
        >>> [round(100 * detectable(360, share), 1) for share in (0.05, 0.1, 0.2, 0.3)]
        [3.3, 4.7, 6.6, 8.1]
    """
    from scipy.stats import norm

    if n <= 0 or not 0 <= discordance <= 1:
        raise ValueError(f"n must be above 0 and discordance in [0, 1], got {n} and {discordance}")
    z = float(norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf(POWER))
    return min(1.0, max(z * math.sqrt(discordance / n), z * z / n))


@checked()
def power_line(n: int, clusters: Int[np.ndarray, " item"] | None = None) -> str:
    """What so many test items can tell apart, to be read before a run.

    Args:
        n: Items.
        clusters: Number of each item's cluster; None: items are independent.

    Example:
        >>> from sadi_lens.types.paired import power_line
        >>> print(power_line(360))
        n = 360 can tell 4.7 points apart (80% power, if 10% of items change)
    """
    best = detectable(n)
    # No difference is larger than the share of items that change.
    share = max(best, USUAL_DISCORDANCE)
    words = (
        f"n = {n} can tell {_points(best)} apart ({POWER:.0%} power, if {share:.0%} of items change"
    )
    if clusters is None:
        return f"{words})"
    worst, _ = effective_size(np.zeros(n), clusters)
    return (
        f"{words}; {_points(detectable(worst))} if the items of each of the {len(set(clusters.tolist()))} "
        "clusters change together)"
    )


def _points(best: float) -> str:
    return "nothing" if best >= 1 else f"{100 * best:.1f} points"


def _difference(first: Bool[np.ndarray, " item"], second: Bool[np.ndarray, " item"]) -> np.ndarray:
    if first.shape != second.shape or not first.size:
        raise ValueError(
            f"paired results need the same items, at least 1; got {first.size} and {second.size}"
        )
    return first.astype(float) - second.astype(float)
