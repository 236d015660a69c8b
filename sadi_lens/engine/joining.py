"""Copies of a tree that are the same in the lower layers run there once.

A copy differs from the unsteered one only from the first layer on that its intervention edits. Below it, it need not
run: it joins there, with the state of the first copy, which nothing edits.
"""

import inspect
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sadi_lens.engine.runner import RawRunner


@contextmanager
def joining(runner: RawRunner, present: Sequence[int], size: int, *, axis: int) -> Generator[None]:
    """Let copies join layer by layer.

    Args:
        runner: The model.
        present: Copies that run in each layer, never fewer than in the one before.
        size: Tokens (``axis`` 1) or rows (``axis`` 0) of one copy.
        axis: Where copies stand side by side.
    """
    handles: list[Any] = []
    try:
        if present[0] < present[-1]:
            for layer, n in enumerate(present):
                block = runner.sites["hidden", layer].module
                new = n - present[layer - 1] if layer else 0
                hook = _hook(block, n * size, new, size, present[-1] * size, axis)
                handles.append(block.register_forward_pre_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(block: Any, kept: int, new: int, size: int, total: int, axis: int) -> Any:
    """Hand a block the state of ``kept`` tokens or rows, and their mask and positions."""
    parameters = inspect.signature(block.forward)
    state = next(iter(parameters.parameters))

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = parameters.bind(*args, **kwargs)
        found = given.arguments
        hidden = found[state]
        if new:
            first = hidden.narrow(axis, 0, size)
            hidden = torch.cat([hidden, *[first] * new], dim=axis)
        found[state] = hidden.narrow(axis, 0, kept)
        rest = found.get("kwargs", {})
        for values in (found, rest):
            for name in values:
                if "mask" in name:
                    values[name] = _mask(values[name], kept, total, axis)
                elif "position" in name:
                    values[name] = _positions(values[name], kept, total, axis)
        return given.args, given.kwargs

    return before


def _mask(mask: Any, kept: int, total: int, axis: int) -> Any:
    """[row 1 query key]: the queries of the first copies, and the keys up to their own."""
    if not isinstance(mask, Tensor):
        return mask
    if axis == 0:
        return mask.narrow(0, 0, kept) if mask.shape[0] == total else mask
    return mask[:, :, :kept, : mask.shape[3] - (total - kept)]


def _positions(values: Any, kept: int, total: int, axis: int) -> Any:
    """[row pos], [row pos d] or [pos], perhaps several in a tuple: cosines and sines."""
    if isinstance(values, tuple):
        return tuple(_positions(one, kept, total, axis) for one in values)
    if not isinstance(values, Tensor):
        return values
    if values.ndim == 1:
        return values[:kept] if axis else values
    return values.narrow(axis, 0, kept) if values.shape[axis] == total else values
