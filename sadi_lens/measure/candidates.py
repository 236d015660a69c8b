"""What a method may choose: an intervention, a text before the prompt, a model of its own; and scoring all kinds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sadi_lens.engine.intervention import Intervention
from sadi_lens.measure.calls import Settings, items_hash
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.types.checks import check_value
from sadi_lens.types.data import Sample
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import Evaluation

FIELDS: dict[str, Any] = {
    "intervention": Intervention,
    "k": int,
    "strength": float,
    "before": str,
    "build": Callable[..., Any],
    "words": str,
    "rebuild": Callable[..., Any],
}
"""What the fields of a candidate are, where they are given."""


@dataclass(frozen=True)
class Candidate:
    """What a method may choose on dev: an intervention, a text before every prompt, a model of its own, or several."""

    intervention: Intervention | None
    """None is the unsteered model."""
    k: int = 0
    """Units selected, or the layer (``Sweep.axis``)."""
    strength: float = float("nan")
    """NaN where the method has none."""
    before: str = ""
    """Text that goes before every prompt (an instruction, examples)."""
    build: Callable[[], HookedModel] | None = None
    """Makes the model that it runs on, where that is not the model compared (fine-tuning)."""
    words: str = ""
    """What text or model it is, for the table."""
    rebuild: Callable[[Sequence[Any]], Intervention] | None = None
    """Builds the intervention for the prompts of a run, where it must know them."""

    def __post_init__(self) -> None:
        for name, kind in FIELDS.items():
            value = getattr(self, name)
            is_left_out = value is getattr(Candidate, name, None)
            if not is_left_out and not (name == "strength" and value != value):
                check_value(name, value, kind, 0 if name == "k" else None)

    def on(self, model: HookedModel) -> HookedModel:
        """The model that it runs on, where ``model`` is the one compared."""
        if self.build is None:
            return model
        return check_value("what build gives", self.build(), HookedModel)

    def over(self, prompts: Sequence[str]) -> "Candidate":
        """The same for a run over ``prompts``."""
        if self.rebuild is None:
            return self
        found = self.rebuild([self.before + one for one in prompts])
        return replace(self, intervention=check_value("what rebuild gives", found, Intervention))


def behind(text: str, samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples with ``text`` before every prompt."""
    return [replace(one, prompt=text + one.prompt) for one in samples] if text else samples


def evaluate_candidates(
    model: HookedModel,
    samples: Sequence[Sample],
    candidates: Sequence[Candidate],
    settings: Settings,
    *,
    labels: Sequence[str] | None = None,
) -> list[Evaluation]:
    """One result a candidate, in their order, all filed under the samples as given.

    Candidates with the same text and model share their passes.
    """
    groups: dict[tuple[object, str], list[int]] = {}
    for place, one in enumerate(candidates):
        groups.setdefault((one.build, one.before), []).append(place)
    items = items_hash(samples)
    found: dict[int, Evaluation] = {}
    for places in groups.values():
        first = candidates[places[0]]
        results = evaluate_all(
            first.on(model),
            behind(first.before, samples),
            [candidates[place].intervention for place in places],
            settings,
            labels=None if labels is None else [labels[place] for place in places],
            progress=False,
        )
        found |= {
            place: replace(one, items=items) for place, one in zip(places, results, strict=True)
        }
    return [found[place] for place in range(len(candidates))]
