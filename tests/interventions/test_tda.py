"""TDA: thresholds by hand, masks and generation against raw Hugging Face."""

import numpy as np
import pytest

PROMPTS = ["the ball is", "Tom says the big red hat is in the"]


def test_a_threshold_by_hand():
    import torch

    from sadi_lens.interventions.tda import _threshold

    # Outputs of length 3, 1 and 0.1 at right angles: without the last CETT is 0.1 / sqrt(10.01) = 0.032,
    # without the last two sqrt(1.01) / sqrt(10.01) = 0.318.
    z, weight = torch.tensor([[3.0, -1.0, 0.05]]), torch.diag(torch.tensor([1.0, 1.0, 2.0]))
    assert _threshold(z, weight, 0.2) == pytest.approx(1.0, abs=1e-6)
    assert _threshold(z, weight, 0.02) == pytest.approx(0.1, abs=1e-6)
    assert _threshold(z, weight, 0.4) == pytest.approx(3.0, abs=1e-6)
    # Outputs 3 and 1 in one direction: the tail without the first carries 0.25, no more than 0.25.
    z, weight = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0], [1.0]])
    assert _threshold(z, weight, 0.25) == pytest.approx(3.0, abs=1e-6)
    # Opposite outputs cancel in the tail: of 1, 1 and -1 (norms 1, 0.9, 0.9) the last two leave nothing out.
    z, weight = torch.tensor([[1.0, 0.9, -0.9]]), torch.tensor([[1.0], [1.0], [1.0]])
    assert _threshold(z, weight, 0.2) == pytest.approx(1.0, abs=1e-6)


def neurons(raw, tokenizer, prompt):
    """What enters every down projection at every token, [layer token unit]."""
    import torch

    seen = []
    hooks = [
        layer.mlp.down_proj.register_forward_pre_hook(lambda _m, args: seen.append(args[0][0]))
        for layer in raw.model.layers
    ]
    with torch.no_grad():
        raw(torch.tensor([tokenizer(prompt)["input_ids"]]))
    for hook in hooks:
        hook.remove()
    return torch.stack(seen)


def test_a_neuron_stays_on_if_its_norm_over_the_prompt_reaches_the_threshold(llama):
    import sadi_lens as sl

    thresholds = np.array([0.5, 1.0, 2.0], dtype=np.float32)
    made = sl.interventions.TDA.from_prompts(llama, PROMPTS, thresholds=thresholds)
    for tokens, kept in zip(made.prompts, made.kept, strict=True):
        (prompt,) = (p for p in PROMPTS if tuple(llama.tokenizer(p)["input_ids"]) == tokens)
        z = neurons(llama.raw_model, llama.tokenizer, prompt)
        for layer, block in enumerate(llama.raw_model.model.layers):
            lengths = block.mlp.down_proj.weight.norm(dim=0)
            norm = (z[layer] * lengths).square().mean(dim=0).sqrt()
            assert (kept[layer] == (norm >= float(thresholds[layer])).numpy()).all()
    assert made.sparsity == 1 - made.kept.mean()
    assert 0 < made.sparsity < 1


def test_the_thresholds_of_a_model_leave_out_the_share_asked_for(llama):
    import sadi_lens as sl

    found = sl.interventions.tail_thresholds(llama, PROMPTS, cett=0.3)
    for layer, block in enumerate(llama.raw_model.model.layers):
        z = np.concatenate(
            [neurons(llama.raw_model, llama.tokenizer, p)[layer].numpy() for p in PROMPTS]
        )
        weight = block.mlp.down_proj.weight.detach().numpy().T
        norms = np.abs(z) * np.linalg.norm(weight, axis=1)

        def cett(eps, z=z, weight=weight, norms=norms):
            tail = np.linalg.norm(np.where(norms < eps, z, 0) @ weight, axis=1)
            return (tail / np.linalg.norm(z @ weight, axis=1)).mean()

        assert cett(found[layer] * 0.999) <= 0.3 < cett(found[layer] * 1.03)


def test_thresholds_are_found_on_the_first_prompts_not_on_the_shortest(llama, monkeypatch):
    from sadi_lens.interventions import tda

    two = ["Tom says the big red hat is in the", "the ball is"]
    alone = tda.tail_thresholds(llama, two[:1])
    monkeypatch.setattr(tda, "MAX_TOKENS", 10)
    assert len(llama.tokenizer(two[0])["input_ids"]) == 10
    np.testing.assert_array_equal(tda.tail_thresholds(llama, two), alone)
    assert (tda.tail_thresholds(llama, two[::-1]) != alone).any()


@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_reads_the_prompt_whole_and_writes_with_the_masks(llama, use_cache):
    import torch

    import sadi_lens as sl

    made = sl.interventions.TDA.from_prompts(llama, PROMPTS, cett=0.6)
    options = {"max_new_tokens": 6, "skip_special_tokens": False, "eos_token_id": None}
    found = sl.generate(
        llama,
        PROMPTS,
        made,
        position="generated",
        use_cache=use_cache,
        return_tokens=True,
        **options,
    )
    raw = llama.raw_model
    for prompt, one in zip(PROMPTS, found, strict=True):
        ids = llama.tokenizer(prompt)["input_ids"]
        n, kept = len(ids), torch.tensor(made.kept[made.prompts.index(tuple(ids))])

        def cut(layer, n=n, kept=kept):
            def masked(_module, args):
                z = args[0].clone()
                z[:, n:] *= kept[layer]
                return (z,)

            return masked

        hooks = [
            block.mlp.down_proj.register_forward_pre_hook(cut(layer))
            for layer, block in enumerate(raw.model.layers)
        ]
        with torch.no_grad():
            for _ in range(6):
                ids = [*ids, raw(torch.tensor([ids])).logits[0, -1].argmax().item()]
        for hook in hooks:
            hook.remove()
        assert list(one.tokens) == ids[n:]
    plain = sl.generate(llama, PROMPTS, None, return_tokens=True, **options)
    assert [one.tokens[0] for one in plain] == [one.tokens[0] for one in found]
    assert [one.tokens for one in plain] != [one.tokens for one in found]


def test_a_choice_of_one_token_does_not_change_and_a_longer_one_does(llama, samples):
    import sadi_lens as sl

    made = sl.interventions.TDA.from_prompts(llama, [one.prompt for one in samples], cett=0.6)
    plain, cut = sl.evaluate(llama, samples, [None, made], position="generated", progress=False)
    # Choices of one token: both of item 0 and 3, the first of 1 and 2, the last of 1.
    same = plain.choice_scores == pytest.approx(cut.choice_scores, abs=1e-6, nan_ok=True)
    assert not same
    for item, choice in ((0, 0), (0, 1), (1, 0), (1, 2), (2, 0), (3, 0), (3, 1)):
        assert cut.choice_scores[item, choice] == pytest.approx(
            plain.choice_scores[item, choice], abs=1e-5
        )
    for item, choice in ((1, 1), (2, 1)):
        assert abs(cut.choice_scores[item, choice] - plain.choice_scores[item, choice]) > 1e-3
    whole = sl.evaluate(llama, samples, made, position="generated", engine="plain", progress=False)
    assert whole.choice_scores == pytest.approx(cut.choice_scores, abs=5e-5, nan_ok=True)


def test_other_prompts_and_models_are_refused(llama):
    import sadi_lens as sl

    made = sl.interventions.TDA.from_prompts(llama, PROMPTS)
    with pytest.raises(ValueError, match=r"1 of 1 rows have a prompt without a mask"):
        sl.generate(llama, "the red box", made, position="generated")
    with pytest.raises(
        ValueError, match=r"masks are for \(3, 48\) \[layer unit\], toy has 3 layers of 64"
    ):
        made.check(sl.types.ModelInfo("toy", "Toy", 3, 4, 8, 32, 64, "x"))
    with pytest.raises(ValueError, match="cett must be between 0 and 1, got 1"):
        sl.interventions.tail_thresholds(llama, PROMPTS, cett=1.0)
    with pytest.raises(ValueError, match="kept must be"):
        sl.interventions.TDA(((1,), (2,)), np.ones((1, 3, 48)), 0.2)


@pytest.mark.parametrize(
    "kept", [[[[True]], [[True, False]]], [[[1.0, 0.0]]], [[[0, 1]]], "TF", None]
)
def test_what_is_kept_is_said_in_booleans_of_one_shape(kept):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="kept must be"):
        sl.interventions.TDA(((1, 2),), kept, 0.2)
    assert sl.interventions.TDA(((1, 2),), [[[True, False]]], 0.2).kept.shape == (1, 1, 2)


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        (np.ones(2), "thresholds must be one for each of 3 layers, got 2"),
        (np.full(3, np.nan), "thresholds must be finite"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(llama, thresholds, words):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=words):
        sl.interventions.TDA.from_prompts(llama, ["the ball"], thresholds=thresholds)


def test_the_share_is_looked_at_where_thresholds_are_given(llama):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="cett must be between 0 and 1, got 2"):
        sl.interventions.TDA.from_prompts(llama, ["the ball"], cett=2.0, thresholds=np.ones(3))


def test_the_masks_cannot_be_written_to(llama):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="read-only"):
        sl.interventions.TDA.from_prompts(llama, ["the ball"]).kept[0] = False
