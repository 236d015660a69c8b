"""Options of Hugging Face's ``generate`` that are passed on: those whose result is right under interventions.

Left out are options that run other passes through the same hooks (assistants, guidance), read padding
(``encoder_repetition_penalty``), load code (``custom_generate``), or change nothing in the text (``output_scores``).
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from sadi_lens.types.base import not_one_of
from sadi_lens.types.checks import check_value
from sadi_lens.types.model import HookedModel

OWN = {
    "attention_mask",
    "generation_config",
    "input_ids",
    "inputs",
    "max_length",
    "min_length",
    "num_return_sequences",
    "pad_token_id",
    "past_key_values",
    "position_ids",
    "return_dict_in_generate",
    "streamer",
    "tokenizer",
}
"""Options that ``sadi_lens.generate`` sets itself."""


class _Option(NamedTuple):
    hint: Any
    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False
    """Whether ``low`` itself is refused."""
    is_token: bool = False
    """Whether the numbers are token ids."""


_TOKENS = _Option(int | Sequence[int], is_token=True)
_SHARE = _Option(float, 0, 1)
_POSITIVE = _Option(float, 0, is_open=True)
_FUNCTIONS = _Option(Sequence[Callable[..., Any]])

_CACHES = Literal[
    "dynamic",
    "hybrid",
    "hybrid_chunked",
    "offloaded",
    "offloaded_hybrid",
    "offloaded_hybrid_chunked",
    "offloaded_static",
    "quantized",
    "sliding_window",
    "static",
]
"""Not ``"paged"``, which runs in a thread of its own: hooks would leave its passes alone."""

OPTIONS: dict[str, _Option] = {
    "bad_words_ids": _Option(Sequence[Sequence[int]], is_token=True),
    "begin_suppress_tokens": _Option(Sequence[int], is_token=True),
    "cache_implementation": _Option(_CACHES),
    "do_sample": _Option(bool),
    "early_stopping": _Option(bool | Literal["never"]),
    "eos_token_id": _TOKENS,
    "epsilon_cutoff": _SHARE,
    "eta_cutoff": _SHARE,
    "exponential_decay_length_penalty": _Option(tuple[int, float]),
    "forced_eos_token_id": _TOKENS,
    "length_penalty": _Option(float),
    "logits_processor": _FUNCTIONS,
    "max_new_tokens": _Option(int, 1),
    "max_time": _POSITIVE,
    "min_new_tokens": _Option(int, 0),
    "min_p": _SHARE,
    "no_repeat_ngram_size": _Option(int, 0),
    "num_beams": _Option(int, 1),
    "prefix_allowed_tokens_fn": _Option(Callable[..., Any]),
    "renormalize_logits": _Option(bool),
    "repetition_penalty": _POSITIVE,
    "sequence_bias": _Option(Mapping[tuple[int, ...], float]),
    "stop_strings": _Option(str | Collection[str]),
    "stopping_criteria": _FUNCTIONS,
    "suppress_tokens": _Option(Sequence[int], is_token=True),
    "temperature": _POSITIVE,
    "top_k": _Option(int, 0),
    "top_p": _SHARE,
    "typical_p": _Option(float, 0, 1, is_open=True),
    "use_cache": _Option(bool),
}
"""What each may be; None is Hugging Face's default."""

_NEEDED = {
    **dict.fromkeys(
        ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
        "do_sample=True",
    ),
    **dict.fromkeys(("length_penalty", "early_stopping"), "num_beams of at least 2"),
}
"""Option -> what it changes nothing without."""


def checked_sampling(model: HookedModel, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """The options as Hugging Face takes them; whole numbers become floats where it wants those.

    Raises:
        TypeError: If one is of the wrong kind.
        ValueError: If one is unknown, out of range, or without effect beside the others.
    """
    if OWN & set(sampling):
        raise ValueError(
            f"generate returns one text a prompt and sets {sorted(OWN & set(sampling))} itself; "
            "repeat a prompt for several samples of it, give max_new_tokens and min_new_tokens for lengths"
        )
    rows = int(getattr(model.cfg, "d_vocab", 0) or 0)
    found = {name: _checked(name, value, rows) for name, value in sampling.items()}
    is_met = {
        "do_sample=True": bool(found.get("do_sample")),
        "num_beams of at least 2": found.get("num_beams", 1) > 1,
    }
    for name, needed in _NEEDED.items():
        if found.get(name) is not None and not is_met[needed]:
            raise ValueError(f"{name}={found[name]!r} has no effect without {needed}")
    least, most = found.get("min_new_tokens") or 0, found.get("max_new_tokens", math.inf)
    if least > most:
        raise ValueError(f"min_new_tokens must be at most max_new_tokens {most}, got {least}")
    return found


def _checked(name: str, value: Any, rows: int) -> Any:
    if name not in OPTIONS:
        raise not_one_of("an option of generate", name, OPTIONS)
    option = OPTIONS[name]
    if value is None and name != "num_beams":
        return None
    found = check_value(name, value, option.hint)
    _require_in_range(name, found, option)
    if option.is_token:
        _require_tokens(name, found, rows)
    if name == "sequence_bias":
        _require_tokens(name, list(found), rows)
    if name == "prefix_allowed_tokens_fn":
        return _watched(found, rows)
    if name == "num_beams" and rows and found > rows:
        raise ValueError(f"num_beams must be at most {rows}, the tokens of the model; got {found}")
    return float(found) if option.hint is float else found


def _require_in_range(name: str, value: Any, option: _Option) -> None:
    low, high, is_open = option.low, option.high, option.is_open
    if not isinstance(value, int | float) or (
        low < value <= high or (value == low and not is_open)
    ):
        return
    words = f"above {low}" if is_open else f"at least {low}"
    remedy = "; leave it out for greedy text" if name == "temperature" else ""
    if high < math.inf:
        words = f"in {'(' if is_open else '['}{low}, {high}]"
    raise ValueError(f"{name} must be {words}, got {value}{remedy}")


def _require_tokens(name: str, value: Any, rows: int) -> None:
    """Refuse ids that the model does not have, in a number or in lists of any depth."""
    if isinstance(value, int):
        if not 0 <= value < (rows or math.inf):
            remedy = "; None lets no token end a text" if name == "eos_token_id" else ""
            raise ValueError(f"{name} must hold token ids in [0, {rows - 1}], got {value}{remedy}")
        return
    given = cast("Sequence[Any]", value)
    if not len(given) and name not in ("eos_token_id", "suppress_tokens"):
        raise ValueError(f"{name} must hold at least one token, got {value!r}; None for none")
    for one in given:
        _require_tokens(name, one, rows)


def _watched(function: Callable[..., Any], rows: int) -> Callable[..., Any]:
    def allowed(batch: int, ids: Any) -> Any:
        found = function(batch, ids)
        _require_tokens("what prefix_allowed_tokens_fn returns", list(found), rows)
        return found

    return allowed
