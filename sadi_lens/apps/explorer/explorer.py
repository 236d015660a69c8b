"""``SteeringExplorer``: one object, a page to send round and a widget to work with."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadi_lens.apps.explorer.compute import Wanted, compute_grid
from sadi_lens.apps.explorer.recipe import Recipe
from sadi_lens.engine.hooks import require_eval
from sadi_lens.interventions.fixed import MATCHES
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.sweeps import KS, STRENGTHS
from sadi_lens.plots._unit_map import require_same_pairs
from sadi_lens.types.answers import SCORINGS
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, require_one_of
from sadi_lens.types.checks import as_path
from sadi_lens.types.data import Sample, Task
from sadi_lens.types.files import require_place
from sadi_lens.types.masks import top_k_mask
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import ExplorerGrid, SignFlipNull
from sadi_lens.types.scores import RANKINGS
from sadi_lens.types.seals import EXPLORER


class SteeringExplorer:
    """Move K and strength and see whom steering helps: adaptive, fixed and random beside each other.

    ``to_html`` computes every point beforehand and writes one file that needs no model: a dot for every dev sample,
    texts, pushes, maps. ``widget`` runs the model at every move, on any prompt. What is read off ``dev`` here may be
    used to choose K and strength; report on test.

    Args:
        model: A bridged model in eval mode.
        task: ``dev`` gives the accuracy map and, unless ``prompts`` are given, the menu of prompts.
        differences: ``ActivationDifferences`` of the component to steer (``activation_differences(...)["head"]``).
        ks: Numbers of units; default ``sweeps.KS`` of the component, as far as the model has that many.
        strengths: Strengths; 0, the unsteered model, is added.
        prompts: Samples or texts for the menu. Default: of ``dev``, some of every outcome (right or wrong unsteered,
            with SADI, with the fixed vector), as many as it has items; ``task.prompts`` where there is no dev.
        n_prompts: Prompts in the default menu.
        position: Which tokens are edited.
        scoring: How dev is scored; see ``evaluate``.
        ranking: How units are ranked.
        match: How far the fixed vector pushes (``MaskedAddition.from_differences``): at the same coefficient it is
            hardly a push at all, so ``"norm"`` is the default.
        seed: Seed of the random units: ``random_mask(differences, k, seed=seed)``.
        max_new_tokens: Length of the continuations.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        null: ``sign_flip_null`` of the same pairs: units that do not exceed it are grey.

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
        null: SignFlipNull | None = None,
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
        require_same_pairs(differences, null)
        self.recipe = Recipe(differences, ranking, match, seed, null)
        for k in (self.ks[0], self.ks[-1]):
            top_k_mask(differences, k, ranking=ranking).check(ModelInfo.of(model))
        self.prompts = chosen
        self.n_prompts = n_prompts
        self.position, self.scoring, self.prepend_bos = position, scoring, prepend_bos
        self.max_new_tokens = max_new_tokens
        self._grid: ExplorerGrid | None = None

    @property
    def settings(self) -> Settings:
        """How prompts are scored and continued."""
        return Settings(
            self.task.name, self.position, self.scoring, self.prepend_bos, self.max_new_tokens
        )

    def grid(self, *, progress: bool = True) -> ExplorerGrid:
        """Every point, computed once: a result that can be saved, loaded and drawn without the model."""
        if self._grid is None:
            wanted = Wanted(
                self.task.dev, self.prompts, self.n_prompts, self.ks, self.strengths, self.settings
            )
            self._grid = compute_grid(self.model, self.recipe, wanted, progress=progress)
        return self._grid

    def to_html(
        self,
        path: str | Path,
        *,
        writing: "SteeringExplorer | None" = None,
        progress: bool = True,
    ) -> Path:
        """Write the explorer as one HTML file: no network, no model, no kernel.

        Args:
            path: File to write.
            writing: A second explorer for a tab of its own, of prompts that the model continues freely: of the same
                model and strengths, at one K.
            progress: Show bars.

        Raises:
            ValueError: If a prompt does not tokenise or fit the context, or ``writing`` does not fit.
            OSError: If the file cannot be written, or is there and is no explorer that sadi_lens wrote.
        """
        from sadi_lens.apps.explorer.page import explorer_html
        from sadi_lens.apps.web import write_page

        path = as_path("path", path)
        require_place(path, EXPLORER)  # before the work
        grids = [one.grid(progress=progress) for one in (self, writing) if one is not None]
        return write_page(explorer_html(*grids), path, EXPLORER)

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
