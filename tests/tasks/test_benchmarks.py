"""Published data sets: counts and labels of the shared files, both column forms, refusals."""

import json
import math
import re
from collections import Counter

import pytest

COPA = {
    "premise": "It rained.",
    "question": "effect",
    "choice1": "The grass got wet.",
    "choice2": "The sun burned.",
    "label": 0,
}


def rows_of_source(folder):
    """File -> rows kept, from the table of SOURCE.md."""
    found = {}
    for line in (folder / "SOURCE.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 4 and cells[0].endswith(".jsonl"):
            found[cells[0].removesuffix(".jsonl")] = int(cells[4])
    return found


FOLDERS = {
    "copa": "copa_en",
    "xcopa": "xcopa",
    "winogrande": "winogrande",
    "sst2": "sst2",
    "sst5": "sst5",
    "xnli": "xnli",
    "boolq": "boolq_closed_book",
    "mmlu": "mmlu",
    "truthfulqa": "truthfulqa",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_every_row_of_the_shared_files_is_read(assets, name):
    from sadi_lens.tasks import read_benchmark

    folder = assets / "datasets" / FOLDERS[name]
    counts = rows_of_source(folder)
    assert counts
    for stem, n in counts.items():
        split, _, subset = stem.partition(".")
        items = read_benchmark(name, split, folder, subset=subset or None)
        assert len(items) == n, stem


def raw(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("name", "file", "key", "labels"),
    [
        ("copa", "copa_en/test", "label", [" A", " B"]),
        ("sst2", "sst2/test", "label", [" Negative", " Positive"]),
        (
            "sst5",
            "sst5/test",
            "label",
            [" Very negative", " Negative", " Neutral", " Positive", " Very positive"],
        ),
        ("xnli", "xnli/test.fr", "label", [" True", " Unclear", " False"]),
        ("xcopa", "xcopa/test.th", "label", [" A", " B"]),
        ("winogrande", "winogrande/test", "answer", {"option1": " A", "option2": " B"}),
        ("boolq", "boolq_closed_book/test", "answer", {"true": " Yes", "false": " No"}),
        ("mmlu", "mmlu/test", "answer", {letter: f" {letter}" for letter in "ABCD"}),
    ],
)
def test_labels_equal_those_of_the_files(assets, name, file, key, labels):
    from sadi_lens.tasks import read_benchmark

    path = assets / "datasets" / f"{file}.jsonl"
    split, _, subset = path.stem.partition(".")
    items = read_benchmark(name, split, path.parent, subset=subset or None)
    expected = [labels[row[key]] for row in raw(path)]
    assert [item.choices[item.answer] for item in items] == expected
    assert len(Counter(expected)) == len(labels)


def test_truthfulqa_keeps_right_and_wrong_answers_apart(assets):
    from sadi_lens.tasks import read_benchmark

    folder = assets / "datasets" / "truthfulqa"
    items = read_benchmark("truthfulqa", "truthfulqa", folder)
    rows = raw(folder / "truthfulqa.jsonl")
    for item, row in zip(items, rows, strict=True):
        wrong = {part.strip() for part in row["Incorrect Answers"].split(";")}
        assert item.choices[0] == f" {row['Best Answer'].strip()}"
        assert all(item.choices[index].strip() in wrong for index in item.wrong)
        assert not any(item.choices[index].strip() in wrong for index in item.also_right)
    # The file calls "Unknown" both right and wrong in two questions.
    both = [
        item for item in items if re.search("Canadians are straight|absolute pitch", item.prompt)
    ]
    assert len(both) == 2
    assert not any(" Unknown" in item.choices for item in both)


def test_behaviours_of_caa(assets):
    import sadi_lens as sl

    task = sl.tasks.load_benchmark("caa", assets / "datasets", subset="refusal")
    assert (len(task.pairs) + len(task.dev), len(task.test)) == (408, 50)
    assert {(pair.positive, pair.negative) for pair in task.pairs} == {
        (" (A)", " (B)"),
        (" (B)", " (A)"),
    }


def test_splits_are_disjoint_complete_and_the_same_every_time(assets):
    import sadi_lens as sl

    first = sl.tasks.load_benchmark("copa", assets / "datasets")
    assert first == sl.tasks.load_benchmark("copa", assets / "datasets" / "copa_en")
    assert (len(first.pairs), len(first.dev), len(first.test)) == (333, 167, 500)
    assert first.pairs != sl.tasks.load_benchmark("copa", assets / "datasets", seed=1).pairs
    small = sl.tasks.load_benchmark("copa", assets / "datasets", sizes={"pairs": 10, "test": 5})
    assert small.pairs == first.pairs[:10]
    assert small.test == first.test[:5]
    three = sl.tasks.load_benchmark("xnli", assets / "datasets", subset="de")
    assert (len(three.pairs), len(three.dev), len(three.test)) == (240, 120, 240)
    prompts = [one.prompt for split in (three.pairs, three.dev, three.test) for one in split]
    assert len(set(prompts)) == 600


def test_an_item_in_two_splits_is_refused_with_its_rows_or_dropped(assets):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"1 prompts stand in both.*rows pairs = test: \d+ = \d+"):
        sl.tasks.load_benchmark("sst2", assets / "datasets")
    task = sl.tasks.load_benchmark("sst2", assets / "datasets", duplicates="drop")
    assert (len(task.pairs), len(task.test)) == (999, 1821)
    assert "1 items that stood in two splits were dropped" in task.description


def test_a_subset_of_mmlu_is_its_domain(assets):
    from sadi_lens.tasks import read_benchmark

    folder = assets / "datasets" / "mmlu"
    sizes = {
        domain: len(read_benchmark("mmlu", "test", folder, subset=domain))
        for domain in ("humanities", "stem", "social", "other", "all")
    }
    # 13, 18, 12 and 14 subjects of eight questions.
    assert sizes == {"humanities": 104, "stem": 144, "social": 96, "other": 112, "all": 456}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"premise": None}, "line 1: column 'premise' must be text, got None. copa needs premise"),
        ({"label": 2}, r"column 'label' must be in \[0, 1\], got 2"),
        ({"label": "x"}, r"column 'label' must be in \[0, 1\], got 'x'"),
        ({"question": "efect"}, "did you mean 'effect'"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, change, message):
    import sadi_lens as sl

    write(tmp_path / "dev.jsonl", [{**COPA, **change}])
    write(tmp_path / "test.jsonl", [COPA])
    with pytest.raises(ValueError, match=message):
        sl.tasks.load_benchmark("copa", tmp_path)


def test_a_missing_value_is_no_text():
    from sadi_lens.tasks.conduct import read_truthfulqa
    from sadi_lens.tasks.knowledge import read_mmlu, read_triviaqa

    asked = {"question": "q", "Question": "q", "Best Answer": "a", "Correct Answers": "a"}
    for read, row, message in (
        (read_mmlu, {"A": None, "B": 2, "C": 3, "D": 4.5, "answer": "C"}, "A, B, C, D must be"),
        (read_mmlu, {"choices": ["a", "b", math.nan, "d"], "answer": 0}, "choices must be texts"),
        (read_mmlu, {"choices": ["", "a", "b", "c", "d"], "answer": 0}, "needs four choices"),
        (read_triviaqa, {"answer": {"value": "Tom", "aliases": ["Tim", None]}}, "got None"),
        (read_truthfulqa, {"Incorrect Answers": ["b", None]}, "Incorrect Answers must be texts"),
    ):
        with pytest.raises(ValueError, match=message):
            read({**asked, **row})
    assert read_mmlu({**asked, "A": 1, "B": 2.5, "C": "x", "D": "y", "answer": "C"}).answer == 2


def test_a_missing_column_is_named(tmp_path):
    import sadi_lens as sl

    lacking = {key: value for key, value in COPA.items() if key != "choice2"}
    write(tmp_path / "dev.jsonl", [lacking])
    write(tmp_path / "test.jsonl", [COPA])
    with pytest.raises(ValueError, match="lacks the column 'choice2'"):
        sl.tasks.load_benchmark("copa", tmp_path)


def test_a_split_of_one_class_or_none_is_refused(assets, tmp_path):
    import sadi_lens as sl

    # The first thousand rows of this training file are all entailment.
    rows = raw(assets / "datasets" / "xnli" / "train.en.jsonl")
    write(tmp_path / "validation.en.jsonl", rows)
    write(tmp_path / "test.en.jsonl", rows[:0])
    with pytest.raises(ValueError, match="one class: all 667 items have the answer ' True'"):
        sl.tasks.load_benchmark("xnli", tmp_path)
    write(tmp_path / "validation.en.jsonl", raw(assets / "datasets" / "xnli" / "test.en.jsonl"))
    with pytest.raises(ValueError, match=r"test of xnli .* is empty"):
        sl.tasks.load_benchmark("xnli", tmp_path)


def test_a_folder_or_hub_that_does_not_help_says_what_would(tmp_path, monkeypatch):
    import datasets

    import sadi_lens as sl

    with pytest.raises(
        FileNotFoundError,
        match="lacks files of copa: needs a folder copa_en/ with the files dev, test",
    ):
        sl.tasks.load_benchmark("copa", tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        sl.tasks.load_benchmark("copa", tmp_path / "nowhere")

    def unreachable(*_args, **_kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(OSError, match=r"no route to host.*columns premise, question"):
        sl.load_task("copa")
    with pytest.raises(FileNotFoundError, match="read from local files only"):
        sl.tasks.load_benchmark("caa")
    with pytest.raises(ValueError, match="did you mean 'xcopa'"):
        sl.load_task("xcoppa")
    with pytest.raises(ValueError, match="did you mean 'vi'"):
        sl.tasks.load_benchmark("xcopa", subset="vii")


HUB_ROWS = {
    "storycloze": [
        {
            **{f"input_sentence_{i}": f"Sentence {i} of story {n}." for i in range(1, 5)},
            "sentence_quiz1": "He left.",
            "sentence_quiz2": "He stayed.",
            "answer_right_ending": 1 + n % 2,
        }
        for n in range(20)
    ],
    "triviaqa": [
        {
            "question": f"Question {n}?",
            "answer": {"value": f"Answer {n}", "aliases": [f"The {n}", f"Answer {n}"]},
        }
        for n in range(20)
    ],
    "mmlu": [
        {
            "question": f"Question {n}?",
            "subject": "astronomy",
            "choices": list("wxyz"),
            "answer": n % 4,
        }
        for n in range(20)
    ],
    "boolq": [
        {"question": f"is it {n}", "passage": f"It is {n}.", "answer": n % 2 == 0}
        for n in range(20)
    ],
    "winogrande": [
        {
            "sentence": f"The {n} is _ .",
            "option1": "one",
            "option2": "two",
            "answer": str(1 + n % 2),
        }
        for n in range(20)
    ],
    "toxigen": [
        {
            "prompt": f"- line {n}\n-",
            "generation": f"{'foul' if n >= 20 else 'kind'} words {n}",
            "prompt_label": int(n >= 20),
            "roberta_prediction": 0.5,
        }
        for n in range(30)
    ],
    "truthfulqa": [
        {
            "question": f"What is {n}?",
            "best_answer": f"It is {n}",
            "correct_answers": [f"It is {n}", f"{n}"],
            "incorrect_answers": ["Nothing"],
        }
        for n in range(20)
    ],
}


@pytest.mark.parametrize("name", HUB_ROWS)
def test_rows_of_the_hub_are_read_through_datasets(name, monkeypatch):
    import datasets

    import sadi_lens as sl
    from sadi_lens.tasks import BENCHMARKS

    asked = []

    def fake(hub, config, split, revision):
        asked.append((hub, config, split, revision))
        # Other rows in every split, so that none is shared.
        start = ["train", "validation", "dev", "test", "eval"].index(split)
        return [
            json.loads(
                json.dumps(row)
                .replace("?", f" {start}?")
                .replace("is it", f"is it {start}")
                .replace("It is", f"It is {start} ")
                .replace("The ", f"The {start} ")
                .replace("story", f"story {start}")
            )
            for row in HUB_ROWS[name]
        ]

    monkeypatch.setattr(datasets, "load_dataset", fake)
    task = sl.tasks.load_benchmark(name)
    hub = BENCHMARKS[name]
    assert {one[0] for one in asked} == {hub.hub}
    assert {one[2] for one in asked} == set(hub.hub_plan.values())
    assert {one[3] for one in asked} == {"refs/convert/parquet" if name == "storycloze" else None}
    if name == "toxigen":
        assert not task.test
        assert not task.pairs
        assert len(task.prompts) == 8
        toxic = sl.tasks.load_benchmark(name, toxic_texts=["rude"])
        assert all(
            one.positive.startswith(" kind words") for one in toxic.pairs
        )  # label 1 is left out
        assert toxic.pairs[0].negative == " rude"
        return
    assert task.pairs
    assert task.dev
    assert task.test
    if name == "triviaqa":
        assert task.pairs[0].negative == " "
        assert task.test[0].aliases[0].startswith("The")
    if name == "storycloze":
        assert task.test[0].choices == (" A", " B")
        assert "A: He left.\nB: He stayed." in task.test[0].prompt


def test_cloze_forms_give_the_choices_as_text():
    from sadi_lens.tasks import BENCHMARKS

    copa = {
        "premise": "The man broke his toe.",
        "choice1": "He got a hole in his sock.",
        "choice2": "He dropped a hammer on his foot.",
        "question": "cause",
        "label": 1,
    }
    item = BENCHMARKS["copa"].cloze(copa, None)
    assert item.prompt == "The man broke his toe because"
    assert item.choices == (" he got a hole in his sock.", " he dropped a hammer on his foot.")
    assert item.answer == 1
    effect = BENCHMARKS["copa"].cloze(copa | {"question": "effect"}, None)
    assert effect.prompt == "The man broke his toe so"
    chinese = {
        "premise": "这个人的脚趾断了。",
        "choice1": "他的袜子破了个洞。",
        "choice2": "他的脚被锤子砸了。",
        "question": "cause",
        "label": 1,
    }
    item = BENCHMARKS["xcopa"].cloze(chinese, "zh")
    assert item.prompt == "这个人的脚趾断了因为"
    assert item.choices == ("他的袜子破了个洞。", "他的脚被锤子砸了。")
    blank = {"sentence": "Ann paid _ well.", "option1": "Tom", "option2": "Bo", "answer": "2"}
    item = BENCHMARKS["winogrande"].cloze(blank, None)
    assert (item.prompt, item.choices) == ("Ann paid", (" Tom well.", " Bo well."))
    mmlu = {"subject": "astronomy", "question": "Q?", "choices": ["w", "x", "y", "z"], "answer": 2}
    item = BENCHMARKS["mmlu"].cloze(mmlu, "all")
    assert (item.prompt, item.choices) == ("Question: Q?\nAnswer:", (" w", " x", " y", " z"))


def test_every_cloze_task_loads_and_the_others_say_what_they_have(assets):
    import sadi_lens as sl

    for name in ("copa", "xcopa", "winogrande", "mmlu"):
        letters = sl.tasks.load_benchmark(name, assets / "datasets", sizes={"test": 20})
        cloze = sl.tasks.load_benchmark(name, assets / "datasets", form="cloze", sizes={"test": 20})
        assert cloze.name.endswith("-cloze")
        assert len(cloze.test) == len(letters.test)
        assert not {one.choices for one in cloze.test} & {one.choices for one in letters.test}
    with pytest.raises(ValueError, match=r"form of sst2 must be one of \[''\], got 'cloze'"):
        sl.tasks.load_benchmark("sst2", assets / "datasets", form="cloze")


def test_csv_and_parquet_are_read_as_well(tmp_path):
    import pandas as pd

    import sadi_lens as sl

    rows = [{**COPA, "premise": f"It rained {n}.", "label": n % 2} for n in range(40)]
    pd.DataFrame(rows).to_csv(tmp_path / "dev.csv", index=False)
    pd.DataFrame(rows).assign(premise=[f"It snowed {n}." for n in range(40)]).to_parquet(
        tmp_path / "test.parquet"
    )
    task = sl.tasks.load_benchmark("copa", tmp_path)
    assert len(task.test) == 40
    assert sum(sample.answer for sample in task.test) == 20


def test_what_stands_in_two_splits_is_refused_with_the_way_out(assets):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"sst2' must be disjoint.*duplicates='drop' leaves them"):
        sl.tasks.load_benchmark("sst2", assets / "datasets")


def test_a_passage_that_two_source_splits_share_is_refused_or_left_to_the_later_one(tmp_path):
    import json

    import sadi_lens as sl

    def write(split, passages):
        rows = [
            {"question": f"is {split} {n} so", "passage": passage, "answer": n % 2 == 0}
            for n, passage in enumerate(passages)
        ]
        text = "\n".join(map(json.dumps, rows))
        (tmp_path / f"{split}.jsonl").write_text(text, encoding="utf-8")

    write("train", [f"About {n // 2}." for n in range(80)])
    write("test", [f"About {n // 2}." for n in range(70, 110)])
    with pytest.raises(ValueError, match=r"share no passage.* stand in both.*='drop'"):
        sl.tasks.load_benchmark("boolq", tmp_path)
    task = sl.tasks.load_benchmark("boolq", tmp_path, duplicates="drop")
    splits = [{one.cluster for one in part} for part in (task.pair_items, task.dev, task.test)]
    assert len(set().union(*splits)) == sum(map(len, splits)) == 55
    assert len(task.test) == 40
    assert "10 items that stood in two splits were dropped" in task.description


@pytest.mark.parametrize("prompts", [("a ", "a"), ("a", "a ")])
def test_dropping_sees_a_prompt_whatever_space_ends_it(prompts):
    import sadi_lens as sl
    from sadi_lens.tasks.benchmarks import _drop_duplicates

    pair, item = ([sl.Sample(one, ("b", "c"), 0)] for one in prompts)
    parts = {"pairs": pair, "dev": [], "test": item}
    assert _drop_duplicates(parts) == 1
    assert [len(one) for one in parts.values()] == [0, 0, 1]
