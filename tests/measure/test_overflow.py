"""A finite strength that takes activations out of the range of numbers is refused, or costs its own cell only.

Norms hide it: they divide by an infinite square and hand on zeros, whose logits are finite and wrong.
"""

import warnings

import numpy as np
import pytest

TEXTS = ["the ball is in the box", "Tom says the hat was big"]


def huge(model, kind, size=1e30):
    """Interventions of several kinds that overflow."""
    import sadi_lens as sl

    mask = sl.Mask.from_units("hidden", [(1, 2)], model)
    vector = np.ones(model.cfg.d_model)
    vectors = np.ones((model.cfg.n_layers, model.cfg.d_model, 1))
    return {
        "scaling": sl.MaskedScaling(mask, size),
        "heads": sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1)], model), -size),
        "masked addition": sl.MaskedAddition(mask, vectors, size),
        "vector": sl.VectorAddition(vector, 1, size),
        "not affine": sl.interventions.ActAdd(vector[None], 1, size),
        "clamped": sl.interventions.Clamped(sl.MaskedScaling(mask, size), "all"),
        "layer by layer": sl.MaskedScaling(
            sl.Mask.from_units("hidden", [(layer, 2) for layer in range(3)], model), size**0.4
        ),
    }[kind]


KINDS = ("scaling", "heads", "masked addition", "vector", "not affine", "clamped", "layer by layer")


def hooks_of(model):
    modules = [*model.modules(), *model.raw_model.modules()]
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in modules)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_measures_or_generates_refuses_and_leaves_no_hook(llama, samples, kind):
    import torch

    import sadi_lens as sl

    one, before = huge(llama, kind), hooks_of(llama)
    ids = torch.tensor([llama.tokenizer(TEXTS[0])["input_ids"]])

    def steered():
        with sl.steer(llama, one), torch.inference_mode():
            llama(ids)

    calls = [
        steered,
        lambda: sl.generate(llama, TEXTS, one, max_new_tokens=2),
        lambda: sl.generate(llama, TEXTS, [None, one], max_new_tokens=2),
        lambda: sl.generate(llama, TEXTS, one, max_new_tokens=2, use_cache=False),
        lambda: sl.evaluate(llama, samples, one, progress=False),
        lambda: sl.evaluate(llama, samples, one, position="all", progress=False),
        lambda: sl.evaluate(llama, samples, [None, one], engine="plain", progress=False),
        lambda: sl.evaluate(llama, samples, one, scoring="generation", progress=False),
        lambda: sl.evaluate(llama, samples, one, scoring="teacher_forced", progress=False),
        lambda: sl.measure.divergence(llama, [(TEXTS[0], " red")], one),
        lambda: sl.measure.side_effects(llama, TEXTS, one),
        lambda: sl.measure.measure_push(llama, TEXTS, one, progress=False),
        lambda: sl.measure.trace_generation(llama, TEXTS[0], one, text=" red ball"),
        lambda: sl.measure.receipt(llama, TEXTS[0], one, max_new_tokens=2),
        lambda: sl.measure.check(llama, one, TEXTS),
        lambda: sl.measure.scoring_table(llama, samples, [one], scorings=["sum"]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"under '.*' is not finite, or over 1e\+16"):
            call()
        assert hooks_of(llama) == before


def test_the_message_names_intervention_component_and_layer(llama):
    import torch

    import sadi_lens as sl

    ids = torch.tensor([llama.tokenizer(TEXTS[0])["input_ids"]])
    match = r"'SADI hidden, K 1, strength 1e\+30' .* over 1e.16 .component 'hidden' in layer 1"
    with pytest.raises(ValueError, match=match), sl.steer(llama, huge(llama, "scaling")):
        llama(ids)
    with pytest.raises(ValueError, match=match):
        llama.run_with_hooks(ids, fwd_hooks=sl.fwd_hooks(huge(llama, "scaling"), model=llama))


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_first_order_effects_that_overflow_are_refused(llama, samples, at):
    import sadi_lens as sl

    mask = sl.Mask.from_units("hidden", [(1, 2)], llama)
    strength = 1e30 if at else 1e300
    with pytest.raises(ValueError, match="is not finite, or over"):
        sl.measure.unit_effects(llama, samples, mask, strength, at=at, progress=False)


@pytest.mark.parametrize("size", [1e18, 1e30, 3e38])
@pytest.mark.parametrize("scoring", ["sum", "generation"])
def test_in_a_grid_a_cell_that_overflows_is_wrong_and_said_and_its_neighbours_are_as_alone(
    llama, differences, samples, size, scoring
):
    """0 x NaN is NaN, so a copy that overflows would reach those beside it in the same pass."""
    import sadi_lens as sl

    settings = {"scoring": scoring, "progress": False, "max_new_tokens": 3, "keep_items": True}
    strengths = [1.0, 2.0, size]
    with pytest.warns(UserWarning, match="4 of 4 items could not be scored under 'SADI hidden"):
        found = sl.sweep(llama, samples, differences["hidden"], [2, 4], strengths, **settings)
    assert not found.correct[:, 2].any()
    assert (found.valid_rate[:, 2] == 0).all()
    assert np.isnan(found.margin[:, 2]).all()
    alone = sl.sweep(llama, samples, differences["hidden"], [2, 4], [1.0, 2.0], **settings)
    np.testing.assert_array_equal(found.correct[:, :2], alone.correct)
    np.testing.assert_allclose(found.margin[:, :2], alone.margin, atol=2e-5)
    assert found.unsteered_margin == pytest.approx(alone.unsteered_margin, abs=2e-5, nan_ok=True)


def test_half_precision_overflows_where_it_ends():
    """float16 has no number beyond 65504, and no square is needed for it."""
    import torch
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    model = sl.load_model(hf.to(torch.float16), tokenizer=tokenizer)
    mask = sl.Mask.from_units("hidden", [(1, 2)], model)
    assert sl.generate(model, TEXTS, sl.MaskedScaling(mask, 10.0), max_new_tokens=2)
    with pytest.raises(ValueError, match="is not finite"):
        sl.generate(model, TEXTS, sl.MaskedScaling(mask, 1e7), max_new_tokens=2)


def test_what_overflows_behind_its_edit_leaves_the_others_as_alone():
    """The steered heads are numbers in float16, what the layer makes of them is none."""
    import torch
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.engine.scoring import score_answers
    from sadi_lens.engine.text import encode_item

    hf, tokenizer = random_llama()
    model = sl.load_model(hf.to(torch.float16), tokenizer=tokenizer)
    mask = sl.Mask.from_units("head", [(0, 1)], model)
    items = [encode_item(model, text, (" red", " blue")) for text in TEXTS]

    def scores(*strengths):
        several = [sl.MaskedScaling(mask, strength) for strength in strengths]
        found = list(score_answers(model, items, several, "last_prompt"))
        order = np.argsort([index for one in found for index in one.indices])
        return np.concatenate([one.logprobs for one in found], axis=1)[:, order]

    together = scores(1.0, 3e4, 2.0, 5e4)
    assert np.isnan(together[[1, 3]]).all()
    np.testing.assert_allclose(together[[0, 2]], scores(1.0, 2.0), atol=0.05)


def test_a_model_with_norms_that_have_a_bias_is_refused_too():
    """GPT-2's norms hand on their bias, so its logits do not even look flat."""
    import torch
    from factories import word_tokenizer
    from transformers import GPT2Config, GPT2LMHeadModel

    import sadi_lens as sl

    tokenizer = word_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hf = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer),
                n_positions=64,
                n_embd=32,
                n_layer=2,
                n_head=4,
                bos_token_id=1,
                eos_token_id=2,
            )
        ).eval()
    model = sl.load_model(hf, tokenizer=tokenizer)
    mask = sl.Mask.from_units("hidden", [(0, 2)], model)
    sample = sl.Sample("the ball is", (" red", " blue"), 0)
    with pytest.raises(ValueError, match="is not finite, or over"):
        sl.evaluate(model, [sample], sl.MaskedScaling(mask, 1e25), progress=False)


def test_a_comparison_and_a_curve_go_on_without_what_overflows(llama, samples):
    import sadi_lens as sl

    mask = sl.Mask.from_units("hidden", [(1, 2)], llama)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curve = sl.measure.side_effect_curve(
            llama,
            samples,
            TEXTS,
            lambda strength: sl.MaskedScaling(mask, strength),
            [1.0, 1e30],
            label="x",
            progress=False,
        )
    assert np.isfinite(curve.kl[0])
    assert np.isnan(curve.kl[1])
    assert curve.accuracy[1] == 0
    matched = sl.measure.match_kl(
        llama,
        TEXTS,
        sl.MaskedScaling(mask, 1.0),
        lambda strength: sl.MaskedScaling(mask, strength**6),
        start=1000.0,  # overflows, so it is too far
        tolerance=0.01,
    )
    assert matched.strength == pytest.approx(1.0, rel=0.02)
