"""What goes in: contrastive pairs, samples to score, and a task that holds both."""

import hashlib
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from sadi_lens.types.base import SharedItemsError, brief_repr, require_one_of
from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.checks import require_fields
from sadi_lens.types.wording import short

SPLITS = ("pairs", "dev", "test")
HALF_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class ContrastivePair:
    """A prompt with a right and a wrong answer; text = prompt + answer exactly as given.

    With ``negative_prompt`` the two texts differ in their prompts and may have the same answer: personas, system
    prompts (Zou et al., 2023; Chen et al., 2025).

    Raises:
        ValueError: If an answer is empty or both texts are the same.
        TypeError: If something is not text.

    Example:
        >>> ContrastivePair("The sky is", " blue", " red").texts
        ('The sky is blue', 'The sky is red')
        >>> ContrastivePair("Be kind. I", " am", " am", negative_prompt="Be rude. I").texts
        ('Be kind. I am', 'Be rude. I am')
    """

    prompt: str
    positive: str
    negative: str
    negative_prompt: str | None = None
    """Prompt of the negative text; None: the same."""
    cluster: str | None = None
    """What it shares with others, as in ``Sample``; None: those of its prompt."""

    def __post_init__(self) -> None:
        require_fields(self)
        _require_usable_texts(self)
        for name in ("positive", "negative"):
            if not getattr(self, name):
                raise ValueError(
                    f"{name} must not be empty (prompt {self.prompt[-40:]!r}); "
                    "the answer's own space belongs to it, as in ' A'"
                )
        if self.negative_prompt == self.prompt:
            object.__setattr__(self, "negative_prompt", None)
        if self.texts[0] == self.texts[1]:
            hint = "" if self.negative_prompt else "; for the same answer give negative_prompt"
            raise ValueError(
                f"positive and negative must differ, both are {self.positive!r} "
                f"(prompt {self.prompt[-40:]!r}){hint}"
            )

    @property
    def prompts(self) -> tuple[str, str]:
        """The prompt of the positive and of the negative text."""
        return self.prompt, self.prompt if self.negative_prompt is None else self.negative_prompt

    @property
    def texts(self) -> tuple[str, str]:
        """The positive and the negative text."""
        return self.prompts[0] + self.positive, self.prompts[1] + self.negative


@dataclass(frozen=True)
class Sample:
    """One item to score: either ``choices`` with the index of the right one, or a free-text ``target``.

    Raises:
        ValueError: If neither or both forms are given, a choice is empty or repeated, ``answer`` is not an index of
            ``choices``, or the split is unknown.
        TypeError: If a field is of another kind, such as one text where a list of texts belongs.

    Example:
        >>> Sample("The sky is", (" blue", " red"), 0).wrong
        (1,)
    """

    prompt: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    target: str | None = None
    """Accepted free text; compared after normalisation (case, punctuation, spaces; any script)."""
    split: str | None = None
    """``"dev"`` or ``"test"`` (``"pairs"`` for items that pairs are made of) when known; carried into every result."""
    also_right: tuple[int, ...] = ()
    """Other choices that are right too (TruthfulQA): never counted as wrong, never needed."""
    aliases: tuple[str, ...] = ()
    """Other accepted free texts beside ``target``."""
    cluster: str | None = None
    """What other items share with this one (a fact, event, person, text): they count as one draw in every interval and
    test. None: independent of all others, but for the same prompt with the same answers."""
    group: str | None = None
    """What results are also told apart by: the cue of a question, a kind of item."""

    def __post_init__(self) -> None:
        require_fields(self)
        _require_usable_texts(self)
        if self.split is not None:
            require_one_of("split", self.split, SPLITS)
        where = f"(prompt {self.prompt[-40:]!r})"
        if self.aliases and self.target is None:
            raise ValueError(f"aliases belong to a target, and there is none {where}")
        if (self.target is None) == (not self.choices):
            raise ValueError(f"a sample needs either choices or a target, not both {where}")
        if self.target is None:
            self._require_choices(where)
            return
        if self.answer is not None or self.also_right:
            raise ValueError(f"answer and also_right belong to choices, and there are none {where}")
        if not all(one.strip() for one in (self.target, *self.aliases)):
            raise ValueError(f"target and aliases must not be empty {where}")

    def _require_choices(self, where: str) -> None:
        if len(self.choices) < 2:
            raise ValueError(f"choices must be at least 2, got {len(self.choices)} {where}")
        if any(not choice for choice in self.choices):
            raise ValueError(f"choices must not be empty, got {self.choices!r} {where}")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices must differ, got {self.choices!r} {where}")
        if self.answer is None or not 0 <= self.answer < len(self.choices):
            raise ValueError(
                f"answer must be an index in [0, {len(self.choices) - 1}], got {self.answer!r} {where}"
            )
        others = set(range(len(self.choices))) - {self.answer}
        if not set(self.also_right) <= others:
            raise ValueError(
                f"also_right must be indices of other choices, of {sorted(others)}, got {self.also_right} {where}"
            )
        if set(self.also_right) == others:
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
        SharedItemsError: If the same item stands in two splits (a ValueError).
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
    __repr__ = brief_repr

    def __post_init__(self) -> None:
        require_fields(self)
        _require_usable_texts(self)
        # An item is a prompt with one of its answers, whichever of them holds the space between.
        items = {
            "pairs": {
                (prompt.rstrip(), text.strip()): row
                for row, p in enumerate(self.pairs)
                for prompt, text in zip(p.prompts, (p.positive, p.negative), strict=True)
            }
            | _answers(self.pair_items),
            **{split: _answers(getattr(self, split)) for split in ("dev", "test")},
        }
        for first, second in (("pairs", "dev"), ("pairs", "test"), ("dev", "test")):
            shared = sorted(items[first].keys() & items[second].keys())
            if shared:
                rows = sorted({(items[first][one], items[second][one]) for one in shared})
                named = ", ".join(f"{one} = {two}" for one, two in rows[:5])
                raise SharedItemsError(
                    f"{first} and {second} of task {self.name!r} must be disjoint, "
                    f"{len({prompt for prompt, _ in shared})} prompts stand in both, first "
                    f"{shared[0][0][-60:]!r} (rows {first} = {second}: {named})"
                )


def _require_usable_texts(thing: Any) -> None:
    """Refuse half of a surrogate pair, which no tokenizer reads, and a blank cluster, which all would share."""
    cluster = getattr(thing, "cluster", None)
    if cluster is not None and not cluster.strip():
        raise ValueError(
            f"cluster must not be blank, got {cluster!r}: all of that name would be one draw; leave it out (None) "
            "where there is none"
        )
    for one in fields(thing):
        value = getattr(thing, one.name)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and HALF_CHARACTER.search(text):
                raise ValueError(
                    f"{one.name} holds half of a character (a lone surrogate): {short(text)}; mend the file it is from"
                )


def items_hash(samples: Sequence[Sample]) -> str:
    """Identity of a list of samples, so that results of different items are never paired."""
    digest = hashlib.sha256()
    for one in samples:
        digest.update(repr((one.prompt, one.choices, one.answer, one.target)).encode())
        if one.also_right or one.aliases:
            digest.update(repr((one.also_right, one.aliases)).encode())
        if isinstance(one.prompt, ChatPrompt):  # no tokens are added to it
            digest.update(b"chat")
    return digest.hexdigest()[:16]


def samples_hash(samples: Sequence[Sample]) -> str:
    """Identity of samples with all that a result says of them: ``items_hash``, and what is kept beside the texts."""
    beside = [(one.split, one.cluster, one.group) for one in samples]
    return hashlib.sha256(repr((items_hash(samples), beside)).encode()).hexdigest()[:16]


def wrong_choices(samples: Sequence[Sample], width: int) -> Bool[np.ndarray, "item choice"]:
    """Which choices are wrong; False for those that an item does not have.

    Example:
        >>> from sadi_lens.types.data import wrong_choices
        >>> sample = Sample("Who?", (" Ann", " Ann Lee", " Tom"), 0, also_right=(1,))
        >>> wrong_choices([sample], 4).tolist()
        [[False, False, True, False]]
    """
    found = np.zeros((len(samples), width), dtype=bool)
    for row, sample in enumerate(samples):
        found[row, list(sample.wrong)] = True
    return found


def clusters_of(samples: Sequence[Sample]) -> Int[np.ndarray, " item"] | None:
    """Number of each sample's cluster; the same question asked again is one draw, also where no cluster names it.

    Example:
        >>> from sadi_lens.types.data import clusters_of
        >>> asked = [Sample("2 + 2 =", (" 4", " 5"), 0), Sample("2 + 3 =", (" 4", " 5"), 1)]
        >>> clusters_of([*asked, asked[0]]).tolist()
        [0, 1, 0]
    """
    names: list[Hashable] = [
        (one.prompt, frozenset(one.choices), one.target) if one.cluster is None else one.cluster
        for one in samples
    ]
    return cluster_codes(names)


def pair_clusters(pairs: Sequence[ContrastivePair]) -> Int[np.ndarray, " pair"] | None:
    """Number of each pair's cluster, where none is named its prompt's: those pairs have the same right text.

    >>> pair_clusters([ContrastivePair("2 + 2 =", " 4", one) for one in (" 3", " 5")]).tolist()
    [0, 0]
    """
    return cluster_codes([(p.prompt, "") if p.cluster is None else p.cluster for p in pairs])


def cluster_codes(names: Sequence[Hashable | None]) -> Int[np.ndarray, " item"] | None:
    """Number of each item's cluster; None where no two items share one.

    Args:
        names: What tells each item's cluster apart; None: the item is alone.

    Example:
        >>> from sadi_lens.types.data import cluster_codes
        >>> cluster_codes(["Ana", None, "Ana", "Ben"]).tolist()
        [0, 1, 0, 2]
        >>> cluster_codes(["Ana", None, "Ben"]) is None
        True
    """
    keys = [(row, None) if name is None else (-1, name) for row, name in enumerate(names)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    if len(numbers) == len(keys):
        return None
    return np.array([numbers[key] for key in keys])


def _answers(samples: Sequence[Sample]) -> dict[tuple[str, str], int]:
    return {
        (one.prompt.rstrip(), text.strip()): row
        for row, one in enumerate(samples)
        for text in (*one.choices, *one.aliases, one.target or "")
        if text
    }
