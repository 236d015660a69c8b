"""Guards from a model: one that always says the same, answers that begin alike, choices on dev, interruption."""

import dataclasses

import numpy as np
import pytest


@pytest.fixture(scope="module")
def tiny():
    import sadi_lens as sl

    return sl.load_model("tiny")


@pytest.fixture(scope="module")
def mostly_bad():
    """100 reviews, 80 of them bad, the rest good."""
    import sadi_lens as sl

    items = sl.load_task("sentiment").test
    bad, good = ([one for one in items if one.answer == right] for right in (1, 0))
    return [*bad[:80], *good[:20]]


def always(model, word, strength=1e4):
    """Pushes the last layer's output so far towards one word that nothing else is ever said."""
    import sadi_lens as sl

    (token,) = model.tokenizer(word, add_special_tokens=False)["input_ids"]
    row = model.original_model.get_output_embeddings().weight[token].detach().numpy()
    return sl.VectorAddition(row / np.linalg.norm(row), model.cfg.n_layers - 1, strength)


@pytest.mark.parametrize("scoring", ["sum", "generation"])
def test_a_model_that_always_says_the_same_is_found_out(tiny, mostly_bad, scoring):
    import sadi_lens as sl

    cells = [None, always(tiny, " good"), always(tiny, " bad")]
    options = {"scoring": scoring, "max_new_tokens": 1, "progress": False}
    plain, good, bad = sl.evaluate(tiny, mostly_bad, cells, **options)
    assert (bad.accuracy, bad.picks.majority, bad.picks.balanced_accuracy) == (0.8, 0.8, 0.5)
    assert bad.picks.shares == {"good": 0.0, "bad": 1.0}
    assert bad.valid_rate == 1.0  # the valid-answer rate does not see it
    assert "answers bad 100%, good 0%; majority 80.0%, balanced accuracy 50.0%" in str(bad)
    assert good.accuracy == pytest.approx(0.2)
    # From always good to always bad: 60 points more, and nothing more is known.
    words = sl.types.what_changed(bad, good)
    assert words.startswith("Accuracy 20.0% to 80.0% (+60.0 points [")
    assert "changes the favourite answer and shows no gain in knowledge (now bad 100%" in words
    assert "no change" in sl.types.what_changed(plain, plain)


def test_a_comparison_says_so(tiny, mostly_bad):
    import sadi_lens as sl
    from sadi_lens.types.results.conclusions import conclusions
    from sadi_lens.types.results.table import GUARD_COLUMNS, guard_rows

    good, bad = sl.evaluate(
        tiny, mostly_bad, [always(tiny, " good"), always(tiny, " bad")], label=["one", "two"], progress=False
    )  # fmt: skip
    found = sl.types.Comparison.of([good, bad])
    assert [len(row) for row in guard_rows(found)] == 2 * [len(GUARD_COLUMNS)]
    assert guard_rows(found)[1][:3] == ("two", "bad 100%, good 0%", "50.0%")
    (said,) = conclusions(found)
    assert said.startswith(
        "two changes the favourite answer and shows no gain in knowledge (now bad 100%"
    )
    assert found.frame()["balanced_accuracy"].tolist() == [0.5, 0.5]


def test_what_is_given_is_what_scores_best(tiny, mostly_bad):
    import sadi_lens as sl

    found = sl.evaluate(tiny, mostly_bad, progress=False)
    names = np.array(found.picks.names)
    best = found.choice_scores.argmax(axis=1)
    given = [one.choices[at].strip() for one, at in zip(mostly_bad, best, strict=True)]
    assert names[found.picks.chosen].tolist() == given
    assert names[found.picks.right].tolist() == [one.choices[one.answer].strip() for one in mostly_bad]  # fmt: skip
    assert (found.picks.correct == found.correct).all()
    sign = np.where(found.picks.right == 0, 1, -1)
    np.testing.assert_allclose(found.picks.evidence[:, 0], sign * found.margins, rtol=1e-6)
    assert found.frame()["answer"].tolist() == given


def test_answers_are_told_apart_by_name_or_by_place():
    import sadi_lens as sl
    from sadi_lens.measure.picks import Answers

    swapped = [sl.Sample("q", (" Yes", " No"), 0), sl.Sample("r", (" No", " Yes"), 0)]
    found = Answers.of(swapped)
    assert found.names == ("Yes", "No")
    assert found.right.tolist() == [0, 1]
    assert found.listed.tolist() == [[0, 1], [1, 0]]
    own = [sl.Sample("q", (f" {one}", f" not {one}"), one % 2) for one in range(8)]
    found = Answers.of(own)
    assert found.names == ("choice 1", "choice 2")
    assert found.right.tolist() == [0, 1] * 4
    # Always the first is right, several are right, free text: there is nothing to count.
    assert Answers.of([dataclasses.replace(one, answer=0) for one in own]) is None
    assert Answers.of([sl.Sample("q", ("a", "b", "c"), 0, also_right=(1,)), *own]) is None
    assert Answers.of([sl.Sample("q", target="a")]) is None


def test_broken_items_get_no_answer_and_all_evidence_is_against_them():
    import sadi_lens as sl
    from sadi_lens.measure.picks import Answers

    items = [sl.Sample(str(at), (" Yes", " No"), at % 2) for at in range(4)]
    scores = np.array([[0, -1], [np.nan, 0], [-2, -2], [0, -3]], dtype=np.float32)
    found = Answers.of(items).by_scores(scores, np.array([True, False, False, False]))
    assert found.chosen.tolist() == [0, -1, -1, 0]  # right, broken, a tie, wrong
    assert found.evidence.tolist() == [[1, -1], [np.inf, -np.inf], [0, 0], [3, -3]]


@pytest.mark.parametrize("engine", ["shared", "plain"])
def test_an_answer_is_valid_where_it_is_told_from_the_others(llama, engine):
    """Both choices begin with the most likely token; only the second one says which is meant."""
    import torch

    import sadi_lens as sl

    def greedy(text):
        with torch.inference_mode():
            ids = torch.tensor([llama.tokenizer(text)["input_ids"]])
            return llama.tokenizer.decode([int(llama(ids)[0, -1].argmax())])

    words = [" red", " box", " hat", " Tom"]
    prompts = (
        f"{one} {two}" for one in ("the", "Tom", "big") for two in ("ball is", "hat says", "is")
    )
    prompt, first, second = next(
        (one, a, b)
        for one in prompts
        for a in [greedy(one)]
        for b in [greedy(one + a)]
        if a.strip().isalpha() and b.strip().isalpha() and a[0] == b[0] == " "
    )  # fmt: skip
    one, two = [word for word in words if word != second][:2]
    hit = sl.Sample(prompt, (first + second, first + one), 0)
    miss = sl.Sample(prompt, (first + two, first + one), 0)
    begun = sl.Sample(prompt, (first, first + one), 0)  # the whole of the shorter one is likely
    found = sl.evaluate(llama, [hit, miss, begun], engine=engine, progress=False)
    assert found.valid.tolist() == [True, False, True]


def test_an_interrupted_evaluation_keeps_its_answers(tiny, mostly_bad, monkeypatch):
    from factories import no_free_memory

    import sadi_lens as sl
    from sadi_lens.measure import outcomes

    few, scored = mostly_bad[:3] + mostly_bad[-3:], outcomes.score_answers
    whole = sl.evaluate(tiny, few, progress=False)
    no_free_memory(monkeypatch)  # one item a batch

    def stops(*arguments, **options):
        yield next(scored(*arguments, **options))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(sl.measure.EvaluationInterrupted) as caught:
        patch.setattr(outcomes, "score_answers", stops)
        sl.evaluate(tiny, few, progress=False)
    assert caught.value.partial[0].n == 1
    resumed = sl.evaluate(tiny, few, progress=False, resume=caught.value)
    for name in ("names", "right", "chosen"):
        np.testing.assert_array_equal(getattr(resumed.picks, name), getattr(whole.picks, name))
    np.testing.assert_allclose(resumed.picks.evidence, whole.picks.evidence, atol=1e-5)


def test_nothing_better_than_unsteered_is_chosen_unsteered(tiny, mostly_bad):
    import sadi_lens as sl

    task = sl.load_task("sentiment")
    items = [dataclasses.replace(one, split="dev") for one in mostly_bad]
    heads = sl.activation_differences(tiny, task.pairs[:20], components=["head"], progress=False)["head"]  # fmt: skip
    grid = sl.sweep(tiny, items, heads, [1, 2], [-1.0, -0.9], progress=False)
    assert grid.balanced_accuracy.shape == (2, 2)
    plain = sl.evaluate(tiny, items, progress=False)
    assert grid.unsteered_balanced_accuracy == plain.picks.balanced_accuracy
    worse = dataclasses.replace(grid, unsteered_accuracy=1.0)
    best = worse.best()
    same = sl.evaluate(
        tiny, items, sl.MaskedScaling(sl.top_k_mask(heads, best.k), best.strength), progress=False
    )
    np.testing.assert_array_equal(same.choice_scores, plain.choice_scores)


def test_a_comparison_says_what_is_written(tiny):
    import sadi_lens as sl
    from sadi_lens.types.results.table import WRITTEN_COLUMNS, written_rows

    task = sl.load_task("hints")
    small = sl.Task("hints", pairs=task.pairs[:4], dev=task.dev[:4], test=task.test[:30])
    heads = sl.unit_scores(tiny, task.pairs[:60], "head", "effect", progress=False)
    scaling = sl.MaskedScaling(sl.top_k_mask(heads, 4), strength=12.0)
    options = {"max_new_tokens": 3, "progress": False}
    found = sl.compare(tiny, small, [None, scaling], n_null=0, written=True, **options)
    scored = sl.evaluate(tiny, small.test, [None, scaling], progress=False)
    texts = sl.evaluate(tiny, small.test, [None, scaling], scoring="generation", **options)
    for row, text, score in zip(found.rows, texts, scored, strict=True):
        assert row.written.accuracy == text.accuracy
        assert row.written.valid_rate == text.valid_rate
        assert row.written.gain == pytest.approx(text.accuracy - texts[0].accuracy)
        assert row.written.agreement == (text.correct == score.correct).mean()
    assert [len(row) for row in written_rows(found)] == 2 * [len(WRITTEN_COLUMNS)]
    plain = sl.compare(tiny, small, [None, scaling], n_null=0, **options)
    assert written_rows(plain) == []


def test_a_method_without_a_grid_that_helps_nothing_is_unsteered(tiny, mostly_bad):
    """Both candidates say the answer that is right on a fifth of the items; a single one would be left alone."""
    import sadi_lens as sl
    from sadi_lens.measure.choosing import Chosen
    from sadi_lens.measure.comparing import _is_base
    from sadi_lens.measure.methods import Candidate, Method

    task = sl.load_task("sentiment")
    dev = tuple(dataclasses.replace(one, split="dev") for one in mostly_bad[:10])
    test = tuple(dataclasses.replace(one, split="test") for one in mostly_bad[10:])
    small = sl.Task("reviews", task.pairs[:4], dev, test)
    two = [Candidate(always(tiny, " good", size)) for size in (1e3, 1e4)]
    harmful = Method("harmful", "fixed", lambda _material, _budget: two)
    behind = Candidate(None, strength=0.0, before="Tom says . ")
    texts = Method("text", "other", lambda _material, _budget: [behind])
    options = {"n_null": 0, "progress": False, "written": True, "max_new_tokens": 2}
    found = sl.compare(tiny, small, [None, harmful, texts], **options)
    row = found.row("harmful")
    assert row.settings == "unsteered: nothing does better on dev"
    assert row.accuracy == found.rows[0].accuracy
    # It is the same model: its gain is 0 and no estimate. Behind a text it is the same model on other prompts.
    assert row.is_unsteered
    assert (row.gain, *row.gain_interval) == (0, 0, 0)
    assert (row.written.gain, *row.written.gain_interval) == (0, 0, 0)
    assert "harmful: " in str(found)
    assert "the unsteered model: nothing did better on dev" in str(found)
    assert "[+0.0, +0.0]" not in str(found)
    assert not found.row("text").is_unsteered
    # Also where the text, or weights of its own, happen to change no answer.
    for changes in ({"before": "Tom says . "}, {"build": lambda: tiny}):
        same = Chosen(texts, Candidate(None, strength=0.0, **changes), "last_prompt", 0.5, 1)
        assert same.is_unsteered
        assert not _is_base(same)
    assert _is_base(Chosen(texts, Candidate(None, strength=0.0), "last_prompt", 0.5, 1))
    assert found.row("text").gain_interval.low < found.row("text").gain_interval.high
    alone = sl.compare(tiny, small, [None, always(tiny, " good")], n_null=0, progress=False)
    assert alone.rows[1].accuracy < alone.rows[0].accuracy
    assert not alone.rows[1].is_unsteered
