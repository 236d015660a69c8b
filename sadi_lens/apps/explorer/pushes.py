"""The push that adaptive scaling makes on each prompt: how long, which way, and given to another prompt."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from sadi_lens.apps.explorer.recipe import Recipe
from sadi_lens.interventions import MaskedAddition
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.measure.push import record_pushes
from sadi_lens.types.data import Sample
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import PushGrid


class Pushes:
    """Own pushes of a few prompts in every cell, at their last tokens.

    Args:
        model: A bridged model in eval mode.
        recipe: How a cell becomes an intervention.
        prompts: At least one.
        ks: Numbers of units.
        strengths: 0 may be among them.
        settings: Position of the run, and how texts begin.
    """

    def __init__(
        self,
        model: HookedModel,
        recipe: Recipe,
        prompts: Sequence[str],
        ks: Sequence[int],
        strengths: Sequence[float],
        settings: Settings,
    ) -> None:
        self.recipe, self.ks, self.strengths, self.n = recipe, ks, strengths, len(prompts)
        self.own: dict[tuple[int, int], Float[np.ndarray, "prompt unit d"]] = {}
        """(row, column) -> pushes of the selected units, by layer and unit."""
        for row, k in enumerate(ks):
            layers, units = np.nonzero(recipe.mask("adaptive", k).selected)
            for column, strength in enumerate(strengths):
                one = recipe.make("adaptive", k, strength)
                if one is None:
                    continue
                _, pushes = record_pushes(
                    model,
                    one,
                    prompts,
                    position=settings.position,
                    prepend_bos=settings.prepend_bos,
                    progress=False,
                )
                self.own[row, column] = pushes[:, np.searchsorted(one.layers, layers), units]

    def grid(self) -> PushGrid:
        """Lengths and angles of all of them, and of the fixed push."""
        shape = (self.n, len(self.ks), len(self.strengths))
        norm, fixed_norm = np.zeros(shape), np.zeros(shape[1:])
        fixed_cosine, cosine = np.full(shape, np.nan), np.full((self.n, *shape), np.nan)
        for (row, column), pushes in self.own.items():
            at = (slice(None), row, column)
            own = pushes.reshape(self.n, -1).astype(np.float64)
            fixed = self._fixed(row, column)
            norm[at], fixed_norm[row, column] = (
                np.linalg.norm(own, axis=1),
                np.linalg.norm(fixed),
            )
            with np.errstate(invalid="ignore", divide="ignore"):
                fixed_cosine[at] = own @ fixed / norm[at] / fixed_norm[row, column]
                cosine[:, :, row, column] = own @ own.T / np.outer(norm[at], norm[at])
        return PushGrid(
            *(one.astype(np.float32) for one in (norm, fixed_norm, fixed_cosine, cosine))
        )

    def _fixed(self, row: int, column: int) -> Float[np.ndarray, " value"]:
        """The fixed push of a cell, in the order of the own ones."""
        one = self.recipe.make("fixed", self.ks[row], self.strengths[column])
        if not isinstance(one, MaskedAddition):
            raise TypeError(f"the fixed method must be a MaskedAddition, got {type(one).__name__}")
        return (one.strength * one.vector[one.mask.selected]).ravel().astype(np.float64)

    def given(self, donor: int, row: int) -> list[MaskedAddition | None]:
        """The donor's push in place of a prompt's own, at every strength; None at strength 0."""
        mask = self.recipe.mask("adaptive", self.ks[row])
        found: list[MaskedAddition | None] = [None] * len(self.strengths)
        for column in range(len(self.strengths)):
            if (row, column) in self.own:
                push = self.own[row, column][donor]
                vector = np.zeros((*mask.selected.shape, push.shape[-1]), dtype=np.float32)
                vector[mask.selected] = push
                found[column] = MaskedAddition(mask, vector, 1.0, "push of another prompt")
        return found


def donated_correct(
    model: HookedModel,
    recipe: Recipe,
    dev: Sequence[Sample],
    k: int,
    strengths: Sequence[float],
    settings: Settings,
    *,
    progress: bool,
) -> np.ndarray | None:
    """Whether each sample is right with the push of another, [strength item]; None where all prompts are the same.

    Prompts stand in the random circle of ``sadi_lens.measure.swap_prompts`` (seed 0).
    """
    prompts = list(dict.fromkeys(one.prompt for one in dev))
    if len(prompts) < 2:
        return None
    order = np.random.default_rng(0).permutation(len(prompts))
    donor = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
    pushes = Pushes(model, recipe, prompts, [k], strengths, settings)
    number = {prompt: place for place, prompt in enumerate(prompts)}
    found = np.zeros((len(strengths), len(dev)), dtype=bool)
    bar = tqdm(dev, desc="explorer: pushes of others", disable=not progress)
    for item, sample in enumerate(bar):
        given = pushes.given(donor[number[sample.prompt]], 0)
        results = evaluate_all(model, [sample], given, settings, progress=False)
        found[:, item] = [bool(one.correct[0]) for one in results]
    return found
