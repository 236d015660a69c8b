"""Size and drawing time of every figure at the shapes of the embedded model and of Llama-7B.

    python tests/benchmarks/figures.py

Prints a Markdown table: kB of HTML without plotly.js, and CPU seconds from result to HTML (best of three). Goals:
under 150 kB and under 2 s. The results are made up (tests/gallery.py).
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import gallery


def measure(draw):
    """kB and the best of three CPU times."""
    times = []
    for _ in range(3):
        start = time.process_time()
        page = draw().to_html(full_html=False, include_plotlyjs=False)
        times.append(time.process_time() - start)
    return len(page.encode()) / 1000, min(times)


def main():
    found = {
        size: {name: measure(draw) for name, draw in gallery.drawings(size).items()}
        for size in gallery.SHAPES
    }
    lines = ["| figure | tiny kB | tiny s | 7B kB | 7B s |", "|---|---|---|---|---|"]
    for name in found["tiny"]:
        cells = [f"{kb:.0f} | {seconds:.2f}" for kb, seconds in (found[s][name] for s in found)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    worst = [max(one[i] for one in found["7b"].values()) for i in (0, 1)]
    lines.append(f"\nLargest at 7B shapes: {worst[0]:.0f} kB, {worst[1]:.2f} s")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
