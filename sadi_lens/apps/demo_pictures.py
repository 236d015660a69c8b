"""What the figures of a demo are drawn from, beyond its comparison."""

from dataclasses import replace
from typing import Any

import numpy as np

from sadi_lens.apps._loading import MOST_UNITS
from sadi_lens.find.differences import unit_differences
from sadi_lens.interventions import MaskedScaling
from sadi_lens.measure.calls import kept
from sadi_lens.measure.choosing import Chosen
from sadi_lens.measure.inspection import activation_shifts, sign_flip_null
from sadi_lens.measure.inspection.units import can_flip_signs
from sadi_lens.measure.methods import Material
from sadi_lens.types.data import Task
from sadi_lens.types.differences import ActivationDifferences
from sadi_lens.types.masks import top_k_mask

SHOWN_UNITS = 12
"""Units whose distribution is drawn."""
SHOWN_PROMPTS = 60
"""Prompts that get an arrow."""


def pictured(
    material: Material, task: Task, adaptive: Chosen, fixed: Chosen | None
) -> dict[str, Any]:
    """Differences, those of the strongest units pair by pair, their null, and where each rule moves each prompt.

    What one pair or one dev item cannot show, the null and the arrows, is left out.

    Args:
        material: Of the demo.
        task: Its dev prompts get the arrows.
        adaptive: SADI by the paper's ranking.
        fixed: The fixed vector of the same mask and norm; None where there is no push to match.
    """
    model, own, component = material.model, material.own, material.component
    shown = top_k_mask(own, min(SHOWN_UNITS, own.mean.size), ranking="magnitude")
    is_small = own.mean.size <= MOST_UNITS
    read = top_k_mask(own, own.mean.size) if is_small else shown
    units = kept(
        "units pair by pair",
        lambda: {**material.origin, "mask": read},
        lambda: unit_differences(model, task.pairs, read, task=task.name, progress=False),
    )
    found: dict[str, Any] = {"differences": _shown(material), "unit_differences": units}
    if is_small:
        columns = [units.units.index(one) for one in shown.units]
        own_columns = replace(units, units=shown.units, values=units.values[:, columns])
        found["unit_differences"] = own_columns
        if can_flip_signs(task.pairs):
            found["null"] = sign_flip_null(units)
    sadi, push = adaptive.intervention, None if fixed is None else fixed.intervention
    prompts = [one.prompt for one in task.dev[:SHOWN_PROMPTS]]
    can_draw = len(prompts) > 1 and not adaptive.is_unsteered
    if isinstance(sadi, MaskedScaling) and push is not None and can_draw:
        rules, kinds = {"SADI": sadi, "fixed, same norm": push}, ("adaptive", "fixed")
        found["shifts"] = kept(
            "where each rule moves each prompt",
            lambda: {**material.origin, "rules": list(rules.values()), "prompts": prompts},
            lambda: activation_shifts(
                model,
                prompts,
                rules,
                kinds=dict(zip(rules, kinds, strict=True)),
                component=component,
                layer=int(np.argmax(sadi.mask.per_layer)),
                matched="norm",
                task=task.name,
            ),
        )
    return found


def _shown(material: Material) -> dict[str, ActivationDifferences]:
    """Differences of the component; beside those of heads the other components', as far as they are small."""
    return {
        name: one
        for name, one in material.differences.items()
        if name == material.component
        or (material.component == "head" and one.mean.size <= MOST_UNITS)
    }
