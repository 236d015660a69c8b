"""What decides a model's numbers: weights, dtype, configuration, tokenizer. Of another one nothing is gone on with."""

import json
from contextlib import suppress
from hashlib import sha256
from typing import Any

from sadi_lens.types.model import HookedModel, Kept, fingerprint_of

_BESIDE = {
    *("_name_or_path", "_model_name_or_path", "architectures", "transformers_version"),
    *("dtype", "use_cache", "output_attentions", "output_hidden_states", "return_dict"),
    *("id2label", "label2id", "problem_type"),
}
"""Of a configuration, what no number depends on, and the dtype, which stands beside it."""
_PARTS = (
    *("bos_token_id", "eos_token_id", "unk_token_id", "add_bos_token", "add_eos_token"),
    "chat_template",
)
"""Of a tokenizer, beside its vocabulary and rules."""
_RULES = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
"""Of a tokenizer, what a caller may replace in place, as the post-processor that adds BOS."""


def identity_of(model: HookedModel) -> dict[str, str]:
    """What decides the numbers of a model, as it is now: items scored before and after a change are not one result.

    >>> sorted(sl.measure.identity.identity_of(model))
    ['configuration', 'dtype', 'tokenizer', 'weights']
    """
    return {"weights": fingerprint_of(model), **reading_of(model)}


def reading_of(model: HookedModel) -> dict[str, str]:
    """Dtype, and configuration and tokenizer by their hashes; with others the same weights give other numbers."""
    raw: Any = model.__dict__.get("raw_model") or model.original_model
    config = {key: value for key, value in raw.config.to_dict().items() if key not in _BESIDE}
    ends = getattr(getattr(raw, "generation_config", None), "eos_token_id", None)
    used = [config, getattr(raw.config, "_attn_implementation", None), ends]
    return {
        "dtype": str(next(model.original_model.parameters()).dtype).removeprefix("torch."),
        "configuration": _hash(used),
        "tokenizer": _tokenizer_hash(model),
    }


def form_of(model: HookedModel, prepend_bos: bool | None) -> str:
    """How items become tokens (``Evaluation.form``): the tokenizer and what is said of BOS, by their hash."""
    return _hash([_tokenizer_hash(model), prepend_bos])


def _tokenizer_hash(model: HookedModel) -> str:
    """Kept with the model, since large vocabularies take a second."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return "none"
    kept = Kept.of(model)
    now = [len(tokenizer), *(getattr(tokenizer, one, None) for one in _PARTS), _rules(tokenizer)]
    if kept.tokenizer is None or kept.tokenizer[0] is not tokenizer or kept.tokenizer[1] != now:
        kept.tokenizer = (tokenizer, now, _hash([now, _vocabulary(tokenizer)]))
    return kept.tokenizer[2]


def _rules(tokenizer: Any) -> list[str]:
    """Of a rule that is written in Python, its kind alone."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    found: list[str] = []
    for name in _RULES:
        rule = getattr(backend, name, None)
        try:
            found.append("" if rule is None else rule.__getstate__().decode())
        except Exception:  # tokenizers raises nothing narrower
            found.append(type(rule).__name__)
    return found


def _vocabulary(tokenizer: Any) -> object:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        with suppress(Exception):  # a rule that is written in Python cannot be told
            # Before them stands how the last call padded and cut.
            return backend.to_str().partition('"added_tokens"')[2]
    return [type(tokenizer).__name__, tokenizer.get_vocab()]


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:16]
