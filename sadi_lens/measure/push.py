"""How far an intervention really pushes, measured where it acts, and the same push on other prompts."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.engine.contract import require_fit
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.prompts import TextOrChat, as_text, encode_prompts
from sadi_lens.engine.reading import read
from sadi_lens.engine.text import EncodedItem
from sadi_lens.find.differences import Moments
from sadi_lens.interventions import Push, SwappedPrompt
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, NotFiniteError, require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.model import HookedModel, ModelInfo, unit_shape


@checked()
@torch.inference_mode()
def measure_push(
    model: HookedModel,
    prompts: Sequence[TextOrChat],
    intervention: Intervention,
    *,
    position: str = DEFAULT_POSITION,
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> Push:
    """Edited minus unedited activation at the last prompt token, in the flow of the steered run.

    Args:
        model: A bridged model in eval mode.
        prompts: At least one, texts or chats.
        intervention: What to measure.
        position: Where the run is steered that it is measured in: ``"all"``, every token of the prompt; otherwise its
            last one.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_tokens: Tokens of one forward pass; default what memory allows.
        progress: Show a bar.

    Raises:
        ValueError: If there is no prompt, or the intervention does not fit the model.
        NotFiniteError: If the push overflows.
    """
    items = encode_prompts(model, prompts, prepend_bos=prepend_bos)
    info = ModelInfo.of(model)
    layers = list(intervention.layers)
    shape = unit_shape(info, intervention.component)
    mean = np.zeros((info.n_layers, *shape), dtype=np.float32)
    moments, squares = Moments((len(layers), *shape)), Moments(())
    for _, pushes in _pushes(model, items, intervention, position, max_tokens, progress):
        moments.update(pushes)
        squares.update(pushes.square().flatten(1).sum(dim=1))
    if layers:
        mean[layers] = moments.mean_array()
    rms = float(np.sqrt(squares.mean_array())) if layers else 0.0
    if not (np.isfinite(rms) and np.isfinite(mean).all()):
        raise NotFiniteError("the push", intervention.label)
    return Push(mean, rms, len(items))


@checked()
@torch.inference_mode()
def swap_prompts(
    model: HookedModel,
    intervention: Intervention,
    prompts: Sequence[TextOrChat],
    donors: Sequence[TextOrChat] | None = None,
    *,
    seed: int = 0,
    position: str = DEFAULT_POSITION,
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> SwappedPrompt:
    """The control that gives each prompt the push of another: see ``SwappedPrompt``.

    Args:
        model: A bridged model in eval mode.
        intervention: An adaptive intervention.
        prompts: Every prompt of the run, texts or chats (the same tokens may stand there
            again; their first donor counts).
        donors: One for each prompt. Default: the prompts themselves in a random circle, so that each is the donor
            of exactly one other (of which nothing is known: it may be the same question in other words).
        seed: Of the circle; the global random state is not touched.
        position: See ``measure_push``.
        prepend_bos: As in the run.
        max_tokens: Tokens of one forward pass; default what memory allows.
        progress: Show a bar.

    Raises:
        ValueError: If there are fewer than 2 different prompts and no donors, the lists differ in length, a prompt is
            its own donor, or the intervention does not fit the model.
    """
    if donors is None:
        prompts, donors = _in_a_circle(model, prompts, seed, prepend_bos)
    if len(donors) != len(prompts):
        raise ValueError(f"donors must be one for each prompt: {len(donors)} for {len(prompts)}")
    own = encode_prompts(model, prompts, prepend_bos=prepend_bos)
    given = encode_prompts(model, donors, prepend_bos=prepend_bos)
    chosen: dict[tuple[int, ...], tuple[int, ...]] = {}
    for text, item, donor in zip(prompts, own, given, strict=True):
        if item.prompt == donor.prompt:
            raise ValueError(
                f"a prompt must not be its own donor, got {as_text(model, text)[-60:]!r} for itself"
            )
        chosen.setdefault(item.prompt, donor.prompt)
    found = _recorded(model, chosen.values(), intervention, position, max_tokens, progress)
    return SwappedPrompt(
        component=intervention.component,
        prompts=tuple(chosen),
        pushes=np.stack([found[donor] for donor in chosen.values()]),
        steered=tuple(intervention.layers),
        name=intervention.label,
    )


def _in_a_circle(
    model: HookedModel, prompts: Sequence[TextOrChat], seed: int, prepend_bos: bool | None
) -> tuple[list[TextOrChat], list[TextOrChat]]:
    """Prompts that differ in their tokens, and the donor of each."""
    rows = encode_prompts(model, prompts, prepend_bos=prepend_bos) if prompts else []
    unique: dict[tuple[int, ...], TextOrChat] = {}
    for row, text in zip(rows, prompts, strict=True):
        unique.setdefault(row.prompt, text)
    texts = list(unique.values())
    if len(texts) < 2:
        raise ValueError(f"prompts must hold at least 2 different ones, got {len(texts)}")
    order = np.random.default_rng(seed).permutation(len(texts))
    following = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
    return texts, [texts[following[index]] for index in range(len(texts))]


@checked()
@torch.inference_mode()
def record_pushes(
    model: HookedModel,
    intervention: Intervention,
    prompts: Sequence[TextOrChat],
    *,
    position: str = DEFAULT_POSITION,
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> tuple[list[tuple[int, ...]], Float[np.ndarray, "prompt layer unit d"]]:
    """Tokens and own push of every prompt, at its last token, in the flow of the steered run.

    Args:
        model: A bridged model in eval mode.
        intervention: What pushes.
        prompts: At least one, texts or chats; the same may stand there again.
        position: See ``measure_push``.
        prepend_bos: As in the run.
        max_tokens: Tokens of one forward pass; default what memory allows.
        progress: Show a bar.

    Raises:
        ValueError: If there is no prompt, or the intervention does not fit the model.

    Example:
        >>> mask = sl.Mask.from_units("head", [(2, 2), (3, 1)], model)
        >>> tokens, pushes = sl.measure.record_pushes(
        ...     model, sl.MaskedScaling(mask, 5.0), [task.dev[0].prompt], progress=False
        ... )
        >>> pushes.shape  # prompt, the two layers that are steered, head, d_head
        (1, 2, 16, 8)
    """
    tokens = [item.prompt for item in encode_prompts(model, prompts, prepend_bos=prepend_bos)]
    found = _recorded(model, tokens, intervention, position, max_tokens, progress)
    return tokens, np.stack([found[one] for one in tokens])


def _recorded(
    model: HookedModel,
    prompts: Iterable[tuple[int, ...]],
    intervention: Intervention,
    position: str,
    max_tokens: int | None,
    progress: bool,
) -> dict[tuple[int, ...], np.ndarray]:
    unique = [EncodedItem(prompt) for prompt in dict.fromkeys(prompts)]
    found: dict[tuple[int, ...], np.ndarray] = {}
    for indices, pushes in _pushes(model, unique, intervention, position, max_tokens, progress):
        for index, push in zip(indices, pushes.numpy(), strict=True):
            found[unique[index].prompt] = push
    return found


def _pushes(
    model: HookedModel,
    items: Sequence[EncodedItem],
    intervention: Intervention,
    position: str,
    max_tokens: int | None,
    progress: bool,
) -> Iterator[tuple[list[int], Float[Tensor, "prompt layer unit d"]]]:
    """Push of every touched layer at the last token of each prompt, a few prompts at a time."""
    info = ModelInfo.of(model)
    require_one_of("position", position, POSITIONS)
    require_fit(intervention, info)
    name, layers = intervention.component, list(intervention.layers)
    if not layers:
        yield list(range(len(items))), torch.zeros((len(items), 0, *unit_shape(info, name)))
        return
    with tqdm(total=len(items), desc="push", unit="prompt", disable=not progress) as bar:
        for found in read(
            model,
            items,
            [name],
            layers,
            intervention=intervention,
            position="all" if position == "all" else "last_prompt",
            max_tokens=max_tokens,
        ):
            yield found.indices, (found.values[name] - found.unedited[name])[:, 0].cpu()
            bar.update(len(found.indices))
