"""What is measured does not depend on what a caller set for code of their own: default dtype, default device, autocast.

For interventions: ``test_numbers_do_not_depend_on_what_the_caller_set_in_torch`` in the laws.
"""

from dataclasses import fields

import numpy as np
import pytest


def numbers(thing):
    if isinstance(thing, dict):
        return [one for value in thing.values() for one in numbers(value)]
    arrays = (getattr(thing, one.name) for one in fields(thing))
    return [one for one in arrays if isinstance(one, np.ndarray)]


CALLS = {
    "differences": lambda sl, m, pairs, _: sl.activation_differences(m, pairs, progress=False),
    "effect": lambda sl, m, pairs, _: sl.unit_scores(m, pairs, "head", "effect", progress=False),
    "gradient": lambda sl, m, pairs, _: sl.unit_scores(
        m, pairs, "hidden", "gradient", progress=False
    ),
    "attribution": lambda sl, m, pairs, _: sl.unit_scores(
        m, pairs, "neuron", "attribution", progress=False
    ),
    "learned": lambda sl, m, pairs, _: sl.find.learn_scalars(
        m, pairs, "head", steps=3, progress=False
    ),
    "effects": lambda sl, m, _, samples: sl.measure.unit_effects(
        m, samples, sl.Mask.from_units("head", [(0, 1)], m), 0.7, progress=False
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_same_numbers_whatever_the_caller_set(llama, pairs, samples, settings_of_torch, name):
    import sadi_lens as sl

    wanted = numbers(CALLS[name](sl, llama, pairs, samples))
    with settings_of_torch():
        found = numbers(CALLS[name](sl, llama, pairs, samples))
    assert wanted
    for mine, own in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(mine, own)


def test_a_text_is_written_and_a_check_made_as_without_them(llama, settings_of_torch):
    import sadi_lens as sl

    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1), (2, 3)], llama), 0.7)
    asked = ["the ball is", "Tom says the hat is in the"]
    run = lambda: (  # noqa: E731
        sl.generate(llama, asked, scaling, max_new_tokens=6),
        sl.measure.check(llama, scaling, asked, n_steps=2).effect,
        sl.measure.divergence(llama, [(one, " red") for one in asked], scaling),
    )
    wanted = run()
    with settings_of_torch():
        assert run() == wanted


def test_what_a_user_runs_inside_of_steer_keeps_their_autocast(llama):
    import torch

    import sadi_lens as sl

    ids = llama.tokenizer("the ball is", return_tensors="pt")["input_ids"]
    mask = sl.Mask.from_units("head", [(0, 1)], llama)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        plain = llama(ids)
        with sl.steer(llama, sl.MaskedScaling(mask, 0.0)):
            assert torch.equal(llama(ids), plain)
            assert torch.is_autocast_enabled("cpu")
    assert not torch.equal(plain, llama(ids))


def test_the_planted_model_is_the_same_in_any_default_dtype(settings_of_torch):
    import torch

    import sadi_lens as sl

    wanted = sl.models.planted_model()
    with settings_of_torch():
        if torch.get_default_device().type == "meta":
            pytest.skip("where other libraries put what they make while they load is up to them")
        found = sl.models.planted_model()
    assert next(found.parameters()).dtype == torch.float32
    ids = torch.tensor([[1, 5, 6, 7]])
    assert torch.equal(found(ids), wanted(ids))
