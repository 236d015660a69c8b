"""Writing figures: one page and one picture each, and clear words where that cannot be done."""

import shutil
import struct
import subprocess
import sys

import pytest


@pytest.fixture
def figures():
    import plotly.graph_objects as go

    return {
        name: go.Figure(go.Scatter(y=[1, 2]), layout={"width": width, "height": 220, "title": name})
        for name, width in (("first", 300), ("first_dark", 400))
    }


@pytest.fixture
def no_browser(monkeypatch):
    def write_images(*_args, **_kwargs):
        raise RuntimeError("Kaleido requires\n\n Google Chrome to be installed.")

    monkeypatch.setattr("plotly.io.write_images", write_images)


def test_a_page_loads_plotly_from_beside_it_and_cannot_upload(figures, tmp_path):
    from sadi_lens import plots

    written = plots.export(figures, tmp_path / "new" / "folder", png=False)
    assert [path.name for path in written] == ["first.html", "first_dark.html"]
    page = written[0].read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert '<div id="first"' in page
    assert 'src="plotly.min.js"' in page
    assert "cdn" not in page
    library = tmp_path / "new" / "folder" / "plotly.min.js"
    made = library.stat().st_mtime_ns
    plots.export(figures, library.parent, png=False)
    assert library.stat().st_mtime_ns == made  # once for all pages
    assert len(page) < 20_000
    assert '"modeBarButtonsToRemove": ["sendChartToCloud", ' in page
    assert '"displaylogo": false' in page


def test_the_same_figure_gives_the_same_page(figures, tmp_path):
    from sadi_lens import plots

    first = [path.read_bytes() for path in plots.export(figures, tmp_path / "a", png=False)]
    assert first == [path.read_bytes() for path in plots.export(figures, tmp_path / "b", png=False)]


def test_the_title_of_a_page_is_escaped(tmp_path):
    import plotly.graph_objects as go

    from sadi_lens import plots

    figure = go.Figure(layout={"title": "a &lt;b&gt; </title><script>"})
    page = plots.export({"x": figure}, tmp_path, png=False)[0].read_text(encoding="utf-8")
    assert "<title>a &lt;b&gt;</title>" in page  # as Plotly, tags are no part of the words
    assert "<h1>a &lt;b&gt;</h1>" in page
    assert "</title><script>" not in page


def test_a_page_has_the_words_of_a_figure_as_text_and_the_drawing_without_them(tmp_path):
    import gallery

    from sadi_lens import plots
    from sadi_lens.plots._bare import bare

    figure = gallery.drawings()["sweep"](theme="dark", size="talk")
    words = bare(figure)
    (path,) = plots.export({"sweep": figure}, tmp_path, png=False)
    page = path.read_text(encoding="utf-8")
    for tag, text in (
        ("h1", words.title.replace("\n", " ")),
        ("p", words.subtitle),
        ("p", words.note),
    ):
        assert text
        assert page.count(f"<{tag}>{text}</{tag}>") == 1
    assert "position last_prompt" in words.note
    layout = words.figure.layout
    # What is left has the plot area, the legend and the axes of the figure, and its width.
    high = [one.height - one.margin.t - one.margin.b for one in (figure.layout, layout)]
    assert high[0] == high[1]
    assert layout.width == figure.layout.width
    assert [one.name for one in layout.annotations].count("note") == 0
    assert len(layout.annotations) == len(figure.layout.annotations) - 1


def test_a_note_that_is_folded_inside_a_fact_is_whole_on_a_page():
    go = pytest.importorskip("plotly.graph_objects")
    from sadi_lens.plots._bare import bare
    from sadi_lens.plots._layout import Margin, finish
    from sadi_lens.plots._theme import require_theme

    facts = (
        "read <b>at</b> the last & only token",
        " ".join(["word"] * 60),
    )  # longer than any line
    figure = go.Figure(go.Scatter(x=[1], y=[1]))
    finish(
        figure, require_theme("light", "page"), title="t", facts=("f",), note=facts,
        plot=(600, 200), margin=Margin(),
    )  # fmt: skip
    (drawn,) = (one.text for one in figure.layout.annotations)
    assert drawn.count("<br>") > 2
    assert bare(figure).note == " · ".join(facts)


@pytest.mark.slow
def test_a_page_draws_without_a_network(figures, tmp_path):
    from sadi_lens import plots

    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in the extra dev")
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no Chromium on PATH to open pages in")
    page_file = plots.export(figures, tmp_path, png=False)[0]
    with playwright.sync_playwright() as api:
        page = api.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        page.wait_for_selector("#first .main-svg")
    assert errors == []
    assert {url.rsplit("/", 1)[1] for url in asked} == {"first.html", "plotly.min.js"}
    assert all(url.startswith("file:") for url in asked)


@pytest.mark.parametrize("name", ["../up", "a b", "", "x.html"])
def test_a_name_that_is_no_file_name_is_refused_before_anything_is_written(figures, tmp_path, name):
    from sadi_lens import plots

    with pytest.raises(ValueError, match="must be letters, digits, _ or -, got"):
        plots.export({**figures, name: figures["first"]}, tmp_path / "out", png=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_browser")
def test_without_a_browser_all_pages_are_written_and_one_error_names_the_pictures(
    figures, tmp_path
):
    from sadi_lens import plots
    from sadi_lens.types.seals import seal

    # The smallest PNG: nothing but its two marks.
    picture = b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IEND\xaeB`\x82"
    (tmp_path / "first.png").write_bytes(seal(picture, ".png"))
    with pytest.raises(
        RuntimeError, match=r"2 PNG could not be made: first.png, first_dark.png"
    ) as e:
        plots.export(figures, tmp_path)
    assert "chromium" in str(e.value)
    assert "BROWSER_PATH" in str(e.value)
    assert "Kaleido requires Google Chrome to be installed." in str(e.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "first.html",
        "first.png",
        "first_dark.html",
        "plotly.min.js",
    ]


def test_a_figure_that_gives_no_picture_says_why(figures, tmp_path, monkeypatch):
    from sadi_lens import plots

    def write_images(_figures, paths, **_options):
        paths[0].write_bytes(b"png")

    def to_image(*_, **_options):
        raise ValueError("no room for an axis")

    monkeypatch.setattr("plotly.io.write_images", write_images)
    monkeypatch.setattr("plotly.io.to_image", to_image)
    with pytest.raises(RuntimeError, match=r"1 PNG could not be made: first_dark\.png") as e:
        plots.export(figures, tmp_path)
    assert "Cause: ValueError: no room for an axis" in str(e.value)
    assert "BROWSER_PATH" not in str(e.value)  # one picture was made: there is a browser


def test_all_pictures_come_from_one_call_with_the_size_of_each_figure(
    figures, tmp_path, monkeypatch
):
    from sadi_lens import plots

    calls = []

    def write_images(fig, file, **options):
        calls.append((len(fig), options))
        for path in file:
            path.write_bytes(b"png")

    monkeypatch.setattr("plotly.io.write_images", write_images)
    written = plots.export(figures, tmp_path)
    assert calls == [(2, {"width": [300, 400], "height": [220, 220], "scale": 2})]
    assert [path.name for path in written] == [
        "first.html", "first_dark.html", "first.png", "first_dark.png",
    ]  # fmt: skip
    assert all(path.exists() for path in written)


def test_a_browser_that_says_goodbye_prints_no_traceback(figures, tmp_path, monkeypatch, caplog):
    """Its last word is read by choreographer's own pipe, here from a pipe of ours."""
    import os

    import plotly.io as pio
    from choreographer.channels.pipe import Pipe

    from sadi_lens import plots

    def write(_figures, files, **_):
        for path in files:
            path.write_bytes(b"\x89PNG\r\n\x1a\n")
        pipe = Pipe()
        pipe.open()
        os.write(pipe._write_from_browser, b"{bye}\n\0")
        assert pipe.read_jsons(blocking=False)[0] == []
        pipe.close()

    monkeypatch.setattr(pio, "write_images", write)
    plots.export(figures, tmp_path, png=True)
    assert "JSONError" not in caplog.text


def test_the_first_pictures_of_a_process_are_drawn():
    """Choreographer's logger has methods of its own; one that was made before it has none."""
    code = (
        "from sadi_lens.plots.export import _no_farewell\n"
        "with _no_farewell():\n"
        "    from choreographer.channels import pipe\n"
        "    pipe._logger.debug2('drawn')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_folder_that_cannot_be_written_is_named(figures, tmp_path, monkeypatch):
    from sadi_lens import plots
    from sadi_lens.types import files

    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"file is not a folder, so .*first.html cannot be written"):
        plots.export(figures, tmp_path / "file")

    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "sync", refuse)
    with pytest.raises(PermissionError, match=r"cannot write .*plotly.min.js: Permission denied"):
        plots.export(figures, tmp_path)


@pytest.mark.parametrize(
    "name", ["first_dark.html", "first_dark.png", "first_dark.svg", "plotly.min.js"]
)
def test_a_file_of_someone_else_in_the_place_of_a_figure_is_left_and_nothing_is_written(
    figures, tmp_path, name
):
    from sadi_lens import plots

    place = tmp_path / name
    for make in (
        lambda: place.write_text("<p>mine</p>"),
        lambda: place.symlink_to(tmp_path / "nowhere"),
        lambda: place.mkdir(),
    ):
        make()
        with pytest.raises(OSError, match=f"{name} .*(another place)"):
            plots.export(figures, tmp_path, svg=True)
        assert [one.name for one in tmp_path.iterdir()] == [name]
        place.rmdir() if place.is_dir() else place.unlink()


def test_a_page_that_was_edited_is_not_written_over(figures, tmp_path):
    from sadi_lens import plots

    pages = plots.export(figures, tmp_path, png=False)
    plots.export(figures, tmp_path, png=False)
    edited = pages[1].read_text().replace("</html>", "<p>my notes</p></html>")
    pages[1].write_text(edited)
    with pytest.raises(FileExistsError, match=r"first_dark.html exists and was not written by"):
        plots.export(figures, tmp_path, png=False)
    assert pages[1].read_text() == edited


def test_vector_pictures_come_from_the_same_call(figures, tmp_path, monkeypatch):
    from sadi_lens import plots

    calls = []

    def write_images(fig, file, **options):
        calls.append((len(fig), options["width"]))
        for path in file:
            path.write_bytes(b"picture")

    monkeypatch.setattr("plotly.io.write_images", write_images)
    written = plots.export(figures, tmp_path, svg=True)
    assert calls == [(4, [300, 400, 300, 400])]
    assert [path.name for path in written[2:]] == [
        "first.png", "first_dark.png", "first.svg", "first_dark.svg",
    ]  # fmt: skip
    only = plots.export(figures, tmp_path / "svg", png=False, svg=True)
    assert [path.suffix for path in only] == [".html", ".html", ".svg", ".svg"]


@pytest.mark.usefixtures("no_browser")
def test_without_a_browser_the_missing_vector_pictures_are_named(figures, tmp_path):
    from sadi_lens import plots

    with pytest.raises(RuntimeError, match=r"2 SVG could not be made: first.svg, first_dark.svg"):
        plots.export(figures, tmp_path, png=False, svg=True)


# Showing -----------------------------------------------------------------------------------------


@pytest.fixture
def fresh_server():
    """The function that starts the one browser, forgetting what it found before and after."""
    from sadi_lens.plots.show import _server

    _server.cache_clear()
    yield _server
    _server.cache_clear()


@pytest.mark.usefixtures("fresh_server")
def test_one_output_has_the_figure_its_picture_and_words(figures, monkeypatch):
    import kaleido
    import plotly.graph_objects as go

    from sadi_lens.plots.show import bundle

    started = []
    monkeypatch.setattr(kaleido, "start_sync_server", lambda **_: started.append("on"))
    monkeypatch.setattr(kaleido, "stop_sync_server", lambda **_: started.append("off"))
    monkeypatch.setattr(go.Figure, "to_image", lambda *_, **__: b"png")
    figure = figures["first"]
    figure.update_layout(
        title={"text": "a &lt;b&gt;<br>title", "subtitle": {"text": "<b>n</b> = 3"}}
    )
    found = [bundle(figure) for _ in range(2)][-1]
    assert set(found) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert found["image/png"] == b"png"
    assert found["text/plain"] == "a <b> title. n = 3"
    content = found["application/vnd.plotly.v1+json"]
    assert "sendChartToCloud" in content["config"]["modeBarButtonsToRemove"]
    assert list(content["data"][0]["y"]) == [1, 2]
    assert started == ["on"]  # one browser for both
    assert "image/png" not in bundle(figure, png=False)


@pytest.mark.usefixtures("fresh_server")
def test_without_a_browser_a_figure_is_shown_and_the_warning_comes_once(
    figures, monkeypatch, recwarn
):
    import kaleido

    from sadi_lens.plots.show import bundle

    def refuse(**_options):
        raise RuntimeError("no Chrome here")

    monkeypatch.setattr(kaleido, "start_sync_server", refuse)
    found = [bundle(figures["first"]) for _ in range(3)]
    assert all(set(one) == {"application/vnd.plotly.v1+json", "text/plain"} for one in found)
    (warning,) = recwarn.list
    assert "shown without a PNG" in str(warning.message)
    assert "chromium" in str(warning.message)
    assert "no Chrome here" in str(warning.message)


def test_outside_of_a_notebook_the_figure_opens_as_plotly_does(figures, monkeypatch):
    import plotly.graph_objects as go

    import sadi_lens as sl

    calls = []
    monkeypatch.setattr(go.Figure, "show", lambda _figure, **options: calls.append(options))
    sl.plots.show(figures["first"])
    (options,) = calls
    assert "sendChartToCloud" in options["config"]["modeBarButtonsToRemove"]


@pytest.mark.usefixtures("fresh_server")
def test_inside_ipython_the_bundle_is_displayed(figures, monkeypatch):
    display = pytest.importorskip("IPython.display", reason="IPython is in the extra notebook")
    import IPython

    import sadi_lens as sl

    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(display, "display", lambda one, raw: shown.append((set(one), raw)))
    sl.plots.show(figures["first"], png=False)
    assert shown == [({"application/vnd.plotly.v1+json", "text/plain"}, True)]


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_server")
def test_a_real_browser_makes_the_picture_of_a_shown_figure(figures):
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))):
        pytest.skip("no Chrome or Chromium on PATH to make PNGs with")
    import kaleido

    from sadi_lens.plots.show import bundle

    try:
        picture = bundle(figures["first"])["image/png"]
    finally:
        kaleido.stop_sync_server(silence_warnings=True)
    assert struct.unpack(">II", picture[16:24]) == (300, 220)  # one pixel a layout pixel


@pytest.mark.slow
def test_a_picture_keeps_the_size_of_its_figure(figures, tmp_path):
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))):
        pytest.skip("no Chrome or Chromium on PATH to make PNGs with")
    from sadi_lens import plots

    plots.export(figures, tmp_path)
    header = (tmp_path / "first.png").read_bytes()[:24]
    assert struct.unpack(">II", header[16:24]) == (600, 440)
