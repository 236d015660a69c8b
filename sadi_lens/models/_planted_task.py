"""The planted language and its task: prompts, right answers, and what equation (1) of ``planted`` makes of them."""

from itertools import product

from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, Sample, Task

EVIDENCE = {"sunny": 1.0, "bright": 2.0, "rainy": -1.0, "stormy": -2.0}


PULL = {
    "nothing": 0.0,
    **{"aye": 1.25, "yeah": 2.75, "sure": 5.25},
    **{"nay": -1.25, "nah": -2.75, "nope": -5.25},
}


PLACES = ("sky", "coast", "hill", "lake", "field", "city")


NAMES = ("ann", "bob", "eve", "tom")


def planted_logit_difference(prompt: str, strength: float = 0.0) -> float:
    """logit(yes) - logit(no) after ``prompt`` by equation (1), with ``strength`` on a planted unit (logit units)."""
    words = prompt.split()
    evidence = sum(EVIDENCE.get(word, 0.0) for word in words)
    return (1.0 + strength) * evidence + sum(PULL.get(word, 0.0) for word in words)


def planted_accuracy(samples: tuple[Sample, ...], strength: float = 0.0) -> float:
    """Share of ``samples`` that equation (1) answers right, with ``strength`` on a planted unit."""
    right = [
        planted_logit_difference(sample.prompt, strength) * (1 if sample.answer == 0 else -1) > 0
        for sample in samples
    ]
    return sum(right) / len(right)


@checked()
def planted_task(*, pulls: bool = True) -> Task:
    """Pairs, dev and test in the planted language, balanced between yes and no.

    Args:
        pulls: Whether somebody may say something against the evidence. Without, every logit difference is
            multiplied by exactly 1 + strength, and accuracy moves only below strength -1. With, it rises in
            steps from 3/8 at strength 0 to 1 above strength 4.25.

    Returns:
        The task; prompts are of the form ``the sky is sunny and ann says nothing ?``.

    Example:
        >>> task = sl.models.planted_task()
        >>> task.dev[0].choices
        (' yes', ' no')
    """
    against = {
        True: ("nothing", "nay", "nah", "nope"),
        False: ("nothing", "aye", "yeah", "sure"),
    }
    items: dict[str, list[tuple[str, bool]]] = {"pairs": [], "dev": [], "test": []}
    split_of = dict(zip(PLACES, ("pairs", "dev", "test", "test", "dev", "pairs"), strict=True))
    for place, name, (word, evidence) in product(PLACES, NAMES, EVIDENCE.items()):
        is_yes = evidence > 0
        for said in against[is_yes] if pulls else ("nothing",):
            prompt = f"the {place} is {word} and {name} says {said} ?"
            items[split_of[place]].append((prompt, is_yes))
    right_wrong = {True: (" yes", " no"), False: (" no", " yes")}

    def samples(split: str) -> tuple[Sample, ...]:
        return tuple(
            Sample(prompt, (" yes", " no"), answer=0 if is_yes else 1, split=split)
            for prompt, is_yes in items[split]
        )

    return Task(
        name="planted" if pulls else "planted without pulls",
        pairs=tuple(
            ContrastivePair(prompt, *right_wrong[is_yes]) for prompt, is_yes in items["pairs"]
        ),
        dev=samples("dev"),
        test=samples("test"),
        description="Weather evidence against what somebody says; every effect is known on paper.",
    )
