"""Write figures: one interactive HTML page, one PNG and, if asked, one SVG each; one plotly.js for all pages."""

import html
import logging
import re
import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from sadi_lens.plots._bare import bare
from sadi_lens.plots._theme import FONT
from sadi_lens.types.checks import as_path, checked
from sadi_lens.types.files import (
    partial,
    remove_abandoned,
    require_place,
    require_room,
    write_whole,
)
from sadi_lens.types.seals import seal

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    # Plotly 7 puts a button in every figure that uploads it to Plotly's cloud; the others are of no use here.
    "modeBarButtonsToRemove": [
        *("sendChartToCloud", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d")
    ],
}
"""Plotly configuration of everything that is shown or written."""

LIBRARY = "plotly.min.js"
"""Plotly's own name for what its pages load from beside them."""

NO_BROWSER = (
    "Pictures need kaleido >= 1 (pip install kaleido) and Chrome or Chromium (Debian: apt-get install "
    "chromium; elsewhere set BROWSER_PATH to it)."
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 16px 20px; background: {paper}; color: {ink}; font: 13px/1.4 {font}; }}
h1 {{ margin: 0 0 6px; font-size: 18px; font-weight: normal; max-width: 44em; }}
p {{ margin: 0 0 8px; opacity: .8; max-width: 70em; }}
div.drawing {{ overflow-x: auto; margin: 0 -20px; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{subtitle}</p>
<div class="drawing">{figure}</div>
<p>{note}</p>
</body>
</html>
"""


@checked()
def export(
    figures: Mapping[str, go.Figure],
    out: str | Path,
    *,
    png: bool = True,
    svg: bool = False,
    scale: int = 2,
) -> tuple[Path, ...]:
    """Write ``NAME.html``, ``NAME.png`` and ``NAME.svg`` for every figure; all pictures in one browser session.

    The pages share one ``plotly.min.js`` (4.8 MB) beside them, so they open without a network. Pictures need a
    Chromium.

    Args:
        figures: File name (letters, digits, ``_``, ``-``; ``NAME_dark`` by custom for the dark theme) ->
            figure.
        out: Folder; made if it does not exist.
        png: Also write PNGs.
        svg: Also write SVGs (for print; text stays text).
        scale: PNG pixels per layout pixel.

    Returns:
        Every figure's files.

    Raises:
        ValueError: If a name cannot be a file name.
        OSError: If ``out`` cannot be written, or holds a file of such a name that sadi_lens did not write (nothing
            is written then).
        RuntimeError: If pictures could not be made. All HTML is written by then.
    """
    out = as_path("out", out)
    require_places(figures, out, png=png, svg=svg)
    if figures:
        _write_library(out)
    written = [_write_html(name, figure, out) for name, figure in figures.items()]
    formats = _endings(png, svg)[1:]
    if formats and figures:
        written += _write_pictures(figures, out, formats, scale)
    return tuple(written)


def require_places(names: Iterable[str], out: Path, *, png: bool = True, svg: bool = False) -> None:
    """Refuse what ``export`` would refuse, before any figure is made.

    Raises:
        ValueError: If a name cannot be a file name.
        OSError: If a file in ``out`` was not written by sadi_lens, or ``out`` cannot be written.
    """
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"a figure's name must be letters, digits, _ or -, got {name!r}")
    for name in (*(f"{name}.{ending}" for name in names for ending in _endings(png, svg)), LIBRARY):
        require_place(out / name)


def _endings(png: bool, svg: bool) -> list[str]:
    return ["html", *(["png"] if png else []), *(["svg"] if svg else [])]


def _write_library(out: Path) -> None:
    """plotly.js, unless it is there already; its seal is a comment in JavaScript too (ECMA-262, B.1.1)."""
    data = seal(get_plotlyjs().encode(), ".js")
    path = out / LIBRARY
    if not path.is_file() or path.read_bytes() != data:
        write_whole(path, data)


def _write_html(name: str, figure: go.Figure, out: Path) -> Path:
    title, subtitle, note, drawing = bare(figure)
    fragment = drawing.to_html(
        full_html=False,
        include_plotlyjs="directory",
        div_id=name,
        config={**CONFIG, "toImageButtonOptions": {"filename": name, "scale": 2}},
    )
    theme = figure.layout.template.layout
    page = _PAGE.format(
        title=html.escape(" ".join((title or name).split())),
        subtitle=html.escape(subtitle),
        note=html.escape(note),
        paper=figure.layout.paper_bgcolor or theme.paper_bgcolor or "#ffffff",
        ink=theme.font.color or "#16181d",
        font=FONT,
        figure=fragment,
    )
    return write_whole(out / f"{name}.html", seal(page.encode(), ".html"))


def _write_pictures(
    figures: Mapping[str, go.Figure], out: Path, formats: Sequence[str], scale: int
) -> list[Path]:
    cause: Exception | None = None
    done: list[Path] = []
    wanted = {f"{name}.{ending}": figure for ending in formats for name, figure in figures.items()}
    # In a folder of its own, so that a picture of an earlier run is never taken for one of this run.
    folder = partial(out / "pictures")
    remove_abandoned(out / "pictures")
    folder.mkdir()
    try:
        drawn = {name: folder / name for name in wanted}
        try:
            # write_images ignores the size of the layout unless it is handed over.
            with _no_farewell():
                pio.write_images(
                    list(wanted.values()),
                    list(drawn.values()),
                    width=[figure.layout.width for figure in wanted.values()],
                    height=[figure.layout.height for figure in wanted.values()],
                    scale=scale,
                )
        except Exception as error:  # a missing, broken or hung browser: kaleido has no common type
            cause = error
        for name, path in drawn.items():
            if path.exists() and path.stat().st_size:
                done.append(write_whole(out / name, seal(path.read_bytes(), path.suffix)))
        if len(done) < len(wanted):
            require_room(out / "pictures")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    missing = [name for name in wanted if out / name not in done]
    if missing:
        cause = cause or _cause(wanted[missing[0]])
        remedy = "" if done else f" {NO_BROWSER}"  # with one picture made there is a browser
        raise RuntimeError(
            f"HTML is written to {out}, but {len(missing)} {' and '.join(formats).upper()} could not be "
            f"made: {', '.join(missing)}.{remedy} "
            f"Cause: {type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
        ) from cause
    return done


@contextmanager
def _no_farewell() -> Generator[None]:
    """Without the traceback that choreographer logs when a browser's last word, ``{bye}``, is read: it is no JSON.

    It goes on regardless; a picture that is missing is said by ``_write_pictures``.
    """
    name = "choreographer.channels.pipe"
    with suppress(ImportError):  # it comes first: its logger is of a kind of its own
        import_module(name)
    logger = logging.getLogger(name)

    def is_else(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("JSONError decoding message")

    logger.addFilter(is_else)
    try:
        yield
    finally:
        logger.removeFilter(is_else)


def _cause(figure: go.Figure) -> Exception:
    """Why a figure gives no picture: drawn with others it is left out without a word."""
    try:
        pio.to_image(figure, format="svg", width=figure.layout.width, height=figure.layout.height)
    except Exception as error:
        return error
    return RuntimeError("the browser gave no picture")
