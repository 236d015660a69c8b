"""TransformerLens' names of components are accepted wherever ours are; results carry ours."""

import copy

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


def test_a_model_of_which_one_unit_was_scaled_is_another_one(tmp_path):
    """Every head and some neurons, each alone, as ``export_folded`` scales them; also one row of one matrix."""
    import torch
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.types.model import fingerprint

    hf, tokenizer = random_llama()
    model = sl.load_model(hf, tokenizer=tokenizer)
    seen = {sl.types.ModelInfo.of(model).fingerprint}
    layer = hf.model.layers[1]
    wide = model.cfg.d_head
    columns = [
        *((layer.self_attn.o_proj, slice(h * wide, (h + 1) * wide)) for h in range(model.cfg.n_heads)),
        *((layer.mlp.down_proj, slice(n, n + 1)) for n in range(model.cfg.d_mlp)),
    ]  # fmt: skip
    for module, where in columns:
        before = module.weight.detach().clone()
        with torch.no_grad():
            module.weight[:, where] *= 3
        seen.add(fingerprint(hf.parameters()))
        with torch.no_grad():
            module.weight.copy_(before)
    for row in range(model.cfg.d_mlp):
        with torch.no_grad():
            layer.mlp.up_proj.weight[row] *= 2
        seen.add(fingerprint(hf.parameters()))
        with torch.no_grad():
            layer.mlp.up_proj.weight[row] /= 2
    assert len(seen) == 1 + len(columns) + model.cfg.d_mlp
    rounded = copy.deepcopy(hf).bfloat16()
    assert fingerprint(rounded.parameters()) == fingerprint(hf.parameters())
    mask = sl.Mask.from_units("neuron", [(1, 5)], model)
    folded = sl.interventions.export_folded(model, sl.MaskedScaling(mask, 2.0), tmp_path / "folded")
    path = sl.save(mask, tmp_path / "mask")
    with pytest.raises(ValueError, match="has the same shape but weights"):
        sl.load(path, model=sl.load_model(folded))


def test_values_of_a_fingerprint_stand_in_every_row_and_column():
    """Also of vectors, of more axes than two, and of packed weights, which are one long column."""
    import torch

    from sadi_lens.types import model as module

    for shape in ((1,), (7,), (3, 5), (5, 3), (64, 64), (2, 3, 4), (1, 9), (9, 1)):
        n = int(torch.tensor(shape).prod())
        whole = torch.arange(n).reshape(shape)
        found = module._of_rows_and_columns(whole).tolist()
        matrix = whole.reshape(-1, shape[-1]) if len(shape) > 1 else whole[None]
        assert {one // matrix.shape[1] for one in found} == {*range(matrix.shape[0])}
        assert {one % matrix.shape[1] for one in found} == {*range(matrix.shape[1])}
    assert module._of_rows_and_columns(torch.zeros(0, 4)).tolist() == []
    packed = module._of_rows_and_columns(torch.zeros(5 << 20, 1, dtype=torch.uint8))
    assert len(packed) == module.MOST_VALUES
