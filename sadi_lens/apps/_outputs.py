"""Where a command writes: looked at before anything is computed; figures drawn at the end."""

from pathlib import Path

from rich.markup import escape

from sadi_lens.apps._printing import console

STEPS = "steps"
"""Folder in which demo and comparison keep their finished steps."""
RESUMED = f"finished steps are kept in OUT/{STEPS}, and the same command goes on from there"
"""What Ctrl-C leaves of them."""


def require_places(out: Path, png: bool, component: str | None = None) -> None:
    """Refuse before anything is computed what could not be written afterwards."""
    from sadi_lens.plots._demo import demo_figure_names
    from sadi_lens.plots.export import require_places as require_figures
    from sadi_lens.types.files import require_parent, require_place
    from sadi_lens.types.seals import RESULTS

    require_parent(out / STEPS / "step")
    require_place(out / "results.json", RESULTS)
    require_figures(demo_figure_names(component), out / "figures", png=png)


def kept_before(out: Path) -> list[str]:
    """A line where an earlier run left finished steps: what is forecast is the time without them."""
    n = len(list((out / STEPS).glob("*")))
    held = f"{n} finished step{'s' * (n > 1)} of an earlier run"
    return [f"{out / STEPS} holds {held}: what is the same is read from there"] if n else []


def draw(results: dict, out: Path, *, png: bool) -> None:
    """Every figure of the results, light and dark; a missing browser is said and costs the pictures alone.

    Raises:
        ValueError: If they hold no part that a figure shows.
        OSError: If they cannot be written.
    """
    from sadi_lens.plots import demo_figures, export

    drawn = {
        f"{name}{suffix}": figure
        for theme, suffix in (("light", ""), ("dark", "_dark"))
        for name, figure in demo_figures(results, theme=theme).items()
    }
    if not drawn:
        held = ", ".join(map(repr, results)) or "nothing"
        raise ValueError(f"the results hold no part that a figure shows, got {held}")
    try:
        export(drawn, out, png=png)
    except RuntimeError as error:  # no browser: the HTML is there all the same
        console.print(f"[yellow]{escape(str(error))}[/yellow]", highlight=False)
    console.print(f"figures: {escape(str(out))} ({len(drawn)})")
