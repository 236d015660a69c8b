"""The cells of an experiment: their order, their names, and what is the same in several of them."""

import hashlib
import itertools
import json
import re
from dataclasses import asdict, dataclass, replace

from sadi_lens.apps.experiments.experiment import ALL, GIVEN, OWN, Experiment, grid_method
from sadi_lens.types.base import DEFAULT_POSITION

UNSTEERED = "unsteered"
DRAWN = ("random", "other", "toxic")
"""Negatives that a seed decides."""


@dataclass(frozen=True)
class Cell:
    """One row of the results: what was steered, how, from which pairs."""

    model: str
    task: str
    shots: int
    pair_task: str
    negatives: str
    n_pairs: int | str
    seed: int
    method: str
    component: str
    ranking: str
    position: str

    @property
    def id(self) -> str:
        """A folder name: readable, and unique by a hash."""
        values = [str(value) for value in asdict(self).values() if value != ""]
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:8]
        words = re.sub(r"[^A-Za-z0-9-]+", "_", ".".join([values[0].split("/")[-1], *values[1:]]))
        return f"{words[:120]}.{digest}"

    @property
    def pairs_key(self) -> tuple[object, ...]:
        """Equal for cells whose mask comes from the same pairs."""
        return (
            self.model,
            self.task,
            self.shots,
            self.pair_task,
            self.negatives,
            self.n_pairs,
            self.seed if self.draws_pairs else None,
        )

    @property
    def draws_pairs(self) -> bool:
        """Whether the seed decides the pairs or the examples before them."""
        return self.n_pairs != ALL or bool(self.shots) or self.negatives in DRAWN

    @property
    def base(self) -> "Cell":
        """The unsteered cell on the same items."""
        return Cell(
            model=self.model,
            task=self.task,
            shots=self.shots,
            pair_task="",
            negatives="",
            n_pairs="",
            seed=self.seed,
            method=UNSTEERED,
            component="",
            ranking="",
            position="",
        )

    @property
    def label(self) -> str:
        """Name of the row: method, component, and what differs from the defaults."""
        if self.method == UNSTEERED:
            return UNSTEERED
        words = [self.method, self.component]
        words += [f"{self.ranking} ranking"] if self.ranking not in ("", "signed") else []
        words += [f"pairs of {self.pair_task}"] if self.pair_task != OWN else []
        words += [f"{self.negatives} negatives"] if self.negatives != GIVEN else []
        words += [f"{self.n_pairs} pairs"] if self.n_pairs != ALL else []
        words += [self.position] if self.position != "last_prompt" else []
        words += [f"seed {self.seed}"] if self.seed else []
        return ", ".join(words)


def cells_of(experiment: Experiment) -> list[Cell]:
    """Every cell once, unsteered ones first in their group; equal pairs stand together."""
    found: dict[Cell, None] = {}
    one = experiment
    for model, task, shots, pair_task, negatives, n_pairs, seed in itertools.product(
        one.models,
        [spec.label for spec in one.tasks],
        one.shots,
        one.pair_tasks,
        one.negatives,
        one.n_pairs,
        one.seeds,
    ):
        if pair_task == task:  # its own pairs are "own"
            continue
        for component, ranking, method, position in itertools.product(
            one.components, one.rankings, one.methods, one.positions
        ):
            own = grid_method(method)
            if position == OWN:
                position = own.position or DEFAULT_POSITION
            cell = Cell(
                model,
                task,
                shots,
                pair_task,
                negatives,
                n_pairs,
                seed,
                method,
                own.component or component,
                ranking if own.is_ranked else "",
                position,
            )
            if not own.draws and not cell.draws_pairs:
                cell = replace(cell, seed=one.seeds[0])
            base = cell.base if shots else replace(cell.base, seed=one.seeds[0])
            found.setdefault(base)
            found.setdefault(cell)
    return list(found)


def base_of(cell: Cell, experiment: Experiment) -> Cell:
    """The unsteered cell that ``cell`` is compared with."""
    return cell.base if cell.shots else replace(cell.base, seed=experiment.seeds[0])
