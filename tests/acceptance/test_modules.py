"""A module is short enough to be read at once."""

from pathlib import Path

import sadi_lens as sl


def test_no_module_is_longer_than_300_lines():
    lengths = {
        str(one): len(one.read_text(encoding="utf-8").splitlines())
        for one in Path(sl.__file__).parent.rglob("*.py")
    }
    assert len(lengths) > 200
    assert {name: n for name, n in lengths.items() if n > 300} == {}
