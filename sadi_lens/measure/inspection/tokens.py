"""One text token by token: what steering did to a continuation, and which tokens are read and steered."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sadi_lens.engine.generation import generate
from sadi_lens.engine.hooks import FlatHook, require_eval
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.passes import device_of
from sadi_lens.engine.positions import PositionTracker
from sadi_lens.engine.prompts import TextOrChat, as_text
from sadi_lens.engine.runner import Runner
from sadi_lens.engine.steering import applied
from sadi_lens.engine.text import EncodedItem, encode_item, require_tokenizer
from sadi_lens.find.pair_activations import require_one_prompt
from sadi_lens.types.base import DEFAULT_POSITION, require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import GenerationTrace, TokenRoles


@checked()
@torch.inference_mode()
def trace_generation(
    model: HookedModel,
    prompt: TextOrChat,
    intervention: Intervention | None,
    *,
    text: str | None = None,
    position: str = DEFAULT_POSITION,
    max_new_tokens: int = 20,
    label: str = "",
    kind: str = "other",
) -> GenerationTrace:
    """A continuation token by token: how likely with and without steering, and where it was edited.

    Two passes over prompt and continuation: the tokens that were generated, or, for a given ``text``, prompt and text
    encoded together, where a token that the tokenizer merges across their boundary belongs to the continuation.

    Args:
        model: A bridged model in eval mode.
        prompt: What to continue, text or the messages of a chat; a chat stands in the trace as its template renders it.
        intervention: What to do; None traces the unsteered model.
        text: The continuation to trace; default: what the steered model writes.
        position: Which tokens are edited.
        max_new_tokens: Length of the continuation, where it is generated.
        label: What was done, in words; default the intervention's own.
        kind: As ``MethodRow.kind``.

    Raises:
        ValueError: If the continuation is empty or a text does not fit.
    """
    require_eval(model)
    prompt = as_text(model, prompt)
    if text is None:
        options: Any = {"position": position, "max_new_tokens": max_new_tokens}
        ((_, before, new),) = generate(model, prompt, intervention, return_tokens=True, **options)
    else:
        item = encode_item(model, prompt, (text,)) if text else EncodedItem((), ((),))
        before, new = item.prompt, item.answers[0]
    _require_tokens(prompt, new)
    info = ModelInfo.of(model)
    ids = torch.tensor([before + new], device=device_of(model))
    first = len(before) - 1
    plain, norms = _traced(model, ids, None, position, first)
    steered = plain
    if intervention is not None:
        steered, norms = _traced(model, ids, intervention, position, first)
    chosen = ids[0, first + 1 :].cpu()[:, None]
    kl = (plain.exp() * (plain - steered)).sum(dim=-1)
    words = [require_tokenizer(model).decode([token]) for (token,) in chosen.tolist()]
    return GenerationTrace(
        label=label or ("unsteered" if intervention is None else intervention.label),
        kind="unsteered" if intervention is None else kind,
        model=info,
        component="" if intervention is None else intervention.component,
        position=position,
        prompt=prompt,
        tokens=tuple(words),
        logp_unsteered=plain.gather(1, chosen)[:, 0].numpy(),
        logp=steered.gather(1, chosen)[:, 0].numpy(),
        kl=kl.clamp(min=0).numpy(),
        edit_norm=norms,
    )


def _require_tokens(prompt: str, new: Sequence[int]) -> None:
    if not new:
        raise ValueError(
            f"text must continue {prompt[-40:]!r} by a token, got none; there is nothing to trace"
        )


def _traced(
    model: HookedModel, ids: Tensor, intervention: Intervention | None, position: str, first: int
) -> tuple[Float[Tensor, "token vocab"], Float[np.ndarray, "layer token"]]:
    """From token ``first`` on: log-probabilities of the next, and how far each was moved in each layer."""
    runner = Runner(model)
    component, layers = (
        ("", ()) if intervention is None else (intervention.component, intervention.layers)
    )
    found: dict[tuple[int, bool], Tensor] = {}

    def note(layer: int, is_after: bool) -> FlatHook:
        return lambda activation: found.update({(layer, is_after): activation[0, first:-1].float()})

    before, after = (
        [(component, layer, note(layer, is_after)) for layer in layers]
        for is_after in (False, True)
    )
    tracker = PositionTracker(position, prompt_end=first)
    with applied(runner, [intervention], tracker, before=before, after=after, refuses=True):
        logits = runner.logits(ids, torch.ones_like(ids), ids.shape[1] - first)[0, :-1]
    norms = np.zeros((runner.info.n_layers, len(logits)), dtype=np.float32)
    for layer in layers:
        norms[layer] = (found[layer, True] - found[layer, False]).norm(dim=-1).cpu().numpy()
    return logits.float().log_softmax(dim=-1).cpu(), norms


@checked()
def token_roles(
    model: HookedModel,
    pair: ContrastivePair,
    *,
    position: str = DEFAULT_POSITION,
    side: str = "positive",
) -> TokenRoles:
    """The tokens of prompt + answer: which one is read for the differences, which ones are steered.

    Read: the last token of the whole text. Steered: by the rule of ``position``.

    Raises:
        ValueError: If the side or the position is unknown, or the text does not fit.
    """
    require_one_of("side", side, ("positive", "negative"))
    require_one_prompt([pair], "token_roles")
    item = encode_item(model, pair.prompt, (pair.positive, pair.negative))
    ids = item.prompt + item.answers[("positive", "negative").index(side)]
    end = len(item.prompt) - 1
    steered = {
        "last_prompt": range(end, end + 1),
        "every_step": range(end, len(ids)),
        "generated": range(end + 1, len(ids)),
        "all": range(len(ids)),
    }[position]
    tokenizer = require_tokenizer(model)
    return TokenRoles(
        model=ModelInfo.of(model),
        label=f"prompt + {'right' if side == 'positive' else 'wrong'} answer",
        tokens=tuple(tokenizer.decode([token]) for token in ids),
        prompt_length=len(item.prompt),
        read=(len(ids) - 1,),
        steered=tuple(steered),
        position=position,
    )
