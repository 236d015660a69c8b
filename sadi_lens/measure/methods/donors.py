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
    cluster: str | None = None
    right: tuple[str, ...] = ()
    """Further answers that are right."""


def same_answer(one: Donor, other: Donor) -> bool:
    """Whether two prompts have the same right answer."""
    return one.answer == other.answer


def other_answer(one: Donor, other: Donor) -> bool:
    """Whether the right answer of the second is a wrong one of the first."""
    return other.answer not in (one.answer, *one.right)


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

    Never that of its own cluster: the same fact in other words is no other prompt. Where a prompt stands in several
    samples, its donor fits all of them.

    Args:
        fits: Whether the second may be donor of the first.
        mean: Give the mean push of all that fit, in place of one: a fixed vector for each answer, say.
        material: Model and pairs.
        chosen: What pushes.
        samples: Items of the run.

    Raises:
        UnavailableError: If no prompt has a donor, or one of the pairs ends at another token than its answers follow. A
            prompt without a donor is not pushed; how many says the label.
    """
    own = [_donor(one) for one in samples]
    pairs = [
        Donor(prompt, one.positive.strip(), None, one.cluster)
        for prompt, one in zip(material.prompts, material.pairs, strict=True)
    ]
    pool = [*own, *pairs]
    tokens, pushes = _recorded(material, chosen, [one.prompt for one in pool])
    asked: dict[tuple[int, ...], list[Donor]] = {}
    for prompt, one in zip(tokens, own, strict=False):
        asked.setdefault(prompt, []).append(one)
    generator = np.random.default_rng(material.seed)
    given, lonely = np.zeros((len(asked), *pushes.shape[1:]), pushes.dtype), 0
    for row, (prompt, takers) in enumerate(asked.items()):
        fitting = {
            tokens[place]: place
            for place, other in enumerate(pool)
            if tokens[place] != prompt
            and all(fits(one, other) and not _is_same(one, other) for one in takers)
        }
        rows = list(fitting.values())  # a prompt that stands there again is one
        if not rows:
            lonely += 1
            continue
        taken = rows if mean else [int(generator.choice(rows))]
        given[row] = pushes[taken].mean(axis=0)
    if lonely == len(asked):
        raise UnavailableError("no prompt has another one that could give its push")
    words = f" ({lonely} prompts without a donor)" if lonely else ""
    return _table(chosen, list(asked), given, words)


def _donor(one: Sample) -> Donor:
    right = tuple(one.choices[place].strip() for place in one.also_right)
    return Donor(one.prompt, right_answer(one).strip(), one.group, one.cluster, right)


def _is_same(one: Donor, other: Donor) -> bool:
    return one.cluster is not None and one.cluster == other.cluster


def own_direction(
    material: Material, chosen: Intervention, prompts: Sequence[str]
) -> SwappedPrompt:
    """Each prompt's own push at one length for all: the root mean square of the pairs' pushes."""
    tokens, pushes = _recorded(material, chosen, prompts)
    _, of_pairs = _recorded(material, chosen, material.prompts)
    length = float(np.sqrt(np.square(_lengths(of_pairs)).mean()))
    own = _lengths(pushes)[:, None, None, None]
    scaled = np.divide(pushes * length, own, out=np.zeros_like(pushes), where=own > 0)
    return _table(chosen, tokens, scaled, " at one length")


def own_norm(material: Material, chosen: Intervention, prompts: Sequence[str]) -> SwappedPrompt:
    """The mean difference on the selected units, as long for each prompt as its own push.

    Raises:
        UnavailableError: If something else than a mask is scaled, or the difference is zero there.
    """
    if not isinstance(chosen, MaskedScaling):
        raise UnavailableError(f"only masked scaling has a D on its units, not {chosen.label!r}")
    tokens, pushes = _recorded(material, chosen, prompts)
    vector = material.differences[chosen.component].vector * chosen.mask.selected[:, :, None]
    direction = vector[list(chosen.layers)]
    if not direction.any():
        raise UnavailableError(
            "the mean difference is zero on the selected units: it has no direction"
        )
    along = direction / np.linalg.norm(direction)
    return _table(chosen, tokens, _lengths(pushes)[:, None, None, None] * along, " along D")


def _recorded(
    material: Material, chosen: Intervention, prompts: Sequence[str]
) -> tuple[list[tuple[int, ...]], Float[np.ndarray, "prompt layer unit d"]]:
    """Tokens and own push of every prompt, in a run that is steered where the comparison steers."""
    return record_pushes(
        material.model, chosen, prompts, position=material.position, progress=False
    )


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
