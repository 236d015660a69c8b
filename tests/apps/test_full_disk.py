"""A disk that takes no more, at any moment: one clear line, exit code 1, and it goes on after making room."""

import os
import shutil
import subprocess

import pytest
from pairwise import all_but

YAML = "tasks: hints\nks: {head: [2, 4]}\nstrengths: [1, 3]\nmethods: [sadi, random]\n" \
       "sizes: {pairs: 12, dev: 12, test: 12}\n"  # fmt: skip


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own: ``disk(kB)`` makes or resizes it."""
    place = tmp_path / "disk"
    place.mkdir()

    def sized(kilobytes):
        mounted = os.path.ismount(place)
        options = f"{'remount,' if mounted else ''}size={kilobytes}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a small tmpfs cannot be mounted here (needs root)")
        return place

    yield sized
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


def invoke(*arguments):
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app

    done = CliRunner().invoke(app, [str(one) for one in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with ``full.yaml`` and the run of it that nothing stopped, in ``whole``."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "full.yaml").write_text(YAML)
    done = invoke("run", folder / "full.yaml", "--out", folder / "whole")
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("size", all_but([60, 400], [12, 60, 150, 400]))
def test_a_run_on_a_full_disk_ends_in_one_line_and_goes_on_after_making_room(whole, disk, size):
    place = disk(size)
    done = invoke("run", whole / "full.yaml", "--out", place / "run")
    assert done.exit_code == 1, done.output
    words = " ".join(done.output.split())
    assert "No space left on device; make room or give another place" in words
    assert "Traceback" not in words
    again = invoke("run", whole / "full.yaml", "--out", disk(20_000) / "run")
    assert again.exit_code == 0, again.output
    for name in ("results.csv", "items.parquet"):
        assert (place / "run" / name).read_bytes() == (whole / "whole" / name).read_bytes()
    assert not list(place.rglob("*.sadi_lens-partial"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "sizes"),
    [
        pytest.param(
            ["demo", "--n-null", "20", "--no-tune-null"], (60, 400), marks=pytest.mark.full
        ),
        (["compare", "--n-null", "0", "--budget", "2", "--methods", "sadi-head,random"], (8, 60)),
    ],
    ids=["demo", "compare"],
)
def test_a_command_on_a_full_disk_ends_in_one_line_and_runs_after_making_room(
    tmp_path, disk, command, sizes, monkeypatch
):
    from kills import few_rows

    from sadi_lens.types.store import read_json

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "few.jsonl").write_text(few_rows())
    words = [*command, "--task", tmp_path / "few.jsonl", "--no-png"]
    refused = 0
    for size in sizes:
        out = disk(size) / "out"
        done = invoke(*words, "--out", out)
        said = " ".join(done.output.split())
        assert "Traceback" not in said
        refused += done.exit_code
        assert done.exit_code == (1 if "No space left on device; make room" in said else 0), said
        assert not list(out.rglob("*.sadi_lens-partial"))
    assert refused
    out = disk(20_000) / "out"
    for place in (out, tmp_path / "whole"):
        done = invoke(*words, "--out", place)
        assert done.exit_code == 0, done.output
    tables = [read_json(one / "results.json")["comparison"] for one in (out, tmp_path / "whole")]
    one, two = (
        table.frame().drop(columns=["seconds", "choice_seconds"]).to_csv() for table in tables
    )
    assert one == two


@pytest.mark.parametrize("size", [4, 8, 60, 150, 400])
def test_everything_else_that_writes_leaves_the_old_one(
    disk, size, llama, head_differences, tmp_path, monkeypatch
):
    import plotly.graph_objects as go

    import sadi_lens as sl
    from sadi_lens.apps.web import write_page
    from sadi_lens.plots import export
    from sadi_lens.types.store import read_json, write_json

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "disk"))  # the copy has no room either
    mask = sl.top_k_mask(head_differences, 3)
    place = disk(20_000)
    sl.save(mask, place / "saved")
    write_json({"x": 1}, place / "results.json")
    write_page("<p>old", place / "page.html", "report")
    export({"f": go.Figure()}, place / "figures", png=False)
    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1)], llama), 2.0)
    folded = sl.interventions.export_folded(llama, scaling, place / "folded")
    before = {one: one.read_bytes() for one in place.rglob("*") if one.is_file()}
    used = sum(-(-len(data) // 4096) * 4 for data in before.values())
    disk(used + 40 + size)
    (place / "ballast").write_bytes(b"")
    with (place / "ballast").open("wb") as file:  # to the last block but `size`
        while shutil.disk_usage(place).free > size * 1024:
            file.write(b"0" * 4096)
            file.flush()
    import numpy as np

    big = np.random.default_rng(0).normal(size=200_000)
    for write in (
        lambda: sl.save({"big": big}, place / "saved"),
        lambda: sl.save({"big": big}, place / "other"),
        lambda: write_json({"big": big}, place / "results.json"),
        lambda: write_page("x" * 1_000_000, place / "page.html", "report"),
        lambda: export({"f": go.Figure(go.Scatter(y=big))}, place / "figures", png=False),
        lambda: sl.interventions.export_folded(
            llama, sl.MaskedScaling(scaling.mask, 3.0), folded, overwrite=True
        ) if size < 60 else write_page("x" * 1_000_000, place / "page.html", "report"),
    ):  # fmt: skip
        with pytest.raises(OSError, match=r"cannot write .*: No space left on device; make room"):
            write()
        after = {
            one: one.read_bytes()
            for one in place.rglob("*")
            if one.is_file() and one.name != "ballast"
        }
        assert after == before
    disk(40_000)
    sl.save({"big": big}, place / "saved")
    assert read_json(place / "results.json") == {"x": 1}
