"""Run lessons from a fresh kernel and write them back so that they can be read without one.

    python .ci/notebooks.py notebooks/*.ipynb

Figures are kept as PNG and as interactive Plotly in one output. Progress bars, widget state, timings and everything
else that a second run would change is dropped. A cell that fails stops the run, and nothing is written.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

SETTINGS = {
    "PLOTLY_RENDERER": "plotly_mimetype+png",
    "SADI_LENS_STATIC": "1",  # a widget shows its static form
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # a model this small is slower on two threads
}
FOLDED = {"hide-input": "source_hidden", "hide-output": "outputs_hidden"}
"""Tag, which the documentation reads -> what JupyterLab calls the same."""
WIDGET = "application/vnd.jupyter.widget-view+json"


def run(path: Path) -> None:
    """Execute one notebook and write it back."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    clean(notebook, path.stem)
    nbformat.write(notebook, path)


def clean(notebook: Any, name: str) -> None:
    """Keep what a reader sees and a second run repeats."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"{name[:40]}-{index:02d}".replace("_", "-")
        tags = cell.metadata.get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
        hidden = {name: True for tag, name in FOLDED.items() if tag in (tags or ())}
        if hidden:
            cell["metadata"]["jupyter"] = hidden
        if cell.cell_type == "code":
            cell["outputs"] = [
                output for output in cell.outputs if WIDGET not in output.get("data", {})
            ]


def main(paths: list[str]) -> None:
    """Run every notebook named."""
    os.environ.update(SETTINGS)
    for path in map(Path, paths):
        start = time.monotonic()
        run(path)
        size = path.stat().st_size / 1e6
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {size:.2f} MB", flush=True)  # noqa: T201  # a command line


if __name__ == "__main__":
    main(sys.argv[1:])
