"""Supervised fine-tuning on right answers, as low-rank adapters (LoRA, Hu et al., 2022) of every linear layer.

W' = W + (alpha / r) B A        A random, B = 0 at first; the loss is the cross-entropy of the answer's tokens alone
"""

import copy
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sadi_lens.engine.passes import device_of, pad_id
from sadi_lens.engine.text import encode_item
from sadi_lens.models._pretrained import bridge_from
from sadi_lens.types.checks import checked, require_fields
from sadi_lens.types.model import HookedModel, Kept, ModelInfo

RANK = 8
BATCH = 16
"""Texts of one step."""


class MissingPeftError(ImportError):
    """Fine-tuning was asked for and PEFT is not installed."""


@dataclass(frozen=True, eq=False)
class Tuned:
    """A model with what fine-tuning taught it; calling it builds the model.

    Only the adapters are kept, and the model that was built last, so that a grid of these costs little memory.
    """

    base: Any
    """The bridged model that was tuned; left as it is."""
    adapters: dict[str, Tensor]
    rank: int
    learning_rate: float
    epochs: int
    seed: int
    losses: tuple[float, ...]
    """Mean cross-entropy of an answer token in each epoch (nats), while learning."""

    def __post_init__(self) -> None:
        require_fields(self)

    def __call__(self) -> Any:
        """A bridged model of its own with the adapters merged into its weights."""
        return _build(self)

    @property
    def label(self) -> str:
        """As in ``LoRA, learning rate 0.001, 4 epochs``."""
        return f"LoRA, learning rate {self.learning_rate:g}, {self.epochs} epochs"


@checked()
def fine_tune(
    model: HookedModel,
    texts: Sequence[tuple[str, str]],
    *,
    learning_rate: float = 1e-3,
    epochs: Sequence[int] = (4,),
    rank: int = RANK,
    seed: int = 0,
) -> list[Tuned]:
    """Fine-tune a copy of a model on answers; one result for each number of epochs, all of one run.

    AdamW without weight decay at a constant rate, batches of ``BATCH`` texts in an order drawn anew each epoch, no
    dropout, alpha = 2 r. ``model`` is left as it is, and so is the global random state.

    Args:
        model: A bridged model that ``load_model`` loaded.
        texts: (prompt, answer); the loss is that of the answer.
        learning_rate: Of AdamW.
        epochs: Numbers of epochs to keep, rising.
        rank: Of the adapters.
        seed: Of their first values and of the order of texts.

    Raises:
        ImportError: If PEFT is not installed.
        ValueError: If there is no text, a number is out of range, a text does not tokenise or fit, or the loss is not
            finite.

    Example:
        >>> texts = [(pair.prompt, pair.positive) for pair in task.pairs[:32]]
        >>> (tuned,) = sl.models.fine_tune(model, texts, learning_rate=1e-3, epochs=[2])
        >>> tuned.losses[1] < tuned.losses[0]
        True
        >>> tuned().cfg.n_layers == model.cfg.n_layers
        True
    """
    for name, given in (("texts", texts), ("epochs", epochs)):
        if not len(given):
            raise ValueError(f"{name} must hold at least 1, got 0")
    if learning_rate <= 0:
        raise ValueError(f"learning_rate must be above 0, got {learning_rate}")
    width = ModelInfo.of(model).d_model
    if rank > width:
        raise ValueError(f"rank must be at most the width of the model, {width}, got {rank}")
    kept = sorted(set(epochs))
    rows = [encode_item(model, prompt, (answer,)) for prompt, answer in texts]
    ids = [([*row.prompt, *row.answers[0]], len(row.answers[0])) for row in rows]
    draw = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad():
        tuned: Any = _adapted(model, rank, seed)
        trained = [one for one in tuned.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(trained, learning_rate, weight_decay=0.0)
        found: list[Tuned] = []
        losses: list[float] = []
        for epoch in range(1, kept[-1] + 1):
            order = torch.randperm(len(ids), generator=draw).tolist()
            losses.append(_epoch(tuned, [ids[row] for row in order], optimizer, pad_id(model)))
            if not math.isfinite(losses[-1]):
                raise ValueError(
                    f"learning_rate {learning_rate:g} makes the loss {losses[-1]} in epoch {epoch}; use a smaller one"
                )
            if epoch in kept:
                made = (rank, learning_rate, epoch, seed, tuple(losses))
                found.append(Tuned(model, _state(tuned), *made))
    return found


def _adapted(model: HookedModel, rank: int, seed: int) -> Any:
    """A copy of the raw model with fresh adapters."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingPeftError("fine-tuning needs PEFT: pip install 'sadi_lens[sft]'") from error
    raw: Any = model.__dict__.get("raw_model")
    if raw is None:
        raise ValueError("fine-tuning starts from the Hugging Face model that load_model keeps")
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    devices = [device_of(model)] if device_of(model).type == "cuda" else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        # PEFT's own, between its release and transformers'.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set")  # it sets it right, for GPT-2
        torch.manual_seed(seed)
        return get_peft_model(copy.deepcopy(raw), config).eval()  # the model's own dropout is off


def _epoch(tuned: Any, rows: Sequence[tuple[list[int], int]], optimizer: Any, pad: int) -> float:
    """One pass over the texts; the mean loss of an answer token."""
    total, n = 0.0, 0
    device = next(tuned.parameters()).device
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        width = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([[*one, *[pad] * (width - len(one))] for one, _ in batch], device="cpu")
        real = torch.tensor(
            [[1] * len(one) + [0] * (width - len(one)) for one, _ in batch], device="cpu"
        )
        column = torch.arange(width, device="cpu")[None]
        ends = torch.tensor([len(one) for one, _ in batch], device="cpu")[:, None]
        starts = ends - torch.tensor([answer for _, answer in batch], device="cpu")[:, None]
        labels = torch.where((column >= starts) & (column < ends), ids, -100)
        logits = tuned(
            input_ids=ids.to(device), attention_mask=real.to(device), use_cache=False
        ).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten().to(device)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        count = int((labels >= 0).sum())
        total, n = total + loss.item() * count, n + count
    return total / n


def _state(tuned: Any) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    found: dict[str, Tensor] = get_peft_model_state_dict(tuned)
    return {name: value.detach().clone() for name, value in found.items()}


@lru_cache(maxsize=1)
def _build(tuned: Tuned) -> Any:
    from peft import set_peft_model_state_dict

    base = tuned.base
    adapted = _adapted(base, tuned.rank, tuned.seed)
    set_peft_model_state_dict(adapted, tuned.adapters)
    merged: Any = adapted.eval().merge_and_unload(safe_merge=True)
    return bridge_from(
        merged,
        copy.deepcopy(base.tokenizer),
        label=f"{Kept.of(base).name} ({tuned.label})",
        source="object",
        licence="",
        placed=None,
        check=True,
        notes=[],
    )
