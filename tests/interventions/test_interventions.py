"""Interventions against the equations, by hand."""

import math

import pytest


@pytest.fixture
def mask(info):
    import sadi_lens as sl

    return sl.Mask.from_units("head", [(0, 1), (2, 0), (2, 3)], info)


def test_scaling_multiplies_selected_heads_by_one_plus_strength(mask):
    import torch

    import sadi_lens as sl

    z = torch.arange(2 * 1 * 4 * 8, dtype=torch.float32).reshape(2, 1, 4, 8) + 1
    edited = sl.MaskedScaling(mask, 2.5).edit(z, 2)
    assert torch.equal(edited[:, :, [0, 3]], 3.5 * z[:, :, [0, 3]])
    assert torch.equal(edited[:, :, [1, 2]], z[:, :, [1, 2]])


def test_from_multiplier_is_the_reference_codes_parameter(mask):
    import torch

    import sadi_lens as sl

    assert sl.MaskedScaling.from_multiplier(mask, 5.0) == sl.MaskedScaling(mask, 4.0)
    z = torch.ones(1, 1, 4, 8)
    assert float(sl.MaskedScaling.from_multiplier(mask, 5.0).edit(z, 0)[0, 0, 1, 0]) == 5.0


def test_fixed_addition_adds_strength_times_difference(mask, head_differences):
    import torch

    import sadi_lens as sl

    fixed = sl.MaskedAddition.from_differences(mask, head_differences, 2.0)
    z = torch.randn(3, 2, 4, 8)
    expected = z.clone()
    expected[:, :, 1] += 2.0 * torch.tensor(head_differences.vector[0, 1])
    torch.testing.assert_close(fixed.edit(z, 0), expected)
    assert fixed.layers == (0, 2)


def test_norm_matching_gives_the_push_the_length_of_sadis(mask, head_differences):
    import numpy as np
    import torch

    import sadi_lens as sl

    fixed = sl.MaskedAddition.from_differences(mask, head_differences, 3.0, match="norm")
    push = np.stack(
        [fixed.edit(torch.zeros(1, 1, 4, 8), layer)[0, 0].numpy() for layer in range(3)]
    )
    # SADI pushes by 3 A on three heads; the root mean square length of that over the pairs:
    heads = ([0, 2, 2], [1, 0, 3])
    expected = 3.0 * np.sqrt((head_differences.prompt_rms[heads] ** 2).sum())
    assert np.linalg.norm(push) == pytest.approx(expected, rel=1e-6)
    direction = head_differences.vector[heads].ravel()
    cosine = push[heads].ravel() @ direction / np.linalg.norm(push) / np.linalg.norm(direction)
    assert cosine == pytest.approx(1.0, abs=1e-6)


def test_mean_matching_is_sadis_push_at_the_mean_activation(mask, head_differences):
    import torch

    import sadi_lens as sl

    fixed = sl.MaskedAddition.from_differences(mask, head_differences, 3.0, match="mean")
    mean = torch.tensor(head_differences.prompt_mean[2])[None, None]
    torch.testing.assert_close(fixed.edit(mean, 2), sl.MaskedScaling(mask, 3.0).edit(mean, 2))


def test_vector_addition_adds_to_one_layer_only():
    import numpy as np
    import torch

    import sadi_lens as sl

    vector = sl.VectorAddition(np.arange(5.0), 1, 2.0)
    assert vector.layers == (1,)
    h = torch.zeros(1, 2, 5)
    assert vector.edit(h, 1)[0, 0].tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("strength", [math.nan, math.inf, -math.inf])
def test_a_strength_that_is_not_finite_is_refused(mask, head_differences, strength):
    import numpy as np

    import sadi_lens as sl

    for build in (
        lambda: sl.MaskedScaling(mask, strength),
        lambda: sl.MaskedScaling.from_multiplier(mask, strength),
        lambda: sl.MaskedAddition.from_differences(mask, head_differences, strength),
        lambda: sl.VectorAddition(np.ones(4), 0, strength),
    ):
        with pytest.raises(ValueError, match=r"(strength|multiplier) must be finite, got"):
            build()


def test_a_mask_of_another_model_is_refused_with_both_shapes(mask, head_differences):
    import numpy as np

    import sadi_lens as sl

    other = sl.types.ModelInfo("bigger", "Toy", 5, 4, 8, 32, 48, "0")
    with pytest.raises(ValueError, match=r"mask has 3 layers x 4 head units, but bigger has 5 x 4"):
        sl.MaskedScaling(mask, 1.0).check(other)
    with pytest.raises(ValueError, match=r"3 layers x 4 head units, but bigger has 5 x 4"):
        sl.MaskedAddition.from_differences(mask, head_differences, 1.0).check(other)
    wide = sl.types.ModelInfo("wide", "Toy", 3, 4, 16, 64, 48, "0123456789abcdef")
    with pytest.raises(ValueError, match="vector has 8 values a unit, wide has 16"):
        sl.MaskedAddition.from_differences(mask, head_differences, 1.0).check(wide)
    with pytest.raises(
        ValueError, match="layer 7 and 4 units, but bigger has 5 layers of 32 hidden"
    ):
        sl.VectorAddition(np.ones(4), 7, 1.0).check(other)


def test_wrong_parts_are_refused(mask, head_differences, info):
    import dataclasses

    import numpy as np

    import sadi_lens as sl

    with pytest.raises(
        ValueError, match=r"match must be one of .* got 'nrom'; did you mean 'norm'"
    ):
        sl.MaskedAddition.from_differences(mask, head_differences, 1.0, match="nrom")
    hidden = sl.Mask.from_units("hidden", [(0, 0)], info)
    with pytest.raises(ValueError, match="must be of the mask's component 'hidden', got 'head'"):
        sl.MaskedAddition.from_differences(hidden, head_differences, 1.0)
    zero = dataclasses.replace(head_differences, vector=np.zeros((3, 4, 8), np.float32))
    with pytest.raises(ValueError, match="not zero on the mask; use match='mean'"):
        sl.MaskedAddition.from_differences(mask, zero, 1.0, match="norm")
    with pytest.raises(ValueError, match=r"vector must be \[layer unit d\]"):
        sl.MaskedAddition(mask, np.zeros((2, 4, 8)), 1.0)
    with pytest.raises(ValueError, match="vector must be finite"):
        sl.MaskedAddition(mask, np.full((3, 4, 8), np.nan), 1.0)
    with pytest.raises(ValueError, match=r"layer must be in \[0, 2\], got 3"):
        sl.VectorAddition.from_differences(head_differences, 3, 1.0)
