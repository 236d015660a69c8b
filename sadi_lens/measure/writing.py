"""Samples that are answered by what the model writes.

In: a loaded model and a call. Out: an evaluation of each intervention. Where many interventions leave the tokens before
the last one of a prompt as they are, each prompt is read once for all of them, a few items at a time; else one
intervention follows the other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from sadi_lens.engine.generation import Options, continued
from sadi_lens.engine.intervention import ContextualIntervention
from sadi_lens.engine.runner import Runner, runner_of
from sadi_lens.measure.calls import Call, EvaluationInterrupted, joined
from sadi_lens.measure.outcomes import Origin, text_outcome
from sadi_lens.measure.picks import Answers
from sadi_lens.types.data import items_hash
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import Evaluation

FEWEST = 3
"""Interventions from which a prompt is read once for all of them."""
TEXTS_AT_ONCE = 128
"""Texts that are continued in one batch."""


def by_generation(
    model: HookedModel,
    call: Call,
    origin: Origin,
    bar: Any,
    resume: EvaluationInterrupted | None,
    is_grid: bool,
) -> list[Evaluation]:
    """What every intervention of a call writes on every sample.

    Raises:
        EvaluationInterrupted: On Ctrl-C, with what was finished: items under all interventions, or interventions on
            all items.
    """
    settings = call.settings
    options = Options(settings.position)
    is_shared = settings.engine == "shared"
    options.sampling |= {"max_new_tokens": settings.max_new_tokens, "use_cache": is_shared}
    n = sum(not isinstance(one, ContextualIntervention) for one in call.interventions)
    if n >= FEWEST and is_shared and settings.position != "all":
        return _by_item(model, call, origin, bar, resume, is_grid, options)
    return _by_intervention(model, call, origin, bar, resume, is_grid, options)


def _by_item(
    model: HookedModel,
    call: Call,
    origin: Origin,
    bar: Any,
    resume: EvaluationInterrupted | None,
    is_grid: bool,
    options: Options,
) -> list[Evaluation]:
    samples, n = call.samples, len(call.interventions)
    before = () if resume is None else resume.partial
    done = np.zeros(len(samples), dtype=bool) if resume is None else resume.done
    bar.update(int(done.sum()) * n)
    written: dict[int, list[str]] = {}
    broken: dict[int, set[int]] = {}
    missing = np.flatnonzero(~done).tolist()
    several = max(1, TEXTS_AT_ONCE // n)
    try:
        for start in range(0, len(missing), several):
            some = missing[start : start + several]
            texts, bad = _some_items(model, call, some, options, is_grid)
            for place, index in enumerate(some):
                written[index], broken[index] = texts[place], bad[place]
            bar.update(len(some) * n)
    except KeyboardInterrupt:
        results = _results(call, origin, done, before, written, broken)
        now = done.copy()
        now[list(written)] = True
        raise EvaluationInterrupted(tuple(results), now, call.described(model)) from None
    return _results(call, origin, done, before, written, broken)


def _some_items(
    model: HookedModel, call: Call, some: Sequence[int], options: Options, is_grid: bool
) -> tuple[list[list[str]], list[set[int]]]:
    """Texts of every item under every intervention, and those that came of logits that are not finite.

    What must know more of a pass runs in batches of its own, which share no prompt.
    """
    samples = [call.samples[index] for index in some]
    sides: tuple[list[int], list[int]] = ([], [])
    for place, one in enumerate(call.interventions):
        sides[isinstance(one, ContextualIntervention)].append(place)
    texts = [[""] * len(call.interventions) for _ in samples]
    broken: list[set[int]] = [set() for _ in samples]
    for places in filter(None, sides):
        options.broken = set() if is_grid else None
        options.rows = [index for index in some for _ in places]
        found = continued(
            runner_of(model),
            [one.prompt for one in samples for _ in places],
            [call.interventions[place] for _ in samples for place in places],
            options,
            prepend_bos=call.settings.prepend_bos,
            batch_size=len(samples) * len(places),
        )
        for row, one in enumerate(found):
            item, place = divmod(row, len(places))
            texts[item][places[place]] = one.text
            if row in (options.broken or ()):
                broken[item].add(places[place])
    return texts, broken


def _results(
    call: Call,
    origin: Origin,
    done: Bool[np.ndarray, " item"],
    before: Sequence[Evaluation],
    written: dict[int, list[str]],
    broken: dict[int, set[int]],
) -> list[Evaluation]:
    """One result an intervention over the items written before and now."""
    if not written:
        return list(before)
    places = np.array(list(written))
    samples = [call.samples[index] for index in written]
    answers, items = Answers.of(call.samples), items_hash(samples)
    results = [
        text_outcome(
            label,
            samples,
            [texts[place] for texts in written.values()],
            origin,
            items,
            answers and answers.take(places),
            np.array([place in broken[index] for index in written]),
        )
        for place, label in enumerate(call.labels)
    ]
    if not before:
        return results
    now = done.copy()
    now[places] = True
    finished = [sample for sample, is_done in zip(call.samples, now, strict=True) if is_done]
    return [joined(done[now], one, two, finished) for one, two in zip(before, results, strict=True)]


def _by_intervention(
    model: HookedModel,
    call: Call,
    origin: Origin,
    bar: Any,
    resume: EvaluationInterrupted | None,
    is_grid: bool,
    options: Options,
) -> list[Evaluation]:
    """A few items fill no batch: then several interventions share one."""
    samples, is_shared = call.samples, call.settings.engine == "shared"
    found = [] if resume is None else list(resume.partial)
    bar.update(len(samples) * len(found))
    rows = TEXTS_AT_ONCE if is_shared else 1
    several = max(1, rows // len(samples))
    items, answers = items_hash(samples), Answers.of(samples)
    try:
        for start in range(len(found), len(call.interventions), several):
            some = call.interventions[start : start + several]
            options.broken = set() if is_grid else None
            options.rows = list(range(len(samples))) * len(some)
            texts = continued(
                runner_of(model) if is_shared else Runner(model),
                [sample.prompt for sample in samples] * len(some),
                [one for one in some for _ in samples],
                options,
                prepend_bos=call.settings.prepend_bos,
                batch_size=rows,
            )
            for place, label in enumerate(call.labels[start : start + several]):
                at = range(place * len(samples), (place + 1) * len(samples))
                broken = np.array([row in (options.broken or ()) for row in at])
                own = [texts[row].text for row in at]
                found.append(text_outcome(label, samples, own, origin, items, answers, broken))
            bar.update(len(samples) * len(some))
    except KeyboardInterrupt:
        whole = np.ones(len(samples), dtype=bool)
        raise EvaluationInterrupted(tuple(found), whole, call.described(model)) from None
    return found
