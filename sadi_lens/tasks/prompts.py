"""The same task asked otherwise: with solved examples before it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from sadi_lens.tasks.contrast import right_answer
from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, Task

SEPARATOR = "\n\n"


@checked(k=0)
def with_examples(task: Task, k: int, *, seed: int = 0) -> Task:
    """``k`` solved items of dev before every prompt; they leave dev.

    The same examples, in the same order, stand before pairs, dev and test, so that the mask is read where steering
    acts.

    Args:
        task: Needs more than ``k`` dev items.
        k: Number of examples; 0 gives the task itself.
        seed: Seed of the draw.

    Raises:
        ValueError: If dev has too few items, or the task is in a chat template already.
    """
    if k == 0:
        return task
    if not 0 < k < len(task.dev):
        raise ValueError(
            f"k must be in [0, {len(task.dev) - 1}] (dev has {len(task.dev)} items), got {k}"
        )
    if any(isinstance(one.prompt, ChatPrompt) for one in task.dev):
        raise ValueError(
            "the task is in a chat template already; add examples before it, or as its history="
        )
    chosen = Random(f"shots/{seed}").sample(range(len(task.dev)), k)
    shots = [task.dev[index] for index in chosen]
    head = solved((one.prompt, right_answer(one)) for one in shots)
    left = tuple(one for index, one in enumerate(task.dev) if index not in set(chosen))
    return map_prompts(replace(task, dev=left), lambda prompt: head + prompt)


def solved(examples: Iterable[tuple[str, str]]) -> str:
    r"""Prompts with their answers, one after another, as the text before a prompt.

    >>> solved([("Two and two is", " four"), ("Two and three is", " five")])
    'Two and two is four\n\nTwo and three is five\n\n'
    """
    return "".join(f"{prompt}{answer}{SEPARATOR}" for prompt, answer in examples)


def map_prompts(task: Task, change: Callable[[str], str]) -> Task:
    """Every prompt of a task changed, answers as they are."""

    def pair(one: ContrastivePair) -> ContrastivePair:
        other = None if one.negative_prompt is None else change(one.negative_prompt)
        return replace(one, prompt=change(one.prompt), negative_prompt=other)

    return replace(
        task,
        pairs=tuple(map(pair, task.pairs)),
        **{
            split: tuple(replace(one, prompt=change(one.prompt)) for one in getattr(task, split))
            for split in ("dev", "test", "pair_items")
        },
        prompts=tuple(change(prompt) for prompt in task.prompts),
    )
