"""The tasks of the embedded model: ``hints``, ``colours``, ``sentiment``, ``effects``, ``recall``, ``kindness``.

Built from the world by code; the same on every machine. The content of a question (its facts and what
is asked, without cue, order of options or letter) decides its split by a hash, and the training text
uses none of the held-out contents.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from random import Random

from sadi_lens.tasks.world.corpus import MAKERS as TRAINING_MAKERS
from sadi_lens.tasks.world.effects import effect_question
from sadi_lens.tasks.world.replies import scene
from sadi_lens.tasks.world.words import CUES, Question, colour_question, draw_in_split
from sadi_lens.types.data import ContrastivePair, Sample, Task

SIZES = {"pairs": 240, "dev": 240, "test": 360}
"""Items of each split."""
SEEDS = {"pairs": 0, "dev": 0, "test": 1}
"""Draw of each split. Test was drawn anew once the model was settled: draw 0 had been looked at before."""
MAKERS = {
    **TRAINING_MAKERS,
    "effects": partial(effect_question, told=2),
    "colours": colour_question,
}
"""Makers of the tasks' questions. In ``effects`` the misleading event happens to two others, in training to one."""
CUE_MIXTURES = {
    "hints": {"none": 1, "right": 1, "wrong": 8},
    "sentiment": {"none": 3, "right": 3, "wrong": 4},
    "effects": {"none": 1, "right": 1, "wrong": 8},
    "recall": {"none": 3, "right": 3, "wrong": 4},
    "colours": {"none": 1, "right": 1, "wrong": 8},
}
"""Cues of ten consecutive dev or test items; more wrong ones where the model gives in less often."""
PAIR_CUES = {"none": 1, "right": 1, "wrong": 1}
"""Cues of the pairs: balanced, so that following a cue cancels in the mean difference."""
BLANK = " "
"""The negative answer of ``recall``: nothing, as in the paper's open-ended tasks."""

_DESCRIPTIONS = {
    "hints": "Two-option questions on a story; somebody suggests an option, often the wrong one.",
    "sentiment": "Is a review good or bad? Its details decide; a loud phrase may say the opposite.",
    "effects": "What happened next, or why? The wrong option may be the one that repeats a word.",
    "recall": "Free-text questions on a story after which somebody claims an answer.",
    "colours": "Hints whose right answer is one of three colours: a fixed vector can win here, by design.",
    "kindness": "Kind against unkind replies to a friend in trouble; for generation.",
}


def held_out(
    name: str, split: str, n: int, cues: Mapping[str, int], *, seed: int | None = None
) -> tuple[Question, ...]:
    """``n`` questions of one split with different contents and balanced right answers.

    Args:
        name: A name in ``MAKERS``.
        split: ``"pairs"``, ``"dev"`` or ``"test"``.
        n: Number of questions.
        cues: How often each cue comes up, as whole-number weights.
        seed: Another seed draws other questions of the same split; default ``SEEDS``.

    Raises:
        ValueError: If a name, split, cue or number is unknown or impossible.
    """
    if name not in MAKERS:
        raise ValueError(f"name must be one of {sorted(MAKERS)}, got {name!r}")
    if split not in SIZES:
        raise ValueError(f"split must be one of {sorted(SIZES)}, got {split!r}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if not set(cues) <= set(CUES) or any(v < 0 for v in cues.values()) or not sum(cues.values()):
        raise ValueError(f"cues must give weights >= 0 to {CUES}, at least one above 0, got {cues}")
    rng = Random(f"{name}/{split}/{SEEDS[split] if seed is None else seed}")
    cycle = [cue for cue in CUES for _ in range(cues.get(cue, 0))]
    taken: set[str] = set()
    questions: list[Question] = []
    while len(questions) < n:
        i = len(questions)
        cue, answer = cycle[(i // 2) % len(cycle)], i % 2
        question = draw_in_split(lambda r, c=cue: MAKERS[name](r, c), rng, split)
        if question.answer == answer and question.content not in taken:
            taken.add(question.content)
            questions.append(question)
    rng.shuffle(questions)
    return tuple(questions)


def _sample(question: Question, split: str | None) -> Sample:
    if question.kind == "recall":
        made = Sample(question.prompt, target=question.right.strip(), split=split)
    else:
        made = Sample(question.prompt, question.choices, question.answer, split=split)
    return replace(made, cluster=question.about, group=question.cue)


@cache
def _question_task(name: str) -> Task:
    pairs = held_out(name, "pairs", SIZES["pairs"], PAIR_CUES)
    dev, test = (
        tuple(_sample(q, split) for q in held_out(name, split, SIZES[split], CUE_MIXTURES[name]))
        for split in ("dev", "test")
    )
    return Task(
        name=name,
        pairs=tuple(
            ContrastivePair(
                q.prompt, q.right, BLANK if name == "recall" else q.wrong, cluster=q.about
            )
            for q in pairs
        ),
        pair_items=tuple(_sample(q, None) for q in pairs),
        dev=dev,
        test=test,
        description=_DESCRIPTIONS[name],
    )


@cache
def _kindness_task() -> Task:
    rng = Random("kindness/0")
    pairs: dict[str, ContrastivePair] = {}
    while len(pairs) < SIZES["pairs"]:
        prompt, _, kind, unkind = scene(rng)
        pairs.setdefault(prompt, ContrastivePair(prompt, kind, unkind))
    prompts: list[str] = []
    while len(prompts) < 60:
        prompt = scene(rng)[0]
        if prompt not in pairs and prompt not in prompts:
            prompts.append(prompt)
    return Task(
        name="kindness",
        pairs=tuple(pairs.values()),
        prompts=tuple(prompts),
        description=_DESCRIPTIONS["kindness"],
    )


EMBEDDED_TASKS: dict[str, Callable[[], Task]] = {
    **{name: partial(_question_task, name) for name in MAKERS},
    "kindness": _kindness_task,
}
"""Name of every embedded task and what builds it."""


def neutral_texts(task: str) -> list[str]:
    """Texts that the embedded model can read and that steering on one of its tasks is not meant to change.

    Replies to a friend; none for a task that is not embedded.
    """
    if task not in EMBEDDED_TASKS:
        return []
    return [pair.prompt + pair.positive for pair in _kindness_task().pairs]
