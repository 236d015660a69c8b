"""What a request asks for, read from the extra arguments that vLLM passes along; no vLLM needed.

{"sadi": "NAME@POSITION"}                        over HTTP in "vllm_xargs", in Python in SamplingParams(extra_args=)
{"sadi": ..., "sadi_prompt_tokens": 12}          where the prompt ends when the text also holds an answer
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from sadi_lens.serving.rule import first_edited
from sadi_lens.serving.tables import SteeringTable
from sadi_lens.types.base import POSITIONS, require_one_of

NAME_KEY, LENGTH_KEY, DIGEST_KEY = "sadi", "sadi_prompt_tokens", "sadi_digest"


class Asked(NamedTuple):
    """A request that was admitted."""

    name: str
    position: str
    prompt_length: int
    digest: str

    @property
    def cache_key(self) -> tuple[str, str, int]:
        """What the keys and values from the first edited token on depend on, besides the tokens."""
        return (self.digest, self.position, first_edited(self.position, self.prompt_length))


def admit(
    extra: Mapping[str, Any] | None, tables: Mapping[str, SteeringTable], n_prompt: int
) -> dict[str, Any] | None:
    """The extra arguments of a request, made complete; None where it asks for nothing of ours.

    Args:
        extra: As the client sent them.
        tables: Those that are served.
        n_prompt: Tokens of the text that was sent.

    Raises:
        ValueError: If the name or the position is unknown, the prompt's length is not within the text, or an argument
            of ours is misspelled. Unsteered output is never the answer to a steered request.
    """
    ours = {key: value for key, value in (extra or {}).items() if is_ours(key)}
    if not ours:
        return None
    for key in ours:
        require_one_of("steering argument", key, (NAME_KEY, LENGTH_KEY))
    asked = ours.get(NAME_KEY)
    if not isinstance(asked, str) or not asked:
        raise ValueError(f"{NAME_KEY} must be 'NAME' or 'NAME@POSITION', got {asked!r}")
    name, at, position = asked.partition("@")
    require_one_of("steering table", name, tables)
    position = position if at else tables[name].position
    require_one_of("position", position, POSITIONS)
    length = ours.get(LENGTH_KEY, n_prompt)
    if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= n_prompt:
        raise ValueError(
            f"{LENGTH_KEY} must be a whole number in [1, {n_prompt}] (the tokens sent), got {length!r}"
        )
    return {
        **(extra or {}),
        NAME_KEY: f"{name}@{position}",
        LENGTH_KEY: length,
        DIGEST_KEY: tables[name].digest,
    }


def is_ours(key: str) -> bool:
    """Whether an argument is one of ours, or was meant to be: what is misspelled would run unsteered."""
    word = key.strip().lower()
    return NAME_KEY in word or bool(get_close_matches(word, (NAME_KEY, LENGTH_KEY), cutoff=0.75))


def asked_of(extra: Mapping[str, Any] | None) -> Asked | None:
    """What an admitted request asks for; None where it is unsteered.

    Raises:
        RuntimeError: If it did not come through ``admit``.
    """
    if not extra or NAME_KEY not in extra:
        return None
    if DIGEST_KEY not in extra:
        raise RuntimeError(
            f"a request for {extra[NAME_KEY]!r} reached the engine past its door; it would run unsteered"
        )
    name, _, position = extra[NAME_KEY].partition("@")
    return Asked(name, position, extra[LENGTH_KEY], extra[DIGEST_KEY])
