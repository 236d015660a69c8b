"""What a push carries: pushes of prompts with the same answer or cue or another answer; direction and length apart.

A push that is computed on a random other prompt nearly always points to another answer, so that it harms says only that
the push carries an answer. These controls tell apart what of the input the push needs. Most are told the right answers:
they are an analysis of a method, never a method.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sadi_lens.engine.intervention import Intervention
from sadi_lens.interventions import MaskedScaling, SwappedPrompt
from sadi_lens.measure.methods.base import Material, UnavailableError
from sadi_lens.measure.push import record_pushes
from sadi_lens.tasks.contrast import right_answer
from sadi_lens.types.data import Sample


class Donor(NamedTuple):
    """A prompt whose push may be given to others."""

    prompt: str
    answer: str
    group: str | None


def same_answer(one: Donor, other: Donor) -> bool:
    """Whether two prompts have the same right answer."""
    return one.answer == other.answer


def other_answer(one: Donor, other: Donor) -> bool:
    """Whether two prompts have different right answers."""
    return one.answer != other.answer


def same_cue(one: Donor, other: Donor) -> bool:
    """Whether two prompts have the same cue and different right answers."""
    return one.group is not None and one.group == other.group and other_answer(one, other)


def donated(
    fits: Callable[[Donor, Donor], bool],
    mean: bool,
    material: Material,
    chosen: Intervention,
    samples: Sequence[Sample],
) -> SwappedPrompt:
    """Every prompt gets the push of a random other one that fits, of the samples or of the pairs.

    Args:
        fits: Whether the second may be donor of the first.
        mean: Give the mean push of all that fit, in place of one: a fixed vector for each answer, say.
        material: Model and pairs.
        chosen: What pushes.
        samples: Items of the run.

    Raises:
        UnavailableError: If no prompt has a donor. A prompt without one is not pushed; how many says the label.
    """
    own = [Donor(one.prompt, right_answer(one).strip(), one.group) for one in samples]
    pairs = [Donor(one.prompt, one.positive.strip(), None) for one in material.pairs]
    pool = [*own, *pairs]
    tokens, pushes = record_pushes(
        material.model, chosen, [one.prompt for one in pool], progress=False
    )
    generator = np.random.default_rng(material.seed)
    given, lonely = np.zeros_like(pushes[: len(own)]), 0
    for row, one in enumerate(own):
        rows = [
            place
            for place, other in enumerate(pool)
            if fits(one, other) and tokens[place] != tokens[row]
        ]
        if not rows:
            lonely += 1
            continue
        taken = rows if mean else [int(generator.choice(rows))]
        given[row] = pushes[taken].mean(axis=0)
    if lonely == len(own):
        raise UnavailableError("no prompt has another one that could give its push")
    words = f" ({lonely} prompts without a donor)" if lonely else ""
    return _table(chosen, tokens[: len(own)], given, words)


def own_direction(
    material: Material, chosen: Intervention, prompts: Sequence[str]
) -> SwappedPrompt:
    """Each prompt's own push at one length for all: the root mean square of the pairs' pushes."""
    tokens, pushes = record_pushes(material.model, chosen, prompts, progress=False)
    _, of_pairs = record_pushes(material.model, chosen, material.prompts, progress=False)
    length = float(np.sqrt(np.square(_lengths(of_pairs)).mean()))
    own = _lengths(pushes)[:, None, None, None]
    scaled = np.divide(pushes * length, own, out=np.zeros_like(pushes), where=own > 0)
    return _table(chosen, tokens, scaled, " at one length")


def own_norm(material: Material, chosen: Intervention, prompts: Sequence[str]) -> SwappedPrompt:
    """The mean difference on the selected units, as long for each prompt as its own push."""
    if not isinstance(chosen, MaskedScaling):
        raise UnavailableError(f"only masked scaling has a D on its units, not {chosen.label!r}")
    tokens, pushes = record_pushes(material.model, chosen, prompts, progress=False)
    vector = material.differences[chosen.component].vector * chosen.mask.selected[:, :, None]
    direction = vector[list(chosen.layers)]
    along = direction / max(float(np.linalg.norm(direction)), 1e-30)
    return _table(chosen, tokens, _lengths(pushes)[:, None, None, None] * along, " along D")


def _lengths(pushes: Float[np.ndarray, "prompt layer unit d"]) -> Float[np.ndarray, " prompt"]:
    return np.linalg.norm(pushes.reshape(len(pushes), -1), axis=1)


def _table(
    chosen: Intervention, tokens: Sequence[tuple[int, ...]], pushes: np.ndarray, words: str
) -> SwappedPrompt:
    rows = {prompt: row for row, prompt in reversed(list(enumerate(tokens)))}
    return SwappedPrompt(
        component=chosen.component,
        prompts=tuple(rows),
        pushes=pushes[list(rows.values())],
        steered=tuple(chosen.layers),
        name=f"{chosen.label}{words}",
    )
