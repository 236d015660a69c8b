"""Guards beside an accuracy, against values counted by hand, scikit-learn and a model that always says Yes."""

import dataclasses

import numpy as np
import pytest


def picks(right, chosen, evidence=None, names=("Yes", "No")):
    from sadi_lens.types.results import Picks

    if evidence is None:
        evidence = np.full((len(right), len(names)), np.nan)
    return Picks(names, np.array(right), np.array(chosen), np.asarray(evidence, dtype=np.float32))


def two_sided(lead):
    """Evidence for the first of two answers, and against the second."""
    return np.stack([lead, -np.asarray(lead)], axis=1)


def test_shares_majority_and_balanced_accuracy_are_those_counted_by_hand():
    # Yes is right 6 times (5 said so, one gave nothing), No 4 times (1 said so).
    found = picks([0] * 6 + [1] * 4, [0, 0, 0, 0, 0, -1, 0, 0, 0, 1])
    assert found.shares == pytest.approx({"Yes": 0.8, "No": 0.1, "none of these": 0.1})
    assert found.majority == 0.6
    assert found.balanced_accuracy == pytest.approx((5 / 6 + 1 / 4) / 2)


def test_two_answers_give_d_prime_and_bias():
    # Second answer: 3 of 4 where it is right, (3.5 / 5); 1 of 5 where it is wrong, (1.5 / 6).
    found = picks([1] * 4 + [0] * 5, [1, 1, 1, 0, 1, 0, 0, 0, 0])
    hit, false = 0.5244005, -0.6744898  # z(0.7), z(0.25), from a table of the normal distribution
    assert found.d_prime == pytest.approx(hit - false)
    assert found.bias == pytest.approx(-(hit + false) / 2)
    assert np.isnan(picks([0, 1, 2], [0, 1, 2], names=("A", "B", "C")).d_prime)


def test_the_area_is_the_share_of_pairs_of_items_in_order():
    # Yes is right for 2.0 and -1.0, wrong for 1.0, -3.0 and -1.0: 3 and 1.5 of 2 x 3 pairs, a tie as half.
    found = picks([0, 0, 1, 1, 1], [0, 1, 0, 1, 1], two_sided([2.0, -1.0, 1.0, -3.0, -1.0]))
    assert found.auc == pytest.approx((3 + 1.5) / 6)
    assert np.isnan(picks([0, 1], [0, 1]).auc)  # generated text has no scores


def test_several_answers_have_the_mean_of_their_areas():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    right, evidence = rng.integers(3, size=60), rng.normal(size=(60, 3))
    evidence[np.arange(60), right] += 1
    evidence[:5, 2] = np.nan  # not listed there
    right[:5] = 0
    wanted = [
        roc_auc_score(right[listed] == one, evidence[listed, one])
        for one, listed in enumerate((slice(None), slice(None), slice(5, None)))
    ]
    found = picks(right, evidence[:, :2].argmax(axis=1), evidence, ("A", "B", "C"))
    assert found.auc == pytest.approx(np.mean(wanted))


def results(shift, knowledge, n=400, seed=0):
    """A model that leans by ``shift`` to Yes and knows ``knowledge`` standard deviations; Yes is right on 70%."""
    rng = np.random.default_rng(seed)
    right = (np.arange(n) >= 0.7 * n).astype(int)
    lead = shift + knowledge * (0.5 - right) + rng.normal(size=n)
    return picks(right, (lead < 0).astype(int), two_sided(lead))


def gain(steered, base):
    from sadi_lens.types.paired import paired_interval

    return paired_interval(steered.correct, base.correct)


def test_another_favourite_is_not_called_knowledge():
    from sadi_lens.types.results import Guards

    base, steered = results(-3.0, 0.1), results(3.0, 0.1)
    assert steered.correct.mean() > base.correct.mean() + 0.3
    found = Guards.of(steered, base)
    words = found.verdict(gain(steered, base))
    assert words.startswith(
        "changes the favourite answer and shows no gain in knowledge (now Yes 100%; balanced"
    )
    assert "AUC 0.5" in words
    assert found.balanced_interval.low <= 0 <= found.balanced_interval.high
    assert found.auc_gain == 0


def test_a_moved_threshold_is_not_called_knowledge():
    from sadi_lens.types.results import Guards

    base, steered = results(-2.0, 2.0), results(0.0, 2.0)
    found = Guards.of(steered, base)
    assert found.balanced_interval.low > 0
    words = found.verdict(gain(steered, base))
    assert words.startswith(
        "moves the threshold between the answers and shows no gain in knowledge"
    )


def test_knowledge_that_is_lost_is_said():
    """More right answers, since the threshold moved, by one that tells them apart worse than before."""
    from sadi_lens.types.results import Guards

    base, steered = results(-2.0, 2.5), results(0.0, 1.2)
    found = Guards.of(steered, base)
    assert found.auc_interval.high < 0
    words = found.verdict(gain(steered, base))
    assert words.startswith("moves the threshold between the answers and loses knowledge (now ")


def test_knowledge_is_left_alone():
    from sadi_lens.types.results import Guards

    base, steered = results(0.0, 0.5), results(0.0, 3.0)
    found = Guards.of(steered, base)
    assert found.auc_interval.low > 0
    assert found.verdict(gain(steered, base)) == ""


def test_intervals_are_those_of_a_plain_bootstrap():
    """Resampled in the test, item by item within each answer, with scikit-learn's area."""
    from sklearn.metrics import roc_auc_score

    from sadi_lens.types.results import Guards

    base, steered = results(0.0, 0.5, n=60), results(0.0, 1.5, n=60, seed=1)
    found = Guards.of(steered, base)
    rng = np.random.default_rng(7)
    rows = [np.flatnonzero(base.right == one) for one in (0, 1)]
    areas, means = [], []
    for _ in range(400):
        index = np.concatenate([rng.choice(one, one.size) for one in rows])
        areas.append(
            roc_auc_score(1 - base.right[index], steered.evidence[index, 0])
            - roc_auc_score(1 - base.right[index], base.evidence[index, 0])
        )
        change = steered.correct[index].astype(float) - base.correct[index]
        means.append((change[: rows[0].size].mean() + change[rows[0].size :].mean()) / 2)
    np.testing.assert_allclose(found.auc_interval, np.quantile(areas, [0.025, 0.975]), atol=0.04)
    np.testing.assert_allclose(
        found.balanced_interval, np.quantile(means, [0.025, 0.975]), atol=0.04
    )


def test_copies_of_items_add_nothing_where_they_are_clusters():
    """Every item four times: by item the interval halves, by cluster it is about as wide as before."""
    from sadi_lens.types.results import Guards

    base, steered = results(0.0, 0.5, n=80), results(0.0, 1.5, n=80, seed=1)
    fold = np.repeat(np.arange(80), 4)
    copies = [
        picks(one.right[fold], one.chosen[fold], one.evidence[fold]) for one in (steered, base)
    ]
    single, naive, clustered = (
        found.auc_interval.high - found.auc_interval.low
        for found in (Guards.of(steered, base), Guards.of(*copies), Guards.of(*copies, fold))
    )
    assert naive == pytest.approx(single / 2, rel=0.2)
    assert clustered == pytest.approx(single, rel=0.2)


def test_results_of_other_items_are_refused():
    from sadi_lens.types.results import Guards

    with pytest.raises(ValueError, match="same items"):
        Guards.of(picks([0, 1], [0, 1]), picks([1, 1], [0, 1]))


@pytest.mark.parametrize("n_answers", [8, 10])
def test_an_answer_in_one_cluster_alone_still_gives_an_interval(n_answers):
    """Most resamples of ten clusters lack an answer; every answer's gain differs from the others'."""
    from sadi_lens.types.results import Guards

    right = np.repeat(np.arange(n_answers), 6)
    rng = np.random.default_rng(0)
    base, steered = (
        picks(right, np.where(rng.random(right.size) < share, right, (right + 1) % n_answers),
              rng.normal(size=(right.size, n_answers)), names=tuple("abcdefghij"[:n_answers]))
        for share in (0.4, 0.8)
    )  # fmt: skip
    low, high = Guards.of(steered, base, right).balanced_interval
    gains = [
        steered.correct[right == one].mean() - base.correct[right == one].mean()
        for one in range(n_answers)
    ]
    error = np.std(gains) / np.sqrt(n_answers)  # of a mean over clusters
    from scipy import stats

    quantile = stats.t.ppf(0.975, n_answers - 1) * np.sqrt(n_answers / (n_answers - 1))
    assert high - low == pytest.approx(2 * quantile * error, rel=0.25)


def test_fewer_than_eight_clusters_give_no_interval_and_no_verdict():
    from sadi_lens.types.results import Guards

    right = np.repeat([0, 1], 21)
    evidence = np.stack([np.where(right == 0, 1.0, -1.0), np.where(right == 0, -1.0, 1.0)], axis=1)
    base, steered = picks(right, np.zeros_like(right), -evidence), picks(right, right, evidence)
    found = Guards.of(steered, base, np.arange(right.size) % 7)
    assert np.isnan([*found.balanced_interval, *found.auc_interval]).all()
    assert "nan" not in found.numbers
    assert found.verdict(found.balanced_interval._replace(low=0.1, high=0.9)) == ""
    nearly = picks(right, np.where(np.arange(right.size) == 3, 1, right), evidence)
    assert Guards.of(nearly, base, np.arange(right.size) % 8).balanced_interval.low > 0


@pytest.mark.parametrize("clusters", [None, np.arange(40) % 10], ids=["items", "clusters"])
def test_one_answer_for_all_in_place_of_the_other_is_no_knowledge(clusters):
    """No interval then, of either number: balanced accuracy is 50% in every resample."""
    from sadi_lens.types.results import Guards
    from sadi_lens.types.stats import Interval

    right = np.repeat([0, 1], [28, 12])
    lead = np.random.default_rng(0).normal(size=right.size)
    before = picks(right, np.ones_like(right), two_sided(lead - 9))
    after = picks(right, np.zeros_like(right), two_sided(lead + 9))
    found = Guards.of(after, before, clusters)
    assert (found.balanced_gain, found.auc_gain) == (0, 0)
    assert found.verdict(Interval(0.2, 0.6)).startswith("changes the favourite answer and shows no")
    numpys = dataclasses.replace(
        found, balanced_interval=Interval(np.float64(-0.1), np.float64(0.1))
    )
    assert numpys.verdict(Interval(0.2, 0.6)).startswith(
        "changes the favourite answer and shows no"
    )
    assert found.verdict(Interval(-0.1, 0.6)) == found.verdict(Interval(np.nan, np.nan)) == ""


@pytest.mark.parametrize("clusters", [None, np.arange(40) % 10], ids=["items", "clusters"])
def test_resamples_that_are_all_alike_give_no_interval(clusters):
    """Nothing changed, or everything did: each resample of the items seen says the same, others might not."""
    from sadi_lens.types.results import Guards

    right = np.repeat([0, 1], 20)
    lead = np.where(right == 0, 1.0, -1.0)
    all_wrong, all_right = (
        picks(right, 1 - right, two_sided(-lead)),
        picks(right, right, two_sided(lead)),
    )
    for steered, base, gain in ((all_right, all_right, 0.0), (all_right, all_wrong, 1.0)):
        found = Guards.of(steered, base, clusters)
        assert (found.balanced_gain, found.auc_gain) == (gain, gain)
        assert np.isnan([*found.balanced_interval, *found.auc_interval]).all()
        assert found.numbers.count("[") == 0


def test_an_area_that_some_resamples_do_not_have_keeps_its_interval():
    """The answer maybe is listed wrongly in one item: a third of the resamples has no pair of items for it."""
    from sadi_lens.types.results import Guards

    rng = np.random.default_rng(1)
    right = np.array([*[0, 1] * 10, 2])
    lead = np.where(right == 0, 1.0, -1.0) + rng.normal(0, 0.1, right.size)
    evidence = np.stack([lead, -lead, np.full(right.size, np.nan)], axis=1)
    evidence[-1, 2] = 3.0
    evidence[0, 2] = -3.0
    chosen = np.array([*[0] * 20, 2])
    noisy = evidence * 0.1 + rng.normal(size=evidence.shape)
    base = picks(right, chosen, noisy, names=("yes", "no", "maybe"))
    steered = picks(right, right, evidence, names=("yes", "no", "maybe"))
    found = Guards.of(steered, base)
    assert np.isfinite(found.auc_interval).all()
    assert "nan" not in found.numbers
    assert "nan" not in found.verdict(found.balanced_interval)


def test_an_unknown_interval_of_the_area_makes_no_verdict_of_a_gain():
    from dataclasses import replace

    from sadi_lens.types.results import Guards
    from sadi_lens.types.stats import Interval

    found = Guards.of(results(0.0, 3.0, n=80, seed=1), results(0.0, 0.0, n=80))
    assert found.balanced_interval.low > 0
    unknown = replace(found, auc_interval=Interval(float("nan"), float("nan")))
    assert unknown.verdict(found.balanced_interval) == ""
    assert unknown.numbers.endswith(f"to {found.auc:.2f}")


def test_a_resample_of_clusters_that_holds_one_answer_alone_has_no_area():
    """Two clusters, an answer in each: every other resample is of one answer."""
    from sadi_lens.types.results.guards import Guards

    one = picks([0, 0, 1, 1], [0, 0, 1, 0], two_sided([2.0, 1.0, -1.0, 3.0]))
    found = Guards.of(one, one, np.array([0, 0, 1, 1]))
    assert np.isnan(found.balanced_interval).all()
    assert found.auc_gain == 0
