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


def test_the_demo_table_is_that_of_the_run_beside_the_figures():
    """Accuracies, gains with their intervals and places among random masks, digit for digit."""
    from sadi_lens.types.results.table import points_text
    from sadi_lens.types.store import read_json

    text = README.read_text(encoding="utf-8")
    table = text[text.index("| `sadi-lens demo` |") :].split("\n\n")[0]
    rows = read_json(README.parent / "figures" / "results.json")["comparison"].rows
    found = {row.label: row for row in rows}
    for line, label in (("paper's ranking", "signed"), ("by their effect", "effect")):
        row = found[f"SADI head ({label} ranking)"]
        (own,) = [one for one in table.splitlines() if one.startswith("| SADI") and line in one]
        assert f"| {row.accuracy:.1%} | {points_text(row.gain, row.gain_interval)} |" in own
        assert f"p {row.null_p:.3f}".rstrip("0") in own
    fixed = [found[f"fixed, same mask, same {one}"] for one in ("coefficient", "norm", "mean push")]
    assert " / ".join(f"{100 * one.accuracy:.1f}" for one in fixed) + "%" in table
    assert " / ".join(f"{100 * one.gain:+.1f}" for one in fixed) in table
