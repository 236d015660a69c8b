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
    assert seen == 15


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
