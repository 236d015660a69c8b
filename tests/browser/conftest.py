"""A headless Chromium, and pages that remember what they fetched and complained about."""

import shutil

import pytest


@pytest.fixture(scope="module")
def chromium():
    """The system's Chromium, headless; skip where there is none. While it is there, this thread has an event loop."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium or google-chrome on PATH")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def opening(chromium):
    """``open_page``, and closes what it opened."""
    contexts = []

    def open_file(path, fragment="", *, width=1280, height=900, scheme="light"):
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.fetched, page.complaints = [], []
        page.on("request", lambda request: page.fetched.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(path.as_uri() + fragment)
        page.wait_for_function(
            "[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('.main-svg'))"
        )
        return page

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(chromium):
    """Open a file; what it fetches and complains about is in ``.fetched`` and ``.complaints``."""
    yield from opening(chromium)


@pytest.fixture(scope="module")
def open_once(chromium):
    """``open_page`` for a page that several tests look at."""
    yield from opening(chromium)
