"""Rankings that need the model, each derived again another way: finite differences, plain modules, by hand."""

import numpy as np
import pytest

COMPONENTS = ["head", "hidden", "mlp_out", "neuron"]


def quiet(model, pairs, component, ranking, **options):
    import sadi_lens as sl

    return sl.unit_scores(model, pairs, component, ranking, progress=False, **options).values


def samples_of(pairs):
    import sadi_lens as sl

    return [sl.Sample(one.prompt, (one.positive, one.negative), 0) for one in pairs]


def slope(model, samples, make, step, **options):
    """Change of the mean margin for one unit of strength, by central differences."""
    import sadi_lens as sl

    up, down = sl.evaluate(model, samples, [make(step), make(-step)], progress=False, **options)
    return (up.margin - down.margin) / (2 * step)


def some_units(shape, n=6):
    rng = np.random.default_rng(0)
    return [tuple(int(rng.integers(size)) for size in shape) for _ in range(n)]


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("ranking", ["signed", "magnitude", "l2", "standardised"])
def test_unit_scores_agree_with_the_streamed_moments(llama, pairs, differences, component, ranking):
    from sadi_lens.types.masks import scores

    found = quiet(llama, pairs, component, ranking)
    np.testing.assert_allclose(found, scores(differences[component], ranking), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("component", COMPONENTS)
def test_gradient_is_the_slope_of_the_margin_in_a_fixed_addition(
    llama, pairs, differences, component
):
    import sadi_lens as sl

    found = quiet(llama, pairs, component, "gradient")
    vector = differences[component].vector
    for unit in some_units(found.shape):
        mask = sl.Mask.from_units(component, [unit], llama)
        measured = slope(
            llama, samples_of(pairs), lambda s, mask=mask: sl.MaskedAddition(mask, vector, s), 0.02
        )
        assert found[unit] == pytest.approx(measured, rel=0.02, abs=2e-3)
    assert np.ptp(found) > 0.1


@pytest.mark.parametrize("component", COMPONENTS)
def test_effect_is_the_slope_of_the_margin_in_sadis_strength(llama, pairs, component):
    import sadi_lens as sl

    found = quiet(llama, pairs, component, "effect")
    for unit in some_units(found.shape):
        mask = sl.Mask.from_units(component, [unit], llama)
        measured = slope(
            llama, samples_of(pairs), lambda s, mask=mask: sl.MaskedScaling(mask, s), 0.02
        )
        assert found[unit] == pytest.approx(measured, rel=0.02, abs=2e-3)
    assert np.ptp(found) > 0.1


@pytest.mark.parametrize("position", ["last_prompt", "every_step", "all"])
def test_gradients_of_margins_with_several_choices_at_every_position(llama, samples, position):
    """Choices of unequal number and length; the best wrong one counts, whichever it is."""
    import sadi_lens as sl
    from sadi_lens.find.gradients import margin_gradients

    start = np.zeros((3, 4))
    start[1, 2] = 0.5
    found = margin_gradients(
        llama, samples, "head", start=start, position=position, max_tokens=20, progress=False
    )
    assert found.shape == (4, 3, 4, 1)
    other = sl.Mask.from_units("head", [(1, 2)], llama)
    up, down = sl.evaluate(
        llama,
        samples,
        [sl.MaskedScaling(other, 0.52), sl.MaskedScaling(other, 0.48)],
        position=position,
        progress=False,
    )
    measured = (up.margins - down.margins) / 0.04
    np.testing.assert_allclose(found[:, 1, 2, 0], measured, rtol=0.02, atol=3e-3)


def plain_gradients(model, sample, position):
    """d margin / d scale of every head on the Hugging Face model: whole texts one by one, nothing shared."""
    import torch

    from sadi_lens.engine.text import encode_item

    raw, heads = model.raw_model, int(model.cfg.n_heads)
    scale = torch.zeros(int(model.cfg.n_layers), heads, requires_grad=True)
    item = encode_item(model, sample.prompt, sample.choices)
    end = len(item.prompt) - 1
    edited = {
        "last_prompt": slice(end, end + 1),
        "every_step": slice(end, None),
        "all": slice(0, None),
    }[position]

    def hook(layer):
        def scaled(_module, args):
            parts = args[0].unflatten(-1, (heads, -1))
            factor = torch.ones_like(parts[..., 0])
            factor[:, edited] = factor[:, edited] + scale[layer]
            return ((parts * factor[..., None]).flatten(-2),)

        return raw.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(scaled)

    hooks = [hook(layer) for layer in range(len(raw.model.layers))]
    try:
        scores = []
        for answer in item.answers:
            ids = torch.tensor([item.prompt + answer])
            logs = raw(ids).logits[0].log_softmax(dim=-1)
            where = torch.arange(end, end + len(answer))
            scores.append(logs[where, torch.tensor(answer)].sum())
    finally:
        for one in hooks:
            one.remove()
    wrong = [one for at, one in enumerate(scores) if at != sample.answer]
    margin = scores[sample.answer] - torch.stack(wrong).max()
    return torch.autograd.grad(margin, scale)[0].numpy()


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("position", ["last_prompt", "every_step", "all"])
def test_gradients_are_those_of_plain_autograd(llama, samples, position, shares, monkeypatch):
    """Prompts of unequal length and of one token, answers of unequal number and length, in passes of any size."""
    import sadi_lens as sl
    from sadi_lens.find.gradients import margin_gradients

    if not shares:  # as for an architecture that takes no tree
        monkeypatch.setattr("sadi_lens.engine.runner.RawRunner.shares_prefix", lambda *_: False)
    mixed = [*samples, sl.Sample("Ann", (" good", " very bad."), 1)]
    wanted = [plain_gradients(llama, one, position) for one in mixed]
    for most in (None, 1):
        found = margin_gradients(
            llama, mixed, "head", position=position, max_tokens=most, progress=False
        )
        np.testing.assert_allclose(found[..., 0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("component", COMPONENTS)
def test_attribution_on_plain_modules(component, pairs):
    """Add W_O D to the last residual stream of the Hugging Face model, by hand, and look at two logits."""
    import torch
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    model = sl.load_model(hf, tokenizer=tokenizer)
    found = quiet(model, pairs, component, "attribution")
    vector = sl.activation_differences(model, pairs, progress=False)[component].vector
    wide = random_llama()[0].double()
    residual: list = []
    wide.model.norm.register_forward_pre_hook(lambda _module, args: residual.append(args[0]))
    for layer, unit in some_units(found.shape):
        block, d = wide.model.layers[layer], torch.tensor(vector[layer, unit]).double()
        if component == "head":
            written = block.self_attn.o_proj.weight[:, unit * 8 : (unit + 1) * 8] @ d
        elif component == "neuron":
            written = block.mlp.down_proj.weight[:, unit] * d
        else:
            written = torch.eye(32).double()[unit] * d
        slopes = []
        for pair in pairs:
            with torch.no_grad():
                residual.clear()
                ids = tokenizer(pair.prompt, return_tensors="pt")["input_ids"]
                wide(ids)
                last = residual[0][0, -1]
                logits = []
                for step in (1e-4, -1e-4):  # the norm by hand: the module works in float32
                    x = last + step * written
                    x = x / (x.square().mean() + wide.config.rms_norm_eps).sqrt()
                    logits.append(wide.lm_head(x * wide.model.norm.weight))
            right, wrong = (
                tokenizer(pair.prompt + answer)["input_ids"][ids.shape[1]]
                for answer in (pair.positive, pair.negative)
            )
            up, down = (one[right] - one[wrong] for one in logits)
            slopes.append(float(up - down) / 2e-4)
        assert found[layer, unit] == pytest.approx(np.mean(slopes), rel=1e-3, abs=1e-5)


def tiny(name, **changes):
    import torch
    import transformers
    from factories import word_tokenizer

    import sadi_lens as sl

    settings = {
        "vocab_size": 52, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
        "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **changes,
    }  # fmt: skip
    config = getattr(transformers, f"{name}Config")(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hf = getattr(transformers, f"{name}ForCausalLM")(config).eval()
        for key, parameter in hf.named_parameters():
            if "norm" in key:
                parameter.data += 0.3 * torch.randn_like(parameter)
    return sl.load_model(hf, tokenizer=word_tokenizer())


@pytest.mark.parametrize("name", ["Llama", "Gemma2", "Granite"])
def test_attribution_and_gradient_agree_where_only_the_direct_path_is_left(name, pairs):
    """The last layer's MLP and residual stream lead to the logits and nowhere else (one-token answers).

    In Gemma 2 a norm follows the MLP and a soft cap the logits, in Granite a factor: all belong to the path.
    """
    extra = {
        "Gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8},
        "Granite": {"residual_multiplier": 0.5},
    }
    extra = extra.get(name, {})
    model = tiny(name, **extra)
    for component in ("hidden", "mlp_out", "neuron"):
        one, two = (
            quiet(model, pairs[:2], component, ranking)[-1]
            for ranking in ("attribution", "gradient")
        )
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
        assert np.ptp(one) > 1e-3
    for ranking in ("attribution", "gradient"):
        assert np.isfinite(quiet(model, pairs, "head", ranking)).all()


def test_attribution_is_refused_where_a_block_does_not_add_its_outputs(llama, pairs):
    from sadi_lens.engine.hooks import attached

    with attached(llama, [("blocks.1.hook_resid_post", lambda activation, hook: 2 * activation)]):
        for component in ("head", "mlp_out", "neuron"):
            with pytest.raises(
                ValueError, match=r"layer 1 .* does not add what its attention and MLP"
            ):
                quiet(llama, pairs, component, "attribution")
        assert np.isfinite(quiet(llama, pairs, "head", "gradient")).all()


def test_attribution_needs_answers_that_begin_differently(llama):
    import sadi_lens as sl

    pairs = [sl.ContrastivePair("Ann was", " very good", " very bad")]
    with pytest.raises(ValueError, match="begin with the same token in every pair"):
        quiet(llama, pairs, "head", "attribution")
    assert np.ptp(quiet(llama, pairs, "head", "gradient")) > 0


def plain_last(hf, tokenizer, text, module):
    """Input of a module at the last token, without TransformerLens."""
    import torch

    found = []
    handle = module.register_forward_pre_hook(lambda _module, args: found.append(args[0][0, -1]))
    with torch.no_grad():
        hf(tokenizer(text, return_tensors="pt")["input_ids"])
    handle.remove()
    return found[0].double().numpy()


def test_consistency_and_probe_on_plain_modules(pairs):
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    z = {
        name: np.stack(
            [
                plain_last(
                    hf,
                    tokenizer,
                    one.prompt + getattr(one, name),
                    hf.model.layers[1].self_attn.o_proj,
                )
                for one in pairs
            ]
        ).reshape(len(pairs), 4, 8)
        for name in ("positive", "negative")
    }
    model = sl.load_model(hf, tokenizer=tokenizer)
    sign = np.sign((z["positive"] - z["negative"]).mean(axis=2))
    expected = np.maximum((sign > 0).mean(axis=0), (sign < 0).mean(axis=0))
    np.testing.assert_array_equal(quiet(model, pairs, "head", "consistency")[1], expected)
    found = quiet(model, pairs, "head", "probe", n_folds=2, seed=3)[1]
    labels, groups = np.repeat([1, 0], 4), np.tile(np.arange(4), 2)
    for head in range(4):
        both = np.concatenate([z["positive"][:, head], z["negative"][:, head]])
        by_hand = sl.find.probe_accuracy(both, labels, groups=groups, n_folds=2, seed=3)
        assert found[head] == pytest.approx(by_hand)


def test_a_probe_is_not_tested_on_a_text_that_it_was_fitted_on(llama, monkeypatch):
    """Pure noise, wider than the texts are many: 40 prompts, the right text of each in three pairs. A probe that saw it
    in another fold knows it by heart."""
    import sadi_lens as sl
    from sadi_lens.find import rankings

    rng = np.random.default_rng(0)
    right = np.repeat(rng.standard_normal((40, 1, 4, 60)), 3, axis=0)
    wrong = rng.standard_normal((120, 1, 4, 60))
    monkeypatch.setattr(rankings, "read_pairs", lambda *_args, **_options: (right, wrong))

    def accuracy(prompts, clusters=(None,) * 120):
        pairs = [
            sl.ContrastivePair(one, " ball", " box", cluster=cluster)
            for one, cluster in zip(prompts, clusters, strict=True)
        ]
        return quiet(llama, pairs, "head", "probe").mean()

    assert accuracy([f"Ann {row}" for row in range(120)]) > 0.65
    assert accuracy([f"Ann {row // 3}" for row in range(120)]) == pytest.approx(0.5, abs=0.06)
    facts = [str(row // 3) for row in range(120)]
    assert accuracy([f"Ann {row}" for row in range(120)], facts) == pytest.approx(0.5, abs=0.06)


def test_reference_reads_the_non_linearity_of_gated_mlps_and_is_signed_elsewhere(pairs):
    import torch
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    act = []
    handle = hf.model.layers[2].mlp.act_fn.register_forward_hook(
        lambda _module, _args, output: act.append(output[0, -1].double())
    )
    with torch.no_grad():
        for answer in ("positive", "negative"):
            for pair in pairs:
                hf(tokenizer(pair.prompt + getattr(pair, answer), return_tensors="pt")["input_ids"])
    handle.remove()
    expected = (torch.stack(act[:4]) - torch.stack(act[4:])).mean(dim=0)
    model = sl.load_model(hf, tokenizer=tokenizer)
    found = quiet(model, pairs, "neuron", "reference")
    np.testing.assert_allclose(found[2], expected, atol=1e-5)
    assert np.abs(found - quiet(model, pairs, "neuron", "signed")).max() > 0.1
    for component in ("head", "mlp_out"):
        np.testing.assert_array_equal(
            quiet(model, pairs, component, "reference"), quiet(model, pairs, component, "signed")
        )
    with pytest.raises(ValueError, match="calls the MLP output hidden; use component 'mlp_out'"):
        quiet(model, pairs, "hidden", "reference")


def rotated_llama(seed=5):
    """The same function in another value basis: W_V turned, W_O turned back, in every head."""
    import torch
    from factories import random_llama

    hf, tokenizer = random_llama()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in hf.model.layers:
            for shared in range(2):  # grouped queries: two heads read one value head
                turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=rng))
                rows = slice(shared * 8, shared * 8 + 8)
                layer.self_attn.v_proj.weight[rows] = turn @ layer.self_attn.v_proj.weight[rows]
                for head in (2 * shared, 2 * shared + 1):
                    columns = slice(head * 8, head * 8 + 8)
                    out = layer.self_attn.o_proj.weight
                    out[:, columns] = out[:, columns] @ turn.T
    return hf, tokenizer


def test_which_rankings_depend_on_the_arbitrary_value_basis(llama, pairs):
    """The claim of the docstring."""
    import torch

    import sadi_lens as sl

    hf, tokenizer = rotated_llama()
    turned = sl.load_model(hf, tokenizer=tokenizer)
    ids = torch.tensor([[1, 5, 9, 20, 7]])
    torch.testing.assert_close(turned(ids), llama(ids), rtol=1e-3, atol=1e-3)  # the same model
    for ranking in ("l2", "probe", "attribution", "gradient", "effect"):
        options = {"n_folds": 2} if ranking == "probe" else {}
        one, two = (quiet(model, pairs, "head", ranking, **options) for model in (llama, turned))
        np.testing.assert_allclose(one, two, rtol=1e-2, atol=1e-3, err_msg=ranking)
    for ranking in ("signed", "magnitude", "standardised", "consistency", "reference"):
        one, two = (quiet(model, pairs, "head", ranking) for model in (llama, turned))
        assert np.abs(one - two).max() > 0.1, ranking


def test_the_model_is_left_as_it_was(llama, pairs):
    import torch

    before = [(one.requires_grad, one.grad) for one in llama.original_model.parameters()]
    assert all(grad is None for _, grad in before)
    for ranking in ("gradient", "attribution", "effect"):
        quiet(llama, pairs, "head", ranking)
    assert [(one.requires_grad, one.grad) for one in llama.original_model.parameters()] == before
    assert any(flag for flag, _ in before)
    assert not llama.get_hook_point("blocks.1.attn.hook_z").fwd_hooks
    with torch.inference_mode():  # and works where a caller has turned gradients off
        assert np.isfinite(quiet(llama, pairs, "head", "consistency")).all()
    with torch.no_grad():
        assert np.isfinite(quiet(llama, pairs, "head", "effect")).all()


def test_the_planted_units_rank_first_where_the_theory_says_so():
    """Scaling a planted unit adds |e| to the margin: 1.5 on average. A fixed addition adds as often as it takes."""
    import sadi_lens as sl
    from sadi_lens.models.planted import PLANTED

    model, task = sl.models.planted_model(), sl.models.planted_task()
    for component in ("head", "neuron", "mlp_out", "hidden"):
        found = sl.unit_scores(model, task, component, "effect", progress=False)
        assert found.values[PLANTED[component]] == pytest.approx(1.5)
        assert found.task == "planted"
        assert found.n == len(task.pairs)
    mask = sl.top_k_mask(sl.unit_scores(model, task, "neuron", "effect", progress=False), 1)
    assert mask.units == (PLANTED["neuron"],)
    with pytest.raises(
        ValueError, match=r"every neuron unit has the same score 0 under .*'gradient'"
    ):
        sl.unit_scores(model, task, "neuron", "gradient", progress=False)


def test_bad_input_is_refused(llama, pairs, samples):
    import sadi_lens as sl
    from sadi_lens.find.gradients import margin_gradients

    with pytest.raises(ValueError, match="did you mean 'gradient'"):
        quiet(llama, pairs, "head", "gradients")
    with pytest.raises(ValueError, match="did you mean 'neuron'"):
        quiet(llama, pairs, "neurons", "signed")
    with pytest.raises(ValueError, match="at least 1 contrastive pair, got 0"):
        quiet(llama, [], "head", "signed")
    with pytest.raises(ValueError, match="5 folds needs pairs of at least 5 clusters, got 4 of 4"):
        quiet(llama, pairs, "head", "probe")
    with pytest.raises(ValueError, match="standardised' needs at least 2 pairs, got 1"):
        quiet(llama, pairs[:1], "head", "standardised")
    with pytest.raises(ValueError, match="free text has no margin"):
        margin_gradients(llama, [sl.Sample("Ann", target="good")], "head", progress=False)
    with pytest.raises(ValueError, match=r"start must be scales .* \(3, 4\)"):
        margin_gradients(llama, samples, "head", start=np.zeros((2, 4)), progress=False)
    with pytest.raises(ValueError, match="did you mean 'scale'"):
        margin_gradients(llama, samples, "head", through="scales", progress=False)


@pytest.mark.parametrize("component", COMPONENTS)
def test_sign_agreement_by_hand(component, pairs):
    """Shares counted on activations that a plain TransformerLens call gives, prompt by prompt."""
    import torch
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    model = sl.load_model(hf, tokenizer=tokenizer)
    differences = sl.activation_differences(model, pairs, progress=False)[component]
    found = sl.find.sign_agreement(model, pairs, differences, progress=False)
    scalar, projection = np.zeros((2, *differences.mean.shape))
    for pair in pairs:
        ids = torch.tensor([tokenizer(pair.prompt)["input_ids"]])
        layers = sl.engine.read_activations(model, ids, components=[component])[component]
        last = torch.stack([one[0, -1].reshape(*differences.vector.shape[1:]) for one in layers])
        a = last.double().numpy()
        scalar += np.sign(a.mean(axis=2)) == np.sign(differences.mean)
        projection += (a * differences.vector).sum(axis=2) > 0
    np.testing.assert_allclose(found.scalar, scalar / len(pairs))
    np.testing.assert_allclose(found.projection, projection / len(pairs))
    assert found.n == len(pairs)
    if component != "head":
        np.testing.assert_array_equal(found.scalar, found.projection)
    texts = sl.find.sign_agreement(
        model, [one.prompt for one in pairs], differences, progress=False
    )
    assert texts == found
    assert sl.find.sign_agreement(model, samples_of(pairs), differences, progress=False) == found
    assert len(found.frame()) == differences.mean.size


def test_sign_agreement_on_the_planted_model_is_one_half():
    """D is |e| there while e itself is as often negative: scaling pushes half of the inputs against D."""
    import sadi_lens as sl
    from sadi_lens.models.planted import PLANTED

    model, task = sl.models.planted_model(), sl.models.planted_task()
    differences = sl.activation_differences(model, task.pairs, progress=False)
    for component, unit in PLANTED.items():
        found = sl.find.sign_agreement(model, task.test, differences[component], progress=False)
        assert found.scalar[unit] == found.projection[unit] == 0.5
        assert np.isnan(found.scalar[differences[component].mean == 0]).all()


def test_sign_agreement_refuses_bad_input(llama, differences):
    import dataclasses

    import sadi_lens as sl

    with pytest.raises(ValueError, match="at least 1 prompt, pair or sample"):
        sl.find.sign_agreement(llama, [], differences["head"], progress=False)
    with pytest.raises(TypeError, match=r"inputs must be a list of .* got 'the ball'"):
        sl.find.sign_agreement(llama, "the ball", differences["head"], progress=False)
    arrays = ("mean", "std", "vector", "prompt_mean", "prompt_rms")
    wrong = dataclasses.replace(
        differences["head"], **{name: getattr(differences["head"], name)[:2] for name in arrays}
    )
    with pytest.raises(ValueError, match=r"differences are \(2, 4\) .* has \(3, 4\) head units"):
        sl.find.sign_agreement(llama, ["the ball"], wrong, progress=False)


def test_first_order_effects_work_under_inference_mode(llama):
    import torch

    import sadi_lens as sl

    pairs = [
        sl.ContrastivePair("the ball is", " red", " blue"),
        sl.ContrastivePair("a", " big", " small"),
    ]

    def effects():
        return sl.find.unit_scores(llama, pairs, "head", ranking="effect", progress=False)

    with torch.inference_mode():
        inside = effects()
    assert inside == effects()
