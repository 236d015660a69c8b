"""Paired intervals and tests against published values, by hand, and statsmodels."""

import numpy as np
import pytest


@pytest.fixture
def airways():
    """Bentur et al. (2009), as in Fagerland et al. (2014), table 1: 21 children before and after a transplant."""
    counts = [1, 1, 7, 12]  # both, before only, after only, neither
    return (
        np.repeat([True, True, False, False], counts),
        np.repeat([True, False, True, False], counts),
    )


def test_the_paired_interval_is_the_published_one(airways):
    from sadi_lens.types.paired import paired_interval

    # Fagerland, Lydersen and Laake (2014), table 3: Tango's interval.
    assert paired_interval(*airways) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_mcnemar_is_the_published_mid_p(airways):
    from statsmodels.stats.contingency_tables import mcnemar

    from sadi_lens.types.paired import mcnemar_p

    # Fagerland, Lydersen and Laake (2013): 0.039. The exact test less half of the observed value.
    assert mcnemar_p(*airways) == pytest.approx(0.0391, abs=5e-5)
    exact = mcnemar([[1, 1], [7, 12]], exact=True).pvalue
    assert mcnemar_p(*airways) == pytest.approx(exact - 8 / 2**8)
    assert mcnemar_p(airways[0], airways[0]) == 1.0


def test_mcnemar_by_cluster_is_the_count_of_all_signs():
    from itertools import product

    from sadi_lens.types.paired import mcnemar_p

    difference = np.array([1, 1, 0, -1, 1, 1, 1, 0, -1, 0])
    clusters = np.array([0, 0, 0, 1, 2, 2, 2, 3, 4, 4])
    sums = np.array([2, -1, 3, 0, -1])
    nets = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=5)]
    expected = np.mean([(net > 3) + (net == 3) / 2 for net in nets])
    found = mcnemar_p(difference > 0, difference < 0, clusters)
    assert found == pytest.approx(expected)
    assert mcnemar_p(difference > 0, difference < 0, np.zeros(10, dtype=int)) == 0.5


def test_no_changed_item_is_no_certainty():
    from sadi_lens.types.paired import paired_interval

    same = np.arange(50) < 20
    # z^2 / (n + z^2)
    assert paired_interval(same, same) == pytest.approx((-0.07134, 0.07134), abs=1e-5)
    by_five = paired_interval(same, same, np.arange(50) // 5)
    assert by_five.high == pytest.approx(2.26216**2 / (10 + 2.26216**2), abs=1e-5)  # t of 9 df
    assert paired_interval(same, same, np.zeros(50, dtype=int)) == (-1, 1)
    low, high = paired_interval(np.ones(9, dtype=bool), np.zeros(9, dtype=bool))
    assert (0 < low < 1, high) == (True, 1)
    with pytest.raises(ValueError, match="same items, at least 1; got 0 and 0"):
        paired_interval(same[:0], same[:0])


def test_what_n_can_tell_apart_is_found_four_times_in_five():
    from sadi_lens.types.paired import detectable, mcnemar_p

    assert detectable(360, 0.1) == pytest.approx(2.8016 * (0.1 / 360) ** 0.5, abs=1e-5)
    assert detectable(20) == pytest.approx(2.8016**2 / 20, abs=1e-4)  # all that changes, one way
    assert detectable(5) == 1
    rng = np.random.default_rng(0)
    delta, found = detectable(360, 0.2), 0
    for _ in range(400):
        draw = rng.random(360)
        gained, lost = draw < 0.1 + delta / 2, draw > 0.9 + delta / 2
        found += mcnemar_p(gained, lost) < 0.05
    assert 0.74 <= found / 400 <= 0.88
    with pytest.raises(ValueError, match="n must be above 0"):
        detectable(0)


def test_sizes_that_are_none_are_refused():
    from decimal import Decimal

    from sadi_lens.types.paired import detectable, power_line

    for n in (float("nan"), float("inf"), Decimal("NaN"), "3", True):
        with pytest.raises((ValueError, TypeError), match="n must be"):
            detectable(n)
        with pytest.raises((ValueError, TypeError), match="n must be"):
            power_line(n)
    for share in (float("nan"), Decimal("NaN"), True):
        with pytest.raises((ValueError, TypeError), match="discordance must be"):
            detectable(10, share)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        power_line(0)


def test_all_items_gained_or_lost_have_an_interval_whatever_the_clusters():
    """At a difference of 1 the score is 0 / 0; which side of it rounding falls on depends on the clusters."""
    from sadi_lens.types.paired import paired_interval

    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(20, 400))
        clusters = np.unique(rng.integers(0, n // 2, n), return_inverse=True)[1]
        every, none = np.full(n, True), np.full(n, False)
        low, high = paired_interval(every, none, clusters)
        assert 0 < low < high == 1
        assert paired_interval(none, every, clusters) == pytest.approx((-1, -low))


def test_a_few_items_are_not_said_to_find_more_than_changes():
    from sadi_lens.types.paired import power_line

    # 2.8016^2 / 20 = 39.2 points: at 10% of 20 items no difference above 10 points is possible.
    assert power_line(20) == "n = 20 can tell 39.2 points apart (80% power, if 39% of items change)"
    assert power_line(3) == "n = 3 can tell nothing apart (80% power, if 100% of items change)"
    one = power_line(20, np.zeros(20, dtype=int))
    assert one.endswith("change; nothing if the items of each of the 1 clusters change together)")


@pytest.mark.parametrize(
    ("p", "interval", "expected"),
    [
        (0.01, (0.1, 0.2), 1),
        (0.01, (-0.2, -0.1), -1),
        (0.05, (0.1, 0.2), 0),  # not below
        (0.01, (0.0, 0.2), 0),  # holds 0
        (0.01, (-0.2, 0.0), 0),
        (0.01, (-0.1, 0.1), 0),
        (0.2, (0.1, 0.2), 0),
    ],
)
def test_a_difference_has_a_direction_where_test_and_interval_say_so(p, interval, expected):
    from sadi_lens.types.paired import direction
    from sadi_lens.types.stats import Interval

    assert direction(p, Interval(*interval)) == expected
