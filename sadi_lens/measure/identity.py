"""What decides a model's numbers: weights, dtype, configuration, tokenizer. Of another one nothing is gone on with."""

import json
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Any

from sadi_lens.engine.text import encode, require_tokenizer
from sadi_lens.types.chat_prompt import ChatPrompt
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
        "tokenizer": _tokenizer_hashes(model)[0],
    }


def form_of(model: HookedModel, prompts: Iterable[str], prepend_bos: bool | None) -> str:
    """How prompts become tokens (``Evaluation.form``), by its hash: the tokenizer, and whether they begin with BOS.

    A chat template is not of it: what it renders is the prompt.
    """
    tokenizer = require_tokenizer(model)
    start = tokenizer.bos_token or "\0"
    kinds = {(isinstance(one, ChatPrompt), one.startswith(start)): one for one in prompts}
    begin = {
        encode(tokenizer, one, prepend_bos=prepend_bos)[:1] == [tokenizer.bos_token_id]
        for one in kinds.values()
    }
    return _hash([_tokenizer_hashes(model)[1], sorted(begin)])


def _tokenizer_hashes(model: HookedModel) -> tuple[str, str]:
    """With and without its chat template; kept with the model, since large vocabularies take a second."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return "none", "none"
    kept = Kept.of(model)
    parts = [getattr(tokenizer, one, None) for one in _PARTS]
    now = [len(tokenizer), *parts, _rules(tokenizer)]
    if kept.tokenizer is None or kept.tokenizer[0] is not tokenizer or kept.tokenizer[1] != now:
        words = _vocabulary(tokenizer)
        bare = [len(tokenizer), *parts[: _PARTS.index("chat_template")], _rules(tokenizer)]
        kept.tokenizer = (tokenizer, now, (_hash([now, words]), _hash([bare, words])))
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
