"""What the command line does to folders that hold something: everything that it did not write stays, byte for byte."""

import os

import pytest

FILES = {
    ".bashrc": "alias ll='ls -l'\n",
    ".ssh/id_ed25519": "key",
    "repo/.git/HEAD": "ref: refs/heads/main\n",
    "repo/.git/objects/.tmp": "x",
    "repo/.env": "TOKEN=1",
    "repo/figures/sweep.png": "a photo",
    "repo/figures/method_accuracy.html": "<p>mine</p>",
    "repo/results.json": '{"accuracy": 0.5}',
    "repo/report.html": "<p>mine</p>",
    "repo/explorer.html": "<p>mine</p>",
    "model/config.json": '{"model_type": "llama"}',
    "model/model.safetensors": "weights",
    "model/.cache/x": "1",
    "web/package.json": "{}",
    "web/config.json": "[]",
    "web/src/.eslintrc": "{}",
    "web/public/index.html": "<html></html>",
    "notebooks/01.ipynb": "{}",
    "notebooks/.ipynb_checkpoints/01.ipynb": "{}",
    "notebooks/figures/my_own.png": "mine",
    "thesis.txt": "chapter 1",
}
YAML = "tasks: hints\nks: {head: 2}\nstrengths: [1]\nsizes: {pairs: 6, dev: 4, test: 4}\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder as people have it, with old outputs of ours."""
    from sadi_lens.types.store import save, write_json

    folder = tmp_path_factory.mktemp("home")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "read_only.html").write_text("<p>mine</p>")
    (folder / "read_only.html").chmod(0o444)
    (folder / "link.html").symlink_to(folder / "thesis.txt")
    (folder / "mine.yaml").write_text(YAML)
    write_json({"settings": {"old": True}}, folder / "old" / "results.json")
    save({"an": "artifact"}, folder / "saved")
    return folder


def contents(folder):
    """Path -> contents of a file, target of a link, None for a folder."""
    return {
        str(path.relative_to(folder)): os.readlink(path)  # noqa: PTH115  # as text
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


def invoke(arguments):
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app

    done = CliRunner().invoke(app, [str(one) for one in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


PLACES = [
    "repo", "model", "web", "thesis.txt", "read_only.html", "link.html", "saved", "old", ".ssh/id_ed25519/x",
]  # fmt: skip
FOLDERS = {"demo", "compare", "run"}
COMMANDS = {
    "demo": ["demo", "--model", "/nope", "--no-png"],
    "compare": ["compare", "--model", "/nope", "--no-png"],
    "run": ["run", "{home}/mine.yaml", "--model", "/nope"],
    "explorer": ["explorer", "--model", "/nope"],
    "report": ["report", "{home}/old"],
    "figures": ["figures", "{home}/old", "--no-png"],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_fails_leaves_everything_as_it_was(home, command, place):
    before = contents(home)
    arguments = [one.format(home=home) for one in COMMANDS[command]]
    done = invoke([*arguments, "--out", home / place])
    assert done.exit_code == 1, done.output
    assert done.output.startswith("error: ")
    assert "Traceback" not in done.output
    assert contents(home) == before


def test_a_foreign_file_is_named_before_anything_is_computed(home, monkeypatch):
    """The place is looked at first: no model is loaded."""
    import sadi_lens.models.loading

    monkeypatch.setattr(
        sadi_lens.models.loading, "load_model", lambda *_, **__: pytest.fail("loaded")
    )
    for command, name in (
        ("demo", "results.json"),
        ("compare", "results.json"),
        ("explorer", "explorer.html"),
        ("report", "report.html"),
    ):
        arguments = [one.format(home=home).replace("/nope", "tiny") for one in COMMANDS[command]]
        out = home / "repo" if command in FOLDERS else home / "repo" / name
        output = " ".join(invoke([*arguments, "--out", out]).output.split())
        assert f"{name} exists and was not written by sadi_lens" in output
        assert "Move it away or give another place" in output


@pytest.fixture(scope="module")
def fast(llama_task):
    """Commands on the tiny model with the smallest settings, in the order that people use them."""
    return {
        "compare": [
            "compare", "--task", llama_task, "--methods", "sadi-head", "--n-null", "0", "--budget", "2", "--no-png",
        ],
        "figures": ["figures", "{out}/results.json", "--no-png"],
        "report": ["report", "{out}"],
        "run": ["run", "{home}/mine.yaml"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def llama_task(tmp_path_factory):
    """A task of a few rows in a file."""
    from kills import few_rows

    path = tmp_path_factory.mktemp("task") / "few.jsonl"
    path.write_text(few_rows())
    return path


@pytest.mark.slow
def test_commands_that_succeed_write_beside_what_is_there_and_touch_nothing_of_it(home, fast):
    before = contents(home)
    for out, times in ((home / "notebooks", 2), (home / "new" / "deep", 1)):
        for command, arguments in fast.items():
            words = [str(one).format(out=out, home=home) for one in arguments]
            words += ["--out", out] if command == "compare" else []
            words += ["--out", f"{out}_run"] if command == "run" else []
            for _ in range(times):  # our own outputs are replaced
                done = invoke(words)
                assert done.exit_code == 0, done.output
    after = contents(home)
    assert {name: after.get(name) for name in before} == before
    for name in ("results.json", "report.html", "figures/method_accuracy.html"):
        assert f"notebooks/{name}" in after
        assert f"new/deep/{name}" in after
    assert {"notebooks_run/report.md", "new/deep_run/results.csv"} <= set(after)
    assert not [name for name in after if "partial" in name]


def test_home_is_meant_wherever_a_path_begins_with_it(tmp_path, monkeypatch, head_differences):
    """A shell leaves ``--out=~/x`` as it is, and so does a notebook."""
    import plotly.graph_objects as go

    import sadi_lens as sl
    from sadi_lens.plots import export
    from sadi_lens.types.store import read_json, write_json

    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    mask = sl.top_k_mask(head_differences, 2)
    sl.save(mask, "~/mask")
    assert sl.load("~/mask") == mask
    write_json({"x": 1}, "~/results.json")
    assert read_json("~/results.json") == {"x": 1}
    export({"f": go.Figure()}, "~/figures", png=False)
    done = invoke(["figures", "~/results.json", "--out=~/drawn"])
    assert "does not exist" not in done.output
    done = invoke(["run", "~/none.yaml", "--out=~/run"])
    assert str(tmp_path / "home") in "".join(done.output.split("\n"))
    assert not list((tmp_path / "here").iterdir())
    assert {"mask", "results.json", "figures"} <= {
        one.name for one in (tmp_path / "home").iterdir()
    }


def test_a_place_that_became_unwritable_meanwhile_costs_no_results(tmp_path, monkeypatch):
    from sadi_lens.types import files
    from sadi_lens.types.store import read_json, write_json

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "results.json").write_text("made by someone else while it was computed")
    with pytest.raises(FileExistsError, match="Nothing is lost: it is in ") as caught:
        write_json({"settings": {"n": 1}}, tmp_path / "results.json")
    kept = str(caught.value).split("it is in ")[1]
    assert read_json(kept) == {"settings": {"n": 1}}
    monkeypatch.setattr(files.tempfile, "mkdtemp", lambda **_: "/proc/nowhere")
    with pytest.raises(FileExistsError, match="was not written by sadi_lens"):
        write_json({}, tmp_path / "results.json")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '"x"', "null", "[" * 100_000, '{"a":' * 100_000, '{"format": "sadi_lens"}', "\x00\xff",
     '{"format": "sadi_lens", "format_version": 2, "object": [], "checksum": 3}', "1" * 5000, '{"format": 1e400}',
     '{"format": "sadi_lens", "format_version": {}, "versions": 3, "object": NaN}'],
)  # fmt: skip
def test_no_file_gives_a_traceback(tmp_path, text):
    bad = tmp_path / "results.json"
    bad.write_bytes(text.encode("latin-1"))
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    (tmp_path / "model.safetensors").write_bytes(text.encode("latin-1"))
    (tmp_path / "tokenizer.json").write_bytes(text.encode("latin-1"))
    yaml = tmp_path / "mine.yaml"
    yaml.write_bytes(text.encode("latin-1"))
    before = contents(tmp_path)
    for arguments in (
        ["report", bad],
        ["report", tmp_path],
        ["figures", bad],
        ["run", yaml, "--out", tmp_path / "run"],
        ["run", "table4", "--out", tmp_path],
        ["demo", "--model", tmp_path, "--out", tmp_path / "x", "--no-png"],
        ["demo", "--task", bad, "--out", tmp_path / "x", "--no-png"],
        ["compare", "--task", bad, "--out", tmp_path / "x", "--no-png"],
        ["explorer", "--model", tmp_path, "--out", tmp_path / "x.html"],
    ):
        done = invoke(arguments)
        assert done.exit_code == 1, (arguments, done.output)
        assert done.output.startswith("error: "), (arguments, done.output)
        assert "unforeseen" not in done.output, (arguments, done.output)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("models", ["", "[3]", "[[]]", "{a: b}", "3.5", "[null]", "true"])
def test_models_of_an_experiment_must_be_names(tmp_path, models):
    path = tmp_path / "mine.yaml"
    path.write_text(f"tasks: hints\nmodels: {models}\n")
    done = invoke(["run", path, "--out", tmp_path / "run"])
    assert done.exit_code == 1
    assert "models must be text, got" in " ".join(done.output.split())
    assert not (tmp_path / "run").exists()


def test_a_mistyped_model_does_not_block_the_folder(tmp_path):
    """The folder is marked only when the model could be loaded: the corrected call is no run of other settings."""
    path = tmp_path / "mine.yaml"
    path.write_text(YAML)
    done = invoke(["run", path, "--model", "/nope", "--out", tmp_path / "run"])
    assert done.exit_code == 1
    assert not (tmp_path / "run" / "config.json").exists()
    done = invoke(["run", path, "--out", tmp_path / "run"])
    assert done.exit_code == 0, done.output


def test_a_pickle_is_not_run(tmp_path):
    """pytorch_model.bin that would make a file when it is unpickled."""
    import pickle
    import shutil
    from pathlib import Path

    import sadi_lens.models

    tiny = Path(sadi_lens.models.__file__).parent / "tiny"
    folder = tmp_path / "model"
    folder.mkdir()
    for one in tiny.glob("*.json"):
        shutil.copy(one, folder)

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    done = invoke(["demo", "--model", folder, "--out", tmp_path / "x", "--no-png"])
    assert done.exit_code == 1
    assert "pickle that holds more than tensors; it was not run" in " ".join(done.output.split())
    assert not (tmp_path / "pwned").exists()


def test_exit_codes(tmp_path, monkeypatch):
    from sadi_lens.apps import demo

    assert invoke(["demo", "--n-null", "x"]).exit_code == 2
    assert invoke(["nothing"]).exit_code == 2
    assert invoke(["figures", tmp_path / "none.json"]).exit_code == 1
    assert invoke(["report", "--help"]).exit_code == 0

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", stop)
    done = invoke(["demo", "--out", tmp_path / "x", "--no-png"])
    assert done.exit_code == 130
    assert "interrupted" in done.output
    assert not list(tmp_path.iterdir())
