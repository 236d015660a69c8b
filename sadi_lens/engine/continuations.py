"""What a generation gives: text and tokens, cut where it was asked to stop; and what is watched while it runs."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sadi_lens.engine.passes import rope_boundary
from sadi_lens.types.model import HookedModel


class Continuation(NamedTuple):
    """A continuation as it was generated: its text tokenised again may be other tokens."""

    text: str
    prompt: tuple[int, ...]
    """Tokens that were continued."""
    tokens: tuple[int, ...]
    """Tokens that were generated, without an end-of-text token and what follows it."""


READ_BACK = ("repetition_penalty", "no_repeat_ngram_size")
"""Options that look at the tokens before, padding included."""


def together(
    model: HookedModel, lengths: Sequence[int], sampling: Mapping[str, Any], batch_size: int
) -> list[list[int]]:
    """Which prompts are continued in one batch: none whose text would then depend on the others.

    Alone those whose text grows across a ``rope_boundary``; only equally long ones where an option reads padding.
    """
    boundary, room = rope_boundary(model), int(sampling["max_new_tokens"])
    is_read = any(sampling.get(name) for name in READ_BACK)
    sides: dict[tuple[int, int], list[int]] = {}
    for index, length in enumerate(lengths):
        is_crossed = boundary is not None and length <= boundary < length + room
        side = 2 + index if is_crossed else int(boundary is not None and length > boundary)
        sides.setdefault((side, length if is_read else 0), []).append(index)
    return [
        members[start : start + batch_size]
        for members in sides.values()
        for start in range(0, len(members), batch_size)
    ]


class Watched:
    """Stops a row at a text (``stop_strings``), whatever the tokenizer, and notes logits that are not finite.

    Args:
        tokenizer: The model's own.
        settings: Of Hugging Face's ``generate``; ``stop_strings`` is taken out, what watches is put in.
        start: Tokens of a row before the first new one, padding included.
        broken: Called with such a row and the number of rows.
    """

    def __init__(
        self,
        tokenizer: Any,
        settings: dict[str, Any],
        start: int,
        broken: Callable[[int, int], None],
    ) -> None:
        from transformers import LogitsProcessorList, StoppingCriteriaList

        stop = settings.pop("stop_strings", None)
        several: Any = stop if isinstance(stop, list | tuple | set) else (stop,)
        self.stop: tuple[str, ...] = () if stop is None else tuple(several)
        if not all(isinstance(one, str) and one for one in self.stop):  # type: ignore[redundant-expr]
            raise ValueError(f"stop_strings must be texts that are not empty, got {stop!r}")
        self.tokenizer, self.start, self.broken = tokenizer, start, broken
        settings["logits_processor"] = LogitsProcessorList(
            [self._look, *(settings.get("logits_processor") or ())]  # type: ignore[list-item]
        )
        if self.stop:
            settings["stopping_criteria"] = StoppingCriteriaList(
                [self._is_done, *(settings.get("stopping_criteria") or ())]  # type: ignore[list-item]
            )

    def _look(self, _ids: Tensor, logits: Tensor) -> Tensor:
        finite = torch.isfinite(logits.amax(dim=-1)).tolist()
        for row, is_finite in enumerate(finite):
            if not is_finite:
                self.broken(row, len(finite))
        return logits

    def _is_done(self, ids: Tensor, _scores: Any, **_: Any) -> Tensor:
        done = [self._stops(row) for row in ids[:, self.start :].tolist()]
        return torch.tensor(done, device=ids.device)

    def _stops(self, tokens: list[int]) -> bool:
        text = self.tokenizer.decode(tokens)
        return any(one in text for one in self.stop)

    def until_stop(self, tokens: list[int]) -> list[int]:
        """Tokens of a row up to the one that completes a stop string: others of the batch may have gone on."""
        if not self.stop or not self._stops(tokens):
            return tokens
        return next(tokens[:n] for n in range(1, len(tokens) + 1) if self._stops(tokens[:n]))


def without_end(tokens: list[int], eos: int | Sequence[int] | None) -> list[int]:
    """Up to the first end-of-text token."""
    ends = {eos} if isinstance(eos, int) else set(eos or ())
    return tokens[: next((at for at, token in enumerate(tokens) if token in ends), len(tokens))]


@contextmanager
def own_generation_config(module: Any, pad: int) -> Generator[None]:
    """Set an empty generation config for the duration: the checkpoint's would apply its penalties to every call."""
    from transformers import GenerationConfig

    before = getattr(module, "generation_config", None)
    module.generation_config = GenerationConfig(pad_token_id=pad)
    try:
        yield
    finally:
        module.generation_config = before
