"""What ``load_model`` decides for its user: device, dtype, padding token; each choice is noted in words."""

import os
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from sadi_lens.models._boot import n_embeddings
from sadi_lens.types.wording import short

FLOAT64 = (
    "float64 is not supported: Hugging Face's eager attention, which is what is computed here, takes its softmax in "
    "float32, where the lowest float64 that masks padding is -inf and padded rows become NaN"
)


def choose_device(
    device: torch.device | str | None, notes: list[str], *, is_placed: bool = False
) -> torch.device:
    """The device asked for, else the fastest there is; ``is_placed``: what a ``device_map`` puts the model on."""
    if is_placed:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device is not None:
        return _there(as_device(device))
    if torch.cuda.is_available():
        chosen = _own_cuda()
    elif torch.backends.mps.is_available():
        chosen = torch.device("mps")
    else:
        chosen = torch.device("cpu")
    notes.append(f"device {chosen} chosen")
    return chosen


def as_device(device: torch.device | str) -> torch.device:
    """A device from its name or itself.

    Raises:
        ValueError: If it is neither.
    """
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device must be a torch device such as 'cpu' or 'cuda:0', got {short(device)}"
        ) from error


def _there(device: torch.device) -> torch.device:
    """Refuse a device that this machine, or its build of torch, does not have."""
    why = "tensors there hold no values" if device.type == "meta" else ""
    try:
        torch.empty(1, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0].partition(". ")[0]
    if why:
        raise ValueError(
            f"device {str(device)!r} is not to be had here ({why}); leave device out for the fastest there is"
        )
    return device


def _own_cuda() -> torch.device:
    """That of this process, where a launcher (torchrun, ``accelerate launch``) started one for each device."""
    rank = os.environ.get("LOCAL_RANK")
    if rank is None:
        return torch.device("cuda")
    return torch.device("cuda", int(rank) % torch.cuda.device_count())


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
    if stored == torch.float64:
        notes.append(f"checkpoint read as float32 ({FLOAT64})")
        return torch.float32
    keeps = device.type == "cuda" or (device.type == "mps" and stored == torch.float16)
    chosen = stored if keeps else torch.float32
    was = "" if stored == chosen else f" (checkpoint {str(stored).removeprefix('torch.')})"
    notes.append(f"dtype {str(chosen).removeprefix('torch.')} chosen for {device.type}{was}")
    return chosen


def as_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """A floating-point dtype from its name or itself.

    Raises:
        ValueError: If it is neither, or float64.
    """
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(
            f"dtype must be a floating-point torch dtype such as 'float32' or 'bfloat16', got {dtype!r}"
        )
    if found == torch.float64:
        raise ValueError(f"{FLOAT64}; use dtype='float32'")
    if found not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(
            f"dtype must be float32, bfloat16 or float16: torch computes in no other, got {found}"
        )
    return found


def prepare_tokenizer(tokenizer: Any, model: Any, label: str, notes: list[str]) -> str:
    """Left padding and a padding token that the model has a row for; the vocabulary is never resized."""
    if not issubclass(type(tokenizer), PreTrainedTokenizerBase):
        raise TypeError(f"tokenizer must be one of Hugging Face's, got {short(tokenizer)}")
    rows = n_embeddings(model)
    if tokenizer.vocab_size > rows:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens but {label} embeds only {rows}: it belongs to "
            "another model"
        )
    beyond = {
        index: token for index, token in tokenizer.added_tokens_decoder.items() if index >= rows
    }
    usual = [token.content for token in beyond.values() if not token.special]
    if usual:
        raise ValueError(
            f"the tokenizer has {len(usual)} tokens of its own that {label} has no row for (it embeds {rows}; first "
            f"{usual[0]!r}, id {min(beyond)}): resize the model's embedding, or use the tokenizer it was trained with"
        )
    if beyond:
        notes.append(
            f"{len(beyond)} special tokens without a row in the embedding of {rows} "
            f"(first {beyond[min(beyond)].content!r}); a text that holds one is refused"
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


def require_ends(model: Any, label: str, notes: list[str]) -> None:
    """Refuse end-of-text tokens that are no token ids, which every text would stumble over; note those without a row.

    Raises:
        ValueError: With what the generation config says.
    """
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    several = ends if isinstance(ends, list | tuple) else [] if ends is None else [ends]
    if any(type(one) is not int for one in several):
        raise ValueError(
            f"eos_token_id in the generation config of {label} must be a token id or a list of them, got "
            f"{short(ends)}; mend generation_config.json"
        )
    rows = n_embeddings(model)
    if beyond := [one for one in several if not 0 <= one < rows]:
        notes.append(f"end-of-text tokens {beyond} never come: the model embeds {rows} tokens")
