"""Log-probabilities of answers under many interventions, with as little computed as is exact.

An edit at the last prompt token or later leaves everything before it as it was. So the prompt without its last token is
run once per item, and then, for every intervention, one copy of [last prompt token, answers side by side]
(``sadi_lens.engine.prefix``). Where an edit reaches the prompt (position ``"all"``, or an intervention that chooses its
own tokens), every intervention gets a row of its own with the whole prompt; only the answers share it. Values of a
clean run are those of an unsteered copy beside it.

Where an architecture takes no such tree (alibi, a short window), or the bridge carries hooks of someone else, whole
texts are run in batches (``sadi_lens.engine.whole_texts``).
"""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadi_lens.engine.edits import Edits
from sadi_lens.engine.hooks import require_eval
from sadi_lens.engine.intervention import AffineIntervention, Intervention, chooses_positions
from sadi_lens.engine.passes import (
    Branches,
    batches_by_tokens,
    branches,
    by_side,
    device_of,
    pad_id,
    pass_bytes,
    pass_tokens,
    smaller_when_full,
    token_bytes,
    valid_answers,
)
from sadi_lens.engine.prefix import TreePositions, prefill, run_copies, run_rows
from sadi_lens.engine.runner import RawRunner, Runner, runner_of
from sadi_lens.engine.text import EncodedItem
from sadi_lens.engine.whole_texts import ItemScores, score_texts
from sadi_lens.types.model import HookedModel

logger = logging.getLogger(__name__)

MAX_NODES = 512
"""Tokens of all copies behind one prompt: their mask and their attention grow with the square."""
TABLE_BYTES = 64 * 2**20
"""Scales and shifts that are kept from one batch of items to the next; more are made again."""


def score_answers(
    model: HookedModel,
    items: Sequence[EncodedItem],
    interventions: Sequence[Intervention | None],
    position: str,
    *,
    engine: str = "shared",
) -> Iterator[ItemScores]:
    """Score every answer of every item under every intervention (None: unsteered), a few items at a time.

    ``engine="plain"`` runs one full text at a time through the bridge, nothing shared: the slow way that ``"shared"``
    is checked by. Both give the same numbers to rounding. Every item comes once, shortest first.

    Raises:
        ValueError: If an item lies on both sides of a ``rope_boundary``.
        MemoryError: If an item does not fit into memory even alone.
    """
    # The last token of a text predicts nothing and is not run.
    for members in by_side(model, [(one.lengths[0] - 1, one.lengths[1] - 1) for one in items]):
        few = [items[index] for index in members]
        for found in _score(model, few, interventions, position, engine):
            yield found._replace(indices=[members[index] for index in found.indices])


def _score(
    model: HookedModel,
    items: Sequence[EncodedItem],
    interventions: Sequence[Intervention | None],
    position: str,
    engine: str,
) -> Iterator[ItemScores]:
    if engine == "plain":
        require_eval(model)
        return score_texts(Runner(model), items, interventions, position, is_shared=False)
    runner = runner_of(model)
    longest = max((item.length for item in items), default=0)
    if isinstance(runner, RawRunner) and runner.shares_prefix(longest):
        return TreeScorer(runner, interventions, position).batches(items)
    why = "takes no tree" if isinstance(runner, RawRunner) else "runs as a bridge"
    logger.info("%s %s: scoring whole texts, which is slower", runner.info.name, why)
    return score_texts(runner, items, interventions, position, is_shared=True)


class Chunk(NamedTuple):
    """Interventions of one pass."""

    copy_of: dict[int, int]
    """Intervention (its place in the whole list) -> the copy that has its scores."""
    edits: Edits
    present: tuple[int, ...]
    """Copies that run in each layer."""
    is_whole: bool
    """Every copy has rows of its own, with the whole prompt."""


class TreeScorer:
    """Scores items under a fixed list of interventions.

    Args:
        runner: A Hugging Face model that ``shares_prefix``.
        interventions: None stands for the unsteered model.
        position: Where they act.
    """

    def __init__(
        self, runner: RawRunner, interventions: Sequence[Intervention | None], position: str
    ) -> None:
        self.runner, self.interventions, self.position = runner, interventions, position
        idle = [index for index, one in enumerate(interventions) if one is None or not one.layers]
        rest = [index for index in range(len(interventions)) if index not in set(idle)]
        whole = [
            index for index in rest if position == "all" or chooses_positions(interventions[index])
        ]
        self.idle, self.whole = idle, sorted(whole, key=self._order)
        self.branching = sorted((one for one in rest if one not in set(whole)), key=self._order)
        self._chunks: dict[int, list[Chunk]] = {}

    def _order(self, index: int) -> tuple[bool, int]:
        """Those that may join later first, by the layer where they do."""
        one: Any = self.interventions[index]  # it has layers, otherwise it is idle
        return not isinstance(one, AffineIntervention), min(one.layers)

    def batches(self, items: Sequence[EncodedItem]) -> Iterator[ItemScores]:
        """Scores of every item, a few at a time, shortest first; in smaller passes where memory runs out."""
        groups: dict[tuple[bool, bool], list[int]] = {}
        for index, item in enumerate(items):
            is_single = all(len(answer) == 1 for answer in item.answers)
            groups.setdefault((is_single, len(item.prompt) > 1), []).append(index)

        def run(chosen: list[int], at_once: int) -> ItemScores:
            found = self.score([items[index] for index in chosen], at_once)
            return found._replace(indices=chosen)

        for _, members in sorted(groups.items()):
            at_once, loads = self._plan([items[index] for index in members])
            found = batches_by_tokens([math.ceil(load * 1e6) for load in loads], 10**6)
            batches = ([members[place] for place in places] for places in found)
            for _, scores in smaller_when_full(batches, run, at_once):
                yield scores

    def _plan(self, items: Sequence[EncodedItem]) -> tuple[int, list[float]]:
        """Copies of an item in one pass, and the share of a pass that each item with its copies takes."""
        model, longest = self.runner.model, max(item.length for item in items)
        tokens, memory = pass_tokens(model, longest), pass_bytes(model)
        logits = 12 * int(model.cfg.d_vocab)

        def copy_load(item: EncodedItem) -> float:
            nodes = 1 + len(item.answers) * (max(len(answer) for answer in item.answers) - 1)
            seen = len(item.prompt) + (nodes if self.whole else MAX_NODES)
            run = seen if self.whole else nodes
            return max(
                run / tokens,
                (run * (token_bytes(model, seen) + 4 * seen) + nodes * logits) / memory,
                nodes / MAX_NODES,
            )

        loads = [copy_load(item) for item in items]
        at_once = max(1, min(len(self.interventions) + 1, int(1 / max(loads))))
        return at_once, [
            max(at_once * load, len(item.prompt) / tokens)
            for load, item in zip(loads, items, strict=True)
        ]

    @torch.inference_mode()
    def score(self, items: list[EncodedItem], at_once: int) -> ItemScores:
        """Scores of items that fit into one pass with ``at_once`` copies each."""
        runner = self.runner
        device = device_of(runner.model)
        tree = branches(items, drop_last=True, pad=pad_id(runner.model), device=device)
        answers, real = padded_answers(items, device)
        logprobs = np.empty((len(self.interventions), *answers.shape[:2]), dtype=np.float32)
        argmax = np.empty((len(self.interventions), *answers.shape), dtype=np.int64)
        if at_once not in self._chunks:
            self._chunks = {at_once: list(self.chunks(at_once))}
        chunks = self._chunks[at_once]
        cache = None if all(one.is_whole for one in chunks) else prefill(runner, tree)
        overflowed = np.zeros(logprobs.shape[:2], dtype=bool)
        for chunk in chunks:
            logits = self.run(chunk, items, tree, cache)
            where, copies = list(chunk.copy_of), list(chunk.copy_of.values())
            over = chunk.edits.peaks.overflow()
            if over is not None:
                rows = (over[0].T if chunk.is_whole else over[0]).to(logits.device)
                logits[:, : rows.shape[1]].masked_fill_(rows[..., None, None], math.nan)
                flags = np.zeros((len(chunk.edits.interventions), len(items)), dtype=bool)
                flags[: rows.shape[1]] = rows.T.cpu().numpy()
                overflowed[where] = flags[copies]
            found = read_answers(logits, tree, answers, real)
            logprobs[where], argmax[where] = (part.cpu().numpy()[copies] for part in found)
            if sum(one.edits.nbytes for one in chunks) > TABLE_BYTES:
                chunk.edits.forget()
        broken = np.asarray(np.isnan(logprobs[:, :, 0]))
        if (broken & ~overflowed).any() and len(self.interventions) > 1:
            self._score_apart(items, at_once, broken, overflowed, (logprobs, argmax))
        logprobs[:, ~real.any(dim=2).cpu().numpy()] = np.nan
        places = list(range(len(items)))
        return ItemScores(places, logprobs, valid_answers(items, argmax), argmax)

    def _score_apart(
        self,
        items: list[EncodedItem],
        at_once: int,
        broken: Bool[np.ndarray, "intervention item"],
        overflowed: Bool[np.ndarray, "intervention item"],
        scores: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Score again what is NaN for no reason of its own: 0 x NaN is NaN, so one copy's reaches those beside it.

        Those that overflowed are left out, where some are known; otherwise everybody runs alone.
        """
        again = np.flatnonzero((broken & ~overflowed).any(axis=1)).tolist()
        has_own = np.asarray(overflowed.any(axis=1))
        alone = [index for index in again if has_own[index] or not has_own.any()]
        rest = [index for index in again if index not in set(alone)]
        for group in filter(None, [*([one] for one in alone), rest]):
            few = TreeScorer(self.runner, [self.interventions[one] for one in group], self.position)
            found = few.score(items, at_once)
            scores[0][group], scores[1][group] = found.logprobs, found.argmax

    def run(
        self, chunk: Chunk, items: Sequence[EncodedItem], tree: Branches, cache: object
    ) -> Float[Tensor, "item copy node vocab"]:
        """Logits of the nodes behind every item, one copy an intervention of the chunk."""
        positions = TreePositions(self.position, items, tree, chunk.present[-1], chunk.is_whole)
        with self.runner.attach(chunk.edits.hooks(positions)):
            if chunk.is_whole:
                return run_rows(self.runner, tree, chunk.present)
            return run_copies(self.runner, tree, cache, chunk.present)

    def chunks(self, at_once: int) -> Iterator[Chunk]:
        """Passes of at most ``at_once`` interventions; the unsteered copy goes ahead where one is asked for."""
        idle = self.idle
        for is_whole, order in ((False, self.branching), (True, self.whole)):
            is_idle = bool(idle) and not order and not self.whole
            for start in [0] if is_idle else range(0, len(order), at_once):
                members = order[start : start + at_once]
                several = [self.interventions[index] for index in members]
                first = [self._order(index)[1] for index in members]
                joins = all(isinstance(one, AffineIntervention) for one in several)
                needs_clean = any(getattr(one, "need", "") == "clean" for one in several)
                leads = bool(idle) or needs_clean or (joins and any(first))
                copies = [None] * leads + several
                present = [
                    leads + sum(start <= layer for start in first) if joins else len(copies)
                    for layer in range(self.runner.info.n_layers)
                ]
                copy_of = {index: leads + at for at, index in enumerate(members)}
                copy_of |= dict.fromkeys(idle, 0)
                idle = []
                which = torch.arange(len(copies), device="cpu")
                which = which[:, None] if is_whole else which
                edits = Edits(copies, which, n_heads=self.runner.info.n_heads)
                yield Chunk(copy_of, edits, tuple(present), is_whole)


def padded_answers(
    items: Sequence[EncodedItem], device: torch.device
) -> tuple[Int[Tensor, "item choice token"], Bool[Tensor, "item choice token"]]:
    """Answers of a few items, and which of these tokens are real."""
    n_choices = max(len(item.answers) for item in items)
    width = max(len(answer) for item in items for answer in item.answers)
    rows = [item.answers + ((),) * (n_choices - len(item.answers)) for item in items]
    filled = [[[*answer, *[-1] * (width - len(answer))] for answer in row] for row in rows]
    answers = torch.tensor(filled, device=device)
    return answers.clamp(min=0), answers >= 0


def read_answers(
    logits: Float[Tensor, "item copy node vocab"],
    tree: Branches,
    answers: Int[Tensor, "item choice token"],
    real: Bool[Tensor, "item choice token"],
) -> tuple[Float[Tensor, "copy item choice"], Int[Tensor, "copy item choice token"]]:
    """Log-probability (nats) of every answer in every copy of a tree without the answers' last tokens.

    With it the most likely token in place of each answer token, -1 where there is none.
    """
    device, choices = logits.device, answers.shape[1]
    answers, real = answers.to(device), real[:, None].to(device)
    later = torch.arange(1, 1 + choices * tree.width, device=device).reshape(choices, tree.width)
    nodes = torch.nn.functional.pad(later, (1, 0))  # node 0 predicts the first token of all
    item, copy = (torch.arange(n, device=device) for n in logits.shape[:2])
    found = logits.float().log_softmax(dim=-1)
    own = found[item[:, None, None, None], copy[:, None, None], nodes, answers[:, None]]
    scores = own[..., 0] + (own[..., 1:] * real[..., 1:]).sum(dim=-1)
    argmax = logits.argmax(dim=-1)[:, :, nodes].masked_fill(~real, -1)
    return scores.transpose(0, 1), argmax.transpose(0, 1)
