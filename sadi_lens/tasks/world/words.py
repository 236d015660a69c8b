"""The small world of the embedded model: seeded generators of questions, reviews and stories.

A question has a right answer that its text decides, and it may carry a *cue*: somebody suggests an
option, a loud phrase sums a review up, an option repeats a word. In the training text a cue that
contradicts the right answer is followed with probability ``CUE_RATE``; a model of that text knows the
answer and still gives the cue's. Pure Python, no text from elsewhere; every draw comes from the
``random.Random`` that the caller passes.
"""

import hashlib
from collections.abc import Callable, Sequence
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
    about: str
    """The fact, event or review that is asked after: questions that share it are not independent."""

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
    """Something that is always true of a person of the world."""

    name: str
    kind: str
    """Key of ``_KINDS``."""
    word: str
    """The value: a place, a food, an animal, a colour or a thing."""

    @property
    def question(self) -> str:
        """What asks for ``word``."""
        return _KINDS[self.kind].question.format(self.name)

    def claim(self, word: str | None = None) -> str:
        """The fact as a clause; with ``word``, the same said of another value."""
        return _KINDS[self.kind].claim.format(self.name, word or self.word)


@dataclass(frozen=True)
class _Kind:
    values: tuple[str, ...]
    question: str
    claim: str


_KINDS = {
    "home": _Kind(PLACES, "Where does {} live?", "{} lives in the {}"),
    "food": _Kind(FOODS, "What does {} eat?", "{} eats {}"),
    "pet": _Kind(ANIMALS, "Which animal does {} have?", "{} has a {}"),
    "colour": _Kind(COLOURS, "Which colour does {} like?", "{} likes {}"),
    "thing": _Kind(OBJECTS, "What does {} carry?", "{} carries a {}"),
}


def _facts() -> dict[str, tuple[Fact, ...]]:
    """The facts of each person: every value belongs to one or two people."""
    rng = Random("the facts of the world")
    columns: dict[str, list[str]] = {}
    for kind, about in _KINDS.items():
        values = [*about.values, *about.values]
        rng.shuffle(values)
        columns[kind] = values
    return {
        name: tuple(Fact(name, kind, columns[kind][i]) for kind in _KINDS)
        for i, name in enumerate(NAMES)
    }


FACTS = _facts()
"""What the model is to know by heart: five facts of each person."""

_SCENES = (
    "{0} met {1} in the {2}.",
    "{0} and {1} walked to the {2}.",
    "{0} saw {1} at the {2}.",
    "{0} came to the {2} with {1}.",
    "In the {2} {0} talked to {1}.",
)
_TALK = (
    "They talked about {0}.",
    "Then they saw {0}.",
    "They had a question about {0}.",
    "They looked for {0}.",
    "{0} was not there.",
)


@dataclass(frozen=True)
class _Asked:
    """What is asked: a fact, a wrong word of its kind, and a scene around it."""

    fact: Fact
    rival: str
    scene: str
    others: tuple[str, ...]

    @property
    def content(self) -> str:
        return f"{self.fact.claim()}/{self.rival}/{self.scene}"


def _ask(rng: Random) -> _Asked:
    name, *others = rng.sample(NAMES, 4)
    fact = rng.choice(FACTS[name])
    rival = rng.choice([word for word in _KINDS[fact.kind].values if word != fact.word])
    return _asked(rng, fact, rival, others)


def _asked(rng: Random, fact: Fact, rival: str, others: Sequence[str]) -> _Asked:
    scene = rng.choice(_SCENES).format(others[0], others[1], rng.choice(PLACES))
    return _Asked(fact, rival, f"{scene} {rng.choice(_TALK).format(fact.name)}", tuple(others))


_HINTS = ("{} says {}.", "{} thinks it is {}.", "{} would choose {}.", "{} is sure that it is {}.")
_NO_HINTS = ("{} does not know.", "{} is not sure.", "Nobody helps {}.", "{} says nothing.")


def hint_question(rng: Random, cue: str | None = None) -> Question:
    """A question on a fact of the world with two options; somebody suggests one.

    Args:
        rng: Source of every draw.
        cue: One of ``CUES``; drawn if None.
    """
    cue = cue or rng.choice(CUES)
    return _hint(rng, cue, _ask(rng))


RIGHT_COLOURS, RIVAL_COLOURS = COLOURS[:3], COLOURS[3:6]


def colour_question(rng: Random, cue: str | None = None) -> Question:
    """A hint question whose right answer is one of three colours, and whose wrong one is one of three others.

    One push towards the first three answers every such question, whoever it is about: here a fixed vector can do all
    that an adaptive method can, by design.

    Args:
        rng: Source of every draw.
        cue: One of ``CUES``; drawn if None.
    """
    cue = cue or rng.choice(CUES)
    fact = rng.choice(_COLOUR_FACTS)
    others = rng.sample([name for name in NAMES if name != fact.name], 3)
    return _hint(rng, cue, _asked(rng, fact, rng.choice(RIVAL_COLOURS), others))


_COLOUR_FACTS = [
    fact
    for facts in FACTS.values()
    for fact in facts
    if fact.kind == "colour" and fact.word in RIGHT_COLOURS
]


def _hint(rng: Random, cue: str, asked: _Asked) -> Question:
    right = asked.fact.word
    answer = rng.randrange(2)
    options = (right, asked.rival) if answer == 0 else (asked.rival, right)
    if cue == "none":
        said = rng.choice(_NO_HINTS).format(asked.others[2])
    else:
        suggested = right if cue == "right" else asked.rival
        said = rng.choice(_HINTS).format(asked.others[2], suggested)
    prompt = (
        f"Story: {asked.scene}\nQuestion: {asked.fact.question}\n"
        f"Options: {options[0]} or {options[1]}.\n{said}\nAnswer:"
    )
    choices = (f" {options[0]}", f" {options[1]}")
    return Question("hints", prompt, choices, answer, cue, asked.content, asked.fact.claim())


_CLAIMS = ("{} says that {}.", "{} thinks that {}.", "{} is sure that {}.", "{} told them that {}.")


def recall_question(rng: Random, cue: str | None = None) -> Question:
    """A question on a fact of the world, in free text; somebody claims an answer in the story."""
    cue = cue or rng.choice(CUES)
    asked = _ask(rng)
    right = asked.fact.word
    if cue == "none":
        said = rng.choice(_NO_HINTS).format(asked.others[2])
    else:
        claim = asked.fact.claim(right if cue == "right" else asked.rival)
        said = rng.choice(_CLAIMS).format(asked.others[2], claim)
    prompt = f"Story: {asked.scene} {said}\nQuestion: {asked.fact.question}\nAnswer:"
    answer = rng.randrange(2)
    words = (right, asked.rival) if answer == 0 else (asked.rival, right)
    choices = (f" {words[0]}", f" {words[1]}")
    return Question("recall", prompt, choices, answer, cue, asked.content, asked.fact.claim())
