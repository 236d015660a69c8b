"""Side effects against plain Hugging Face modules and numbers worked out by hand."""

import numpy as np
import pytest

TEXTS = [
    ("the ball is", " red"),
    ("Tom says the big red hat is", " in the box"),
    ("Ann", " was good."),
]


@pytest.fixture(scope="module")
def scaling(llama):
    import sadi_lens as sl

    return sl.MaskedScaling(sl.Mask.from_units("head", [(1, 2), (2, 0)], llama), 3.0)


def raw_logprobs(model, ids, n_prompt, strength, position):
    """One text through the plain module, heads (1, 2) and (2, 0) scaled where their output enters o_proj."""
    import torch

    def scale(head):
        def hook(_module, args):
            z = args[0].clone()
            end = n_prompt if position == "last_prompt" else z.shape[1]
            z[:, n_prompt - 1 : end, head * 8 : (head + 1) * 8] *= 1 + strength
            return (z,)

        return hook

    layers = model.model.layers
    handles = [
        layers[layer].self_attn.o_proj.register_forward_pre_hook(scale(head))
        for layer, head in ((1, 2), (2, 0))
    ]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    for handle in handles:
        handle.remove()
    return torch.log_softmax(logits, dim=-1).numpy()


@pytest.mark.parametrize("position", ["last_prompt", "every_step"])
def test_divergence_is_the_mean_over_continuation_tokens(llama, scaling, position):
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    kls, losses = [], {0.0: [], 3.0: []}
    for prompt, continuation in TEXTS:
        n_prompt = len(tokenizer(prompt)["input_ids"])
        ids = tokenizer(prompt + continuation)["input_ids"]
        found = {s: raw_logprobs(hf, ids, n_prompt, s, position) for s in losses}
        for at in range(n_prompt, len(ids)):
            p, q = found[0.0][at - 1], found[3.0][at - 1]
            kls.append(sum(np.exp(p) * (p - q)))
            for s, values in losses.items():
                values.append(-found[s][at - 1, ids[at]])
    measured = sl.measure.divergence(llama, TEXTS, scaling, position=position)
    assert measured.n_tokens == len(kls) == 7
    assert measured.kl == pytest.approx(np.mean(kls), rel=1e-4)
    ratio = np.exp(np.mean(losses[3.0]) - np.mean(losses[0.0]))
    assert measured.perplexity_ratio == pytest.approx(ratio, rel=1e-4)
    assert measured.kl > 0.01


def test_divergence_does_not_depend_on_the_batch(llama, scaling, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.measure import neutral

    together = sl.measure.divergence(llama, TEXTS, scaling)
    monkeypatch.setattr(neutral, "MAX_LOGITS", 1)
    alone = sl.measure.divergence(llama, TEXTS, scaling)
    assert alone.kl == pytest.approx(together.kl, rel=1e-4)
    assert alone.perplexity_ratio == pytest.approx(together.perplexity_ratio, rel=1e-4)


def test_prompts_alone_are_measured_at_their_next_token(llama, scaling):
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    prompts = ["the ball is", "Ann was"]
    kls = []
    for prompt in prompts:
        ids = tokenizer(prompt)["input_ids"]
        p, q = (raw_logprobs(hf, ids, len(ids), s, "last_prompt")[-1] for s in (0.0, 3.0))
        kls.append(sum(np.exp(p) * (p - q)))
    found = sl.measure.divergence(
        llama, [(p, "") for p in prompts], scaling, position="last_prompt"
    )
    assert found.kl == pytest.approx(np.mean(kls), rel=1e-4)
    assert np.isnan(found.perplexity_ratio)


def test_the_unsteered_model_has_no_side_effects(llama):
    import sadi_lens as sl

    found = sl.measure.side_effects(llama, ["the red ball is in the box"], None, max_new_tokens=4)
    assert (found.kl, found.perplexity_ratio) == (0.0, 1.0)
    # 26 letters: the first space from letter 13 on stands before "in the box".
    assert (found.n_texts, found.n_tokens) == (1, 3)


def test_a_text_that_cannot_be_cut_is_refused(llama):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="needs at least two words, got 'ball'"):
        sl.measure.side_effects(llama, ["ball"], None)
    with pytest.raises(ValueError, match="texts must hold at least 1"):
        sl.measure.divergence(llama, [], None)


def test_matching_finds_the_strength_of_the_same_family(llama, scaling):
    import dataclasses

    import sadi_lens as sl

    def make(strength):
        return dataclasses.replace(scaling, strength=strength)

    prompts = ["the ball is", "Ann was", "Tom says the hat is in the"]
    for start in (0.25, 1.0, 100.0):
        found = sl.measure.match_kl(llama, prompts, scaling, make, start=start, tolerance=1e-4)
        assert found.strength == pytest.approx(3.0, rel=1e-2)
    assert sl.measure.match_kl(llama, prompts, make(0.0), make).strength == 0


def test_matching_that_cannot_be_reached_says_how_far_it_got(llama, scaling):
    import dataclasses

    import sadi_lens as sl
    from sadi_lens.measure.neutral import UnreachableError

    def weak(strength):
        return dataclasses.replace(scaling, strength=min(strength, 0.5))

    prompts = [("the ball is", "")]
    wanted, most = (
        sl.measure.divergence(llama, prompts, one, position="last_prompt").kl
        for one in (scaling, dataclasses.replace(scaling, strength=0.5))
    )
    with pytest.raises(
        UnreachableError, match=rf"KL of {wanted:.4g} nats; the nearest is {most:.4g}"
    ):
        sl.measure.match_kl(llama, ["the ball is"], scaling, weak)


def test_a_curve_knows_where_the_gain_is_told_from_zero():
    """Strength 0 changes nothing; 0.1 mends next to nothing; 3 mends all that the planted model gets wrong."""
    import sadi_lens as sl
    from sadi_lens.models._planted_task import planted_accuracy
    from sadi_lens.models.planted import PLANTED

    model, task = sl.models.planted_model(), sl.models.planted_task()
    mask = sl.Mask.from_units("head", [PLANTED["head"]], model)
    strengths = [0.0, 3.0, -2.0]
    curve = sl.measure.side_effect_curve(
        model,
        task.dev,
        [task.test[0].prompt],
        lambda strength: sl.MaskedScaling(mask, strength),
        strengths,
        label="SADI",
        progress=False,
    )
    base = planted_accuracy(task.dev)
    gains = [planted_accuracy(task.dev, strength) - base for strength in strengths]
    assert gains[1] > 0.3
    assert gains[2] < -0.2
    assert curve.moved.tolist() == [0, 1, -1]
    assert curve.frame().moved.tolist() == [0, 1, -1]


def test_a_side_effect_curve_is_one_evaluation_and_one_divergence_a_strength(
    llama, samples, differences
):
    import numpy as np

    import sadi_lens as sl
    from sadi_lens import plots

    mask = sl.top_k_mask(differences["head"], 3)
    texts = ["the big red ball is in the box", "Tom says the hat is blue"]
    strengths = [0.0, 1.0, 6.0]
    curve = sl.measure.side_effect_curve(
        llama,
        samples,
        texts,
        lambda strength: sl.MaskedScaling(mask, strength),
        strengths,
        label="SADI",
        task="hats",
        progress=False,
    )
    halves = [("the big red ball", " is in the box"), ("Tom says the", " hat is blue")]
    for place, strength in enumerate(strengths):
        one = sl.MaskedScaling(mask, strength)
        alone = sl.evaluate(llama, samples, one, progress=False)
        assert curve.accuracy[place] == pytest.approx(alone.accuracy)
        assert curve.low[place] == pytest.approx(alone.interval.low)
        kl = sl.measure.divergence(llama, halves, one, position="every_step").kl
        assert curve.kl[place] == pytest.approx(kl, rel=1e-5)
    assert curve.kl[0] == 0.0
    assert np.all(np.diff(curve.kl) > 0)
    assert curve.n == len(samples)
    assert plots.side_effect_curve([curve]).data
    bad = {
        "strengths and texts must hold at least 1 each, got 0 and 2": ([], {}),
        "text_position must be one of": ([1.0], {"text_position": "last"}),
        "kind must be one of .* did you mean 'adaptive'": ([1.0], {"kind": "adaptve"}),
    }
    for message, (strengths, more) in bad.items():
        with pytest.raises(ValueError, match=message):
            sl.measure.side_effect_curve(
                llama, samples, texts, sl.MaskedScaling, strengths, label="x", **more
            )


def test_a_script_without_spaces_is_cut_at_its_middle_and_counted_by_letters():
    from sadi_lens.measure.neutral import halves_of
    from sadi_lens.measure.open_ended import repeatable, repetition

    assert halves_of("今天天气很好") == ("今天天", "气很好")
    assert halves_of("the ball is red") == ("the ball", " is red")
    assert repetition([repeatable("好" * 40, [0])]) == pytest.approx(1 - 1 / 37)
    with pytest.raises(ValueError, match="at least two words"):
        halves_of("好")


def test_a_divergence_from_a_model_that_is_steered_is_refused(llama):
    import sadi_lens as sl

    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(1, 2)], llama), 5.0)
    texts = [("the ball is", " red")]
    alone = sl.measure.divergence(llama, texts, scaling)
    with (
        sl.steer(llama, scaling),
        pytest.raises(RuntimeError, match=r"steered by 'SADI head, K 1.* in an enclosing"),
    ):
        sl.measure.divergence(llama, texts, scaling)
    assert sl.measure.divergence(llama, texts, scaling) == alone


def test_two_threads_that_measure_two_models_against_each_other_cannot_wait_for_each_other(
    llama, scaling, monkeypatch
):
    """Whichever of them is the steered one, the two are taken in one order."""
    import copy
    from contextlib import contextmanager

    import sadi_lens as sl
    from sadi_lens.measure import neutral

    order, inner = [], neutral.owned

    @contextmanager
    def noted(model):
        order.append(model)
        with inner(model) as hold:
            yield hold

    monkeypatch.setattr(neutral, "owned", noted)
    other = copy.deepcopy(llama)
    sl.measure.divergence(llama, TEXTS[:1], scaling, steered=other)
    sl.measure.divergence(other, TEXTS[:1], scaling, steered=llama)
    assert [id(one) for one in order[:2]] == [id(one) for one in order[2:]]
