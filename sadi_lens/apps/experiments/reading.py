"""An experiment's file to plain values, and what is wrong with them in one line."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sadi_lens.types.base import require_one_of
from sadi_lens.types.reading import read_text


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Keys and values of a YAML file.

    Raises:
        ValueError: If it is not YAML, a key stands twice, or it holds something else than keys and values.
    """
    text = read_text(path)
    try:
        values = yaml.load(text, _OnceLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is not YAML: too deeply nested") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"{path} must hold keys and values, got {type(values).__name__}")
    return values


class _OnceLoader(yaml.SafeLoader):
    """Plain YAML values; a key that stands twice is refused, where YAML's own loader takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for at, (key, _) in enumerate(node.value):
            if key.value in keys[:at]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_type": lambda _: "true or false",
    "finite_number": lambda _: "finite",
    "float_type": lambda _: "a number",
    "greater_than_equal": lambda bound: f"at least {bound['ge']}",
    "int_type": lambda _: "a whole number",
    "dict_type": lambda _: "a mapping",
    "string_pattern_mismatch": lambda _: "letters, digits, - and _",
    "string_too_short": lambda _: "text that is not empty (leave the key out for none)",
    "string_type": lambda _: "text",
}


def first_fault(
    error: ValidationError, values: Mapping[str, Any], keys: Mapping[str, Sequence[str]]
) -> str:
    """The first thing that is wrong, in one line.

    Args:
        error: Of the validation.
        values: What was validated.
        keys: ``"key"`` and ``"key of a task"`` -> the names that are known.
    """
    # An unknown key is most often the reason why another one is missing.
    one = min(error.errors(), key=lambda each: each["type"] != "unexpected_keyword_argument")
    kind, where, bound = (
        one["type"],
        [x for x in one["loc"] if isinstance(x, str)],
        one.get("ctx", {}),
    )
    if kind == "value_error":
        return str(bound["error"])
    if kind == "missing":
        return f"lacks the key {where[-1]!r}; got {sorted(map(str, values))}"
    if kind == "unexpected_keyword_argument":
        of = "key" if len(where) == 1 else "key of a task"
        try:
            require_one_of(of, where[-1], keys[of])
        except ValueError as unknown:
            return str(unknown)
    name = " of ".join(one for one in where if one != "[key]")
    if kind == "too_short":
        return f"{name} must not be empty"
    words = _WORDS.get(kind)
    return (
        f"{name} must be {words(bound)}, got {one['input']!r}" if words else f"{name}: {one['msg']}"
    )
