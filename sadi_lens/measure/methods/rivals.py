"""Methods of other papers, each with the grid of its own settings.

Layers take the place of K where a method acts on one layer. Strengths are in the unit of each paper, around the value
it recommends.
"""

from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from sadi_lens.engine.text import encode
from sadi_lens.find.pair_activations import count_clusters
from sadi_lens.interventions import (
    CAST,
    ITI,
    TDA,
    ActAdd,
    AUSteer,
    HouseholderRotation,
    InferAlignerGate,
    SphericalSteering,
    caa,
    tail_thresholds,
)
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.candidates import Candidate
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.measure.methods.base import Material, UnavailableError
from sadi_lens.types.data import Sample
from sadi_lens.types.masks import top_k_mask
from sadi_lens.types.model import ModelInfo

WORDS = (
    (" right", " wrong"),
    (" true", " false"),
    (" yes", " no"),
    (" good", " bad"),
    (" happy", " sad"),
    (" Love", " Hate"),
)
"""Prompt pairs of ActAdd. It takes two prompts, not contrastive pairs; a task that knows better ones gives its own
method."""
VECTOR_STRENGTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
FOLDS = 5
"""Of a probe, as ``unit_scores`` has them."""
ITI_KS = (2, 4, 8, 16, 32, 48)
ITI_STRENGTHS = (1.0, 2.0, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0)
AUSTEER_KS = (1, 5, 10, 25, 50, 100)
AUSTEER_STRENGTHS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
CETT = 0.2
"""Share of an MLP's output that TDA leaves out."""
BETAS = (-0.15, 0.1, 0.4)
"""Thresholds of spherical steering: its authors' two, and one between."""
TURNS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
"""Strengths of the two methods that rotate."""


def _layers(material: Material) -> range:
    return range(ModelInfo.of(material.model).n_layers)


def _rows(made: dict[int, Any], cells: list[tuple[int, float]]) -> list[Candidate]:
    """Candidates for every row and strength: each row is built once, then set to each strength."""
    return [Candidate(replace(made[k], strength=s), k, s) for k, s in cells]


def actadd(material: Material, budget: int | None) -> list[Candidate]:
    """Prompt pairs of ``WORDS`` with as many tokens on either side, by layer and strength.

    Raises:
        UnavailableError: If the tokenizer has no such pair.
    """
    tokenizer: Any = material.model.tokenizer
    tokens = {word: encode(tokenizer, word) for pair in WORDS for word in pair}
    pairs = [
        (one, two)
        for one, two in WORDS
        if len(tokens[one]) == len(tokens[two])
        and tokens[one] != tokens[two]
        and tokenizer.unk_token_id not in (*tokens[one], *tokens[two])
    ]
    if not pairs:
        raise UnavailableError(
            f"it needs two known prompts of equal length, and this tokenizer knows none of {WORDS}; "
            "give a Method with prompts of your own"
        )
    chosen = material.grid(list(product(_layers(material), pairs)), VECTOR_STRENGTHS, budget)
    made = {
        (layer, pair): ActAdd.from_prompts(material.model, *pair, layer)
        for layer, pair in dict.fromkeys(key for key, _ in chosen)
    }
    return [Candidate(replace(made[key], strength=s)) for key, s in chosen]


def caa_layers(material: Material, budget: int | None) -> list[Candidate]:
    """The mean difference of the residual stream, by layer and strength."""
    own = material.differences["hidden"]
    return [
        Candidate(caa(own, layer, s), layer, s)
        for layer, s in material.grid(_layers(material), VECTOR_STRENGTHS, budget)
    ]


def iti(material: Material, budget: int | None) -> list[Candidate]:
    """Heads by probe accuracy, by K and strength.

    Raises:
        UnavailableError: If the pairs are of fewer clusters than a probe has folds.
    """
    n = count_clusters(material.pairs)
    if n < FOLDS:
        raise UnavailableError(f"its probes have {FOLDS} folds, and the pairs are of {n} clusters")
    scores = material.scores("head", "probe")
    chosen = material.grid([k for k in ITI_KS if k <= scores.values.size], ITI_STRENGTHS, budget)
    made = {
        k: ITI.from_pairs(material.model, material.pairs, top_k_mask(scores, k), progress=False)
        for k in dict(chosen)
    }
    return _rows(made, chosen)


def austeer(material: Material, budget: int | None) -> list[Candidate]:
    """Single values of head outputs by consistency, by K and strength."""
    own = material.differences["head"]
    chosen = material.grid(
        [k for k in AUSTEER_KS if k <= own.vector.size], AUSTEER_STRENGTHS, budget
    )
    made = {
        k: AUSteer.from_pairs(material.model, material.pairs, k, component="head", progress=False)
        for k in dict(chosen)
    }
    return _rows(made, chosen)


def cast(material: Material, budget: int | None) -> list[Candidate]:
    """Pushes at one layer on the prompts that the model answers wrong by itself, told apart in the layer before.

    Raises:
        UnavailableError: If it answers all pairs right, or all wrong: then there is no condition to learn.
    """
    labelled = _answered(material)
    n = min(len(one) for one in labelled)
    chosen = material.grid(_layers(material), VECTOR_STRENGTHS, budget)
    made = {
        layer: CAST.from_pairs(
            material.model,
            material.pairs,
            layer,
            labelled=(labelled[0][:n], labelled[1][:n]),
            progress=False,
        )
        for layer in dict(chosen)
    }
    return _rows(made, chosen)


def _answered(material: Material) -> tuple[list[str], list[str]]:
    """Prompts of the pairs that the unsteered model answers wrong, and those that it answers right.

    A prompt with several wrong answers is answered right where it is against all of them.
    """
    if "answered" not in material.read:
        pairs = [one for one in material.pairs if one.negative_prompt is None]
        samples = [Sample(one.prompt, (one.positive, one.negative), 0) for one in pairs]
        material.require_own_tokens(samples)
        right: dict[str, bool] = {}
        if samples:
            (found,) = evaluate_all(material.model, samples, [None], Settings(), progress=False)
            for one, is_right in zip(pairs, found.correct.tolist(), strict=True):
                right[one.prompt] = is_right and right.get(one.prompt, True)
        material.read["answered"] = tuple(
            [prompt for prompt, is_right in right.items() if is_right == wanted]
            for wanted in (False, True)
        )
    wrong, right_ones = material.read["answered"]
    if not wrong or not right_ones:
        raise UnavailableError(
            f"its condition is learned from pairs that the model answers wrong and right, and there are {len(wrong)} "
            f"and {len(right_ones)}"
        )
    return wrong, right_ones


def hpr(material: Material, budget: int | None) -> list[Candidate]:
    """Turns past a probe's hyperplane, by layer and share of the mean angle."""
    chosen = material.grid(_layers(material), TURNS, budget)
    made = {
        layer: HouseholderRotation.from_pairs(material.model, material.pairs, layer, progress=False)
        for layer in dict(chosen)
    }
    return _rows(made, chosen)


def spherical(material: Material, budget: int | None) -> list[Candidate]:
    """Turns towards the mean difference, by layer and alpha, and by beta."""
    own = material.differences["hidden"]
    sets = list(product(_layers(material), BETAS))
    return [
        Candidate(SphericalSteering.from_differences(own, layer, s, threshold=beta))
        for (layer, beta), s in material.grid(sets, TURNS, budget)
    ]


def gate(material: Material, budget: int | None) -> list[Candidate]:
    """Gated pushes along the answers' mean difference: each layer alone, or all together.

    After InferAligner, whose vectors are of harmful and harmless prompts, the push from a second, aligned model:
    ``InferAlignerGate.from_prompts`` builds that where there is one.
    """
    own = material.differences["hidden"]
    sets = [*((layer,) for layer in _layers(material)), tuple(_layers(material))]
    return [
        Candidate(InferAlignerGate.from_differences(own, layers, s))
        for layers, s in material.grid(sets, VECTOR_STRENGTHS, budget)
    ]


def tda(material: Material, budget: int | None) -> list[Candidate]:  # noqa: ARG001  # one signature
    """Each prompt's own neurons, at the threshold of its authors: nothing is left to choose on dev."""
    thresholds = tail_thresholds(material.model, material.prompts, cett=CETT)
    build = partial(TDA.from_prompts, material.model, cett=CETT, thresholds=thresholds)
    return [Candidate(None, rebuild=build)]
