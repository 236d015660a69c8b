"""Scoring candidates that change the prompt or bring a model of their own beside those that only steer."""

from collections.abc import Sequence
from dataclasses import replace

from sadi_lens.measure.calls import Settings, items_hash
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.measure.sweeps import Candidate
from sadi_lens.types.data import Sample
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import Evaluation


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
