"""Writing and exchanging beside what the system refuses."""

import ctypes
import errno
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def folders(tmp_path):
    """An old folder and a new one beside it."""
    from sadi_lens.types import files

    place = tmp_path / "place"
    new = files.partial(place)
    for folder in (place, new):
        folder.mkdir()
        (folder / ("new" if folder == new else "old")).touch()
    return new, place


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="no exchange in one step")
def test_a_folder_is_replaced_in_one_step(folders, monkeypatch):
    """Nothing is renamed, so its place is never empty."""
    from sadi_lens.types import files

    new, place = folders
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("renamed"))
    files.replace_folder(new, place)
    assert (names(place), names(place.parent)) == (["new"], ["place"])


def refusing(number):
    def failed(*_args):
        ctypes.set_errno(number)
        return -1

    return lambda *_args, **_options: SimpleNamespace(renameat2=failed, renamex_np=failed)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
def test_where_folders_cannot_be_exchanged_they_are_renamed(folders, monkeypatch, number):
    from sadi_lens.types import files

    new, place = folders
    monkeypatch.setattr(ctypes, "CDLL", refusing(number))
    files.replace_folder(new, place)
    assert (names(place), names(place.parent)) == (["new"], ["place"])


def test_an_exchange_that_is_not_allowed_leaves_the_old_folder(folders, monkeypatch):
    from sadi_lens.types import files

    new, place = folders
    monkeypatch.setattr(ctypes, "CDLL", refusing(errno.EACCES))
    with pytest.raises(PermissionError, match="place"):
        files.replace_folder(new, place)
    assert names(place) == ["old"]


def test_a_copy_that_cannot_be_kept_either_leaves_nothing(tmp_path, monkeypatch):
    """The name is too long for any folder; then there is no temporary folder at all."""
    from sadi_lens.types import files

    (tmp_path / "out").mkdir()
    (tmp_path / "temporary").mkdir()
    for temporary in ("temporary", "missing"):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / temporary))
        with pytest.raises(OSError, match=r"cannot write .*; make room") as caught:
            files.write_or_keep(tmp_path / "out" / ("x" * 300), b"data")
        assert "Nothing is lost" not in str(caught.value)
        assert names(tmp_path / "out") == names(tmp_path / "temporary") == []
