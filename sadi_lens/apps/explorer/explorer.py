"""``SteeringExplorer``: one object, a page to send round and a widget to work with."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadi_lens.apps.explorer.compute import compute_grid
from sadi_lens.apps.explorer.recipe import Recipe
from sadi_lens.engine.hooks import require_eval
from sadi_lens.interventions.fixed import MATCHES
from sadi_lens.measure.sweeps import KS, STRENGTHS
from sadi_lens.types.answers import SCORINGS
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, require_one_of
from sadi_lens.types.checks import as_path
from sadi_lens.types.data import Sample, Task
from sadi_lens.types.files import require_place
from sadi_lens.types.masks import top_k_mask
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import ExplorerGrid
from sadi_lens.types.scores import RANKINGS


class SteeringExplorer:
    """Move K and strength and see what a model says next: adaptive, fixed and random beside each other.

    ``to_html`` computes every point beforehand and writes one file that needs no model; ``widget`` runs the model at
    every move, on any prompt. What is read off ``dev`` here may be used to choose K and strength; report on test.

    Args:
        model: A bridged model in eval mode.
        task: ``dev`` gives the accuracy map and, unless ``prompts`` are given, the menu of prompts.
        differences: ``ActivationDifferences`` of the component to steer (``activation_differences(...)["head"]``).
        ks: Numbers of units; default ``sweeps.KS`` of the component, as far as the model has that many.
        strengths: Strengths; 0, the unsteered model, is added.
        prompts: Samples or texts for the menu. Default: of ``dev``, in order, one half that the unsteered model
            answers wrong and one half right; ``task.prompts`` where there is no dev.
        n_prompts: Prompts in the default menu.
        position: Which tokens are edited.
        scoring: How dev is scored; see ``evaluate``.
        ranking: How units are ranked.
        match: How far the fixed vector pushes (``MaskedAddition.from_differences``): at the same coefficient it is
            hardly a push at all, so ``"norm"`` is the default.
        seed: Seed of the random units: ``random_mask(differences, k, seed=seed)``.
        max_new_tokens: Length of the continuations.
        prepend_bos: See ``sadi_lens.engine.text.encode``.

    Raises:
        TypeError: If ``differences`` is the dict of all components, or ``prompts`` is one text.
        ValueError: If a value is unknown or out of range, there is no prompt, or the model is of another shape.
    """

    def __init__(
        self,
        model: HookedModel,
        task: Task,
        differences: Any,
        *,
        ks: Sequence[int] | None = None,
        strengths: Sequence[float] = STRENGTHS,
        prompts: Sequence[Sample | str] | None = None,
        n_prompts: int = 8,
        position: str = DEFAULT_POSITION,
        scoring: str = "sum",
        ranking: str = "signed",
        match: str = "norm",
        seed: int = 0,
        max_new_tokens: int = 16,
        prepend_bos: bool | None = None,
    ) -> None:
        require_eval(model)
        require_one_of("position", position, POSITIONS)
        require_one_of("scoring", scoring, SCORINGS)
        require_one_of("ranking", ranking, RANKINGS)
        require_one_of("match", match, MATCHES)
        if isinstance(differences, Mapping):
            raise TypeError(
                f"differences must be those of one component, as in differences['head'], got {sorted(differences)}"
            )
        if isinstance(prompts, str):
            raise TypeError(f"prompts must be a list of texts or samples, got the text {prompts!r}")
        if n_prompts < 1 or max_new_tokens < 1:
            raise ValueError(
                f"n_prompts and max_new_tokens must be at least 1, got {n_prompts} and {max_new_tokens}"
            )
        if prompts is not None and not len(prompts):
            raise ValueError(
                "prompts must hold at least 1, got 0; leave it out to take them from the task"
            )
        chosen = list(prompts or ())
        if not chosen and not task.dev:
            chosen = list(task.prompts[:n_prompts])
        if not chosen and not task.dev:
            raise ValueError(
                f"task {task.name!r} has neither dev nor prompts; give prompts=[...] to explore"
            )
        if ks is None:
            ks = [k for k in KS[differences.component] if k <= differences.mean.size]
        self.model, self.task = model, task
        self.ks = _ascending("ks", ks)
        if not all(math.isfinite(one) for one in strengths):
            raise ValueError(f"strengths must be finite, got {list(strengths)}")
        self.strengths = _ascending("strengths", [float(one) for one in strengths], also=0.0)
        self.recipe = Recipe(differences, ranking, match, seed)
        for k in (self.ks[0], self.ks[-1]):
            top_k_mask(differences, k, ranking=ranking).check(ModelInfo.of(model))
        self.prompts = chosen
        self.n_prompts = n_prompts
        self.position, self.scoring, self.prepend_bos = position, scoring, prepend_bos
        self.max_new_tokens = max_new_tokens
        self._grid: ExplorerGrid | None = None

    def grid(self, *, progress: bool = True) -> ExplorerGrid:
        """Every point, computed once: a result that can be saved, loaded and drawn without the model."""
        if self._grid is None:
            self._grid = compute_grid(
                self.model,
                self.recipe,
                task=self.task.name,
                dev=self.task.dev,
                prompts=self.prompts,
                n_prompts=self.n_prompts,
                ks=self.ks,
                strengths=self.strengths,
                position=self.position,
                scoring=self.scoring,
                max_new_tokens=self.max_new_tokens,
                prepend_bos=self.prepend_bos,
                progress=progress,
            )
        return self._grid

    def to_html(self, path: str | Path, *, progress: bool = True) -> Path:
        """Write the explorer as one HTML file: no network, no model, no kernel.

        Args:
            path: File to write.
            progress: Show bars.

        Raises:
            ValueError: If a prompt does not tokenise or fit the context.
            OSError: If the file cannot be written, or is there and was not written by sadi_lens.
        """
        from sadi_lens.apps.explorer.page import explorer_html
        from sadi_lens.apps.web import write_page

        path = as_path("path", path)
        require_place(path)  # before the work
        return write_page(explorer_html(self.grid(progress=progress)), path)

    def widget(self, *, theme: str = "light") -> Any:
        """The live explorer for notebooks: any prompt, the model runs at every move.

        Args:
            theme: ``"light"`` or ``"dark"``.

        Raises:
            ImportError: If ipywidgets or anywidget is missing.
        """
        from sadi_lens.apps.explorer.widget import LiveExplorer

        return LiveExplorer(self, theme).box


def _ascending(name: str, values: Sequence[Any], also: Any = None) -> tuple[Any, ...]:
    """A slider's stops: in order, each once."""
    if not len(values):
        raise ValueError(f"{name} must not be empty")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} must differ, got {list(values)}")
    return tuple(sorted({*values} if also is None else {*values, also}))
