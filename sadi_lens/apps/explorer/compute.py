"""Every method, K and strength on dev and on a few prompts. The page and the widget stand on the same functions."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.apps.explorer.recipe import Recipe
from sadi_lens.engine.generation import Options, continued
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.passes import branches, device_of
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.prefix import prefill
from sadi_lens.engine.prompts import encode_prompt
from sadi_lens.engine.runner import RawRunner, runner_of
from sadi_lens.engine.scoring import TreeScorer
from sadi_lens.engine.steering import applied
from sadi_lens.engine.text import EncodedItem, encode_item, require_tokenizer
from sadi_lens.measure.calls import Settings, chance_of, split_of
from sadi_lens.measure.evaluation import evaluate_all
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.data import Sample
from sadi_lens.types.masks import scores
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import Evaluation, ExplorerGrid, PromptGrid
from sadi_lens.types.results.explorer import METHODS

MAX_TOKENS = 8192
"""Tokens of one pass."""
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


def continuations(
    model: HookedModel,
    prompt: str,
    interventions: Sequence[Intervention | None],
    *,
    position: str = DEFAULT_POSITION,
    max_new_tokens: int = 16,
    prepend_bos: bool | None = None,
) -> list[str]:
    """Greedy continuation of one prompt under each intervention; empty where the model overflows."""
    length = len(encode_prompt(model, prompt, prepend_bos=prepend_bos))
    options = Options(position, broken=set())
    options.sampling |= {"max_new_tokens": max_new_tokens, "use_cache": True}
    found = continued(
        runner_of(model),
        [prompt] * len(interventions),
        list(interventions),
        options,
        prepend_bos=prepend_bos,
        batch_size=max(1, MAX_TOKENS // length),
    )
    return ["" if row in (options.broken or ()) else one.text for row, one in enumerate(found)]


def token_texts(model: HookedModel, ids: Sequence[int], before: int) -> tuple[str, ...]:
    """Each token as it reads behind the token ``before``, its leading space included."""
    tokenizer = require_tokenizer(model)
    start = len(tokenizer.decode([before]))
    return tuple(tokenizer.decode([before, one])[start:] for one in ids)


def compute_grid(
    model: HookedModel,
    recipe: Recipe,
    *,
    task: str,
    dev: Sequence[Sample],
    prompts: Sequence[Sample | str],
    n_prompts: int,
    ks: Sequence[int],
    strengths: Sequence[float],
    position: str,
    scoring: str,
    max_new_tokens: int,
    prepend_bos: bool | None,
    progress: bool,
) -> ExplorerGrid:
    """Run every cell; see ``SteeringExplorer``.

    Where no prompts are given, ``n_prompts`` of dev are taken in order: one half that the unsteered model answers
    wrong, then as many that it answers right.
    """
    cells, place = _cells(recipe, ks, strengths)
    common: dict[str, Any] = {
        "position": position,
        "scoring": scoring,
        "prepend_bos": prepend_bos,
    }
    found: list[Evaluation] = []
    if dev:
        settings = Settings(task, position, scoring, prepend_bos)
        found = evaluate_all(
            model, dev, cells, settings, progress=progress, description="explorer: dev"
        )
        prompts = prompts or _choose(dev, found[0].correct, n_prompts)
    differences = recipe.differences
    order = np.argsort(-scores(differences, recipe.ranking), axis=None, kind="stable")
    layers, units = np.unravel_index(order[: max(ks)], differences.mean.shape)
    bar = tqdm(prompts, desc="explorer: prompts", disable=not progress)
    return ExplorerGrid(
        model=ModelInfo.of(model),
        task=task,
        component=differences.component,
        ranking=recipe.ranking,
        position=position,
        match=recipe.match,
        seed=recipe.seed,
        split=_split(dev),
        n=len(dev),
        chance=chance_of(dev) if dev else float("nan"),
        ks=tuple(ks),
        strengths=tuple(strengths),
        accuracy=_table(place, [one.accuracy for one in found]),
        low=_table(place, [one.interval.low for one in found]),
        high=_table(place, [one.interval.high for one in found]),
        margin=_table(place, [one.margin for one in found]),
        valid_rate=_table(place, [one.valid_rate for one in found]),
        differences=differences,
        units=tuple((int(a), int(b)) for a, b in zip(layers, units, strict=True)),
        random_units=tuple(recipe.mask("random", k).units for k in ks),
        prompts=tuple(
            _prompt_grid(model, one, cells, place, max_new_tokens=max_new_tokens, **common)
            for one in bar
        ),
    )


def _cells(
    recipe: Recipe, ks: Sequence[int], strengths: Sequence[float]
) -> tuple[list[Intervention | None], Int[np.ndarray, "method k strength"]]:
    """What is run, and where the result of each cell stands; strength 0 is the unsteered model, run once."""
    cells: list[Intervention | None] = [None]
    place = np.zeros((len(METHODS), len(ks), len(strengths)), dtype=int)
    for at in np.ndindex(*place.shape):
        one = recipe.make(METHODS[at[0]], ks[at[1]], strengths[at[2]])
        if one is not None:
            place[at] = len(cells)
            cells.append(one)
    return cells, place


def _split(dev: Sequence[Sample]) -> str:
    """What the samples say they are; those of a task's dev that say nothing are dev."""
    recorded = split_of(dev) if dev else ""
    return "dev" if recorded == "unknown" else recorded


def _choose(dev: Sequence[Sample], correct: np.ndarray, n: int) -> list[Sample]:
    wrong = [one for one, right in zip(dev, correct, strict=True) if not right]
    right = [one for one, right in zip(dev, correct, strict=True) if right]
    n_wrong = min(len(wrong), max(n // 2, n - len(right)))
    return [*wrong[:n_wrong], *right[: n - n_wrong]]


def _table(place: np.ndarray, values: Sequence[float]) -> np.ndarray:
    if not values:
        return np.full(place.shape, np.nan)
    return np.asarray(values, dtype=np.float64)[place]


def _prompt_grid(
    model: HookedModel,
    sample: Sample | str,
    cells: Sequence[Intervention | None],
    place: np.ndarray,
    *,
    position: str,
    scoring: str,
    prepend_bos: bool | None,
    max_new_tokens: int,
) -> PromptGrid:
    ids, first = read_prompt(model, sample, prepend_bos=prepend_bos)
    logprobs = next_logprobs(model, ids, cells, position=position).astype(np.float64)
    probability = np.exp(logprobs)
    margins: list[float] = []
    if first and isinstance(sample, Sample):
        settings = Settings(position=position, scoring=scoring, prepend_bos=prepend_bos)
        scored = evaluate_all(model, [sample], cells, settings, progress=False)
        margins = [one.margin for one in scored]
    shown = list(dict.fromkeys([*first, *top_tokens(logprobs[:1], UNSTEERED_TOKENS)[0].tolist()]))
    top = top_tokens(logprobs, TOP_TOKENS)
    named = list(dict.fromkeys([*shown, *top.ravel().tolist()]))
    index = {one: place for place, one in enumerate(named)}
    kl = (probability * (logprobs - logprobs[0])).sum(axis=1)
    texts = continuations(
        model,
        text_of(sample),
        cells,
        position=position,
        max_new_tokens=max_new_tokens,
        prepend_bos=prepend_bos,
    )
    different = list(dict.fromkeys(texts))
    return PromptGrid(
        prompt=text_of(sample),
        choices=sample.choices if isinstance(sample, Sample) else (),
        answer=sample.answer if isinstance(sample, Sample) else None,
        target=sample.target if isinstance(sample, Sample) else None,
        tokens=token_texts(model, named, ids[-1]),
        unsteered=probability[0, named].astype(np.float32),
        choice_tokens=tuple(index[one] for one in first),
        probability=probability[:, shown][place].astype(np.float32),
        top=np.vectorize(index.__getitem__)(top)[place],
        top_probability=np.take_along_axis(probability, top, axis=1)[place].astype(np.float32),
        kl=kl[place].astype(np.float32),
        margin=_table(place, margins).astype(np.float32),
        texts=tuple(different),
        text=np.array([different.index(one) for one in texts])[place],
    )


def top_tokens(
    logprobs: Float[np.ndarray, "intervention token"], n: int
) -> Int[np.ndarray, "intervention rank"]:
    """The likeliest tokens of each row, best first; ties go to the lower id."""
    return np.argsort(-logprobs, axis=1, kind="stable")[:, :n]
