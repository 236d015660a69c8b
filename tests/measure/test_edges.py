"""The smallest and the largest that each measure takes."""

import numpy as np
from factories import random_llama


def test_one_free_text_sample_is_enough(llama):
    import sadi_lens as sl

    found = sl.evaluate(
        llama, [sl.Sample("the ball", target="x")], max_new_tokens=2, progress=False
    )
    assert found.n == 1
    assert found.scoring == "exact_match"


def test_a_null_band_of_one_mask(llama, samples, differences):
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["head"], 2)
    assert sl.measure.null_band(llama, samples, mask, 1.0, n=1, progress=False).n == 1


def test_the_default_grid_goes_up_to_every_unit(samples, pairs):
    import sadi_lens as sl

    hf, tokenizer = random_llama(num_hidden_layers=2)  # 8 heads, one of the default numbers
    model = sl.load_model(hf, tokenizer=tokenizer)
    found = sl.activation_differences(model, pairs, components=["head"], progress=False)
    grid = sl.sweep(model, samples, found["head"], strengths=[1.0], progress=False)
    assert grid.ks == (1, 2, 4, 6, 8)


def test_two_pairs_have_a_spread(llama, pairs):
    import sadi_lens as sl

    def mean(some):
        found = sl.activation_differences(llama, some, components=["head"], progress=False)
        return found["head"].mean.astype(float), found["head"].std

    (one, _), (two, _), (_, std) = (mean(pairs[:1]), mean(pairs[1:2]), mean(pairs[:2]))
    np.testing.assert_allclose(std, np.abs(one - two) / np.sqrt(2), rtol=1e-4, atol=1e-6)


def test_folding_a_shift_into_bfloat16_weights(tmp_path):
    """W (x + t) + b = W x + (W t + b), worked out in float32 from the bfloat16 weights."""
    import torch
    from factories import word_tokenizer
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    import sadi_lens as sl

    tokenizer = word_tokenizer()
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hf = GPTNeoXForCausalLM(config).eval().to(torch.bfloat16)
    model = sl.load_model(hf, tokenizer=tokenizer)
    mask = sl.Mask.from_units("head", [(1, 2)], model)
    vector = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)
    folded = sl.interventions.export_folded(
        model, sl.MaskedAddition(mask, vector, 2.0), tmp_path / "folded"
    )
    dense = hf.gpt_neox.layers[1].attention.dense
    shift = torch.from_numpy(2 * vector[1, 2])
    expected = dense.bias.float() + dense.weight[:, 16:24].float() @ shift
    found = GPTNeoXForCausalLM.from_pretrained(folded, dtype=torch.bfloat16)
    torch.testing.assert_close(
        found.gpt_neox.layers[1].attention.dense.bias, expected.bfloat16(), rtol=0, atol=0
    )
