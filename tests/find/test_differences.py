"""Differences against a plain re-derivation on the raw Hugging Face modules."""

import pytest


def raw_values(hf, ids):
    """Head, hidden, MLP-output and neuron activations of one text, read by plain PyTorch hooks."""
    import torch

    found = {"head": [], "hidden": [], "mlp_out": [], "neuron": []}
    handles = []
    for block in hf.model.layers:
        handles += [
            block.self_attn.o_proj.register_forward_pre_hook(
                lambda _, args: found["head"].append(args[0][0])
            ),
            block.register_forward_hook(lambda *a: found["hidden"].append(a[2][0])),
            block.mlp.register_forward_hook(lambda *a: found["mlp_out"].append(a[2][0])),
            block.mlp.down_proj.register_forward_pre_hook(
                lambda _, args: found["neuron"].append(args[0][0])
            ),
        ]
    with torch.inference_mode():
        hf(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return {name: torch.stack(layers) for name, layers in found.items()}  # [layer pos width]


@pytest.mark.parametrize("component", ["head", "hidden", "mlp_out", "neuron"])
@pytest.mark.parametrize("max_tokens", [20, 4096])
def test_differences_equal_the_plain_mean_over_pairs(llama, pairs, component, max_tokens):
    import numpy as np
    import torch

    import sadi_lens as sl

    found = sl.activation_differences(llama, pairs, max_tokens=max_tokens, progress=False)[
        component
    ]
    differences, prompts = [], []
    for pair in pairs:
        texts = [
            llama.tokenizer(pair.prompt + answer)["input_ids"]
            for answer in (pair.positive, pair.negative)
        ]
        last = len(llama.tokenizer(pair.prompt)["input_ids"]) - 1
        positive, negative = (raw_values(llama.raw_model, ids)[component] for ids in texts)
        differences.append(positive[:, -1] - negative[:, -1])
        prompts.append(positive[:, last])
    shape = (3, 4, 8) if component == "head" else (3, differences[0].shape[-1], 1)
    stacked = torch.stack(differences).reshape(len(pairs), *shape)
    scalar = stacked.mean(dim=-1)
    prompt = torch.stack(prompts).reshape(len(pairs), *shape)
    for name, expected in {
        "mean": scalar.mean(dim=0),
        "std": scalar.std(dim=0),
        "vector": stacked.mean(dim=0),
        "prompt_mean": prompt.mean(dim=0),
        "prompt_rms": prompt.square().sum(dim=-1).mean(dim=0).sqrt(),
    }.items():
        np.testing.assert_allclose(
            getattr(found, name), expected.numpy(), rtol=1e-5, atol=1e-5, err_msg=name
        )
    assert found.n == len(pairs)


def test_unit_differences_are_the_pairs_behind_the_mean(llama, pairs, differences):
    import numpy as np

    import sadi_lens as sl

    mask = sl.top_k_mask(differences["head"], 3)
    found = sl.find.unit_differences(llama, pairs, mask, progress=False)
    assert found.values.shape == (len(pairs), 3)
    assert found.units == mask.units
    for column, (layer, unit) in enumerate(mask.units):
        own = differences["head"]
        np.testing.assert_allclose(found.values[:, column].mean(), own.mean[layer, unit], atol=1e-6)
        np.testing.assert_allclose(
            found.values[:, column].std(ddof=1), own.std[layer, unit], atol=1e-6
        )


def test_the_same_pair_has_the_same_row_whatever_its_batch(llama, pairs, differences):
    import numpy as np

    import sadi_lens as sl

    mask = sl.top_k_mask(differences["neuron"], 4)
    together = sl.find.unit_differences(llama, pairs, mask, progress=False).values
    alone = [
        sl.find.unit_differences(llama, [pair], mask, progress=False).values[0] for pair in pairs
    ]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-5, atol=1e-5)


def test_moments_of_uneven_passes_equal_those_of_the_whole_and_stay_where_they_are():
    import torch

    from sadi_lens.find.differences import Moments

    values = torch.randn(23, 2, 5) * 3 + 100
    moments = Moments((2, 5))
    places = [one.data_ptr() for one in (moments.mean, moments.squared)]
    for start, stop in ((0, 1), (1, 9), (9, 23)):
        moments.update(values[start:stop])
    torch.testing.assert_close(torch.from_numpy(moments.mean_array()), values.mean(dim=0))
    torch.testing.assert_close(
        torch.from_numpy(moments.std_array()), values.std(dim=0), rtol=1e-4, atol=1e-5
    )
    assert moments.n == 23
    assert places == [one.data_ptr() for one in (moments.mean, moments.squared)]


def test_one_pair_has_no_spread(llama, pairs):
    import numpy as np

    import sadi_lens as sl

    found = sl.activation_differences(llama, pairs[:1], progress=False)["head"]
    assert np.isnan(found.std).all()
    with pytest.raises(ValueError, match="standardised' needs at least 2 pairs, got 1"):
        sl.top_k_mask(found, 2, ranking="standardised")


def test_a_merged_boundary_belongs_to_the_answer_and_is_counted(llama):
    import sadi_lens as sl
    from sadi_lens.engine.text import encode_item

    # The prompt ends in a space, which the tokenizer gives to the answer's first word.
    item = encode_item(llama, "the ball i", ("s", "n"))
    assert item.merged == 2
    assert item.prompt == tuple(llama.tokenizer("the ball")["input_ids"])
    pair = sl.ContrastivePair("the ball i", "s", "n")
    found = sl.activation_differences(llama, [pair], progress=False)["head"]
    assert found.merged_boundaries == 2


def test_nan_activations_are_refused_with_layer_and_component(pairs):
    import torch
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama(seed=3)
    model = sl.load_model(hf, tokenizer=tokenizer)
    with torch.no_grad():
        hf.model.layers[1].mlp.down_proj.weight[3, 0] = float("nan")
    with pytest.raises(ValueError, match=r"component 'mlp_out' are not finite in layer 1"):
        sl.activation_differences(model, pairs, progress=False)
    with pytest.raises(ValueError, match=r"component 'head' are not finite in layer 2"):
        sl.activation_differences(model, pairs, components=["head"], progress=False)
    mask = sl.Mask.from_units("hidden", [(1, 0)], model)
    with pytest.raises(ValueError, match=r"component 'hidden' are not finite in layer 1"):
        sl.find.unit_differences(model, pairs, mask, progress=False)


def test_one_component_is_asked_for_once(llama, pairs):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"components must differ, 'head' stands twice"):
        sl.activation_differences(llama, pairs, components=["head", "head"], progress=False)
    other = sl.Mask.from_units(
        "head", [(4, 0)], sl.types.ModelInfo("other", "Toy", 5, 4, 8, 32, 48, "0")
    )
    with pytest.raises(ValueError, match="mask has 5 layers x 4 head units"):
        sl.find.unit_differences(llama, pairs, other, progress=False)


def test_out_of_memory_in_the_middle_of_a_pass_is_retried_smaller_with_the_same_moments(
    llama, pairs, differences
):
    import numpy as np
    import torch

    import sadi_lens as sl

    sizes, most = [], 2

    def full(_module, args):
        sizes.append(len(args[0]))
        if len(args[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = llama.raw_model.model.layers[1].register_forward_pre_hook(full)
    try:
        found = sl.activation_differences(llama, pairs, progress=False)
        assert max(sizes) > 2
        for name, one in found.items():
            assert one.n == len(pairs)
            np.testing.assert_allclose(one.mean, differences[name].mean, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(one.std, differences[name].std, rtol=1e-4, atol=1e-5)
        most = 0
        with pytest.raises(MemoryError, match="does not fit into memory even alone"):
            sl.activation_differences(llama, pairs, progress=False)
    finally:
        handle.remove()


def test_prepend_bos_reaches_the_texts(llama, pairs, differences):
    import numpy as np

    import sadi_lens as sl

    same = sl.activation_differences(llama, pairs, prepend_bos=True, progress=False)["head"]
    without = sl.activation_differences(llama, pairs, prepend_bos=False, progress=False)["head"]
    assert np.allclose(same.mean, differences["head"].mean, atol=1e-6)
    assert not np.allclose(without.mean, differences["head"].mean, atol=1e-3)


def test_read_at_the_letter_is_the_token_in_which_the_answers_part(llama):
    """`` ( A )`` against `` ( B )``: the closing bracket is left out, by hand on the raw model."""
    import numpy as np
    import torch

    import sadi_lens as sl

    prompt, (right, wrong) = "the ball is", (" big red hat", " big blue hat")
    found = sl.activation_differences(
        llama, [sl.ContrastivePair(prompt, right, wrong)], read_at="letter", progress=False
    )
    ids = [llama.tokenizer(f"{prompt} big {one}")["input_ids"] for one in ("red", "blue")]
    both = [raw_values(llama.raw_model, one) for one in ids]
    for component, width in (("head", 8), ("hidden", 1), ("mlp_out", 1), ("neuron", 1)):
        expected = both[0][component][:, -1] - both[1][component][:, -1]
        expected = torch.stack(expected.split(width, dim=-1), dim=1)
        np.testing.assert_allclose(found[component].vector, expected.numpy(), rtol=1e-5, atol=1e-5)
    last = sl.activation_differences(
        llama, [sl.ContrastivePair(prompt, right, wrong)], progress=False
    )
    assert not np.allclose(last["head"].vector, found["head"].vector, atol=1e-3)
    assert (found["head"].read_at, last["head"].read_at) == ("letter", "last")
    assert sl.top_k_mask(found["head"], 2).provenance["read_at"] == "letter"
    assert "read_at" not in sl.top_k_mask(last["head"], 2).provenance


@pytest.mark.parametrize(
    ("pair", "at", "said"),
    [
        (("the", " hat", " hat red", None), "letter", "part at some token"),
        (("the ball", " red", " red", "the hat"), "letter", "part at some token"),
        (("the", " hat", " ball", None), "first", "read_at must be one of"),
    ],
)
def test_what_cannot_be_read_at_the_letter_is_refused(llama, pair, at, said):
    import sadi_lens as sl

    prompt, right, wrong, other = pair
    one = sl.ContrastivePair(prompt, right, wrong, negative_prompt=other)
    with pytest.raises(ValueError, match=said):
        sl.activation_differences(llama, [one], read_at=at, progress=False)


def test_differences_are_found_by_both_names_and_a_wrong_one_says_which_there_are(llama, pairs):
    import sadi_lens as sl

    found = sl.activation_differences(llama, pairs, components=["z", "resid_post"], progress=False)
    assert list(found) == ["head", "hidden"]
    assert found["z"] is found["head"]
    assert found["resid_post"] is found["hidden"]
    with pytest.raises(KeyError, match=r"\['head', 'hidden'\], got 'heads'; did you mean 'head'"):
        found["heads"]
    assert found.get("neuron") is None
