"""The experiment file: what it accepts, what it refuses and how; its cells; the folder of a run."""

import json
import os

import pytest


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_single_values_stand_for_lists_and_defaults_hold(tmp_path):
    import sadi_lens as sl

    found = sl.apps.Experiment.from_yaml(
        write(tmp_path, "tasks: hints\nks: {head: 4}\nseeds: 3\nstrengths: 2\n")
    )
    assert found.name == "mine"
    assert [spec.label for spec in found.tasks] == ["hints"]
    assert (found.ks, found.seeds, found.strengths) == ({"head": (4,)}, (3,), (2.0,))
    assert found == sl.apps.Experiment(
        "mine", (sl.apps.TaskSpec("hints"),), ks={"head": (4,)}, seeds=(3,), strengths=(2.0,)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: hints", "did you mean 'tasks'"),
        ("name: x", "lacks the key 'tasks'"),
        ("tasks: [hints]\ncomponents: [heads]", "did you mean 'head'"),
        ("tasks: [hints]\nmethods: [sady]", "did you mean 'sadi'"),
        ("tasks: [hints]\nrankings: [sign]", "did you mean 'signed'"),
        ("tasks: [hints]\npositions: [last_promt]", "did you mean 'last_prompt'"),
        ("tasks: [hints]\nscorings: [summ]", "did you mean 'sum'"),
        ("tasks: [hnts]", "did you mean 'hints'"),
        ("tasks: [{name: hints, subest: x}]", "did you mean 'subset'"),
        ("tasks: [3]", "a task must be a name or a mapping"),
        ("tasks: [hints, hints]", "tasks must differ"),
        ("tasks: []", "tasks must not be empty"),
        ("tasks: [hints]\nn_pairs: [0]", "n_pairs must be at least 1, got 0; 'all' stands for all"),
        ("tasks: [hints]\nseeds: [-1]", "seeds must be at least 0, got -1"),
        ("tasks: [hints]\nshots: [yes]", "shots must be a whole number, got True"),
        ("tasks: [hints]\nstrengths: [.nan]", "strengths must be finite, got nan"),
        ("tasks: [hints]\nstrengths: [big]", "strengths must be a number, got 'big'"),
        ("tasks: [hints]\nks: [1, 2]", "ks must be a mapping"),
        ("tasks: [hints]\nks: {haed: [1]}", "did you mean 'head'"),
        ("tasks: [hints]\nks: {head: [0]}", "ks of head must be at least 1, got 0"),
        ("tasks: [hints]\nsizes: {tset: 3}", "did you mean 'test'"),
        ("tasks: [hints]\nsizes: {test: 0}", "sizes of test must be at least 1, got 0"),
        ("tasks: [hints]\nchoose: bets", "did you mean 'best'"),
        ("tasks: [hints]\nunfit: dropp", "did you mean 'drop'"),
        ("tasks: [hints]\npair_tasks: [hint]", "did you mean 'hints'"),
        ("tasks: [hints]\nbalance: 3", "balance must be true or false"),
        ("tasks: [hints]\ndata: 3", "data must be text, got 3"),
        *(
            (
                f"tasks: [hints]\n{key}: ''",
                f"{key} must be text that is not empty .leave the key out for none",
            )
            for key in ("data", "models", "pair_tasks", "toxic_texts", "classifier", "published")
        ),
        ("tasks: [{name: xnli, subset: ''}]", "subset must be text that is not empty"),
        ("tasks: [{name: xnli, data: ''}]", "data must be text that is not empty"),
        ("tasks: [hints]\nname: a b", "name must be letters"),
        (
            "tasks: [{name: hints, subset: de}]",
            "subset belongs to a published data set, and task 'hints'",
        ),
        ("tasks: [{name: a.csv, duplicates: drop}]", "duplicates belongs to a published"),
        ("tasks: [{name: hints, data: x}]", "data belongs to a published"),
        ("tasks: [suggest]", "run `sadi-lens compare` for each model"),
        ("tasks: [hints]\npair_tasks: [hints]", "task 'hints' would have no cell.*add 'own'"),
        ("tasks: [hints, effects]\npair_tasks: [effects]", "task 'effects' would have no cell"),
        ("tasks: [hints]\nnegatives: [toxic]", "'toxic' needs toxic_texts"),
        ("tasks: [hints]\npublished: table99", "published must be one of"),
        ("tasks: [hints", "is not YAML"),
        ("tasks: [hints]\ntasks: [recall]", "the key 'tasks' stands twice"),
        ("tasks: [hints]\nks: {head: [1], head: [2]}", "the key 'head' stands twice"),
        ("tasks: [hints]\nseeds: [2026-13-45]", "is not YAML"),
        ("- hints", "must hold keys and values, got list"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path, text, message):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=message) as caught:
        sl.apps.Experiment.from_yaml(write(tmp_path, text))
    assert "mine.yaml" in str(caught.value)


def test_the_constructor_refuses_in_one_line_too():
    import dataclasses

    import sadi_lens as sl

    one = sl.apps.Experiment("x", (sl.apps.TaskSpec("hints"),))
    for make, message in (
        (lambda: dataclasses.replace(one, models=("tiny", "tiny")), "models must differ"),
        (lambda: sl.apps.Experiment("x", ("hnts",)), "did you mean 'hints'"),
        (lambda: sl.apps.TaskSpec("hints", subest="x"), "did you mean 'subset'"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            make()
        assert "pydantic" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unknown_example_lists_those_there_are(tmp_path):
    import sadi_lens as sl

    with pytest.raises(FileNotFoundError, match="examples: figure2, figure3, figure4"):
        sl.apps.Experiment.from_yaml("table99")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        sl.apps.Experiment.from_yaml(tmp_path / "table1.yaml")


def test_every_example_is_valid_and_small():
    import sadi_lens as sl
    from sadi_lens.apps.experiments.cells import cells_of
    from sadi_lens.apps.experiments.experiment import EXAMPLES

    names = {path.stem for path in EXAMPLES.glob("*.yaml")}
    assert {f"table{i}" for i in (1, 3, 4, 5, 6, 7, 8)} <= names
    assert {"figure2", "figure3", "figure4", "negatives", "ood", "timing"} <= names
    for name in names:
        text = (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")
        assert "# models: [" in text
        assert "# tasks: [" in text or "data" in name
        experiment = sl.apps.Experiment.from_yaml(name)
        assert experiment.models == ("tiny",)
        assert len(cells_of(experiment)) < 100


def test_cells_are_the_product_once_each_and_draw_only_where_something_is_drawn():
    import sadi_lens as sl
    from sadi_lens.apps.experiments.cells import base_of, cells_of

    experiment = sl.apps.Experiment.from_dict(
        {
            "name": "x",
            "tasks": ["hints", "effects"],
            "components": ["head", "neuron"],
            "rankings": ["signed", "magnitude"],
            "methods": ["sadi", "random-ranking", "caa"],
            "seeds": [5, 6],
        }
    )
    cells = cells_of(experiment)
    per_task = [cell for cell in cells if cell.task == "hints"]
    # unsteered 1; sadi 2 components x 2 rankings; random 2 components x 2 seeds; caa 1.
    assert len(per_task) == 1 + 4 + 4 + 1
    assert len({cell.id for cell in cells}) == len(cells)
    assert {cell.seed for cell in per_task if cell.method == "sadi"} == {5}
    assert {cell.seed for cell in per_task if cell.method == "random-ranking"} == {5, 6}
    assert all(base_of(cell, experiment) in cells for cell in cells)
    shown = sl.apps.Experiment.from_dict(
        {"name": "x", "tasks": ["hints"], "shots": [0, 2], "seeds": [0, 1]}
    )
    # Examples are drawn, so every seed has its own unsteered cell.
    assert len(cells_of(shown)) == 2 + 4
    ood = sl.apps.Experiment.from_dict(
        {"name": "x", "tasks": ["hints"], "pair_tasks": ["own", "hints", "effects"]}
    )
    assert [cell.pair_task for cell in cells_of(ood)] == ["", "own", "effects"]


def test_a_folder_is_held_by_one_process(tmp_path):
    from sadi_lens.apps.experiments.folder import RunFolder

    with (
        RunFolder(tmp_path / "run").locked(),
        pytest.raises(RuntimeError, match="another process is writing to"),
        RunFolder(tmp_path / "run").locked(),
    ):
        pass
    with RunFolder(tmp_path / "run").locked():
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    from sadi_lens.apps.experiments.folder import RunFolder

    (tmp_path / "thesis.txt").write_text("mine")
    with (
        pytest.raises(FileExistsError, match=r"holds 'thesis.txt' and is not the folder of a run"),
        RunFolder(tmp_path).locked(),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


FOREIGN = {
    "a git repository": {".git/HEAD": "ref", ".git/objects/.tmp": "x", ".github/a.yml": "on: push"},
    "dotfiles alone": {".env": "KEY=1", ".venv/bin/python": "", ".ssh/.hidden": "key"},
    "a model": {"config.json": '{"model_type": "llama"}', ".cache/x": "1", ".gitattributes": "*"},
    "a web project": {"config.json": "[]", "src/.eslintrc": "{}", ".npmrc": "token"},
    "a saved object": {"config.json": '{"format": "sadi_lens", "object": 1}', ".notes": "mine"},
    "a broken config": {"config.json": "{", ".vscode/settings.json": "{}"},
    "a lock of someone else": {"run.lock": "pid 12", "src/.x": "1"},
    "names like ours": {".config.json.1234": "mine", "cells/.a.tmp": "mine", "items/.b": "mine"},
}


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("model", ["/nope", "tiny"])
def test_a_refused_run_touches_nothing_that_it_did_not_write(tmp_path, what, model):
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app

    for name, text in FOREIGN[what].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = contents(tmp_path)
    found = CliRunner().invoke(app, ["run", "table4", "--model", model, "--out", str(tmp_path)])
    assert found.exit_code == 1
    assert "is not the folder of a run; it is left alone" in " ".join(found.output.split())
    assert contents(tmp_path) == before


def abandoned(path):
    """A name for what is half written, of a process that has ended."""
    from sadi_lens.types.files import partial

    name = partial(path).name
    return path.with_name(name.replace(f".{os.getpid()}.", ".4194304000."))


def test_only_names_that_a_run_gave_are_cleaned_up_and_only_in_its_folder(tmp_path):
    from sadi_lens.apps.experiments.folder import RunFolder
    from sadi_lens.types.files import partial

    folder = RunFolder(tmp_path)
    with folder.locked():
        folder.begin({"strengths": [1]})
    for name in (
        ".git/HEAD",
        ".env",
        "cells/.mine",
        "items/.x.sadi_lens-partial",
        "cells/.gitkeep",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    living = partial(tmp_path / "cells" / "b")
    elsewhere = living.name.replace(living.name.split(".")[2], "0" * 8)
    for name in (living.name, elsewhere):
        (tmp_path / "cells" / name).write_text("being written")
    before = contents(tmp_path)
    abandoned(tmp_path / "results.csv").write_text("half")
    abandoned(tmp_path / "items" / "a.parquet").write_text("half")
    half = abandoned(tmp_path / "cells" / "a")
    half.mkdir()
    (half / "config.json").write_text("half")
    abandoned(tmp_path / "cells" / "link").symlink_to(tmp_path / ".git")
    folder.clean()
    assert contents(tmp_path) == before


def test_a_run_killed_before_its_folder_was_marked_can_be_begun_again(tmp_path):
    from sadi_lens.apps.experiments.folder import RunFolder

    (tmp_path / "run.lock").touch()
    abandoned(tmp_path / "config.json").write_text('{"form')
    folder = RunFolder(tmp_path)
    with folder.locked():
        folder.begin({"strengths": [1]})
        folder.clean()
    assert {path.name for path in tmp_path.iterdir()} - {"run.lock"} == {
        "config.json",
        "environment.json",
    }


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    from sadi_lens.apps.experiments.folder import RunFolder

    (tmp_path / "notes").write_text("mine")
    with (
        pytest.raises(FileExistsError, match="is not a folder"),
        RunFolder(tmp_path / "notes").locked(),
    ):
        pass
    assert (tmp_path / "notes").read_text() == "mine"


def test_changed_settings_are_refused_one_by_one(tmp_path):
    from sadi_lens.apps.experiments.folder import RunFolder

    folder = RunFolder(tmp_path)
    folder.require_same("config.json", {"strengths": (1.0, 2.0), "seeds": (0,)}, "settings")
    folder.require_same("config.json", {"strengths": (1.0, 2.0), "seeds": (0,)}, "settings")
    with pytest.raises(
        ValueError, match=r"settings that have changed \(strengths: \[1.0, 2.0\] -> \[1.0, 3.0\]\)"
    ):
        folder.require_same("config.json", {"strengths": (1.0, 3.0), "seeds": (0,)}, "settings")
    folder.add_input("model", "m", "aaa")
    folder.add_input("task", "t", "bbb")
    with pytest.raises(ValueError, match=r'inputs that have changed \(model m: "aaa" -> "ccc"\)'):
        folder.add_input("model", "m", "ccc")
    held = [json.loads(one.read_text()) for one in (tmp_path / "inputs").iterdir()]
    assert sorted(held, key=str) == [{"model m": "aaa"}, {"task t": "bbb"}]


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(tmp_path, monkeypatch):
    from sadi_lens.apps.experiments.folder import RunFolder
    from sadi_lens.types import files

    def full(_path):
        raise OSError(28, "No space left on device")

    folder = RunFolder(tmp_path)
    path = folder.write(tmp_path / "table.csv", b"old")
    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(
        OSError,
        match=r"cannot write .*: No space left on device; make room .* What is finished is safe, run",
    ):
        folder.write(path, b"new")
    assert path.read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["table.csv", "written.json"]


def test_a_table_that_someone_changed_is_not_written_over(tmp_path):
    """An edited report.md, a results.csv of one's own in the folder of a run."""
    from sadi_lens.apps.experiments.folder import RunFolder

    folder = RunFolder(tmp_path)
    with folder.locked():
        folder.begin({"strengths": [1]})
        folder.write(tmp_path / "report.md", b"numbers")
        folder.write(tmp_path / "report.md", b"more numbers")
        for name in ("report.md", "results.csv"):
            before = (tmp_path / name).read_bytes() if (tmp_path / name).exists() else None
            (tmp_path / name).write_text("mine")
            for call in (
                lambda: folder.begin({"strengths": [1]}),
                lambda name=name: folder.write(tmp_path / name, b"new"),
            ):
                with pytest.raises(FileExistsError, match=f"{name} exists and was not written by"):
                    call()
            assert (tmp_path / name).read_text() == "mine"
            (tmp_path / name).unlink()
            if before:
                folder.write(tmp_path / name, before)
        folder.begin({"strengths": [1]})


def test_settings_that_decide_no_number_may_change():
    import dataclasses

    import sadi_lens as sl

    one = sl.apps.Experiment.from_yaml("table1")
    drawn = dataclasses.replace(one, figures=(), published=None, description="other")
    assert drawn.settings() == one.settings()
    assert dataclasses.replace(one, choose="stable").settings() != one.settings()


def test_printed_numbers_are_those_of_the_paper():
    from sadi_lens.tasks.published import published_table, published_titles

    one = published_table("table1")
    own = one[one["label"] == "SADI-HEAD"].set_index("task")["value"]
    # The printed average of the seven tasks.
    assert own.mean() == pytest.approx(70.08, abs=0.01)
    assert one[one["label"] == "SADI-HIDDEN"]["value"].mean() == pytest.approx(66.14, abs=0.01)
    eight = published_table("table8")
    assert eight[eight["label"] == "BASELINE"]["value"].mean() == pytest.approx(53.38, abs=0.01)
    assert eight[eight["label"] == "SADI-NEURON"]["value"].mean() == pytest.approx(58.33, abs=0.01)
    assert all(len(published_table(name)) for name in published_titles())
    layers = published_table("figure3b").pivot(index="layer", columns="label", values="value")
    assert layers.sum().to_dict() == {"HIDDEN": 100, "NEURON": 100}
    assert (layers.HIDDEN[31], layers.NEURON[12]) == (98, 8)
    # The best cell of every task of figure 2 is what tables 1 and 3 report, and some cells are below chance.
    sweeps = published_table("figure2")
    best = sweeps.loc[sweeps.groupby("task")["value"].idxmax()].set_index("task")
    assert best.value.to_dict() == {
        "copa": 78.8,
        "sst2": 92.2,
        "storycloze": 79.75,
        "triviaqa": 44.0,
    }
    assert best.strength["copa"] + 1 == 35
    assert len(sweeps) == 4 * 25
    assert (sweeps.value[sweeps.task == "copa"] < 50).sum() == 18
    assert set(one[one["label"] == "SADI-HIDDEN"]["component"]) == {"mlp_out"}
    times = published_table("timing")
    assert times[times.metric == "seconds"].set_index("label")["value"]["BASELINE"] == 0.71
    with pytest.raises(ValueError, match="did you mean 'table1'"):
        published_table("tabl1")


def results(model, task="copa", accuracy=0.8):
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "model": model,
                "task": task,
                "method": method,
                "component": component,
                "shots": 0,
                "scoring": "sum",
                "accuracy": accuracy,
                "low": accuracy - 0.1,
                "high": accuracy + 0.1,
                "n": 60,
            }
            for method, component in (("unsteered", ""), ("sadi", "head"))
        ]
    )


def test_a_run_is_laid_beside_the_printed_row_with_a_warning_for_another_model():
    from scipy import stats

    from sadi_lens.tasks.published import beside

    with pytest.warns(UserWarning, match="tiny beside LLaMA2-7B-chat.*says nothing"):
        table = beside(results("tiny"), "table1")
    row = table[table["label"] == "SADI-HEAD"].iloc[0]
    assert (row["theirs"], row["difference"]) == (78.80, pytest.approx(1.2))
    wilson = stats.binomtest(394, 500).proportion_ci(0.95, method="wilson")
    assert row["theirs_low"] == pytest.approx(100 * wilson.low)
    assert "tiny" in table.attrs["warning"]
    assert "best of a grid on the evaluation set" in table.attrs["caution"]
    same = beside(results("LLaMA2-7B-chat"), "table1")
    assert same.attrs["warning"] == ""
    assert "hold the gain of choosing" in same.attrs["caution"]
    assert len(same) == 2
    assert not len(beside(results("tiny", task="hints"), "table1"))
    cell = {"k": 4.0, "strength": 14.0}
    with pytest.warns(UserWarning, match="tiny beside LLaMA2-7B-chat"):
        (row,) = beside(results("tiny").assign(**cell), "figure2").to_dict("records")
    assert row["theirs"] == 0.8


def test_the_errors_of_truthfulqa_are_by_cluster():
    """Two copies of each of twenty items: CR1 by hand, sqrt(sum of the clusters' squared sums x 20 / 19) / 40."""
    from types import SimpleNamespace

    import numpy as np

    from sadi_lens.apps.experiments.cells import Cell
    from sadi_lens.apps.experiments.report import _truthful

    fields = dict.fromkeys(Cell.__dataclass_fields__, "x")
    values = np.repeat(np.random.default_rng(0).random(20), 2)
    clusters = np.repeat(np.arange(20), 2)
    found = {
        Cell(**fields): {
            "truthful": {"mc2": values},
            "test": {"sum": SimpleNamespace(clusters=clusters)},
        }
    }
    sums = np.bincount(clusters, weights=values - values.mean())
    wanted = ((sums**2).sum() * 20 / 19) ** 0.5 / 40
    # The spread of 40 values is with n - 1.
    assert _truthful(found).standard_error[0] == pytest.approx(wanted * (40 / 39) ** 0.5)


def test_seeds_are_summarised():
    import pandas as pd

    from sadi_lens.apps.experiments.report import AXES, summarise_seeds

    rows = [
        {
            **dict.fromkeys(AXES, "x"),
            "seed": seed,
            "scoring": "sum",
            "accuracy": value,
            "gain": value - 0.5,
        }
        for seed, value in ((0, 0.5), (1, 0.7), (2, 0.6))
    ]
    found = summarise_seeds(pd.DataFrame(rows)).iloc[0]
    assert (found["seeds"], found["lowest"], found["highest"]) == (3, 0.5, 0.7)
    assert found["mean"] == pytest.approx(0.6)
    assert found["sd"] == pytest.approx(0.1)
    assert found["mean_gain"] == pytest.approx(0.1)


def test_the_pairs_figure_has_a_line_a_component_and_the_unsteered_line():
    import numpy as np
    import pandas as pd

    from sadi_lens.plots import accuracy_by_pairs

    same = {"model": "m", "task": "t", "n": 50, "chance": 0.5, "seed": 0}
    base = {**same, "method": "unsteered", "component": "", "n_pairs_used": np.nan, "accuracy": 0.4}
    steered = [
        {
            **same,
            "method": "sadi",
            "component": c,
            "seed": s,
            "n_pairs_used": n,
            "accuracy": n / 100 + s / 10,
        }
        for c in ("head", "neuron")
        for s in (0, 1)
        for n in (10, 20)
    ]
    rows = [base, *steered]
    figure = accuracy_by_pairs(pd.DataFrame(rows))
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [line.name for line in lines] == ["sadi, head", "sadi, neuron"]
    np.testing.assert_allclose(lines[0].y, [15, 25], rtol=1e-6)
    assert figure.layout.xaxis.title.text == "contrastive pairs"
    assert [shape.y0 for shape in figure.layout.shapes] == [40, 50]
    # From 10 and 20% to 25%, all below the unsteered 40%.
    assert figure.layout.title.text == "Pairs needed for 90% of the full gain: no gain with 20"
    with pytest.raises(ValueError, match="at least one steered row"):
        accuracy_by_pairs(pd.DataFrame(rows[:1]))


@pytest.mark.parametrize(
    ("low", "holm_p", "answer"),
    [(0.02, 0.01, "10 of 20"), (-0.01, 0.01, None), (0.02, 0.2, None)],
)
def test_the_pairs_figure_asks_for_a_gain_that_is_told_from_zero(low, holm_p, answer):
    import pandas as pd

    from sadi_lens.plots import accuracy_by_pairs

    row = {"model": "m", "task": "t", "method": "sadi", "component": "head", "n": 50, "chance": 0.5, "seed": 0,
           "n_pairs_used": 10, "accuracy": 0.6, "gain_low": 0.1, "gain_high": 0.3, "holm_p": 0.001}  # fmt: skip
    most = {**row, "n_pairs_used": 20, "gain_low": low, "holm_p": holm_p}
    base = {**row, "method": "unsteered", "component": "", "accuracy": 0.4}
    title = accuracy_by_pairs(pd.DataFrame([base, row, most])).layout.title.text
    assert title.endswith(f": {answer or 'no gain told from zero with 20'}")


def test_the_pairs_figure_averages_over_seeds_alone():
    import pandas as pd

    from sadi_lens.plots import accuracy_by_pairs

    row = {"model": "m", "task": "t", "scoring": "sum", "shots": 0, "method": "sadi", "component": "head", "n": 50,
           "ranking": "signed", "n_pairs_used": 10, "chance": 0.5, "seed": 0, "accuracy": 0.4}  # fmt: skip
    for name, other in (("model", "m2"), ("task", "t2"), ("scoring", "pmi"), ("shots", 4)):
        with pytest.raises(ValueError, match=f"results must be of one {name}, got"):
            accuracy_by_pairs(pd.DataFrame([row, {**row, name: other}]))
    figure = accuracy_by_pairs(pd.DataFrame([row, {**row, "ranking": "effect", "accuracy": 0.6}]))
    lines = {one.name: one.y[0] for one in figure.data if one.mode == "lines+markers"}
    assert lines == pytest.approx({"sadi, head, signed": 40, "sadi, head, effect": 60})
    with pytest.raises(
        ValueError, match=r"results must have the columns .*; it lacks seed, accuracy"
    ):
        accuracy_by_pairs(pd.DataFrame([row]).drop(columns=["seed", "accuracy"]))
    with pytest.raises(TypeError, match="results must be a data frame, got list"):
        accuracy_by_pairs([row])


def test_figures_of_several_models_and_scorings_are_apart(head_differences):
    import pandas as pd

    import sadi_lens as sl
    from sadi_lens.apps.experiments.cells import cells_of
    from sadi_lens.apps.experiments.figures import figures_of

    experiment = sl.apps.Experiment.from_dict(
        {"name": "x", "tasks": "hints", "models": ["a", "b"], "scorings": ["sum", "pmi"],
         "figures": ["layers", "differences", "pairs"]}
    )  # fmt: skip
    held = {"sweep": None, "choice": None, "differences": head_differences}
    cells = [cell for cell in cells_of(experiment) if cell.method == "sadi"]
    masks = [sl.top_k_mask(head_differences, k) for k in (2, 3)]
    found = {one: {**held, "mask": mask} for one, mask in zip(cells, masks, strict=True)}
    rows = [
        {"model": cell.model, "task": "hints", "shots": 0, "scoring": scoring, "method": "sadi", "component": "head",
         "n_pairs_used": 10, "seed": 0, "accuracy": 0.5, "n": 8, "chance": 0.5}
        for cell in cells for scoring in ("sum", "pmi")
    ]  # fmt: skip
    figures = figures_of(experiment, found, {"results": pd.DataFrame(rows)})
    assert sorted(figures) == sorted(
        f"{what}_hints-{model}{more}"
        for model in "ab"
        for what, more in (("layers", ""), ("differences", "_head"), ("pairs", ""))
    )


@pytest.mark.parametrize(
    "name", ["mine.csv", "mine.tsv", "mine.parquet", "mine.jsonl.gz", "mine.ndjson", "./mine"]
)
def test_rows_of_ones_own_are_taken_in_every_format_that_load_task_reads(
    name, tmp_path, monkeypatch
):
    import pandas as pd

    import sadi_lens as sl

    written = tmp_path / "written.jsonl"
    sl.tasks.write_task(sl.load_task("hints"), written)
    rows = [json.loads(line) for line in written.read_text().splitlines()]
    path = tmp_path / name
    if name == "./mine":
        path.mkdir()
        written.rename(path / "rows.jsonl")
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix in (".gz", ".ndjson"):
        pd.DataFrame(rows).to_json(path, orient="records", lines=True)
    else:
        texts = [
            {key: one if isinstance(one, str) else json.dumps(one) for key, one in row.items()}
            for row in rows
        ]
        pd.DataFrame(texts).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    monkeypatch.chdir(tmp_path)
    spec = sl.apps.TaskSpec(name)
    assert (spec.is_file, spec.label) == (True, "mine")
    own, wanted = spec.load(), sl.load_task("hints")
    assert own.pairs == wanted.pairs
    assert [one.prompt for one in own.test] == [one.prompt for one in wanted.test]
