"""Guards beside an accuracy: which answers are given, and how well the right ones are told from the wrong ones."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from sadi_lens.types.invariants import Consistent
from sadi_lens.types.stats import CONFIDENCE, Interval, stretched

N_RESAMPLES = 1000
AT_ONCE = 2_000_000
"""Resampled items that are ranked at a time."""
SHOWN = 4
"""Answers named in one line."""
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Picks(Consistent):
    """Which answer every item gets, of the few that a task chooses among."""

    names: tuple[str, ...]
    """The answers: their text, or ``"choice 1"``, ``"choice 2"``, ... where every item lists texts of its own."""
    right: Int[np.ndarray, " item"]
    """Index in ``names`` of the right answer."""
    chosen: Int[np.ndarray, " item"]
    """Index of the answer given; -1 where it is none of them, two are equally good, or nothing could be scored."""
    evidence: Float[np.ndarray, "item answer"]
    """Score of each answer minus that of the best other one (nats); NaN where the item does not list the answer, and
    everywhere for generated text."""

    @property
    def shares(self) -> dict[str, float]:
        """Answer -> share of the items that get it; ``"none of these"`` last, if there are any."""
        found = {name: float((self.chosen == at).mean()) for at, name in enumerate(self.names)}
        none = float((self.chosen < 0).mean())
        return found | ({"none of these": none} if none else {})

    @property
    def majority(self) -> float:
        """Accuracy of always giving the answer that is right most often."""
        return float(np.bincount(self.right).max() / self.right.size)

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the answers of the accuracy on the items where that answer is right."""
        return float(_balanced(self.correct[None], self.strata)[0])

    @property
    def auc(self) -> float:
        """How well the scores tell right from wrong, wherever the threshold lies.

        Probability that an answer has more evidence on an item where it is right than on one where it is wrong (area
        under the ROC curve), averaged over the answers: 0.5 is no knowledge, whichever answer is the favourite. NaN
        for generated text.
        """
        return float(_auc(self.evidence[None], self.right)[0])

    @property
    def d_prime(self) -> float:
        """Sensitivity d' of signal detection, where there are two answers; else NaN.

        z(H) - z(F), with H and F the shares of the second answer where it is right and where it is wrong, as
        (count + 0.5) / (n + 1) (Hautus, 1995), so that it is finite.
        """
        hit, false = self._z
        return hit - false

    @property
    def bias(self) -> float:
        """Criterion c of signal detection, -(z(H) + z(F)) / 2: above 0 the first answer is the favourite; else NaN."""
        hit, false = self._z
        return -(hit + false) / 2

    def __str__(self) -> str:
        shares = sorted(self.shares.items(), key=lambda one: -one[1])[:SHOWN]
        auc = "" if math.isnan(self.auc) else f", AUC {self.auc:.2f}"
        two = "" if math.isnan(self.bias) else f", d' {self.d_prime:.2f}, bias c {self.bias:+.2f}"
        return (
            f"answers {', '.join(f'{name} {share:.0%}' for name, share in shares)}; majority {self.majority:.1%}, "
            f"balanced accuracy {self.balanced_accuracy:.1%}{auc}{two}"
        )

    @property
    def correct(self) -> Bool[np.ndarray, " item"]:
        """Whether the answer given is the right one."""
        return self.chosen == self.right

    @property
    def strata(self) -> list[np.ndarray]:
        """Rows of the items of every answer that is right somewhere."""
        return [np.flatnonzero(self.right == one) for one in np.unique(self.right)]

    @property
    def _z(self) -> tuple[float, float]:
        from scipy import stats

        if len(self.names) != 2:
            return NAN, NAN
        given = [self.chosen[self.right == one] == 1 for one in (1, 0)]
        hit, false = (
            stats.norm.ppf((float(one.sum()) + 0.5) / (one.size + 1)).item() for one in given
        )
        return hit, false


@dataclass(frozen=True, eq=False)
class Guards(Consistent):
    """What stands beside the accuracy of a method: its answers, and its gain where no favourite helps.

    Intervals are paired, percentile bootstrap (95%) over the items of each right answer. Where items share a cluster
    whole clusters are drawn, and the ends are moved away from the gain by t(G - 1) / z sqrt(G / (G - 1)), since so
    few draws vary too little; fewer than ``FEW_CLUSTERS`` give no interval (NaN).
    """

    shares: tuple[tuple[str, float], ...]
    """Answers, the most frequent first, each with the share of the items that get it."""
    majority: float
    """Accuracy of always giving the answer that is right most often."""
    balanced_accuracy: float
    balanced_gain: float
    """Balanced accuracy minus the unsteered one."""
    balanced_interval: Interval
    auc: float
    """NaN for generated text."""
    auc_gain: float
    auc_interval: Interval
    """NaN where most resamples have no pair of items to tell apart."""
    d_prime: float
    """NaN unless there are two answers."""
    bias: float
    """NaN unless there are two answers."""

    @classmethod
    def of(
        cls,
        steered: Picks,
        base: Picks,
        clusters: Int[np.ndarray, " item"] | None = None,
        *,
        seed: int = 0,
    ) -> "Guards":
        """Guards of a method against the unsteered model on the same items.

        Args:
            steered: Of the method.
            base: Of the unsteered model.
            clusters: Number of each item's cluster; None: items are independent.
            seed: Of the bootstrap.

        Raises:
            ValueError: If the two are not of the same items.
        """
        if steered.names != base.names or not np.array_equal(steered.right, base.right):
            raise ValueError("guards compare two results of the same items, got different ones")
        rng = np.random.default_rng(seed)
        if clusters is None:
            gains = np.concatenate(list(_gains(steered, base, rng)))
        else:
            gains = np.concatenate(list(_gains_by_cluster(steered, base, clusters, rng)))
        differences = (
            steered.balanced_accuracy - base.balanced_accuracy,
            steered.auc - base.auc,
        )
        balanced, auc = (
            stretched(_interval(gains[:, at]), one, clusters) for at, one in enumerate(differences)
        )
        return cls(
            shares=tuple(sorted(steered.shares.items(), key=lambda one: -one[1])),
            majority=steered.majority,
            balanced_accuracy=steered.balanced_accuracy,
            balanced_gain=differences[0],
            balanced_interval=balanced,
            auc=steered.auc,
            auc_gain=differences[1],
            auc_interval=auc,
            d_prime=steered.d_prime,
            bias=steered.bias,
        )

    @property
    def favourite(self) -> str:
        """The most frequent answer and its share, as "Yes 99%"."""
        name, share = self.shares[0]
        return f"{name} {share:.0%}"

    def verdict(self, gain: Interval) -> str:
        """What a gain in accuracy is, where none in knowledge is shown: that there is none, no interval can.

        Args:
            gain: 95% interval of the gain in accuracy.
        """
        low, area = self.balanced_interval.low, self.auc_interval.low
        if not gain.low > 0 or area > 0:
            return ""
        # Without an interval (few clusters, or resamples all alike) a rise may be one; none at all is none even so.
        rises, unknown = low > 0, math.isnan(low)
        area_rises = self.auc_gain if rises else unknown and self.auc_gain > 0
        if (unknown and self.balanced_gain > 0) or (math.isnan(area) and area_rises):
            return ""
        one = "moves the threshold between the answers" if rises else "changes the favourite answer"
        two = "loses knowledge" if self.auc_interval.high < 0 else "shows no gain in knowledge"
        return f"{one} and {two} (now {self.favourite}; {self.numbers})"

    @property
    def numbers(self) -> str:
        """Both gains where no favourite helps, with their intervals."""
        (low, high), before = self.balanced_interval, self.balanced_accuracy - self.balanced_gain
        ends = "" if math.isnan(low) else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
        words = f"balanced accuracy {before:.1%} to {self.balanced_accuracy:.1%}{ends}"
        if math.isnan(self.auc):
            return words
        low, high = self.auc_interval
        ends = "" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]"
        return f"{words}, AUC {self.auc - self.auc_gain:.2f} to {self.auc:.2f}{ends}"


def _gains(steered: Picks, base: Picks, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Gains in balanced accuracy and in AUC, [resample 2], on resamples of the items of each right answer."""
    strata = steered.strata
    ends = np.cumsum([0, *(rows.size for rows in strata)])
    places = [np.arange(*one) for one in pairwise(ends)]
    right = steered.right[np.concatenate(strata)]
    at_once = max(1, AT_ONCE // right.size)
    for start in range(0, N_RESAMPLES, at_once):
        n = min(at_once, N_RESAMPLES - start)
        index = np.concatenate(
            [rows[rng.integers(rows.size, size=(n, rows.size))] for rows in strata], axis=1
        )
        yield _both(steered, index, right, places) - _both(base, index, right, places)


def _gains_by_cluster(
    steered: Picks, base: Picks, clusters: Int[np.ndarray, " item"], rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """``_gains`` on resamples of whole clusters, one after the other: they differ in length.

    The means are over the answers that a resample holds: to leave out those that lack one would leave, where answers
    stand in a few clusters each, only resamples that are alike.
    """
    members = [np.flatnonzero(clusters == one) for one in np.unique(clusters)]
    for _ in range(N_RESAMPLES):
        drawn = rng.integers(len(members), size=len(members))
        rows = np.concatenate([members[at] for at in drawn])
        right = steered.right[rows]
        places = [np.flatnonzero(right == one) for one in np.unique(right)]
        index = rows[None]
        yield _both(steered, index, right, places) - _both(base, index, right, places)


def _both(
    picks: Picks,
    index: Int[np.ndarray, "resample item"],
    right: Int[np.ndarray, " item"],
    places: Sequence[np.ndarray],
) -> Float[np.ndarray, "resample 2"]:
    """Balanced accuracy and AUC of resampled items, sorted as ``right`` says; ``places`` are those of each answer."""
    balanced = _balanced(picks.correct[index], places)
    return np.stack([balanced, _auc(picks.evidence[index], right)], axis=1)


def _balanced(
    correct: Bool[np.ndarray, "resample item"], strata: Sequence[np.ndarray]
) -> Float[np.ndarray, " resample"]:
    return np.mean([correct[:, rows].mean(axis=1) for rows in strata], axis=0)


def _auc(
    evidence: Float[np.ndarray, "resample item answer"], right: Int[np.ndarray, " item"]
) -> Float[np.ndarray, " resample"]:
    """Mann and Whitney's U of every answer as a share of all pairs of items, then the mean over the answers."""
    from scipy import stats

    if np.unique(right).size < 2:  # a resample of clusters may hold one answer alone
        return np.full(len(evidence), NAN)
    found: list[np.ndarray] = []
    # Of two answers, what speaks for one speaks against the other: their areas are one.
    for answer in np.unique(right)[: -1 if evidence.shape[-1] == 2 else None]:
        ranks = stats.rankdata(evidence[..., answer], axis=1, nan_policy="omit")
        own = ranks[:, right == answer]
        n_own = (~np.isnan(own)).sum(axis=1)
        pairs = n_own * ((~np.isnan(ranks)).sum(axis=1) - n_own)
        with np.errstate(invalid="ignore"):  # no pair: NaN
            found.append((np.nansum(own, axis=1) - n_own * (n_own + 1) / 2) / pairs)
    return np.mean(found, axis=0)


def _interval(gains: Float[np.ndarray, " resample"]) -> Interval:
    known = gains[np.isfinite(gains)]
    if known.size < gains.size / 2:
        return Interval(NAN, NAN)
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(one) for one in np.quantile(known, [tail, 1 - tail]))
    # Resamples that are all alike do not say what other items would give.
    return Interval(low, high) if low < high else Interval(NAN, NAN)
