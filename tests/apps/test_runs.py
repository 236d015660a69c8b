"""Runs from end to end on the embedded model: tables, resuming, kill -9, and that test decides nothing."""

import dataclasses
import json
import os
import signal
import time

import numpy as np
import pytest
from forked import forked


@pytest.fixture(scope="module")
def tiny():
    import sadi_lens as sl

    return sl.load_model("tiny")


@pytest.fixture
def runs(tiny, monkeypatch):
    """``run_experiment`` with the model loaded once."""
    import sadi_lens as sl
    from sadi_lens.apps.experiments import prepare

    monkeypatch.setattr(prepare, "load_model", lambda _name: tiny)
    return lambda experiment, out, **more: sl.apps.run_experiment(
        experiment, out, progress=False, **more
    )


def small(**changes):
    import sadi_lens as sl

    return sl.apps.Experiment.from_dict(
        {
            "name": "small",
            "tasks": ["sentiment"],
            "methods": ["sadi", "random-ranking"],
            "ks": {"head": [1, 4]},
            "strengths": [1, 5],
            "sizes": {"pairs": 12, "dev": 10, "test": 10},
            "figures": [],
            **changes,
        }
    )


def test_the_tables_equal_the_library_called_by_hand(runs, tiny, tmp_path):
    import pandas as pd

    import sadi_lens as sl

    folder = runs(small(scorings=["sum", "generation"], max_new_tokens=2), tmp_path / "run")
    task = sl.load_task("sentiment")
    pairs, dev, test = task.pairs[:12], task.dev[:10], task.test[:10]
    own = sl.activation_differences(tiny, pairs, components=["head"], progress=False)["head"]
    choice = sl.sweep(tiny, dev, own, [1, 4], [1.0, 5.0], progress=False).best()
    sadi = sl.MaskedScaling(sl.top_k_mask(own, choice.k), choice.strength)
    table = pd.read_csv(folder / "results.csv")
    assert len(table) == 6
    for scoring in ("sum", "generation"):
        row = table[(table["method"] == "sadi") & (table["scoring"] == scoring)].iloc[0]
        expected = sl.evaluate(tiny, test, sadi, scoring=scoring, max_new_tokens=2, progress=False)
        base = sl.evaluate(tiny, test, scoring=scoring, max_new_tokens=2, progress=False)
        assert (row["k"], row["strength"]) == (choice.k, choice.strength)
        assert row["accuracy"] == expected.accuracy
        assert row["gain"] == pytest.approx(expected.accuracy - base.accuracy)
        assert row["low"] == pytest.approx(expected.interval.low)
        items = pd.read_parquet(folder / "items.parquet")
        mine = items[(items["method"] == "sadi") & (items["scoring"] == scoring)]
        np.testing.assert_array_equal(mine["correct"], expected.correct)
    report = (folder / "report.md").read_text()
    assert "| sentiment | sadi |" in report
    assert {"config.json", "environment.json", "inputs", "timings.csv"} <= {
        p.name for p in folder.iterdir()
    }


def test_finished_cells_are_not_run_again_and_changed_settings_are_refused(
    runs, tmp_path, monkeypatch
):
    from sadi_lens.apps.experiments import execute

    ran = []
    inner = execute._run
    monkeypatch.setattr(
        execute, "_run", lambda cell, inputs: ran.append(cell) or inner(cell, inputs)
    )
    runs(small(), tmp_path)
    assert len(ran) == 3
    before = {
        p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.name != "run.lock"
    }
    runs(small(), tmp_path)
    assert len(ran) == 3
    assert before == {p: p.read_bytes() for p in before}
    with pytest.raises(ValueError, match=r"strengths: \[1.0, 5.0\] -> \[1.0, 6.0\]"):
        runs(small(strengths=[1, 6]), tmp_path)
    environment = json.loads((tmp_path / "environment.json").read_text())
    (tmp_path / "environment.json").write_text(json.dumps({**environment, "torch": "1.0"}))
    with pytest.raises(ValueError, match=r"library versions that have changed \(torch"):
        runs(small(), tmp_path)


def test_other_toxic_texts_under_the_same_name_are_refused(runs, tmp_path):
    texts = tmp_path / "toxic.txt"
    texts.write_text("one\ntwo\n")
    mine = small(negatives=["toxic"], toxic_texts=str(texts), methods=["sadi", "fixed"])
    runs(mine, tmp_path / "run", shard=(0, 2))
    texts.write_text("three\n")
    with pytest.raises(ValueError, match=r"inputs that have changed.*toxic_texts"):
        runs(mine, tmp_path / "run")


def test_another_classifier_under_the_same_name_is_refused(runs, tmp_path, monkeypatch):
    from sadi_lens.apps.experiments import prepare

    monkeypatch.setattr(
        prepare, "load_classifier", lambda _folder: lambda texts: [0.5 for _ in texts]
    )
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "config.json").write_text("1")
    mine = small(tasks=["kindness"], classifier=str(tmp_path / "judge"), max_new_tokens=2)
    runs(mine, tmp_path / "run", shard=(0, 2))
    (tmp_path / "judge" / "config.json").write_text("2")
    with pytest.raises(ValueError, match=r"inputs that have changed.*classifier"):
        runs(mine, tmp_path / "run")


def test_a_classifier_fetched_at_another_time_is_the_same(tmp_path):
    """`hf download` keeps times in .cache, and a clone has its .git."""
    from sadi_lens.apps.experiments.prepare import files_of

    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("1")
    before = files_of(tmp_path)
    assert [name for name, _ in before] == ["1_Pooling/config.json"]
    for place in (".gitattributes", ".cache/huggingface/config.json.metadata", "1_Pooling/.lock"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("now")
    assert files_of(tmp_path) == before
    (tmp_path / "1_Pooling" / "config.json").rename(tmp_path / "config.json")
    assert files_of(tmp_path) != before


@pytest.mark.parametrize("name", ["toxic_texts", "classifier"])
def test_a_missing_file_is_named_before_any_cell_is_run(runs, tmp_path, name):
    mine = small(**{name: str(tmp_path / "none")})
    with pytest.raises(FileNotFoundError, match=rf"{name} .*none does not exist"):
        runs(mine, tmp_path / "run")
    assert not (tmp_path / "run" / "cells").exists()


def test_what_stands_in_the_place_of_a_cell_or_is_damaged_is_said_before_the_work(runs, tmp_path):
    import shutil

    folder = runs(small(), tmp_path / "run")
    first, *others = sorted((folder / "cells").iterdir())
    (first / "config.json").write_text("")
    with pytest.raises(ValueError, match=r"is not JSON.*Remove .* and run again"):
        runs(small(), folder)
    shutil.rmtree(first)
    for one in others:
        shutil.rmtree(one)
    others[-1].write_text("mine")
    with pytest.raises(FileExistsError, match="was not written by sadi_lens"):
        runs(small(), folder)
    assert [one.name for one in (folder / "cells").iterdir()] == [others[-1].name]
    assert others[-1].read_text() == "mine"


def test_a_file_in_the_place_of_a_folder_of_the_run_is_named(runs, tmp_path):
    import shutil

    folder = runs(small(), tmp_path / "run")
    shutil.rmtree(folder / "items")
    (folder / "items").write_text("mine")
    with pytest.raises(OSError, match=r"items is not a folder.*run again"):
        runs(small(), folder)


def test_other_weights_under_the_same_name_are_refused(runs, tmp_path):
    runs(small(methods=["sadi"]), tmp_path)
    for one in (tmp_path / "inputs").iterdir():
        if "model tiny" in one.read_text():
            one.write_text(json.dumps({"model tiny": "0" * 16}))
    for cell in (tmp_path / "cells").iterdir():  # one cell is left to run
        if "unsteered" not in cell.name:
            (cell / "config.json").unlink()
            for one in cell.glob("arrays-*.safetensors"):
                one.unlink()
            cell.rmdir()
    with pytest.raises(ValueError, match=r"inputs that have changed \(model tiny"):
        runs(small(methods=["sadi"]), tmp_path)


def parquets(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.parquet")}


def test_a_run_killed_at_random_moments_gives_the_same_parquet(runs, tmp_path):
    """Ten kill -9 in forked processes; each goes on where the last one died."""
    experiment = small(n_pairs=[6, 12], negatives=["random", "other"])
    start = time.monotonic()
    whole = parquets(runs(experiment, tmp_path / "whole"))
    took = time.monotonic() - start
    assert len(whole) == 1 + 8 + 1
    rng = np.random.default_rng(0)
    folders, kills = [tmp_path / "killed 0"], 0
    while kills < 10:
        child = forked(runs, experiment, folders[-1])
        time.sleep(float(rng.uniform(0, took / 6)))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        else:  # it came to its end: the rest of the ten hit another run
            folders.append(tmp_path / f"killed {len(folders)}")
        child.join()
    for out in folders:
        runs(experiment, out)
        assert parquets(out) == whole
        assert (out / "results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()
        assert not [p for p in out.rglob(".*")]


@pytest.mark.parametrize("moment", ["save", "write_items", "write_report"])
def test_a_crash_between_two_writes_is_gone_on_from(runs, tmp_path, monkeypatch, moment):
    from sadi_lens.apps.experiments import execute

    whole = parquets(runs(small(), tmp_path / "whole"))
    calls = []
    inner = getattr(execute, moment)

    def dies(*arguments):
        calls.append(1)
        if len(calls) == (1 if moment == "write_report" else 2):
            raise RuntimeError("killed")
        return inner(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(execute, moment, dies)
        with pytest.raises(RuntimeError, match="killed"):
            runs(small(), tmp_path / "run")
    assert parquets(runs(small(), tmp_path / "run")) == whole


def test_no_test_item_influences_mask_k_or_strength(runs, tmp_path, monkeypatch):
    """The same pairs and dev with other test items, their answers turned round: everything chosen is equal."""
    import sadi_lens as sl
    from sadi_lens.apps.experiments import experiment as module
    from sadi_lens.apps.experiments.cells import cells_of

    asked = small(
        methods=["sadi", "random-ranking", "caa"],
        negatives=["hard", "random"],
        shots=[1],
        choose="stable",
        balance=True,
        sizes={"pairs": 24, "dev": 8, "test": 8},
    )

    def turned(spec, _data=None):
        task = sl.load_task(spec.name)
        test = tuple(
            dataclasses.replace(one, answer=1 - one.answer, choices=one.choices)
            for one in task.test[50:90]
        )
        return dataclasses.replace(task, test=test)

    first = runs(asked, tmp_path / "first")
    monkeypatch.setattr(module.TaskSpec, "load", turned)
    second = runs(asked, tmp_path / "second")
    compared = 0
    for cell in cells_of(asked):
        one, two = (sl.load(folder / "cells" / cell.id) for folder in (first, second))
        for key in ("mask", "choice", "sweep", "selection", "n_pairs"):
            assert one.get(key) == two.get(key)
            compared += one.get(key) is not None
        assert one["test"]["sum"] != two["test"]["sum"]
    # Mask (not for caa), choice, sweep, selection and number of pairs of six steered cells.
    assert compared == 4 * 5 + 2 * 4


def test_open_ended_tasks_show_every_cell_and_choose_nothing(runs, tmp_path):
    import pandas as pd

    folder = runs(
        small(
            tasks=["kindness"], methods=["sadi"], sizes={"pairs": 8, "test": 3}, max_new_tokens=5
        ),
        tmp_path,
    )
    table = pd.read_csv(folder / "open_ended.csv")
    assert len(table) == 1 + 4
    assert "toxicity" not in table
    assert (table["n"] == 3).all()
    assert (table["perplexity"] > 1).all()
    assert not (folder / "results.csv").exists()


def test_items_the_model_cannot_read_are_refused_or_dropped_and_counted(runs, tmp_path):
    import sadi_lens as sl

    task = sl.load_task("sentiment")
    rows = [
        {"prompt": one.prompt, "choices": one.choices, "answer": one.answer, "split": one.split}
        for one in (*task.dev[:4], *task.test[:4])
    ]
    rows[-1]["prompt"] = rows[-1]["prompt"].replace("Review:", "Review: zyxqv")
    rows += [dataclasses.asdict(pair) for pair in task.pairs[:4]]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    asked = small(tasks=[str(path)], methods=["sadi"])
    with pytest.raises(
        ValueError, match=r"cannot read \{'test': 1\} items of mine.*Set unfit: drop"
    ):
        runs(asked, tmp_path / "refused")
    folder = runs(dataclasses.replace(asked, unfit="drop"), tmp_path / "dropped")
    assert "mine leaves out: 1 of test" in (folder / "report.md").read_text()
    with pytest.raises(ValueError, match="negatives must be 'given', got 'random'"):
        runs(small(tasks=[str(path)], unfit="drop", negatives=["random"]), tmp_path / "items")


def test_more_pairs_contain_fewer_and_too_many_are_refused(runs, tmp_path):
    from sadi_lens.apps.experiments.cells import cells_of
    from sadi_lens.apps.experiments.folder import RunFolder
    from sadi_lens.apps.experiments.prepare import Inputs

    asked = small(n_pairs=[4, 8], methods=["sadi"])
    inputs = Inputs(asked, RunFolder(tmp_path))
    few, many = (inputs.pairs(cell) for cell in cells_of(asked) if cell.method == "sadi")
    assert many[:4] == few
    with pytest.raises(
        ValueError, match="n_pairs must be at most 12 for sadi, head, 99 pairs on sentiment, got 99"
    ):
        runs(small(n_pairs=[99]), tmp_path / "run")


def test_the_command_runs_a_file_and_refuses_a_wrong_one(tmp_path, monkeypatch, tiny):
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app
    from sadi_lens.apps.experiments import prepare

    monkeypatch.setattr(prepare, "load_model", lambda _name: tiny)
    (tmp_path / "a.yaml").write_text(
        "tasks: [effects]\nks: {head: [2]}\nstrengths: [1]\nsizes: {pairs: 4, dev: 4, test: 4}\n"
    )
    found = CliRunner().invoke(
        app, ["run", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "run")]
    )
    assert found.exit_code == 0, found.output
    assert (tmp_path / "run" / "report.md").is_file()
    assert (tmp_path / "run" / "figures" / "methods_effects.html").is_file()
    (tmp_path / "b.yaml").write_text("taks: [effects]\n")
    wrong = CliRunner().invoke(app, ["run", str(tmp_path / "b.yaml")])
    assert wrong.exit_code == 1
    assert "did you mean 'tasks'" in " ".join(wrong.output.split())


def own_rows(sl, path, start=0, pairs_of="pairs"):
    """A file of the first rows of an embedded task; its pairs are of another split where that is named."""
    task = sl.load_task("hints")
    samples = [*task.dev[start : start + 8], *task.test[start : start + 8]]
    rows = [
        {"split": one.split, "prompt": one.prompt, "choices": one.choices, "answer": one.answer}
        for one in samples
    ]
    pairs = [(one.prompt, one.positive, one.negative) for one in task.pairs[:8]]
    if pairs_of == "test":
        pairs = [
            (one.prompt, one.choices[one.answer], one.choices[one.wrong[0]])
            for one in task.test[:8]
        ]
    rows += [
        {"prompt": prompt, "positive": right, "negative": wrong} for prompt, right, wrong in pairs
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def test_a_finished_run_is_not_told_again_on_rows_that_have_changed(runs, tmp_path):
    import sadi_lens as sl

    data = tmp_path / "mine.jsonl"
    mine = small(tasks=[own_rows(sl, data)], methods=["sadi"])
    folder = runs(mine, tmp_path / "run")
    rows = data.read_text().splitlines()
    data.write_text("\n".join(rows[1:]))
    with pytest.raises(ValueError, match=r"inputs that have changed \(task mine: "):
        runs(mine, folder)
    data.unlink()  # finished cells do not need them
    runs(mine, folder)
    data.write_text("\n".join(rows))
    runs(mine, folder)


def test_the_items_of_a_cell_that_was_run_again_are_its_own(runs, tmp_path):
    import shutil

    import pandas as pd

    from sadi_lens.apps.experiments.folder import RunFolder

    folder = runs(small(methods=["sadi"]), tmp_path / "run")
    other = runs(small(methods=["sadi"], sizes={"pairs": 12, "dev": 10, "test": 8}), tmp_path / "o")
    place = next(one for one in (folder / "items").iterdir() if "_own_" in one.name)
    before = place.read_bytes()
    # As where a cell was removed: the run wrote the file, of another cell of that name.
    RunFolder(folder).write(place, (other / "items" / place.name).read_bytes())
    shutil.rmtree(folder / "cells" / place.stem)
    runs(small(methods=["sadi"]), folder)
    assert place.read_bytes() == before
    assert len(pd.read_parquet(place)) == 10


def test_pairs_of_another_task_that_are_items_of_this_one_are_refused(runs, tmp_path):
    import sadi_lens as sl

    mine = own_rows(sl, tmp_path / "mine.jsonl")
    theirs = own_rows(sl, tmp_path / "theirs.jsonl", start=20, pairs_of="test")
    crossed = small(tasks=[mine, theirs], pair_tasks=["own", "theirs"], methods=["sadi"])
    with pytest.raises(
        ValueError, match="pair_tasks: pairs of 'theirs' are items of 'mine': pairs and test"
    ):
        runs(crossed, tmp_path / "run")
