"""A batch whose rows get different interventions."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sadi_lens.engine.intervention import Affine, AffineIntervention, Intervention, match_component
from sadi_lens.engine.passes import PassReader, chooses_positions
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.types.components import hook_name


class RowEdits:
    """One edit per row of a batch: row r gets the intervention ``which[r]``."""

    def __init__(
        self, interventions: Sequence[Intervention | None], which: Int[Tensor, " row"]
    ) -> None:
        self.interventions = interventions
        self.which = which
        self._tables: dict[Any, Affine] = {}

    def hooks(self, tracker: PositionTracker) -> list[tuple[str, Any]]:
        """Hooks that read what some rows must know, then those of every (component, layer) that any row edits."""
        self.reader = PassReader(self.interventions, tracker)
        sites = {
            (one.component, layer)
            for one in self.interventions
            if one is not None
            for layer in one.layers
        }

        def hook_for(component: str, layer: int) -> Any:
            def edit(activation: Tensor, layer: int) -> Tensor:
                return self.edit(activation, component, layer)

            def edit_own(activation: Tensor, layer: int) -> Tensor:
                return self.edit(activation, component, layer, own_positions=True)

            has_own = any(map(chooses_positions, self._others(component, layer)))

            def hook_fn(activation: Tensor, hook: Any) -> Tensor | None:
                edited = tracker.apply(edit, activation, layer)
                if not has_own:
                    return edited
                rest = activation if edited is None else edited
                return tracker.apply(edit_own, rest, layer, everywhere=True)

            return hook_fn

        return self.reader.hooks() + [(hook_name(*site), hook_for(*site)) for site in sorted(sites)]

    def edit(
        self, activation: Tensor, component: str, layer: int, *, own_positions: bool = False
    ) -> Tensor:
        """Every row with its own edit, as a new tensor.

        Args:
            activation: [row pos ...].
            component: Its component.
            layer: Its layer.
            own_positions: Only those interventions that choose their own tokens; without it, only the others.
        """
        which = self.which.to(activation.device)
        edited = activation
        if not own_positions:
            scale, shift = self._table(activation, component, layer)
            edited = activation if scale is None else activation * scale[which][:, None]
            edited = edited if shift is None else edited + shift[which][:, None]
        if edited is activation:
            edited = activation.clone()
        for index, one in enumerate(self._others(component, layer)):
            rows = which == index
            if one is not None and chooses_positions(one) == own_positions and bool(rows.any()):
                edited[rows] = self.reader.edit(one, activation[rows], layer, rows)
        return edited

    def _others(self, component: str, layer: int) -> list[Intervention | None]:
        """Those that edit here and are not affine, None in the place of the rest."""
        return [
            None
            if one is None
            or isinstance(one, AffineIntervention)
            or one.component != component
            or layer not in one.layers
            else one
            for one in self.interventions
        ]

    def _table(self, like: Tensor, component: str, layer: int) -> Affine:
        """Scales and shifts of all interventions, [intervention ...]; 1 and 0 for those that are not affine."""
        key = (component, layer)
        if key not in self._tables:
            self._tables[key] = self._build(like, component, layer)
        return self._tables[key]

    def _build(self, like: Tensor, component: str, layer: int) -> Affine:
        shape = (len(self.interventions), *like.shape[2:])
        scale, shift = torch.ones(shape), torch.zeros(shape)
        for index, one in enumerate(self.interventions):
            is_affine = isinstance(one, AffineIntervention)
            if not is_affine or one.component != component or layer not in one.layers:
                continue
            own = one.affine(layer)
            for target, values in ((scale, own.scale), (shift, own.shift)):
                if values is not None:
                    target[index] = match_component(values, component)
        return Affine(
            scale.to(like.device, like.dtype) if bool((scale != 1).any()) else None,
            shift.to(like.device, like.dtype) if bool((shift != 0).any()) else None,
        )
