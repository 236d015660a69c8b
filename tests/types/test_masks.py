"""Masks: law 5, ties, random controls, hand-made masks and their refusals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def differences_of(values):
    import numpy as np

    import sadi_lens as sl

    mean = np.asarray(values, dtype=np.float32)
    info = sl.types.ModelInfo("toy", "Toy", mean.shape[0], mean.shape[1], 1, 4, 4, "0")
    full = mean[..., None]
    return sl.types.ActivationDifferences(
        "head", info, 9, mean, np.ones_like(mean), full, full, np.abs(mean)
    )


matrices = st.integers(1, 4).flatmap(
    lambda layers: st.integers(1, 5).flatmap(
        lambda units: st.lists(
            st.lists(
                st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, 3.5]), min_size=units, max_size=units
            ),
            min_size=layers,
            max_size=layers,
        )
    )
)


@settings(max_examples=60, deadline=None)
@given(matrices, st.sampled_from(["signed", "magnitude", "standardised"]))
def test_top_k_selects_exactly_k_and_grows_by_one(values, ranking):
    import sadi_lens as sl

    differences = differences_of(values)
    before = set()
    for k in range(1, differences.mean.size + 1):
        mask = sl.top_k_mask(differences, k, ranking=ranking)
        assert mask.k == k == len(set(mask.units))
        assert before < set(mask.units)
        before = set(mask.units)


def test_the_signed_rule_takes_the_largest_and_never_a_large_negative():
    import sadi_lens as sl

    differences = differences_of([[0.1, -9.0], [3.0, 0.2]])
    assert sl.top_k_mask(differences, 2).units == ((1, 0), (1, 1))
    assert sl.top_k_mask(differences, 2, ranking="magnitude").units == ((0, 1), (1, 0))


def test_standardised_divides_by_the_standard_error():
    import dataclasses

    import numpy as np

    import sadi_lens as sl

    differences = differences_of([[1.0, 4.0, 0.0]])
    differences = dataclasses.replace(differences, std=np.array([[0.5, 8.0, 0.0]], np.float32))
    # |t| by hand, n = 9: 1 / (0.5 / 3) = 6, 4 / (8 / 3) = 1.5, and 0 for the unit that never moves.
    from sadi_lens.types.masks import scores

    np.testing.assert_allclose(scores(differences, "standardised"), [[6.0, 1.5, 0.0]])
    assert sl.top_k_mask(differences, 1, ranking="standardised").units == ((0, 0),)


def test_ties_go_to_the_lower_layer_then_unit():
    import sadi_lens as sl

    differences = differences_of([[1.0, 2.0], [2.0, 2.0]])
    assert sl.top_k_mask(differences, 2).units == ((0, 1), (1, 0))


@pytest.mark.parametrize("k", [0, -1, 13])
def test_k_out_of_range_is_refused(head_differences, k):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=rf"k must be (at least 1|in \[1, 12\]), got {k}"):
        sl.top_k_mask(head_differences, k)


def test_k_must_be_whole(head_differences):
    from sadi_lens.types.masks import top_k_mask

    with pytest.raises(Exception, match=r"2\.5"):  # beartype speaks first when it is on
        top_k_mask(head_differences, 2.5)


def test_an_unknown_ranking_is_refused_with_a_hint(head_differences):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="got 'magnitud'; did you mean 'magnitude'"):
        sl.top_k_mask(head_differences, 2, ranking="magnitud")


def test_a_random_mask_is_matched_seeded_and_leaves_the_global_state(head_differences):
    import numpy as np

    import sadi_lens as sl

    mask = sl.top_k_mask(head_differences, 5)
    state = np.random.get_state()[1].copy()  # noqa: NPY002  # the state to leave alone
    drawn = [sl.random_mask(mask, seed=seed) for seed in range(20)]
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert {one.k for one in drawn} == {5}
    assert len({one.units for one in drawn}) > 10
    assert sl.random_mask(mask, seed=3) == drawn[3]
    matched = [sl.random_mask(mask, seed=seed, per_layer=True) for seed in range(20)]
    assert {one.per_layer for one in matched} == {mask.per_layer}
    assert len({one.units for one in matched}) > 5


def test_a_random_mask_is_uniform_over_units(head_differences):
    import numpy as np

    import sadi_lens as sl

    counts = sum(
        sl.random_mask(head_differences, 3, seed=seed).selected.astype(int) for seed in range(2000)
    )
    # Expected 500 of 2000 each; binomial sd 19.4, so 5 sd = 97.
    assert np.abs(counts - 500).max() < 97


def test_random_mask_refuses_what_it_cannot_match(head_differences):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="k is needed when like is not a mask"):
        sl.random_mask(head_differences, seed=0)
    with pytest.raises(ValueError, match="per_layer=True needs a mask"):
        sl.random_mask(head_differences, 3, seed=0, per_layer=True)


def test_masks_by_hand(info):
    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(2, 3), (0, 1)], info)
    assert mask.units == ((0, 1), (2, 3))
    assert mask.labels == ("L0H1", "L2H3")
    assert mask.per_layer == (1, 0, 1)
    assert mask.frame().to_dict("list") == {
        "component": ["head", "head"],
        "layer": [0, 2],
        "unit": [1, 3],
    }
    with pytest.raises(ValueError, match=r"unit must be in \[0, 2\] x \[0, 3\] .*, got \(0, 4\)"):
        sl.Mask.from_units("head", [(0, 4)], info)
    with pytest.raises(ValueError, match=r"\(0, 1\) is named twice"):
        sl.Mask.from_units("head", [(0, 1), (0, 1)], info)
    with pytest.raises(
        ValueError, match=r"component must be one of .* got 'heads'; did you mean 'head'"
    ):
        sl.Mask.from_units("heads", [(0, 1)], info)


def test_a_mask_cannot_be_changed_from_outside():
    import numpy as np

    import sadi_lens as sl

    own = np.zeros((3, 4), dtype=bool)
    mask = sl.Mask("head", own)
    own[0, 0] = True
    assert mask.k == 0
    with pytest.raises(ValueError, match="read-only"):
        mask.selected[0, 0] = True
    with pytest.raises(
        ValueError, match=r"selected must be a bool array \[layer unit\], got float64"
    ):
        sl.Mask("head", np.zeros((3, 4)))


def test_a_mixture_of_experts_has_no_neurons():
    import sadi_lens as sl

    info = sl.types.ModelInfo("moe", "MixtralForCausalLM", 2, 4, 8, 32, 0, "0")
    with pytest.raises(ValueError, match="no MLP neurons that can be hooked"):
        sl.Mask.from_units("neuron", [(0, 0)], info)


def test_the_smallest_are_the_largest_of_the_negated_scores(head_differences):
    import dataclasses

    import numpy as np

    import sadi_lens as sl

    mean = np.array([[3, -2, 0, 9], [1, -1, 2, 9], [9, 9, 9, 9]], dtype=np.float32)
    moments = dataclasses.replace(head_differences, mean=mean)
    found = sl.top_k_mask(moments, 2, largest=False)
    assert found.units == ((0, 1), (1, 1))
    assert found.rule == "bottom 2 by signed mean difference"
    near_zero = sl.top_k_mask(moments, 2, ranking="magnitude", largest=False)
    assert near_zero.units == ((0, 2), (1, 0))  # 1 and -1 tie


@pytest.mark.parametrize("unit", [(3, 0), (0, 4), (-1, 0), (0, -1)])
def test_a_unit_just_outside_the_model_is_refused(info, unit):
    import sadi_lens as sl

    assert sl.Mask.from_units("head", [(2, 3)], info).units == ((2, 3),)
    with pytest.raises(ValueError, match=r"unit must be in \[0, 2\] x \[0, 3\]"):
        sl.Mask.from_units("head", [unit], info)


def test_other_weights_of_the_same_shape_are_warned_about(info):
    import dataclasses

    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(0, 0)], info)
    mask.check(info)
    with pytest.warns(UserWarning, match="same shape but other weights"):
        mask.check(dataclasses.replace(info, fingerprint="f" * 16))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda sl, one, info: sl.top_k_mask(one, 3.0), "k must be a whole number, got 3.0"),
        (lambda sl, one, info: sl.top_k_mask(one, True), "k must be a whole number, got True"),
        (lambda sl, one, info: sl.top_k_mask(one, float("inf")), "k must be a whole number"),
        (lambda sl, one, info: sl.top_k_mask(one, 0), "k must be at least 1, got 0"),
        (lambda sl, one, info: sl.top_k_mask("hints", 1), "differences must be an ActivationDiff"),
        (lambda sl, one, info: sl.random_mask(one, 1, seed=-1), "seed must be at least 0"),
        (lambda sl, one, info: sl.random_mask(one, 1, seed=0.5), "seed must be a whole number"),
        (lambda sl, one, info: sl.random_mask([1], 1, seed=0), "like must be a Mask or"),
        (lambda sl, one, info: sl.Mask.from_units("head", [(1.0, 2.0)], info), r"units\[0\] must"),
        (lambda sl, one, info: sl.Mask.from_units("head", {(1, 2)}, info), "a set has no order"),
        (
            lambda sl, one, info: sl.Mask.from_units("head", [(0, 0)], "tiny"),
            "model must be a model",
        ),
        (lambda sl, one, info: sl.Mask("head", "abc"), "selected must be a bool array"),
        (
            lambda sl, one, info: sl.Mask("head", [[True], [True, False]]),
            "selected must be an array",
        ),
        (lambda sl, one, info: sl.Mask("heads", [[True]]), "did you mean 'head'"),
    ],
)
def test_a_wrong_argument_is_named(head_differences, info, make, message):
    import sadi_lens as sl

    with pytest.raises((TypeError, ValueError), match=message):
        make(sl, head_differences, info)


def test_numpy_numbers_are_numbers(head_differences, info):
    import numpy as np

    import sadi_lens as sl

    assert sl.top_k_mask(head_differences, np.int64(3)) == sl.top_k_mask(head_differences, 3)
    by_array = sl.Mask.from_units("head", [tuple(row) for row in np.array([[0, 1]])], info)
    assert by_array == sl.Mask.from_units("head", [(0, 1)], info)


def test_a_mask_is_shown_by_the_names_of_its_units():
    import sadi_lens as sl

    few = sl.top_k_mask(differences_of([[1.0, 3.0], [2.0, 0.0]]), 2)
    assert (
        str(few) == repr(few) == "2 of 4 head units (top 2 by signed mean difference): L0H1, L1H0"
    )
    many = sl.top_k_mask(differences_of([[float(-unit) for unit in range(20)]]), 14)
    assert str(many).endswith("L0H11 and 2 more")


def test_the_warning_of_other_weights_names_the_line_that_checks(info):
    import dataclasses

    import sadi_lens as sl

    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 0)], info), 1.0)
    with pytest.warns(UserWarning, match="same shape but other weights") as caught:
        scaling.check(dataclasses.replace(info, fingerprint="f" * 16))
    assert caught[0].filename == __file__


def test_a_unit_without_a_difference_is_not_ranked(differences):
    import dataclasses

    import numpy as np

    import sadi_lens as sl

    mean = differences["head"].mean.copy()
    mean[1, 2] = np.nan
    lacking = dataclasses.replace(differences["head"], mean=mean)
    for options in ({}, {"largest": False}, {"ranking": "magnitude"}):
        with pytest.raises(ValueError, match=r"1 scores of ranking .* are NaN, first L1H2"):
            sl.top_k_mask(lacking, 2, **options)
