"""The edit itself: A' = scale * A + shift, or what an intervention makes of A, row by row of a pass.

Activations are flat, [row pos width]: heads lie beside one another. ``Edits`` says which row gets which
intervention, ``sadi_lens.engine.positions`` at which tokens, ``sadi_lens.engine.runner`` in which modules.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadi_lens.engine.contract import Peaks, Site, require_edited, require_part
from sadi_lens.engine.hooks import FlatHook
from sadi_lens.engine.intervention import (
    Affine,
    AffineIntervention,
    Context,
    ContextualIntervention,
    Intervention,
    chooses_positions,
    flat,
    warn_of_rounding,
)
from sadi_lens.engine.positions import Positions
from sadi_lens.engine.prefix import TreePositions


class Edits:
    """Interventions side by side: row r of a pass gets ``interventions[which[r]]``.

    Args:
        interventions: None stands for the unsteered model.
        which: Broadcasts over the row axes of the positions they are run with; None if there is but one.
        n_heads: Heads of an activation of component ``"head"``.
    """

    def __init__(
        self,
        interventions: Sequence[Intervention | None],
        which: Int[Tensor, "..."] | None = None,
        *,
        n_heads: int,
    ) -> None:
        self.interventions = interventions
        self.which = torch.zeros(1, dtype=torch.long) if which is None else which
        self.n_heads = n_heads
        self._here: dict[Site, list[tuple[int, Any]]] = {}
        """Which interventions edit at a site, by their number."""
        self._reads: set[Site] = set()
        """Where an activation at the last prompt token must be known."""
        self.needs: set[str] = set()
        """Fields of a ``Context`` that some of them ask for."""
        for index, one in enumerate(interventions):
            layers = () if one is None else one.layers
            for layer in layers:
                self._here.setdefault((one.component, layer), []).append((index, one))  # type: ignore[union-attr]
            if layers and isinstance(one, ContextualIntervention):
                self.needs.add(one.need)
                if one.need == "prompt_end":
                    self._reads |= {(one.component, one.source(layer)) for layer in layers}  # type: ignore[attr-defined]
        self._tables: dict[Site, Affine] = {}
        self._read: dict[Site, Tensor] = {}
        """Activations at the last prompt token, before any edit there."""
        self._clean: dict[Site, Tensor] = {}
        """Activations of a clean run of its own."""
        self.peaks = Peaks()

    def hooks(self, positions: Positions) -> list[tuple[str, int, FlatHook]]:
        """(component, layer, hook) for every activation that some row edits, or reads in order to edit another."""
        return [
            (component, layer, self._hook((component, layer), positions))
            for component, layer in sorted(self._here.keys() | self._reads)
        ]

    def _hook(self, site: Site, positions: Positions) -> FlatHook:
        here, is_read = self._here.get(site, []), site in self._reads
        has_affine = any(isinstance(one, AffineIntervention) for _, one in here)
        others = [(index, one) for index, one in here if not isinstance(one, AffineIntervention)]
        keeps_clean, chooses = "clean" in self.needs, "place" in self.needs
        is_tree, tables, note = isinstance(positions, TreePositions), self._tables, self.peaks.note

        def hook(activation: Tensor) -> Tensor | None:
            if positions.is_paused:
                if keeps_clean:
                    self._clean[site] = activation
                return None
            before = positions.split(activation) if is_tree else activation
            if is_read:
                self._note(site, before, positions)
            after = before
            if has_affine:
                table = tables.get(site) or self._table(site, before)
                if is_tree:
                    table = table.first(before.shape[positions.axis])  # type: ignore[attr-defined]
                after = edit_at(positions, table, before)
            for index, one in others:
                after = self._edit_rows(index, one, site, before, after, positions)
            if after is before:
                return None
            if chooses:  # its tokens itself
                note(site, after, (0, None))
            else:
                note(site, after, positions.columns, positions.real)
            return positions.join(after) if is_tree else after

        return hook

    @torch.inference_mode(False)  # kept tensors must also work under autograd
    def _table(self, site: Site, like: Tensor) -> Affine:
        """Scale and shift of every row in one layer, built once, in float32: in bfloat16, 1 + 0.003 is 1."""
        shape = (len(self.interventions), like.shape[-1])
        found: dict[str, Tensor] = {}
        for row, one in self._here[site]:
            own = one.affine(site[1]) if isinstance(one, AffineIntervention) else Affine(None, None)
            for name, values, rest in zip(Affine._fields, own, (1.0, 0.0), strict=True):
                if values is not None:
                    n_units = self.n_heads if site[0] == "head" else shape[1]
                    require_part(one, site, values, (n_units, shape[1] // n_units))
                    if name not in found:
                        found[name] = torch.full(shape, rest, dtype=torch.float32, device="cpu")
                    found[name][row] = flat(values, shape[1])
        if "scale" in found:
            warn_of_rounding(found["scale"], like.dtype)
        self._tables[site] = Affine(
            *(
                self._of_rows(found[name]).to(like.device) if name in found else None
                for name in Affine._fields
            )
        )
        return self._tables[site]

    def _of_rows(self, table: Float[Tensor, "intervention width"]) -> Float[Tensor, "... width"]:
        if len(self.interventions) == 1:
            return table[:, None]
        return table[self.which.cpu()][..., None, :]

    @property
    def nbytes(self) -> int:
        """Memory of the tables that were made."""
        tables = self._tables.values()
        return sum(part.nbytes for one in tables for part in one if part is not None)

    def forget(self) -> None:
        """Drop the tables; they are made again when they are needed."""
        self._tables.clear()

    def label_of(self, row: int) -> str:
        """Label of the intervention of a row, rows counted along all their axes."""
        which = self.which.flatten()
        one = self.interventions[int(which[row % len(which)])]
        return "unsteered" if one is None else one.label

    def _note(self, site: Site, before: Tensor, positions: Positions) -> None:
        found = positions.at_prompt_end(before)
        if found is not None:
            self._read[site] = found
        elif positions.is_start:
            self._read.pop(site, None)

    def _edit_rows(
        self,
        index: int,
        one: Any,
        site: Site,
        before: Tensor,
        after: Tensor,
        positions: Positions,
    ) -> Tensor:
        """``after``, with the rows of an intervention that is not affine as it makes them from ``before``."""
        everywhere = chooses_positions(one)
        start, stop = positions.columns
        if stop <= start and not everywhere:
            return after
        rows = (self.which.to(before.device) == index).expand(before.shape[:-2])
        is_alone = len(self.interventions) == 1
        # A copy either way: an edit that writes into what it is given must not reach other tokens.
        part = before.flatten(0, -3).clone() if is_alone else before[rows]
        shaped = self._by_head(site, part)
        if isinstance(one, ContextualIntervention):
            context = self._context(one, site, before, positions)
            context = context if is_alone else context.rows(rows.flatten())
            edited = one.edit(shaped, site[1], context)
        else:
            edited = one.edit(shaped, site[1])
        edited = require_edited(one, site[1], edited, shaped).reshape(part.shape)
        if is_alone:
            edited = edited.reshape(before.shape)
        else:
            whole = before.clone()
            whole[rows] = edited
            edited = whole
        chosen = rows[..., None] if everywhere else _chosen(positions, before) & rows[..., None]
        if is_alone and bool(chosen.all()):
            return edited
        return torch.where(chosen[..., None], edited, after)

    def _by_head(self, site: Site, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.n_heads, -1)) if site[0] == "head" else values

    def _context(self, one: Any, site: Site, before: Tensor, positions: Positions) -> Context:
        """The one field of ``Context`` that an intervention needs, for all rows of the pass."""
        if one.need == "place":
            return Context(place=positions.place().flatten(0, -2))
        if one.need == "prompts":
            return Context(prompts=positions.row_prompts())
        if one.need == "clean":
            is_tree = isinstance(positions, TreePositions)
            clean = positions.unsteered(before) if is_tree else self._clean[site]
            return Context(clean=self._by_head(site, clean.flatten(0, -3)))
        source = (site[0], one.source(site[1]))
        if source not in self._read:
            raise ValueError(
                f"{type(one).__name__} decides at the last prompt token, but no pass has held it: "
                "the KV cache or prompt_lengths given put it before this pass"
            )
        found = positions.per_row(self._read[source])
        return Context(prompt_end=self._by_head(site, found.flatten(0, -2)))


def edit_at(positions: Positions, edit: Callable[[Tensor], Tensor], activation: Tensor) -> Tensor:
    """The activation with ``edit`` at the chosen tokens, as a new tensor; itself where there is none."""
    start, stop = positions.columns
    if stop <= start:
        return activation
    if positions.real is not None:  # 0 * infinity is NaN, also at padding that no token attends to
        real = positions.real[..., None].to(activation.device)
        return torch.where(real, edit(activation), activation)
    if stop - start == activation.shape[-2]:
        return edit(activation)
    edited = activation.clone()
    edited[..., start:stop, :] = edit(activation[..., start:stop, :])
    return edited


def _chosen(positions: Positions, activation: Tensor) -> Tensor:
    """Bool, broadcasts over [row ... pos]: the edited tokens."""
    if positions.real is not None:
        return positions.real.to(activation.device)
    index = torch.arange(activation.shape[-2], device=activation.device)
    return (index >= positions.columns[0]) & (index < positions.columns[1])
