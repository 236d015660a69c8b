"""Rows that change the prompt or the model: what they run on, what they are compared with."""

import dataclasses

import pytest

QUIET = {"progress": False}


@pytest.fixture(scope="module")
def small(pairs, samples):
    import sadi_lens as sl

    def told(who, split):
        return tuple(
            dataclasses.replace(one, prompt=f"{who} says {one.prompt}", split=split)
            for one in samples
        )

    return sl.Task("words", pairs=tuple(pairs), dev=told("Tom", "dev"), test=told("Ann", "test"))


def material(model, task):
    from sadi_lens.measure.methods import Material

    return Material(model, task.pairs, task.name)


def test_a_text_before_every_prompt_is_scored_as_such_and_filed_under_the_items(llama, samples):
    import sadi_lens as sl
    from sadi_lens.measure.calls import Settings, items_hash
    from sadi_lens.measure.candidates import evaluate_candidates

    before = "Tom says . "
    plain, changed = evaluate_candidates(
        llama,
        samples,
        [sl.measure.Candidate(None), sl.measure.Candidate(None, before=before)],
        Settings(),
    )
    longer = [dataclasses.replace(one, prompt=before + one.prompt) for one in samples]
    expected = sl.evaluate(llama, longer, progress=False)
    assert (
        changed.choice_scores == expected.choice_scores
    ).all() or changed.choice_scores == pytest.approx(expected.choice_scores, nan_ok=True)
    assert changed.choice_scores != pytest.approx(plain.choice_scores, nan_ok=True)
    assert changed.items == plain.items == items_hash(samples) != expected.items


def test_instructions_go_before_the_prompt_with_a_blank_line(llama, small):
    import sadi_lens as sl
    from sadi_lens.measure.methods.prompting import _TRUST

    default = sl.measure.prompting().candidates(material(llama, small), None)
    assert [one.before for one in default] == [f"{text}\n\n" for text in _TRUST]
    (own,) = sl.measure.prompting("Ann is good .").candidates(material(llama, small), 1)
    assert (own.before, own.words) == ("Ann is good .\n\n", "instruction 'Ann is good .'")
    for wrong in (("",), ("A", "A")):
        with pytest.raises(ValueError, match="must be different texts, none empty"):
            sl.measure.prompting(*wrong)


def test_examples_are_pairs_with_their_right_answers_the_larger_set_around_the_smaller(
    llama, small
):
    from sadi_lens.measure.methods.prompting import few_shot

    one, two, four = few_shot(material(llama, small), None)[:3]
    texts = {f"{p.prompt}{p.positive}\n\n" for p in small.pairs}
    assert one.before in texts
    assert two.before.endswith(one.before)
    assert {two.before.removesuffix(one.before), one.before} <= texts
    assert set(four.before.split("\n\n")) - {""} == {text.strip() for text in texts}
    assert [c.words for c in (one, two, four)] == [
        "1 solved example",
        "2 solved examples",
        "4 solved examples",
    ]


def test_examples_that_do_not_fit_the_context_are_not_offered(llama, small):
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.measure.methods import UnavailableError
    from sadi_lens.measure.methods.prompting import few_shot

    first = few_shot(material(llama, small), None)[0].before
    # The longest pair is 11 tokens, times 1.25.
    least = len(llama.tokenizer(first)["input_ids"]) + 14
    for context, offered in ((least, 1), (least - 1, 0)):
        hf, tokenizer = random_llama(max_position_embeddings=context)
        model = sl.load_model(hf, tokenizer=tokenizer)
        if offered:
            assert len(few_shot(material(model, small), None)) == offered
        else:
            with pytest.raises(
                UnavailableError, match=f"not one example fits the context of {context}"
            ):
                few_shot(material(model, small), None)


def test_neither_row_touches_a_chat_template(llama):
    import sadi_lens as sl
    from sadi_lens.measure.methods import Material, UnavailableError
    from sadi_lens.measure.methods.prompting import few_shot
    from sadi_lens.types.chat_prompt import ChatPrompt

    chat = Material(llama, (sl.ContrastivePair(ChatPrompt("the ball is"), " red", " blue"),))
    for make in (few_shot, sl.measure.prompting().candidates):
        with pytest.raises(UnavailableError, match="chat template"):
            make(chat, None)


@pytest.fixture(scope="module")
def tuned(llama, pairs):
    import sadi_lens as sl

    pytest.importorskip("peft")
    texts = [*((one.prompt, one.positive) for one in pairs), ("Ann was", " bad red hat")]
    return texts, sl.models.fine_tune(llama, texts, learning_rate=0.01, epochs=[3, 1], rank=2)


def test_the_first_loss_is_that_of_the_answers_tokens_under_the_model_as_it_was(llama, tuned):
    import torch

    texts, (one, three) = tuned
    tokenizer, raw = llama.tokenizer, llama.raw_model
    lost = []
    for prompt, answer in texts:
        before, ids = (tokenizer(text)["input_ids"] for text in (prompt, prompt + answer))
        with torch.no_grad():
            logprobs = raw(torch.tensor([ids])).logits[0].log_softmax(-1)
        lost += [-logprobs[at - 1, ids[at]].item() for at in range(len(before), len(ids))]
    assert len(lost) == 4 + 3
    assert one.losses[0] == pytest.approx(sum(lost) / len(lost), rel=1e-5)
    assert three.losses[0] == one.losses[0]
    assert three.losses[2] < three.losses[1] < three.losses[0]
    assert (one.epochs, three.epochs) == (1, 3)


def test_the_tuned_model_is_the_old_one_plus_twice_b_times_a_and_the_old_one_is_left(llama, tuned):
    import torch

    from sadi_lens.types.model import ModelInfo, fingerprint_of

    _, (_, three) = tuned
    built = three()
    assert three() is built
    name = "model.layers.1.mlp.down_proj"
    old, new = (m.raw_model.get_submodule(name).weight for m in (llama, built))
    a, b = (three.adapters[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    assert a.shape == (2, 48)
    assert b.shape == (32, 2)
    assert torch.allclose(new, old + 2 * b @ a, atol=1e-6)
    assert not torch.equal(new, old)
    assert fingerprint_of(llama) == ModelInfo.of(llama).fingerprint
    assert ModelInfo.of(built).fingerprint != ModelInfo.of(llama).fingerprint
    assert not llama.raw_model.training
    assert ModelInfo.of(built).name.endswith("(LoRA, learning rate 0.01, 3 epochs)")


def test_fine_tuning_is_repeatable_and_leaves_the_global_random_state(llama, tuned):
    import torch

    import sadi_lens as sl

    texts, (one, _) = tuned
    before = torch.get_rng_state()
    (again,) = sl.models.fine_tune(llama, texts, learning_rate=0.01, epochs=[1], rank=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(again.adapters[name], value) for name, value in one.adapters.items())
    with pytest.raises(ValueError, match="epochs must be at least 1, got"):
        sl.models.fine_tune(llama, texts, epochs=[0])


@pytest.fixture(scope="module")
def found(llama, small):
    import sadi_lens as sl

    pytest.importorskip("peft")
    return sl.compare(
        llama,
        small,
        ["few-shot", "sft", "sft-sadi"],
        budget=4,
        n_null=0,
        neutral=["the ball is red", "Tom says the hat is big"],
        progress=False,
    )


def test_a_comparison_says_which_rows_have_weights_of_their_own(llama, found):
    from sadi_lens.types.model import ModelInfo

    own = ModelInfo.of(llama).fingerprint
    models = {row.label: row.model for row in found.rows}
    assert models["unsteered"] == models["few-shot"] == ""
    assert models["sft"] == models["sft-sadi"] != own
    assert f"weights of their own, not those of {found.model.name}: sft, sft-sadi" in found.notes
    assert found.row("sft").settings.startswith("LoRA, learning rate ")
    assert found.row("sft-sadi").settings.startswith(found.row("sft").settings + "; SADI head, K ")
    assert all(row.choice_seconds > 0 for row in found.rows)
    assert found.row("sft").side_effects.kl > 0


def test_sadi_on_a_tuned_model_reads_its_differences_there(llama, small):
    import numpy as np

    import sadi_lens as sl
    from sadi_lens.measure.candidates import Candidate

    pytest.importorskip("peft")
    texts = [(one.prompt, one.positive) for one in small.pairs]
    (tuned,) = sl.models.fine_tune(llama, texts, learning_rate=0.01, epochs=[1], rank=2)
    made = material(llama, small)
    on = made.upon(Candidate(None, build=tuned))
    options = {"components": ["head"], "progress": False}
    expected = sl.activation_differences(tuned(), small.pairs, **options)["head"]
    assert np.array_equal(on.own.mean, expected.mean)
    assert not np.allclose(on.own.mean, made.own.mean)
    behind = made.upon(Candidate(None, before="Tom is big . "))
    assert [one.prompt for one in behind.pairs] == ["Tom is big . " + p.prompt for p in small.pairs]
    assert made.upon(Candidate(None)) is made


def test_null_and_controls_of_a_method_upon_a_text_run_behind_that_text():
    import sadi_lens as sl
    from sadi_lens.measure.candidates import behind
    from sadi_lens.measure.methods import Control, Method
    from sadi_lens.measure.methods.sadi import sadi
    from sadi_lens.measure.nulls import null_band

    model, task = sl.load_model("tiny"), sl.load_task("hints")
    few = sl.Task("hints", pairs=task.pairs[:40], dev=task.dev[:24], test=task.test[:24])
    text = "".join(one.prompt + one.positive + "\n\n" for one in task.pairs[100:103])
    seen = []

    def build(material, followed, prompts):
        seen.append(([*prompts], [one.prompt for one in material.pairs]))
        return followed

    methods = [
        Method("text", "other", lambda *_: [sl.measure.Candidate(None, before=text, words="text")]),
        Method("sadi", "adaptive", sadi, axis="K", ranking="signed", component="head", upon="text"),
        Control("same", "fixed", build, of="sadi", per_prompts=True),
        "unsteered",
    ]
    found = sl.compare(
        model, few, methods, budget=4, n_null=20, tune_null=False, controls="all", progress=False
    )
    band = next(one for one in found.nulls if not one.per_layer)
    drawn = sl.Mask.from_units("head", [(0, unit) for unit in range(band.k)], model)
    options = {"n": 20, "seed": 0, "progress": False}
    asked = behind(text, few.test)
    expected = null_band(model, asked, drawn, band.strength, **options)
    assert band.accuracies.tolist() == expected.accuracies.tolist()
    plain = null_band(model, few.test, drawn, band.strength, **options)
    assert band.accuracies.tolist() != plain.accuracies.tolist()
    assert band.label.endswith("; text")
    assert found.row("same").accuracy == found.row("sadi").accuracy
    assert {prompts[0][: len(text)] for prompts, _ in seen} == {text}
    assert [one.prompt for one in asked] in [prompts for prompts, _ in seen]
    assert all(one[: len(text)] == text for _, pairs in seen for one in pairs)


def test_a_method_that_starts_from_another_needs_it_before(llama, small):
    import sadi_lens as sl

    found = sl.compare(llama, small, ["sft-sadi"], budget=2, n_null=0, progress=False)
    assert [row.label for row in found.rows] == ["unsteered"]
    assert found.notes == (
        "sft-sadi left out: it starts from what 'sft' chose, which must stand before it",
    )


def test_the_kl_of_a_text_before_the_prompt_is_that_of_two_raw_passes(llama):
    import torch

    import sadi_lens as sl

    before, prompt, end = "Tom says . ", "the ball is", " red."
    tokenizer, raw = llama.tokenizer, llama.raw_model
    rows = []
    for text in (prompt, before + prompt):
        start, ids = (tokenizer(one)["input_ids"] for one in (text, text + end))
        with torch.no_grad():
            logprobs = raw(torch.tensor([ids])).logits[0].log_softmax(-1)
        rows.append(logprobs[len(start) - 1 : -1])
    one, two = rows
    expected = (one.exp() * (one - two)).sum(-1).mean().item()
    got = sl.measure.divergence(llama, [(prompt, end)], None, before=before)
    assert got.kl == pytest.approx(expected, rel=1e-4)
    assert got.n_tokens == 2
    assert sl.measure.divergence(llama, [(prompt, end)], None).kl == 0


def test_what_is_measured_at_a_prompt_alone_is_left_out_where_answers_join_its_last_token():
    """The push at "... Answer: " would be that of the space, which the answer's own token swallows."""
    import sadi_lens as sl

    model, task = sl.load_model("tiny"), sl.load_task("hints")

    def moved(one, answers):
        return dataclasses.replace(one, prompt=one.prompt + " ", **answers)

    pairs = [
        moved(one, {"positive": one.positive.strip(), "negative": one.negative.strip()})
        for one in task.pairs[:20]
    ]
    dev, test = (
        tuple(
            moved(one, {"choices": tuple(choice.strip() for choice in one.choices)})
            for one in split[:20]
        )
        for split in (task.dev, task.test)
    )
    spaced = sl.Task("hints", pairs=tuple(pairs), dev=dev, test=test)
    left_out = {"matched-norm": 20, "cast": 20, "tda": 20, "swapped-prompt": 40, "same-answer": 40}
    names = ["sadi-head", "fixed", *left_out]
    found = sl.compare(model, spaced, names, budget=2, n_null=0, progress=False)
    assert [row.label for row in found.rows] == ["unsteered", "sadi-head", "fixed"]
    for name, n in left_out.items():
        (note,) = [one for one in found.notes if one.startswith(f"{name} left out")]
        assert f"in {n} of {n} an answer joins the prompt's last token" in note
    # Pairs alone: their pushes would be read at another token.
    only_pairs = sl.Task("hints", pairs=spaced.pairs, dev=task.dev[:20], test=task.test[:20])
    found = sl.compare(model, only_pairs, ["sadi-head", "class-mean"], budget=2, n_null=0, **QUIET)
    assert "class-mean left out" in "".join(found.notes)
    # Test alone: named before anything is run on it.
    only_test = sl.Task("hints", pairs=task.pairs[:20], dev=task.dev[:20], test=spaced.test)
    found = sl.compare(model, only_test, ["sadi-head", "own-norm"], budget=2, n_null=0, **QUIET)
    assert "own-norm left out: it is measured at prompts alone, and in 20 of 40" in "".join(
        found.notes
    )
    mask = sl.Mask.from_units("head", [(2, 2)], model)
    with pytest.raises(ValueError, match=r"head_paths: .* in 20 of 20 an answer joins"):
        sl.measure.head_paths(model, spaced, sl.MaskedScaling(mask, 5.0))
