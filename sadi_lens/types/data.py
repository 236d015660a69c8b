"""What goes in: contrastive pairs, samples to score, and a task that holds both."""

from collections.abc import Sequence
from dataclasses import dataclass

SPLITS = ("pairs", "dev", "test")


class ChatPrompt(str):
    """A prompt that a chat template rendered: special tokens stand in its text, and the tokenizer adds none to it."""

    __slots__ = ()

    def __add__(self, answer: str) -> "ChatPrompt":
        return ChatPrompt(str(self) + answer)


@dataclass(frozen=True)
class ContrastivePair:
    """A prompt with a right and a wrong answer; text = prompt + answer exactly as given.

    Raises:
        ValueError: If an answer is empty or both answers are the same.
    """

    prompt: str
    positive: str
    negative: str

    def __post_init__(self) -> None:
        for name in ("positive", "negative"):
            if not getattr(self, name):
                raise ValueError(
                    f"{name} must not be empty (prompt {self.prompt[-40:]!r}); "
                    "the answer's own space belongs to it, as in ' A'"
                )
        if self.positive == self.negative:
            raise ValueError(
                f"positive and negative must differ, both are {self.positive!r} "
                f"(prompt {self.prompt[-40:]!r})"
            )


@dataclass(frozen=True)
class Sample:
    """One item to score: either ``choices`` with the index of the right one, or a free-text ``target``.

    Raises:
        ValueError: If neither or both forms are given, a choice is empty or repeated, or ``answer``
            is not an index of ``choices``.
    """

    prompt: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    target: str | None = None
    """Accepted free text; compared after normalisation (lower case, punctuation, spaces)."""
    split: str | None = None
    """``"dev"`` or ``"test"`` when known; carried into every result."""
    also_right: tuple[int, ...] = ()
    """Other choices that are right too (TruthfulQA): never counted as wrong, never needed."""
    aliases: tuple[str, ...] = ()
    """Other accepted free texts beside ``target``."""

    def __post_init__(self) -> None:
        where = f"(prompt {self.prompt[-40:]!r})"
        for name in ("also_right", "aliases"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.aliases and self.target is None:
            raise ValueError(f"aliases belong to a target, and there is none {where}")
        if (self.target is None) == (not self.choices):
            raise ValueError(f"a sample needs either choices or a target, not both {where}")
        if self.target is not None:
            if not self.target.strip():
                raise ValueError(f"target must not be empty {where}")
            return
        if isinstance(self.choices, str):
            raise TypeError(f"choices must be a list of texts, got {self.choices!r} {where}")
        object.__setattr__(self, "choices", tuple(self.choices))
        if len(self.choices) < 2:
            raise ValueError(f"choices must be at least 2, got {len(self.choices)} {where}")
        if any(not choice for choice in self.choices):
            raise ValueError(f"choices must not be empty, got {self.choices!r} {where}")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices must differ, got {self.choices!r} {where}")
        is_index = isinstance(self.answer, int) and not isinstance(self.answer, bool)
        if self.answer is None or not is_index or not 0 <= self.answer < len(self.choices):
            raise ValueError(
                f"answer must be an index in [0, {len(self.choices) - 1}], got {self.answer!r} {where}"
            )
        others = set(range(len(self.choices))) - {self.answer}
        if not set(self.also_right) < others:
            raise ValueError(
                f"also_right must leave at least one wrong choice of {sorted(others)}, got {self.also_right} {where}"
            )

    @property
    def wrong(self) -> tuple[int, ...]:
        """Indices of the wrong choices."""
        right = {self.answer, *self.also_right}
        return tuple(index for index in range(len(self.choices)) if index not in right)


@dataclass(frozen=True)
class Task:
    """Contrastive pairs that make the mask, ``dev`` to choose on and ``test`` to report on.

    Raises:
        ValueError: If the same item stands in two splits.
    """

    name: str
    pairs: tuple[ContrastivePair, ...] = ()
    dev: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()
    description: str = ""
    prompts: tuple[str, ...] = ()
    """Prompts to continue freely (generation demos); never scored."""
    pair_items: tuple[Sample, ...] = ()
    """The items that ``pairs`` were made of, where known: other negatives can be built from them."""

    def __post_init__(self) -> None:
        for name in ("pairs", "dev", "test", "prompts", "pair_items"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        # An item is a prompt with one of its answers: sharing one of those is sharing the item.
        items = {
            "pairs": {
                (p.prompt, text.strip()): row
                for row, p in enumerate(self.pairs)
                for text in (p.positive, p.negative)
            }
            | _answers(self.pair_items),
            **{split: _answers(getattr(self, split)) for split in ("dev", "test")},
        }
        for first, second in (("pairs", "dev"), ("pairs", "test"), ("dev", "test")):
            shared = sorted(items[first].keys() & items[second].keys())
            if shared:
                rows = sorted({(items[first][one], items[second][one]) for one in shared})
                named = ", ".join(f"{one} = {two}" for one, two in rows[:5])
                raise ValueError(
                    f"{first} and {second} of task {self.name!r} must be disjoint, "
                    f"{len({prompt for prompt, _ in shared})} prompts stand in both, first "
                    f"{shared[0][0][-60:]!r} (rows {first} = {second}: {named})"
                )


def _answers(samples: Sequence[Sample]) -> dict[tuple[str, str], int]:
    return {
        (one.prompt, text.strip()): row
        for row, one in enumerate(samples)
        for text in (*one.choices, *one.aliases, one.target or "")
        if text
    }
