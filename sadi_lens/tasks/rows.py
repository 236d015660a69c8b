"""A row of a user's data as a pair or a sample."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from sadi_lens.tasks.sources import is_missing
from sadi_lens.types.answers import lacks_space
from sadi_lens.types.base import require_one_of
from sadi_lens.types.data import SPLITS, ContrastivePair, Sample
from sadi_lens.types.wording import short

PAIR_FIELDS = ("prompt", "positive", "negative")
CHOICE_FIELDS = ("prompt", "choices", "answer")
TARGET_FIELDS = ("prompt", "target")
FIELDS = (
    *dict.fromkeys((*PAIR_FIELDS, *CHOICE_FIELDS, *TARGET_FIELDS)),
    "negative_prompt",
    "also_right",
    "aliases",
    "split",
    "cluster",
    "group",
)
"""Every field of a row that is read."""
ANSWER_KEY = "answerKey"
"""ARC's name of the answer beside ``choices`` with labels (Clark et al., 2018)."""


def renamed(row: Mapping[str, Any], columns: Mapping[str, str | Sequence[str]]) -> dict[str, Any]:
    """The fields of a row that have a value, under this library's names.

    Raises:
        ValueError: If a column that is named is not there.
    """
    found = {key: value for key, value in row.items() if key not in columns}
    for field, source in columns.items():
        own = [source] if isinstance(source, str) else list(source)
        lacking = [one for one in own if one not in row]
        if lacking:
            raise ValueError(
                f"has no column {lacking[0]!r} for {field!r}; got {short(sorted(map(str, row)))}"
            )
        if isinstance(source, str):
            found[field] = row[source]
        else:  # several columns are a list, labelled by their names
            held = {one: row[one] for one in own if not is_missing(row[one])}
            if list(held) != own[: len(held)]:
                raise ValueError(
                    f"has no value in a column of {field!r} before others that have one: {short(own)}"
                )
            found[field] = {"text": list(held.values()), "label": list(held)}
    if ANSWER_KEY in found and "answer" not in columns:
        found.setdefault("answer", found[ANSWER_KEY])
    return {str(key): value for key, value in found.items() if not is_missing(value)}


def read_row(
    row: Mapping[str, Any], *, space: bool
) -> tuple[ContrastivePair | Sample, str, tuple[str, str] | None]:
    """What a row is, its split, and (prompt, answer) of an answer that lacks its space.

    Raises:
        ValueError: If it is neither a pair nor a sample, or a value is wrong; the field is named.
        TypeError: If a value is of the wrong kind.
    """
    split = row.get("split")
    if split is not None:
        require_one_of("split", split, SPLITS)
    cluster, group = _name(row, "cluster"), _name(row, "group")
    wanted = _form(row)
    _require_texts(row, [field for field in wanted if field not in ("choices", "answer")])
    if wanted is PAIR_FIELDS:
        if split not in (None, "pairs"):
            raise ValueError(
                f"a contrastive pair belongs to split 'pairs', got {split!r}; leave its split out, or, where that is "
                "the name of its part of the source, give that part or file alone"
            )
        other = row.get("negative_prompt", row["prompt"])
        (positive, negative), bare = _spaced(
            ((row["prompt"], row["positive"]), (other, row["negative"])), space=space
        )
        return ContrastivePair(row["prompt"], positive, negative, other, cluster), "pairs", bare
    if split == "pairs":
        raise ValueError(f"split 'pairs' needs {', '.join(PAIR_FIELDS)}, got {sorted(row)}")
    split = split or "test"
    prompt = row["prompt"]
    if wanted is TARGET_FIELDS:
        aliases = tuple(_listed("aliases", row.get("aliases", ())))
        return (
            Sample(
                prompt,
                target=row["target"],
                split=split,
                aliases=aliases,
                cluster=cluster,
                group=group,
            ),
            split,
            None,
        )
    texts, labels = _choices(row["choices"])
    answer = _index(row["answer"], texts, labels)
    also = tuple(
        _index(one, texts, labels) for one in _listed("also_right", row.get("also_right", ()))
    )
    choices, bare = _spaced([(prompt, text) for text in texts], space=space)
    return (
        Sample(prompt, choices, answer, split=split, also_right=also, cluster=cluster, group=group),
        split,
        bare,
    )


def _name(row: Mapping[str, Any], field: str) -> str | None:
    """The name in a field, which may be a number: 3.0 is the 3 of a column with empty cells in a data frame."""
    value = row.get(field)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple | Mapping | set | np.ndarray):
        raise TypeError(f"{field} must be one name, got {short(value)}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else str(value)


def _form(row: Mapping[str, Any]) -> tuple[str, ...]:
    given = sorted(map(str, row))
    if {"positive", "negative"} & row.keys() and {"choices", "answer", "target"} & row.keys():
        raise ValueError(f"a row is a pair or a sample, not both; got {short(given)}")
    forms = {
        "positive": PAIR_FIELDS,
        "negative": PAIR_FIELDS,
        "choices": CHOICE_FIELDS,
        "target": TARGET_FIELDS,
    }
    wanted = next((forms[key] for key in forms if key in row), None)
    if wanted is None:
        raise ValueError(
            f"needs {', '.join(PAIR_FIELDS)} or {', '.join(CHOICE_FIELDS)} or {', '.join(TARGET_FIELDS)}; "
            f"got {short(given)}{_hint('prompt')}"
        )
    lacking = [field for field in wanted if field not in row]
    if lacking:
        raise ValueError(f"lacks the field {lacking[0]!r}; got {short(given)}{_hint(lacking[0])}")
    return wanted


def _hint(field: str) -> str:
    return f"; where a column has another name, say which: columns={{{field!r}: 'its name'}}"


def _require_texts(row: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in (*names, *(["negative_prompt"] if "negative_prompt" in row else [])):
        if not isinstance(row[name], str):
            raise TypeError(f"{name} must be text, got {short(row[name])}")


def _spaced(
    texts: Sequence[tuple[str, str]], *, space: bool
) -> tuple[tuple[str, ...], tuple[str, str] | None]:
    """Answers, with their space where that is asked for; and the first that lacks one."""
    bare = [(prompt, answer) for prompt, answer in texts if lacks_space(prompt, answer)]
    if not space:
        return tuple(answer for _, answer in texts), next(iter(bare), None)
    return tuple(
        f" {answer}" if lacks_space(*one) else answer for one in texts for answer in one[1:]
    ), None


def _choices(value: Any) -> tuple[list[str], list[str]]:
    """Texts and labels of ``choices``: a list, or ARC's texts with labels; labels may be none."""
    labels: list[Any] = []
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        if not {"text", "label"} <= given.keys():
            raise TypeError(f"choices must be a list of texts, got {short(dict(given))}")
        value, labels = given["text"], _listed("choices.label", given["label"])
    texts = _listed("choices", value)
    if texts and all(isinstance(one, Mapping) and {"text", "label"} <= one.keys() for one in texts):
        texts, labels = [one["text"] for one in texts], [one["label"] for one in texts]
    if not all(isinstance(one, str) for one in texts):
        raise TypeError(f"choices must be a list of texts, got {short(texts)}")
    if labels and len(labels) != len(texts):
        raise ValueError(f"choices have {len(texts)} texts and {len(labels)} labels")
    labels = [str(one) for one in labels]
    if len(set(labels)) < len(labels):
        raise ValueError(f"labels of choices must differ, got {short(labels)}")
    return texts, labels


def _listed(name: str, value: Any) -> list[Any]:
    if isinstance(value, str):  # a cell of a CSV file
        import json

        try:
            found = json.loads(value) if value.lstrip().startswith("[") else None
        except (ValueError, RecursionError):
            found = None
        if found is None:
            several = ", or name several columns: columns={'choices': ['A', 'B']}"
            raise TypeError(
                f"{name} must be a list of texts, got {short(value)}; in a CSV file write it as JSON, "
                f'as in [" yes", " no"]{several if name == "choices" else ""}'
            )
        return found
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} must be a list of texts, got {short(value)}")
    return list(cast("list[Any]", value))


def _index(value: Any, texts: Sequence[str], labels: Sequence[str]) -> int:
    """Index of the right choice: by its label where choices have labels, else its number or its text."""
    if isinstance(value, np.generic):
        value = value.item()
    if labels and str(value) in labels:
        return labels.index(str(value))
    same: list[int] = []
    number: Any = value
    if isinstance(value, str):
        same = [index for index, one in enumerate(texts) if one.strip() == value.strip()]
        number = _whole(value)
    is_number = isinstance(number, int | float) and not isinstance(number, bool) and number % 1 == 0
    if is_number and not same and str(int(number)) in labels:
        return labels.index(str(int(number)))
    if any(one.isdecimal() for one in labels):  # a number would be a label that is not there
        is_number = False
    is_index = is_number and 0 <= number < len(texts)
    if len(same) == 1 and (not is_index or same == [number]):
        return same[0]
    if is_number and not same:
        return int(number)  # NumPy and data frames make floats of whole numbers
    known = f", its label (one of {short(list(labels))})" if labels else ""
    both = (
        "; it is an index and a choice's text at once: give the choices labels"
        if same and is_index
        else ""
    )
    twice = f"; {len(same)} choices have this text" if len(same) > 1 else ""
    raise TypeError(
        f"answer must be the index of the right choice{known} or its text, got {short(value)}{both or twice}"
    )


def _whole(text: str) -> int | None:
    """The whole number that a cell of a CSV file holds, which pandas may have written as a float; else None."""
    found = re.fullmatch(r"(-?\d{1,18})(\.0*)?", text.strip())
    return int(found[1]) if found else None
