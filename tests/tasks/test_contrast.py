"""Negatives, label balance, examples in the prompt."""

import numpy as np
import pytest


def items(n=30):
    import sadi_lens as sl

    return [
        sl.Sample(f"question {i}", (f" r{i}", f" w{i}", f" x{i}", f" y{i}"), 0, also_right=(3,))
        for i in range(n)
    ]


def test_random_negatives_are_wrong_seeded_and_independent_of_the_other_items():
    import sadi_lens as sl

    pairs = sl.tasks.make_pairs(items(), "random", seed=1)
    assert pairs == sl.tasks.make_pairs(items(), "random", seed=1)
    assert pairs != sl.tasks.make_pairs(items(), "random", seed=2)
    assert sl.tasks.make_pairs(items()[7:9], "random", seed=1) == pairs[7:9]
    # r is right, y is right too.
    assert {pair.negative[1] for pair in pairs} == {"w", "x"}
    assert all(pair.positive[1] == "r" for pair in pairs)


def test_all_hard_blank_other_and_toxic_negatives():
    import sadi_lens as sl

    every = sl.tasks.make_pairs(items(2), "all")
    assert [p.negative for p in every] == [" w0", " x0", " w1", " x1"]
    scores = np.array([[0, -3, -2, 9], [0, -1, -2, 9]], dtype=np.float32)
    hard = sl.tasks.make_pairs(items(2), "hard", choice_scores=scores)
    assert [p.negative for p in hard] == [" x0", " w1"]
    assert {p.negative for p in sl.tasks.make_pairs(items(), "blank")} == {" "}
    other = sl.tasks.make_pairs(items(), "other")
    assert all(p.negative[1] == "r" and p.negative != p.positive for p in other)
    targets = [sl.Sample(f"q{i}", target=f"a{i}") for i in range(3)]
    assert sl.tasks.make_pairs(targets, "blank")[1] == sl.ContrastivePair("q1", " a1", " ")
    toxic = sl.tasks.make_pairs(targets, "toxic", texts=["bad", "", "worse"])
    assert {p.negative for p in toxic} <= {" bad", " worse"}


@pytest.mark.parametrize(
    ("negatives", "options", "message"),
    [
        ("rondom", {}, "did you mean 'random'"),
        ("hard", {}, r"needs choice_scores of the 2 items, got none; evaluate\(model, items\)"),
        ("hard", {"choice_scores": np.full((2, 4), np.nan)}, "choice_scores must be finite"),
        ("toxic", {}, "needs texts, got none"),
    ],
)
def test_negatives_that_cannot_be_made_are_refused(negatives, options, message):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=message):
        sl.tasks.make_pairs(items(2), negatives, **options)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        sl.tasks.make_pairs([], "blank")
    with pytest.raises(ValueError, match="needs items with choices"):
        sl.tasks.make_pairs([sl.Sample("q", target="a")], "all")
    with pytest.raises(ValueError, match="different answers"):
        sl.tasks.make_pairs([sl.Sample("q", target="a")], "other")


def label_pairs(yes, no):
    import sadi_lens as sl

    return [sl.ContrastivePair(f"q{i}", " Yes", " No") for i in range(yes)] + [
        sl.ContrastivePair(f"n{i}", " No", " Yes") for i in range(no)
    ]


def test_unbalanced_labels_are_warned_about_and_can_be_balanced():
    import sadi_lens as sl
    from sadi_lens.tasks.contrast import answer_balance, balance_warning

    table = answer_balance(label_pairs(70, 30)).set_index("answer")
    assert table.loc[" Yes", "right"] == 70
    assert table.loc[" Yes", "excess"] == pytest.approx(0.4)
    message = balance_warning(label_pairs(70, 30)) or ""
    assert (
        "' No' is right in 30 and wrong in 70 of 100" in message
        or "' Yes' is right in 70" in message
    )
    assert balance_warning(label_pairs(55, 45)) is None
    assert balance_warning(sl.tasks.make_pairs(items(), "random")) is None  # not labels
    balanced = sl.tasks.balance_pairs(label_pairs(70, 30))
    assert len(balanced) == 60
    assert sum(p.positive == " Yes" for p in balanced) == 30
    with pytest.raises(ValueError, match="no balanced pairs are left"):
        sl.tasks.balance_pairs(label_pairs(3, 0))


def test_examples_come_from_dev_and_leave_it():
    import sadi_lens as sl

    dev = [sl.Sample(f"d{i} is", (" a", " b"), i % 2, split="dev") for i in range(6)]
    task = sl.Task(
        "t",
        pairs=(sl.ContrastivePair("p is", " a", " b"),),
        dev=tuple(dev),
        test=(sl.Sample("t is", (" a", " b"), 0, split="test"),),
    )
    shown = sl.tasks.with_examples(task, 2, seed=3)
    assert shown == sl.tasks.with_examples(task, 2, seed=3)
    assert len(shown.dev) == 4
    head = shown.test[0].prompt.removesuffix("t is")
    examples = head.split("\n\n")[:2]
    known = {f"{one.prompt}{one.choices[one.answer]}": one.prompt for one in dev}
    assert set(examples) <= set(known)
    assert not {known[one] for one in examples} & {
        one.prompt.removeprefix(head) for one in shown.dev
    }
    assert shown.pairs[0].prompt == head + "p is"
    assert sl.tasks.with_examples(task, 0) is task
    with pytest.raises(ValueError, match=r"k must be in \[0, 5\]"):
        sl.tasks.with_examples(task, 6)


def test_the_embedded_pairs_know_their_items():
    import sadi_lens as sl

    task = sl.load_task("effects")
    assert sl.tasks.make_pairs(task.pair_items, "all") == task.pairs
    recall = sl.load_task("recall")
    assert sl.tasks.make_pairs(recall.pair_items, "blank") == recall.pairs


def test_the_right_answer_of_another_item_is_wrong_however_it_is_written():
    import sadi_lens as sl

    usa = sl.Sample("q1", target="USA", aliases=("United States", "US"))
    others = [sl.Sample("q2", target="the united states."), sl.Sample("q3", target="Peru")]
    for seed in range(6):
        (first, *_) = sl.tasks.make_pairs([usa, *others], "other", seed=seed)
        assert first.negative == " Peru"
    with pytest.raises(ValueError, match="needs another answer than those of 'q1'"):
        sl.tasks.make_pairs([usa, others[0]], "other")


def test_nothing_in_dev_is_on_what_an_example_answers():
    import sadi_lens as sl

    task = sl.load_task("suggest")  # each fact stands in dev twice
    for seed in range(3):
        shown = sl.tasks.with_examples(task, 8, seed=seed)
        head = shown.test[0].prompt.removesuffix(task.test[0].prompt)
        examples = [one for one in task.dev if f"{one.prompt}{one.choices[one.answer]}" in head]
        facts = {one.cluster for one in examples}
        assert len(examples) == len(facts) == 8
        assert not facts & {one.cluster for one in shown.dev}
        assert len(shown.dev) == len(task.dev) - sum(one.cluster in facts for one in task.dev)
    asked = sl.Sample("d is", (" a", " b"), 0)
    with pytest.raises(ValueError, match=r"\[0, 0\] \(dev has 3 items of 1 clusters\), got 1"):
        sl.tasks.with_examples(sl.Task("t", dev=(asked,) * 3), 1)
