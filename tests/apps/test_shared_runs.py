"""A run shared by processes: each does its cells, one may be killed, and the whole is that of one process."""

import os
import signal
import time

import pytest
from forked import forked


@pytest.fixture(scope="module")
def tiny():
    import sadi_lens as sl

    return sl.load_model("tiny")


@pytest.fixture
def runs(tiny, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.apps.experiments import prepare

    monkeypatch.setattr(prepare, "load_model", lambda _name: tiny)
    return lambda out, experiment=None, **more: sl.apps.run_experiment(
        experiment or small(), out, progress=False, **more
    )


def small(**changes):
    import sadi_lens as sl

    return sl.apps.Experiment.from_dict(
        {
            "name": "small",
            "tasks": ["sentiment", "hints"],
            "methods": ["sadi", "caa"],
            "ks": {"head": [1, 4]},
            "strengths": [1, 5],
            "sizes": {"pairs": 8, "dev": 6, "test": 6},
            "figures": [],
            **changes,
        }
    )


def tables(folder):
    """What stands in a finished run, without times."""
    found = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.parquet")}
    found |= {name: (folder / name).read_bytes() for name in ("results.csv", "report.md")}
    return found


def saving_slowly(monkeypatch, after):
    """Cells after the first ``after`` take a minute: time to be killed in."""
    from sadi_lens.apps.experiments import execute

    calls, save = [], execute.save

    def slow(found, path):
        calls.append(path)
        if len(calls) > after:
            time.sleep(60)
        return save(found, path)

    monkeypatch.setattr(execute, "save", slow)


def cells(folder):
    return {one.name for one in (folder / "cells").glob("[!.]*")}


def test_two_processes_one_killed_and_resumed_give_the_serial_run(runs, tmp_path, monkeypatch):
    import sadi_lens as sl

    serial, shared = runs(tmp_path / "serial"), tmp_path / "shared"
    first = forked(runs, shared, shard=(0, 2))
    with monkeypatch.context() as patch:
        saving_slowly(patch, after=1)
        second = forked(runs, shared, shard=(1, 2))
    first.join()
    assert first.exitcode == 0
    deadline = time.monotonic() + 60
    while len(cells(shared)) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    kept = {
        name: (shared / "cells" / name / "config.json").stat().st_mtime_ns for name in cells(shared)
    }
    assert len(kept) == 4
    os.kill(second.pid, signal.SIGKILL)
    second.join()
    assert not (shared / "results.csv").exists()
    with pytest.raises(ValueError, match=r"2 of 6 cells .* not finished: shards 1/2 \(first hints"):
        runs(shared, finish=True)
    runs(shared, shard=(1, 2))
    runs(shared, finish=True)
    assert tables(shared) == tables(serial)
    for name, when in kept.items():
        assert (shared / "cells" / name / "config.json").stat().st_mtime_ns == when
    for name in cells(serial):
        one, two = (sl.load(folder / "cells" / name) for folder in (serial, shared))
        assert one.keys() == two.keys()
        assert {**one, "seconds": 0} == {**two, "seconds": 0}
    assert not [one for one in shared.rglob(".*")]


@pytest.fixture
def busy(runs, tmp_path, monkeypatch):
    """A folder in which shard 1/2 is being written."""
    with monkeypatch.context() as patch:
        saving_slowly(patch, after=0)
        child = forked(runs, tmp_path, shard=(1, 2))
    deadline = time.monotonic() + 60
    while not (tmp_path / "inputs").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield tmp_path, child.pid
    os.kill(child.pid, signal.SIGKILL)
    child.join()


def test_a_shard_that_is_being_written_is_held_and_nothing_of_it_removed(busy, runs, monkeypatch):
    from sadi_lens.apps.experiments import folder
    from sadi_lens.types.files import partial

    monkeypatch.setattr(folder, "WAIT", 0.2)
    busy, pid = busy
    half = busy / partial(busy / "x").name.replace(f".{os.getpid()}.", f".{pid}.")
    half.write_text("half")
    for options in ({"shard": (1, 2)}, {"shard": (0, 3)}, {}, {"finish": True}):
        with pytest.raises(RuntimeError, match=r"is writing to .* \(shard-1-of-2.lock\)"):
            runs(busy, **options)
    runs(busy, shard=(0, 2))
    folder.RunFolder(busy).clean()
    assert half.read_text() == "half"
    with (
        folder.RunFolder(busy)._hold(folder.LOCK),
        pytest.raises(RuntimeError, match=r"\(run.lock\)"),
    ):
        runs(busy, shard=(0, 2))


def test_a_cell_of_something_else_is_not_put_in_the_tables(runs, tmp_path):
    """Cells are named by what they are, not by the grid that they were chosen from: copied by hand they look alike."""
    import shutil

    import sadi_lens as sl

    mine, other = small(tasks=["hints"], methods=["sadi"]), {"strengths": [1, 3]}
    runs(tmp_path / "run", mine)
    runs(tmp_path / "other", small(tasks=["hints"], methods=["sadi"], **other))
    (cell,) = (tmp_path / "run" / "cells").glob("*sadi*")
    shutil.rmtree(cell)
    shutil.copytree(tmp_path / "other" / "cells" / cell.name, cell)
    with pytest.raises(ValueError, match="was run by an experiment of other settings; remove it"):
        runs(tmp_path / "run", mine, finish=True)
    for thing in ([1], {"a": 1}, {"cell": sl.load(cell)["cell"]}):
        sl.save(thing, cell)
        with pytest.raises(ValueError, match="holds another cell"):
            runs(tmp_path / "run", mine, finish=True)


def test_cells_of_other_inputs_are_not_put_in_one_table(runs, tmp_path):
    """Two folders of one experiment, each with other rows under the same name, put together by hand."""
    import json
    import shutil

    import sadi_lens as sl

    whole = sl.load_task("hints")
    rows = [
        {"split": "pairs", "prompt": one.prompt, "positive": one.positive, "negative": one.negative}
        for one in whole.pairs[:6]
    ]
    rows += [
        {"split": split, "prompt": one.prompt, "choices": list(one.choices), "answer": one.answer}
        for split in ("dev", "test")
        for one in getattr(whole, split)[:6]
    ]
    data = tmp_path / "mine.jsonl"
    mine = small(tasks=[str(data)], methods=["sadi"])
    for name, held in (("one", rows), ("two", rows[::-1])):
        data.write_text("\n".join(map(json.dumps, held)), encoding="utf-8")
        runs(tmp_path / name, mine, shard=(int(name == "two"), 2))
    for cell in (tmp_path / "two" / "cells").iterdir():
        shutil.copytree(cell, tmp_path / "one" / "cells" / cell.name, dirs_exist_ok=True)
    with pytest.raises(ValueError, match=r"inputs that have changed \(task mine"):
        runs(tmp_path / "one", mine, finish=True)
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(ValueError, match=r"was run on another task mine than this run.*remove it"):
        runs(tmp_path / "one", mine, finish=True)
    # Also where nothing is noted but in the cells.
    shutil.rmtree(tmp_path / "one" / "inputs")
    with pytest.raises(ValueError, match="was run on another task mine"):
        runs(tmp_path / "one", mine, finish=True)


def test_a_cell_notes_both_the_task_it_is_tested_on_and_that_of_its_pairs(runs, tmp_path):
    import sadi_lens as sl

    tasks = ["hints", "sentiment"]
    runs(tmp_path, small(tasks=tasks, pair_tasks=["own", "sentiment"], methods=["sadi"]))
    noted = {}
    for folder in (tmp_path / "cells").iterdir():
        held = sl.load(folder)
        cell = held["cell"]
        of_tasks = {name for name in held["inputs"] if name.startswith("task ")}
        noted[cell["task"], cell["pair_task"], cell["method"]] = of_tasks
    assert noted["hints", "own", "sadi"] == {"task hints"}
    assert noted["hints", "sentiment", "sadi"] == {"task hints", "task sentiment"}
    assert noted["sentiment", "own", "sadi"] == {"task sentiment"}


def test_shards_of_a_model_in_another_dtype_are_refused(runs, tmp_path, monkeypatch):
    """A node without a GPU loads float32 where the others load bfloat16; the fingerprint is the same."""
    import torch

    import sadi_lens as sl
    from sadi_lens.apps.experiments import prepare

    mine = small(tasks=["hints"], methods=["sadi"])
    runs(tmp_path / "run", mine, shard=(0, 2))
    half = sl.load_model("tiny", dtype=torch.bfloat16)
    monkeypatch.setattr(prepare, "load_model", lambda _name: half)
    with pytest.raises(ValueError, match='dtype of tiny: "float32" -> "bfloat16"'):
        runs(tmp_path / "run", mine, shard=(1, 2))


def test_a_run_is_not_gone_on_with_under_another_tokenizer_or_configuration(
    runs, tmp_path, monkeypatch
):
    import sadi_lens as sl
    from sadi_lens.apps.experiments import prepare

    mine = small(tasks=["hints"], methods=["sadi"])
    runs(tmp_path / "run", mine, shard=(0, 2))
    other = sl.load_model("tiny")
    monkeypatch.setattr(prepare, "load_model", lambda _name: other)
    other.tokenizer.add_tokens(["zzz"])
    with pytest.raises(ValueError, match=r"inputs that have changed \(tokenizer of tiny"):
        runs(tmp_path / "run", mine, shard=(1, 2))
    other = sl.load_model("tiny")
    other.raw_model.config.rms_norm_eps = 0.5
    with pytest.raises(ValueError, match=r"inputs that have changed \(configuration of tiny"):
        runs(tmp_path / "run", mine, shard=(1, 2))


def test_shards_of_other_settings_are_refused(runs, tmp_path):
    runs(tmp_path, shard=(0, 2))
    with pytest.raises(ValueError, match=r"strengths: \[1.0, 5.0\] -> \[1.0, 6.0\]"):
        runs(tmp_path, small(strengths=[1, 6]), shard=(1, 2))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_every_cell_is_of_one_shard(count):
    from sadi_lens.apps.experiments.cells import cells_of
    from sadi_lens.apps.experiments.execute import cells_of_shard

    experiment = small(seeds=[0, 1], n_pairs=[4, 8])
    whole = cells_of(experiment)
    parts = [cells_of_shard(whole, experiment, (index, count)) for index in range(count)]
    assert [cell for part in parts for cell in part] == whole
    if count <= 3:
        assert min(map(len, parts)) * 3 >= len(whole) // count


def test_a_shard_out_of_range_and_a_finish_of_nothing_are_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="shard and finish exclude each other"):
        runs(tmp_path, shard=(0, 2), finish=True)
    with pytest.raises(ValueError, match="0 <= I < N, got 5/2"):
        runs(tmp_path / "run", shard=(5, 2))
    with pytest.raises(FileNotFoundError, match="holds no run that could be finished"):
        runs(tmp_path / "run", finish=True)
    assert not (tmp_path / "run").exists()


def test_the_command_takes_a_shard_and_finishes(runs, tmp_path):  # noqa: ARG001  # loads tiny once
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app

    (tmp_path / "a.yaml").write_text(
        "tasks: [effects]\nks: {head: [2]}\nstrengths: [1]\nsizes: {pairs: 4, dev: 4, test: 4}\nfigures: []\n"
    )
    call = ["run", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "run")]

    def said(*more):
        found = CliRunner().invoke(app, [*call, *more])
        return found.exit_code, " ".join(found.output.split())

    assert said("--shard", "0/2")[0] == 0
    code, text = said("--finish")
    assert code == 1
    assert "are not finished: shards 1/2" in text
    code, text = said("--shard", "2/2")
    assert code == 1
    assert "0 <= I < N, got 2/2" in text
    code, text = said("--shard", "1/2", "--finish")
    assert code == 1
    assert "exclude each other" in text
    assert said("--shard", "1/2")[0] == 0
    code, text = said("--finish")
    assert code == 0, text
    assert (tmp_path / "run" / "report.md").is_file()


def test_a_folder_that_another_shard_marks_meanwhile_is_one_of_a_run(tmp_path, monkeypatch):
    """Its half config is in the listing, and has its name when it is looked at."""
    from sadi_lens.apps.experiments import folder as module
    from sadi_lens.types.files import partial

    half = partial(tmp_path / "config.json")
    half.write_text('{"format": "sadi_lens run"}')
    real = module._is_start

    def slow(path):
        if path == half:
            half.rename(tmp_path / "config.json")
        return real(path)

    monkeypatch.setattr(module, "_is_start", slow)
    with module.RunFolder(tmp_path).locked((0, 2)):
        pass


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_shard_that_tries_the_places_of_its_files_is_no_one_else(tmp_path, monkeypatch, is_gone):
    """Two shards that start at once: one sees what the other writes to see whether it can."""
    from sadi_lens.apps.experiments import folder as module
    from sadi_lens.types.files import partial

    probe = partial(tmp_path / "report.md")
    probe.touch()
    real = module._is_start

    def slow(path):
        if is_gone and path == probe:
            probe.unlink()
        return real(path)

    monkeypatch.setattr(module, "_is_start", slow)
    with module.RunFolder(tmp_path).locked((0, 2)):
        pass
    assert probe.exists() is not is_gone


def test_half_a_file_that_no_run_writes_is_of_someone_else(tmp_path):
    from sadi_lens.apps.experiments.folder import RunFolder
    from sadi_lens.types.files import partial

    half = partial(tmp_path / "mask.json")
    half.write_text("half")
    with pytest.raises(FileExistsError, match=r"mask\.json"), RunFolder(tmp_path).locked((0, 2)):
        pass
    assert half.read_text() == "half"


def test_a_folder_that_another_shard_makes_meanwhile_is_a_folder(tmp_path, monkeypatch):
    from pathlib import Path

    from sadi_lens.apps.experiments.folder import RunFolder

    run, real = tmp_path / "run", Path.is_dir

    def slow(path):
        found = real(path)
        if path == run and not found:
            run.mkdir()
        return found

    monkeypatch.setattr(Path, "is_dir", slow)
    with RunFolder(run).locked((0, 2)):
        pass
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError, match="mine is not a folder"):
        RunFolder(tmp_path / "mine")._require_ours()


def test_a_file_of_someone_else_is_seen_beside_half_a_config(tmp_path):
    from sadi_lens.apps.experiments.folder import RunFolder
    from sadi_lens.types.files import partial

    partial(tmp_path / "config.json").write_text('{"format": "sadi_lens run"}')
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds 'mine.txt'"), RunFolder(tmp_path).locked():
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_finished_run_is_not_told_again_on_a_model_folder_that_has_changed(tmp_path, monkeypatch):
    """The old tables came without a word; no cell was left for which the model would have been loaded."""
    import torch
    from factories import random_llama, word_tokenizer

    import sadi_lens as sl
    from sadi_lens.apps.experiments import prepare
    from sadi_lens.apps.experiments.prepare import files_of

    rows = tmp_path / "mine.jsonl"
    rows.write_text(
        '{"split": "pairs", "prompt": "the ball is", "positive": " red", "negative": " blue"}\n'
        '{"split": "dev", "prompt": "the hat is", "choices": [" red", " blue"], "answer": 0}\n'
        '{"split": "test", "prompt": "the box is", "choices": [" red", " blue"], "answer": 0}\n'
    )
    hf, tokenizer = random_llama()
    folder = tmp_path / "model"
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    mine = small(models=[str(folder)], tasks=[str(rows)], methods=["sadi"], sizes={})

    def run():
        return sl.apps.run_experiment(mine, tmp_path / "run", progress=False)

    read = []
    monkeypatch.setattr(prepare, "files_of", lambda place: read.append(place) or files_of(place))
    run()
    assert read == [folder]  # weights are large: once is enough
    (folder / "README.md").write_text("what counts for nothing")
    run()
    assert read == [folder] * 2
    word_tokenizer(bos=False).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"inputs that have changed \(tokenizer of .*model"):
        run()
    tokenizer.save_pretrained(folder)
    with torch.no_grad():
        hf.lm_head.weight.mul_(1.5)
    hf.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"inputs that have changed \(model .*model"):
        run()
