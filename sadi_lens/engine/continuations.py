"""What a generation gives: text and tokens, cut where it was asked to stop; what is watched and told while it runs."""

import inspect
import math
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sadi_lens.engine.intervention import ContextualIntervention, Intervention
from sadi_lens.engine.passes import rope_boundary
from sadi_lens.engine.positions import Positions
from sadi_lens.engine.runner import RawRunner
from sadi_lens.types.model import HookedModel

Stream = Callable[[int, str], None]
"""Called with (index of the prompt, next piece of its text) as soon as there is one."""


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


class Aside:
    """A function of the user that a generation calls: whatever it runs is not edited by that generation."""

    def __init__(self, positions: Positions, function: Callable[..., Any]) -> None:
        self.positions, self.function = positions, function

    def __call__(self, *args: Any, **more: Any) -> Any:
        """What the function returns."""
        self.positions.is_paused = True
        try:
            return self.function(*args, **more)
        finally:
            self.positions.is_paused = False


def put_aside(positions: Positions, settings: dict[str, Any]) -> None:
    """Do so with the functions in settings of Hugging Face's ``generate``, as the user gave them."""
    for name in ("logits_processor", "stopping_criteria"):
        if settings.get(name):
            settings[name] = [Aside(positions, one) for one in settings[name]]
    if allowed := settings.get("prefix_allowed_tokens_fn"):
        settings["prefix_allowed_tokens_fn"] = Aside(positions, allowed)


def by_prompt(
    allowed: Callable[[int, Tensor], Any], group: Sequence[int], rows: Sequence[Sequence[int]]
) -> Callable[[int, Tensor], Any]:
    """A ``prefix_allowed_tokens_fn`` of a batch from one of (place of the prompt, its tokens so far).

    Args:
        allowed: Hugging Face would call it with the row within the batch, and the padding before its prompt.
        group: Place of each prompt of the batch.
        rows: Their tokens, which are padded on the left.
    """
    width = max(len(row) for row in rows)
    return lambda row, ids: allowed(group[row], ids[width - len(rows[row]) :])


class Watched:
    """Stops a row at a text (``stop_strings``), whatever the tokenizer, and notes logits that are not finite.

    Rows of a batch that have ended go on, or are padded, until the last of them has.

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
        eos = settings["eos_token_id"]
        self.ends = {eos} if isinstance(eos, int) else set(eos or ())
        settings["logits_processor"] = LogitsProcessorList(
            [_Processor(self._look), *(settings.get("logits_processor") or ())]  # type: ignore[list-item]
        )
        self.criteria = list(settings.get("stopping_criteria") or ())
        self.over: dict[int, int] = {}
        """Tokens of each row when something said that it ends; beams change places, so nothing is known of them."""
        self.rows_stay = settings.get("num_beams", 1) == 1
        if self.stop or self.criteria:
            settings["stopping_criteria"] = StoppingCriteriaList([self._is_done])  # type: ignore[list-item]

    def _look(self, _ids: Tensor, logits: Tensor) -> Tensor:
        largest = logits.amax(dim=-1).tolist()
        for row, value in enumerate(largest):
            if not math.isfinite(value):
                self.broken(row, len(largest))
        return logits

    def _is_done(self, ids: Tensor, scores: Any, **more: Any) -> Tensor:
        new = ids[:, self.start :]
        done = torch.tensor([self._stops(row) for row in new.tolist()], device=ids.device)
        for one in self.criteria:
            done = done | one(ids, scores, **more)
        for row in done.nonzero()[:, 0].tolist() if self.rows_stay else ():
            self.over.setdefault(row, new.shape[1])
        return done

    def _stops(self, tokens: list[int]) -> bool:
        text = self.tokenizer.decode(tokens) if self.stop else ""
        return any(one in text for one in self.stop)

    def has_ended(self, row: int, tokens: list[int]) -> bool:
        """Whether a row ends with the last of these tokens, or has before."""
        return not self.ends.isdisjoint(tokens) or len(tokens) >= self.over.get(row, math.inf)

    def without_end(self, tokens: list[int]) -> list[int]:
        """Up to the first end-of-text token."""
        return list(takewhile(lambda token: token not in self.ends, tokens))

    def until_end(self, row: int, tokens: list[int]) -> list[int]:
        """Tokens of a row up to the one that ends it: end of text, the last of a stop string, where a criterion is met.

        That token is the last of them.
        """
        own = tokens[: len(self.without_end(tokens)) + 1][: self.over.get(row)]
        if not self._stops(own):
            return own
        return next(own[:n] for n in range(1, len(own) + 1) if self._stops(own[:n]))


class _Processor:
    """A function as a logits processor."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.function(input_ids, scores)


# Hugging Face asks for it at every token, and to work it out takes longer than to look.
_Processor.__call__.__signature__ = inspect.signature(_Processor.__call__)  # type: ignore[attr-defined]


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


def listener(stream: bool | Stream, n_prompts: int, beams: int) -> Stream | None:
    """The function that gets the pieces; None where nobody asked.

    Raises:
        ValueError: With beams, or if several texts would be written over one another.
    """
    if stream is False:
        return None
    if beams > 1:
        raise ValueError(
            f"stream needs num_beams=1, got {beams}: beams change texts they have begun"
        )
    if stream is not True:
        return stream
    if n_prompts != 1:
        raise ValueError(
            f"stream=True writes one text, got {n_prompts} prompts; pass a function of (index, piece)"
        )

    def write(_index: int, piece: str) -> None:
        sys.stdout.write(piece)
        sys.stdout.flush()

    return write


class Streamer:
    """Passes on the text of each row as it grows; what Hugging Face calls a streamer, for whole batches."""

    def __init__(
        self, watched: Watched, indices: list[int], told: Stream, skip_special_tokens: bool
    ) -> None:
        self.watched, self.indices, self.told = watched, indices, told
        self.skip = skip_special_tokens
        self.tokens: list[list[int]] | None = None
        self.said = [""] * len(indices)

    def put(self, value: Tensor) -> None:
        """The prompts first, then one token a row at each step."""
        if self.tokens is None:
            self.tokens = [[] for _ in self.indices]
            return
        for row, (own, token) in enumerate(zip(self.tokens, value.tolist(), strict=True)):
            if not self.watched.has_ended(row, own):
                own.append(token)
        self._tell(is_end=False)

    def end(self) -> None:
        """Nothing more comes: also what may have been half a letter."""
        self._tell(is_end=True)

    def _tell(self, *, is_end: bool) -> None:
        for row, own in enumerate(self.tokens or ()):
            text: str = self.watched.tokenizer.decode(own, skip_special_tokens=self.skip)
            # A letter of several tokens decodes to the replacement character until the last of them is there.
            said = self.said[row]
            is_ready = is_end or (text.startswith(said) and not text.endswith("\ufffd"))
            if is_ready and len(text) > len(said):
                self.told(self.indices[row], text[len(said) :])
                self.said[row] = text


def repeated(
    runner: Any,
    rows: list[list[int]],
    edits: Sequence[Intervention | None],
    options: Any,
) -> list[int]:
    """First rows of those that stand together and are the same prompt; none where nothing can be shared.

    Nothing can where no prompt is repeated, or an edit reaches the tokens before a prompt's last one.

    Args:
        runner: Of the model.
        rows: Tokens of every row.
        edits: Those of the rows.
        options: ``generation.Options``.
    """
    settings = options.sampling
    first = [place for place, row in enumerate(rows) if not place or row != rows[place - 1]]
    shared = (
        len(first) < len(rows)
        and all(len(row) > 1 for row in rows)
        and not settings.get("cache_implementation")
        and options.position != "all"
        and not (options.before or options.after)
        and not any(isinstance(one, ContextualIntervention) for one in edits)
        and bool(settings["use_cache"])
        and (settings.get("num_beams") or 1) == 1
        and isinstance(runner, RawRunner)
        and runner.shares_prefix(max(map(len, rows)) + settings["max_new_tokens"])
    )
    return first if shared else []
