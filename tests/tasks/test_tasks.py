"""Tasks, samples and pairs: rows from files and frames, refusals with file and line."""

import json

import pytest


def write(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


ROWS = [
    {"prompt": "a", "positive": " x", "negative": " y"},
    {"prompt": "b", "choices": [" x", " y"], "answer": 1, "split": "dev"},
    {"prompt": "c", "choices": [" x", " y"], "answer": 0},
    {"prompt": "d", "target": "z", "split": "test"},
]


def test_rows_go_to_their_splits_from_every_source(tmp_path):
    import pandas as pd

    import sadi_lens as sl

    for source in (write(tmp_path / "mine.jsonl", ROWS), ROWS, pd.DataFrame(ROWS)):
        task = sl.load_task(source)
        assert [p.prompt for p in task.pairs] == ["a"]
        assert [s.prompt for s in task.dev] == ["b"]
        assert [s.prompt for s in task.test] == ["c", "d"]
        assert task.dev[0] == sl.Sample("b", (" x", " y"), 1, split="dev")
        assert task.test[1].target == "z"
    assert sl.load_task(tmp_path / "mine.jsonl").name == "mine"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{not json", "not JSON"),
        ("[1, 2]", "a row must be an object"),
        ({"prompt": "a", "positive": " x"}, "lacks the field 'negative'"),
        ({"prompt": "a", "choices": [" x", " y"]}, "lacks the field 'answer'"),
        ({"positive": " x", "negative": " y"}, "lacks the field 'prompt'"),
        ({"prompt": "a"}, "needs prompt, positive, negative or"),
        ({"prompt": "a", "positive": " x", "negative": " x"}, "positive and negative must differ"),
        ({"prompt": "a", "positive": "", "negative": " x"}, "positive must not be empty"),
        ({"prompt": "a", "choices": [" x", ""], "answer": 0}, "choices must not be empty"),
        ({"prompt": "a", "choices": [" x"], "answer": 0}, "choices must be at least 2, got 1"),
        ({"prompt": "a", "choices": [" x", " x"], "answer": 0}, "choices must differ"),
        ({"prompt": "a", "choices": " xy", "answer": 0}, "choices must be a list of texts"),
        ({"prompt": "a", "choices": [" x", " y"], "answer": 2}, r"index in \[0, 1\], got 2"),
        (
            {"prompt": "a", "choices": [" x", " y"], "answer": "B"},
            "answer must be the index of the right choice or its text, got 'B'",
        ),
        ({"prompt": "a", "target": " "}, "target and aliases must not be empty"),
        ({"prompt": 3, "target": "z"}, "must be text"),
        ({"prompt": "a", "target": "z", "split": "tset"}, "did you mean 'test'"),
        ({"prompt": "a", "target": "z", "split": "pairs"}, "split 'pairs' needs prompt, positive"),
        (
            {"prompt": "a", "positive": "x", "negative": "y", "split": "dev"},
            "belongs to split 'pairs'",
        ),
    ],
)
def test_a_wrong_row_is_refused_with_file_and_line(tmp_path, row, message):
    import sadi_lens as sl

    path = write(tmp_path / "mine.jsonl", [ROWS[0], "", row])
    with pytest.raises(ValueError, match=rf"mine\.jsonl, line 3: .*{message}"):
        sl.load_task(path)


def test_unknown_names_and_missing_files(tmp_path):
    import sadi_lens as sl

    with pytest.raises(
        ValueError, match=r"task must be one of .* got 'hint'; did you mean 'hints'"
    ):
        sl.load_task("hint")
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl does not exist"):
        sl.load_task(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="task 'custom' has no rows"):
        sl.load_task([])


def test_splits_must_be_disjoint():
    import sadi_lens as sl

    with pytest.raises(
        ValueError, match="dev and test of task 'custom' must be disjoint, 1 prompts"
    ):
        sl.load_task([ROWS[1], {**ROWS[1], "split": "test", "choices": [" y", " x"]}])
    with pytest.raises(ValueError, match="pairs and test of task"):
        sl.load_task([ROWS[0], {"prompt": "a", "choices": [" x", " y"], "answer": 0}])


def test_a_sample_has_choices_or_a_target():
    import sadi_lens as sl

    with pytest.raises(ValueError, match="either choices or a target"):
        sl.Sample("a")
    with pytest.raises(ValueError, match="either choices or a target"):
        sl.Sample("a", (" x", " y"), 0, target="z")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda sl: sl.Sample("q", target="no", aliases="yes"), "aliases must be a list of texts"),
        (lambda sl: sl.Sample("q", target="no", also_right=(1,)), "belong to choices"),
        (lambda sl: sl.Sample("q", {" x", " y"}, 0), "choices must be .* a set has no order"),
        (lambda sl: sl.Sample("q", {" x": 1, " y": 2}, 0), "choices must be a list of texts"),
        (
            lambda sl: sl.Sample("q", (one for one in (" x", " y")), 0),
            "got a generator; write list",
        ),
        (lambda sl: sl.Sample("q", b"xy", 0), "choices must be a list of texts"),
        (lambda sl: sl.Sample("q", (" x", " y"), True), "answer must be a whole number or None"),
        (lambda sl: sl.Sample("q", (" x", " y"), 1.0), "answer must be a whole number or None"),
        (lambda sl: sl.Sample("q", (" x", " y"), 0, also_right="1"), "also_right must be a list"),
        (lambda sl: sl.Sample("q", (" x", 3), 0), r"choices\[1\] must be text, got 3"),
        (lambda sl: sl.Sample(3, target="x"), "prompt must be text, got 3"),
        (lambda sl: sl.Sample("q", target="x", split="tset"), "did you mean 'test'"),
        (lambda sl: sl.Task("t", prompts="abc"), "prompts must be a list of texts, got 'abc'"),
        (lambda sl: sl.Task("t", pairs={"a": 1}), "pairs must be a list of ContrastivePair"),
        (lambda sl: sl.Task("t", dev=sl.Sample("q", target="x")), "dev must be a list of Sample"),
        (lambda sl: sl.Task("t", test=("q",)), r"test\[0\] must be a Sample, got 'q'"),
        (lambda sl: sl.ContrastivePair("q", 1, " x"), "positive must be text, got 1"),
        (lambda sl: sl.tasks.make_pairs({1: 2}), "items must be a list of Sample objects"),
        (
            lambda sl: sl.tasks.make_pairs("abc"),
            "items must be a list of Sample objects, got 'abc'",
        ),
        (
            lambda sl: sl.tasks.make_pairs([sl.Sample("q", target="x")], "toxic", texts="bad"),
            "texts must be a list of texts, got 'bad'; write",
        ),
        (lambda sl: sl.tasks.balance_pairs([], seed=-1), "seed must be at least 0, got -1"),
    ],
)
def test_nothing_is_taken_for_a_list_that_is_none(make, message):
    import sadi_lens as sl

    with pytest.raises((TypeError, ValueError), match=message):
        make(sl)


def test_lists_and_numpy_numbers_become_what_is_declared():
    import numpy as np

    import sadi_lens as sl

    made = sl.Sample("q", [" x", " y", " z"], np.int64(1), also_right=np.array([0]))
    assert made == sl.Sample("q", (" x", " y", " z"), 1, also_right=(0,))
    assert type(made.answer) is int
    assert type(made.also_right[0]) is int
    assert sl.Task("t", prompts=["a"]).prompts == ("a",)


def test_a_pair_may_have_two_prompts_and_one_answer():
    import sadi_lens as sl

    pair = sl.ContrastivePair("Be kind. I", " am", " am", negative_prompt="Be rude. I")
    assert pair.texts == ("Be kind. I am", "Be rude. I am")
    assert sl.ContrastivePair("q", " a", " b").prompts == ("q", "q")
    assert sl.ContrastivePair("q", " a", " b", "q") == sl.ContrastivePair("q", " a", " b")
    with pytest.raises(ValueError, match="give negative_prompt"):
        sl.ContrastivePair("q", " a", " a")
    with pytest.raises(ValueError, match="must differ"):  # the same text, cut elsewhere
        sl.ContrastivePair("q a", " b", " a b", negative_prompt="q")
    with pytest.raises(ValueError, match="pairs and test of task"):
        sl.Task("t", (pair,), test=(sl.Sample("Be rude. I", target="am"),))


@pytest.mark.parametrize(
    ("pair", "item"), [("The sky is ", "The sky is"), ("The sky is", "The sky is ")]
)
def test_an_item_is_the_same_whichever_part_holds_the_space(pair, item):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"pairs and test of task 't' must be disjoint"):
        sl.Task(
            "t",
            pairs=(sl.ContrastivePair(pair, " blue", " green"),),
            test=(sl.Sample(item, ("blue", "red"), 0),),
        )


def test_an_unknown_option_of_suggest_is_named_with_the_nearest():
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"option of the task 'suggest' .* did you mean 'seed'"):
        sl.load_task("suggest", seeds=1)
