"""Draw the gallery: every figure on the embedded model, by the code that stands beside it.

    python docs/gallery.py

Writes docs/_extra/figures/NAME.html and docs/gallery.md; a report on the demo and the explorer go to docs/_extra/demo.
"""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from textwrap import dedent
from typing import Any
from unittest.mock import patch

import torch

import sadi_lens as sl

HERE = Path(__file__).parent


class Ground:
    """What the figures are drawn from, each computed once."""

    model = sl.load_model("tiny")
    task = sl.load_task("hints")
    dev = task.dev[:120]

    @cached_property
    def prompts(self) -> list[str]:
        """Of the dev items."""
        return [sample.prompt for sample in self.dev]

    @cached_property
    def differences(self) -> Any:
        """D of every head, over all pairs."""
        return sl.activation_differences(self.model, self.task.pairs, progress=False)["head"]

    @cached_property
    def effect(self) -> Any:
        """Heads ranked by the slope of the margin in the strength."""
        return sl.unit_scores(self.model, self.task.pairs, "head", "effect", progress=False)

    @cached_property
    def sweep(self) -> Any:
        """Accuracy on dev over K and strength."""
        return sl.sweep(self.model, self.dev, self.differences, progress=False)

    @cached_property
    def mask(self) -> Any:
        """The heads that dev chose."""
        return sl.top_k_mask(self.differences, 10)

    @cached_property
    def rules(self) -> tuple[Any, Any]:
        """Adaptive, and fixed with pushes of the same norm."""
        sadi = sl.MaskedScaling(self.mask, 5.0)
        push = sl.measure.measure_push(self.model, self.prompts, sadi, progress=False)
        fixed = sl.MaskedAddition.from_differences(
            self.mask, self.differences, 5.0, match="norm", push=push
        )
        return sadi, fixed

    @cached_property
    def evaluations(self) -> list[Any]:
        """Unsteered, adaptive, fixed on the same items."""
        return sl.evaluate(self.model, self.dev, [None, *self.rules], progress=False)


def steering_arrows(g: Ground) -> Any:
    """How does a push that follows the input differ from one that does not?"""
    sadi, fixed = g.rules
    shifts = sl.measure.activation_shifts(
        g.model,
        g.prompts[:40],
        {"adaptive": sadi, "fixed": fixed},
        kinds={"adaptive": "adaptive", "fixed": "fixed"},
        component="head",
        layer=2,
        matched="norm",
        task="hints",
    )
    return sl.plots.steering_arrows(shifts)


def difference_heatmap(g: Ground) -> Any:
    """Which heads does a mask take, and where do they lie?"""
    return sl.plots.difference_heatmap(g.differences, g.mask)


def rank_curve(g: Ground) -> Any:
    """Do a few heads stand out, and beyond what random signs of the pairs give?"""
    every = sl.measure.all_unit_differences(g.model, g.task.pairs, "head", progress=False)
    null = sl.measure.sign_flip_null(every)
    return sl.plots.rank_curve(g.differences, 10, null=null)


def difference_distributions(g: Ground) -> Any:
    """Is a difference made by all pairs or by a few?"""
    units = sl.find.unit_differences(g.model, g.task.pairs, g.mask, progress=False)
    return sl.plots.difference_distributions(units)


def units_by_layer(g: Ground) -> Any:
    """In which layers do the chosen heads lie?"""
    masks = {"signed": g.mask, "effect": sl.top_k_mask(g.effect, 6)}
    return sl.plots.units_by_layer(masks)


def mask_overlap(g: Ground) -> Any:
    """Do two rankings choose the same heads?"""
    masks = {"signed": g.mask, "effect": sl.top_k_mask(g.effect, 6)}
    return sl.plots.mask_overlap(masks)


def sweep_heatmap(g: Ground) -> Any:
    """How many heads, how hard?"""
    return sl.plots.sweep_heatmap(g.sweep)


def example_effects(g: Ground) -> Any:
    """Which items does each rule mend, and which does it break?"""
    return sl.plots.example_effects(*g.evaluations)


def token_strip(g: Ground) -> Any:
    """Which token is read, which are steered?"""
    return sl.plots.token_strip(sl.measure.token_roles(g.model, g.task.pairs[0]))


def generation_trace(g: Ground) -> Any:
    """What does steering do to every token that is written?"""
    sadi, _ = g.rules
    trace = sl.measure.trace_generation(g.model, g.dev[0].prompt, sadi, max_new_tokens=8)
    return sl.plots.generation_trace(trace)


def pairs_ablation(g: Ground) -> Any:
    """How many pairs are enough?"""
    curve = sl.measure.pairs_needed(g.model, g.task.pairs, "head", 10, n_draws=20, progress=False)
    return sl.plots.pairs_ablation({"signed": curve}, measure="jaccard_all")


def head_paths(g: Ground) -> Any:
    """What do the scaled heads write, and through which path does it reach the answer?"""
    scaling = sl.MaskedScaling(sl.top_k_mask(g.effect, 4), 5.0)
    return sl.plots.head_paths(sl.measure.head_paths(g.model, g.task, scaling))


FIGURES: tuple[Callable[[Ground], Any], ...] = (
    steering_arrows,
    difference_heatmap,
    rank_curve,
    difference_distributions,
    units_by_layer,
    mask_overlap,
    sweep_heatmap,
    example_effects,
    token_strip,
    generation_trace,
    pairs_ablation,
    head_paths,
)

HEAD = """# Gallery

Every figure on the embedded model, drawn when these pages were built. All of them start from this:

```python
{ground}
```

- <a href="demo/report.html">A report</a>: one file, from `sadi-lens report demo`.
- <a href="demo/explorer.html">The explorer</a>: a dot an item, texts, pushes, maps, from `sadi-lens explorer`.
"""

SECTION = """
## {question}

<iframe class="only-light" src="figures/{name}.html" title="{question}" loading="lazy" width="100%"
  style="border:0; --height:{height}px"></iframe>
<iframe class="only-dark" src="figures/{name}_dark.html" title="{question}" loading="lazy" width="100%"
  style="border:0; --height:{height}px"></iframe>

```python
{code}
```
"""


def code_of(function: Callable[..., Any], result: str = "") -> str:
    """The body of a function as it would stand in a notebook; ``result`` is what its value is called there."""
    source = inspect.getsource(function)
    body = dedent(source[source.index('"""\n') + 4 :]).strip()
    plain = re.sub(r"\b(g|self)\.", "", body)
    return re.sub(r"^return ", f"{result} = " if result else "", plain, flags=re.MULTILINE)


def ground_code() -> str:
    """What the figures are drawn from, as it would stand in a notebook."""
    lines = ["import sadi_lens as sl", ""]
    for name, value in vars(Ground).items():
        if isinstance(value, cached_property):
            lines.append(code_of(value.func, name))
        elif not name.startswith("_"):
            lines += [
                line.strip()
                for line in inspect.getsource(Ground).splitlines()
                if line.strip().startswith(f"{name} = ")
            ]
    return "\n".join(lines)


def themed(draw: Callable[[Ground], Any], ground: Ground, theme: str) -> Any:
    """The figure in a theme, which the code beside it leaves at its default."""
    plot = partial(getattr(sl.plots, draw.__name__), theme=theme)
    with patch.object(sl.plots, draw.__name__, plot):
        return draw(ground)


def main() -> None:
    """Draw all, write the page, the report of the demo that the README shows, and the explorer."""
    torch.set_num_threads(1)
    out, ground, page = HERE / "_extra", Ground(), HEAD.format(ground=ground_code())
    figures = {
        f"{draw.__name__}{suffix}": themed(draw, ground, theme)
        for theme, suffix in (("light", ""), ("dark", "_dark"))
        for draw in FIGURES
    }
    sl.plots.export(figures, out / "figures", png=False)
    for draw in FIGURES:
        page += SECTION.format(
            question=inspect.getdoc(draw),
            name=draw.__name__,
            height=int(figures[draw.__name__].layout.height or 480) + 90,
            code=code_of(draw),
        )
    (HERE / "gallery.md").write_text(page, encoding="utf-8")
    lens = Path(sys.executable).parent / "sadi-lens"
    (out / "demo").mkdir(exist_ok=True)
    run = HERE.parent / "figures" / "results.json"
    subprocess.run([lens, "report", run, "--out", out / "demo" / "report.html"], check=True)
    subprocess.run([lens, "explorer", "--out", out / "demo" / "explorer.html"], check=True)


if __name__ == "__main__":
    main()
