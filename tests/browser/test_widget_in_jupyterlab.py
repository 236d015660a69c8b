"""The live explorer in a real JupyterLab: callbacks in another thread, figures that fill, sliders that stay alive."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

SETUP = """import torch
torch.set_num_threads(1)
import sadi_lens as sl
model, task = sl.load_model("tiny"), sl.load_task("hints")
differences = sl.activation_differences(model, task.pairs[:30], progress=False)["head"]
explorer = sl.apps.SteeringExplorer(model, task, differences)"""
STATE = """() => [...document.querySelectorAll(".js-plotly-plot")].map(
  (plot) => plot.data.map((trace) => ({ n: trace.x?.length, first: trace.x?.[0], color: trace.marker?.color })))"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on a folder with one notebook, its settings kept apart from the user's."""
    nbformat = pytest.importorskip("nbformat", reason="the notebook extra is not installed")
    pytest.importorskip("jupyterlab", reason="the notebook extra is not installed")
    folder = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell(one) for one in (SETUP, "explorer.widget()")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (folder / "work").mkdir()
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "work" / "demo.ipynb"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR",
    )
    environment = {
        **os.environ,
        **{name: str(folder / name.lower()) for name in names},
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder / 'work'}",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        else:
            server.kill()
            pytest.fail((folder / "log").read_text()[-2000:])
        yield address
        server.terminate()
        server.wait(timeout=30)


@pytest.mark.full  # half a minute, most of it JupyterLab's own
def test_the_widget_fills_and_lives_on_in_jupyterlab(chromium, lab):
    page = chromium.new_context(viewport={"width": 1400, "height": 1300}).new_page()
    page.set_default_timeout(180_000)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{lab}/lab/tree/demo.ipynb?reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_function(
        "/Python 3.*\\| Idle/.test(document.querySelector('#jp-main-statusbar')?.innerText)"
    )
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(
        "document.querySelectorAll('.js-plotly-plot').length === 2 && "
        "[...document.querySelectorAll('.js-plotly-plot')].every((plot) => plot.data?.length > 1)"
    )
    says = (
        "[...document.querySelectorAll('.widget-html-content')].map((one) => one.innerText).join()"
    )
    strength = page.locator(".widget-slider .noUi-handle").nth(1)
    for _ in range(3):
        before, text = page.evaluate(STATE)[0][1]["first"], page.evaluate(says)
        strength.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"(before) => {says} !== before", arg=text)
        page.wait_for_function(
            "(before) => document.querySelector('.js-plotly-plot').data[1].x[0] !== before",
            arg=before,
        )
    bars, elements = page.evaluate(STATE)
    assert bars[0]["n"] == bars[1]["n"] >= 4
    assert [one["color"] for one in bars] == ["#5a616b", "#0072b2"]
    k = int(page.locator(".widget-readout").nth(0).inner_text())
    assert elements[-1]["n"] == 6 * k
    page.locator(".widget-slider .noUi-handle").nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "(n) => [...document.querySelectorAll('.js-plotly-plot')].at(-1).data.at(-1).x.length === n",
        arg=6 * (k + 1),
    )
    page.get_by_role("button", name="write on").click()
    page.wait_for_function(f"{says}.includes('steered: ')")
    assert errors == []
    assert page.locator("[data-mime-type*=error], [data-mime-type*=stderr]").count() == 0
