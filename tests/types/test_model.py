"""TransformerLens' names of components are accepted wherever ours are; results carry ours."""

import numpy as np
import pytest

ALIASES = [("z", "head"), ("resid_post", "hidden")]


@pytest.mark.parametrize(("theirs", "ours"), ALIASES)
def test_the_alias_names_the_hook_point_of_transformer_lens(theirs, ours):
    from sadi_lens.types.model import hook_name, require_component, unit_label

    assert require_component(theirs) is require_component(ours)
    assert hook_name(theirs, 3).endswith(f"hook_{theirs}")
    assert unit_label(theirs, 3, 7) == unit_label(ours, 3, 7)


@pytest.mark.parametrize(("theirs", "ours"), ALIASES)
def test_differences_masks_and_scores_carry_our_name(llama, pairs, theirs, ours):
    import sadi_lens as sl

    found = sl.activation_differences(llama, pairs, components=[theirs], progress=False)
    assert list(found) == [ours]
    assert found[ours] == sl.activation_differences(llama, pairs, progress=False)[ours]
    assert sl.Mask.from_units(theirs, [(0, 1)], llama) == sl.Mask.from_units(ours, [(0, 1)], llama)
    for ranking in ("signed", "gradient"):
        one, same = (
            sl.unit_scores(llama, pairs, name, ranking, progress=False) for name in (theirs, ours)
        )
        assert one == same
        assert one.component == ours


def test_the_same_component_under_two_names_is_refused(llama, pairs):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"components must differ"):
        sl.activation_differences(llama, pairs, components=["z", "head"], progress=False)


@pytest.mark.parametrize(("theirs", "ours"), ALIASES)
def test_measures_take_the_alias(llama, pairs, theirs, ours):
    import sadi_lens as sl

    stable, same = (
        sl.measure.mask_stability(llama, pairs, name, 3, n_boot=5, progress=False)
        for name in (theirs, ours)
    )
    assert stable == same
    shifts = sl.measure.activation_shifts(
        llama, ["the red ball"], {"none": sl.MaskedScaling(sl.Mask.from_units(ours, [], llama), 1.0)},
        component=theirs,
    )  # fmt: skip
    assert shifts.component == ours


def test_interventions_made_with_the_alias_are_the_same(llama, pairs):
    import sadi_lens as sl
    from sadi_lens import interventions

    vector = np.arange(llama.cfg.d_model, dtype=np.float32)
    unit = vector / np.linalg.norm(vector)
    for theirs, ours in (
        (sl.VectorAddition(vector, 1, 1.0, component=name) for name in ("resid_post", "hidden")),
        (interventions.HouseholderRotation(unit, 1.0, 1, 1.0, n) for n in ("resid_post", "hidden")),
        (interventions.ActAdd(vector[None], 1, 1.0, component=n) for n in ("resid_post", "hidden")),
        (
            interventions.AUSteer.from_pairs(llama, pairs, 3, component=n, progress=False)
            for n in ("z", "head")
        ),
    ):
        assert theirs == ours
    with pytest.raises(ValueError, match="got 'head'"):
        sl.VectorAddition(vector, 1, 1.0, component="z")


def test_an_unknown_component_is_refused_with_the_nearest_name(llama, pairs):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"component must be one of .*did you mean 'neuron'"):
        sl.activation_differences(llama, pairs, components=["neurons"], progress=False)


def test_weights_that_were_written_to_are_another_model():
    """A fine-tune or an edit of the weights in place changes the identity that results and masks carry."""
    import torch
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    model = sl.load_model(hf, tokenizer=tokenizer)
    before = sl.types.ModelInfo.of(model)
    assert sl.types.ModelInfo.of(model) is before
    mask = sl.Mask.from_units("head", [(0, 1)], model)
    samples = [sl.Sample("the ball is", (" red", " blue"), 0)]
    with torch.no_grad():
        hf.lm_head.weight.mul_(0.5)
    again = sl.load_model(hf, tokenizer=tokenizer)
    after = sl.evaluate(model, samples, progress=False).model
    assert after.fingerprint == sl.types.ModelInfo.of(again).fingerprint != before.fingerprint
    assert after.name == before.name
    with pytest.warns(UserWarning, match="has the same shape but other weights"):
        mask.check(sl.types.ModelInfo.of(model))
