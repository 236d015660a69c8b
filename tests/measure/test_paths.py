"""Ablations and direct paths against raw Hugging Face and the planted model."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

PROMPTS = ["the ball is", "Tom says the big red hat is in the", "Ann was"]


def head_inputs(raw, tokenizer, prompt):
    """z of every layer at the last token, [layer d_model]."""
    import torch

    seen = []
    hooks = [
        block.self_attn.o_proj.register_forward_pre_hook(
            lambda _m, args: seen.append(args[0][0, -1])
        )
        for block in raw.model.layers
    ]
    with torch.no_grad():
        raw(torch.tensor([tokenizer(prompt)["input_ids"]]))
    for one in hooks:
        one.remove()
    return torch.stack(seen)


def test_resampled_heads_are_those_of_the_donor_and_nobody_is_its_own(llama):
    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(0, 1), (2, 3)], llama)
    made = sl.measure.resample_ablation(llama, mask, [*PROMPTS, PROMPTS[0]])
    z = {
        tuple(llama.tokenizer(p)["input_ids"]): head_inputs(llama.raw_model, llama.tokenizer, p)
        .reshape(3, 4, 8)
        .numpy()
        for p in PROMPTS
    }
    donors = []
    for tokens, values in zip(made.prompts, made.values, strict=True):
        (donor,) = (other for other, own in z.items() if np.allclose(own, values, atol=1e-5))
        assert donor != tokens
        donors.append(donor)
    assert set(donors) == set(z)
    with pytest.raises(ValueError, match="at least 2 different ones, got 1"):
        sl.measure.resample_ablation(llama, mask, PROMPTS[:1])


def test_ablated_activations_by_hand():
    import torch

    import sadi_lens as sl
    from sadi_lens.interventions import Context, MeanAblation, ResampleAblation

    mask = sl.Mask("neuron", np.array([[True, False, True]]))
    mean = MeanAblation(mask, np.array([[[5.0], [6.0], [7.0]]]))
    activation = torch.tensor([[[1.0, 2.0, 3.0]], [[-1.0, -2.0, -3.0]]])
    assert mean.edit(activation, 0).tolist() == [[[5, 2, 7]], [[5, -2, 7]]]
    values = np.array([[[[1.5], [0], [2.5]]], [[[3.5], [0], [4.5]]]])
    swapped = ResampleAblation(mask, ((1, 2), (3,)), values)
    edited = swapped.edit(activation, 0, Context(prompts=((3,), (1, 2))))
    assert edited.tolist() == [[[3.5, 2, 4.5]], [[1.5, -2, 2.5]]]
    with pytest.raises(ValueError, match="without a donor"):
        swapped.edit(activation, 0, Context(prompts=((3,), (9,))))


def test_the_direct_path_is_what_raw_heads_write_added_behind_the_last_block(llama, samples):
    import torch

    import sadi_lens as sl
    from sadi_lens.measure.paths import _direct

    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1), (2, 3)], llama), 4.0)
    direct, each = _direct(llama, samples, scaling)
    found = sl.evaluate(llama, samples[:1], [direct, each[0, 1]], progress=False)
    raw, tokenizer, sample = llama.raw_model, llama.tokenizer, samples[0]
    z = head_inputs(raw, tokenizer, sample.prompt).reshape(3, 4, 8)
    for result, units in zip(found, ([(0, 1), (2, 3)], [(0, 1)]), strict=True):
        push = sum(
            4.0
            * z[layer, unit]
            @ raw.model.layers[layer].self_attn.o_proj.weight.T[8 * unit : 8 * unit + 8]
            for layer, unit in units
        )

        def add(_module, _args, output, push=push):
            output[:, -1] += push
            return output

        handle = raw.model.layers[-1].register_forward_hook(add)
        with torch.no_grad():
            ids = torch.tensor([tokenizer(sample.prompt)["input_ids"]])
            logprobs = raw(ids).logits[0, -1].log_softmax(-1)
        handle.remove()
        expected = [
            logprobs[tokenizer(one, add_special_tokens=False)["input_ids"][0]].item()
            for one in sample.choices
        ]
        assert result.choice_scores[0, :2].tolist() == pytest.approx(expected, abs=1e-4)


def test_what_the_planted_head_writes_reaches_the_logits_through_the_planted_neuron_only():
    import sadi_lens as sl
    from sadi_lens.models._planted_task import planted_logit_difference as on_paper
    from sadi_lens.models.planted import PLANTED, PULL_HEAD

    model, task = sl.models.planted_model(), sl.models.planted_task()
    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [PLANTED["head"]], model), 2.0)
    found = sl.measure.head_paths(model, task, scaling).set_index("edit")
    evidence = np.array([on_paper(one.prompt, 1.0) - on_paper(one.prompt) for one in task.dev])
    gain = np.abs(2.0 * evidence).mean()
    assert found.margin["scaled"] == pytest.approx(gain, rel=0.01)
    assert found.margin["direct"] == pytest.approx(0, abs=0.01)
    assert found.margin["direct, L1H2"] == pytest.approx(found.margin["direct"], abs=1e-5)
    assert found.margin["rest"] == pytest.approx(gain, rel=0.01)
    assert found.margin["mean ablation"] < 0
    assert found.margin["resample ablation"] < 0
    assert found.accuracy["unsteered"] == 0.375
    # The head of what is said writes into a dimension that the unembedding reads itself.
    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [PULL_HEAD], model), 2.0)
    found = sl.measure.head_paths(model, task, scaling).set_index("edit")
    said = [on_paper(one.prompt, -1.0) * (1 - 2 * (one.answer or 0)) for one in task.dev]
    assert found.margin["scaled"] == pytest.approx(2.0 * np.mean(said), abs=0.02)
    assert found.margin["direct"] == pytest.approx(found.margin["scaled"], abs=0.02)
    assert abs(np.mean(said)) > 0.5
    with pytest.raises(ValueError, match="needs SADI on heads"):
        sl.measure.head_paths(
            model, task, sl.MaskedScaling(sl.Mask.from_units("neuron", [(3, 17)], model), 2.0)
        )


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("Gemma2", {"head_dim": 8, "query_pre_attn_scalar": 8}),
        ("Gemma3", {"head_dim": 8, "query_pre_attn_scalar": 8}),
        ("Olmo2", {}),
        ("Granite", {"residual_multiplier": 0.5}),
    ],
)
def test_heads_whose_writing_passes_a_norm_or_a_factor_have_no_direct_path_by_z_w_o(
    name, extra, pairs, samples
):
    """What o_proj puts out is not what the block adds: (1 + s) z W_O through a norm is not a sum of two parts."""
    import torch
    import transformers
    from factories import word_tokenizer

    import sadi_lens as sl

    settings = {
        "vocab_size": 52, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
        "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **extra,
    }  # fmt: skip
    config_of = f"{name}TextConfig" if name == "Gemma3" else f"{name}Config"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, config_of)(**settings)
        hf = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    model = sl.load_model(hf, tokenizer=word_tokenizer())
    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1), (1, 3)], model), 3.0)
    asked = tuple(replace(one, prompt=f"a {one.prompt}") for one in samples)
    task = sl.Task("words", pairs=tuple(pairs), dev=asked)
    with pytest.raises(ValueError, match=r"layer 0 of .* does not add what its heads write"):
        sl.measure.head_paths(model, task, scaling)


def test_answers_that_begin_alike_have_no_direct_part_and_the_others_keep_theirs(llama, pairs):
    import sadi_lens as sl

    alike = sl.Sample("the box is", (" red hat", " red ball"), 0, split="dev")
    again = sl.Sample("a box is", (" red hat", " red ball"), 0, split="dev")
    other = sl.Sample("the hat is", (" red", " blue"), 0, split="dev")
    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1), (2, 3)], llama), 3.0)

    def direct(*items):
        task = sl.Task("words", pairs=tuple(pairs), dev=items)
        return sl.measure.head_paths(llama, task, scaling).set_index("edit").margin["direct"]

    assert direct(alike, again) == pytest.approx(0, abs=1e-5)
    some = direct(other, alike)
    assert abs(some) > 0.01
    assert direct(alike, other) == pytest.approx(some, abs=1e-5)


def test_the_means_of_an_ablation_are_those_of_its_component(differences):
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["hidden"], 3)
    with pytest.raises(ValueError, match="of the mask's component 'hidden', got 'mlp_out'"):
        sl.interventions.MeanAblation.from_differences(mask, differences["mlp_out"])


def test_one_item_has_no_interval():
    from sadi_lens.measure.paths import _row

    row = _row("scaled", np.array([1.5]), SimpleNamespace(clusters=None, accuracy=1.0))
    assert row["margin"] == 1.5
    assert np.isnan([row["low"], row["high"]]).all()
    for change in (np.zeros(4), np.arange(4.0)):
        one = _row("scaled", change, SimpleNamespace(clusters=np.zeros(4, int), accuracy=1.0))
        assert np.isnan([one["low"], one["high"]]).all()


def test_items_of_a_cluster_count_as_what_they_are_worth():
    """Copies: ten of each of twenty items are worth twenty items, as statsmodels has them by cluster."""
    import statsmodels.api as sm

    from sadi_lens.measure.paths import _row

    own = np.random.default_rng(0).normal(size=20)
    clusters = np.repeat(np.arange(20), 10)
    row = _row("scaled", np.repeat(own, 10), SimpleNamespace(clusters=clusters, accuracy=1.0))
    fit = sm.OLS(np.repeat(own, 10), np.ones(200)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "df_correction": True}, use_t=True
    )
    low, high = fit.conf_int()[0]
    half = (row["high"] - row["low"]) / 2
    assert half == pytest.approx((high - low) / 2, rel=0.12)  # fewer degrees of freedom than 19
    assert half > (high - low) / 2 * 0.99


def test_a_table_of_paths_says_how_many_clusters_its_intervals_are_by(llama, samples, pairs):
    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(1, 2)], llama)
    for names, wanted in (((None,) * len(samples), 0), (("a", "a", "b", "c"), 3)):
        dev = [
            replace(one, cluster=name, split="dev")
            for one, name in zip(samples, names, strict=True)
        ]
        others = tuple(replace(one, prompt=f"Tom says {one.prompt}") for one in pairs)
        task = sl.Task("mine", pairs=others, dev=tuple(dev))
        found = sl.measure.head_paths(llama, task, sl.MaskedScaling(mask, 2.0))
        assert found.attrs["n_clusters"] == wanted
