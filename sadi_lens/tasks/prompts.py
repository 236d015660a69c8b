"""The same task asked otherwise: with solved examples before it."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from sadi_lens.tasks.contrast import right_answer
from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, Sample, Task, clusters_of

SEPARATOR = "\n\n"


@checked(k=0)
def with_examples(task: Task, k: int, *, seed: int = 0) -> Task:
    """``k`` solved items of dev before every prompt; they leave dev, with all that is on the same as they.

    The same examples, in the same order, stand before pairs, dev and test, so that the mask is read where steering
    acts. No two are of one cluster (a fact, a text; a prompt where none is named), and no other item of their clusters
    stays in dev, where its answer would stand before it.

    Args:
        task: Needs dev items of more than ``k`` clusters.
        k: Number of examples; 0 gives the task itself.
        seed: Seed of the draw.

    Raises:
        ValueError: If dev has too few clusters, or the task is in a chat template already.
    """
    if k == 0:
        return task
    clusters = clusters_of(task.dev)
    members: dict[int, list[Sample]] = defaultdict(list)
    numbers = range(len(task.dev)) if clusters is None else clusters.tolist()
    for number, one in zip(numbers, task.dev, strict=True):
        members[number].append(one)
    n = len(members)
    if not 0 < k < n:
        raise ValueError(
            f"k must be in [0, {max(0, n - 1)}] (dev has {len(task.dev)} items of {n} clusters), got {k}"
        )
    if any(isinstance(one.prompt, ChatPrompt) for one in task.dev):
        raise ValueError(
            "the task is in a chat template already; add examples before it, or as its history="
        )
    rng = Random(f"shots/{seed}")
    chosen = [members.pop(number) for number in rng.sample(range(n), k)]
    shots = [rng.choice(items) for items in chosen]
    head = solved((one.prompt, right_answer(one)) for one in shots)
    gone = {id(one) for items in chosen for one in items}
    left = tuple(one for one in task.dev if id(one) not in gone)
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
