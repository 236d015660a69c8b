"""Every writer against every file that this library writes: only an earlier file of the same kind is replaced."""

import shutil

import pytest

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IEND\xaeB`\x82"
RESULTS = {"finding": "x", "settings": {"n": 1}}
# Writer -> name of the file that it writes.
NAMES = {
    "results": "x.json", "report": "x.html", "explorer": "x.html", "figure": "x.html", "library": "plotly.min.js",
    "picture": "x.png", "saved": "config.json", "task": "x.jsonl", "harness": "x.jsonl", "folded": "sadi_lens.json",
    "table": "x.csv", "record": "written.json",
}  # fmt: skip
ONCE = {"task", "harness"}
"""Writers that replace nothing at all."""


@pytest.fixture(scope="module")
def writers(llama):
    """Writer -> a function that writes to a folder."""
    import plotly.graph_objects as go

    import sadi_lens as sl
    from sadi_lens.apps.experiments.folder import RunFolder
    from sadi_lens.apps.report import write_report
    from sadi_lens.apps.web import write_page
    from sadi_lens.interop.lm_eval_files import export_lm_eval_task
    from sadi_lens.plots import export
    from sadi_lens.types.files import require_place, write_whole
    from sadi_lens.types.seals import EXPLORER, seal
    from sadi_lens.types.store import write_json

    mask = sl.Mask.from_units("head", [(0, 1)], llama)
    samples = [sl.Sample("a", (" b", " c"), 0)]

    def picture(folder):  # as ``export`` does, without a browser
        require_place(folder / "x.png")
        write_whole(folder / "x.png", seal(PICTURE, ".png"))

    def figure(folder):
        export({"x": go.Figure()}, folder, png=False)

    def table(folder):
        RunFolder(folder).write(folder / "x.csv", b"a,b\n")

    def folded(folder):
        scaling = sl.MaskedScaling(mask, 2.0)
        sl.interventions.export_folded(llama, scaling, folder, overwrite=True)

    return {
        "results": lambda folder: write_json(RESULTS, folder / "x.json"),
        "report": lambda folder: write_report(RESULTS, folder / "x.html"),
        "explorer": lambda folder: write_page("<p>explorer", folder / "x.html", EXPLORER),
        "figure": figure,
        "library": figure,
        "picture": picture,
        "saved": lambda folder: sl.save(mask, folder),
        "task": lambda folder: sl.tasks.write_task(sl.Task("t", test=samples), folder / "x.jsonl"),
        "harness": lambda folder: export_lm_eval_task(samples, folder, name="x"),
        "folded": folded,
        "table": table,
        "record": table,
    }


@pytest.fixture(scope="module")
def written(writers, tmp_path_factory):
    """Writer -> a file of its kind."""
    found = {}
    for name, write in writers.items():
        folder = tmp_path_factory.mktemp(name) / "place"
        if name in ("table", "record"):
            folder.mkdir()
        write(folder)
        found[name] = folder / NAMES[name]
    return found


@pytest.mark.parametrize("held", NAMES)
@pytest.mark.parametrize("writer", NAMES)
def test_a_writer_replaces_files_of_its_own_kind_alone(writer, held, writers, written, tmp_path):
    whole = held == writer  # a rerun, where a folder is written into the folder of before
    folder = tmp_path / "place"
    if whole:
        shutil.copytree(written[held].parent, folder)
    else:
        folder.mkdir()
        shutil.copy(written[held], folder / NAMES[writer])
    path, before = folder / NAMES[writer], written[held].read_bytes()
    if whole and writer not in ONCE:
        writers[writer](folder)
    else:
        with pytest.raises((FileExistsError, ValueError), match="place"):
            writers[writer](folder)
        assert path.read_bytes() == before
    assert not [one for one in folder.iterdir() if "partial" in one.name]


@pytest.mark.parametrize("name", ["page.png", "page.json", "page", "page.html"])
def test_a_rerun_replaces_its_own_file_whatever_it_is_called(name, tmp_path):
    """The seal is in the contents; an ending that does not fit them does not hide it."""
    from sadi_lens.apps.web import write_page
    from sadi_lens.types.seals import REPORT
    from sadi_lens.types.store import write_json

    for text in ("<p>first", "<p>second"):
        write_page(text, tmp_path / "a" / name, REPORT)
        write_json({"finding": text}, tmp_path / "b" / name)
    for folder in ("a", "b"):
        assert b"<p>second" in (tmp_path / folder / name).read_bytes()


def test_a_page_of_before_seals_named_kinds_is_replaced_by_a_page_and_results_are_not(tmp_path):
    from sadi_lens.apps.report import write_report
    from sadi_lens.types.seals import sha256
    from sadi_lens.types.store import read_json, write_json

    old = b"<p>old\n"
    path = tmp_path / "report.html"
    path.write_bytes(old + f"<!-- sadi_lens sha256 {sha256(old)} -->\n".encode())
    with pytest.raises(FileExistsError, match=r"another kind \(page\), which no results of a run"):
        write_json(RESULTS, path)
    write_report(RESULTS, path)
    assert b"sadi_lens report sha256" in path.read_bytes()
    source = write_json(RESULTS, tmp_path / "results.json")
    with pytest.raises(
        FileExistsError, match=r"another kind \(results of a run\), which no report"
    ):
        write_report(source, source)
    assert read_json(source) == RESULTS


def test_the_command_line_refuses_its_source_as_its_target(tmp_path):
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app
    from sadi_lens.types.store import read_json, write_json

    source = write_json(RESULTS, tmp_path / "results.json")
    for words in (
        ["report", tmp_path, "--out", source],
        ["explorer", "--out", source],
        ["task", "hints", "--out", source],
        ["demo", "--out", source],
        ["compare", "--out", source],
        ["run", "table4", "--out", source],
    ):
        done = CliRunner().invoke(app, [str(one) for one in words])
        assert done.exit_code == 1, done.output
        assert "results.json" in "".join(done.output.split())
        assert read_json(source) == RESULTS
        assert [one.name for one in tmp_path.iterdir()] == ["results.json"]
