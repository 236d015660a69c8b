"""What controls take away, and what they are built from, held against passes of plain Hugging Face modules."""

from dataclasses import replace

import numpy as np
import pytest

QUIET = {"progress": False}
UNITS = ((0, 1), (1, 3), (2, 2))


@pytest.fixture(scope="module")
def scaling(llama):
    import sadi_lens as sl

    return sl.MaskedScaling(sl.Mask.from_units("head", UNITS, llama), 2.0)


@pytest.fixture
def told(llama, pairs):
    """(name, samples, ...) -> what the control builds for them, as SADI on three heads pushes."""
    from sadi_lens.measure.methods import METHODS, Material

    def build(name, scaling, samples, clusters=(None,) * 4, **changes):
        own = [replace(one, cluster=name) for one, name in zip(pairs, clusters, strict=True)]
        made = Material(llama, tuple(own), "words", **changes)
        return METHODS[name].build(made, scaling, samples)

    return build


def raw_pushes(model, prompt, position="last_prompt", strength=2.0):
    """Edited minus unedited heads at the last token of one text, in its own steered run, [layer head d_head]."""
    import torch

    ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
    found = []

    def scale(layer):
        factor = torch.ones(4, 1)
        factor[[unit for where, unit in UNITS if where == layer]] = 1 + strength

        def hook(_module, args):
            z = args[0].unflatten(-1, (4, 8))
            edited = z * factor
            if position == "last_prompt":
                edited = torch.cat([z[:, :-1], edited[:, -1:]], dim=1)
            found.append((edited - z)[0, -1])
            return (edited.flatten(-2),)

        return hook

    handles = [
        block.self_attn.o_proj.register_forward_pre_hook(scale(layer))
        for layer, block in enumerate(model.raw_model.model.layers)
    ]
    with torch.no_grad():
        model.raw_model(ids, use_cache=False)
    for one in handles:
        one.remove()
    return torch.stack(found).numpy()


def pushes_by_prompt(model, control, prompts):
    """What a control gives each prompt."""
    row = {tokens: place for place, tokens in enumerate(control.prompts)}
    return [control.pushes[row[tuple(model.tokenizer(one)["input_ids"])]] for one in prompts]


def is_one_of(push, pushes):
    return [place for place, one in enumerate(pushes) if np.allclose(push, one, atol=1e-5)]


@pytest.fixture(scope="module")
def facts():
    """Two facts with the answer " red", each asked in two ways, and one with " blue"."""
    import sadi_lens as sl

    return [
        sl.Sample("the ball is", (" red", " blue"), 0, cluster="ball", group="none"),
        sl.Sample("Tom says the ball is", (" red", " blue"), 0, cluster="ball", group="Tom"),
        sl.Sample("the box is", (" red", " blue"), 0, cluster="box", group="none"),
        sl.Sample("Tom says the box is", (" red", " blue"), 0, cluster="box", group="Tom"),
        sl.Sample("the hat was", (" red", " blue"), 1, cluster="hat", group="none"),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_no_donor_is_the_same_fact_in_other_words(llama, scaling, told, facts, seed):
    own = [raw_pushes(llama, one.prompt) for one in facts]
    made = told("same-answer", scaling, facts, seed=seed, clusters=("ball", None, None, None))
    given = pushes_by_prompt(llama, made, [one.prompt for one in facts])
    # The first pair asks for the ball, too, in the words of the first sample.
    allowed = [{2, 3}, {2, 3}, {0, 1}, {0, 1}]
    for push, places in zip(given[:4], allowed, strict=True):
        (place,) = is_one_of(push, own)
        assert place in places
    assert not given[4].any()  # nobody else has its answer
    assert "1 prompts without a donor" in made.label
    mean = told("class-mean", scaling, facts, clusters=("ball", None, None, None))
    for place, push in enumerate(pushes_by_prompt(llama, mean, [one.prompt for one in facts[:4]])):
        expected = np.mean([own[other] for other in allowed[place]], axis=0)
        np.testing.assert_allclose(push, expected, atol=1e-5)


def test_a_row_in_which_many_prompts_are_not_pushed_is_left_out(llama, pairs):
    """One of eleven prompts with an answer that no other has is few, two of twelve are many."""
    import sadi_lens as sl
    from sadi_lens.measure.candidates import Candidate
    from sadi_lens.measure.methods import METHODS, Method

    def asked(who, lonely):
        some = [
            sl.Sample(f"{who} {thing} is", (" red", " blue"), place % 2)
            for place, thing in enumerate(["ball", "box", "hat", "Tom", "Ann", "A", "B", "C"])
        ]
        some += [sl.Sample(f"{who} {word} was", (" red", " blue"), 1) for word in ("big", "small")]
        alone = [("in", (" green", " red")), ("is", (" small", " big"))]
        return [*some, *(sl.Sample(f"{who} {word} :", own, 0) for word, own in alone[:lonely])]

    scaled = sl.MaskedScaling(sl.Mask.from_units("head", UNITS, llama), 3.0)
    own = Method("sadi-head", "adaptive", lambda _m, _b: [Candidate(scaled, 3, 3.0)])
    for n_dev, n_test, note in (
        (1, 1, None),
        (1, 2, "same-answer left out: on test 2 of 12 prompts have no other one"),
        (2, 1, None),
    ):
        task = sl.Task("x", tuple(pairs), tuple(asked("Tom", n_dev)), tuple(asked("a", n_test)))
        found = sl.compare(llama, task, [own, METHODS["same-answer"]], n_null=0, **QUIET)
        assert ("same-answer" in {row.label for row in found.rows}) == (note is None)
        assert note is None or note in "".join(found.notes)
        if note is None:  # it speaks of test, not of dev
            assert f"({n_test} prompts without a donor)" in found.row("same-answer").settings


def test_a_prompt_that_stands_in_two_items_gets_a_donor_that_fits_both(llama, scaling, told):
    import sadi_lens as sl

    asked = [
        sl.Sample("the ball is", (" red", " blue"), 0),
        sl.Sample("the ball is", (" big", " small"), 0),
        sl.Sample("the box is", (" red", " blue"), 0),
        sl.Sample("the hat is", (" good", " bad"), 0),
    ]
    own = [raw_pushes(llama, one.prompt) for one in asked]
    made = told("other-answer", scaling, asked)
    (push,) = pushes_by_prompt(llama, made, ["the ball is"])
    texts = ["Tom says the big red hat is in the", "Ann was", "the box : is the small hat red ?"]
    donors = [own[3], *(raw_pushes(llama, one) for one in texts)]  # never the box, which is red
    assert is_one_of(push, donors)
    made = told("same-answer", scaling, asked)
    (push,) = pushes_by_prompt(llama, made, ["the ball is"])
    assert not push.any()


def test_an_answer_that_is_right_too_is_no_other_answer(llama, scaling, told):
    import sadi_lens as sl

    asked = [
        sl.Sample("the hat is", (" red", " box", " A", " big"), 0, also_right=(1, 2)),
        sl.Sample("a big box is", (" green", " blue"), 0),
    ]
    expected = [raw_pushes(llama, one) for one in ("a big box is", "Ann was")]
    for seed in range(8):  # three of the pairs' answers are right for the first item
        made = told("other-answer", scaling, asked, seed=seed)
        (push,) = pushes_by_prompt(llama, made, ["the hat is"])
        assert is_one_of(push, expected)


@pytest.mark.parametrize("position", ["last_prompt", "every_step", "all"])
def test_pushes_are_those_of_the_run_that_is_compared(llama, pairs, scaling, told, position):
    import sadi_lens as sl

    where = "all" if position == "all" else "last_prompt"
    prompts = [one.prompt for one in pairs]
    raw = np.stack([raw_pushes(llama, one, where) for one in prompts])
    rms = np.sqrt(np.square(raw).sum(axis=(1, 2, 3)).mean())
    push = sl.measure.measure_push(llama, prompts, scaling, position=position, **QUIET)
    assert push.rms == pytest.approx(rms, rel=1e-5)
    np.testing.assert_allclose(push.mean, raw.mean(axis=0), atol=1e-5)
    _, recorded = sl.measure.record_pushes(llama, scaling, prompts, position=position, **QUIET)
    np.testing.assert_allclose(recorded, raw, atol=1e-5)
    norm = told("matched-norm", scaling, prompts, position=position)
    fixed = norm.strength * norm.vector * norm.mask.selected[..., None]
    assert np.linalg.norm(fixed) == pytest.approx(rms, rel=1e-5)
    mean = told("matched-mean", scaling, prompts, position=position)
    np.testing.assert_allclose(
        mean.strength * mean.vector * mean.mask.selected[..., None], raw.mean(axis=0), atol=1e-5
    )
    swapped = told("swapped-prompt", scaling, prompts, position=position)
    for place, one in enumerate(pushes_by_prompt(llama, swapped, prompts)):
        (donor,) = is_one_of(one, raw)
        assert donor != place
    lengths = np.sqrt(np.square(raw).sum(axis=(1, 2, 3)))
    for name, expected in (("own-norm", lengths), ("own-direction", rms)):
        made = told(name, scaling, prompts, position=position)
        found = np.stack(pushes_by_prompt(llama, made, prompts)).reshape(len(prompts), -1)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), expected, rtol=1e-5)


def test_prompts_that_are_the_same_tokens_are_one_prompt_of_the_circle(llama, scaling):
    """Unknown words are one token, so that "the foo is" is "the bar is"."""
    import sadi_lens as sl

    prompts = ["the foo is", "the bar is", "the ball", "a hat"]
    for seed in range(8):
        made = sl.measure.swap_prompts(llama, scaling, prompts, seed=seed, **QUIET)
        assert len(made.prompts) == 3
    with pytest.raises(ValueError, match="at least 2 different ones, got 1"):
        sl.measure.swap_prompts(llama, scaling, prompts[:2], **QUIET)


@pytest.mark.parametrize("strength", [-0.7, 2.0])
def test_the_vector_of_the_same_kl_points_as_that_of_the_same_norm(
    llama, scaling, told, pairs, strength
):
    from sadi_lens.measure.neutral import divergence

    prompts = [one.prompt for one in pairs]
    sadi = replace(scaling, strength=strength)
    norm, kl = (told(name, sadi, prompts) for name in ("matched-norm", "matched-kl"))
    assert np.sign(norm.strength) == np.sign(kl.strength) == np.sign(strength)
    np.testing.assert_array_equal(norm.vector, kl.vector)
    asked = [(one, "") for one in prompts]
    wanted = divergence(llama, asked, sadi).kl
    assert divergence(llama, asked, kl).kl == pytest.approx(wanted, rel=0.011)


def test_a_control_that_would_change_nothing_is_left_out(llama, scaling, told, pairs):
    from sadi_lens.measure.methods import METHODS, Material, UnavailableError

    prompts = [one.prompt for one in pairs]
    with pytest.raises(UnavailableError, match="does not move the token that follows a prompt"):
        told("matched-kl", scaling, prompts, position="generated")
    made = Material(llama, tuple(pairs))
    found = made.differences["head"]
    still = replace(found, vector=np.zeros_like(found.vector))
    made.read["differences"] = {**made.differences, "head": still}
    for name in ("own-norm", "matched-norm", "matched-kl"):
        with pytest.raises(UnavailableError, match="difference is zero on the selected units"):
            METHODS[name].build(made, scaling, prompts)


def test_pairs_of_two_prompts_are_compared_with_every_control_that_needs_no_margin(llama, samples):
    import sadi_lens as sl

    personas = tuple(
        sl.ContrastivePair(one.prompt, " A", " A", negative_prompt=f"Tom says {one.prompt}")
        for one in samples
    )
    dev, test = (
        tuple(replace(one, prompt=f"{who} says {one.prompt}", split=None) for one in samples)
        for who in ("Ann", "a")
    )
    task = sl.Task("personas", pairs=personas, dev=dev, test=test)
    shared = ["matched-norm", "matched-kl", "swapped-prompt", "own-direction", "other-answer"]
    margins = ["sadi-effect", "scalars", "random-supervised", "cast"]
    found = sl.compare(llama, task, ["sadi-head", *shared, *margins], budget=9, n_null=0, **QUIET)
    assert {row.label for row in found.rows} == {"unsteered", "sadi-head", *shared}
    for name in margins:
        assert any(note.startswith(f"{name} left out: ") for note in found.notes)


def test_a_prompt_with_several_wrong_answers_is_one_example_and_on_one_side(llama):
    import sadi_lens as sl
    from sadi_lens.measure.methods import METHODS, Material
    from sadi_lens.measure.methods.rivals import _answered

    words = (" blue", " green", " big", " small", " good", " bad")
    asked = {"the ball is": " red", "Ann was": " good", "the hat is in the": " box"}
    pairs = tuple(
        sl.ContrastivePair(prompt, right, wrong)
        for prompt, right in asked.items()
        for wrong in words
        if wrong != right
    )
    made = Material(llama, pairs)
    texts = [one.before for one in METHODS["few-shot"].candidates(made, None)]
    assert [text.count("\n\n") for text in texts] == [1, 2]
    assert all(text.count(prompt) <= 1 for text in texts for prompt in asked)
    wrong, right = _answered(made)
    assert sorted([*wrong, *right]) == sorted(asked)
    for prompt, answer in asked.items():
        item = [sl.Sample(prompt, (answer, *(one for one in words if one != answer)), 0)]
        assert sl.evaluate(llama, item, **QUIET).correct[0] == (prompt in right)
