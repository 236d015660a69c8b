"""Whether units point the way of their difference: where scaling pushes with it, and where against it."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from sadi_lens.plots._layout import (
    TIMES,
    Margin,
    counted,
    finish,
    float32,
    named,
    percent,
    require_finite,
    symmetric_range,
    where,
)
from sadi_lens.plots._theme import require_theme
from sadi_lens.plots._unit_map import (
    BINS,
    MAX_CELLS,
    UnitValues,
    draw_units,
    empty_fact,
    require_same_units,
    set_colours,
)
from sadi_lens.types.base import require_one_of
from sadi_lens.types.components import COMPONENTS
from sadi_lens.types.masks import Mask
from sadi_lens.types.results import SignAgreement

_SIGNS = {
    "scalar": "sign of the activation against that of D",
    "projection": "sign of A . D over the unit's values",
}


def sign_agreement_map(
    agreement: SignAgreement,
    mask: Mask | None = None,
    *,
    by: str = "scalar",
    theme: str = "light",
) -> go.Figure:
    """Share of inputs on which each unit points the way of its difference D; 50% is a coin.

    Scaling amplifies what is there: blue units are pushed towards the right answer on most inputs, red ones
    away from it.

    Args:
        agreement: Of one component.
        mask: Units to box; the title states their mean.
        by: ``"scalar"`` or ``"projection"`` (see ``SignAgreement``).
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: If nothing is finite, ``by`` is unknown, or the mask is of another component or shape.
    """
    colors = require_theme(theme)
    require_one_of("by", by, _SIGNS)
    share = 100 * float32(getattr(agreement, by))
    n_units = share.shape[1]
    component = COMPONENTS[agreement.component]
    require_finite(
        share, f"sign_agreement_map of {agreement.component!r} on {agreement.model.name}"
    )
    if mask is not None:
        require_same_units(agreement.component, share.shape, mask)

    def hover(value: str, _: Sequence[str]) -> str:
        return f"points the way of D on %{{{value}:.1f}}% of {agreement.n:,} inputs"

    figure = go.Figure()
    values = UnitValues(agreement.component, share, 50.0, (), hover, pool="mean")
    plot, shown = draw_units(figure, colors, values, mask)
    limit = symmetric_range(shown - 50, 0.995)
    set_colours(figure, colors, 50.0, limit, "inputs that point<br>the way of D (%)")
    missing = int(np.isnan(share).sum())
    chosen = share if mask is None or not mask.k else share[mask.selected]
    mean = float(np.nanmean(chosen)) / 100 if np.isfinite(chosen).any() else float("nan")
    who = f"All {component.unit}s" if chosen is share else f"The {mask.k if mask else 0:,} selected"
    return finish(
        figure,
        colors,
        title=f"{who} point the way of D on {percent(mean)} of inputs"
        if np.isfinite(mean)
        else "No selected unit has a sign to agree with",
        subtitle=(
            (
                f"{_SIGNS[by]}, at the last prompt token",
                where(agreement.component).split(",")[0],
                counted(agreement.n, "input"),
                named("task", agreement.task),
                f"model {agreement.model.name}",
            ),
            (
                "blue: scaling up pushes towards the right answer, red: away from it",
                f"a cell shows the mean of {n_units / BINS:.0f} {component.unit}s"
                if n_units > MAX_CELLS
                else "",
                f"colour saturates at 50 ± {limit:.2g}%",
                f"{TIMES} D is 0 or unknown ({missing:,} of {share.size:,})" if missing else "",
                empty_fact(mask),
            ),
        ),
        plot=plot,
        margin=Margin(right=132),
    )
