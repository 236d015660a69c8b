"""Pairs of two prompts and one answer (personas, system prompts) against plain Hugging Face passes."""

import numpy as np
import pytest


def persona_pairs():
    import sadi_lens as sl

    return [
        sl.ContrastivePair("Tom says the ball is", " red", " red", "Tom says a big small box was"),
        sl.ContrastivePair("Ann was good . the hat", " is", " is", "the hat"),
        sl.ContrastivePair("the ball is", " red", " big blue", "the box is"),
        sl.ContrastivePair("the hat is", " big", " small"),
    ]


def plain(model, text):
    """Residual stream after every block but the last, and what enters W_O, at every token of one text."""
    import torch

    heads = []
    handles = [
        block.self_attn.o_proj.register_forward_pre_hook(lambda _, args: heads.append(args[0][0]))
        for block in model.raw_model.model.layers
    ]
    with torch.inference_mode():
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        states = model.raw_model(ids, output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    return {
        "hidden": torch.stack([one[0] for one in states[1:-1]]).numpy(),
        "head": torch.stack(heads).numpy(),
    }


@pytest.mark.parametrize("way", ["shared prefix", "whole texts"])
def test_differences_of_two_prompts_are_read_at_the_end_of_each_text(llama, monkeypatch, way):
    import sadi_lens as sl

    if way == "whole texts":
        monkeypatch.setattr("sadi_lens.engine.runner.RawRunner.shares_prefix", lambda *_: False)
    pairs = persona_pairs()
    found = sl.activation_differences(llama, pairs, components=["head", "hidden"], progress=False)
    for component, one in found.items():
        texts = [[plain(llama, text)[component] for text in pair.texts] for pair in pairs]
        ends = [len(llama.tokenizer(pair.prompt)["input_ids"]) - 1 for pair in pairs]
        difference = np.mean([first[:, -1] - second[:, -1] for first, second in texts], axis=0)
        prompt = np.mean(
            [first[:, end] for (first, _), end in zip(texts, ends, strict=True)], axis=0
        )
        layers = len(difference)
        for ours, theirs in ((one.vector, difference), (one.prompt_mean, prompt)):
            np.testing.assert_allclose(
                ours[:layers].reshape(layers, -1), theirs, rtol=1e-4, atol=1e-5
            )


def test_every_reader_of_pairs_takes_two_prompts_or_says_why_not(llama):
    import sadi_lens as sl

    pairs = persona_pairs()
    found = sl.activation_differences(llama, pairs, components=["hidden"], progress=False)["hidden"]
    mask = sl.top_k_mask(found, 3)
    units = sl.find.unit_differences(llama, pairs, mask, progress=False)
    expected = [found.mean[layer, unit] for layer, unit in mask.units]
    np.testing.assert_allclose(units.values.mean(axis=0), expected, rtol=1e-4, atol=1e-5)
    both = sl.measure.unit_activations(llama, pairs, mask, progress=False)
    np.testing.assert_allclose(both.positive - both.negative, units.values, rtol=1e-3, atol=1e-4)
    for ranking in ("consistency", "reference"):
        component = "head" if ranking == "reference" else "hidden"
        sl.find.unit_scores(llama, pairs, component, ranking, progress=False)
    for ranking in ("effect", "gradient", "attribution"):
        with pytest.raises(ValueError, match=r"compares two answers to one prompt; pairs\[0\]"):
            sl.find.unit_scores(llama, pairs, "head", ranking, progress=False)
    with pytest.raises(ValueError, match="token_roles compares two answers"):
        sl.measure.token_roles(llama, pairs[0])


def test_prompts_that_share_no_token_need_a_bos(llama):
    import sadi_lens as sl

    pair = sl.ContrastivePair("Tom says", " good", " good", "Ann says")
    with pytest.raises(ValueError, match=r"begin with the same token.*prepend_bos=True"):
        sl.activation_differences(llama, [pair], prepend_bos=False, progress=False)
    assert sl.activation_differences(llama, [pair], progress=False)["head"].n == 1
