"""Causes and their effects: two-option questions in which an option may repeat a word of the premise."""

from dataclasses import dataclass
from random import Random

from sadi_lens.tasks.world.words import BOYS, CUES, NAMES, Question


@dataclass(frozen=True)
class Rule:
    """Something a person did and what came of it, to a thing or to the person."""

    cause: str
    """What the person did; ``{}`` is the thing (rules about things only)."""
    effect: str
    words: tuple[str, str]
    """One word of the cause and one of the effect: the answers of a question."""
    things: tuple[str, ...] = ()
    """Things this can happen to; empty for a rule about the person."""


_SMALL = ("cup", "plate", "lamp", "vase", "jar", "clock")
_SOFT = ("coat", "scarf", "hat", "shirt", "blanket", "doll")
_FOOD = ("bread", "cake", "soup", "rice", "fish", "cheese")
_TOYS = ("ball", "kite", "boat", "bike", "drum", "balloon")
THING_RULES = (
    Rule("dropped the {} on the floor", "broke", ("dropped", "broke"), _SMALL),
    Rule("glued the {} together", "was whole again", ("glued", "whole"), _SMALL),
    Rule("wiped the {} with a cloth", "began to shine", ("wiped", "shine"), _SMALL),
    Rule("washed the {} with soap", "became clean", ("washed", "clean"), _SOFT),
    Rule("hung the {} in the sun", "became dry", ("hung", "dry"), _SOFT),
    Rule("left the {} in the rain", "became wet", ("left", "wet"), _SOFT),
    Rule("pulled the {} over a nail", "got a hole", ("pulled", "hole"), _SOFT),
    Rule("put the {} over the fire", "became hot", ("fire", "hot"), _FOOD),
    Rule("forgot the {} in the oven", "burned", ("forgot", "burned"), _FOOD),
    Rule("put salt in the {}", "tasted salty", ("salt", "salty"), _FOOD),
    Rule("put honey on the {}", "tasted sweet", ("honey", "sweet"), _FOOD),
    Rule("kept the {} for a month", "smelled bad", ("kept", "smelled"), _FOOD),
    Rule("kicked the {} down the hill", "rolled away", ("kicked", "rolled"), _TOYS),
    Rule("let go of the {} in the wind", "flew away", ("wind", "flew"), _TOYS),
    Rule("threw the {} into the lake", "sank", ("threw", "sank"), _TOYS),
    Rule("hit the {} with a stick", "made a noise", ("hit", "noise"), _TOYS),
    Rule("painted the {} with a brush", "had a new colour", ("painted", "colour"), _TOYS),
    Rule("hid the {} under the stairs", "was hard to find", ("hid", "hard"), _TOYS),
)
PERSON_RULES = (
    Rule("forgot the umbrella", "got wet", ("umbrella", "wet")),
    Rule("ran for an hour", "was tired", ("ran", "tired")),
    Rule("ate nothing all day", "was hungry", ("nothing", "hungry")),
    Rule("walked in the desert", "was thirsty", ("desert", "thirsty")),
    Rule("won the race", "was proud", ("race", "proud")),
    Rule("lost a good friend", "cried", ("lost", "cried")),
    Rule("heard a funny joke", "laughed", ("heard", "laughed")),
    Rule("slept too long", "came late", ("slept", "late")),
    Rule("sat in the snow", "was cold", ("snow", "cold")),
    Rule("ate too many sweets", "felt sick", ("sweets", "sick")),
    Rule("touched the hot stove", "was burned", ("stove", "burned")),
    Rule("read the book every night", "knew the story", ("read", "knew")),
    Rule("worked for a farmer", "earned money", ("farmer", "money")),
    Rule("saw a big spider", "screamed", ("spider", "screamed")),
    Rule("danced without shoes", "hurt a toe", ("danced", "toe")),
    Rule("told a lie", "was punished", ("lie", "punished")),
    Rule("went to the doctor", "felt better", ("doctor", "better")),
    Rule("planted flowers", "had a garden", ("flowers", "garden")),
)
RULES = THING_RULES + PERSON_RULES


@dataclass(frozen=True)
class Event:
    """A rule with its person and thing."""

    rule: Rule
    name: str
    thing: str

    @property
    def pronoun(self) -> str:
        """Pronoun of the person, as the first word of a sentence."""
        return "He" if self.name in BOYS else "She"

    def cause(self, *, repeat: bool = True, rule: Rule | None = None) -> str:
        """Sentence of the cause; without ``repeat`` the thing or the person is a pronoun."""
        rule = rule or self.rule
        if rule.things:
            cause = rule.cause if repeat else rule.cause.replace("the {}", "it")
            return f"{self.name} {cause.format(self.thing)}."
        return f"{self.name if repeat else self.pronoun} {rule.cause}."

    def effect(self, *, repeat: bool = True, rule: Rule | None = None) -> str:
        """Sentence of the effect; without ``repeat`` its subject is a pronoun."""
        rule = rule or self.rule
        if rule.things:
            return f"{f'The {self.thing}' if repeat else 'It'} {rule.effect}."
        return f"{self.name if repeat else self.pronoun} {rule.effect}."


def event(rng: Random) -> Event:
    """An event by any rule."""
    rule = rng.choice(RULES)
    return Event(rule, rng.choice(NAMES), rng.choice(rule.things) if rule.things else "")


def _clause(sentence: str) -> str:
    """The sentence without its full stop, in lower case unless it starts with a name."""
    keep = sentence.split()[0] in NAMES
    return (sentence if keep else sentence[0].lower() + sentence[1:])[:-1]


def effect_question(rng: Random, cue: str | None = None, *, told: int = 1) -> Question:
    """What happened next, or why? Two options, one of which follows from the premise.

    The cue is overlap of words: the story ends with the same thing happening to somebody else, which one
    of the options repeats. Without a cue nothing of the sort is told.

    Args:
        rng: Source of every draw.
        cue: One of ``CUES``; drawn if None.
        told: To how many others it happens; training text has 1.
    """
    cue = cue or rng.choice(CUES)
    happened = event(rng)
    same_kind = [rule for rule in RULES if rule.things == happened.rule.things]
    other = rng.choice([rule for rule in same_kind if rule is not happened.rule])
    forward = rng.random() < 0.5
    if forward:
        premise, question, option = happened.cause(), "What happened next?", happened.effect
    else:
        premise, question, option = happened.effect(), "What was the cause?", happened.cause
    repeat = rng.random() < 0.5
    right, wrong = option(repeat=repeat), option(repeat=repeat, rule=other)
    if cue != "none":
        rule = happened.rule if cue == "right" else other
        premise += "".join(
            f" {_elsewhere(rule, happened, rng, forward=forward)}" for _ in range(told)
        )
    ends = (f"Story: {premise}\nQuestion: {question}", (right, wrong))
    return _two_options(rng, happened, other, ends, forward=forward, cue=cue)


def _two_options(
    rng: Random,
    happened: Event,
    other: Rule,
    ends: tuple[str, tuple[str, str]],
    *,
    forward: bool,
    cue: str,
) -> Question:
    """The question whose text and (right, wrong) options are ``ends``, options in random order."""
    text, (right, wrong) = ends
    word = happened.rule.words[forward], other.words[forward]
    answer = rng.randrange(2)
    options = [_clause(option) for option in ((right, wrong) if answer == 0 else (wrong, right))]
    choices = (f" {word[answer]}", f" {word[1 - answer]}")
    prompt = f"{text}\nOptions: {options[0]} or {options[1]}.\nAnswer:"
    content = f"{happened.rule.effect}/{other.effect}/{happened.thing}/{happened.name}/{forward}"
    return Question("effects", prompt, choices, answer, cue, content, happened.rule.effect)


def _elsewhere(rule: Rule, happened: Event, rng: Random, *, forward: bool) -> str:
    """The cause or effect of a rule, told of somebody who has nothing to do with the story."""
    name = rng.choice([one for one in NAMES if one != happened.name])
    if not rule.things:
        return f"{name} {rule.effect if forward else rule.cause}."
    thing = rng.choice([one for one in rule.things if one != happened.thing])
    if forward:
        return f"The {thing} of {name} {rule.effect}."
    return f"{name} {rule.cause.format(thing)}."


def pronoun_question(rng: Random, cue: str | None = None) -> Question:
    """The questions of ``effect_question`` with another cue, for training text only.

    One option repeats the thing or the name of the premise, the other has a pronoun.

    Args:
        rng: Source of every draw.
        cue: One of ``CUES``; drawn if None.
    """
    cue = cue or rng.choice(CUES)
    happened = event(rng)
    same_kind = [rule for rule in RULES if rule.things == happened.rule.things]
    other = rng.choice([rule for rule in same_kind if rule is not happened.rule])
    both = rng.random() < 0.5
    repeat_right = both if cue == "none" else cue == "right"
    repeat_wrong = both if cue == "none" else cue == "wrong"
    forward = rng.random() < 0.5
    if forward:
        premise, question, option = happened.cause(), "What happened next?", happened.effect
    else:
        premise, question, option = happened.effect(), "What was the cause?", happened.cause
    right, wrong = option(repeat=repeat_right), option(repeat=repeat_wrong, rule=other)
    ends = (f"Story: {premise}\nQuestion: {question}", (right, wrong))
    return _two_options(rng, happened, other, ends, forward=forward, cue=cue)


def chain(rng: Random) -> str:
    """Two or three causes, each followed by its effect, as running text."""
    parts: list[str] = []
    for _ in range(rng.randint(2, 3)):
        happened = event(rng)
        joiner = rng.choice(("", "", "Then ", "In the end "))
        effect = happened.effect(repeat=rng.random() < 0.5)
        keep = effect.split()[0] in NAMES
        if joiner and not keep:
            effect = effect[0].lower() + effect[1:]
        parts.append(f"{happened.cause()} {joiner}{effect}")
    return "Story: " + " ".join(parts)
