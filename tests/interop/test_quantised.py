"""Quantised weights (bitsandbytes on the CPU): activations are floats and are steered as such; folding refuses."""

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore")  # of bitsandbytes


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """(settings) -> a random Llama so quantised, its tokenizer."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed here: make test-vllm")
    from factories import random_llama
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    hf, tokenizer = random_llama(hidden_size=64, intermediate_size=128)
    folder = tmp_path_factory.mktemp("model")
    hf.save_pretrained(folder)

    def load(**settings):
        config = BitsAndBytesConfig(**settings)
        found = AutoModelForCausalLM.from_pretrained(
            folder, quantization_config=config, dtype=torch.float32
        )
        return found, tokenizer

    return load


def test_four_bits_are_steered_as_by_hand_and_not_folded(quantised, pairs, samples, tmp_path):
    import sadi_lens as sl

    hf, tokenizer = quantised(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    model = sl.load_model(hf, tokenizer=tokenizer)
    assert hf.model.layers[0].self_attn.o_proj.weight.dtype == torch.uint8
    found = sl.activation_differences(model, pairs, components=["head"], progress=False)["head"]
    mask = sl.top_k_mask(found, 2)
    scaling = sl.MaskedScaling(mask, 3.0)
    d_head = model.cfg.d_head

    def scale(layer):
        def before(_module, args):
            new = args[0].clone()
            assert new.dtype == torch.float32
            for at, head in mask.units:
                if at == layer:
                    new[..., head * d_head : (head + 1) * d_head] *= 4
            return (new, *args[1:])

        return before

    def by_hand(sample, layers):
        handles = [
            layer.self_attn.o_proj.register_forward_pre_hook(scale(index))
            for index, layer in enumerate(hf.model.layers)
            if index in layers
        ]
        scores = []
        for choice in sample.choices:
            prompt = tokenizer(sample.prompt)["input_ids"]
            ids = torch.tensor([tokenizer(sample.prompt + choice)["input_ids"]])
            with torch.inference_mode():
                logprobs = hf(ids).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            scores.append(float(logprobs.gather(1, ids[0, len(prompt) :, None]).sum()))
        for handle in handles:
            handle.remove()
        return scores

    for intervention, layers in ((None, ()), (scaling, range(model.cfg.n_layers))):
        ours = sl.evaluate(model, samples, intervention, position="all", progress=False)
        for row, sample in zip(ours.choice_scores, samples, strict=True):
            want = by_hand(sample, layers)
            np.testing.assert_allclose(row[: len(want)], want, atol=2e-3)
    with pytest.raises(ValueError, match=r"cannot be folded: its weight is torch.uint8"):
        sl.interventions.export_folded(model, scaling, tmp_path / "folded")
    assert not list(tmp_path.iterdir())


def test_eight_bits_are_refused_because_the_bridge_computes_something_else(quantised):
    import sadi_lens as sl

    hf, tokenizer = quantised(load_in_8bit=True)
    with pytest.raises(RuntimeError, match="self-check failed"):
        sl.load_model(hf, tokenizer=tokenizer)
