"""kill -9 at random moments (``make kills`` does it 200 times)."""

import os

import pytest
from forked import forked


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process, needs os.fork")
def test_a_kill_leaves_the_old_or_the_new(tmp_path):
    from kills import kill_many

    found = kill_many(tmp_path, 20, ("save", "export_folded", "results", "figures"))
    assert found.total() == 20
    assert sum(count for name, count in found.items() if name.endswith("killed")) >= 5


def test_where_two_folders_cannot_be_exchanged_in_one_step_the_old_one_is_restored(
    tmp_path, monkeypatch
):
    """As on Windows and some network file systems: killed between the two renames, then called again."""
    from pathlib import Path

    from sadi_lens.types import files

    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    place = tmp_path / "folded"
    (place / "sub").mkdir(parents=True)
    real = Path.rename

    def killed():
        new = files.partial(place)
        new.mkdir()

        def rename(self, target):
            if self == new:
                os._exit(9)
            return real(self, target)

        Path.rename = rename
        files.replace_folder(new, place)

    one = forked(killed)
    one.join()
    assert one.exitcode == 9
    assert not place.exists()
    files.remove_abandoned(place)
    assert [path.name for path in tmp_path.iterdir()] == ["folded"]
    assert (place / "sub").is_dir()
    new = files.partial(place)
    new.mkdir()
    files.replace_folder(new, place)
    assert [path.name for path in tmp_path.iterdir()] == ["folded"]
    assert not list(place.iterdir())


def test_what_another_living_process_writes_is_not_taken_for_abandoned(tmp_path):
    from sadi_lens.types import files

    mine = files.partial(tmp_path / "a.html")
    mine.touch()
    names = [
        mine.name.replace(files._host(), "0" * 8),
        mine.name.replace("a.html", "b.html"),
        ".a.html.sadi_lens-partial",
    ]
    for name in names:
        (tmp_path / name).touch()
    dead = tmp_path / mine.name.replace(f".{os.getpid()}.", ".4194304000.")
    dead.touch()
    files.remove_abandoned(tmp_path / "a.html")
    assert {one.name for one in tmp_path.iterdir()} == {mine.name, *names}
