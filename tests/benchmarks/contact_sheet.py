"""Draw every figure, light and dark, at the shapes of the embedded model and of Llama-7B, to look at them.

    python tests/benchmarks/contact_sheet.py [--talk] OUT [NAME ...]

Writes OUT/SIZE_THEME/NAME.png and, of all of them together, OUT/sheet_SIZE_THEME.png. Needs Chromium.
The results are made up (tests/gallery.py): nothing here says anything about a model.
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import gallery
from playwright.sync_api import sync_playwright

from sadi_lens import plots

PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 12px; background: {paper}; color: {ink}; columns: 4; column-gap: 12px; }}
img, div {{ width: 100%; margin: 0 0 12px; break-inside: avoid; display: block; }}
</style>{content}"""


def main(out, names, text_size):
    out.mkdir(parents=True, exist_ok=True)
    table = plots.compare_text(
        [gallery.trace(kind=kind) for kind in ("unsteered", "adaptive", "fixed")]
    )
    for size in gallery.SHAPES:
        drawings = gallery.drawings(size)
        chosen = {name: draw for name, draw in drawings.items() if not names or name in names}
        for theme, paper, ink in (("light", "#ffffff", "#16181d"), ("dark", "#111317", "#f1f3f5")):
            folder = out / f"{size}_{theme}"
            plots.export(
                {name: draw(theme=theme, size=text_size) for name, draw in chosen.items()},
                folder,
                scale=1,
            )
            images = "".join(f'<img src="{folder.name}/{name}.png">' for name in chosen)
            content = images + f"<div>{table.html}</div>"
            (out / f"sheet_{size}_{theme}.html").write_text(
                PAGE.format(paper=paper, ink=ink, content=content), encoding="utf-8"
            )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 2400, "height": 1000})
        for sheet in sorted(out.glob("sheet_*.html")):
            page.goto(sheet.resolve().as_uri())
            page.screenshot(path=sheet.with_suffix(".png"), full_page=True)
        browser.close()


if __name__ == "__main__":
    given = [one for one in sys.argv[1:] if one != "--talk"]
    main(Path(given[0]), given[1:], "talk" if "--talk" in sys.argv else "page")
