"""Choosing a cell: the stable region, the pick inside it, cliffs, and what choosing adds."""

import math

import numpy as np
import pytest


def grid(accuracy, n=100, **changes):
    import sadi_lens as sl

    accuracy = np.array(accuracy, dtype=float)
    info = sl.types.ModelInfo("toy", "Toy", 3, 4, 8, 32, 48, "0123456789abcdef")
    values = {
        "component": "head",
        "ranking": "signed",
        "method": "scaling",
        "model": info,
        "task": "t",
        "split": "dev",
        "position": "last_prompt",
        "n": n,
        "ks": tuple(range(1, len(accuracy) + 1)),
        "strengths": tuple(float(i) for i in range(1, accuracy.shape[1] + 1)),
        "accuracy": accuracy,
        "margin": np.zeros(accuracy.shape),
        "valid_rate": np.ones(accuracy.shape),
        "unsteered_accuracy": 0.5,
        "unsteered_margin": 0.0,
        "unsteered_valid_rate": 1.0,
        **changes,
    }
    return sl.types.Sweep(**values)


def test_the_stable_region_is_one_standard_error_deep():
    # sqrt(.8 * .2 / 100) = .04
    found = grid([[0.80, 0.761, 0.759], [0.5, 0.77, float("nan")]]).stable_region()
    assert found.tolist() == [[True, True, False], [False, True, False]]


def test_a_cell_without_an_error_is_not_known_to_a_point():
    """16 of 16: 18 of 20 have sqrt(.9 * .1 / 20) = .067, so 15 of 16 (.9375) is as good and 14 of 16 (.875) is not."""
    sweep = grid([[1.0, 0.9375, 0.875]], n=16)
    assert sweep.stable_region().tolist() == [[True, True, False]]
    assert "2 cells lie within one standard error (6.7 points)" in sweep.best().reason
    # Eight clusters of two: 10 of 12, sqrt(10 / 12 * 2 / 12 / 12) = .108.
    clustered = grid(
        [[1.0, 0.9375, 0.875]],
        n=16,
        clusters=np.arange(16) // 2,
        standard_errors=np.array([[0.0, 0.06, 0.08]]),
    )
    assert clustered.stable_region().tolist() == [[True, True, False]]
    assert "(10.8 points)" in clustered.best().reason


def test_the_stable_pick_avoids_the_lonely_peak():
    accuracy = [
        [0.80, 0.10, 0.50, 0.50],
        [0.10, 0.50, 0.77, 0.79],
        [0.10, 0.50, 0.77, 0.77],
    ]
    sweep = grid(accuracy)
    best, stable = sweep.best(), sweep.stable()
    assert (best.k, best.strength, best.accuracy) == (1, 1.0, 0.80)
    # The lower right corner: mean of .77, .79, .77, .77.
    assert (stable.k, stable.strength) == (3, 4.0)
    assert "best neighbourhood (77.5%) of the 5 cells within one standard error" in stable.reason
    assert "5 cells lie within one standard error (4.0 points)" in best.reason


def test_ties_of_the_stable_pick_go_to_the_gentler_cell():
    stable = grid(np.full((3, 3), 0.7)).stable()
    assert (stable.k, stable.strength) == (1, 1.0)


def test_axes_ascend_in_whatever_order_they_were_tried(tmp_path):
    import sadi_lens as sl

    correct = np.random.default_rng(0).random((3, 3, 4)) < 0.5
    accuracy = correct.mean(axis=2)
    items = {"n": 4, "unsteered_correct": np.arange(4) < 2}
    sweep = grid(
        accuracy,
        correct=correct,
        balanced_accuracy=accuracy / 2,
        standard_errors=accuracy / 9,
        **items,
    )
    rows, columns = [2, 0, 1], [1, 2, 0]
    turned = np.ix_(rows, columns)
    mixed = grid(
        accuracy[turned],
        ks=(3, 1, 2),
        strengths=(2.0, 3.0, 1.0),
        correct=correct[turned],
        balanced_accuracy=accuracy[turned] / 2,
        standard_errors=accuracy[turned] / 9,
        **items,
    )
    assert mixed == sweep
    assert mixed.stable() == sweep.stable()
    assert sl.load(sl.save(mixed, tmp_path / "sweep")) == sweep


def test_a_cliff_is_said_in_the_reason():
    sweep = grid([[0.8, 0.6]], valid_rate=np.array([[0.49, 0.51]]))
    assert sweep.cliffs().tolist() == [[True, False]]
    reason = sweep.best(min_valid=0).reason
    assert "valid answers collapse in 1 cell, this one (49%, unsteered 100%) among them" in reason
    best = sweep.best()
    assert best.strength == sweep.strengths[1]
    assert best.reason.endswith("valid answers collapse in 1 cell")
    assert "collapse" not in grid([[0.8, 0.6]], valid_rate=np.array([[0.81, 0.9]])).best().reason


def test_selection_of_noise_is_all_optimism():
    """Cells of pure coin flips: the best of many looks good on its own half, and is worth 50% on the other."""
    rng = np.random.default_rng(0)
    n, cells = 200, 96
    correct = rng.random((8, 12, n)) < 0.5
    sweep = grid(
        correct.mean(axis=2), n=n, correct=correct, unsteered_correct=np.arange(n) % 2 == 0
    )
    found = sweep.selection(seed=1)
    assert found == sweep.selection(seed=1)
    # Largest of 96 normals: about 2.5 standard deviations of a half's mean.
    expected = 2.5 * math.sqrt(0.25 / (n / 2))
    assert found.optimism == pytest.approx(expected, abs=0.05)
    assert found.held_out == pytest.approx(0.5, abs=0.04)
    assert found.held_out_gain == pytest.approx(found.held_out - 0.5, abs=0.01)
    assert cells == correct[..., 0].size


def test_selection_takes_the_unsteered_model_where_best_would():
    """Every cell breaks items, or valid answers: choosing adds nothing, since nothing is chosen."""
    rng = np.random.default_rng(0)
    n = 200
    correct = rng.random((2, 4, n)) < 0.7
    base = np.arange(n) % 20 > 0
    sweep = grid(
        correct.mean(axis=2), n=n, correct=correct, unsteered_correct=base, unsteered_accuracy=0.95
    )
    found = sweep.selection()
    assert (found.held_out_gain, found.chosen) == pytest.approx((0.0, 0.95), abs=1e-9)
    correct[1, 2] = True  # the best by far, with every answer invalid
    valid = np.ones((2, 4))
    valid[1, 2] = 0.1
    broken = grid(
        correct.mean(axis=2),
        n=n,
        correct=correct,
        unsteered_correct=base,
        unsteered_accuracy=0.95,
        valid_rate=valid,
    )
    assert broken.selection() == found


def copies(n_clusters=20, size=10, cells=48):
    """Equally good cells of pure coin flips on items of which each stands ``size`` times, in any order."""
    rng = np.random.default_rng(3)
    codes = rng.permutation(np.repeat(np.arange(n_clusters), size))
    correct = (rng.random((cells, n_clusters)) < 0.5)[:, codes]
    n = codes.size
    return {
        "n": n,
        "correct": correct.reshape(6, 8, n),
        "unsteered_correct": np.arange(n) % 2 == 0,
        "clusters": codes,
    }


def test_selection_keeps_clusters_whole():
    """Largest of 48 normals: about 2.2 standard deviations of the mean of 10 texts, not of 100 items."""
    items = copies()
    found = grid(items["correct"].mean(axis=2), **items).selection(n_splits=400)
    assert found.optimism == pytest.approx(2.2 * math.sqrt(0.25 / 10), abs=0.08)
    assert found.held_out == pytest.approx(0.5, abs=0.06)
    few = copies(n_clusters=3, size=4)
    with pytest.raises(ValueError, match="at least 4 clusters of items, got 3"):
        grid(few["correct"].mean(axis=2), **few).selection()


def test_the_stable_region_is_one_standard_error_by_cluster_deep(tmp_path):
    import sadi_lens as sl

    errors = np.array([[0.10, 0.02, 0.02], [0.02, 0.02, 0.02]])
    sweep = grid([[0.80, 0.71, 0.69], [0.5, 0.77, float("nan")]], standard_errors=errors)
    assert sweep.stable_region().tolist() == [[True, True, False], [False, True, False]]
    assert "3 cells lie within one standard error (10.0 points)" in sweep.best().reason
    assert sl.load(sl.save(sweep, tmp_path / "sweep")) == sweep
    with pytest.raises(ValueError, match=r"clusters of Sweep must be .*, got \[3\]"):
        grid([[0.5]], clusters=np.arange(3))


def test_selection_of_a_real_effect_has_no_optimism():
    correct = np.zeros((1, 2, 10), dtype=bool)
    correct[0, 1] = True
    sweep = grid(
        [[0, 1]],
        n=10,
        correct=correct,
        unsteered_correct=np.zeros(10, dtype=bool),
        unsteered_accuracy=0.0,
    )
    found = sweep.selection()
    assert (found.chosen, found.held_out, found.optimism, found.held_out_gain) == (1, 1, 0, 1)


def test_selection_needs_the_items():
    with pytest.raises(ValueError, match=r"needs the items: sweep\(..., keep_items=True\)"):
        grid([[0.5]]).selection()
    with pytest.raises(ValueError, match="at least 4 items, got 2"):
        grid(
            [[1]], n=2, correct=np.ones((1, 1, 2), bool), unsteered_correct=np.eye(2, dtype=bool)[0]
        ).selection()


def test_a_sweep_keeps_its_items_and_is_stored_with_them(tmp_path):
    import sadi_lens as sl

    sweep = grid(
        [[0.5, 0.75]],
        n=4,
        correct=np.arange(4) < np.array([[[2], [3]]]),
        unsteered_correct=np.arange(4) < 2,
    )
    assert sl.load(sl.save(sweep, tmp_path / "sweep")) == sweep
    plain = grid([[0.5, 0.75]])
    assert sl.load(sl.save(plain, tmp_path / "plain")) == plain


def test_a_cell_under_the_floor_is_not_chosen():
    """Unsteered 90% valid, so 45% is the floor: the best cell, at 40%, gives way to the second."""
    sweep = grid(
        [[0.9, 0.7, 0.6]], valid_rate=np.array([[0.40, 0.45, 1.0]]), unsteered_valid_rate=0.9
    )
    best = sweep.best()
    assert (best.strength, best.accuracy) == (2.0, 0.7)
    assert "; 1 with more keep fewer than 45% valid answers" in best.reason
    assert sweep.best(min_valid=0.4).strength == 1.0
    assert sweep.best(min_valid=0.5).strength == 3.0
    assert sweep.stable(min_valid=0.5).strength == 3.0
    with pytest.raises(ValueError, match=r"min_valid must be a share in \[0, 1\], got 40"):
        sweep.best(min_valid=40)


def test_where_no_cell_is_better_the_unsteered_model_is_chosen():
    best = grid([[0.5, 0.4], [0.3, 0.2]], unsteered_margin=0.1).best()
    assert (best.k, best.strength, best.accuracy, best.settings) == (1, 0.0, 0.5, "unsteered")
    assert best.is_unsteered
    words = "unsteered: no cell of 4 does better on dev (50.0%, n = 100; the best cell 50.0%)"
    assert best.reason == words
    # A tie goes to the larger margin, as among cells.
    assert not grid([[0.5, 0.4]], unsteered_margin=-0.1).best().is_unsteered
    stable = grid([[0.4, 0.4]]).stable()
    assert stable.is_unsteered
    floor = grid([[0.9, 0.8]], valid_rate=np.zeros((1, 2))).best()
    assert floor.is_unsteered
    assert "2 with more keep fewer than 50% valid answers" in floor.reason


def test_numbers_that_are_none_are_refused():
    from decimal import Decimal

    sweep = grid(
        [[0.5]], n=4, correct=np.arange(4) < np.array([[[2]]]), unsteered_correct=np.arange(4) < 2
    )
    for wrong in (-0.1, 1.1, 73, math.nan, math.inf, "3", True, Decimal("NaN"), [0.5]):
        for call in (sweep.best, sweep.stable, sweep.best_cell):
            with pytest.raises((ValueError, TypeError), match="min_valid must be"):
                call(min_valid=wrong)
    for wrong in (-1, 2.5, True, "3", None, math.nan, [1]):
        with pytest.raises((ValueError, TypeError), match="seed must be"):
            sweep.selection(seed=wrong)
    for wrong in (0, -1, 10**30, 2.5, True, "3"):
        with pytest.raises((ValueError, TypeError), match="n_splits must be"):
            sweep.selection(n_splits=wrong)


def test_an_accuracy_in_percent_has_no_place_among_masks():
    """73 would be above every draw, and its p-value the smallest there is."""
    import sadi_lens as sl

    null = sl.types.NullBand("n", 3, 5.0, False, np.array([0.5, 0.6, 0.9]), np.zeros(3))
    for wrong in (73, 73.0, -0.1, math.inf, "3", True, None, [0.5], 1j):
        for call in (null.p_value, null.p_interval, null.as_good):
            with pytest.raises((ValueError, TypeError), match="accuracy must be"):
                call(wrong)
    assert (null.as_good(0.6), null.p_value(np.float32(0.5))) == (2, 1.0)
    assert np.isnan([null.p_value(math.nan), *null.p_interval(math.nan)]).all()


def test_a_mask_of_unknown_accuracy_counts_against_the_method_in_count_interval_and_p():
    import sadi_lens as sl

    null = sl.types.NullBand("n", 3, 5.0, False, np.array([0.5, np.nan, 0.9]), np.zeros(3))
    assert (null.as_good(0.95), null.p_value(0.95)) == (1, 0.5)
    low, high = null.p_interval(0.95)
    assert low < 0.5 < high


def test_the_warning_of_a_choice_on_test_points_to_the_caller():
    for name in ("best", "stable"):
        with pytest.warns(UserWarning, match="chose K and strength on the test split") as caught:
            getattr(grid([[0.8]], split="test"), name)()
        assert caught[0].filename == __file__
