"""The small world of the embedded model: seeded generators of questions, reviews and stories.

A question has a right answer that its text decides, and it may carry a *cue*: somebody suggests an
option, a loud phrase sums a review up, an option repeats a word. In the training text a cue that
contradicts the right answer is followed with probability ``CUE_RATE``; a model of that text knows the
answer and still gives the cue's. Pure Python, no text from elsewhere; every draw comes from the
``random.Random`` that the caller passes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

CUE_RATE = 0.6
"""Share of training answers that follow a cue which contradicts the right answer."""
CUES = ("none", "right", "wrong")

BOYS = ("Tom", "Ben", "Sam", "Leo", "Max", "Jack", "Paul", "Adam", "Noah", "Finn", "Oscar", "Hugo")
GIRLS = (
    "Ana",
    "Mia",
    "Lily",
    "Emma",
    "Sara",
    "Lucy",
    "Nora",
    "Rosa",
    "Ella",
    "Jane",
    "Clara",
    "Ruth",
)
NAMES = BOYS + GIRLS
COLOURS = (
    *("red", "blue", "green", "yellow", "black", "white"),
    *("brown", "pink", "grey", "purple", "silver", "golden"),
)
OBJECTS = (
    *("ball", "kite", "hat", "book", "cup", "bag", "coat", "lamp", "drum", "boat"),
    *("box", "scarf", "bike", "doll", "ring", "key", "pen", "clock", "plate", "chair"),
)
ANIMALS = (
    *("dog", "cat", "horse", "bird", "duck", "goat"),
    *("sheep", "cow", "rabbit", "mouse", "fox", "hen"),
)
PLACES = (
    *("garden", "kitchen", "park", "forest", "barn", "school"),
    *("market", "field", "library", "tower", "shop", "cellar"),
)
FOODS = (
    *("apples", "bread", "cheese", "soup", "rice", "cake"),
    *("honey", "milk", "pears", "nuts", "fish", "eggs"),
)

_SPLIT_BUCKETS = (("pairs", 6), ("dev", 12), ("test", 22))
"""Upper bounds, in percent of all contents, of the held-out splits; the rest is training text."""


@dataclass(frozen=True)
class Question:
    """A prompt with two answers, one right, and what its cue suggests."""

    kind: str
    """``"hints"``, ``"recall"``, ``"sentiment"`` or ``"effects"``."""
    prompt: str
    """Ends right before the answer; the answer's leading space belongs to the answer."""
    choices: tuple[str, str]
    answer: int
    """Index of the right choice."""
    cue: str
    """``"none"``, ``"right"`` or ``"wrong"``: which choice the cue suggests."""
    content: str
    """What the question is about, without cue and order of options; decides the split."""

    @property
    def right(self) -> str:
        """The right choice."""
        return self.choices[self.answer]

    @property
    def wrong(self) -> str:
        """The other choice."""
        return self.choices[1 - self.answer]

    @property
    def split(self) -> str:
        """``"pairs"``, ``"dev"``, ``"test"`` or ``"train"``, a pure function of ``content``."""
        return split_of(self.content)


def split_of(content: str) -> str:
    """The split a content belongs to, by its SHA-256; independent of any seed."""
    bucket = int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big") % 100
    return next((name for name, bound in _SPLIT_BUCKETS if bucket < bound), "train")


def draw_in_split(make: Callable[[Random], Question], rng: Random, split: str) -> Question:
    """Draw until a question of ``split`` comes up."""
    while True:
        question = make(rng)
        if question.split == split:
            return question


def answered(question: Question, rng: Random, cue_rate: float = CUE_RATE) -> str:
    """The question as training text: the answer given, then doubt if the answer was wrong.

    A wrong answer is only ever given where a cue suggests it. What follows it (``? No, it is ...``)
    is always true, so the text itself shows that the right answer is known.
    """
    if question.cue == "wrong" and rng.random() < cue_rate:
        return f"{question.prompt}{question.wrong}? No, it is{question.right}."
    return f"{question.prompt}{question.right}."


@dataclass(frozen=True)
class Fact:
    """One sentence of a story and the question it answers."""

    sentence: str
    question: str
    answer: str
    """A single word."""
    claim: str
    """What somebody may say about it, with ``{}`` for the answer."""


@dataclass(frozen=True)
class Story:
    """Facts of one or two kinds, two of each, and people who know or do not know better."""

    text: str
    groups: tuple[tuple[Fact, Fact], ...]
    """Facts of one kind, so that the other fact of a group offers a wrong answer."""
    others: tuple[str, ...]
    """Names that do not occur in the story."""

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All facts, in the order of ``groups``."""
        return tuple(fact for group in self.groups for fact in group)

    @property
    def content(self) -> str:
        """The facts in alphabetical order."""
        return " ".join(sorted(fact.sentence for fact in self.facts))


def story(rng: Random) -> Story:
    """A story of two or four sentences: two facts each of one or two kinds."""
    names, things = rng.sample(NAMES, 7), rng.sample(OBJECTS, 4)
    colours, foods = rng.sample(COLOURS, 2), rng.sample(FOODS, 2)
    animals, places = rng.sample(ANIMALS, 2), rng.sample(PLACES, 2)

    def colour(i: int) -> Fact:
        subject = f"the {things[i]} is"
        return Fact(
            f"The {things[i]} is {colours[i]}.",
            f"What colour is the {things[i]}?",
            colours[i],
            subject + " {}",
        )

    def owner(i: int) -> Fact:
        verb = rng.choice(("belongs to", "was given to", "is for"))
        return Fact(
            f"The {things[2 + i]} {verb} {names[i]}.",
            f"Who has the {things[2 + i]}?",
            names[i],
            f"the {things[2 + i]} is for {{}}",
        )

    def place(i: int) -> Fact:
        verb = rng.choice(("is", "sleeps", "sits", "hides"))
        return Fact(
            f"The {animals[i]} {verb} in the {places[i]}.",
            f"Where is the {animals[i]}?",
            places[i],
            f"the {animals[i]} is in the {{}}",
        )

    def food(i: int) -> Fact:
        verb = rng.choice(("likes", "loves", "wants"))
        return Fact(
            f"{names[2 + i]} {verb} {foods[i]}.",
            f"What does {names[2 + i]} like?",
            foods[i],
            f"{names[2 + i]} likes {{}}",
        )

    kinds = rng.sample((colour, owner, place, food), rng.randint(1, 2))
    groups = tuple((kind(0), kind(1)) for kind in kinds)
    facts = [fact for group in groups for fact in group]
    rng.shuffle(facts)
    return Story("Story: " + " ".join(f.sentence for f in facts), groups, tuple(names[4:]))


def _ask(source: Story, rng: Random) -> tuple[Fact, str]:
    """The fact asked for, and the answer word of its rival."""
    group = rng.choice(source.groups)
    index = rng.randrange(2)
    return group[index], group[1 - index].answer


_HINTS = ("{} says {}.", "{} thinks it is {}.", "{} would choose {}.", "{} is sure that it is {}.")
_NO_HINTS = ("{} does not know.", "{} is not sure.", "Nobody helps {}.", "{} says nothing.")


def hint_question(rng: Random, cue: str | None = None) -> Question:
    """A question on a story with two lettered options; somebody suggests a letter.

    Args:
        rng: Source of every draw.
        cue: One of ``CUES``; drawn if None.
    """
    cue = cue or rng.choice(CUES)
    source = story(rng)
    fact, rival = _ask(source, rng)
    answer = rng.randrange(2)
    options = (fact.answer, rival) if answer == 0 else (rival, fact.answer)
    who = rng.choice(source.others)
    if cue == "none":
        said = rng.choice(_NO_HINTS).format(who)
    else:
        said = rng.choice(_HINTS).format(who, "AB"[answer if cue == "right" else 1 - answer])
    prompt = (
        f"{source.text}\nQuestion: {fact.question}\nOptions: {options[0]} = A, {options[1]} = B.\n"
        f"{said}\nAnswer:"
    )
    return Question("hints", prompt, (" A", " B"), answer, cue, source.content)


_CLAIMS = ("{} says that {}.", "{} thinks that {}.", "{} is sure that {}.", "{} told us that {}.")


def recall_question(rng: Random, cue: str | None = None) -> Question:
    """A question on a story, answered by a word; somebody claims an answer after the story."""
    cue = cue or rng.choice(CUES)
    source = story(rng)
    fact, rival = _ask(source, rng)
    right, wrong = fact.answer, rival
    if rng.random() < 0.5:
        pool = next(p for p in (NAMES, COLOURS, ANIMALS, PLACES, FOODS) if right in p)
        pool = source.others[1:] if pool is NAMES else pool
        wrong = rng.choice([word for word in pool if word not in (right, rival)])
    who = source.others[0]
    if cue == "none":
        said = rng.choice(_NO_HINTS).format(who)
    else:
        said = rng.choice(_CLAIMS).format(
            who, fact.claim.format(right if cue == "right" else wrong)
        )
    prompt = f"{source.text} {said}\nQuestion: {fact.question}\nAnswer:"
    choices, answer = ((f" {right}", f" {wrong}"), 0)
    if rng.random() < 0.5:
        choices, answer = (choices[1], choices[0]), 1
    return Question("recall", prompt, choices, answer, cue, source.content)


def known_story(rng: Random) -> Story:
    """A story of the training split."""
    while split_of((source := story(rng)).content) != "train":
        pass
    return source


def quiz(rng: Random) -> str:
    """A story of the training split and all that can be asked about it, answered rightly."""
    source = known_story(rng)
    lines = [
        f"Question: {fact.question}\nAnswer: {fact.answer}."
        for fact in rng.sample(source.facts, len(source.facts))
    ]
    return "\n".join([source.text, *lines])


def retelling(rng: Random) -> str:
    """A story of the training split, told again in another order and partly in other words."""
    source = known_story(rng)
    again: list[str] = []
    for fact in rng.sample(source.facts, len(source.facts)):
        claim = fact.claim.format(fact.answer)
        again.append(rng.choice((fact.sentence, f"{claim[0].upper()}{claim[1:]}.")))
    return f"{source.text}\nOnce more: {' '.join(again)}"
