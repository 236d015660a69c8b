"""One text token by token: what steering did to a continuation, and which tokens are read and steered."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sadi_lens.engine.generation import generate
from sadi_lens.engine.hooks import attached, device_of, require_eval
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.steering import fwd_hooks
from sadi_lens.engine.text import encode_item, require_tokenizer
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, require_one_prompt
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.results import GenerationTrace, TokenRoles


@checked()
@torch.inference_mode()
def trace_generation(
    model: HookedModel,
    prompt: str,
    intervention: Intervention | None,
    *,
    text: str | None = None,
    position: str = DEFAULT_POSITION,
    max_new_tokens: int = 20,
    label: str = "",
    kind: str = "other",
) -> GenerationTrace:
    """A continuation token by token: how likely with and without steering, and where it was edited.

    Two passes over prompt and continuation, encoded together; a token that the tokenizer merges across
    their boundary belongs to the continuation.

    Args:
        model: A bridged model in eval mode.
        prompt: What to continue.
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
    require_one_of("position", position, POSITIONS)
    if text is None:
        settings: dict[str, Any] = {"position": position, "max_new_tokens": max_new_tokens}
        text = generate(model, prompt, intervention, **settings)[0]
    if not text:
        raise ValueError(
            f"the continuation of {prompt[-40:]!r} is empty; there is nothing to trace"
        )
    info = ModelInfo.of(model)
    item = encode_item(model, prompt, (text,))
    ids = torch.tensor([item.prompt + item.answers[0]], device=device_of(model))
    first, n = len(item.prompt) - 1, len(item.answers[0])
    norms = np.zeros((info.n_layers, n), dtype=np.float32)
    plain = _logps(model, ids)[first : first + n]
    steered = plain
    if intervention is not None:
        intervention.check(info)
        recorder = _Recorder(intervention, norms, first)
        hooks = fwd_hooks(recorder, position=position, prompt_lengths=[len(item.prompt)])
        with attached(model, hooks):
            steered = _logps(model, ids)[first : first + n]
        norms *= _edited(position, n)
    chosen = ids[0, first + 1 :].cpu()
    kl = (plain.exp() * (plain - steered)).sum(dim=-1)
    tokenizer = require_tokenizer(model)
    return GenerationTrace(
        label=label or ("unsteered" if intervention is None else intervention.label),
        kind="unsteered" if intervention is None else kind,
        model=info,
        component="" if intervention is None else intervention.component,
        position=position,
        prompt=prompt,
        tokens=tuple(tokenizer.decode([token]) for token in chosen.tolist()),
        logp_unsteered=plain[range(n), chosen].numpy(),
        logp=steered[range(n), chosen].numpy(),
        kl=kl.clamp(min=0).numpy(),
        edit_norm=norms,
    )


def _edited(position: str, n: int) -> np.ndarray:
    """1 where the token that predicts a continuation token is edited."""
    return np.arange(n) == 0 if position == "last_prompt" else np.ones(n, dtype=bool)


def _logps(model: HookedModel, ids: Tensor) -> Tensor:
    logits = model(ids, use_cache=False)
    logits = logits if isinstance(logits, Tensor) else logits.logits
    return logits[0].float().log_softmax(dim=-1).cpu()


class _Recorder:
    """An intervention that also writes down how far it moved each token from ``first`` on."""

    def __init__(self, intervention: Intervention, norms: np.ndarray, first: int) -> None:
        self.intervention, self.norms, self.first = intervention, norms, first
        self.component, self.layers = intervention.component, intervention.layers
        self.label = intervention.label

    def edit(self, activation: Tensor, layer: int) -> Tensor:
        """The edited activation of one row."""
        edited = self.intervention.edit(activation, layer)
        moved = (edited - activation)[0].float().flatten(1).norm(dim=-1).cpu().numpy()
        self.norms[layer] = moved[self.first : self.first + self.norms.shape[1]]
        return edited

    def check(self, info: ModelInfo) -> None:
        """As the intervention's own."""
        self.intervention.check(info)


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
    require_one_of("position", position, POSITIONS)
    require_one_prompt([pair], "token_roles")
    item = encode_item(model, pair.prompt, (pair.positive, pair.negative))
    ids = item.prompt + item.answers[("positive", "negative").index(side)]
    end = len(item.prompt) - 1
    steered = {
        "last_prompt": range(end, end + 1),
        "every_step": range(end, len(ids)),
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
