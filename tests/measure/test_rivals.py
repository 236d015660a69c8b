"""Methods built from pairs: what they read, re-derived; and exact effects on the planted model."""

import math

import numpy as np
import pytest
import torch
from factories import random_llama

COMPONENTS = ("head", "hidden", "mlp_out", "neuron")
QUIET = {"progress": False}


@pytest.fixture(scope="module")
def planted():
    import sadi_lens as sl

    return sl.models.planted_model()


@pytest.fixture(scope="module")
def task():
    import sadi_lens as sl

    return sl.models.planted_task()


@pytest.fixture(scope="module")
def planted_differences(planted, task):
    import sadi_lens as sl

    return sl.activation_differences(planted, task.pairs, progress=False)


def logit_differences(model, prompts, intervention=None):
    """logit(yes) - logit(no) at the last prompt token."""
    import sadi_lens as sl

    yes, no = model.tokenizer.convert_tokens_to_ids(["yes", "no"])
    batch = model.tokenizer(list(prompts), return_tensors="pt", padding=True)
    with torch.inference_mode(), sl.steer(model, intervention):
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"])[:, -1]
    return logits[:, yes] - logits[:, no]


def evidence_and_pull(prompts):
    from sadi_lens.models._planted_task import EVIDENCE, PULL

    words = [prompt.split() for prompt in prompts]
    return (
        torch.tensor([sum(values.get(word, 0.0) for word in one) for one in words])
        for values in (EVIDENCE, PULL)
    )


def last_token_values(model, text, component, layer, back=1):
    """Activation [d ...] near the end of one text, by a plain hooked pass."""
    from sadi_lens.engine import read_activations

    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    return read_activations(model, ids, components=(component,))[component][layer][0, -back]


def pair_values(model, pairs, component, layer):
    """Right and wrong activations at the last token and those at the last prompt token, float64 arrays."""
    right, wrong, prompt = (
        np.stack(
            [last_token_values(model, text, component, layer).double().numpy() for text in side]
        )
        for side in (
            [pair.prompt + pair.positive for pair in pairs],
            [pair.prompt + pair.negative for pair in pairs],
            [pair.prompt for pair in pairs],
        )
    )
    return right, wrong, prompt


@pytest.mark.parametrize("scope", ["all", "selected"])
@pytest.mark.parametrize("component", COMPONENTS)
def test_clamped_on_the_planted_model_is_equation_1(
    planted, task, planted_differences, component, scope
):
    import sadi_lens as sl

    prompts = [sample.prompt for sample in task.test]
    e, p = evidence_and_pull(prompts)
    mask = sl.top_k_mask(planted_differences[component], 1)
    intervention = sl.interventions.Clamped(sl.MaskedScaling(mask, 7.0), scope)
    found = logit_differences(planted, prompts, intervention)
    torch.testing.assert_close(found, 8 * e + p, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("opposed", "factor"), [("leave", 1.0), ("damp", 0.125), ("reverse", -6.0)]
)
@pytest.mark.parametrize("component", COMPONENTS)
def test_signed_scaling_on_the_planted_model_treats_negative_evidence_otherwise(
    planted, task, planted_differences, component, opposed, factor
):
    """D is |e| > 0, so items with e < 0 have an opposed activation."""
    import sadi_lens as sl

    prompts = [sample.prompt for sample in task.test]
    e, p = evidence_and_pull(prompts)
    found = planted_differences[component]
    mask = sl.top_k_mask(found, 1)
    signed = sl.interventions.SignedScaling.from_differences(mask, found, 7.0, opposed=opposed)
    expected = torch.where(e > 0, 8.0, factor) * e + p
    torch.testing.assert_close(
        logit_differences(planted, prompts, signed), expected, rtol=1e-6, atol=1e-6
    )


def test_iti_on_the_planted_head_shifts_by_half_alpha_root_five(planted, task):
    """z is (e, e, e, e) after yes and 0 after no: theta = (1, 1, 1, 1) / 2, theta . z = 2e or 0.

    e is +-1, +-2 equally often, so the mean is 0 and the variance half of the mean of 4 and 16, which is 5. The push
    adds alpha sqrt(5) / 2 to every value of the head, and so to the evidence of every item.
    """
    import sadi_lens as sl
    from sadi_lens.models.planted import PLANTED

    mask = sl.Mask.from_units("head", [PLANTED["head"]], planted)
    iti = sl.interventions.ITI.from_pairs(planted, task.pairs, mask, 3.0, **QUIET)
    layer, head = PLANTED["head"]
    np.testing.assert_allclose(iti.directions[layer, head], [0.5] * 4, atol=1e-6)
    assert iti.sigma[layer, head] == pytest.approx(math.sqrt(5), abs=1e-5)
    assert np.count_nonzero(iti.sigma) == 1
    prompts = [sample.prompt for sample in task.test]
    e, p = evidence_and_pull(prompts)
    torch.testing.assert_close(
        logit_differences(planted, prompts, iti),
        e + 1.5 * math.sqrt(5) + p,
        rtol=0,
        atol=1e-4,
    )


def test_caa_on_the_planted_model_pushes_all_items_one_way(planted, task, planted_differences):
    import sadi_lens as sl

    prompts = [sample.prompt for sample in task.test]
    e, p = evidence_and_pull(prompts)
    vector = sl.interventions.caa(planted_differences["hidden"], 3, 2.0)
    found = logit_differences(planted, prompts, vector)
    torch.testing.assert_close(found, e + p + 3.0, rtol=0, atol=1e-5)  # 2 times 1.5


def test_austeer_takes_the_planted_value_and_the_decoy_with_opposite_signs(planted, task):
    """Both differ in every pair; the decoy, always smaller, is damped, and leads nowhere."""
    import sadi_lens as sl
    from sadi_lens.models.planted import DECOY, PLANTED

    steer = sl.interventions.AUSteer.from_pairs(planted, task.pairs, 2, 5.0, **QUIET)
    expected = np.zeros((4, 32, 1))
    expected[PLANTED["mlp_out"]], expected[DECOY["mlp_out"]] = 1.0, -1.0
    np.testing.assert_array_equal(steer.gain, expected)
    prompts = [sample.prompt for sample in task.test]
    e, p = evidence_and_pull(prompts)
    torch.testing.assert_close(
        logit_differences(planted, prompts, steer), 6 * e + p, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_swapped_prompt_adds_the_evidence_of_its_donor(
    planted, task, planted_differences, component
):
    import sadi_lens as sl

    prompts = [sample.prompt for sample in task.test]
    e, p = evidence_and_pull(prompts)
    donors = prompts[5:] + prompts[:5]
    scaling = sl.MaskedScaling(sl.top_k_mask(planted_differences[component], 1), 4.0)
    swapped = sl.measure.swap_prompts(planted, scaling, prompts, donors, **QUIET)
    expected = e + p + 4 * torch.cat([e[5:], e[:5]])
    found = logit_differences(planted, prompts, swapped)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    own, other = sl.evaluate(planted, task.test, [scaling, swapped], progress=False)
    signs = torch.tensor([1.0 if sample.answer == 0 else -1.0 for sample in task.test])
    np.testing.assert_allclose(other.margins, (expected * signs).numpy(), atol=1e-5)
    assert own.accuracy > other.accuracy + 0.3


def test_without_donors_every_prompt_gets_another_ones_push(planted, task, planted_differences):
    import sadi_lens as sl

    prompts = [sample.prompt for sample in task.test]
    scaling = sl.MaskedScaling(sl.top_k_mask(planted_differences["hidden"], 1), 1.0)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    swapped = sl.measure.swap_prompts(planted, scaling, [*prompts, prompts[0]], seed=1, **QUIET)
    assert torch.equal(before, torch.random.get_rng_state())
    assert swapped == sl.measure.swap_prompts(planted, scaling, prompts, seed=1, **QUIET)
    assert swapped != sl.measure.swap_prompts(planted, scaling, prompts, seed=2, **QUIET)
    e, p = evidence_and_pull(prompts)
    gained = logit_differences(planted, prompts, swapped) - e - p
    assert sorted(gained.round().tolist()) == sorted(e.tolist())  # each donor exactly once
    with pytest.raises(ValueError, match="at least 2 different ones, got 1"):
        sl.measure.swap_prompts(planted, scaling, prompts[:1] * 3, **QUIET)
    with pytest.raises(ValueError, match="must not be its own donor"):
        sl.measure.swap_prompts(planted, scaling, prompts[:2], prompts[:2], **QUIET)
    with pytest.raises(ValueError, match="one for each prompt: 1 for 2"):
        sl.measure.swap_prompts(planted, scaling, prompts[:2], prompts[:1], **QUIET)
    with pytest.raises(ValueError, match="have a prompt without a donor"):
        logit_differences(planted, ["the sky is sunny and ann says nothing"], swapped)


def test_the_swapped_push_is_the_donors_in_its_own_steered_run(llama, differences):
    """Over several layers the donor's later pushes answer to its earlier ones."""
    import sadi_lens as sl

    scaling = sl.MaskedScaling(sl.top_k_mask(differences["head"], 6), 3.0)
    assert len(scaling.layers) > 1
    prompt, donor = "the ball is", "Tom says the big red hat is in the"
    swapped = sl.measure.swap_prompts(llama, scaling, [prompt], [donor], **QUIET)
    push = sl.measure.measure_push(llama, [donor], scaling, **QUIET)
    np.testing.assert_array_equal(swapped.pushes[0], push.mean[list(scaling.layers)])


def test_the_push_of_a_clamped_intervention_is_measured_with_its_clean_run(llama, differences):
    import sadi_lens as sl
    from sadi_lens.engine import read_activations

    scaling = sl.MaskedScaling(sl.top_k_mask(differences["head"], 6), 3.0)
    push = sl.measure.measure_push(
        llama, ["the ball is"], sl.interventions.Clamped(scaling, "selected"), **QUIET
    )
    first = scaling.layers[0]
    ids = torch.tensor([llama.tokenizer("the ball is")["input_ids"]])
    z = read_activations(llama, ids, components=("head",))["head"][first][0, -1]
    expected = 3.0 * z.numpy() * scaling.mask.selected[first][:, None]
    np.testing.assert_allclose(push.mean[first], expected, atol=1e-5)


def test_actadd_equals_the_same_edit_on_plain_hugging_face_layers(llama):
    import sadi_lens as sl

    hf, tokenizer = random_llama()
    layer, prompt = 1, "Tom says the big red hat is in the"
    ids = {text: tokenizer(text, return_tensors="pt")["input_ids"] for text in ("good hat", "bad")}
    pad = tokenizer(" ", add_special_tokens=False)["input_ids"]
    assert len(pad) == 1
    ids["bad"] = torch.cat([ids["bad"], torch.tensor([pad])], dim=1)
    with torch.inference_mode():
        hidden = {
            text: hf(one, output_hidden_states=True).hidden_states[layer + 1]
            for text, one in ids.items()
        }
        vector = (hidden["good hat"] - hidden["bad"])[0]
        assert vector.shape[0] == 3  # BOS and two words
        assert not vector[0].any()

        def add(_module, _args, output):
            new = output.clone()
            new[:, :3] += 4.0 * vector
            return new

        handle = hf.model.layers[layer].register_forward_hook(add)
        text = tokenizer(prompt, return_tensors="pt")["input_ids"]
        expected = hf(text).logits
        handle.remove()
        added = sl.interventions.ActAdd.from_prompts(llama, "good hat", "bad", layer, 4.0)
        np.testing.assert_allclose(added.vector, vector.numpy(), atol=1e-5)
        with sl.steer(llama, added):
            found = llama(text)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_austeer_counts_pairs(llama, pairs):
    """Shares re-counted pair by pair; the chosen values are those that no other beats."""
    import sadi_lens as sl

    steer = sl.interventions.AUSteer.from_pairs(llama, pairs, 40, 1.0, component="head", **QUIET)
    up, down = np.zeros((3, 4, 8)), np.zeros((3, 4, 8))
    for layer in range(3):
        right, wrong, _ = pair_values(llama, pairs, "head", layer)
        up[layer], down[layer] = (right > wrong).mean(axis=0), (right < wrong).mean(axis=0)
    signed = np.where(up >= down, up, -down)
    chosen = steer.gain != 0
    assert chosen.sum() == 40
    np.testing.assert_allclose(steer.gain[chosen], signed[chosen], atol=1e-6)
    assert np.abs(signed[chosen]).min() >= np.abs(signed[~chosen]).max()
    with pytest.raises(ValueError, match=r"k must be in \[1, 96\], got 97"):
        sl.interventions.AUSteer.from_pairs(llama, pairs, 97, component="head", **QUIET)


def test_austeer_takes_the_most_even_of_values_with_one_share(llama, pairs):
    """Of those that are larger (or smaller) in every pair, those with the largest mean in standard deviations."""
    import sadi_lens as sl

    size = np.zeros((3, 4, 8))
    for layer in range(3):
        right, wrong, _ = pair_values(llama, pairs, "head", layer)
        difference = (right - wrong).astype(float)
        is_even = (difference > 0).all(axis=0) | (difference < 0).all(axis=0)
        size[layer] = is_even * np.abs(difference.mean(axis=0)) / difference.std(axis=0)
    for k in range(1, int((size > 0).sum()), 3):
        steer = sl.interventions.AUSteer.from_pairs(llama, pairs, k, component="head", **QUIET)
        assert set(np.flatnonzero(steer.gain)) == set((-size).ravel().argsort()[:k])


def test_iti_reads_directions_and_spread_off_the_pairs(llama, pairs, differences):
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["head"], 5)
    iti = sl.interventions.ITI.from_pairs(llama, pairs, mask, **QUIET)
    assert iti.strength == 15.0
    for layer, head in mask.units:
        right, wrong, _ = (one[:, head] for one in pair_values(llama, pairs, "head", layer))
        theta = right.mean(axis=0) - wrong.mean(axis=0)
        theta /= np.linalg.norm(theta)
        np.testing.assert_allclose(iti.directions[layer, head], theta, atol=1e-5)
        spread = (np.concatenate([right, wrong]) @ theta).std()
        assert iti.sigma[layer, head] == pytest.approx(spread, rel=1e-4)


def test_the_probe_of_hpr_separates_the_pairs_through_the_origin(llama, pairs):
    import sadi_lens as sl

    hpr = sl.interventions.HouseholderRotation.from_pairs(llama, pairs, 1, **QUIET)
    right, wrong, _ = pair_values(llama, pairs, "hidden", 1)
    assert ((right @ hpr.direction > 0).mean() + (wrong @ hpr.direction < 0).mean()) / 2 > 0.7
    angles = [
        math.acos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        for a, b in zip(right, wrong, strict=True)
    ]
    assert hpr.angle == pytest.approx(np.mean(angles), abs=1e-4)
    # The gradient of the L2-penalised log-likelihood (C = 1, no intercept) is 0 at the probe: check its direction.
    x = np.concatenate([right, wrong])
    x = x / np.sqrt((x**2).mean())
    y = np.repeat([1.0, -1.0], len(right))
    size = min(
        np.linspace(0.01, 20, 4000),
        key=lambda one: np.log1p(np.exp(-y * (x @ hpr.direction) * one)).sum() + one**2 / 2,
    )
    w = size * hpr.direction
    slope = w - (x * (y / (1 + np.exp(y * (x @ w))))[:, None]).sum(axis=0)
    assert np.linalg.norm(slope) < 0.05 * size


def test_cast_reads_condition_and_push_off_the_pairs(llama, pairs):
    """Against scikit-learn's PCA of the pair-centred activations."""
    from sklearn.decomposition import PCA

    import sadi_lens as sl

    cast = sl.interventions.CAST.from_pairs(llama, pairs, 2, 1.0, **QUIET)
    assert (cast.layer, cast.condition_layer) == (2, 1)
    for layer, vector in ((2, cast.vector), (1, cast.condition)):
        right, wrong, _ = pair_values(llama, pairs, "hidden", layer)
        centre = (right + wrong) / 2
        axis = PCA(n_components=1).fit(np.concatenate([right - centre, wrong - centre]))
        axis = axis.components_[0]
        mean = (right - wrong).mean(axis=0)
        axis *= np.sign(axis @ mean)
        expected = axis * (axis @ mean) if layer == 2 else axis
        np.testing.assert_allclose(vector, expected, atol=1e-4)
    prompt = torch.from_numpy(pair_values(llama, pairs, "hidden", 1)[2])
    assert int(cast.fires(prompt).sum()) == 2  # the median of four prompts


def test_cast_with_labelled_prompts_tells_them_apart(planted, task):
    """Prompts in which somebody says something against prompts in which nobody does."""
    import sadi_lens as sl

    said = [s.prompt for s in task.dev if "nothing" not in s.prompt][:24]
    nothing = [s.prompt for s in task.dev if "nothing" in s.prompt][:24]
    cast = sl.interventions.CAST.from_pairs(
        planted, task.pairs, 3, 1.0, condition_layer=0, labelled=(said, nothing), **QUIET
    )
    fires = [
        [bool(cast.fires(last_token_values(planted, one, "hidden", 0))) for one in prompts]
        for prompts in (said, nothing)
    ]
    assert np.mean(fires[0]) > 0.9
    assert np.mean(fires[1]) < 0.1
    with pytest.raises(ValueError, match="as many prompts to steer as to leave, got 24 and 23"):
        sl.interventions.CAST.from_pairs(
            planted, task.pairs, 3, labelled=(said, nothing[1:]), **QUIET
        )


def test_the_prompt_decides_a_gate_for_everything_that_follows(llama, samples):
    """Rows that fire are steered at every step, the others at none, whatever the later tokens are."""
    import sadi_lens as sl

    texts = [sample.prompt for sample in samples]
    last = torch.stack([last_token_values(llama, text, "hidden", 0) for text in texts])
    rng = np.random.default_rng(0)
    push, condition = rng.normal(size=(2, 32))
    probe = sl.interventions.CAST(push, 1, condition, 0, 0.0, 9.0)
    similarity = torch.cosine_similarity(
        last,
        torch.tanh((last @ torch.tensor(condition).float())[:, None] / (condition**2).sum()
                   * torch.tensor(condition).float()),
    )  # fmt: skip
    cut = float(similarity.median()) + 1e-5
    cast = sl.interventions.CAST(push, 1, condition, 0, cut, 9.0)
    fires = cast.fires(last)
    assert 0 < int(fires.sum()) < len(texts)
    assert probe.fires(last).tolist() == (similarity > 0).tolist()
    options = {"max_new_tokens": 6, "eos_token_id": None, "skip_special_tokens": False}
    always = sl.VectorAddition(push, 1, 9.0)
    expected = [
        sl.generate(llama, text, always if fired else None, **options)[0]
        for text, fired in zip(texts, fires.tolist(), strict=True)
    ]
    assert sl.generate(llama, texts, cast, **options) == expected


def test_a_second_models_directions_must_have_this_models_shape(pairs, differences):
    import sadi_lens as sl

    hf, tokenizer = random_llama(seed=7)
    aligned = sl.activation_differences(
        sl.load_model(hf, tokenizer=tokenizer), pairs, components=["hidden"], progress=False
    )
    gate = sl.interventions.InferAlignerGate.from_differences(
        differences["hidden"], [0, 2], aligned=aligned["hidden"]
    )
    np.testing.assert_array_equal(gate.push, aligned["hidden"].vector[[0, 2], :, 0])
    hf, tokenizer = random_llama(seed=7, hidden_size=48)
    wide = sl.activation_differences(
        sl.load_model(hf, tokenizer=tokenizer), pairs, components=["hidden"], progress=False
    )
    with pytest.raises(ValueError, match=r"must have one shape: .* d_model 32, .* d_model 48"):
        sl.interventions.InferAlignerGate.from_differences(
            differences["hidden"], [0, 2], aligned=wide["hidden"]
        )


def test_bad_input_to_what_is_built_from_pairs(llama, pairs, differences):
    import sadi_lens as sl

    empty = sl.Mask.from_units("head", [], llama)
    cases = [
        (
            lambda: sl.interventions.AUSteer.from_pairs(llama, [], 1, **QUIET),
            "pairs must hold at least 1",
        ),
        (
            lambda: sl.interventions.AUSteer.from_pairs(
                llama, pairs, 1, component="heads", **QUIET
            ),
            "did you mean 'head'",
        ),
        (
            lambda: sl.interventions.ITI.from_pairs(llama, pairs, empty, **QUIET),
            "at least 1 unit, got 0",
        ),
        (
            lambda: sl.interventions.HouseholderRotation.from_pairs(llama, pairs, 3, **QUIET),
            r"layer must be in \[0, 2\], got 3",
        ),
        (
            lambda: sl.interventions.HouseholderRotation.from_pairs(
                llama, pairs, 1, component="head", **QUIET
            ),
            "component must be",
        ),
        (
            lambda: sl.interventions.CAST.from_pairs(llama, pairs, 3, **QUIET),
            r"layer must be in \[0, 2\], got 3",
        ),
        (
            lambda: sl.interventions.CAST.from_pairs(llama, pairs, 1, condition_layer=2, **QUIET),
            "must not come after layer 1, got 2",
        ),
        (
            lambda: sl.interventions.CAST.from_pairs(llama, pairs, 1, labelled=([], []), **QUIET),
            "prompts must hold at least 1, got 0",
        ),
        (
            lambda: sl.interventions.SphericalSteering.from_differences(differences["hidden"], 5),
            r"layer must be in \[0, 2\], got 5",
        ),
        (
            lambda: sl.interventions.ActAdd.from_prompts(
                llama, "good hat", "bad", 0, padding="red hat"
            ),
            r"padding must be one token, 'red hat' is 2; .*\(now \[3, 2\]\)",
        ),
        (
            lambda: sl.interventions.ActAdd.from_prompts(llama, "good", "bad", 9),
            r"layer must be in \[0, 2\], got 9",
        ),
    ]
    for make, words in cases:
        with pytest.raises(ValueError, match=words):
            make()


def test_a_mixture_of_experts_has_no_neurons_to_steer(info_without_neurons, differences):
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["neuron"], 3)
    for one in (
        sl.interventions.Clamped(sl.MaskedScaling(mask, 2.0)),
        sl.interventions.SignedScaling.from_differences(mask, differences["neuron"], 2.0),
        sl.interventions.SphericalSteering.from_differences(differences["neuron"], 1),
        sl.interventions.InferAlignerGate.from_differences(differences["neuron"], [1]),
    ):
        with pytest.raises(ValueError, match="has no MLP neurons that can be hooked"):
            one.check(info_without_neurons)


@pytest.fixture
def info_without_neurons(llama):
    import dataclasses

    import sadi_lens as sl

    return dataclasses.replace(sl.types.ModelInfo.of(llama), d_mlp=0)


def test_a_gate_that_never_saw_the_last_prompt_token_is_refused(llama, differences):
    """A prefilled cache that already holds it, and prompt_lengths that say so."""
    import sadi_lens as sl

    gate = sl.interventions.InferAlignerGate.from_differences(differences["hidden"], [1], 2.0)
    ids = torch.tensor([llama.tokenizer("Tom says the big red hat")["input_ids"]])
    with torch.inference_mode():
        _, cache = llama(ids[:, :-1], return_type="logits_and_cache", use_cache=True)
        with (
            sl.steer(llama, gate, position="every_step", prompt_lengths=[3]),
            pytest.raises(
                ValueError, match="decides at the last prompt token, but no pass has held"
            ),
        ):
            llama(ids[:, :3])  # what an earlier text decided must not count
            llama(ids[:, -1:], past_key_values=cache)
