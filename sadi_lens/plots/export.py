"""Write figures: one interactive HTML page and one PNG each."""

import html
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    # Plotly 7 puts a button in every figure that uploads it to Plotly's cloud.
    "modeBarButtonsToRemove": ["sendChartToCloud"],
}
"""Plotly configuration of everything that is shown or written."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ margin: 0; background: {paper}; }}</style>
</head>
<body>
{figure}
</body>
</html>
"""


def export(
    figures: Mapping[str, go.Figure],
    out: Path,
    *,
    png: bool = True,
    scale: int = 2,
) -> tuple[Path, ...]:
    """Write ``NAME.html`` and ``NAME.png`` for every figure; all PNGs in one browser session.

    The page loads plotly.js from its CDN (some 30 kB a page instead of 5 MB). PNGs need a Chromium.

    Args:
        figures: File name (letters, digits, ``_``, ``-``; ``NAME_dark`` by custom for the dark theme) ->
            figure.
        out: Folder; made if it does not exist.
        png: Also write PNGs.
        scale: PNG pixels per layout pixel.

    Returns:
        Every file written.

    Raises:
        ValueError: If a name cannot be a file name.
        OSError: If ``out`` cannot be written.
        RuntimeError: If PNGs could not be made. All HTML is written by then.
    """
    for name in figures:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"a figure's name must be letters, digits, _ or -, got {name!r}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        written = [_write_html(name, figure, out) for name, figure in figures.items()]
        if png and figures:
            written += _write_pngs(figures, out, scale)
    except OSError as error:
        raise type(error)(
            error.errno, f"cannot write figures to {out}: {error.strerror}; choose another folder"
        ) from error
    return tuple(written)


def _write_html(name: str, figure: go.Figure, out: Path) -> Path:
    fragment = figure.to_html(
        full_html=False,
        include_plotlyjs="cdn",
        div_id=name,
        config={**CONFIG, "toImageButtonOptions": {"filename": name, "scale": 2}},
    )
    title = str(figure.layout.title.text or name).replace("<br>", " ")
    path = out / f"{name}.html"
    paper = figure.layout.paper_bgcolor or figure.layout.template.layout.paper_bgcolor or "#ffffff"
    path.write_text(
        _PAGE.format(title=html.escape(html.unescape(title)), paper=paper, figure=fragment),
        encoding="utf-8",
    )
    return path


def _write_pngs(figures: Mapping[str, go.Figure], out: Path, scale: int) -> list[Path]:
    cause: Exception | None = None
    done: list[Path] = []
    # In a folder of its own, so that a PNG of an earlier run is never taken for one of this run.
    with tempfile.TemporaryDirectory(dir=out, prefix=".png-") as folder:
        drawn = {name: Path(folder) / f"{name}.png" for name in figures}
        try:
            # write_images ignores the size of the layout unless it is handed over.
            pio.write_images(
                list(figures.values()),
                list(drawn.values()),
                width=[figure.layout.width for figure in figures.values()],
                height=[figure.layout.height for figure in figures.values()],
                scale=scale,
            )
        except Exception as error:  # a missing, broken or hung browser: kaleido has no common type
            cause = error
        for name, path in drawn.items():
            if path.exists() and path.stat().st_size:
                path.replace(out / f"{name}.png")
                done.append(out / f"{name}.png")
    missing = [f"{name}.png" for name in figures if out / f"{name}.png" not in done]
    if missing:
        raise RuntimeError(
            f"HTML is written to {out}, but {len(missing)} PNG could not be made: "
            f"{', '.join(missing)}. PNGs need kaleido >= 1 (pip install kaleido) and Chrome or "
            "Chromium (Debian: apt-get install chromium; elsewhere set BROWSER_PATH to it). "
            f"Cause: {type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
        ) from cause
    return done
