"""How often the printed intervals cover and the printed p-values are below 5% where nothing is to be found.

    python tests/benchmarks/inference.py --repeats 4000

Synthetic binary answers with correlated clusters, in the sizes of this library's tasks; and for the random-mask null a
synthetic model whose units move margins at random, so that a ranking is one more random order. Prints Markdown.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import betaln

from sadi_lens.types.paired import mcnemar_p, paired_interval
from sadi_lens.types.stats import ALPHA, empirical_p, proportion_interval

CORRELATIONS = (0.0, 0.3, 0.8)
RATES = ((0.75,), (0.9,), (0.95,))
"""Accuracies whose interval is looked at."""
CHANGES = ((0.2, 0.05), (0.1, 0.05))
"""Shares of items that are (mended, broken), where the interval of the gain is looked at."""
NOTHING = ((0.15, 0.15), (0.05, 0.05))
"""The same without a gain, where McNemar's p is looked at."""
KS = (1, 2, 4, 6, 8, 10)
STRENGTHS = np.array([0.5, 1, 2, 3, 5, 8, 12, 20])


class Design(NamedTuple):
    """Items in clusters."""

    words: str
    n: int
    n_clusters: int
    even: bool
    sizes: tuple[int, ...] = ()
    """Items of each cluster, where they are far from alike."""

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Cluster of each item; uneven: every item falls into any cluster."""
        if self.sizes:
            return np.repeat(np.arange(self.n_clusters), self.sizes)
        if self.even:
            return np.arange(self.n) % self.n_clusters
        return rng.integers(0, self.n_clusters, self.n)

    def codes(self, clusters: np.ndarray) -> np.ndarray | None:
        """What an evaluation would hold: None where every item is alone."""
        return None if self.n == self.n_clusters else clusters


DESIGNS = (
    Design("360 items, each alone (`sentiment`)", 360, 360, True),
    Design("360 items on 111 facts (`hints`)", 360, 111, False),
    Design("492 items on 246 facts (`suggest`)", 492, 246, True),
    Design("360 items on 36 rules (`effects`)", 360, 36, False),
    Design("96 items, 16 events (mood)", 96, 16, True),
)


LARGE = (
    (Design("40 clusters of 20", 800, 40, True), 0.95),
    (Design("60 clusters of 20", 1200, 60, True), 0.97),
    (Design("100 clusters of 20", 2000, 100, True), 0.97),
)
"""Large clusters and an accuracy near 1, where intervals are too narrow."""
LOPSIDED = Design("100 items: one cluster of 60, twenty of 2", 100, 21, False, (60, *[2] * 20))


def uniform(rng: np.random.Generator, clusters: np.ndarray, correlation: float) -> np.ndarray:
    """Uniform numbers; two of one cluster are the same with a probability that is their correlation."""
    shared = rng.random(clusters.max() + 1)[clusters]
    return np.where(rng.random(clusters.size) < correlation**0.5, shared, rng.random(clusters.size))


def beta_binomial_interval(right: np.ndarray, clusters: np.ndarray | None) -> tuple[float, float]:
    """What was tried instead: a beta-binomial likelihood, Jeffreys' prior of the rate, any correlation as likely.

    The correlation is summed out; 2.5 and 97.5% of the rate's posterior on a grid of equal prior mass.
    """
    n_rates, n_correlations = 201, 17
    steps = np.sin(np.arange(2 * n_rates + 1) * np.pi / (4 * n_rates)) ** 2
    rate, weight = steps[1::2, None], (n_correlations / (np.arange(n_correlations) + 0.5)) - 1
    clusters = np.arange(right.size) if clusters is None else clusters
    items, rights = np.bincount(clusters), np.bincount(clusters, weights=right)
    likely = np.zeros((n_rates, n_correlations))
    both, times = np.unique(np.stack([items, rights])[:, items > 0], axis=1, return_counts=True)
    for (n, k), many in zip(both.T, times, strict=True):
        first, second = rate * weight, (1 - rate) * weight
        likely += many * (betaln(k + first, n - k + second) - betaln(first, second))
    mass = np.exp(likely - likely.max()).sum(axis=1)
    below = np.concatenate([[0], np.cumsum(mass / mass.sum())])
    low, high = np.interp([0.025, 0.975], below, steps[::2])
    return float(low), float(high)


def coverage_of_accuracy(
    design: Design,
    correlation: float,
    rate: float,
    repeats: int,
    seed: int = 0,
    interval: Callable[..., tuple[float, float]] = proportion_interval,
) -> float:
    """Share of intervals of an accuracy that hold the true rate."""
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(repeats):
        clusters = design.draw(rng)
        right = uniform(rng, clusters, correlation) < rate
        codes = design.codes(clusters)
        low, high = interval(right, clusters=codes)
        found += low <= rate <= high
    return found / repeats


def coverage_and_errors(
    design: Design, correlation: float, change: tuple[float, float], repeats: int, seed: int = 0
) -> tuple[float, float]:
    """Share of intervals of a gain that hold the true one, and of McNemar's p below 5%."""
    rng = np.random.default_rng(seed)
    covered = below = 0
    for _ in range(repeats):
        clusters = design.draw(rng)
        draw = uniform(rng, clusters, correlation)
        gained, lost = draw < change[0], draw > 1 - change[1]
        codes = design.codes(clusters)
        low, high = paired_interval(gained, lost, codes)
        covered += low <= change[0] - change[1] <= high
        below += mcnemar_p(gained, lost, codes) < ALPHA
    return covered / repeats, below / repeats


def skewed_errors(repeats: int, seed: int = 0) -> tuple[float, float]:
    """No gain, but five clusters of 40 lose a fifth of their items and fifty of 4 gain as many.

    Returns:
        Share of data sets with McNemar's p below 5%, and with an interval without 0 as well.
    """
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(55), [*[40] * 5, *[4] * 50])
    below = both = 0
    for _ in range(repeats):
        moved = uniform(rng, clusters, 0.5) < 0.2
        gained, lost = moved & (clusters >= 5), moved & (clusters < 5)
        low, high = paired_interval(gained, lost, clusters)
        is_below = mcnemar_p(gained, lost, clusters) < ALPHA
        below += is_below
        both += is_below and not low <= 0 <= high
    return below / repeats, both / repeats


class World:
    """A model whose units move the margin of each item at random, alike within a cluster."""

    def __init__(
        self, rng: np.random.Generator, correlation: float, n: tuple[int, int], n_units: int = 40
    ) -> None:
        self.rng = rng
        self.parts = [slice(0, n[0]), slice(n[0], sum(n))]
        clusters = rng.integers(0, sum(n) // 3, sum(n))

        def mixed(rows: int) -> np.ndarray:
            own = rng.standard_normal((rows, sum(n)))
            shared = rng.standard_normal((rows, sum(n)))[:, clusters]
            return correlation**0.5 * shared + (1 - correlation) ** 0.5 * own

        self.margin = 1.0 + mixed(1)[0]
        common = rng.standard_normal((n_units, 1))  # a unit helps or harms on the whole
        self.effect = 0.1 * (mixed(n_units) + 0.5 * common)

    def order(self) -> np.ndarray:
        """An order of the units."""
        return self.rng.permutation(len(self.effect))

    def accuracy(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy on dev and on test, [k strength], of scaling the first K units of an order."""
        moved = np.stack([self.effect[order[:k]].sum(axis=0) for k in KS])
        right = self.margin + STRENGTHS[:, None] * moved[:, None] > 0
        dev, test = (right[:, :, part].mean(axis=2) for part in self.parts)
        return dev, test


def null_errors(correlation: float, repeats: int, n_draws: int = 99, seed: int = 0) -> list[float]:
    """False-positive rates of the null whose masks run at the method's cell, choose a strength, choose a cell."""
    rng = np.random.default_rng(seed)
    below = np.zeros(3)
    for _ in range(repeats):
        world = World(rng, correlation, (240, 360))
        dev, test = world.accuracy(world.order())
        k, strength = np.unravel_index(int(dev.argmax()), dev.shape)
        draws = np.empty((3, n_draws))
        for draw in range(n_draws):
            other_dev, other_test = world.accuracy(world.order())
            draws[0, draw] = other_test[k, strength]
            draws[1, draw] = other_test[k, int(other_dev[k].argmax())]
            draws[2, draw] = other_test.flat[int(other_dev.argmax())]
        own = float(test[k, strength])
        below += [empirical_p(own, one) < ALPHA for one in draws]
    return (below / repeats).tolist()


def table(repeats: int) -> Iterator[str]:
    """The Markdown rows of coverage and errors."""
    yield (
        "| items | correlation | accuracy 75% | 90% | 95% | gain +15 (25% change) | gain +5 (15% change) "
        "| p < .05 at 30% change | at 10% |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for design in DESIGNS:
        for correlation in CORRELATIONS:
            if correlation and design.n == design.n_clusters:
                continue
            cells = [
                *(coverage_of_accuracy(design, correlation, *one, repeats) for one in RATES),
                *(coverage_and_errors(design, correlation, one, repeats)[0] for one in CHANGES),
                *(coverage_and_errors(design, correlation, one, repeats)[1] for one in NOTHING),
            ]
            texts = [f"{100 * one:.1f}" for one in cells]
            yield f"| {design.words} | {correlation:g} | {' | '.join(texts)} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    for line in table(repeats):
        print(line, flush=True)  # noqa: T201  # this is a script
    print("\n| correlation | at the method's cell | strength chosen | K and strength chosen |")  # noqa: T201
    print("|---|---|---|---|")  # noqa: T201
    for correlation in CORRELATIONS:
        rates = null_errors(correlation, repeats // 2)
        texts = " | ".join(f"{100 * one:.1f}" for one in rates)
        print(f"| {correlation:g} | {texts} |", flush=True)  # noqa: T201
    for design, rate in LARGE:
        for correlation in (0.2, 0.5):
            shares = [
                coverage_of_accuracy(design, correlation, rate, repeats, interval=one)
                for one in (proportion_interval, beta_binomial_interval)
            ]
            print(  # noqa: T201
                f"\n{design.words}, correlation {correlation}, accuracy {rate:.0%}: {100 * shares[0]:.1f}; "
                f"beta-binomial {100 * shares[1]:.1f}"
            )
    alone, both = skewed_errors(repeats)
    shares = f"{100 * alone:.1f}%, with the interval {100 * both:.1f}%"
    print(f"\nfew lose what many gain: p < .05 in {shares}")  # noqa: T201
    for correlation in (0.1, 0.3, 1.0):
        share = coverage_of_accuracy(LOPSIDED, correlation, 0.7, repeats)
        print(f"\n{LOPSIDED.words}, correlation {correlation}, accuracy 70%: {100 * share:.1f}")  # noqa: T201


if __name__ == "__main__":
    main()
