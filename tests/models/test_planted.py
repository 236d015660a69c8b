"""The planted model does what its derivation says, and the method finds what was planted."""

import math

import numpy as np
import pytest
import torch

COMPONENTS = ("head", "hidden", "mlp_out", "neuron")
STRENGTHS = (-2.0, -1.0, -0.5, 0.0, 0.5, 2.0, 7.0, 30.0)


@pytest.fixture(scope="session")
def planted():
    import sadi_lens as sl

    return sl.models.planted_model()


@pytest.fixture(scope="session")
def task():
    import sadi_lens as sl

    return sl.models.planted_task()


@pytest.fixture(scope="session")
def differences(planted, task):
    import sadi_lens as sl

    return sl.activation_differences(planted, task.pairs, progress=False)


def _logit_differences(model, prompts, intervention=None, position="last_prompt") -> torch.Tensor:
    """logit(yes) - logit(no) at the last prompt token, without any scoring code."""
    import sadi_lens as sl

    yes, no = model.tokenizer.convert_tokens_to_ids(["yes", "no"])
    batch = model.tokenizer(list(prompts), return_tensors="pt", padding=True)
    with torch.inference_mode(), sl.steer(model, intervention, position=position):
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"])[:, -1]
    return logits[:, yes] - logits[:, no]


@pytest.mark.parametrize(
    ("prompt", "evidence", "pull"),
    [
        ("the sky is sunny and ann says nothing ?", 1.0, 0.0),
        ("the hill is bright and tom says nah ?", 2.0, -2.75),
        ("the lake is rainy and eve says nothing ?", -1.0, 0.0),
        ("the city is stormy and bob says sure ?", -2.0, 5.25),
    ],
)
def test_the_answer_is_evidence_plus_pull_as_worked_out_by_hand(planted, prompt, evidence, pull):
    from sadi_lens.models._planted_task import planted_logit_difference

    measured = float(_logit_differences(planted, [prompt])[0])
    assert measured == pytest.approx(evidence + pull, abs=1e-6)
    assert planted_logit_difference(prompt) == evidence + pull
    assert planted_logit_difference(prompt, 3.0) == 4 * evidence + pull


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_signed_rule_selects_exactly_the_planted_unit(differences, component):
    import sadi_lens as sl
    from sadi_lens.models.planted import PLANTED

    found = differences[component]
    assert sl.top_k_mask(found, 1).units == (PLANTED[component],)
    # |e| is 1 or 2 with equal frequency, by the derivation.
    assert found.mean[PLANTED[component]] == pytest.approx(1.5, abs=1e-5)
    assert found.std[PLANTED[component]] == pytest.approx(
        0.5 * math.sqrt(found.n / (found.n - 1)), abs=1e-5
    )
    others = found.mean.copy()
    others[PLANTED[component]] = -np.inf
    # Only the carriers of the residual stream differ in the right direction at all: e / 8.
    bound = 1.5 / 8 if component == "hidden" else 0.0
    assert others.max() == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize("component", COMPONENTS)
def test_ranking_by_magnitude_takes_the_decoy_which_decides_nothing(
    planted, task, differences, component
):
    import sadi_lens as sl
    from sadi_lens.models.planted import DECOY

    found = differences[component]
    mask = sl.top_k_mask(found, 1, ranking="magnitude")
    assert mask.units == (DECOY[component],)
    assert found.mean[DECOY[component]] == pytest.approx(-3.0, abs=1e-5)
    prompts = [sample.prompt for sample in task.test]
    steered = _logit_differences(planted, prompts, sl.MaskedScaling(mask, strength=7.0))
    assert torch.equal(steered, _logit_differences(planted, prompts))


@pytest.mark.parametrize("component", COMPONENTS)
def test_other_units_are_busy_but_do_not_differ(differences, component):
    """A unit that is never active would be easy to leave out; the background is active."""
    found = differences[component]
    active = found.prompt_rms > 1e-3
    assert active.mean() > 0.3
    assert (np.abs(found.mean[active]) < 1e-6).sum() > 10


@pytest.mark.parametrize("position", ["last_prompt", "every_step", "all"])
@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_without_pulls_the_logit_difference_is_multiplied_by_one_plus_strength(
    planted, differences, component, strength, position
):
    import sadi_lens as sl

    prompts = [sample.prompt for sample in sl.models.planted_task(pulls=False).test]
    mask = sl.top_k_mask(differences[component], 1)
    base = _logit_differences(planted, prompts)
    scaling = sl.MaskedScaling(mask, strength=strength)
    steered = _logit_differences(planted, prompts, scaling, position)
    torch.testing.assert_close(steered, (1 + strength) * base, rtol=1e-6, atol=1e-6)
    assert base.abs().min() > 0.9


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_with_pulls_every_item_moves_as_equation_1_says(
    planted, task, differences, component, strength
):
    import sadi_lens as sl
    from sadi_lens.models._planted_task import planted_accuracy, planted_logit_difference

    prompts = [sample.prompt for sample in task.test]
    scaling = sl.MaskedScaling(sl.top_k_mask(differences[component], 1), strength=strength)
    steered = _logit_differences(planted, prompts, scaling)
    paper = torch.tensor([planted_logit_difference(prompt, strength) for prompt in prompts])
    torch.testing.assert_close(steered, paper, rtol=1e-6, atol=1e-6)
    right = steered * torch.tensor([1.0 if s.answer == 0 else -1.0 for s in task.test]) > 0
    assert float(right.float().mean()) == planted_accuracy(task.test, strength)


def test_accuracy_rises_in_steps_with_strength(task):
    from sadi_lens.models._planted_task import planted_accuracy

    steps = [planted_accuracy(task.test, s) for s in (-2.0, -0.5, 0.0, 0.3, 0.5, 1.7, 1.8, 4.3)]
    assert steps == [0.0, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1.0]


def test_splits_are_disjoint_and_balanced(task):
    places = {
        name: {item.prompt.split()[1] for item in getattr(task, name)}
        for name in ("pairs", "dev", "test")
    }
    assert not places["pairs"] & places["dev"]
    assert not places["dev"] & places["test"]
    assert len(task.pairs) == len(task.dev) == len(task.test) == 128
    assert sum(pair.positive == " yes" for pair in task.pairs) == 64
    assert sum(sample.answer == 0 for sample in task.test) == 64


def test_a_fixed_addition_pushes_everything_one_way_and_scaling_does_not(
    planted, task, differences
):
    """What the model was planted for: D > 0 is added to items of either answer alike."""
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["hidden"], 1)
    prompts = [sample.prompt for sample in task.test]
    signs = torch.tensor([1.0 if sample.answer == 0 else -1.0 for sample in task.test])
    clean = _logit_differences(planted, prompts) * signs
    scaled = _logit_differences(planted, prompts, sl.MaskedScaling(mask, strength=5.0)) * signs
    added = sl.MaskedAddition.from_differences(mask, differences["hidden"], strength=5.0)
    fixed = _logit_differences(planted, prompts, added) * signs
    assert bool((scaled > clean).all())
    # Strength times the mean difference, 5 * 1.5, towards yes whatever the evidence says.
    torch.testing.assert_close(fixed, clean + 7.5 * signs, rtol=0, atol=1e-5)


def test_the_text_ends_after_the_answer(planted):
    import sadi_lens as sl

    texts = sl.generate(
        planted,
        ["the sky is sunny and ann says nothing ?", "the sky is rainy and ann says aye ?"],
        max_new_tokens=4,
        skip_special_tokens=False,
    )
    assert [text.split()[:2] for text in texts] == [["yes", "</s>"], ["yes", "</s>"]]


def test_building_it_leaves_the_global_random_state_alone():
    import sadi_lens as sl

    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, second = sl.models.planted_model(seed=4), sl.models.planted_model(seed=4)
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.raw_model.parameters(), second.raw_model.parameters(), strict=True):
        assert torch.equal(a, b)
