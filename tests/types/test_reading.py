"""Files that anyone may have made: nothing is waited for, and what cannot be read is named."""

import os
import re
import signal
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def in_time():
    """A pipe that is opened to be read waits for its writer for good."""
    signal.alarm(20)
    yield
    signal.alarm(0)


def readers(path):
    """Everything that reads a file of a user's."""
    import sadi_lens as sl
    from sadi_lens.apps.experiments.reading import read_yaml
    from sadi_lens.tasks.files import read_lines
    from sadi_lens.types.store import read_header, read_json

    return {
        "load_task": lambda: sl.load_task(path),
        "read_lines": lambda: read_lines(path),
        "read_yaml": lambda: read_yaml(path),
        "read_header": lambda: read_header(path),
        "read_json": lambda: read_json(path),
        "sealed": lambda: sl.save({}, path.parent),
    }


@pytest.mark.parametrize("make", ["pipe", "link", "device"])
def test_a_pipe_or_device_is_refused_by_name_and_never_waited_for(tmp_path, make):
    path = tmp_path / "config.json"
    if make == "pipe":
        os.mkfifo(path)
    elif make == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to(tmp_path / "pipe")
    for name, read in readers(path).items():
        with pytest.raises(OSError, match=re.escape(str(tmp_path if name == "sealed" else path))):
            read()


def test_a_saved_object_whose_arrays_are_a_pipe_is_refused(tmp_path):
    import sadi_lens as sl

    folder = sl.save({"a": 1}, tmp_path / "saved")
    (arrays,) = folder.glob("arrays-*")
    arrays.unlink()
    os.mkfifo(arrays)
    with pytest.raises(OSError, match="is a pipe or a device"):
        sl.load(folder)
    with pytest.raises(FileExistsError, match="left alone"):
        sl.save({"a": 2}, folder)


def test_what_the_system_says_while_reading_names_the_file():
    from sadi_lens.types.store import read_json

    with pytest.raises(OSError, match="/proc/self/mem"):
        read_json("/proc/self/mem")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_texts_is_read_in_any_usual_encoding(tmp_path, encoding):
    from sadi_lens.tasks.files import read_lines

    path = tmp_path / "neutral.txt"
    path.write_bytes("Ein schöner Tag.\r\n\r\n  \nNoch einer.".encode(encoding))
    assert read_lines(path) == ["Ein schöner Tag.", "Noch einer."]
    path.write_bytes("schön".encode("latin-1"))
    with pytest.raises(ValueError, match=r"neutral.txt, line 1: not UTF-8 text"):
        read_lines(path)


@pytest.mark.parametrize("above", ["a file", "a pipe", "a broken link"])
def test_a_place_below_something_that_is_no_folder_is_refused_with_the_reason(tmp_path, above):
    import sadi_lens as sl
    from sadi_lens.types.store import write_json

    path = tmp_path / "here"
    if above == "a file":
        path.write_text("x")
    elif above == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    for write in (sl.save, write_json):
        with pytest.raises(NotADirectoryError, match=r"here is not a folder, so .*below"):
            write({"a": 1}, path / "below")


def test_a_path_that_no_file_can_have_is_refused():
    import sadi_lens as sl
    from sadi_lens.types.checks import as_path

    for call in (lambda one: sl.save({}, one), sl.load, sl.load_task):
        with pytest.raises(ValueError, match=r"must be a path, got '.ud800'"):
            call("\ud800")
    assert as_path("path", "not-utf8-\udcff") == Path("not-utf8-\udcff")
