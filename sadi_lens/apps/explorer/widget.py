"""The live explorer: sliders that run the model.

JupyterLab delivers widget messages in a thread of their own, where autograd is on and an exception is lost together
with the slider. So the model runs in inference mode on the spot, one call at a time, and every error is shown.
"""

import html
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from sadi_lens.apps.explorer.prompts import (
    TOP_TOKENS,
    UNSTEERED_TOKENS,
    next_logprobs,
    read_prompt,
    text_of,
    token_texts,
    top_tokens,
)
from sadi_lens.apps.explorer.strata import spread
from sadi_lens.apps.explorer.written import write
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.plots import CONFIG, difference_heatmap
from sadi_lens.plots._theme import require_theme, template
from sadi_lens.plots._unit_map import MAX_CELLS
from sadi_lens.plots._words import escape
from sadi_lens.types.model import COMPONENTS
from sadi_lens.types.results.explorer import METHODS, strata_of

if TYPE_CHECKING:
    from sadi_lens.apps.explorer.explorer import SteeringExplorer

_MODEL = threading.Lock()
"""Hooks of two threads on one model would act on each other's passes."""
OWN = "(your own)"
MENU_ITEMS = 60
"""Dev samples that the prompts of the menu are chosen from."""


class LiveExplorer:
    """The parts of the widget, by name; ``box`` is what a notebook shows.

    Args:
        explorer: What it explores.
        theme: ``"light"`` or ``"dark"``.
        k: Where K begins; default in the middle.
        strength: Where the strength begins. The menu begins with a prompt whose answer adaptive scaling changes there.
    """

    def __init__(
        self,
        explorer: "SteeringExplorer",
        theme: str = "light",
        *,
        k: int | None = None,
        strength: float | None = None,
    ) -> None:
        try:
            import ipywidgets as widgets
        except ImportError as error:
            raise ImportError(
                "the widget needs ipywidgets: pip install 'sadi_lens[notebook]'"
            ) from error
        self.explorer = explorer
        self.theme = require_theme(theme)
        if k is None:
            k = int(explorer.ks[len(explorer.ks) // 2])
        if strength is None:
            strength = min(1.0, explorer.strengths[-1])
        self.samples = {text_of(one): one for one in _menu(explorer, k, strength)}
        recipe, texts = explorer.recipe, list(self.samples)
        unit = COMPONENTS[recipe.differences.component].unit
        wide = widgets.Layout(width="98%")
        row = widgets.Layout(flex_flow="row wrap")
        short = {
            f"{i + 1}. \u2026{' '.join(text.split())[-70:]}": text for i, text in enumerate(texts)
        }
        self.menu = widgets.Dropdown(
            options=[*short.items(), (OWN, "")], value=texts[0], description="prompt", layout=wide
        )
        self.prompt = widgets.Textarea(texts[0], continuous_update=False, layout=wide, rows=5)
        self.method: Any = widgets.ToggleButtons(
            options=METHODS, description="method", style={"button_width": "84px"}
        )
        self.k = widgets.IntSlider(k, 1, explorer.ks[-1], description=f"K ({unit}s)")
        self.strength = widgets.FloatSlider(
            strength, min=explorer.strengths[0], max=explorer.strengths[-1], step=0.25, description="strength",
        )  # fmt: skip
        self.write = widgets.Button(
            description="write on", tooltip="Continue the prompt, unsteered and steered"
        )
        self.says = widgets.HTML()
        self.texts = widgets.HTML()
        # Filled as plain figures: what is sent to a FigureWidget before the browser is ready may be lost.
        self.bars, self.elements = self._bars(), self._elements()
        self._safely(self._update)
        self.bars, self.elements = _live(self.bars), _live(self.elements)
        self.box = widgets.VBox(
            [
                self.menu, self.prompt,
                widgets.HBox([self.method, self.k, self.strength, self.write], layout=row),
                self.says, self.texts,
                widgets.HBox([self.bars, self.elements], layout=row),
            ]
        )  # fmt: skip
        self.menu.observe(
            lambda change: change["new"] and setattr(self.prompt, "value", change["new"]), "value"
        )
        for one in (self.prompt, self.method, self.k, self.strength):
            one.observe(lambda _change: self._safely(self._update), "value")
        self.write.on_click(lambda _button: self._safely(self._continue))

    def _safely(self, act: Any) -> None:
        """Run one reaction; its error is shown, and the next one runs all the same."""
        try:
            with _MODEL:
                act()
        except Exception as error:
            self.says.value = f"<b>{type(error).__name__}:</b> {html.escape(str(error))}"

    def _cell(self) -> Any:
        return self.explorer.recipe.make(self.method.value, self.k.value, self.strength.value)

    def _update(self) -> None:
        explorer, model = self.explorer, self.explorer.model
        sample = self.samples.get(self.prompt.value, self.prompt.value)
        ids, first = read_prompt(model, sample, prepend_bos=explorer.prepend_bos)
        logprobs = next_logprobs(model, ids, [None, self._cell()], position=explorer.position)
        if not np.isfinite(logprobs).all():
            raise ValueError(
                f"the model's output is not finite at strength {self.strength.value:g}; use a smaller one"
            )
        own, steered = (
            top_tokens(logprobs[[row]], n)[0].tolist()
            for row, n in ((0, UNSTEERED_TOKENS), (1, TOP_TOKENS))
        )
        shown = list(dict.fromkeys([*first, *own, *steered]))
        names = dict(zip(shown, token_texts(model, shown, ids[-1]), strict=True))
        percent = 100 * np.exp(logprobs[:, shown])
        with self.bars.batch_update():
            # Every trace gets every value: what a batch sets on one of them, JupyterLab sets on all.
            colors = (self.theme.muted, self.theme.kinds[self.method.value])
            for trace, values, color in zip(self.bars.data, percent, colors, strict=True):
                trace.x, trace.y = values, np.arange(len(shown))
                trace.marker.color = color
            self.bars.update_yaxes(
                tickvals=list(range(len(shown))),
                ticktext=[escape(_visible(names[one])) for one in shown],
                range=[len(shown) - 0.4, -0.6],
            )
        kl = float((np.exp(logprobs[1]) * (logprobs[1] - logprobs[0])).sum())
        says = [
            f"{name} <b>{html.escape(_visible(names[one]))}</b> ({np.exp(logprobs[row, one]):.1%})"
            for row, (name, one) in enumerate((("unsteered", own[0]), ("steered", steered[0])))
        ]
        self._mark()
        self.says.value = (
            f"Most likely next: {', '.join(says)}. KL from the unsteered model {kl:.3f} nats."
        )
        self.texts.value = ""

    def _continue(self) -> None:
        explorer = self.explorer
        found = write(
            explorer.model,
            self.prompt.value,
            [None, self._cell()],
            position=explorer.position,
            max_new_tokens=explorer.max_new_tokens,
            prepend_bos=explorer.prepend_bos,
        )
        self.texts.value = "".join(
            f"<div><i>{name}:</i> <span style='white-space:pre-wrap'>{html.escape(one.text)}</span></div>"
            for name, one in zip(("unsteered", "steered"), found, strict=True)
        )

    def _bars(self) -> Any:
        theme = self.theme
        figure = go.Figure(
            [
                go.Bar(
                    orientation="h", name="unsteered",
                    marker={"color": theme.muted, "pattern": {"shape": "/"}},
                ),
                go.Bar(orientation="h", name="steered"),
            ]
        )  # fmt: skip
        figure.update_traces(hovertemplate="%{y}: %{x:.2f}%<extra></extra>")
        figure.update_layout(
            template=template(theme.name), width=430, height=420,
            margin={"l": 110, "r": 16, "t": 34, "b": 48},
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, bargap=0.3,
        )  # fmt: skip
        figure.update_xaxes(title="probability of being the next token (%)", range=[0, 100])
        return figure

    def _elements(self) -> Any:
        recipe = self.explorer.recipe
        figure = difference_heatmap(recipe.differences, null=recipe.null, theme=self.theme.name)
        for color, width in ((self.theme.paper, 5), (self.theme.ink, 2)):
            if self._is_boxed:
                figure.add_scatter(mode="lines", line={"color": color, "width": width})
            else:
                figure.add_scatter(
                    mode="markers",
                    marker={"symbol": "circle-open", "size": 10, "color": color, "line": {"width": width}},
                )  # fmt: skip
        figure.update_traces(selector={"type": "scatter"}, hoverinfo="skip", showlegend=False)
        return figure

    @property
    def _is_boxed(self) -> bool:
        return self.explorer.recipe.differences.mean.shape[1] <= MAX_CELLS

    def _mark(self) -> None:
        mask = self.explorer.recipe.mask(self.method.value, self.k.value)
        x, y = (
            _outline(mask.units)
            if self._is_boxed
            else zip(*[(u, la) for la, u in mask.units], strict=True)
        )
        with self.elements.batch_update():
            for trace in self.elements.data[-2:]:
                trace.x, trace.y = list(x), list(y)


def _menu(explorer: "SteeringExplorer", k: int, strength: float) -> list[Any]:
    """The prompts that were given, or some of every outcome at this cell, as on the page."""
    if explorer.prompts:
        return explorer.prompts
    dev, make = explorer.task.dev[:MENU_ITEMS], explorer.recipe.make
    cells = [None, make("adaptive", k, strength), make("fixed", k, strength)]
    found = evaluate_all(explorer.model, dev, cells, explorer.settings, progress=False)
    outcomes = np.stack([one.correct for one in found], axis=1)
    return [dev[item] for item in spread(outcomes, strata_of(outcomes), explorer.n_prompts)]


def _outline(units: Sequence[tuple[int, int]]) -> tuple[list[Any], list[Any]]:
    """Boxes round cells as one line with gaps."""
    x: list[Any] = []
    y: list[Any] = []
    for layer, unit in units:
        x += [unit - 0.5, unit + 0.5, unit + 0.5, unit - 0.5, unit - 0.5, None]
        y += [layer - 0.5, layer - 0.5, layer + 0.5, layer + 0.5, layer - 0.5, None]
    return x, y


def _visible(token: str) -> str:
    return token.replace(" ", "\u2423").replace("\n", "\u23ce") or "(empty)"


def _live(figure: Any) -> Any:
    figure = go.FigureWidget(figure)
    figure._config = {**figure._config, **CONFIG}  # FigureWidget has no public way
    return figure
