"""Interventions keep their arrays as float32 that cannot be written to, and name a wrong field."""

import numpy as np
import pytest


def made(sl, info):
    mask = sl.Mask.from_units("head", [(0, 0), (2, 3)], info)
    rooms = sl.interventions
    unit = [1.0] + [0.0] * 31
    vector = np.ones((3, 4, 8)).tolist()
    return [
        sl.MaskedAddition(mask, vector, 1.0),
        sl.VectorAddition(unit, 1, 1.0),
        rooms.SignedScaling(mask, vector, 1.0),
        rooms.AUSteer(vector, 1.0, "head"),
        rooms.CAST(unit, 2, unit, 1, 0.0, 1.0),
        rooms.ITI(mask, vector, np.ones((3, 4)), 1.0),
        rooms.ActAdd([unit], 1, 1.0),
        rooms.HouseholderRotation(unit, 1.0, 1),
        rooms.SphericalSteering(unit, 1),
        rooms.InferAlignerGate([unit], [unit], [0.0], (1,), 1.0),
        rooms.SwappedPrompt("hidden", ((1, 2),), np.ones((1, 1, 32, 1)), (1,), "swapped"),
        rooms.MeanAblation(mask, vector),
        rooms.ResampleAblation(mask, ((1, 2),), [vector]),
        rooms.UnitScaling("head", np.ones((3, 4))),
        rooms.Push(vector, 1.0, 1),
    ]


def test_arrays_are_float32_and_read_only(info):
    import sadi_lens as sl

    names = [
        "vector",
        "direction",
        "gain",
        "condition",
        "directions",
        "sigma",
        "push",
        "gate",
        "bias",
        "pushes",
        "means",
        "values",
        "scales",
        "mean",
    ]
    seen = 0
    for one in made(sl, info):
        for name in names:
            array = getattr(one, name, None)
            if array is not None:
                seen += 1
                assert isinstance(array, np.ndarray), (one, name)
                assert array.dtype == np.float32, (one, name)
                assert not array.flags.writeable, (one, name)
    assert seen == 19


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda sl, mask: sl.MaskedScaling(mask, float("nan")), "strength must be finite, got nan"),
        (lambda sl, mask: sl.VectorAddition("abc", 1, 1.0), "vector must be an array of numbers"),
        (
            lambda sl, mask: sl.VectorAddition([[1.0]], 1, 1.0),
            r"vector must be \[unit\], got shape",
        ),
        (lambda sl, mask: sl.VectorAddition([np.nan], 1, 1.0), "vector must be finite"),
        (lambda sl, mask: sl.VectorAddition([1.0], -1, 1.0), "layer must be at least 0, got -1"),
        (lambda sl, mask: sl.MaskedAddition(mask, [1.0], 1.0), r"vector must be \[layer unit d\]"),
        (
            lambda sl, mask: sl.VectorAddition([1j], 1, 1.0),
            r"vector must be an array of numbers \(real",
        ),
        (
            lambda sl, mask: sl.VectorAddition(["1"], 1, 1.0),
            r"vector must be an array of numbers \(real",
        ),
        (lambda sl, mask: sl.interventions.Push([[[1.0]]], float("nan"), 1), "rms must be finite"),
        (lambda sl, mask: sl.interventions.Push([[[np.inf]]], 1.0, 1), "mean must be finite"),
        (
            lambda sl, mask: sl.interventions.ResampleAblation(
                mask, ((1,), (1,)), np.ones((2, 3, 4, 8))
            ),
            "prompts must all be different tokens",
        ),
    ],
)
def test_a_wrong_field_is_named(info, make, message):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=message):
        make(sl, sl.Mask.from_units("head", [(0, 0)], info))


@pytest.mark.parametrize("name", ["CAST", "HouseholderRotation", "AUSteer"])
def test_reading_pairs_shows_a_bar_unless_told_not_to(llama, pairs, capsys, name):
    import sadi_lens as sl

    make = getattr(sl.interventions, name).from_pairs
    make(llama, pairs, 1, progress=False)
    assert not capsys.readouterr().err
    make(llama, pairs, 1)
    assert "pairs: 100%" in capsys.readouterr().err


def test_what_is_not_given_is_what_the_docstrings_and_papers_say():
    """ITI: alpha 15; ActAdd: coefficient 5; spherical steering: kappa 20, beta 0.1; AUSteer: 100 units."""
    import inspect

    import sadi_lens as sl

    rooms = sl.interventions
    expected = {
        rooms.ITI.from_pairs: {"strength": 15.0},
        rooms.ActAdd.from_prompts: {"strength": 5.0},
        rooms.AUSteer.from_pairs: {"k": 100, "strength": 1.0},
        rooms.CAST.from_pairs: {"strength": 1.0},
        rooms.HouseholderRotation.from_pairs: {"strength": 1.0},
        rooms.InferAlignerGate.from_prompts: {"strength": 1.0},
        rooms.InferAlignerGate.from_differences: {"strength": 1.0},
        rooms.SphericalSteering.from_differences: {
            "strength": 1.0,
            "kappa": 20.0,
            "threshold": 0.1,
        },
        rooms.TDA.from_prompts: {"cett": 0.2},
    }
    for make, values in expected.items():
        defaults = inspect.signature(make).parameters
        assert {name: defaults[name].default for name in values} == values, make


def test_cast_may_look_at_the_layer_that_it_steers():
    import sadi_lens as sl

    unit = [1.0, 0.0]
    assert sl.interventions.CAST(unit, 2, unit, 2, 0.0, 1.0).layers == (2,)
    with pytest.raises(ValueError, match="must not come after layer 2, got 3"):
        sl.interventions.CAST(unit, 2, unit, 3, 0.0, 1.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64"])
def test_a_tensor_is_an_array_of_numbers(dtype):
    import torch

    import sadi_lens as sl

    given = torch.tensor([1.0, 2.0]).to(getattr(torch, dtype))
    if given.is_floating_point():
        given.requires_grad_()
    made = sl.VectorAddition(given, 1, 1.0)
    assert made.vector.tolist() == [1.0, 2.0]
    assert made.vector.dtype == np.float32


def test_ablations_of_another_width_are_refused_by_the_model(info):
    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(0, 0)], info)
    for one in (
        sl.interventions.MeanAblation(mask, np.ones((3, 4, 1))),
        sl.interventions.ResampleAblation(mask, ((1,),), np.ones((1, 3, 4, 1))),
    ):
        with pytest.raises(ValueError, match=r"(means|values) have 1 values a unit, .* has 8"):
            one.check(info)


def test_the_push_of_another_component_is_refused(differences):
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["head"], 2)
    push = sl.interventions.Push(np.ones((3, 32, 1)), 1.0, 4)
    for match in ("mean", "norm"):
        with pytest.raises(ValueError, match=r"push is \(3, 32, 1\).*differences are \(3, 4, 8\)"):
            sl.MaskedAddition.from_differences(
                mask, differences["head"], 1.0, match=match, push=push
            )


def test_infer_aligner_needs_a_layer(llama, differences):
    import sadi_lens as sl

    gate = sl.interventions.InferAlignerGate
    for make in (
        lambda: gate.from_prompts(llama, ["the ball"], ["a hat"], []),
        lambda: gate.from_differences(differences["hidden"], []),
    ):
        with pytest.raises(ValueError, match="layers must hold at least 1, got 0"):
            make()


def test_every_intervention_is_saved_and_loaded(info, tmp_path):
    import sadi_lens as sl
    from sadi_lens.interventions.ablation import DirectPath

    mask = sl.Mask.from_units("head", [(0, 0), (2, 3)], info)
    scaling = sl.MaskedScaling(mask, 2.0)
    things = [
        *made(sl, info),
        scaling,
        sl.interventions.Clamped(scaling),
        sl.interventions.ControlToken(scaling),
        sl.interventions.TDA(((1, 2),), np.eye(3, 8, dtype=bool)[None], 0.2),
        DirectPath("hidden", ((1, 2),), np.ones((1, 1, 32, 1)), (1,), "direct"),
    ]
    classes = {getattr(sl.interventions, name) for name in sl.interventions.__all__}
    mine = {
        one for one in classes if isinstance(one, type) and hasattr(one, "__dataclass_fields__")
    }
    assert {type(one) for one in things} >= mine - {sl.interventions.Context}
    for one in things:
        again = sl.load(sl.save(one, tmp_path / type(one).__name__))
        assert type(again) is type(one)
        assert again == one


def test_nothing_is_read_off_a_model_that_is_steered(llama, pairs):
    """Whatever builds an intervention from a model would build it from the steered one."""
    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(1, 2)], llama)
    rooms = sl.interventions
    makers = [
        lambda: rooms.ActAdd.from_prompts(llama, "the ball", "a hat", 1),
        lambda: rooms.ITI.from_pairs(llama, pairs, mask, progress=False),
        lambda: rooms.CAST.from_pairs(llama, pairs, 1, progress=False),
        lambda: rooms.AUSteer.from_pairs(llama, pairs, 2, progress=False),
        lambda: rooms.HouseholderRotation.from_pairs(llama, pairs, 1, progress=False),
        lambda: rooms.InferAlignerGate.from_prompts(llama, ["the ball"], ["a hat"], [1]),
        lambda: rooms.TDA.from_prompts(llama, ["the ball"]),
    ]
    with sl.steer(llama, sl.MaskedScaling(mask, 5.0)):
        for make in makers:
            with pytest.raises(RuntimeError, match="is being steered by 'SADI head"):
                make()
