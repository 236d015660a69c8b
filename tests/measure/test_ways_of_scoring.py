"""Scorings against a plain Hugging Face forward; several of them in one table."""

import math

import numpy as np
import pytest


def tokens_of(model, text):
    return model.tokenizer(text)["input_ids"]


def logprobs_by_hand(model, prompt, answer):
    """Log-probability and argmax of every answer token, from one plain forward."""
    import torch

    whole, start = tokens_of(model, prompt + answer), len(tokens_of(model, prompt))
    with torch.inference_mode():
        logits = model.original_model(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
    found = [float(logits[i - 1, whole[i]]) for i in range(start, len(whole))]
    return found, [int(logits[i - 1].argmax()) for i in range(start, len(whole))], whole[start:]


@pytest.fixture
def lines():
    import sadi_lens as sl

    return [
        sl.Sample("the ball is\nthe box :", (" red", " blue", " big red"), 0, split="dev"),
        sl.Sample("Tom says the hat is\nthe box :", (" box", " ball hat"), 1, split="dev"),
        sl.Sample("Ann was good\nthe hat :", (" good", " bad"), 1, split="dev"),
    ]


@pytest.mark.parametrize("scoring", ["sum", "per_token", "pmi"])
def test_choice_scores_equal_a_plain_forward(llama, lines, scoring):
    import sadi_lens as sl

    found = sl.evaluate(llama, lines, scoring=scoring, progress=False)
    for item, sample in enumerate(lines):
        for column, choice in enumerate(sample.choices):
            parts, _, _ = logprobs_by_hand(llama, sample.prompt, choice)
            expected = sum(parts)
            if scoring == "per_token":
                expected /= len(parts)
            if scoring == "pmi":
                last_line = sample.prompt.split("\n")[1]
                expected -= sum(logprobs_by_hand(llama, last_line, choice)[0])
            assert found.choice_scores[item, column] == pytest.approx(expected, abs=2e-5)
    assert np.isnan(found.choice_scores[1:, 2]).all()
    best = np.nanargmax(found.choice_scores, axis=1)
    assert (found.correct == (best == [0, 1, 1])).all()
    assert found.scoring == scoring


def test_teacher_forced_is_the_argmax_at_every_answer_token(llama, lines):
    import sadi_lens as sl

    expected = []
    for sample in lines:
        _, top, gold = logprobs_by_hand(llama, sample.prompt, sample.choices[sample.answer])
        expected.append(top == gold)
    # Answers that the model does give, so that both outcomes are seen.
    said = []
    for sample in lines:
        _, top, _ = logprobs_by_hand(llama, sample.prompt, " red")
        word = llama.tokenizer.decode(top)
        said.append(sl.Sample(sample.prompt, (word, " Ann Ann"), 0))
    assert sl.evaluate(llama, said, scoring="teacher_forced", progress=False).correct.all()
    found = sl.evaluate(llama, lines, scoring="teacher_forced", progress=False)
    assert found.correct.tolist() == expected
    forced = [sl.Sample(one.prompt, target=one.choices[0].strip()) for one in said]
    texts = sl.evaluate(llama, forced, scoring="teacher_forced", progress=False)
    assert texts.correct.all()
    assert np.isnan(texts.margins).all()


def test_generation_of_a_choice_task_counts_valid_answers(llama, lines):
    import sadi_lens as sl

    found = sl.evaluate(llama, lines, scoring="generation", max_new_tokens=1, progress=False)
    assert "nan" not in str(found)  # a generated answer has no margin
    for index, sample in enumerate(lines):
        _, top, _ = logprobs_by_hand(llama, sample.prompt, " red")
        word = llama.tokenizer.decode(top).strip()
        assert found.texts[index].strip() == word
        assert found.correct[index] == (word == sample.choices[sample.answer].strip())
        assert found.valid[index] == (word in [choice.strip() for choice in sample.choices])


def test_other_right_choices_are_never_counted_as_wrong(llama):
    import dataclasses

    import sadi_lens as sl
    from sadi_lens.measure.calls import chance_of

    plain = sl.Sample("the ball is", (" red", " blue", " big"), 0)
    base = sl.evaluate(llama, [plain], progress=False)
    best = int(np.argmax(base.choice_scores))
    answer, spare = (i for i in range(3) if i != best)
    sample = dataclasses.replace(plain, answer=answer, also_right=(best,))
    found = sl.evaluate(llama, [sample], progress=False)
    scores = found.choice_scores[0]
    assert chance_of([sample]) == 0.5
    assert found.margins[0] == pytest.approx(scores[answer] - scores[spare], abs=1e-6)
    with pytest.raises(ValueError, match="also_right must leave at least one wrong choice"):
        dataclasses.replace(plain, also_right=(1, 2))


def test_any_alias_of_a_target_is_right():
    from sadi_lens.types.answers import matches

    assert matches("The Hague. It is", ("Den Haag", "the hague"))
    assert not matches("Hague", ("Den Haag",))


def test_a_prompt_of_one_line_has_no_neutral_form(llama):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="prompts of several lines"):
        sl.evaluate(
            llama, [sl.Sample("the ball is", (" red", " blue"), 0)], scoring="pmi", progress=False
        )


def test_the_table_has_every_scoring_of_every_intervention(llama, lines, differences):
    import sadi_lens as sl

    sadi = sl.MaskedScaling(sl.top_k_mask(differences["head"], 3), 4.0)
    table = sl.measure.scoring_table(llama, lines, [None, sadi], max_new_tokens=2, progress=False)
    assert len(table) == 12
    for scoring in ("sum", "pmi", "teacher_forced"):
        own = sl.evaluate(llama, lines, sadi, scoring=scoring, progress=False)
        row = table[(table["label"] == sadi.label) & (table["scoring"] == scoring)].iloc[0]
        assert row["accuracy"] == own.accuracy
        assert row["low"] == own.interval.low
    assert (table[table["scoring"] == "sum"]["agrees_with_first"] == 1).all()


def test_mc1_mc2_mc3_by_hand(llama):
    import sadi_lens as sl

    samples = [
        sl.Sample("the ball is", (" red", " blue", " big", " small"), 0, also_right=(1,)),
        sl.Sample("Ann was", (" good", " bad"), 0),
    ]
    import dataclasses

    evaluation = sl.evaluate(llama, samples, progress=False)
    logs = np.array(
        [
            [math.log(0.2), math.log(0.1), math.log(0.15), math.log(0.05)],
            [math.log(0.1), math.log(0.3), np.nan, np.nan],
        ],
        dtype=np.float32,
    )
    table = sl.measure.truthful_scores(dataclasses.replace(evaluation, choice_scores=logs), samples)
    np.testing.assert_allclose(table.to_numpy(), [[1, 0.3 / 0.5, 0.5], [0, 0.25, 0]], rtol=1e-6)
    with pytest.raises(ValueError, match="got one of 2 items by 'pmi'"):
        sl.measure.truthful_scores(dataclasses.replace(evaluation, scoring="pmi"), samples)
    with pytest.raises(ValueError, match="got one of 2 items, not these, by 'sum'"):
        sl.measure.truthful_scores(evaluation, samples[::-1])


def test_a_sweep_can_keep_which_items_each_cell_gets_right(llama, samples, differences):
    import sadi_lens as sl

    grid = sl.sweep(
        llama, samples, differences["head"], [1, 3], [2.0, 8.0], keep_items=True, progress=False
    )
    mask = sl.top_k_mask(differences["head"], 3)
    own = sl.evaluate(llama, samples, sl.MaskedScaling(mask, 2.0), progress=False)
    assert grid.correct[1, 0].tolist() == own.correct.tolist()
    np.testing.assert_allclose(grid.correct.mean(axis=2), grid.accuracy)
    assert grid.unsteered_valid_rate == sl.evaluate(llama, samples, progress=False).valid_rate
