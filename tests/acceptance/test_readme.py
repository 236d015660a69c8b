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


PAGES = [
    *(README.parent / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(one for one in README.parent.glob("docs/*.md") if one.name != "gallery.md"),
    *sorted(README.parent.glob("docs/howto/*.md")),
]
"""As they stand in the repository; the gallery and the pages of the API are made by ``make docs``."""


def anchors(page):
    """Of its headings, as they are made on a forge and on the site."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda one: one.name)
def test_every_link_of_a_page_leads_somewhere_also_without_the_site(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


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
