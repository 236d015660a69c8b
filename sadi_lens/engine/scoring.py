"""Scores of answers under many affine interventions on the raw Hugging Face model, with as little computed as is exact.

``"last_prompt"`` and ``"every_step"``: the prompt without its last token is run once per item, and then, for every
intervention, one copy of [last prompt token, answers side by side] (``sadi_lens.engine.prefix``). ``"all"``: the prompt
itself is edited, so every intervention gets a row of its own with the whole prompt; only the answers share it. Both
ways a copy or row joins at the first layer that its intervention edits; below, nothing differs.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadi_lens.engine.branches import Branches, branches
from sadi_lens.engine.bridge_scoring import ItemScores
from sadi_lens.engine.edits import AffineEdits
from sadi_lens.engine.hooks import device_of
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.memory import pass_bytes, pass_tokens, smaller_when_full, token_bytes
from sadi_lens.engine.prefix import prefill, run_copies, run_rows
from sadi_lens.engine.runner import RawHook, RawModel
from sadi_lens.engine.text import EncodedItem, batches_by_tokens, pad_id
from sadi_lens.types.model import HookedModel

MAX_NODES = 512
"""Tokens of all copies behind one prompt: their mask and their attention grow with the square."""

TABLE_BYTES = 32 * 2**20
"""Scales and shifts that are kept from one batch of items to the next; more are made again."""


class _Chunk(NamedTuple):
    """Interventions of one pass, in the order in which they join."""

    copy_of: dict[int, int]
    """Intervention (its place in the whole list) -> the copy that has its scores."""
    edits: AffineEdits
    present: tuple[int, ...]
    """Copies that run in each layer."""


class TreeScorer:
    """Scores items under a fixed list of affine interventions.

    Args:
        model: A bridged model in eval mode.
        raw: Its Hugging Face model, which ``shares_prefix``.
        interventions: None stands for the unsteered model.
        position: Where they act.
    """

    def __init__(
        self,
        model: HookedModel,
        raw: RawModel,
        interventions: Sequence[Intervention | None],
        position: str,
    ) -> None:
        self.model, self.raw, self.interventions = model, raw, interventions
        self.position = position
        self.device = device_of(model)
        self._chunks: dict[int, list[_Chunk]] = {}

    def batches(self, items: Sequence[EncodedItem]) -> Iterator[ItemScores]:
        """Scores of every item, a few at a time, shortest first; in smaller passes where memory runs out."""
        groups: dict[tuple[bool, bool], list[int]] = {}
        for index, item in enumerate(items):
            is_single = all(len(answer) == 1 for answer in item.answers)
            groups.setdefault((is_single, len(item.prompt) > 1), []).append(index)

        def run(chosen: list[int], at_once: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return self.score([items[index] for index in chosen], at_once)

        for _, members in sorted(groups.items()):
            at_once, loads = self._plan([items[index] for index in members])
            found = batches_by_tokens([math.ceil(load * 1e6) for load in loads], 10**6)
            batches = ([members[place] for place in places] for places in found)
            for chosen, scores in smaller_when_full(batches, run, at_once):
                yield ItemScores(chosen, *scores)

    def _plan(self, items: Sequence[EncodedItem]) -> tuple[int, list[float]]:
        """Copies of an item in one pass, and the share of a pass that each item with its copies takes."""
        longest = max(item.length for item in items)
        tokens, memory = pass_tokens(self.model, longest), pass_bytes(self.model)
        logits = 12 * int(self.model.cfg.d_vocab)

        def copy_load(item: EncodedItem) -> float:
            nodes = 1 + len(item.answers) * (max(len(answer) for answer in item.answers) - 1)
            seen = len(item.prompt) + (nodes if self.position == "all" else MAX_NODES)
            run = seen if self.position == "all" else nodes
            return max(
                run / tokens,
                (run * (token_bytes(self.model, seen) + 4 * seen) + nodes * logits) / memory,
                nodes / MAX_NODES,
            )

        loads = [copy_load(item) for item in items]
        at_once = max(1, min(len(self.interventions) + 1, int(1 / max(loads))))
        return at_once, [
            min(1.0, max(at_once * load, len(item.prompt) / tokens))
            for load, item in zip(loads, items, strict=True)
        ]

    @torch.inference_mode()
    def score(
        self, items: list[EncodedItem], at_once: int
    ) -> tuple[
        Float[np.ndarray, "intervention item choice"],
        Bool[np.ndarray, "intervention item"],
        Int[np.ndarray, "intervention item choice token"],
    ]:
        """Scores of items that fit into one pass with ``at_once`` copies each; see ``ItemScores``."""
        tree = branches(items, drop_last=True, pad=pad_id(self.model), device=self.device)
        answers, real = _padded(items, self.device)
        cache = None if self.position == "all" else prefill(self.raw, tree)
        logprobs = np.empty((len(self.interventions), *answers.shape[:2]), dtype=np.float32)
        valid = np.empty(logprobs.shape[:2], dtype=bool)
        argmax = np.empty((len(self.interventions), *answers.shape), dtype=np.int64)
        chunks = self._chunked(at_once)
        for chunk in chunks:
            hooks = [(*site, self._hook(chunk, tree, *site)) for site in chunk.edits.sites]
            with self.raw.attached(hooks):
                if self.position == "all":
                    logits = run_rows(self.raw, tree, chunk.present)
                else:
                    logits = run_copies(self.raw, tree, cache, chunk.present)
            found = _read(logits, tree, answers, real)
            where, copies = list(chunk.copy_of), list(chunk.copy_of.values())
            logprobs[where], valid[where], argmax[where] = (part[copies] for part in found)
            if sum(one.edits.nbytes for one in chunks) > TABLE_BYTES:
                chunk.edits.forget()
        for row, item in enumerate(items):
            logprobs[:, row, len(item.answers) :] = np.nan
        return logprobs, valid, argmax

    def _chunked(self, at_once: int) -> list[_Chunk]:
        if at_once not in self._chunks:
            self._chunks = {at_once: list(self._chunk(at_once))}
        return self._chunks[at_once]

    def _chunk(self, at_once: int) -> Iterator[_Chunk]:
        """Interventions in the order of their first layer; the unsteered model goes ahead where some join later."""
        n_layers = self.raw.info.n_layers
        first = {
            index: n_layers if one is None or not one.layers else min(one.layers)
            for index, one in enumerate(self.interventions)
        }
        idle = [index for index, layer in first.items() if layer == n_layers]
        order = sorted((index for index in first if index not in idle), key=first.__getitem__)
        starts = range(0, len(order), at_once) if order else [0]
        for start in starts:
            members = order[start : start + at_once]
            own = idle if start == 0 else []
            leads = bool(own) or any(first[index] for index in members)
            copies = [None, *members] if leads else members
            copy_of = {index: copies.index(index) for index in members} | dict.fromkeys(own, 0)
            edits = [None if one is None else self.interventions[one] for one in copies]
            present = tuple(
                leads + sum(first[index] <= layer for index in members) for layer in range(n_layers)
            )
            yield _Chunk(copy_of, AffineEdits(edits), present)

    def _hook(self, chunk: _Chunk, tree: Branches, component: str, layer: int) -> RawHook:
        """Each copy's own edit, at the tokens that ``position`` names."""
        copies = chunk.present[layer]
        nodes = 1 if self.position == "last_prompt" else tree.ids.shape[1]
        padding = tree.prefix_mask == 0
        padding = padding if bool(padding.any()) else None

        def in_copies(activation: Tensor) -> Tensor:
            split = activation.unflatten(1, (copies, -1))
            own = chunk.edits.at(component, layer, activation).pick(np.s_[:copies, None])
            edited = own(split[:, :, :nodes])
            if nodes < split.shape[2]:
                edited = torch.cat([edited, split[:, :, nodes:]], dim=2)
            return edited.flatten(1, 2)

        def in_rows(activation: Tensor) -> Tensor:
            split = activation.unflatten(0, (copies, -1))
            own = chunk.edits.at(component, layer, activation).pick(np.s_[:copies, None, None])
            edited = own(split)
            if padding is not None:  # no token attends to it, but 0 * infinity is NaN
                past = padding.shape[1]
                left = padding[..., None].to(activation.device)
                edited[:, :, :past] = torch.where(left, split[:, :, :past], edited[:, :, :past])
            return edited.flatten(0, 1)

        return in_rows if self.position == "all" else in_copies


def _padded(items: Sequence[EncodedItem], device: torch.device) -> tuple[Tensor, Tensor]:
    """Answers as [item choice token] and which of these are real."""
    n_choices = max(len(item.answers) for item in items)
    width = max(len(answer) for item in items for answer in item.answers)
    answers = torch.zeros(len(items), n_choices, width, dtype=torch.long)
    real = torch.zeros(answers.shape, dtype=torch.bool)
    for row, item in enumerate(items):
        for column, answer in enumerate(item.answers):
            answers[row, column, : len(answer)] = torch.tensor(answer)
            real[row, column, : len(answer)] = True
    return answers.to(device), real.to(device)


def _read(
    logits: Float[Tensor, "item copy node vocab"], tree: Branches, answers: Tensor, real: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What ``ItemScores`` holds: [copy item choice], [copy item] and [copy item choice token]."""
    n, copies = logits.shape[:2]
    answers, real = answers.to(logits.device), real.to(logits.device)
    found = logits.float().log_softmax(dim=-1)
    scores = found[:, :, 0].gather(-1, answers[:, None, :, 0].expand(n, copies, -1))
    if tree.width:
        later = found[:, :, 1:].unflatten(2, (-1, tree.width))
        index = answers[:, None, :, 1:, None].expand(n, copies, -1, -1, 1)
        scores = scores + (later.gather(-1, index)[..., 0] * real[:, None, :, 1:]).sum(dim=-1)
    best = logits.argmax(dim=-1)
    top = best[:, :, :1]
    valid = ((top == answers[:, None, :, 0]) & real[:, None, :, 0]).any(dim=-1)
    argmax = top[..., None].expand(n, copies, *answers.shape[1:]).clone()
    if tree.width:
        argmax[..., 1:] = best[:, :, 1:].unflatten(2, (-1, tree.width))
    argmax = argmax.masked_fill(~real[:, None], -1)
    return tuple(part.transpose(0, 1).cpu().numpy() for part in (scores, valid, argmax))  # type: ignore[return-value]
