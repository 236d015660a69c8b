"""The lesson on your own model, with other models: it runs, and what does not hold is said, not raised."""

import os
from pathlib import Path

import pytest

LESSON = Path(__file__).parents[2] / "notebooks" / "06_your_own_model.ipynb"


@pytest.mark.full  # the lesson itself runs in ``make lessons``
@pytest.mark.parametrize("name", ["craftgpt-5m", "stories260K"])
def test_the_first_page_runs_on_another_model(name, assets, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    folder = assets / "models" / name
    if not folder.is_dir():
        pytest.skip(f"no {name} among the assets")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    monkeypatch.setenv(
        "PYTHONPATH",
        os.pathsep.join(filter(None, [str(LESSON.parents[1]), os.environ.get("PYTHONPATH")])),
    )
    notebook = nbformat.read(LESSON, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert 'MODEL = "tiny"' in first.source
    first.source = first.source.replace('MODEL = "tiny"', f"MODEL = {str(folder)!r}")
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    last = notebook.cells[-1].outputs[0].text
    assert last.count("on ") >= 4
    assert "holds on" in last
    assert " on tiny" not in last
