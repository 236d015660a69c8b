"""Close looks at a model against plain re-derivations on its Hugging Face module."""

import numpy as np
import pytest


@pytest.fixture
def mask(differences):
    import sadi_lens as sl

    return sl.top_k_mask(differences["head"], 3)


def test_unit_activations_are_the_two_sides_of_the_differences(llama, pairs, mask):
    import sadi_lens as sl

    found = sl.measure.unit_activations(llama, pairs, mask, task="words", progress=False)
    direct = sl.find.unit_differences(llama, pairs, mask, progress=False)
    np.testing.assert_allclose(found.positive - found.negative, direct.values, atol=1e-5)
    assert found.units == mask.units
    # The positive side, by hand: the input of o_proj at the last token of the bare Hugging Face model.
    import torch

    layer, unit = mask.units[0]
    hf, seen = llama.original_model, []
    ids = torch.tensor([llama.tokenizer(pairs[1].prompt + pairs[1].positive)["input_ids"]])
    projection = hf.model.layers[layer].self_attn.o_proj
    handle = projection.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode():
        hf(ids)
    handle.remove()
    z = seen[0][0, -1].reshape(4, 8)[unit].mean()
    assert found.positive[1, 0] == pytest.approx(float(z), abs=1e-5)


def test_unit_activations_refuse_nothing_to_read(llama, pairs, mask):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="at least 1 contrastive pair, got 0"):
        sl.measure.unit_activations(llama, [], mask)
    empty = sl.Mask("head", np.zeros((3, 4), bool))
    with pytest.raises(ValueError, match="at least 1 unit, got 0"):
        sl.measure.unit_activations(llama, pairs, empty)


def test_all_unit_differences_average_to_the_means(llama, pairs, differences):
    import sadi_lens as sl

    found = sl.measure.all_unit_differences(llama, pairs, "neuron", progress=False)
    mean = found.values.mean(axis=0).reshape(differences["neuron"].mean.shape)
    np.testing.assert_allclose(mean, differences["neuron"].mean, atol=1e-5)


def test_the_sign_flip_null_is_the_largest_mean_of_flipped_pairs(llama, pairs):
    import sadi_lens as sl
    from sadi_lens.types.differences import UnitDifferences
    from sadi_lens.types.model import ModelInfo

    one = sl.measure.all_unit_differences(llama, pairs, "head", progress=False)
    found = sl.measure.sign_flip_null(one, draws=50, seed=3)
    # Four pairs have 16 sign vectors: every maximum must be one of theirs.
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
    possible = (signs @ one.values / 4).max(axis=1)
    gaps = np.abs(found.maxima[:, None] - possible[None]).min(axis=1)
    assert gaps.max() < 1e-6
    assert len(np.unique(found.maxima.round(6))) > 5
    np.testing.assert_array_equal(
        found.maxima, sl.measure.sign_flip_null(one, draws=50, seed=3).maxima
    )
    assert (found.maxima != sl.measure.sign_flip_null(one, draws=50, seed=4).maxima).any()
    # One unit, differences all 1: the mean of n signs, whose 95th percentile is known.
    even = UnitDifferences("head", ModelInfo.of(llama), ((0, 0),), np.ones((400, 1), np.float32))
    assert sl.measure.sign_flip_null(even, draws=4000).threshold == pytest.approx(
        1.645 / 20, rel=0.08
    )


def test_pure_noise_stands_out_on_either_side_in_one_of_twenty(info):
    """12 units, 40 pairs: a magnitude is compared with magnitudes, also by a null that did not keep them."""
    from dataclasses import replace

    import sadi_lens as sl
    from sadi_lens.types.differences import UnitDifferences

    rng = np.random.default_rng(0)
    units = tuple((layer, unit) for layer in range(3) for unit in range(4))
    found = np.zeros(3)
    for _ in range(400):
        values = rng.standard_normal((40, len(units))).astype(np.float32)
        null = sl.measure.sign_flip_null(UnitDifferences("head", info, units, values), draws=200)
        old = replace(null, magnitudes=None)
        largest = np.abs(values.mean(axis=0)).max()
        found += [
            largest > null.threshold_of_magnitude,
            largest > old.threshold_of_magnitude,
            largest > null.threshold,
        ]
    kept, unkept, signed = found / 400
    assert 0.02 < kept < 0.08
    assert 0.02 < unkept < 0.08
    assert signed > 0.08
    assert (null.magnitudes >= null.maxima).all()
    assert (null.magnitudes > null.maxima).any()


def test_pairs_of_one_prompt_are_swapped_together(info):
    """40 prompts, three pairs each whose differences share the right text: noise stands out in one of twenty."""
    import sadi_lens as sl
    from sadi_lens.types.differences import UnitDifferences

    rng = np.random.default_rng(1)
    units, prompts = tuple((0, unit) for unit in range(4)), np.arange(120) // 3
    apart = together = 0
    for _ in range(300):
        right = rng.standard_normal((40, 4)).repeat(3, axis=0)
        values = (right - rng.standard_normal((120, 4))).astype(np.float32)
        largest = values.mean(axis=0).max()
        for clusters in (None, prompts):
            one = UnitDifferences("head", info, units, values, "", clusters)
            is_above = largest > sl.measure.sign_flip_null(one, draws=200).threshold
            apart += is_above and clusters is None
            together += is_above and clusters is not None
    assert 0.02 < together / 300 < 0.09
    assert apart / 300 > 0.15
    alone = UnitDifferences("head", info, units, values[:3], "", prompts[:3])
    with pytest.raises(ValueError, match="at least 2 clusters of pairs, all 3 are of one"):
        sl.measure.sign_flip_null(alone)


def test_differences_know_which_pairs_are_of_one_prompt(llama, pairs):
    from dataclasses import replace

    import sadi_lens as sl

    again = replace(pairs[0], negative=" Ann")
    mask = sl.Mask.from_units("head", [(0, 1)], llama)
    found = sl.find.unit_differences(llama, [*pairs, again], mask, progress=False)
    assert found.clusters.tolist() == [0, 1, 2, 3, 0]
    assert sl.find.unit_differences(llama, pairs, mask, progress=False).clusters is None
    named = [replace(one, cluster="a fact" if row > 1 else None) for row, one in enumerate(pairs)]
    assert sl.find.unit_differences(llama, named, mask, progress=False).clusters.tolist() == [
        0,
        1,
        2,
        2,
    ]


def test_a_sign_flip_null_is_stored_with_its_magnitudes(info, tmp_path):
    from dataclasses import replace

    import sadi_lens as sl
    from sadi_lens.types.results import SignFlipNull

    maxima = np.linspace(0, 1, 21, dtype=np.float32)
    null = SignFlipNull("head", info, 9, maxima, magnitudes=maxima + 1)
    for one in (null, replace(null, magnitudes=None)):
        assert sl.load(sl.save(one, tmp_path / "null")) == one
    assert null.frame()["magnitude"].tolist() == (maxima + 1).tolist()
    with pytest.raises(ValueError, match="magnitudes of SignFlipNull"):
        sl.save(replace(null, magnitudes=maxima[:5]), tmp_path / "null")


def test_a_sign_flip_null_needs_pairs_draws_and_numbers(llama, pairs):
    from dataclasses import replace

    import sadi_lens as sl

    one = sl.measure.all_unit_differences(llama, pairs, "head", progress=False)
    with pytest.raises(ValueError, match=r"draws must be at least 20 .* got 5"):
        sl.measure.sign_flip_null(one, draws=5)
    with pytest.raises(ValueError, match="at least 2 pairs, got 1"):
        sl.measure.sign_flip_null(replace(one, values=one.values[:1]))
    broken = one.values.copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="must be finite, 1 of 48 are not"):
        sl.measure.sign_flip_null(replace(one, values=broken))


def test_shifts_are_the_states_of_the_steered_model(llama, samples, mask):
    import torch

    import sadi_lens as sl

    prompts = [sample.prompt for sample in samples]
    sadi = sl.MaskedScaling(mask, 4.0)
    found = sl.measure.activation_shifts(
        llama,
        prompts,
        {"SADI": sadi, "none": sl.MaskedScaling(mask, 0.0)},
        layer=1,
        kinds={"SADI": "adaptive"},
    )
    assert found.kinds == ("adaptive", "other")
    np.testing.assert_array_equal(found.after[1], found.before)
    assert np.isnan(found.cosines[1]).all()
    # One prompt alone, on the bare Hugging Face module.
    ids = torch.tensor([llama.tokenizer(prompts[1])["input_ids"]])
    with torch.inference_mode():
        plain = llama.original_model(ids, output_hidden_states=True).hidden_states[2][0, -1]
        with sl.steer(llama, sadi):
            steered = llama.original_model(ids, output_hidden_states=True).hidden_states[2][0, -1]
    np.testing.assert_allclose(found.before[1], plain.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.after[0, 1], steered.numpy(), atol=1e-5)
    assert np.abs(found.after[0] - found.before).max() > 1e-3


def test_shifts_of_a_clamped_run_are_not_those_of_its_clean_run(llama, samples, mask):
    import torch

    import sadi_lens as sl

    clamped = sl.interventions.Clamped(sl.MaskedScaling(mask, 4.0))
    prompt = samples[1].prompt
    found = sl.measure.activation_shifts(llama, [prompt], {"clamped": clamped}, layer=2)
    ids = torch.tensor([llama.tokenizer(prompt)["input_ids"]])
    seen = []
    block = llama.blocks[2].original_component
    handle = block.register_forward_hook(lambda *args: seen.append(args[2][0][..., -1, :]))
    try:
        with torch.inference_mode(), sl.steer(llama, clamped):
            llama.original_model(ids)
    finally:
        handle.remove()
    clean, steered = (one.flatten().numpy() for one in seen)
    np.testing.assert_allclose(found.before[0], clean, atol=1e-5)
    np.testing.assert_allclose(found.after[0, 0], steered, atol=1e-5)
    assert np.abs(clean - steered).max() > 1e-3


def test_shifts_see_an_edit_at_the_place_that_is_read(llama, samples, differences):
    """The reading hook must come after the steering hook of the same place."""
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["hidden"], 2)
    layer, unit = mask.units[0]  # the lowest layer that is edited
    found = sl.measure.activation_shifts(
        llama, [samples[0].prompt], {"SADI": sl.MaskedScaling(mask, 2.0)}, layer=layer
    )
    assert found.after[0, 0, unit] == pytest.approx(3 * found.before[0, unit], rel=1e-5)


def test_shifts_refuse_a_layer_that_does_not_exist(llama, mask):
    import sadi_lens as sl

    method = {"SADI": sl.MaskedScaling(mask, 1.0)}
    with pytest.raises(ValueError, match=r"layer must be in \[0, 2\], got 3"):
        sl.measure.activation_shifts(llama, ["the ball"], method, layer=3)
    with pytest.raises(ValueError, match="at least 1 prompt and 1 method, got 0 and 1"):
        sl.measure.activation_shifts(llama, [], method)


@pytest.mark.parametrize("position", ["last_prompt", "every_step", "all"])
def test_a_trace_is_the_step_by_step_log_probability(llama, mask, position):
    import torch

    import sadi_lens as sl

    prompt, text = "the ball is", " red box in"
    sadi = sl.MaskedScaling(mask, 3.0)
    trace = sl.measure.trace_generation(llama, prompt, sadi, text=text, position=position)
    assert "".join(trace.tokens) == text
    tokenizer = llama.tokenizer
    ids = tokenizer(prompt + text)["input_ids"]
    n_prompt = len(tokenizer(prompt)["input_ids"])
    for step, token in enumerate(ids[n_prompt:]):
        row = torch.tensor([ids[: n_prompt + step]])
        with torch.inference_mode():
            plain = llama.original_model(row).logits[0, -1].log_softmax(-1)
            with sl.steer(llama, sadi, position=position, prompt_lengths=[n_prompt]):
                steered = llama.original_model(row).logits[0, -1].log_softmax(-1)
        assert trace.logp_unsteered[step] == pytest.approx(float(plain[token]), abs=1e-4)
        assert trace.logp[step] == pytest.approx(float(steered[token]), abs=1e-4)
        kl = float((plain.exp() * (plain - steered)).sum())
        assert trace.kl[step] == pytest.approx(kl, abs=1e-4)
    edited = trace.edit_norm.sum(axis=0) > 0
    assert edited.tolist() == ([True, False, False] if position == "last_prompt" else [True] * 3)
    untouched = [layer for layer in range(3) if layer not in sadi.layers]
    assert not trace.edit_norm[untouched].any()


def test_the_norm_of_an_edit_is_strength_times_the_selected_values(llama, differences):
    """In the lowest layer that is edited, the value is that of the clean run."""
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["head"], 1)
    ((layer, unit),) = mask.units
    trace = sl.measure.trace_generation(
        llama, "the ball is", sl.MaskedScaling(mask, 3.0), text=" red"
    )
    import torch

    ids = torch.tensor([llama.tokenizer("the ball is")["input_ids"]])
    z = sl.engine.read_activations(llama, ids, components=["head"])["head"][layer][0, -1, unit]
    assert trace.edit_norm[layer, 0] == pytest.approx(3 * float(z.norm()), rel=1e-4)


def test_the_unsteered_trace_and_the_default_text(llama):
    import sadi_lens as sl

    trace = sl.measure.trace_generation(llama, "the ball is", None, max_new_tokens=3)
    assert trace.kind == "unsteered"
    assert not trace.kl.any()
    assert not trace.edit_norm.any()
    np.testing.assert_array_equal(trace.logp, trace.logp_unsteered)
    assert 1 <= len(trace.tokens) <= 4
    with pytest.raises(ValueError, match="got none; there is nothing to trace"):
        sl.measure.trace_generation(llama, "the ball is", None, text="")


def test_roles_follow_the_rules_of_the_method(llama, pairs):
    import sadi_lens as sl

    pair = pairs[2]  # right: " good", wrong: " very bad."
    roles = sl.measure.token_roles(llama, pair)
    assert roles.tokens == ("<bos>", "Ann", " was", " good")
    assert (roles.prompt_length, roles.read, roles.steered) == (3, (3,), (2,))
    wrong = sl.measure.token_roles(llama, pair, side="negative", position="every_step")
    assert wrong.read == (len(wrong.tokens) - 1,)
    assert wrong.steered == tuple(range(2, len(wrong.tokens)))
    assert sl.measure.token_roles(llama, pair, position="all").steered == (0, 1, 2, 3)
    with pytest.raises(ValueError, match="did you mean 'positive'"):
        sl.measure.token_roles(llama, pair, side="positiv")


def test_the_model_is_left_without_hooks(llama, mask):
    import sadi_lens as sl

    sadi = sl.MaskedScaling(mask, 3.0)
    sl.measure.trace_generation(llama, "the ball is", sadi, text=" red")
    sl.measure.activation_shifts(llama, ["the ball is"], {"SADI": sadi})
    for layer in range(3):
        for name in (f"blocks.{layer}.attn.hook_z", f"blocks.{layer}.hook_resid_post"):
            assert not llama.get_hook_point(name).fwd_hooks
