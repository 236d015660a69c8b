"""Scores, probes and resampled rankings on numbers made by hand: no model."""

import itertools

import numpy as np
import pytest


def toy_scores(info, values, ranking="probe"):
    import sadi_lens as sl

    return sl.types.Scores("head", ranking, values, info, 9, "toy task")


def test_l2_is_the_length_of_the_mean_difference(head_differences):
    import dataclasses

    import sadi_lens as sl
    from sadi_lens.types.masks import scores

    vector = np.zeros((3, 4, 8), np.float32)
    vector[1, 2, :2] = 3.0, -4.0  # length 5, mean -1/8
    vector[0, 1] = 0.5  # length sqrt(8 / 4) = 1.414, mean 0.5
    mean = vector.mean(axis=2)
    differences = dataclasses.replace(head_differences, vector=vector, mean=mean)
    found = scores(differences, "l2")
    assert found[1, 2] == 5
    assert found[0, 1] == pytest.approx(2**0.5)
    assert sl.top_k_mask(differences, 1, ranking="l2").units == ((1, 2),)
    assert sl.top_k_mask(differences, 1).units == ((0, 1),)


def test_ready_scores_make_masks_and_bring_their_own_ranking(info):
    import sadi_lens as sl

    values = np.zeros((3, 4))
    values[2, 1], values[0, 3] = 0.9, 0.8
    found = toy_scores(info, values)
    mask = sl.top_k_mask(found, 2)
    assert mask.units == ((0, 3), (2, 1))
    assert mask.rule == "top 2 by probe score"
    assert dict(mask.provenance) == {
        "ranking": "probe",
        "k": 2,
        "task": "toy task",
        "n_pairs": 9,
    }
    assert sl.top_k_mask(found, 2, ranking="probe") == mask
    assert sl.random_mask(found, 5, seed=0).k == 5
    assert found.frame().query("score > 0.85")[["layer", "unit"]].to_numpy().tolist() == [[2, 1]]
    with pytest.raises(ValueError, match="of ranking 'probe', asked for 'signed'"):
        sl.top_k_mask(found, 2, ranking="signed")
    with pytest.raises(ValueError, match=r"k must be in \[1, 12\], got 13"):
        sl.top_k_mask(found, 13)


def test_scores_refuse_nan_and_a_wrong_shape(info):
    values = np.zeros((3, 4))
    values[1, 2] = np.nan
    with pytest.raises(ValueError, match="1 scores of ranking 'probe' are NaN, first L1H2"):
        toy_scores(info, values)
    with pytest.raises(ValueError, match=r"must be \[layer unit\], got shape \(4,\)"):
        toy_scores(info, np.zeros(4))


ARRAY = np.array([[2.0, 1.0, 0.0], [4.0, -1.0, 0.0], [0.0, -3.0, 0.0]])[:, None, :, None]
"""Three pairs, one layer, three units."""


@pytest.mark.parametrize(
    ("ranking", "all_pairs", "twice_the_last"),
    [
        ("signed", [2, -1, 0], [2 / 3, -5 / 3, 0]),
        ("magnitude", [2, 1, 0], [2 / 3, 5 / 3, 0]),
        ("consistency", [2 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0]),
        # all: sd 2 and 2, standard error 2 / sqrt 3. (2, 0, 0): mean 2/3, sd 2 / sqrt 3, error 2/3.
        # (1, -3, -3): mean -5/3, sd 4 / sqrt 3, error 4/3.
        ("standardised", [3**0.5, 3**0.5 / 2, 0], [1, 5 / 4, 0]),
    ],
)
def test_resampled_rankings_by_hand(ranking, all_pairs, twice_the_last):
    from sadi_lens.find.rankings import rank_pairs

    counts = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 2.0]])
    found = rank_pairs(ranking, (ARRAY,), counts)[:, 0]
    np.testing.assert_allclose(found, [all_pairs, twice_the_last], atol=1e-12)


def test_resampled_products_are_products_of_means():
    from sadi_lens.find.rankings import rank_pairs

    one = np.array([[1.0, 2.0], [3.0, 0.0]]).reshape(2, 1, 1, 2)
    two = np.array([[2.0, 1.0], [0.0, 1.0]]).reshape(2, 1, 1, 2)
    both, first = rank_pairs("gradient", (one, two), np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert both == 2 * 1 + 1 * 1  # means (2, 1) and (1, 1)
    assert first == 1 * 2 + 2 * 1
    lengths = rank_pairs("l2", (one,), np.array([[1.0, 1.0]]))
    assert lengths == pytest.approx(5**0.5)


def test_probe_accuracy_is_the_one_scikit_learn_gives():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    import sadi_lens as sl

    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 20)
    features = rng.normal(size=(40, 3)) + labels[:, None] * 0.8
    pairs = np.repeat(np.arange(20), 2)
    folds = (np.random.default_rng(7).permutation(20) % 4)[pairs]
    guess = cross_val_predict(
        LogisticRegression(max_iter=1000), features, labels, cv=PredefinedSplit(folds)
    )
    found = sl.find.probe_accuracy(features, labels, groups=pairs, n_folds=4, seed=7)
    assert found == pytest.approx((guess == labels).mean())
    assert 0.5 < found < 1


def test_a_probe_never_sees_the_partner_of_a_held_out_text():
    import sadi_lens as sl

    # The texts of a pair are the same, their labels are not: a probe that was fitted on one is always wrong about
    # the other, one that was not can only guess.
    n = 12
    features = np.repeat(np.eye(n) * 50, 2, axis=0)
    labels, groups = np.tile([1, 0], n), np.repeat(np.arange(n), 2)
    assert sl.find.probe_accuracy(features, labels, groups=groups, n_folds=3) == 0.5
    assert sl.find.probe_accuracy(features, labels, n_folds=3) < 0.3


def test_probes_refuse_what_they_cannot_fit():
    import sadi_lens as sl

    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(8, 2)), np.repeat([0, 1], 4)
    with pytest.raises(ValueError, match=r"both classes where the probe is fitted, got only \[1\]"):
        sl.find.probe_accuracy(features, np.ones(8, dtype=int))
    with pytest.raises(ValueError, match=r"5 folds needs at least 5 pairs .*got 4"):
        sl.find.probe_accuracy(features, labels, groups=np.tile(np.arange(4), 2))
    with pytest.raises(ValueError, match="n_folds must be at least 2, got 1"):
        sl.find.probe_accuracy(features, labels, n_folds=1)
    features[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 features of the probe are NaN or infinite"):
        sl.find.probe_accuracy(features, labels)


@pytest.mark.parametrize(("n", "k"), [(4, 1), (6, 3), (7, 5), (5, 5)])
def test_chance_of_jaccard_by_listing_every_set(n, k):
    from sadi_lens.types.stats import jaccard_chance

    one = set(range(k))
    every = [
        len(one & set(two)) / len(one | set(two)) for two in itertools.combinations(range(n), k)
    ]
    assert jaccard_chance(n, k) == pytest.approx(np.mean(every))


def test_chance_of_jaccard_by_simulation():
    import sadi_lens as sl
    from sadi_lens.types.stats import jaccard_chance

    info = sl.types.ModelInfo("toy", "Toy", 5, 20, 1, 4, 4, "0")
    like = sl.Mask.from_units("head", [(0, unit) for unit in range(10)], info)
    masks = [sl.random_mask(like, seed=seed).selected for seed in range(1000)]
    found = [(a & b).sum() / (a | b).sum() for a, b in itertools.pairwise(masks)]
    assert np.mean(found) == pytest.approx(jaccard_chance(100, 10), abs=0.006)
    with pytest.raises(ValueError, match=r"sizes must be in \[0, 5\] and not both 0, got 6"):
        jaccard_chance(5, 6)


def test_scores_are_float32_and_cannot_be_written_to(info):
    import sadi_lens as sl

    values = sl.types.Scores("head", "by hand", [[1, 2, 3, 4]] * 3, info, 1).values
    assert values.dtype == np.float32
    assert not values.flags.writeable
