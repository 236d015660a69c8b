"""How messages name a value, and what a value should have been."""

import numbers
import reprlib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sadi_lens.types.base import item_hint, kinds_of

NAMES = {
    bool: ("True or False", "True or False"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
    type(None): ("None", "None"),
    "Collection": ("a list or set of texts", "lists or sets of texts"),
    "Mapping": ("a dict", "dicts"),
    "HookedModel": ("a model from load_model", "models from load_model"),
    "Intervention": ("an intervention", "interventions"),
}
"""What values are called in messages: one, several."""


def described(hint: Any, *, several: bool = False) -> str:
    """What a value must be, in words."""
    if len(kinds_of(hint)) > 1:
        words = [described(one, several=several) for one in kinds_of(hint)]
        return " or ".join(dict.fromkeys(words))
    item = item_hint(hint)
    if item is not None:
        return f"{'lists' if several else 'a list'} of {_items(item)}"
    if typing.get_origin(hint) is tuple:
        inner = ", ".join(described(one) for one in typing.get_args(hint))
        return f"tuples ({inner})" if several else f"a tuple ({inner})"
    if hint in NAMES:
        return NAMES[hint][several]
    if hasattr(hint, "dim_str"):  # jaxtyping
        kind = {"Float": "float", "Int": "integer", "Bool": "bool"}.get(hint.dtype.__name__, "")
        return f"a {kind} array [{hint.dim_str.strip()}]".replace("a i", "an i")
    origin = typing.get_origin(hint)
    if origin is Callable:
        return "functions" if several else "a function"
    if origin is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    name = getattr(hint if origin is None else origin, "__name__", str(hint))
    one = NAMES.get(name, (f"{_article(name)} {name}", f"{name} objects"))
    return one[several]


def _items(hint: Any) -> str:
    """What a list holds, set apart from what may stand in the place of the list."""
    kinds = [one for one in kinds_of(hint) if one is not type(None)]
    words = " or ".join(dict.fromkeys(described(one, several=True) for one in kinds))
    words = f"({words})" if len(kinds) > 1 else words
    return words if len(kinds) == len(kinds_of(hint)) else f"{words} (some may be None)"


def named_parts(name: str, value: Any, kind: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and kind of everything that a list or dict of this kind holds."""
    item, args = item_hint(kind), typing.get_args(kind)
    if item is not None and isinstance(value, list | tuple):
        yield from ((f"{name}[{index}]", one, item) for index, one in enumerate(value))
    elif typing.get_origin(kind) is Mapping and isinstance(value, Mapping):
        for key, held in value.items():
            yield f"a key of {name}", key, args[0]
            yield f"{name}[{key!r}]", held, args[1]


def short(value: Any) -> str:
    """A value in at most some sixty characters, whatever it is."""
    if isinstance(value, Iterator):
        return "a generator"
    if isinstance(value, str | bytes | bytearray):
        return (
            reprlib.repr(value) if len(value) < 1000 else f"{value[:24]!r}... ({len(value)} long)"
        )
    if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, type):
        shape = " ".join(str(size) for size in value.shape)
        return f"an array [{shape}] of {value.dtype}" if shape else f"{value!r}"
    if value is None or isinstance(value, numbers.Number):
        return reprlib.repr(value)
    if isinstance(value, list | tuple | set | frozenset | Mapping):
        text = reprlib.repr(value)
        return text if len(text) < 120 else f"{text[:100]}..."
    name = getattr(value, "__name__", None)
    return (
        f"the {'class' if isinstance(value, type) else 'function'} {name}"
        if name
        else f"{_article(type(value).__name__)} {type(value).__name__} object"
    )


def _article(name: str) -> str:
    return "an" if name[0] in "AEIOU" else "a"


INSTEAD = {
    ("HookedModel", "str"): "load it first: load_model({value!r})",
    ("Task", "str"): "load it first: load_task({value!r})",
    ("ContrastivePair", "Task"): "give its pairs",
    ("ContrastivePair", "dict"): "load_task(rows).pairs makes them from rows",
    ("Sample", "Task"): "give its dev or its test",
    ("Sample", "dict"): "load_task(rows) makes them from rows",
    ("str", "Sample"): "give its prompt",
    ("str", "ContrastivePair"): "give its prompt",
    ("Intervention", "Mask"): "a mask says where: give MaskedScaling(mask, strength)",
    (
        "Intervention",
        "ActivationDifferences",
    ): "make one: MaskedScaling(top_k_mask(differences, k), strength)",
    ("Mask", "ActivationDifferences"): "make one: top_k_mask(differences, k)",
    ("Mask", "Scores"): "make one: top_k_mask(scores, k)",
    ("ActivationDifferences", "dict"): "give those of one component, as differences['head']",
}
"""What is asked for and what came instead -> what to write."""


def remedy(name: str, value: Any, kinds: Sequence[Any]) -> str:
    """What to write instead, where that can be told; begins with a semicolon."""
    given = [one.__name__ for one in type(value).__mro__]
    for one in kinds:
        for kind in kinds_of(one if item_hint(one) is None else item_hint(one)):
            wanted = getattr(kind, "__name__", "")
            text = next((INSTEAD[wanted, own] for own in given if (wanted, own) in INSTEAD), "")
            if text and value:
                return f"; {text.format(value=value)}"
    if any(item_hint(one) is not None for one in kinds):
        lists_text = any(str in kinds_of(item_hint(one)) for one in kinds)
        if isinstance(value, str):
            return f"; write [{short(value)}] for a list of one" if lists_text else ""
        if isinstance(value, set | frozenset):
            return "; a set has no order: give sorted(...) or a list"
        if isinstance(value, Mapping) and {"role", "content"} <= set(value):
            return "; a chat is a list of messages: [message]"
        if isinstance(value, Mapping):
            return "; give a list of its keys or of its values"
        if isinstance(value, Iterator) or hasattr(value, "__iter__"):
            return f"; write list({name})"
    if bool in kinds and isinstance(value, numbers.Number):
        return "; write True or False"
    return ""
