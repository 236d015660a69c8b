"""LongRoPE encodes all positions of a batch by its longest row: rows must not depend on their neighbours."""

import pytest


@pytest.fixture(scope="module")
def model():
    """A random Llama whose position encoding changes beyond 12 tokens."""
    from factories import random_llama

    import sadi_lens as sl

    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [1.0, 3.0, 9.0, 27.0],
        "factor": 4.0,
        "original_max_position_embeddings": 12,
    }
    hf, tokenizer = random_llama(rope_parameters=rope)
    return sl.load_model(hf, tokenizer=tokenizer)


SHORT, LONG = "the ball is", "Tom says the big red hat is in the small blue box and Ann was good"


def test_the_boundary_is_read_off_the_configuration(model, llama):

    from sadi_lens.engine.passes import rope_boundary

    assert rope_boundary(model) == 12
    assert rope_boundary(llama) is None
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in (SHORT, LONG)]
    assert lengths[0] + 3 < 12 < lengths[1]


@pytest.mark.parametrize("engine", ["shared", "plain"])
@pytest.mark.parametrize("position", ["last_prompt", "all"])
def test_scores_of_a_short_text_are_its_own_beside_a_long_one(model, engine, position):
    import numpy as np
    import torch

    import sadi_lens as sl

    samples = [sl.Sample(text, (" red", " blue hat"), 0) for text in (SHORT, LONG)]
    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1), (1, 2)], model), 2.0)
    settings = {"position": position, "engine": engine, "progress": False}
    for one in (None, scaling):
        together = sl.evaluate(model, samples, one, **settings).choice_scores
        alone = [sl.evaluate(model, [sample], one, **settings).choice_scores for sample in samples]
        np.testing.assert_allclose(together, np.concatenate(alone), atol=2e-5)
    plain = sl.evaluate(model, samples, **settings).choice_scores
    for row, text in enumerate((SHORT, LONG)):
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            logprobs = model.raw_model(ids).logits[0, -1].log_softmax(dim=-1)
        red = model.tokenizer(" red", add_special_tokens=False)["input_ids"][0]
        assert plain[row, 0] == pytest.approx(float(logprobs[red]), abs=2e-5)


@pytest.mark.parametrize("use_cache", [True, False])
def test_texts_of_a_short_prompt_are_its_own_beside_a_long_one(model, use_cache):
    import sadi_lens as sl

    prompts = [SHORT, LONG, "Tom says the big red", "Ann was"]
    settings = {"max_new_tokens": 6, "eos_token_id": None, "skip_special_tokens": False}
    settings["use_cache"] = use_cache
    texts = sl.generate(model, prompts, **settings)
    assert texts == [sl.generate(model, one, **settings)[0] for one in prompts]


def test_differences_of_a_short_prompt_are_its_own_beside_a_long_one(model):
    import numpy as np

    import sadi_lens as sl

    pairs = [sl.ContrastivePair(text, " red", " blue") for text in (SHORT, LONG)]
    mask = sl.Mask.from_units(
        "head", [(layer, head) for layer in (1, 2) for head in range(4)], model
    )
    together = sl.find.unit_differences(model, pairs, mask, progress=False).values
    alone = [sl.find.unit_differences(model, [one], mask, progress=False).values for one in pairs]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


def test_an_item_on_both_sides_is_refused(model):
    import sadi_lens as sl

    room = 12 - len(model.tokenizer(SHORT)["input_ids"])
    sample = sl.Sample(SHORT, (" red", " red" * (room + 2)), 0)
    with pytest.raises(
        ValueError, match="must be on one side of 12 tokens, where this model's LongRoPE"
    ):
        sl.evaluate(model, [sample], progress=False)


def test_an_item_just_beyond_the_boundary_is_not(model):
    import sadi_lens as sl

    prompt = "the" + " red" * 11
    assert len(model.tokenizer(prompt)["input_ids"]) == 13
    sample = sl.Sample(prompt, (" blue", " blue hat"), 0)
    assert sl.evaluate(model, [sample], progress=False).n == 1


def test_a_divergence_is_the_sum_over_texts_alone(model):
    import sadi_lens as sl
    from sadi_lens.measure.neutral import divergence

    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1), (1, 2)], model), 2.0)
    texts = [(SHORT, " red"), (LONG, " blue hat")]
    alone = [divergence(model, [one], scaling) for one in texts]
    together = divergence(model, texts, scaling)
    n = sum(one.n_tokens for one in alone)
    assert together.kl == pytest.approx(sum(one.kl * one.n_tokens for one in alone) / n, rel=1e-4)
    before = "Ann was good and Tom was bad and"  # the steered model's text is on the other side
    changed = [divergence(model, [one], scaling, before=before) for one in texts]
    both = divergence(model, texts, scaling, before=before)
    assert both.kl == pytest.approx(sum(one.kl * one.n_tokens for one in changed) / n, rel=1e-4)


def test_the_neurons_of_a_short_prompt_are_its_own_beside_a_long_one(model):
    import torch

    from sadi_lens.interventions.tda import _values

    def of(*prompts):
        return {row: values for row, values in _values(model, prompts)}

    together = of(SHORT, LONG)
    for prompt in (SHORT, LONG):
        ((row, values),) = of(prompt).items()
        for one, other in zip(values, together[row], strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
