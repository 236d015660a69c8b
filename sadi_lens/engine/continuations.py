"""What a generation gives: text and tokens, cut where it was asked to stop; and what is watched while it runs."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Continuation(NamedTuple):
    """A continuation as it was generated: its text tokenised again may be other tokens."""

    text: str
    prompt: tuple[int, ...]
    """Tokens that were continued."""
    tokens: tuple[int, ...]
    """Tokens that were generated, without an end-of-text token and what follows it."""


class Watched:
    """Stops a row at a text (``stop_strings``), whatever the tokenizer, and notes logits that are not finite.

    Args:
        tokenizer: The model's own.
        settings: Of Hugging Face's ``generate``; ``stop_strings`` is taken out, what watches is put in.
        start: Tokens of a row before the first new one, padding included.
    """

    def __init__(self, tokenizer: Any, settings: dict[str, Any], start: int) -> None:
        from transformers import LogitsProcessorList, StoppingCriteriaList

        stop = settings.pop("stop_strings", None)
        self.stop: tuple[str, ...] = (stop,) if isinstance(stop, str) else tuple(stop or ())
        if not all(isinstance(one, str) and one for one in self.stop):  # type: ignore[redundant-expr]
            raise ValueError(f"stop_strings must be texts that are not empty, got {stop!r}")
        self.tokenizer, self.start, self.is_finite = tokenizer, start, True
        settings["logits_processor"] = LogitsProcessorList(
            [self._look, *(settings.get("logits_processor") or ())]  # type: ignore[list-item]
        )
        if self.stop:
            settings["stopping_criteria"] = StoppingCriteriaList(
                [self._is_done, *(settings.get("stopping_criteria") or ())]  # type: ignore[list-item]
            )

    def _look(self, _ids: Tensor, logits: Tensor) -> Tensor:
        self.is_finite = self.is_finite and bool(torch.isfinite(logits.amax(dim=-1)).all())
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
