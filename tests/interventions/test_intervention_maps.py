"""Methods beside SADI, against numbers worked out by hand; no model."""

import math

import numpy as np
import pytest


@pytest.fixture
def mask(info):
    import sadi_lens as sl

    return sl.Mask.from_units("head", [(0, 1), (2, 0), (2, 3)], info)


def vector(*values):
    import torch

    return torch.tensor(values, dtype=torch.float32)[None, None]


def hidden_differences(info, vector, prompt_mean):
    """Differences of dimensions, one layer's values repeated where only one is given."""
    import sadi_lens as sl

    vector, prompt_mean = (np.asarray(one, dtype=np.float32) for one in (vector, prompt_mean))
    return sl.types.ActivationDifferences(
        component="hidden",
        model=info,
        n=9,
        mean=vector,
        std=np.ones_like(vector),
        vector=vector[..., None],
        prompt_mean=prompt_mean[..., None],
        prompt_rms=np.ones_like(vector),
    )


def prompt_end(*values):
    import torch

    from sadi_lens.interventions import Context

    return Context(prompt_end=torch.tensor(values, dtype=torch.float32))


@pytest.mark.parametrize(("opposed", "other"), [("leave", 1.0), ("damp", 0.25), ("reverse", -2.0)])
def test_signed_scaling_scales_with_d_and_treats_opposed_units_otherwise(mask, opposed, other):
    import torch

    import sadi_lens as sl

    direction = np.ones((3, 4, 8))
    direction[2, 3] = -1.0
    signed = sl.interventions.SignedScaling(mask, direction, 3.0, opposed=opposed)
    z = torch.ones(1, 1, 4, 8)
    z[0, 0, 0, 0] = -6.5  # sum over d_head 0.5: the head as a whole still agrees with D
    edited = signed.edit(z, 2)
    assert torch.equal(edited[0, 0, 0], 4 * z[0, 0, 0])
    assert torch.equal(edited[0, 0, 3], other * z[0, 0, 3])
    assert torch.equal(edited[0, 0, 1:3], z[0, 0, 1:3])
    z[0, 0, 0, 0] = -7.5
    assert torch.equal(signed.edit(z, 2)[0, 0, 0], other * z[0, 0, 0])


@pytest.mark.parametrize("opposed", ["leave", "damp", "reverse"])
def test_a_unit_that_neither_agrees_nor_opposes_is_left_as_it_is(mask, opposed):
    """A' = A + strength sign(A . D) A, and the sign of 0 is 0."""
    import torch

    import sadi_lens as sl

    direction = np.zeros((3, 4, 8))
    direction[2, 3, :2] = 1.0
    signed = sl.interventions.SignedScaling(mask, direction, 3.0, opposed=opposed)
    z = torch.ones(1, 1, 4, 8)
    z[0, 0, 3, 0] = -1.0  # at a right angle to D; of head 0 nothing differs at all
    assert torch.equal(signed.edit(z, 2), z)


def test_signed_scaling_never_moves_against_d(info):
    """The point of it: plain scaling moves along the sign of the activation."""
    import torch

    import sadi_lens as sl

    mask = sl.Mask.from_units("hidden", [(0, unit) for unit in range(32)], info)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(3, 32, 1))
    h = torch.from_numpy(rng.normal(size=(5, 2, 32)).astype(np.float32))
    towards = torch.from_numpy(direction[0, :, 0]).float()
    plain = (sl.MaskedScaling(mask, 2.0).edit(h, 0) - h) * towards
    assert (plain < 0).float().mean() > 0.3
    for opposed in ("leave", "damp", "reverse"):
        moved = (
            sl.interventions.SignedScaling(mask, direction, 2.0, opposed).edit(h, 0) - h
        ) * towards
        assert bool((moved >= 0).all())


def test_austeer_amplifies_and_damps_single_values():
    import torch

    import sadi_lens as sl

    gain = np.zeros((3, 4, 8))
    gain[1, 2, 5], gain[1, 0, 0] = 0.75, -1.0
    steer = sl.interventions.AUSteer(gain, 2.0, "head")
    assert steer.layers == (1,)
    assert steer.label == "AUSteer: head, 2 values, strength 2"
    edited = steer.edit(torch.full((1, 1, 4, 8), 3.0), 1)[0, 0]
    assert edited[2, 5] == 7.5  # 3 (1 + 2 * 0.75)
    assert edited[0, 0] == -3.0  # 3 (1 - 2 * 1)
    assert int((edited == 3).sum()) == 30


def test_iti_adds_alpha_sigma_theta_to_chosen_heads_only(mask):
    import torch

    import sadi_lens as sl

    directions = np.zeros((3, 4, 8))
    directions[..., 0] = 1.0
    iti = sl.interventions.ITI(mask, directions, np.full((3, 4), 0.5), 15.0)
    edited = iti.edit(torch.zeros(1, 1, 4, 8), 2)[0, 0]
    assert edited[:, 0].tolist() == [7.5, 0.0, 0.0, 7.5]
    assert not edited[:, 1:].any()


def test_actadd_adds_its_rows_at_the_front_of_the_prompt():
    import torch

    import sadi_lens as sl
    from sadi_lens.interventions import Context

    add = sl.interventions.ActAdd(np.array([[1.0, 2.0], [3.0, 4.0]]), 0, 10.0)
    # Two padding tokens, a prompt of three, one token after it; then a prompt of one.
    place = torch.tensor([[-1, -1, 0, 1, 2, -1], [0, -1, -1, -1, -1, -1]])
    edited = add.edit(torch.zeros(2, 6, 2), 0, Context(place=place))
    assert edited[0].tolist() == [[0, 0], [0, 0], [10, 20], [30, 40], [0, 0], [0, 0]]
    assert edited[1].tolist() == [[10, 20]] + [[0, 0]] * 5


def test_householder_rotation_by_hand():
    """(-3, 4) is turned by 90 degrees towards (1, 0), to (4, 3); (3, 4) is on the right side."""
    import torch

    import sadi_lens as sl

    hpr = sl.interventions.HouseholderRotation(np.array([1.0, 0.0]), math.pi / 2, 0)
    torch.testing.assert_close(hpr.edit(vector(-3, 4), 0), vector(4, 3))
    assert torch.equal(hpr.edit(vector(3, 4), 0), vector(3, 4))


def test_householder_rotation_is_the_papers_formula():
    """a' = sin(g1)/sin(g2) a_reflected + sin(g2 - g1)/sin(g2) a, g2 the angle between a and its reflection."""
    import torch

    import sadi_lens as sl

    rng = np.random.default_rng(1)
    normal = rng.normal(size=6)
    normal /= np.linalg.norm(normal)
    a = rng.normal(size=(40, 6))
    expected = a.copy()
    for row in range(40):
        if a[row] @ normal < 0:
            reflected = (np.eye(6) - 2 * np.outer(normal, normal)) @ a[row]
            g2 = math.acos(a[row] @ reflected / (a[row] @ a[row]))
            g1 = 0.5 * 0.8
            expected[row] = (math.sin(g1) * reflected + math.sin(g2 - g1) * a[row]) / math.sin(g2)
    hpr = sl.interventions.HouseholderRotation(normal, 0.8, 0, strength=0.5)
    edited = hpr.edit(torch.from_numpy(a).float()[None], 0)[0].double()
    torch.testing.assert_close(edited, torch.from_numpy(expected), atol=1e-5, rtol=1e-5)
    assert 5 < int((a @ normal < 0).sum()) < 35
    lengths = torch.from_numpy(np.linalg.norm(a, axis=1))
    torch.testing.assert_close(edited.norm(dim=1), lengths, atol=1e-5, rtol=1e-5)


def test_spherical_steering_turns_part_of_the_way_and_keeps_the_length():
    """120 degrees from mu, d = tanh(10) = 1: half the way at strength 0.5 is 60 degrees."""
    import torch

    import sadi_lens as sl

    steer = sl.interventions.SphericalSteering(np.array([1.0, 0.0]), 0, 0.5)
    half, side = 1.0, math.sqrt(3)
    torch.testing.assert_close(steer.edit(vector(-half, side), 0), vector(half, side))
    torch.testing.assert_close(steer.edit(vector(-half, -side), 0), vector(half, -side))
    full = sl.interventions.SphericalSteering(np.array([1.0, 0.0]), 0, 1.0)
    torch.testing.assert_close(full.edit(vector(-half, side), 0), vector(2, 0), atol=1e-6, rtol=0)
    assert torch.equal(full.edit(vector(half, side), 0), vector(half, side))


def test_spherical_steering_ends_at_mu_however_strong():
    import torch

    import sadi_lens as sl

    strong = sl.interventions.SphericalSteering(np.array([1.0, 0.0]), 0, 5.0)
    turned = strong.edit(vector(-1, math.sqrt(3)), 0)
    torch.testing.assert_close(turned, vector(2, 0), atol=1e-6, rtol=0)


def test_a_direction_a_little_too_long_gives_numbers_near_its_poles():
    """Its cosine with what points nearly along it is above 1, and against it below -1."""
    import torch

    import sadi_lens as sl

    steer = sl.interventions.SphericalSteering(np.array([1.00005, 0.0]), 0)
    assert torch.equal(steer.edit(vector(1, 1e-3), 0), vector(1, 1e-3))
    # The other way a half turn leads past mu by as much as it began beside -mu.
    turned = steer.edit(vector(-1, 1e-3), 0)
    torch.testing.assert_close(turned, vector(1, 0), atol=2e-3, rtol=0)


def test_spherical_steering_grows_with_the_probability_of_wrong():
    """d = softmax(kappa c, -kappa c) difference; t = strength (d - beta) / (1 - beta), by hand for kappa 1."""
    import torch

    import sadi_lens as sl

    steer = sl.interventions.SphericalSteering(
        np.array([1.0, 0.0]), 0, 0.7, kappa=1.0, threshold=0.2
    )
    cosine = -0.6
    right, wrong = math.exp(cosine), math.exp(-cosine)
    d = (wrong - right) / (wrong + right)
    angle = math.acos(cosine) * (1 - 0.7 * (d - 0.2) / 0.8)
    expected = vector(5 * math.cos(angle), 5 * math.sin(angle))
    torch.testing.assert_close(steer.edit(vector(-3, 4), 0), expected)
    # d = tanh(0.2) = 0.197 is below beta.
    assert torch.equal(steer.edit(vector(-1, math.sqrt(24)), 0), vector(-1, math.sqrt(24)))


def test_a_rotation_leaves_what_has_no_plane_alone():
    import torch

    import sadi_lens as sl

    mu = np.array([1.0, 0.0])
    for one in (
        sl.interventions.SphericalSteering(mu, 0),
        sl.interventions.HouseholderRotation(mu, 1.0, 0),
    ):
        for values in ((-2, 0), (2, 0), (0, 0)):
            assert torch.equal(one.edit(vector(*values), 0), vector(*values))


def test_cast_fires_on_the_similarity_with_its_projection():
    """h = (3, 4), c = (1, 2): c.h / c.c = 2.2, so h is compared with tanh(2.2, 4.4)."""
    import torch

    import sadi_lens as sl

    t = math.tanh(2.2), math.tanh(4.4)
    similarity = (3 * t[0] + 4 * t[1]) / (5 * math.hypot(*t))
    h = torch.tensor([[3.0, 4.0], [3.0, -4.0]])  # the second: -1 (1, 2), cosine 0.66
    for threshold, above, expected in (
        (similarity - 1e-4, True, [True, False]),
        (similarity + 1e-4, True, [False, False]),
        (similarity + 1e-4, False, [True, True]),
        (similarity - 1e-4, False, [False, True]),
    ):
        cast = sl.interventions.CAST(np.ones(2), 1, np.array([1.0, 2.0]), 0, threshold, 2.0, above)
        assert cast.fires(h).tolist() == expected
        edited = cast.edit(torch.zeros(2, 3, 2), 1, prompt_end([3.0, 4.0], [3.0, -4.0]))
        assert edited[:, :, 0].tolist() == [[2.0 * fired] * 3 for fired in expected]
    assert cast.source(1) == 0


@pytest.mark.parametrize("above", [True, False])
def test_cast_at_its_threshold_does_not_fire(above):
    """h is at a right angle to c, so its similarity is 0."""
    import torch

    import sadi_lens as sl

    cast = sl.interventions.CAST(np.ones(2), 1, np.array([0.0, 1.0]), 0, 0.0, 2.0, above)
    assert not cast.fires(torch.tensor([[3.0, 0.0]])).any()


def test_the_threshold_of_cast_is_the_one_with_the_best_f1():
    from sadi_lens.interventions.cast import _best_threshold

    # Above 0.45: 3 of 3 and one false alarm, F1 6/7. Above 0.65: 2 of 3, none false, F1 4/5.
    found = _best_threshold(np.array([0.5, 0.7, 0.8]), np.array([0.1, 0.4, 0.6]))
    assert found == (pytest.approx(0.45), True)
    found = _best_threshold(np.array([0.1, 0.2]), np.array([0.4, 0.6]))
    assert found == (pytest.approx(0.3), False)


def test_the_gate_of_infer_aligner_opens_where_s_a_plus_b_is_positive():
    import torch

    import sadi_lens as sl

    gate = sl.interventions.InferAlignerGate(
        push=np.array([[1.0, 0.0], [0.0, 1.0]]),
        gate=np.array([[1.0, 1.0], [-1.0, 0.0]]),
        bias=np.array([-3.0, 0.5]),
        steered=(4, 2),
        strength=2.0,
    )
    assert gate.layers == (2, 4)
    seen = prompt_end([1.0, 1.5], [2.0, 1.5])  # s.a - 3 = -0.5 and 0.5
    edited = gate.edit(torch.zeros(2, 1, 2), 4, seen)
    assert edited[:, 0].tolist() == [[0.0, 0.0], [2.0, 0.0]]
    edited = gate.edit(torch.zeros(2, 1, 2), 2, prompt_end([0.4, 9.0], [0.6, 9.0]))
    assert edited[:, 0].tolist() == [[0.0, 2.0], [0.0, 0.0]]


def test_infer_aligner_from_differences_gates_at_the_mean_prompt(info):
    import dataclasses

    import sadi_lens as sl

    found = hidden_differences(info, [[3.0, 4.0]] * 3, [[5.0, 10.0]] * 3)
    gate = sl.interventions.InferAlignerGate.from_differences(found, [1], 2.0)
    np.testing.assert_allclose(gate.gate, [[-0.6, -0.8]], rtol=1e-6)
    np.testing.assert_allclose(gate.bias, [11.0], rtol=1e-6)  # (3 * 5 + 4 * 10) / 5
    np.testing.assert_allclose(gate.push, [[3.0, 4.0]])
    other = hidden_differences(info, [[7.0, 7.0]] * 3, [[0.0, 0.0]] * 3)
    both = sl.interventions.InferAlignerGate.from_differences(found, [1], aligned=other)
    np.testing.assert_allclose(both.push, [[7.0, 7.0]])
    np.testing.assert_allclose(both.gate, gate.gate)
    name = dataclasses.replace(info, name="wide", d_model=5)
    wide = hidden_differences(name, np.ones((3, 5)), np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"toy has hidden \(3, 2\) .* wide has hidden \(3, 5\)"):
        sl.interventions.InferAlignerGate.from_differences(found, [1], aligned=wide)
    with pytest.raises(ValueError, match="must not be zero: it has no direction"):
        sl.interventions.InferAlignerGate.from_differences(
            hidden_differences(info, [[0, 0]] * 3, [[0, 0]] * 3), [1]
        )


def test_swapped_prompt_adds_the_donors_push_to_each_row():
    import torch

    import sadi_lens as sl
    from sadi_lens.interventions import Context

    pushes = np.arange(2 * 2 * 3, dtype=float).reshape(2, 2, 3, 1)
    swapped = sl.interventions.SwappedPrompt("hidden", ((1, 2), (1, 3)), pushes, (0, 4), "SADI")
    assert swapped.layers == (0, 4)
    assert swapped.label == "swapped prompt: SADI"
    rows = Context(prompts=((1, 3), (1, 2), (1, 3)))
    edited = swapped.edit(torch.zeros(3, 2, 3), 4, rows)
    assert edited[:, 1].tolist() == [[9, 10, 11], [3, 4, 5], [9, 10, 11]]
    with pytest.raises(ValueError, match=r"1 of 2 rows have a prompt without a donor .*\[5\]"):
        swapped.edit(torch.zeros(2, 2, 3), 4, Context(prompts=((5,), (1, 2))))


def test_caa_is_the_mean_difference_of_one_layer(info, head_differences):
    import sadi_lens as sl

    hidden = hidden_differences(info, np.arange(12.0).reshape(3, 4), np.ones((3, 4)))
    vector = sl.interventions.caa(hidden, 1, 2.0)
    assert vector.vector.tolist() == [4, 5, 6, 7]
    assert vector.label == "CAA: hidden, layer 1, strength 2"
    with pytest.raises(ValueError, match="must be of component 'hidden', got 'head'"):
        sl.interventions.caa(head_differences, 1)
    with pytest.raises(ValueError, match=r"layer must be in \[0, 2\], got 3"):
        sl.interventions.caa(hidden, 3)


def test_bad_parts_are_refused_by_name(mask, info, head_differences):
    import sadi_lens as sl

    mu = np.array([1.0, 0.0])
    hidden = sl.Mask.from_units("hidden", [(0, 0)], info)
    cases = [
        (
            lambda: sl.interventions.SignedScaling(mask, np.ones((3, 4, 8)), -1.0),
            "strength must be at least 0",
        ),
        (
            lambda: sl.interventions.SignedScaling(mask, np.ones((3, 4, 8)), 1.0, "dampen"),
            "opposed must be one of .*; did you mean 'damp'",
        ),
        (
            lambda: sl.interventions.SignedScaling(mask, np.ones((2, 4, 8)), 1.0),
            r"direction is \(2, 4\)",
        ),
        (
            lambda: sl.interventions.SignedScaling.from_differences(hidden, head_differences, 1.0),
            "must be of the mask's component 'hidden', got 'head'",
        ),
        (lambda: sl.interventions.Clamped(sl.MaskedScaling(mask, 1.0), "al"), "did you mean 'all'"),
        (
            lambda: sl.interventions.Clamped(sl.VectorAddition(mu, 0, 1.0)),
            "inner must be affine with a mask",
        ),
        (lambda: sl.interventions.AUSteer(np.ones((2, 2)), 1.0), r"gain must be \[layer unit d\]"),
        (lambda: sl.interventions.AUSteer(np.full((1, 1, 1), np.nan), 1.0), "gain must be finite"),
        (
            lambda: sl.interventions.ITI(mask, np.ones((3, 4, 8)), np.ones((3, 5))),
            "sigma must match the mask's",
        ),
        (lambda: sl.interventions.ActAdd(np.ones(4), 0, 1.0), r"vector must be \[pos unit\]"),
        (
            lambda: sl.interventions.HouseholderRotation(mu, 4.0, 0),
            r"angle must be in \(0, pi\], got 4.0",
        ),
        (
            lambda: sl.interventions.HouseholderRotation(2 * mu, 1.0, 0),
            "direction must have length 1, got 2",
        ),
        (
            lambda: sl.interventions.SphericalSteering(mu, 0, -1.0),
            "strength must be at least 0, got -1.0",
        ),
        (lambda: sl.interventions.SphericalSteering(mu, 0, kappa=0.0), "kappa must be positive"),
        (
            lambda: sl.interventions.SphericalSteering(mu, 0, threshold=1.0),
            r"threshold in \[-1, 1\)",
        ),
        (
            lambda: sl.interventions.SphericalSteering(mu, 0, component="head"),
            "component must be .*'head'",
        ),
        (
            lambda: sl.interventions.CAST(mu, 0, mu, 1, 0.0, 1.0),
            "must not come after layer 0, got 1",
        ),
        (
            lambda: sl.interventions.CAST(mu, 1, np.ones(3), 0, 0.0, 1.0),
            "must have one width, got 2 and 3",
        ),
        (lambda: sl.interventions.CAST(mu, 1, 0 * mu, 0, 0.0, 1.0), "condition must not be zero"),
        (
            lambda: sl.interventions.CAST(mu, 1, mu, 0, math.nan, 1.0),
            "threshold must be finite, got nan",
        ),
        (
            lambda: sl.interventions.InferAlignerGate(
                np.ones((2, 2)), np.ones((2, 2)), np.ones(2), (1, 1), 1.0
            ),
            r"steered must differ, 1 stands twice in \(1, 1\)",
        ),
        (
            lambda: sl.interventions.InferAlignerGate(
                np.ones((1, 2)), np.ones((1, 2)), np.ones(1), (1, 2), 1.0
            ),
            "for 2 layers, got",
        ),
        (
            lambda: sl.interventions.SwappedPrompt(
                "hidden", ((1,), (1,)), np.ones((2, 1, 3, 1)), (0,), "x"
            ),
            "prompts must all be different",
        ),
        (
            lambda: sl.interventions.SwappedPrompt(
                "hidden", ((1,),), np.ones((2, 1, 3, 1)), (0,), "x"
            ),
            "pushes must be for 1 prompts and 1 layers",
        ),
    ]
    for make, words in cases:
        with pytest.raises(ValueError, match=words):
            make()


def test_a_strength_that_is_not_finite_is_refused_everywhere(mask, head_differences):
    import sadi_lens as sl

    mu = np.array([1.0, 0.0])
    cases = [
        lambda s: sl.interventions.SignedScaling.from_differences(mask, head_differences, s),
        lambda s: sl.interventions.AUSteer(np.ones((1, 1, 1)), s),
        lambda s: sl.interventions.ITI(mask, np.ones((3, 4, 8)), np.ones((3, 4)), s),
        lambda s: sl.interventions.ActAdd(np.ones((1, 2)), 0, s),
        lambda s: sl.interventions.HouseholderRotation(mu, 1.0, 0, s),
        lambda s: sl.interventions.SphericalSteering(mu, 0, s),
        lambda s: sl.interventions.CAST(mu, 1, mu, 0, 0.0, s),
        lambda s: sl.interventions.InferAlignerGate(
            np.ones((1, 2)), np.ones((1, 2)), np.ones(1), (0,), s
        ),
        lambda s: sl.interventions.SwappedPrompt(
            "hidden", ((1,),), np.ones((1, 1, 3, 1)), (0,), "x", s
        ),
    ]
    for make in cases:
        with pytest.raises(ValueError, match="strength must be finite, got nan"):
            make(math.nan)


def test_what_needs_a_run_says_so(mask):
    import torch

    import sadi_lens as sl

    z = torch.zeros(1, 1, 4, 8)
    with pytest.raises(ValueError, match=r"Clamped must know 'clean' of the pass .*use it through"):
        sl.interventions.Clamped(sl.MaskedScaling(mask, 1.0)).edit(z, 0)
    with pytest.raises(ValueError, match="ActAdd must know 'place'"):
        sl.interventions.ActAdd(np.ones((1, 2)), 0, 1.0).edit(torch.zeros(1, 1, 2), 0)


def test_models_of_another_shape_are_refused_with_both_shapes(mask, info):
    import dataclasses

    import sadi_lens as sl

    other = dataclasses.replace(info, name="other", n_layers=2, d_model=7, d_head=5, d_mlp=0)
    mu = np.eye(32)[0]
    ones = np.ones((1, 32))
    cases = [
        sl.interventions.Clamped(sl.MaskedScaling(mask, 1.0)),
        sl.interventions.SignedScaling(mask, np.ones((3, 4, 8)), 1.0),
        sl.interventions.ITI(mask, np.ones((3, 4, 8)), np.ones((3, 4))),
        sl.interventions.AUSteer(np.ones((3, 32, 1)), 1.0),
        sl.interventions.ActAdd(ones, 1, 1.0),
        sl.interventions.HouseholderRotation(mu, 1.0, 1),
        sl.interventions.SphericalSteering(mu, 1),
        sl.interventions.CAST(mu, 1, mu, 0, 0.0, 1.0),
        sl.interventions.InferAlignerGate(ones, ones, np.ones(1), (1,), 1.0),
        sl.interventions.SwappedPrompt("hidden", ((1,),), np.ones((1, 1, 32, 1)), (0,), "x"),
    ]
    for one in cases:
        one.check(info)
        with pytest.raises(ValueError, match="other"):
            one.check(other)
    neurons = sl.interventions.SphericalSteering(np.eye(48)[0], 1, component="neuron")
    with pytest.raises(ValueError, match="has no MLP neurons that can be hooked"):
        neurons.check(other)


def test_places_are_counted_within_the_prompt_whatever_the_padding_and_the_cache():
    """Left padded prompts of 3 and 1 tokens, each followed by two more."""
    import torch

    from sadi_lens.engine.positions import PositionTracker

    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    expected = [[0, 1, 2, -1, -1], [-1, -1, 0, -1, -1]]
    for given in ({"prompt_lengths": [3, 1]}, {"prompt_end": 2}):
        tracker = PositionTracker("last_prompt", **given)
        tracker.begin(2, 5, 0, mask)
        assert tracker.place().tolist() == expected
    tracker = PositionTracker("last_prompt")
    tracker.begin(2, 3, 0, mask[:, :3])
    assert tracker.place().tolist() == [row[:3] for row in expected]
    tracker.begin(2, 2, 3, mask)
    assert tracker.place().tolist() == [[-1, -1], [-1, -1]]


def test_signed_scaling_in_bfloat16_rounds_once_as_masked_scaling_does():
    import torch

    import sadi_lens as sl

    mask = sl.Mask("hidden", np.ones((3, 32), dtype=bool))
    h = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    signed = sl.interventions.SignedScaling(mask, np.ones((3, 32, 1)), 2.03, opposed="leave")
    scaled = (h.float() * 3.03).bfloat16()
    assert torch.equal(signed.edit(h, 1), torch.where(h > 0, scaled, h))
    small = sl.interventions.SignedScaling(mask, np.ones((3, 32, 1)), 0.003, opposed="leave")
    with pytest.warns(UserWarning, match="finer than torch.bfloat16 can express"):
        small.edit(h, 1)


def test_the_gate_of_inferaligner_opens_above_zero_alone():
    """g = 1 if A s + b > 0, else 0."""
    import torch

    import sadi_lens as sl

    gate = sl.interventions.InferAlignerGate(
        np.ones((1, 2), np.float32),
        np.array([[1.0, 0.0]], np.float32),
        np.array([-1.0], np.float32),
        (0,),
        1.0,
    )
    assert gate.fires(torch.tensor([[1.0, 5.0], [1.5, 5.0], [0.5, 5.0]]), 0).tolist() == [
        False,
        True,
        False,
    ]


def test_a_head_agrees_by_its_dot_product_with_the_direction():
    """1 x 0.5 - 1 x 0.2 > 0: as a whole the head goes along, although each of its parts by size would not."""
    import torch

    import sadi_lens as sl

    info = sl.types.ModelInfo("toy", "Toy", 1, 1, 2, 2, 4, "0123456789abcdef")
    mask = sl.Mask.from_units("head", [(0, 0)], info)
    direction = np.array([[[0.5, -0.2]]], np.float32)
    signed = sl.interventions.SignedScaling(mask, direction, 1.0, opposed="reverse")
    given = torch.tensor([[1.0, 1.0], [1.0, 3.0]])[:, None, None]  # 0.3 agrees, -0.1 does not
    found = signed.edit(given, 0)[:, 0, 0].tolist()
    assert found == [[2.0, 2.0], [0.0, 0.0]]
