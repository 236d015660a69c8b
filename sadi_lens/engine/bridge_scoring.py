"""Log-probabilities of answers under many interventions at once, from one shared prefix, on any bridge.

An edit at the last prompt token or later leaves everything before it as it was. So the prompt without its last
token is run once per item, its KV cache is expanded over the interventions (one layer at a time, never all), and
[last prompt token + answer tokens] is run with one row per (item, intervention). Rows carry their own edit. For
position ``"all"`` nothing is shared: the prefix itself is edited.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadi_lens.engine.hooks import device_of
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.memory import smaller_when_full
from sadi_lens.engine.passes import chooses_positions
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.prefix import fork_cache
from sadi_lens.engine.row_edits import RowEdits
from sadi_lens.engine.steering import tracked
from sadi_lens.engine.text import EncodedItem, batches_by_tokens, pad_id, pad_left
from sadi_lens.types.model import HookedModel

MAX_TOKENS = 8192
"""Tokens (padding included) of one prefix pass."""
ROW_BYTES = 128 * 2**20
"""Working memory aimed at for the rows of one pass."""


class ItemScores(NamedTuple):
    """Scores of a few items under every intervention."""

    indices: list[int]
    logprobs: Float[np.ndarray, "intervention item choice"]
    """Summed log-probability of each answer (nats); NaN where an item has fewer answers."""
    valid: Bool[np.ndarray, "intervention item"]
    """The most likely next token begins one of the answers."""
    argmax: Int[np.ndarray, "intervention item choice token"]
    """The most likely token in place of each answer token, given the answer before it; -1 behind the answer."""


def score_on_bridge(
    model: HookedModel,
    items: Sequence[EncodedItem],
    interventions: Sequence[Intervention | None],
    position: str,
) -> Iterator[ItemScores]:
    """``sadi_lens.engine.dispatch.score_answers`` for any model and any intervention."""
    row_bytes = [_row_bytes(model, item) for item in items]
    groups: dict[tuple[bool, bool], list[int]] = {}
    for index, item in enumerate(items):
        is_single = all(len(answer) == 1 for answer in item.answers)
        groups.setdefault((is_single, len(item.prompt) > 1), []).append(index)
    for (is_single, has_prefix), members in sorted(groups.items()):
        lengths = [items[index].length for index in members]
        for found in batches_by_tokens(lengths, MAX_TOKENS):
            indices = [members[position_] for position_ in found]
            widest = max(row_bytes[index] for index in indices)
            answers = 1 if is_single else max(len(items[index].answers) for index in indices)
            most = max(1, int(ROW_BYTES / (widest * answers)))

            def run(
                chosen: list[int],
                most: int,
                is_single: bool = is_single,
                has_prefix: bool = has_prefix,
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
                batch = _Batch(model, [items[index] for index in chosen], is_single)
                return batch.score(interventions, position, most // len(chosen), has_prefix)

            groups_ = [indices[start : start + most] for start in range(0, len(indices), most)]
            for chosen, scores in smaller_when_full(groups_, run, most):
                yield ItemScores(chosen, *scores)


def _row_bytes(model: HookedModel, item: EncodedItem) -> int:
    """Rough working memory of one row: the keys and values of one layer, copied twice, and the logits."""
    cfg = model.cfg
    tokens = max(len(answer) for answer in item.answers)
    keys = 6 * (len(item.prompt) + tokens) * int(cfg.n_heads) * int(cfg.d_head)
    logits = 3 * tokens * int(cfg.d_vocab)
    return 4 * (keys + logits + 4 * tokens * int(cfg.d_mlp or cfg.d_model))


class _Batch:
    """A few items, left padded to one prompt length."""

    def __init__(self, model: HookedModel, items: list[EncodedItem], is_single: bool) -> None:
        self.model, self.items, self.is_single = model, items, is_single
        self.device = device_of(model)
        pad = pad_id(model)
        self.prompts, self.prompt_mask = pad_left([i.prompt for i in items], pad, self.device)
        self.n_choices = max(len(item.answers) for item in items)
        self.n_answer = 1 if is_single else max(len(a) for item in items for a in item.answers)
        # A missing choice is scored as a copy of the first one and dropped afterwards.
        full = [
            [*item.answers, *(item.answers[:1] * (self.n_choices - len(item.answers)))]
            for item in items
        ]
        self.answers = torch.full((len(items), self.n_choices, self.n_answer), pad)
        self.answer_mask = torch.zeros(self.answers.shape, dtype=torch.bool)
        for row, choices in enumerate(full):
            for column, answer in enumerate(choices):
                self.answers[row, column, : len(answer)] = torch.tensor(answer)
                self.answer_mask[row, column, : len(answer)] = True
        self.answers = self.answers.to(self.device)
        self.answer_mask = self.answer_mask.to(self.device)

    @torch.inference_mode()
    def score(
        self,
        interventions: Sequence[Intervention | None],
        position: str,
        at_once: int,
        has_prefix: bool,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = [chooses_positions(one) for one in interventions]
        shares = has_prefix and position != "all" and not all(own)
        cache = self._prefill() if shares else None
        scores = np.full((len(own), len(self.items), self.n_choices), np.nan, dtype=np.float32)
        valid = np.zeros(scores.shape[:2], dtype=bool)
        argmax = np.full((*scores.shape, self.n_answer), -1)
        for edits_prefix in (False, True):  # an edited prefix cannot be shared
            members = [index for index, one in enumerate(own) if one == edits_prefix]
            prefix = None if edits_prefix else cache
            most = at_once if prefix is not None else at_once // max(1, self.prompts.shape[1] // 4)
            for start in range(0, len(members), max(1, most)):
                chosen = members[start : start + max(1, most)]
                found = self._pass([interventions[index] for index in chosen], position, prefix)
                scores[chosen], valid[chosen], argmax[chosen] = found
        for row, item in enumerate(self.items):
            scores[:, row, len(item.answers) :] = np.nan
        return scores, valid, argmax

    def _prefill(self) -> Any:
        _, cache = self.model(
            self.prompts[:, :-1],
            attention_mask=self.prompt_mask[:, :-1],
            return_type="logits_and_cache",
            use_cache=True,
            logits_to_keep=1,
        )
        return cache if hasattr(cache, "layers") else None

    def _pass(
        self, interventions: Sequence[Intervention | None], position: str, cache: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One forward of [item, intervention, choice] rows."""
        n, c = len(self.items), len(interventions)
        per = 1 if self.is_single else self.n_choices
        width = self.prompts.shape[1]
        prompts = self.prompts[:, -1:] if cache is not None else self.prompts
        ids = prompts.repeat_interleave(c * per, dim=0)
        mask = self.prompt_mask.repeat_interleave(c * per, dim=0)
        if not self.is_single:
            given = self.answers[:, None, :, :-1].expand(n, c, per, -1).reshape(n * c * per, -1)
            known = self.answer_mask[:, None, :, :-1].expand(n, c, per, -1).reshape(n * c * per, -1)
            ids, mask = torch.cat([ids, given], dim=1), torch.cat([mask, known.to(mask)], dim=1)
        which = torch.arange(c).repeat_interleave(per).repeat(n)
        edits = RowEdits(interventions, which.to(self.device))
        tracker = PositionTracker(
            position, prompt_end=[width - 1], prompts=[item.prompt for item in self.items]
        )
        extra: dict[str, Any] = {"use_cache": False}
        if cache is not None:
            extra = {"past_key_values": expand_cache(cache, c * per)}
        with tracked(self.model, edits.hooks(tracker), tracker):
            logits = self.model(ids, attention_mask=mask, logits_to_keep=self.n_answer, **extra)
        logits = logits[:, -self.n_answer :].float()
        found = torch.log_softmax(logits, dim=-1).reshape(n, c, per, self.n_answer, -1)
        top = logits.argmax(dim=-1).reshape(n, c, per, self.n_answer)
        valid = (top[:, :, :1, 0] == self.answers[:, None, :, 0]).any(dim=-1)
        argmax = torch.where(self.answer_mask[:, None], top, -1)
        if self.is_single:
            index = self.answers[:, None, :, 0].expand(n, c, -1)
            scores = found[:, :, 0, 0].gather(-1, index)
        else:
            index = self.answers[:, None, :, :, None].expand(n, c, -1, -1, 1)
            tokens = found.gather(-1, index)[..., 0]
            scores = (tokens * self.answer_mask[:, None]).sum(dim=-1)
        return (
            scores.transpose(0, 1).cpu().numpy(),
            valid.transpose(0, 1).cpu().numpy(),
            argmax.transpose(0, 1).cpu().numpy(),
        )


def expand_cache(cache: Any, repeats: int) -> Any:
    """Every row ``repeats`` times (rows of one prompt together), for a single following pass.

    A layer's rows are repeated only while it is updated, and what ``update`` returns is not kept: at most one layer
    is expanded in memory at a time.
    """
    new = fork_cache(cache)
    for layer in new.layers:
        plain = type(layer).__name__ == "DynamicLayer"
        layer.update = partial(_update_plain if plain else _update_any, layer, repeats)
    return new


def _update_plain(
    layer: Any, repeats: int, keys: Tensor, values: Tensor, *_args: Any, **_kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Old and new keys and values side by side, repeating and joining in one copy."""

    def join(held: Tensor, fresh: Tensor) -> Tensor:
        old = held[:, None].expand(-1, repeats, *held.shape[1:])
        return torch.cat([old, fresh.unflatten(0, (-1, repeats))], dim=-2).flatten(0, 1)

    return join(layer.keys, keys), join(layer.values, values)


def _update_any(
    layer: Any, repeats: int, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """The layer's own update (sliding windows, say) on repeated rows; the layer is put back after."""
    kept = dict(layer.__dict__)
    for name in ("keys", "values"):
        held = getattr(layer, name)
        if held is not None and held.numel():
            setattr(layer, name, held.repeat_interleave(repeats, dim=0))
    found = type(layer).update(layer, keys, values, *args, **kwargs)
    layer.__dict__.clear()
    layer.__dict__.update(kept)
    return found
