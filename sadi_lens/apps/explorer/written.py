"""What a prompt is continued with under many interventions, and how much likelier steering made each token."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sadi_lens.engine.continuations import Continuation
from sadi_lens.engine.generation import Options, continued
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.passes import branches, device_of
from sadi_lens.engine.prefix import prefill
from sadi_lens.engine.prompts import encode_prompt
from sadi_lens.engine.runner import RawRunner, runner_of
from sadi_lens.engine.scoring import MAX_NODES, TreeScorer
from sadi_lens.engine.text import EncodedItem, require_tokenizer
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.model import HookedModel

MAX_TOKENS = 8192
"""Tokens of one pass."""


class Writing(NamedTuple):
    """One continuation."""

    pieces: tuple[str, ...]
    """Its text, token by token; empty where the model overflows."""
    change: Float[np.ndarray, " written"]
    """Log-probability of each token minus the unsteered model's for the same text (nats)."""
    is_cut: bool
    """Whether it ends because no more tokens were asked for."""

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)


class _Recorder:
    """A logits processor that keeps the log-probability of the most likely token of every row and step."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, _ids: Tensor, logits: Tensor) -> Tensor:
        self.steps.append(logits.float().log_softmax(dim=-1).amax(dim=-1))
        return logits


def write(
    model: HookedModel,
    prompt: str,
    interventions: Sequence[Intervention | None],
    *,
    position: str = DEFAULT_POSITION,
    max_new_tokens: int = 16,
    prepend_bos: bool | None = None,
) -> list[Writing]:
    """Greedy continuation of one prompt under each intervention."""
    ids = encode_prompt(model, prompt, prepend_bos=prepend_bos)
    several = max(1, MAX_TOKENS // len(ids))
    found: list[tuple[Continuation, np.ndarray]] = []
    for start in range(0, len(interventions), several):
        chunk = interventions[start : start + several]
        found += _recorded(model, prompt, chunk, position, max_new_tokens, prepend_bos)
    texts = list(dict.fromkeys(one.tokens for one, _ in found if one.tokens))
    plain = dict(zip(texts, _unsteered(model, ids, texts), strict=True))
    tokenizer = require_tokenizer(model)
    return [
        Writing(
            pieces(tokenizer, one.tokens),
            logprobs[: len(one.tokens)] - plain.get(one.tokens, logprobs[:0]),
            len(one.tokens) >= max_new_tokens,
        )
        for one, logprobs in found
    ]


def _recorded(
    model: HookedModel,
    prompt: str,
    interventions: Sequence[Intervention | None],
    position: str,
    max_new_tokens: int,
    prepend_bos: bool | None,
) -> list[tuple[Continuation, Float[np.ndarray, " step"]]]:
    """Each continuation with the log-probabilities that it was chosen by."""
    recorder, n = _Recorder(), len(interventions)
    options = Options(position, broken=set())
    options.sampling |= {
        "max_new_tokens": max_new_tokens, "use_cache": True, "logits_processor": [recorder]
    }  # fmt: skip
    found = continued(
        runner_of(model),
        [prompt] * n,
        list(interventions),
        options,
        prepend_bos=prepend_bos,
        batch_size=n,
    )
    if any(len(step) != n for step in recorder.steps):  # memory ran out, and parts were run again
        half = n // 2
        parts = interventions[:half], interventions[half:]
        return [
            one
            for part in parts
            for one in _recorded(model, prompt, part, position, max_new_tokens, prepend_bos)
        ]
    logprobs = torch.stack(recorder.steps, dim=1).cpu().numpy()
    broken = options.broken or set()
    return [
        (one._replace(text="", tokens=()) if row in broken else one, logprobs[row])
        for row, one in enumerate(found)
    ]


@torch.inference_mode()
def _unsteered(
    model: HookedModel, ids: Sequence[int], texts: Sequence[tuple[int, ...]]
) -> list[Float[np.ndarray, " written"]]:
    """Log-probability of every token of texts that follow one prompt, under the unsteered model."""
    runner = runner_of(model)
    longest = max(map(len, texts), default=0)
    is_tree = isinstance(runner, RawRunner) and runner.shares_prefix(len(ids) + longest)
    several = max(
        1, (MAX_NODES if is_tree else MAX_TOKENS) // max(1, longest + len(ids) * (not is_tree))
    )
    found: list[np.ndarray] = []
    for start in range(0, len(texts), several):
        some = texts[start : start + several]
        logits = _tree_logits(runner, ids, some) if is_tree else _row_logits(runner, ids, some)
        for own, text in zip(logits, some, strict=True):
            logprobs = own[: len(text)].float().log_softmax(dim=-1)
            chosen = torch.tensor(text, device=logprobs.device)[:, None]
            found.append(logprobs.gather(1, chosen)[:, 0].cpu().numpy())
    return found


def _tree_logits(
    runner: Any, ids: Sequence[int], texts: Sequence[tuple[int, ...]]
) -> list[Float[Tensor, "written vocab"]]:
    """Logits before every token of each text; the texts stand side by side behind the prompt, which is run once."""
    item = EncodedItem(tuple(ids), tuple(texts))
    scorer = TreeScorer(runner, [None], DEFAULT_POSITION)
    tree = branches([item], drop_last=True, pad=0, device=device_of(runner.model))
    nodes = scorer.run(next(scorer.chunks(1)), [item], tree, prefill(runner, tree))[0, 0]
    width = (len(nodes) - 1) // len(texts)
    return [
        torch.cat([nodes[:1], nodes[1 + row * width : 1 + (row + 1) * width]])
        for row in range(len(texts))
    ]


def _row_logits(
    runner: Any, ids: Sequence[int], texts: Sequence[tuple[int, ...]]
) -> list[Float[Tensor, "written vocab"]]:
    """The same, each text in a row of its own; what fills a row up on the right is seen by nothing before it."""
    longest = max(map(len, texts))
    rows = [[*ids, *text, *[text[-1]] * (longest - len(text))] for text in texts]
    tokens = torch.tensor(rows, device=device_of(runner.model))
    return list(runner.logits(tokens, torch.ones_like(tokens), longest + 1)[:, :-1])


def pieces(tokenizer: Any, tokens: Sequence[int]) -> tuple[str, ...]:
    """The text of some tokens, cut at their ends; a letter of several tokens belongs to the last of them.

    Special tokens have no text.
    """
    texts = [
        tokenizer.decode(tokens[: n + 1], skip_special_tokens=True).rstrip("\ufffd")
        for n in range(len(tokens))
    ]
    whole = tokenizer.decode(tokens, skip_special_tokens=True) if tokens else ""
    ends = np.minimum(np.maximum.accumulate([0, *map(len, texts)]), len(whole)).tolist()
    ends[-1] = len(whole)
    return tuple(whole[a:b] for a, b in pairwise(ends))
