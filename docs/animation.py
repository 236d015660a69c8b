"""The animation of the explorer in the README: the strength moves, the dots flip.

    python docs/animation.py demo/explorer.html figures/explorer.webp

Takes a page of ``sadi-lens explorer``; needs Chromium.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1120, 2400
"""Of the window: no need to scroll."""
SMALLER = 0.72
PAUSE, STEP = 1600, 450
"""Milliseconds on the first and last frame, and on the others."""
SHOWN = "#controls, section:has(.dots)"
"""From the top of the first of these to the bottom of the last."""
SET = """at => {
    const slider = document.getElementById('strength');
    slider.value = at;
    for (const name of ['input', 'change']) slider.dispatchEvent(new Event(name, {bubbles: true}));
}"""


def frames(page_file: Path) -> list[Image.Image]:
    """One picture for each step of the strength."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is needed: apt install chromium")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(page_file.resolve().as_uri())
        places = [one.bounding_box() or {} for one in page.locator(SHOWN).all()]
        top = min(one["y"] for one in places) - 12
        bottom = max(one["y"] + one["height"] for one in places) + 12
        clip = {"x": 0.0, "y": top, "width": float(WIDTH), "height": bottom - top}
        last = int(page.get_attribute("#strength", "max") or 0)
        found = []
        for step in range(last + 1):
            page.evaluate(SET, step)
            page.wait_for_timeout(120)
            picture = Image.open(io.BytesIO(page.screenshot(clip=clip)))
            size = (round(picture.width * SMALLER), round(picture.height * SMALLER))
            found.append(picture.resize(size))
        browser.close()
    return found


def main(page_file: str, out: str) -> None:
    """Draw and write."""
    drawn = frames(Path(page_file))
    durations = [PAUSE, *[STEP] * (len(drawn) - 2), PAUSE]
    drawn[0].save(
        out,
        save_all=True,
        append_images=drawn[1:],
        duration=durations,
        loop=0,
        quality=70,
        method=6,
    )
    print(f"{out}: {len(drawn)} frames, {Path(out).stat().st_size / 1e3:.0f} kB")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
