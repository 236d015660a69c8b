"""Which way the answers of items are scored under a list of interventions.

"shared"   what the interventions share is computed once: on the raw Hugging Face model where the architecture takes
           it (``sadi_lens.engine.scoring``), else from an expanded KV cache on the bridge
           (``sadi_lens.engine.bridge_scoring``)
"plain"    one full text at a time through the bridge, nothing shared: the slow way that the other is checked by
"""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from sadi_lens.engine.bridge_scoring import ItemScores, score_on_bridge
from sadi_lens.engine.edits import is_affine
from sadi_lens.engine.hooks import device_of
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.prefix import shares_prefix
from sadi_lens.engine.runner import raw_model
from sadi_lens.engine.scoring import TreeScorer
from sadi_lens.engine.steering import steer
from sadi_lens.engine.text import EncodedItem
from sadi_lens.types.base import require_one_of
from sadi_lens.types.model import HookedModel

ENGINES = ("shared", "plain")

logger = logging.getLogger(__name__)


def score_answers(
    model: HookedModel,
    items: Sequence[EncodedItem],
    interventions: Sequence[Intervention | None],
    position: str,
    *,
    engine: str = "shared",
) -> Iterator[ItemScores]:
    """Score every answer of every item under every intervention, a few items at a time.

    Args:
        model: A bridged model in eval mode.
        items: Encoded prompts with answers.
        interventions: None stands for the unsteered model.
        position: Where the interventions act.
        engine: One of ``ENGINES``; both give the same numbers to rounding.

    Yields:
        Scores of a batch of items; together, every item once, shortest first.

    Raises:
        ValueError: If the engine is unknown.
        MemoryError: If an item does not fit into memory even alone.
    """
    require_one_of("engine", engine, ENGINES)
    if engine == "plain":
        yield from _score_plainly(model, items, interventions, position)
        return
    raw = raw_model(model)
    are_affine = [is_affine(one) for one in interventions]
    longest = max((item.length for item in items), default=0)
    if raw is None or not any(are_affine) or not shares_prefix(raw, longest):
        _say_once(model, raw is None)
        yield from score_on_bridge(model, items, interventions, position)
        return
    ours = [index for index, yes in enumerate(are_affine) if yes]
    rest = [index for index, yes in enumerate(are_affine) if not yes]
    scorer = TreeScorer(model, raw, [interventions[index] for index in ours], position)
    for found in scorer.batches(items):
        if not rest:
            yield found
            continue
        shape = (len(interventions), *found.logprobs.shape[1:])
        logprobs, valid = np.empty(shape, dtype=np.float32), np.empty(shape[:2], dtype=bool)
        argmax = np.full((len(interventions), *found.argmax.shape[1:]), -1)
        logprobs[ours], valid[ours], argmax[ours] = found.logprobs, found.valid, found.argmax
        chosen = [items[index] for index in found.indices]
        others = [interventions[index] for index in rest]
        for part in score_on_bridge(model, chosen, others, position):
            where = np.ix_(rest, part.indices)
            logprobs[where] = np.nan
            logprobs[:, :, : part.logprobs.shape[2]][where] = part.logprobs
            valid[where] = part.valid
            _, _, choices, tokens = part.argmax.shape
            argmax[:, :, :choices, :tokens][where] = part.argmax
        yield ItemScores(found.indices, logprobs, valid, argmax)


def _say_once(model: HookedModel, is_bridge: bool) -> None:
    if "sadi_lens_said" not in model.__dict__:
        model.__dict__["sadi_lens_said"] = True
        why = (
            "it was not loaded by load_model, was changed, or carries other hooks"
            if is_bridge
            else "its attention takes no tree of answers (alibi), or sees less than these texts (a sliding window)"
        )
        logger.info("scoring on the bridge with an expanded KV cache, which is slower: %s", why)


def _score_plainly(
    model: HookedModel,
    items: Sequence[EncodedItem],
    interventions: Sequence[Intervention | None],
    position: str,
) -> Iterator[ItemScores]:
    """One forward pass per item, intervention and answer, on the bridge, without cache or padding."""
    device = device_of(model)
    for index in sorted(range(len(items)), key=lambda one: items[one].length):
        item = items[index]
        end = len(item.prompt)
        logprobs = np.empty((len(interventions), 1, len(item.answers)), dtype=np.float32)
        valid = np.empty((len(interventions), 1), dtype=bool)
        width = max(len(answer) for answer in item.answers)
        argmax = np.full((*logprobs.shape, width), -1)
        for row, one in enumerate(interventions):
            for column, answer in enumerate(item.answers):
                text = torch.tensor([item.prompt + answer], device=device)
                with (
                    torch.inference_mode(),
                    steer(model, one, position=position, prompt_lengths=[end]),
                ):
                    logits = model(text, use_cache=False)[0, end - 1 : -1].float()
                found = logits.log_softmax(dim=-1)[range(len(answer)), list(answer)]
                logprobs[row, 0, column] = float(found.sum())
                valid[row, 0] = int(logits[0].argmax()) in {first for first, *_ in item.answers}
                argmax[row, 0, column, : len(answer)] = logits.argmax(dim=-1).cpu().numpy()
        yield ItemScores([index], logprobs, valid, argmax)
