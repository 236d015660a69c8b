"""One call over many processes: each runs its share of the items; ``merge`` puts the results together.

A share is two numbers, so a Slurm array, ``accelerate launch``, ``torchrun`` or a loop can start the processes, and
nothing is exchanged or locked while they run. Items are shared, not cells of a grid: cells share an item's prefix.
"""

import hashlib
import inspect
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from sadi_lens.find.differences import activation_differences
from sadi_lens.measure.evaluation import evaluate
from sadi_lens.measure.identity import reading_of
from sadi_lens.measure.nulls import null_band
from sadi_lens.measure.sweeps import sweep
from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.checks import MOST, checked
from sadi_lens.types.data import Sample, samples_hash
from sadi_lens.types.model import HookedModel, ModelInfo, fingerprint
from sadi_lens.types.results.shards import Shard
from sadi_lens.types.store import versions

CALLS = (activation_differences, evaluate, sweep, null_band)
"""Functions whose items may be shared."""
NO_NUMBER = ("model", "progress", "resume", "max_tokens", "engine")
"""Arguments that decide no number, or are noted by themselves."""
AUTO = "auto"


@checked()
def run_shard(
    function: Callable[..., Any],
    model: HookedModel,
    items: Sequence[Any],
    *args: Any,
    shard: str | tuple[int, int] = AUTO,
    **options: Any,
) -> Shard:
    """One shard of a call: ``function`` on every n-th item.

    Args:
        function: ``activation_differences``, ``evaluate``, ``sweep`` (which then keeps its items) or ``null_band``.
        model: A bridged model in eval mode, the same in all processes.
        items: All pairs or samples, in one order in all processes.
        *args: As ``function`` takes them.
        shard: See ``shard_of``.
        **options: As ``function`` takes them.

    Returns:
        A part, to be saved (``sl.save``) and merged (``merge``).

    Raises:
        ValueError: If ``function`` cannot be shared, the shard is out of range, or there are fewer items than shards;
            otherwise as ``function``.

    Example:
        >>> part = sl.measure.run_shard(
        ...     sl.activation_differences, model, task.pairs[:9], shard=(0, 2), progress=False
        ... )
        >>> part.n, sorted(part.value)
        (5, ['head', 'hidden', 'mlp_out', 'neuron'])
    """
    if function not in CALLS:
        names = ", ".join(one.__name__ for one in CALLS)
        raise ValueError(f"function must be one of {names}, got {_name(function)}")
    index, count = shard_of(shard)
    if len(items) < count:
        raise ValueError(f"{len(items)} items cannot be shared by {count} processes; use fewer")
    if function is not activation_differences and options.get("too_long", "error") != "error":
        raise ValueError(
            "too_long must be 'error' in shards: which items are left out depends on all of them. Leave them out "
            "before"
        )
    if function is sweep:
        options["keep_items"] = True  # some of what is merged is no mean over items
    bound = inspect.signature(function).bind(model, items, *args, **options)
    bound.apply_defaults()
    given = {key: _stable(value) for key, value in bound.arguments.items() if key not in NO_NUMBER}
    settings = [function.__name__, _stable(ModelInfo.of(model)), given]
    own = items[index::count]
    return Shard(
        index,
        count,
        function.__name__,
        _hash(settings),
        hash_of_items(items),
        len(own),
        function(model, own, *args, **options),
        _made_with(model),
    )


def _made_with(model: HookedModel) -> str:
    """What decides numbers beside weights and arguments; both dtypes of a model have one fingerprint."""
    reading = reading_of(model)
    beside = {**versions(), **reading}
    named = (f"{name} {one}" for name, one in beside.items() if name != "dtype")
    return ", ".join([reading["dtype"], *named])


@checked()
def shard_of(shard: str | tuple[int, int] = AUTO) -> tuple[int, int]:
    """(index from 0, count) of this process.

    Args:
        shard: Two numbers; ``"3/8"``; or ``"auto"``: ``RANK`` and ``WORLD_SIZE``, which torchrun and ``accelerate
            launch`` set, else ``SLURM_ARRAY_TASK_ID`` of an array 0-N.

    Raises:
        ValueError: If the index is out of range, the text is neither, or no launcher set the variables.

    Example:
        >>> sl.measure.shard_of("3/8")
        (3, 8)
    """
    if shard == AUTO:
        return _checked(*_from_environment())
    parts = shard.split("/") if isinstance(shard, str) else list(shard)
    try:
        index, count = (int(one) for one in parts)
    except (TypeError, ValueError):
        raise ValueError(f"shard must be 'auto', 'I/N' or two numbers, got {shard!r}") from None
    return _checked(index, count)


def _checked(index: int, count: int) -> tuple[int, int]:
    if not 0 <= index < count:
        raise ValueError(f"shard must be I/N with 0 <= I < N, got {index}/{count}")
    if count > MOST:
        raise ValueError(f"shard must be I/N with N at most {MOST}, got {index}/{count}")
    return index, count


def _from_environment() -> tuple[int, int]:
    here = os.environ

    def number(name: str) -> int:
        text = here.get(name, "")
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise ValueError(
                f"shard is 'auto', and {name} must be a whole number, got {text!r}; give the shard as 'I/N'"
            )
        return int(text)

    if "RANK" in here and "WORLD_SIZE" in here:
        return number("RANK"), number("WORLD_SIZE")
    if "SLURM_ARRAY_TASK_ID" not in here:
        raise ValueError(
            "shard is 'auto', and neither RANK and WORLD_SIZE nor SLURM_ARRAY_TASK_ID is set; give it as 'I/N'"
        )
    index, count, first, last = (
        number(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "COUNT", "MIN", "MAX")
    )
    if (first, last) != (0, count - 1):  # such as a task that is submitted again alone
        raise ValueError(
            f"shard is 'auto', and this Slurm array has {count} tasks from {first} to {last}: use --array=0-N, or give "
            "the shard as 'I/N'"
        )
    return index, count


def hash_of_items(items: Sequence[Any]) -> str:
    """Identity of pairs or samples, in order, with all that decides a number: clusters, groups, rendered prompts."""
    is_samples = all(isinstance(one, Sample) for one in items)
    return samples_hash(items) if is_samples else _hash(_stable(items))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _name(thing: Any) -> str:
    return getattr(thing, "__qualname__", None) or type(thing).__qualname__


def _stable(value: Any, above: tuple[int, ...] = ()) -> Any:
    """JSON that is the same in every process for the same value, and another one for another value."""
    if isinstance(value, ChatPrompt):  # no tokens are added to it
        return [_name(type(value)), str(value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value if value == value else "nan"
    if id(value) in above:  # it holds itself
        return _name(value)

    def inner(one: Any) -> Any:
        return _stable(one, (*above, id(value)))

    if hasattr(value, "detach"):
        kind, value = str(value.dtype), value.detach().cpu()
        value = value.float().numpy() if kind == "torch.bfloat16" else value.numpy()
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        if array.dtype == object:
            return [list(array.shape), *map(inner, array.ravel().tolist())]
        return [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
    if is_dataclass(value) and not isinstance(value, type):
        own = [inner(getattr(value, one.name)) for one in fields(value) if one.compare]
        return [_name(type(value)), *own]
    if isinstance(value, Mapping):
        return [[inner(key), inner(value[key])] for key in sorted(value, key=str)]
    if isinstance(value, Sequence):
        return [inner(one) for one in value]
    if isinstance(value, AbstractSet):
        return sorted(map(inner, value), key=json.dumps)
    if isinstance(value, type) or inspect.isroutine(value):
        return [value.__module__, value.__qualname__]
    if callable(getattr(value, "parameters", None)):  # a model
        return [_name(value), fingerprint(value.parameters())]
    own = vars(value) if hasattr(value, "__dict__") else {}
    return [_name(value), str(getattr(value, "label", "")), inner(own)]
