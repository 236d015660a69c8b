"""One prompt under every cell of an explorer: what comes next, which choice it prefers, what it writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadi_lens.apps.explorer.written import MAX_TOKENS, Writing, write
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.passes import branches, device_of
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.prefix import prefill
from sadi_lens.engine.prompts import encode_prompt
from sadi_lens.engine.runner import RawRunner, runner_of
from sadi_lens.engine.scoring import TreeScorer
from sadi_lens.engine.steering import applied
from sadi_lens.engine.text import EncodedItem, encode_item, require_tokenizer
from sadi_lens.measure.calls import Settings
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.tasks.contrast import right_answer
from sadi_lens.types.answers import matches
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.data import Sample
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import PromptGrid

UNSTEERED_TOKENS = 4
"""Favourites of the unsteered model that are followed through every cell, beside the choices."""
TOP_TOKENS = 5
"""Favourites of every cell that are kept."""


def read_prompt(
    model: HookedModel, sample: Sample | str, *, prepend_bos: bool | None
) -> tuple[list[int], list[int]]:
    """Tokens before the answer, as ``evaluate`` cuts them, and the first token of each choice."""
    if isinstance(sample, Sample) and sample.choices:
        item = encode_item(model, sample.prompt, sample.choices, prepend_bos=prepend_bos)
        return list(item.prompt), [answer[0] for answer in item.answers]
    return encode_prompt(model, text_of(sample), prepend_bos=prepend_bos), []


def text_of(sample: Sample | str) -> str:
    """The prompt itself."""
    return sample if isinstance(sample, str) else sample.prompt


@dataclass(frozen=True)
class Cells:
    """What is run, and where the result of each cell stands; strength 0 is the unsteered model, run once."""

    interventions: Sequence[Intervention | None]
    place: Int[np.ndarray, "method k strength"]

    def table(self, values: Any) -> np.ndarray:
        """One result an intervention as [method k strength]; NaN where there is none."""
        if not len(values):
            return np.full(self.place.shape, np.nan)
        return np.asarray(values)[self.place]


def prompt_grid(
    model: HookedModel,
    sample: Sample | str,
    cells: Cells,
    settings: Settings,
    *,
    item: int | None = None,
) -> PromptGrid:
    """A prompt under every cell.

    Args:
        model: A bridged model in eval mode.
        sample: With choices, with a target, or only a text.
        cells: What to run; the first is the unsteered model.
        settings: How it is scored and how far it is continued.
        item: Its number among the dev samples.
    """
    bos, position = settings.prepend_bos, settings.position
    ids, first = read_prompt(model, sample, prepend_bos=bos)
    logprobs = next_logprobs(model, ids, cells.interventions, position=position).astype(np.float64)
    margins, favourite = _scored(model, sample, cells, settings)
    shown = list(dict.fromkeys([*first, *top_tokens(logprobs[:1], UNSTEERED_TOKENS)[0].tolist()]))
    top = top_tokens(logprobs, TOP_TOKENS)
    named = list(dict.fromkeys([*shown, *top.ravel().tolist()]))
    index = {one: place for place, one in enumerate(named)}
    probability, place = np.exp(logprobs), cells.place
    written = write(
        model, text_of(sample), cells.interventions, position=position,
        max_new_tokens=settings.max_new_tokens, prepend_bos=bos,
    )  # fmt: skip
    different = list(dict.fromkeys(one.pieces for one in written))
    change = np.full((len(written), max(len(one.change) for one in written)), np.nan, np.float32)
    for row, one in zip(change, written, strict=True):
        row[: len(one.change)] = one.change
    writes = [_is_favourite(sample, *one) for one in zip(written, favourite, strict=True)]
    is_sample = isinstance(sample, Sample)
    return PromptGrid(
        prompt=text_of(sample),
        choices=sample.choices if is_sample else (),
        answer=sample.answer if is_sample else None,
        target=sample.target if is_sample else None,
        item=item,
        tokens=token_texts(model, named, ids[-1]),
        unsteered=probability[0, named].astype(np.float32),
        choice_tokens=tuple(index[one] for one in first),
        probability=probability[:, shown][place].astype(np.float32),
        top=np.vectorize(index.__getitem__)(top)[place],
        top_probability=np.take_along_axis(probability, top, axis=1)[place].astype(np.float32),
        kl=cells.table((probability * (logprobs - logprobs[0])).sum(axis=1)).astype(np.float32),
        margin=cells.table(margins).astype(np.float32),
        favourite=cells.table(favourite),
        texts=tuple(different),
        text=cells.table([different.index(one.pieces) for one in written]),
        writes=cells.table(writes),
        change=change[place],
    )


def _scored(
    model: HookedModel, sample: Sample | str, cells: Cells, settings: Settings
) -> tuple[list[float], list[int]]:
    """Margin of each intervention, and the choice that it scores highest: none, and -1, without choices."""
    if not isinstance(sample, Sample) or not sample.choices or settings.scoring == "generation":
        return [], [-1] * len(cells.interventions)
    found = evaluate_all(model, [sample], cells.interventions, settings, progress=False)
    scores = [one.choice_scores[0] for one in found]
    best = [int(np.nanargmax(one)) if np.isfinite(one).any() else -1 for one in scores]
    return [one.margin for one in found], best


def _is_favourite(sample: Sample | str, written: Writing, favourite: int) -> bool:
    """Whether a continuation says what the scores prefer; where nothing was scored, whether it is the right answer."""
    if not isinstance(sample, Sample):
        return False
    if sample.target is not None:
        return matches(written.text, [sample.target, *sample.aliases])
    if favourite < 0:
        return matches(written.text, right_answer(sample))
    text, choice = (one.strip().casefold() for one in (written.text, sample.choices[favourite]))
    if written.is_cut and text:
        choice = choice[: len(text)]
    return text.startswith(choice) and not text[len(choice) : len(choice) + 1].isalnum()


# Here, not outside: a widget's callback runs in another thread, where autograd is on.
@torch.inference_mode()
def next_logprobs(
    model: HookedModel,
    ids: Sequence[int],
    interventions: Sequence[Intervention | None],
    *,
    position: str = DEFAULT_POSITION,
) -> Float[np.ndarray, "intervention token"]:
    """Log-probability (nats) of every next token of one prompt, under each intervention."""
    runner = runner_of(model)
    found = np.empty((len(interventions), int(model.cfg.d_vocab)), dtype=np.float32)
    several = max(1, MAX_TOKENS // len(ids))
    if isinstance(runner, RawRunner) and runner.shares_prefix(len(ids)):
        for where, logits in _beside(runner, ids, interventions, position, several):
            found[where] = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
        return found
    for start in range(0, len(interventions), several):
        chunk = interventions[start : start + several]
        rows = torch.tensor(ids, device=device_of(model)).expand(len(chunk), -1)
        tracker = PositionTracker(position, prompt_end=len(ids) - 1)
        with applied(runner, chunk, tracker, torch.arange(len(chunk))):
            logits = runner.logits(rows, torch.ones_like(rows), 1)
        logprobs = torch.log_softmax(logits[:, -1].float(), dim=-1)
        found[start : start + several] = logprobs.cpu().numpy()
    return found


def _beside(
    runner: RawRunner,
    ids: Sequence[int],
    interventions: Sequence[Intervention | None],
    position: str,
    at_once: int,
) -> Iterator[tuple[list[int], Float[Tensor, "intervention vocab"]]]:
    """The last prompt token once an intervention, side by side behind the rest of the prompt: (which, logits)."""
    scorer, item = TreeScorer(runner, interventions, position), EncodedItem(tuple(ids))
    tree = branches([item], drop_last=True, pad=0, device=device_of(runner.model))
    chunks = list(scorer.chunks(at_once))
    cache = None if all(one.is_whole for one in chunks) else prefill(runner, tree)
    for chunk in chunks:
        logits = scorer.run(chunk, [item], tree, cache)
        yield list(chunk.copy_of), logits[0, list(chunk.copy_of.values()), 0]


def token_texts(model: HookedModel, ids: Sequence[int], before: int) -> tuple[str, ...]:
    """Each token as it reads behind the token ``before``, its leading space included.

    What reads like another token, or is a part of a character, gets its number: pages tell tokens apart by their text.
    """
    tokenizer = require_tokenizer(model)
    start = len(tokenizer.decode([before]))
    texts = [tokenizer.decode([before, one])[start:] for one in ids]
    return tuple(
        f"{text}#{one}" if "\ufffd" in text or texts.count(text) > 1 else text
        for one, text in zip(ids, texts, strict=True)
    )


def top_tokens(
    logprobs: Float[np.ndarray, "intervention token"], n: int
) -> Int[np.ndarray, "intervention rank"]:
    """The likeliest tokens of each row, best first; ties go to the lower id."""
    return np.argsort(-logprobs, axis=1, kind="stable")[:, :n]
