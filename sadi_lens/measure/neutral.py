"""What an intervention does to text that it was not meant to change, and strengths matched by it.

KL = mean_t sum_v p(v | t) log(p(v | t) / q(v | t))      p unsteered, q steered, nats per token
"""

import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sadi_lens.engine.generation import generate
from sadi_lens.engine.hooks import require_eval
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.passes import batches_on_one_side, by_side, device_of, pad_id, pad_left
from sadi_lens.engine.prompts import TextOrChat, as_text, encode_prompt
from sadi_lens.engine.runner import owned
from sadi_lens.engine.steering import steer
from sadi_lens.engine.text import encode_item
from sadi_lens.measure.calls import made
from sadi_lens.measure.open_ended import compression, repeatable, repetition
from sadi_lens.types.answers import has_spaces
from sadi_lens.types.base import DEFAULT_POSITION, NotFiniteError
from sadi_lens.types.checks import checked
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import SideEffects

Row = tuple[list[int], int]
"""Tokens of a text, and how many of them continue its prompt."""
MAX_LOGITS = 2**25
"""Logits (tokens x vocabulary) of one forward pass."""


class Divergence(NamedTuple):
    """How far a steered model's next-token distributions lie from the unsteered one's."""

    kl: float
    """Nats per token."""
    perplexity_ratio: float
    """Steered over unsteered; NaN where only prompts were given."""
    n_tokens: int


class UnreachableError(ValueError):
    """A KL divergence that no strength gives; the message says how far it got."""


@checked()
@torch.inference_mode()
def divergence(
    model: HookedModel,
    texts: Sequence[tuple[TextOrChat, str]],
    intervention: Intervention | None,
    *,
    position: str = DEFAULT_POSITION,
    steered: HookedModel | None = None,
    before: str = "",
) -> Divergence:
    """KL per token and perplexity ratio over the continuations of texts, both models reading the same tokens.

    Args:
        model: A bridged model in eval mode.
        texts: (prompt, continuation), the prompt text or a chat; an empty continuation asks for the one token that
            follows the prompt.
        intervention: What to measure; acts on the prompt as ``position`` says.
        position: Which tokens are edited.
        steered: The model that is steered, where it is not ``model`` itself (fine-tuned from it, same tokenizer).
        before: Text that the steered model reads before each prompt.

    Raises:
        ValueError: If there is no text, or one does not tokenise or fit.
        NotFiniteError: If the model's output is not finite.
    """
    require_eval(model)
    if not texts:
        raise ValueError("texts must hold at least 1, got 0")
    other = steered or model
    given = [(as_text(model, prompt), end) for prompt, end in texts]
    rows = [_cut(model, *one) for one in given]
    longer = [_cut(other, before + prompt, end) for prompt, end in given] if before else rows
    if [ids[len(ids) - n :] for ids, n in rows] != [ids[len(ids) - n :] for ids, n in longer]:
        raise ValueError(f"the texts are cut into other tokens after {before[-40:]!r}")
    most = max(1, MAX_LOGITS // int(model.cfg.d_vocab))
    parts = [
        _sums(
            (model, [rows[index] for index in indices]),
            (other, [longer[index] for index in indices]),
            intervention,
            position,
        )
        for indices in _batches(model, rows, other, longer, most)
    ]
    kl, surprise = (sum(part[place] for part in parts) for place in (0, 1))
    n_tokens = sum(max(1, n) for _, n in rows)
    ratio = float("nan")
    if all(n for _, n in rows):
        ratio = float(torch.tensor(surprise / n_tokens, dtype=torch.float64, device="cpu").exp())
    if not math.isfinite(kl):
        label = "unsteered" if intervention is None else intervention.label
        raise NotFiniteError("KL", label, f"{len(texts)} texts")
    return Divergence(kl / n_tokens, ratio, n_tokens)


def _batches(
    model: HookedModel, rows: Sequence[Row], other: HookedModel, longer: Sequence[Row], most: int
) -> Iterator[list[int]]:
    """Indices of texts that change one another in neither model."""
    for some in by_side(model, [(len(ids), len(ids)) for ids, _ in rows]):
        sizes = [len(longer[index][0]) for index in some]
        for batch in batches_on_one_side(other, [(n, n) for n in sizes], sizes, most):
            yield [some[index] for index in batch]


def _cut(model: HookedModel, prompt: str, continuation: str) -> Row:
    """Tokens of a text, and how many of them continue the prompt."""
    if not continuation:
        return encode_prompt(model, prompt), 0
    item = encode_item(model, prompt, (continuation,))
    return [*item.prompt, *item.answers[0]], len(item.answers[0])


def _sums(
    plain: tuple[HookedModel, Sequence[tuple[list[int], int]]],
    other: tuple[HookedModel, Sequence[tuple[list[int], int]]],
    intervention: Intervention | None,
    position: str,
) -> tuple[float, float]:
    """KL and the surprise that steering adds, summed over the continuation tokens of (tokens, length) rows.

    Each model reads rows of its own, which end in the same continuations.
    """
    rows = plain[1]
    keep = max(n for _, n in rows) + 1

    def logprobs(
        model: HookedModel, rows: Sequence[tuple[list[int], int]]
    ) -> tuple[Tensor, Tensor]:
        ids, mask = pad_left([ids for ids, _ in rows], pad_id(model), device_of(model))
        logits = model(ids, attention_mask=mask, use_cache=False, logits_to_keep=keep)
        return torch.log_softmax(logits[:, -keep:].float(), dim=-1), ids

    lengths = [len(row) - n for row, n in other[1]]
    # Not while something else steers one of them; in one order, or two threads would wait for each other.
    one, two = sorted((plain[0], other[0]), key=id)
    with owned(one), owned(two):
        base, ids = logprobs(*plain)
        with steer(other[0], intervention, position=position, prompt_lengths=lengths):
            steered, _ = logprobs(*other)
    # Column keep - 1 - n predicts the first of n continuation tokens.
    n_predicted = torch.tensor([max(1, n) for _, n in rows], device="cpu")[:, None]
    first = torch.tensor([keep - 1 - n for _, n in rows], device="cpu")[:, None]
    column = torch.arange(keep, device="cpu")[None]
    used = ((column >= first) & (column < first + n_predicted)).to(base.device)
    kl = (base.exp() * (base - steered)).sum(dim=-1)[used].double().sum()
    surprise = 0.0
    if keep > 1:
        following = ids[:, ids.shape[1] - keep + 1 :, None]
        lost = (base - steered)[:, :-1].gather(-1, following)[..., 0]
        surprise = float(lost[used[:, :-1]].double().sum())
    return float(kl), surprise


@checked()
def side_effects(
    model: HookedModel,
    texts: Sequence[str],
    intervention: Intervention | None,
    *,
    position: str = DEFAULT_POSITION,
    max_new_tokens: int = 32,
    steered: HookedModel | None = None,
    before: str = "",
) -> SideEffects:
    """What an intervention does to neutral texts: the second half of each is read, the first half continued.

    Args:
        model: A bridged model in eval mode.
        texts: At least one, each of two words or more (of two letters, where a script has no spaces).
        intervention: What to measure; None is the unsteered model.
        position: Which tokens are edited; ``"every_step"`` leaves steering on for the whole continuation.
        max_new_tokens: Length of the greedy continuations.
        steered: See ``divergence``.
        before: See ``divergence``.

    Raises:
        ValueError: If a text cannot be cut or does not fit.
        NotFiniteError: If the model's output is not finite.
    """
    halves = [halves_of(text) for text in texts]
    found = divergence(
        model, halves, intervention, position=position, steered=steered, before=before
    )
    continued = generate(
        steered or model,
        [before + prompt for prompt, _ in halves],
        intervention,
        position=position,
        max_new_tokens=max_new_tokens,
        return_tokens=True,
    )
    return SideEffects(
        kl=found.kl,
        perplexity_ratio=found.perplexity_ratio,
        repetition=repetition([repeatable(one.text, one.tokens) for one in continued]),
        compression=compression([one.text for one in continued]),
        n_texts=len(halves),
        n_tokens=found.n_tokens,
        position=position,
    )


def halves_of(text: str) -> tuple[str, str]:
    """A text cut at the first space from its middle on, which belongs to the second half.

    A text in a script without spaces is cut at its middle letter.
    """
    if not has_spaces(text) and len(text.strip()) > 1:
        begins = len(text) - len(text.lstrip())
        cut = begins + len(text.strip()) // 2
        while cut < len(text) - 1 and unicodedata.combining(text[cut]):
            cut += 1
        return text[:cut], text[cut:]
    spaces = [i for i, letter in enumerate(text) if letter == " " and text[:i].strip()]
    spaces = [i for i in spaces if text[i:].strip()]
    if not spaces:
        raise ValueError(f"a neutral text needs at least two words, got {text[:60]!r}")
    cut = next((i for i in spaces if i >= len(text) // 2), spaces[-1])
    return text[:cut], text[cut:]


@checked()
def match_kl(
    model: HookedModel,
    prompts: Sequence[TextOrChat],
    intervention: Intervention,
    make: Callable[[float], Intervention],
    *,
    position: str = DEFAULT_POSITION,
    start: float = 1.0,
    tolerance: float = 0.01,
) -> Intervention:
    """The member of a family that moves the next token as far as ``intervention`` does, found by bisection.

    Args:
        model: A bridged model in eval mode.
        prompts: Texts or chats whose next-token KL (mean, nats) is matched.
        intervention: What to match.
        make: Strength -> intervention; strength 0 must be the identity.
        position: Which tokens are edited.
        start: First strength tried; doubled up to 12 times.
        tolerance: Largest difference from the wanted KL, as a share of it.

    Raises:
        UnreachableError: If no strength up to ``4096 * start`` comes that near; says how near it came.
    """

    def measure(one: Intervention) -> float:
        return divergence(model, [(prompt, "") for prompt in prompts], one, position=position).kl

    if not prompts:
        raise ValueError("prompts must hold at least 1, got 0")
    if min(start, tolerance) <= 0:
        raise ValueError(f"start and tolerance must be above 0, got {start:g} and {tolerance:g}")
    wanted, tried = measure(intervention), {0.0: 0.0}

    def reaches(strength: float) -> bool:
        try:
            tried[strength] = measure(made(make, strength))
        except NotFiniteError:
            tried[strength] = math.inf
        return not tried[strength] < wanted

    def off(strength: float) -> float:
        return abs(tried[strength] - wanted)

    low, high = 0.0, start
    while not (is_bracketed := reaches(high)) and high < 4096 * start:
        low, high = high, 2 * high
    for _ in range(40):
        nearest = min(tried, key=off)
        if off(nearest) <= tolerance * wanted:
            return make(nearest)
        if not is_bracketed:
            break
        middle = (low + high) / 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    nearest = min(tried, key=off)
    raise UnreachableError(
        f"no strength from start ({start:g}) up to {high:g} of {make(high).label!r} has a KL of {wanted:.4g} nats; "
        f"the nearest is {tried[nearest]:.4g} at strength {nearest:g}. Match the norm instead, or another mask."
    )
