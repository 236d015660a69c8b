"""What ``load_model`` decides for its user: device, dtype, padding token; each choice is noted in words."""

from typing import Any

import torch

from sadi_lens.models._boot import n_embeddings


def choose_device(device: torch.device | str | None, notes: list[str]) -> torch.device:
    """The device asked for, else the fastest there is."""
    if device is not None:
        return torch.device(device)
    if torch.cuda.is_available():
        chosen = torch.device("cuda")
    elif torch.backends.mps.is_available():
        chosen = torch.device("mps")
    else:
        chosen = torch.device("cpu")
    notes.append(f"device {chosen} chosen")
    return chosen


def choose_dtype(
    dtype: torch.dtype | str | None,
    stored: torch.dtype | None,
    device: torch.device,
    notes: list[str],
) -> torch.dtype:
    """Half precision only where the checkpoint has it and the device is made for it."""
    if dtype is not None:
        return as_dtype(dtype)
    stored = stored or torch.float32
    keeps = device.type == "cuda" or (device.type == "mps" and stored == torch.float16)
    chosen = stored if keeps else torch.float32
    was = "" if stored == chosen else f" (checkpoint {str(stored).removeprefix('torch.')})"
    notes.append(f"dtype {str(chosen).removeprefix('torch.')} chosen for {device.type}{was}")
    return chosen


def as_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """A floating-point dtype from its name or itself.

    Raises:
        ValueError: If it is neither.
    """
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(
            f"dtype must be a floating-point torch dtype such as 'float32' or 'bfloat16', got {dtype!r}"
        )
    return found


def prepare_tokenizer(tokenizer: Any, model: Any, label: str, notes: list[str]) -> str:
    """Left padding and a padding token that the model has a row for; the vocabulary is never resized."""
    rows = n_embeddings(model)
    if tokenizer.vocab_size > rows:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens but {label} embeds only {rows}: it belongs to "
            "another model"
        )
    tokenizer.padding_side = "left"
    tokenizer.truncation_side = "left"
    pad = tokenizer.pad_token_id
    if pad is None or pad >= rows:
        why = "the tokenizer has none" if pad is None else f"its own has id {pad} of {rows}"
        for substitute in (tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token):
            if substitute is not None and tokenizer.convert_tokens_to_ids(substitute) < rows:
                tokenizer.pad_token = substitute
                break
        else:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
        notes.append(f"padding token {tokenizer.pad_token!r} ({why}; padding is masked)")
    return str(tokenizer.pad_token)
