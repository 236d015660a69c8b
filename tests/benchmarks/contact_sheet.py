"""Draw every figure, light and dark, at the shapes of the embedded model and of Llama-7B, to look at them.

    python tests/benchmarks/contact_sheet.py OUT [NAME ...]

Writes OUT/SIZE_THEME/NAME.png, OUT/sheet_SIZE_THEME.png (all of them, scaled down), and OUT/compare_text.html.
Needs Pillow and Chromium. The results are made up (tests/gallery.py): nothing here says anything about a model.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import gallery
from PIL import Image

from sadi_lens import plots

COLUMNS, WIDTH, GAP = 4, 700, 12


def sheet(pictures, path, ground):
    """Pictures side by side in columns of even height."""
    columns = [[] for _ in range(COLUMNS)]
    heights = [GAP] * COLUMNS
    for picture in pictures:
        with Image.open(picture) as image:
            small = image.convert("RGB").resize((WIDTH, round(image.height * WIDTH / image.width)))
        column = heights.index(min(heights))
        columns[column].append((heights[column], small))
        heights[column] += small.height + GAP
    whole = Image.new("RGB", (COLUMNS * (WIDTH + GAP) + GAP, max(heights)), ground)
    for index, column in enumerate(columns):
        for top, small in column:
            whole.paste(small, (GAP + index * (WIDTH + GAP), top))
    whole.save(path)


def main(out, names):
    for size in gallery.SHAPES:
        drawings = gallery.drawings(size)
        for theme, ground in (("light", "#d9d9d9"), ("dark", "#000000")):
            folder = out / f"{size}_{theme}"
            figures = {
                name: draw(theme=theme)
                for name, draw in drawings.items()
                if not names or name in names
            }
            written = plots.export(figures, folder, scale=1)
            pictures = [path for path in written if path.suffix == ".png"]
            if not names:
                sheet(pictures, out / f"sheet_{size}_{theme}.png", ground)
    rows = [gallery.trace(kind=kind) for kind in ("unsteered", "adaptive", "fixed")]
    (out / "compare_text.html").write_text(plots.compare_text(rows).html, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
