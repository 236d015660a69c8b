"""The README's blocks of code run as they stand, one after the other, and its figures are there."""

import re
import runpy
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.slow
def test_the_code_runs(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 2
    (tmp_path / "first.py").write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(tmp_path / "first.py"))
    assert found["effect"].values.shape == found["differences"]["head"].mean.shape
    assert (tmp_path / "heads.html").stat().st_size > 1000
    assert capsys.readouterr().out.count(": accuracy ") == 2


def test_every_linked_file_exists():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
