"""Statistics against values worked out by hand or published."""

import math

import numpy as np
import pytest


def flags(right, n):
    return np.arange(n) < right


def test_the_wilson_interval_is_the_closed_form():
    from sadi_lens.types.stats import proportion_interval

    p, n, z = 0.8, 50, 1.959963984540054
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    found = proportion_interval(flags(40, 50))
    assert found.low == pytest.approx(centre - half, abs=1e-12)
    assert found.high == pytest.approx(centre + half, abs=1e-12)
    # All right: the interval still has a width.
    assert proportion_interval(flags(10, 10)).low == pytest.approx(0.7225, abs=1e-3)


def test_the_empirical_p_has_the_plus_one_correction():
    from sadi_lens.types.stats import empirical_p

    null = np.array([0.1, 0.2, 0.3, 0.4])
    assert empirical_p(0.9, null) == 1 / 5
    assert empirical_p(0.3, null) == 3 / 5  # ties count against the method


def test_an_interval_of_nothing_is_refused():
    from sadi_lens.types.stats import proportion_interval

    with pytest.raises(ValueError, match="at least 1 item, got 0"):
        proportion_interval(np.array([], dtype=bool))


def test_holm_steps_down_and_never_falls():
    from sadi_lens.types.stats import holm

    # Sorted 0.01, 0.02, 0.03, 0.2: times 4, 3, 2, 1, each at least as large as the one before.
    assert holm([0.2, 0.01, 0.03, 0.02]) == pytest.approx([0.2, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got nan"):
        holm([0.5, float("nan")])


def test_chance_of_an_overlap_is_the_mean_over_all_pairs_of_sets():
    from itertools import combinations

    from scipy import stats as scipy_stats

    from sadi_lens.types.stats import jaccard_chance

    found = [
        len({*a} & {*b}) / len({*a} | {*b})
        for a in combinations(range(6), 2)
        for b in combinations(range(6), 3)
    ]
    assert jaccard_chance(6, 2, 3) == pytest.approx(sum(found) / len(found))
    assert jaccard_chance(6, 3, 2) == pytest.approx(sum(found) / len(found))
    assert jaccard_chance(5, 5) == 1
    assert jaccard_chance(5, 0, 2) == 0
    both = np.arange(501)  # at the size of a 7B model's neurons
    weight = scipy_stats.hypergeom.pmf(both, 352_256, 500, 500)
    assert jaccard_chance(352_256, 500) == pytest.approx(np.sum(weight * both / (1000 - both)))
    for wrong in ((5, 6, 1), (5, -1, 1), (5, 0, 0)):
        with pytest.raises(ValueError, match=r"sizes must be in \[0, 5\] and not both 0"):
            jaccard_chance(*wrong)


def test_clopper_pearson_equals_its_beta_quantiles():
    from scipy.stats import beta

    from sadi_lens.types.stats import proportion_interval

    found = proportion_interval(np.arange(20) < 7, "clopper_pearson")
    assert found.low == pytest.approx(beta.ppf(0.025, 7, 14), abs=1e-6)
    assert found.high == pytest.approx(beta.ppf(0.975, 8, 13), abs=1e-6)
    with pytest.raises(ValueError, match="did you mean 'wilson'"):
        proportion_interval(np.ones(2, dtype=bool), "wilsn")


def test_standard_error_of_a_proportion():
    from sadi_lens.types.stats import count_interval, standard_error

    # COPA, 78.8% of 500: 1.8 points.
    assert standard_error(0.788, 500) == pytest.approx(0.01828, abs=1e-5)
    with pytest.raises(ValueError, match="at least 1"):
        standard_error(0.5, 0)
    with pytest.raises(ValueError, match=r"n_correct must be in \[0, n\]"):
        count_interval(6, 5)
    with pytest.raises(ValueError, match="n at least 1, got 0 of 0"):
        count_interval(0, 0)
    # Wilson by hand: (1 / (1 + z^2), 1).
    assert tuple(count_interval(1, 1)) == pytest.approx((1 / (1 + 1.959964**2), 1.0), abs=1e-6)


def test_a_value_that_is_not_a_number_has_no_p_and_a_draw_that_is_none_counts_against():
    from sadi_lens.types.stats import empirical_p

    assert np.isnan(empirical_p(float("nan"), np.array([0.1, 0.2])))
    assert empirical_p(0.9, np.array([0.1, np.nan, np.nan])) == 3 / 4


def test_items_of_one_cluster_count_as_what_they_are_worth():
    from scipy.stats import t

    from sadi_lens.types.data import cluster_codes
    from sadi_lens.types.stats import effective_size, proportion_interval

    right = np.repeat([True, True, False, True], 5)
    clusters = cluster_codes(np.repeat(["a", "b", "c", "d"], 5).tolist())
    # Copies, and few clusters differ: 4 items.
    size, quantile = effective_size(right.astype(float), clusters)
    assert size == pytest.approx(4)
    assert quantile == pytest.approx(t.ppf(0.975, 3))
    p, q = 0.75, quantile
    centre = (p + q**2 / (2 * size)) / (1 + q**2 / size)
    half = q / (1 + q**2 / size) * (p * (1 - p) / size + q**2 / (4 * size**2)) ** 0.5
    found = proportion_interval(right, clusters=clusters)
    assert found == pytest.approx((centre - half, centre + half))
    # No item differs: every cluster counts once, sizes 6 and 2 give 8^2 / (36 + 4).
    assert effective_size(np.ones(8), np.repeat([0, 1], [6, 2]))[0] == pytest.approx(1.6)
    # Two clusters count as two items, with a quantile of 12.7.
    few = proportion_interval(right, clusters=np.arange(20) // 10)
    assert few == pytest.approx((0.0069, 0.9993), abs=1e-3)
    # One cluster says nothing of what another would do.
    assert proportion_interval(right, clusters=np.zeros(20, dtype=int)) == (0, 1)


def test_the_error_of_a_mean_is_that_of_its_interval_and_counts_clusters():
    from sadi_lens.types.stats import mean_error, mean_interval

    values = np.random.default_rng(0).normal(size=30)
    assert mean_error(values) == pytest.approx(values.std(ddof=1) / 30**0.5)
    low, high = mean_interval(values)
    assert (high - low) / 2 == pytest.approx(2.0452 * mean_error(values), rel=1e-4)  # t(29)
    assert np.isnan([mean_error(values[:1]), mean_error(values, np.zeros(30, int))]).all()
    # Two copies of each are worth 30, not 60; CR1 divides by the 29 clusters that are free, the spread by 59 items.
    twice = np.repeat(values, 2)
    assert mean_error(twice, np.repeat(np.arange(30), 2)) == pytest.approx(
        mean_error(values) * (60 / 59) ** 0.5
    )


def test_clusters_are_numbered_and_lonely_items_are_none():
    from sadi_lens.types.data import cluster_codes

    assert cluster_codes(["x", "y", "x", None, None]).tolist() == [0, 1, 0, 2, 3]
    assert cluster_codes(["x", None, None, "y"]) is None


def test_one_question_asked_again_is_one_draw_and_another_one_is_not():
    import sadi_lens as sl
    from sadi_lens.types.data import clusters_of

    def asked(prompt, *choices, cluster=None):
        return sl.Sample(prompt, choices, 0, cluster=cluster)

    first, turned = asked("a", " x", " y"), asked("a", " y", " x")
    other = asked("a", " x", " z")  # such as two sentences after one beginning
    assert clusters_of([first, other, turned, first]).tolist() == [0, 1, 0, 0]
    assert clusters_of([first, other, asked("b", " x", " y")]) is None
    assert clusters_of([sl.Sample("a", target="x"), sl.Sample("a", target="y")]) is None
    # A name that is given stands.
    named = [asked("a", " x", " y", cluster="1"), asked("a", " x", " y", cluster="2")]
    assert clusters_of(named) is None


def test_sixteen_clusters_that_differ_are_enough_to_see_that_items_are_apart():
    """Forty clusters of two items; in some one item is right, in the others none."""
    from sadi_lens.types.stats import effective_size

    clusters = np.repeat(np.arange(40), 2)
    right = np.zeros((40, 2))
    right[:16, 0] = 1
    # Mean 0.2: sums of the rest are 16 times 0.6 and 24 times -0.4, squares of the items 80 * 0.2 * 0.8.
    expected = 80 * 12.8 / ((16 * 0.36 + 24 * 0.16) * 40 / 39)
    assert effective_size(right.ravel(), clusters)[0] == pytest.approx(expected)
    right[12:] = 0  # half way: at least half of the variance of whole clusters
    assert effective_size(right.ravel(), clusters)[0] == pytest.approx(80)
    right[7:] = 0
    assert effective_size(right.ravel(), clusters)[0] == pytest.approx(40)


def test_clusters_that_are_exactly_alike_leave_all_degrees_of_freedom():
    """One item of each fact right and one wrong: the sums of the clusters do not vary."""
    from scipy.stats import t

    from sadi_lens.types.stats import effective_size, proportion_interval

    for n_right, size in ((1, 2), (2, 3), (3, 4)):
        right = np.tile(np.arange(size) < n_right, 50)
        clusters = np.repeat(np.arange(50), size)
        found, quantile = effective_size(right.astype(float), clusters)
        assert (found, quantile) == pytest.approx((2 * right.size, t.ppf(0.975, 49)))
        low, high = proportion_interval(right, clusters=clusters)
        assert high - low < 0.2


def test_one_large_cluster_leaves_few_degrees_of_freedom():
    """Six items that are right, and sixteen clusters of two of which one is."""
    from scipy.stats import t

    from sadi_lens.types.stats import effective_size

    clusters = np.repeat(np.arange(17), [6, *[2] * 16])
    right = np.r_[np.ones(6), [1, 0] * 16]
    # Mean 11/19: sums of the rest are 48/19 and 16 times -3/19; V = 2448/361, and their fourth powers 5309712/361^2.
    size, quantile = effective_size(right, clusters)
    assert quantile == pytest.approx(t.ppf(0.975, 2 * 2448**2 / (5309712 - 2448**2 / 17)))
    assert size == pytest.approx(38 * 3344 / (2448 * 17 / 16))
    alike = np.repeat(
        np.arange(32), 2
    )  # half of like clusters: no more than one a cluster less one
    _, quantile = effective_size((alike < 16).astype(float), alike)
    assert quantile == pytest.approx(t.ppf(0.975, 31))


def test_a_large_cluster_is_taken_to_be_as_alike_as_the_small_ones_are():
    """32 pairs that are right or wrong together, and twelve items of one cluster, half of them right by chance."""
    from sadi_lens.types.stats import effective_size

    clusters = np.repeat(np.arange(33), [12, *[2] * 32])
    right = np.r_[[1, 0] * 6, np.repeat([1, 0], 32)].astype(float)
    # Mean squares: within clusters 3 / 43, between them 16 / 32.
    typical = (76 - 272 / 76) / 32
    shared = (1 / 2 - 3 / 43) / typical
    size, _ = effective_size(right, clusters)
    assert size == pytest.approx(76 * 19 / (76 * 3 / 43 + 272 * shared))
    assert size < 76 * 19 / (32 * 33 / 32) / 1.5  # the cluster-robust variance alone: 43.8


def test_the_error_of_an_accuracy_is_that_of_as_many_items_as_it_is_worth():
    """Pairs of items that are alike in each of 60 clusters: by hand worth 59 items (CR1 with G / (G - 1))."""
    from sadi_lens.types.stats import clustered_error

    correct = np.repeat(np.arange(60) < 45, 2)
    assert clustered_error(correct, None) == pytest.approx(math.sqrt(0.75 * 0.25 / 120))
    found = clustered_error(correct, np.repeat(np.arange(60), 2))
    assert found == pytest.approx(math.sqrt(0.75 * 0.25 / 59))


def test_half_of_few_clusters_is_enough_to_see_that_items_are_apart():
    """Ten of twenty clusters hold one item that differs, of six: nothing is added for what could not be seen."""
    from sadi_lens.types.stats import effective_size

    values = np.ones((20, 6))
    values[:10, 0] = 0
    rest = values - values.mean()
    robust = (rest.sum(axis=1) ** 2).sum() * 20 / 19
    size, _ = effective_size(values.ravel(), np.repeat(np.arange(20), 6))
    assert size == pytest.approx(120 * (rest**2).sum() / robust)


def test_a_bootstrap_over_few_clusters_is_as_wide_as_students_t():
    from scipy.stats import norm, t

    from sadi_lens.types.stats import Interval, stretched

    clusters = np.repeat(np.arange(12), 3)
    factor = t.ppf(0.975, 11) / norm.ppf(0.975) * math.sqrt(12 / 11)
    low, high = stretched(Interval(0.1, 0.4), 0.2, clusters)
    assert (low, high) == pytest.approx((0.2 - 0.1 * factor, 0.2 + 0.2 * factor))
    assert stretched(Interval(-0.9, 0.99), 0.1, clusters) == (-1, 1)
    assert stretched(Interval(0.1, 0.4), 0.2, None) == (0.1, 0.4)
    assert all(math.isnan(end) for end in stretched(Interval(0.1, 0.4), 0.2, clusters // 2))


def test_one_item_has_a_mean_and_no_error_and_two_have_both():
    from scipy.stats import t

    from sadi_lens.types.stats import mean_error, mean_interval

    assert math.isnan(mean_error(np.array([3.0]), None))
    two = np.array([1.0, 3.0])
    assert mean_error(two, None) == pytest.approx(1)  # sqrt(2) / sqrt(2)
    half = t.ppf(0.975, 1)
    assert mean_interval(two) == pytest.approx((2 - half, 2 + half))
