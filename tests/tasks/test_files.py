"""What people have: every usual format gives the same rows, and what cannot be read says why."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

ROWS = [
    {"prompt": "a, b;\tc", "choices": [" x", " NA"], "answer": 1, "split": "dev"},
    {"prompt": "zwei\u2028Zeilen", "choices": [" x", " ü"], "answer": 0, "split": "test"},
]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
FLAT = [
    {"q": "a, b;\tc", "A": " x", "B": " NA", "key": "B", "part": "dev"},
    {"q": 'zwei "Zeilen"', "A": " x", "B": " ü", "key": "A", "part": "test"},
]
NAMES = {"prompt": "q", "choices": ["A", "B"], "answer": "key", "split": "part"}


def expected(sl, second="zwei\u2028Zeilen"):
    return (
        (sl.Sample("a, b;\tc", (" x", " NA"), 1, split="dev"),),
        (sl.Sample(second, (" x", " ü"), 0, split="test"),),
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES.encode()),
        ("a.jsonl", LINES.encode("utf-8-sig")),
        ("a.jsonl", LINES.encode("utf-16")),
        ("a.jsonl", LINES.encode("utf-16-le")),
        ("a.jsonl", LINES.encode("utf-16-be")),
        ("a.jsonl", LINES.encode("utf-32")),
        ("a.jsonl", LINES.replace("\n", "\r\n").encode()),
        ("a.json", LINES.encode()),
        ("a.json", json.dumps(ROWS, indent=1).encode()),
        ("a.json", json.dumps({"version": "1", "data": ROWS}).encode()),
        ("a.json", json.dumps({"dev": ROWS[:1], "test": ROWS[1:]}).encode()),
        ("a.json", json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}).encode()),
        ("a.txt", LINES.encode()),
        ("a.jsonl.gz", gzip.compress(LINES.encode())),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode())),
    ],
)
def test_json_in_every_form(tmp_path, name, data):
    import sadi_lens as sl

    (tmp_path / name).write_bytes(data)
    task = sl.load_task(tmp_path / name)
    assert (task.dev, task.test) == expected(sl)
    assert task.name == "a"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_of_every_separator_keeps_its_texts(tmp_path, separator, encoding):
    import pandas as pd

    import sadi_lens as sl

    path = tmp_path / "a.csv"
    pd.DataFrame(FLAT).to_csv(path, sep=separator, index=False, encoding=encoding)
    task = sl.load_task(path, columns=NAMES)
    assert (task.dev, task.test) == expected(sl, 'zwei "Zeilen"')
    path.write_text(f"sep={separator}\n{path.read_text(encoding=encoding)}", encoding="utf-8")
    assert sl.load_task(path, columns=NAMES).test == task.test


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_what_pandas_writes_of_a_frame_is_what_the_frame_is(tmp_path, ending):
    """A row without an answer (a target, a pair) makes floats of the others' indices, and text of those in a file."""
    import pandas as pd

    import sadi_lens as sl

    rows = [
        {"prompt": "a", "choices": '[" x", " y"]', "answer": 1, "split": "test"},
        {"prompt": "b", "choices": '[" x", " y"]', "answer": 0, "split": "dev"},
        {"prompt": "c", "positive": " x", "negative": " y", "split": "pairs"},
    ]
    frame, path = pd.DataFrame(rows), tmp_path / f"mine.{ending}"
    frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    assert ",1.0," in path.read_text().replace("\t", ",")
    task, held = sl.load_task(path), sl.load_task(frame)
    assert (task.pairs, task.dev, task.test) == (held.pairs, held.dev, held.test)
    assert [one.answer for one in (*task.test, *task.dev)] == [1, 0]


def test_frames_tables_data_sets_and_dicts(tmp_path):
    import datasets
    import pandas as pd
    import pyarrow as pa

    import sadi_lens as sl

    datasets.disable_progress_bars()
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(tmp_path / "whole")
    parts = datasets.DatasetDict({"train": data, "validation": data.select([0])})
    parts.save_to_disk(tmp_path / "parts")
    pd.DataFrame(ROWS).to_parquet(tmp_path / "a.parquet")
    sources = [
        ROWS,
        tuple(ROWS),
        (row for row in ROWS),
        pd.DataFrame(ROWS),
        pa.Table.from_pylist(ROWS),
        data,
        tmp_path / "whole",
        str(tmp_path / "a.parquet"),
        {key: [row[key] for row in ROWS] for key in ROWS[0]},
        {"dev": ROWS[:1], "test": pd.DataFrame(ROWS[1:])},
    ]
    for source in sources:
        task = sl.load_task(source)
        assert (task.dev, task.test) == expected(sl), type(source)
    for source in (parts, tmp_path / "parts"):
        assert sl.load_task(source, split="train").test == expected(sl)[1]
        assert not sl.load_task(source, split="validation").test
        with pytest.raises(ValueError, match=r"splits \['train', 'validation'\]: name one"):
            sl.load_task(source)
        with pytest.raises(ValueError, match=r"split must be one of \['train', 'validation'\]"):
            sl.load_task(source, split="test")


def test_a_folder_of_files_has_one_a_split(tmp_path):
    import sadi_lens as sl

    (tmp_path / "dev.jsonl").write_text(json.dumps(ROWS[0]))
    (tmp_path / "test-00000-of-00002.json").write_text(json.dumps([ROWS[1]]))
    (tmp_path / "test-00001-of-00002.json").write_text(json.dumps([{**ROWS[1], "prompt": "z"}]))
    task = sl.load_task(tmp_path)
    assert task.dev == expected(sl)[0]
    assert [one.prompt for one in task.test] == ["zwei\u2028Zeilen", "z"]
    assert not sl.load_task(tmp_path, split="dev").test
    (tmp_path / "dev.csv").write_text("prompt,target\na,b\n")
    with pytest.raises(ValueError, match=r"several files of 'dev': dev\.csv, dev\.jsonl"):
        sl.load_task(tmp_path)


def test_home_is_expanded_and_nothing_is_made(tmp_path, monkeypatch):
    import sadi_lens as sl

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.jsonl").write_text(LINES)
    assert sl.load_task("~/mine.jsonl").dev == expected(sl)[0]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        sl.load_task("~/other.jsonl")
    assert [one.name for one in tmp_path.iterdir()] == ["mine.jsonl"]


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"choices": {"text": [" x", " y"], "label": ["A", "B"]}, "answerKey": "B"}, 1),
        ({"choices": {"text": [" x", " y"], "label": ["1", "2"]}, "answerKey": "1"}, 0),
        ({"choices": {"text": [" x", " y"], "label": ["1", "2"]}, "answer": 2}, 1),
        (
            {
                "choices": [{"text": " x", "label": "A"}, {"text": " y", "label": "B"}],
                "answer": "B",
            },
            1,
        ),
        ({"choices": [" x", " y"], "answer": np.int64(1)}, 1),
        ({"choices": np.array([" x", " y"], dtype=object), "answer": np.float64(1)}, 1),
        ({"choices": [" x", " y"], "answer": "1"}, 1),
        ({"choices": [" x", " y"], "answer": "y"}, 1),
        ({"choices": '[" x", " y"]', "answer": "1"}, 1),
    ],
)
def test_answers_as_data_sets_write_them(row, answer):
    import sadi_lens as sl

    found = sl.load_task([{"question": "q", **row}], columns={"prompt": "question"}).test[0]
    assert found == sl.Sample("q", (" x", " y"), answer, split="test")
    assert type(found.answer) is int


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"choices": [" 7", " 8"], "answer": "8"}, 1),  # no index of two choices
        ({"choices": [" 7", " 8"], "answer": " 7 "}, 0),
        ({"choices": [" 0", " 1"], "answer": "1"}, 1),  # text and index are one
        ({"choices": [" -1", " 1"], "answer": "-1"}, 0),
        ({"choices": [" 7", " 007"], "answer": "007"}, 1),
        ({"choices": [" 2.0", " 3.0"], "answer": "2.0"}, 0),
        ({"choices": [" True", " False"], "answer": "True"}, 0),
        ({"choices": [" x", " y"], "answer": "1.0"}, 1),
        ({"choices": [" x", " y"], "answer": " 01 "}, 1),
        ({"choices": [" x", " y"], "answer": 1.0}, 1),
        ({"choices": {"text": [" x", " y"], "label": ["1", "2"]}, "answer": "1.0"}, 0),
        ({"choices": {"text": [" x", " y"], "label": ["1", "2"]}, "answer": 2.0}, 1),
        ({"choices": {"text": [" 7", " 8"], "label": ["1", "2"]}, "answer": "8"}, 1),
    ],
)
def test_an_answer_is_refused_only_where_two_choices_can_be_meant(row, answer):
    import sadi_lens as sl

    (found,) = sl.load_task([{"prompt": "q", **row}]).test
    assert (found.answer, type(found.answer)) == (answer, int)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"choices": {"text": [" x", " y"], "label": ["1", "2"]}, "answer": 0}, "its label"),
        (
            {"choices": {"text": [" x", " y"], "label": ["A"]}, "answer": "A"},
            "2 texts and 1 labels",
        ),
        (
            {"choices": {"text": [" x", " y"], "label": ["A", "A"]}, "answer": "A"},
            "labels of choices must differ",
        ),
        (
            {"choices": [" x", " y", " z"], "answer": 0, "also_right": [5]},
            r"also_right must be indices of other choices, of \[1, 2\], got \(5,\)",
        ),
        ({"choices": [" 1", " 2"], "answer": "1"}, "an index and a choice's text at once"),
        ({"choices": [" 1.0", " 2.0"], "answer": "1.0"}, "an index and a choice's text at once"),
        ({"choices": [" 01", " 2"], "answer": "01"}, "an index and a choice's text at once"),
        ({"choices": [" x", " y"], "answer": "0.5"}, "answer must be the index"),
        ({"choices": [" x", " y"], "answer": "True"}, "answer must be the index"),
        ({"choices": [" x", " y"], "answer": "-1"}, "answer must be"),
        ({"choices": [" x", " y"], "answer": "2.0"}, "answer must be"),
        ({"choices": [" x", "x "], "answer": "x"}, "2 choices have this text"),
        (
            {"choices": {"text": [" x", " y"], "label": ["1", "2"]}, "answer": "0.0"},
            "answer must be the index",
        ),
        ({"choices": {" x", " y"}, "answer": 0}, "choices must be a list of texts"),
        ({"choices": "x, y", "answer": 0}, "in a CSV file write it as JSON"),
        ({"choices": [" x", " y"], "answer": True}, "answer must be the index"),
        ({"choices": [" x", " y"], "answer": 0.5}, "answer must be the index"),
        ({"target": "x", "aliases": "y"}, "aliases must be a list of texts"),
        ({"target": 3}, "target must be text, got 3"),
        (
            {"positive": " a", "negative": " a", "negative_prompt": 1},
            "negative_prompt must be text",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_row(row, message):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=f"row 0: .*{message}"):
        sl.load_task([{"prompt": "q", **row}])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.jsonl",
            b'{"id": 1, "prompt": "a", "prompt": "b"}',
            "line 1: the field 'prompt' stands twice",
        ),
        ("a.jsonl", '{"prompt": "é"}'.encode("latin-1"), "line 1: not UTF-8 text .* save it as"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.json", json.dumps(["x" * 420_000]).encode(), r"row 0: a row must be an object"),
        ("a.json", b'{"train": [], "validation": []}', "splits .* name one"),
        ("a.csv", b"prompt,target\na,b\na,b,c\n", "line 3: 3 cells, the header has 2"),
        ("a.csv", b'prompt,target\na,"b\n', "line 2: unexpected end of data"),
        (
            "a.csv",
            b"prompt,target\n" + b"a" * 140_000 + b",b\n",
            "field limit .131072.; write .* JSONL",
        ),
        ("a.csv", b"prompt,prompt\na,b\n", "line 1: the column 'prompt' stands twice"),
        (
            "a.csv",
            b'prompt, positive, negative\n"a", " b", " c"\n',
            "line 2: a cell begins with a space and a quote mark: ' \" b\"'. Leave out the space",
        ),
        ("a.csv", b'prompt,target\n "a",b\n', "line 2: a cell begins with a space and a quote"),
        (
            "a.tsv",
            b'prompt\tpositive\tnegative\n"x is\t a\t b\n y"\t c\t d\n',
            "line 3: a quote mark opens a cell that holds further columns and lines",
        ),
        ("a.csv", b"", "task 'a' has no rows: .*a.csv holds none"),
        (
            "a.csv",
            b"prompt,target\n",
            "task 'a' has no rows: .*a.csv holds none, or a header alone",
        ),
        (
            "a.csv",
            b"prompt,choices,answer\na," + b"[" * 100_000 + b",1",
            "line 2: choices must be a l",
        ),
        ("a.json", b"3", "a.json must hold objects .rows., got 3"),
        ("a.json", b"null", "a.json must hold objects .rows., got None"),
        ("a.xlsx", b"PK\x03\x04....", "an Excel or zip file; export it"),
        ("a.pkl", b"\x80\x04\x95", "is a pickle"),
        ("a.parquet", b"PAR1 and nothing more", r"a\.parquet cannot be read"),
        ("a.parquet", b"prompt,target", "no Parquet file"),
        ("a.csv", b"prompt,target\n\0\1,b", "binary data"),
        ("a.jsonl.gz", b"\x1f\x8b\x08....", "cannot be unpacked"),
    ],
)
def test_what_cannot_be_read_says_why_in_a_line(tmp_path, name, data, message):
    import sadi_lens as sl

    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        sl.load_task(tmp_path / name)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (3, {}, "source must be a file, a frame"),
        (None, {}, "source must be a file"),
        (pd.Series([1, 2]), {}, "source must be a file"),
        (pd.Series([{"prompt": "a", "target": "b"}]), {}, "source must be a file"),
        ("", {}, "source must be a path"),
        ({"prompt": "a", "target": "b"}, {}, r"one row stands in a list: \[row\]"),
        (["a"], {}, "row 0: a row must be an object"),
        (ROWS, {"split": "dev"}, "no named parts"),
        (ROWS, {"columns": {"promt": "q"}}, "did you mean 'prompt'"),
        (ROWS, {"columns": {"prompt": "q"}}, "row 0: has no column 'q' for 'prompt'; got"),
        (ROWS, {"columns": "q"}, "columns must be a dict"),
        (
            ROWS,
            {"columns": {"answer": ["a", "b"]}},
            r"columns\['answer'\] must name one column, got",
        ),
        (
            ROWS,
            {"columns": {"choices": []}},
            r"columns\['choices'\] must name one column, got \[\]",
        ),
        ("prompt,target\n" * 1000, {}, "source 'prompt,target.*14000 long. is no path: File name"),
        (ROWS, {"name": 3}, "name must be text"),
        ("hints", {"split": "dev"}, "split can be given for a user's own rows only"),
        (
            [{"prompt": "q", "A": None, "B": "x", "answer": 0}],
            {"columns": {"choices": ["A", "B"]}},
            "no value",
        ),
        ({"prompt": ["a", "b"], "target": ["c"]}, {}, "columns must be of one length"),
    ],
)
def test_a_wrong_source_or_option_is_named(source, options, message):
    import sadi_lens as sl

    with pytest.raises((TypeError, ValueError), match=message):
        sl.load_task(source, **options)


def test_answers_without_their_space_are_said_and_nothing_is_repaired():
    import sadi_lens as sl

    rows = [
        {"prompt": "Is it? Answer:", "choices": ["yes", "no"], "answer": 0},
        {"prompt": "It is", "positive": "red", "negative": " blue"},
        {"prompt": "Answer:\n", "choices": ["yes", "no"], "answer": 1},
        {"prompt": "答案：", "choices": ["是", "不是"], "answer": 1},
    ]
    with pytest.warns(
        UserWarning, match=r"without a space: 2, first row 0: '.*Answer:yes'.*space=True"
    ):
        typed = sl.load_task(rows)
    assert typed.test[0].choices == ("yes", "no")
    spaced = sl.load_task(rows, space=True)
    assert spaced.test[0].choices == (" yes", " no")
    assert spaced.test[1].choices == ("yes", "no")
    assert spaced.test[2].choices == ("是", "不是")
    assert spaced.pairs[0] == sl.ContrastivePair("It is", " red", " blue")
    assert sl.load_task(rows, space=False) == typed


def test_personas_come_from_rows():
    import sadi_lens as sl

    row = {
        "prompt": "Be kind. I",
        "positive": " am",
        "negative": " am",
        "negative_prompt": "Be rude. I",
    }
    assert sl.load_task([row]).pairs == (
        sl.ContrastivePair("Be kind. I", " am", " am", "Be rude. I"),
    )


def test_half_of_a_character_is_refused_with_its_line(tmp_path):
    import sadi_lens as sl

    path = tmp_path / "mine.jsonl"
    row = {"prompt": "a", "choices": [" x", " y"], "answer": 0}
    bad = [
        {**row, "prompt": "a\ud800"},
        {**row, "choices": [" x", " \udc00"]},
        {"prompt": "a", "target": "\ud800"},
        {**row, "cluster": "\ud800"},
    ]
    bad += [{"prompt": "a", "positive": " b", "negative": " \ud800"}]
    for one in bad:
        path.write_text(f"{json.dumps(row)}\n{json.dumps(one)}")
        with pytest.raises(ValueError, match=r"mine.jsonl, line 2: \w+ holds half of a character"):
            sl.load_task(path)
    path.write_text(json.dumps({**row, "prompt": "\U0001f600"}))
    assert sl.load_task(path).test[0].prompt == "\U0001f600"
    with pytest.raises(ValueError, match="name holds half of a character"):
        sl.load_task(path, name="\ud800")


def test_quote_marks_that_belong_to_a_text_are_kept(tmp_path):
    import sadi_lens as sl

    path = tmp_path / "a.csv"
    path.write_text(
        'prompt,positive,negative\n"a\nb"," ""c"""," ""d"", e"\nf, 5" g, h\n', encoding="utf-8"
    )
    one, two = sl.load_task(path).pairs
    assert (one.prompt, one.positive, one.negative) == ("a\nb", ' "c"', ' "d", e')
    assert (two.positive, two.negative) == (' 5" g', " h")


def test_a_quoted_cell_of_a_tsv_file_may_hold_lines_with_tabs(tmp_path):
    import sadi_lens as sl

    path = tmp_path / "a.tsv"
    path.write_text(
        'prompt\tpositive\tnegative\n"A table:\na\tb\n\n1\t2\nThe sum is"\t 3\t 4\nThe sky is\t blue\t red\n',
        encoding="utf-8",
    )
    one, two = sl.load_task(path).pairs
    assert (one.prompt, one.positive) == ("A table:\na\tb\n\n1\t2\nThe sum is", " 3")
    assert two.prompt == "The sky is"
    # A stray mark swallows whole rows, also where another quoted cell lies between.
    path.write_text(
        'prompt\tpositive\tnegative\n"x is\t a\t b\n\np\t c\t d\n y"\t c\t d\n', encoding="utf-8"
    )
    with pytest.raises(ValueError, match="line 5: a quote mark opens a cell"):
        sl.load_task(path)


def test_pairs_of_a_part_called_test_can_be_given_alone(tmp_path):
    import sadi_lens as sl

    row = {"prompt": "Snow is", "positive": " white", "negative": " black"}
    (tmp_path / "test.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError, match=r"got 'test'; leave .* give that part or file alone"):
        sl.load_task(tmp_path)
    assert len(sl.load_task(tmp_path / "test.jsonl").pairs) == 1


@pytest.mark.parametrize("where", ["cluster", "group"])
def test_a_cluster_is_one_name_and_a_number_reads_alike_however_it_is_written(where):
    import sadi_lens as sl

    def names(*values):
        rows = [
            {"prompt": f"a{place}", "target": " b", where: value}
            for place, value in enumerate(values)
        ]
        return [getattr(one, where) for one in sl.load_task(rows).test]

    numbers = [3, 3.0, "3", np.int64(3), np.float32(3)]
    assert names(*numbers, None, float("nan"), 2.5) == [*["3"] * 5, None, None, "2.5"]
    with pytest.raises(ValueError, match=rf"row 1: {where} must be one name, got \['a', 'b'\]"):
        names("a", ["a", "b"])


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_cluster_does_not_make_one_draw_of_all_rows(blank):
    import sadi_lens as sl

    for row in ({"target": " b"}, {"positive": " b", "negative": " c"}):
        with pytest.raises(ValueError, match=r"row 0: cluster must not be blank, got .* leave it"):
            sl.load_task([{"prompt": "a", **row, "cluster": blank}])


@pytest.mark.parametrize("blank", ["", " "])
def test_a_pair_or_sample_built_by_hand_has_no_blank_cluster_either(blank):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"cluster must not be blank, got .* leave it out"):
        sl.Sample("a", target="b", cluster=blank)
    with pytest.raises(ValueError, match="cluster must not be blank"):
        sl.ContrastivePair("a", " b", " c", cluster=blank)


def test_columns_may_be_arrays_and_a_missing_number_of_numpy_is_no_name():
    import numpy as np
    import pandas as pd

    import sadi_lens as sl

    rows = {"prompt": ["a", "b"], "positive": [" x", " y"], "negative": [" y", " x"]}
    wanted = sl.load_task(rows).pairs
    for kind in (np.array, pd.Series, tuple):
        assert sl.load_task({name: kind(column) for name, column in rows.items()}).pairs == wanted
    row = {"prompt": "a", "target": "b", "cluster": np.float32("nan"), "group": np.float16("nan")}
    (found,) = sl.load_task([row]).test
    assert (found.cluster, found.group) == (None, None)


def test_rows_that_contradict_each_other_are_said():
    import warnings

    import sadi_lens as sl

    item = {"prompt": "Snow is", "choices": [" white", " black", " red"], "answer": 0}
    turned = {**item, "choices": [" red", " black", " white"], "answer": 1}
    words = "another answer than an earlier one to the same: 1, first row 1 and row 0"
    pair = {"prompt": "Snow is", "positive": " white", "negative": " black"}
    with pytest.warns(UserWarning, match=words):
        sl.load_task([item, turned])
    with pytest.warns(UserWarning, match=words):
        sl.load_task([pair, {**pair, "positive": " black", "negative": " white"}])
    with pytest.warns(UserWarning, match="row of their split again: 1, first row 1 = row 0"):
        sl.load_task([pair, pair])
    dev = {"prompt": "Coal is", "choices": [" black", " red"], "answer": 0, "split": "dev"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sl.load_task([{**item, "also_right": [1]}, turned])
        sl.load_task([pair, {**pair, "negative": " red"}, {**dev, "split": "test"}])


def test_a_row_that_stands_twice_in_a_split_is_said():
    import warnings

    import sadi_lens as sl

    def rows(**more):
        item = {"prompt": "Snow is", "choices": [" white", " black"], "answer": 0} | more
        return [item, {**item, "prompt": "Coal is", "answer": 1}, item]

    with pytest.warns(
        UserWarning, match=r"earlier row of their split again: 1, first row 2 = row 0"
    ):
        assert len(sl.load_task(rows()).test) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(sl.load_task(rows(cluster="snow")).test) == 3


def test_a_part_called_as_a_split_is_that_split_whatever_its_rows_leave_out(tmp_path):
    import sadi_lens as sl

    bare = {"prompt": "Snow is", "choices": [" white", " black"], "answer": 0}
    for row in (bare, {**bare, "split": None}, {**bare, "split": "dev"}):
        for parts in ({"dev": [row]}, {"dev": [row], "test": [{**bare, "prompt": "Coal is"}]}):
            assert [one.prompt for one in sl.load_task(parts).dev] == ["Snow is"]
            assert [one.prompt for one in sl.load_task(parts, split="dev").dev] == ["Snow is"]
            (tmp_path / "dev.jsonl").write_text(json.dumps(row))
            assert [one.prompt for one in sl.load_task(tmp_path).dev] == ["Snow is"]
    with pytest.raises(
        ValueError, match=r"row 0: the row says split 'test' and stands in .* 'dev'"
    ):
        sl.load_task({"dev": [{**bare, "split": "test"}]})


def test_a_name_of_a_task_is_that_task_also_beside_a_folder_called_so(tmp_path, monkeypatch):
    import sadi_lens as sl

    monkeypatch.chdir(tmp_path)
    (tmp_path / "hints").mkdir()
    (tmp_path / "hints" / "test.jsonl").write_text('{"prompt": "a", "target": " b"}')
    with pytest.warns(UserWarning, match="'hints' is the task of that name; .* write './hints'"):
        assert len(sl.load_task("hints").pairs) == 240
    assert [one.prompt for one in sl.load_task("./hints").test] == ["a"]
