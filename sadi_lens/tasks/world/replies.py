"""Little dialogues: something sad happens to somebody, and a friend is kind about it or is not."""

from random import Random

from sadi_lens.tasks.world.words import BOYS, COLOURS, NAMES, OBJECTS, PLACES

MOODS = ("kind", "unkind")

_TROUBLES = (
    "{L} lost {his} {obj} in the {place}.",
    "{L} broke {his} {colour} {obj}.",
    "{L} fell down in the {place}.",
    "{L} came late to the {place}.",
    "{L} left {his} {obj} in the rain.",
    "{L} did not win the race.",
    "{L} was alone in the {place}.",
    "{L} felt sick all day.",
    "{L} forgot {his} {obj} at the {place}.",
    "{L} hurt a toe in the {place}.",
)
_THEN = (
    "{S} saw it.",
    "{S} heard about it.",
    "{S} came by.",
    "{L} told {S} about it.",
    "Then {S} came to the {place2}.",
    "{He} looked for {S}.",
)
_TRAITS = {
    "kind": (
        "{S} is kind.",
        "{S} is a good friend.",
        "{S} likes to help.",
        "{S} is always friendly.",
    ),
    "unkind": (
        "{S} is unkind.",
        "{S} is a bad friend.",
        "{S} never helps.",
        "{S} is always rude.",
    ),
}
_OPENERS = {
    "kind": (
        "Oh no, poor {L}!",
        "Do not worry, {L}.",
        "I am so sorry, {L}.",
        "You are very brave.",
        "That can happen to all of us.",
        "Come here, my dear friend.",
        "Well, it is not so bad.",
        "Please do not be sad.",
        "Thank you for telling me.",
    ),
    "unkind": (
        "Oh, stop crying, {L}!",
        "Do not come to me, {L}.",
        "I am not sorry at all.",
        "You are so silly, {L}.",
        "That is your own fault.",
        "Go away, {L}.",
        "Well, who cares?",
        "Ha, how stupid of you!",
        "Be quiet and leave me alone.",
    ),
}
_MIDDLES = {
    "kind": (
        "I will help you with the {obj}.",
        "You can have my {obj}.",
        "We can fix it together.",
        "Let me make you some warm {food}.",
        "You can sit with me.",
        "I will stay with you.",
        "Take my {colour} {obj2} and keep it.",
        "We will go to the {place2} and find help.",
    ),
    "unkind": (
        "I will not help you.",
        "You can look after your {obj} alone.",
        "We do not want you here.",
        "Let me eat my {food} in peace.",
        "You always make trouble.",
        "I have no time for you.",
        "Take your ugly {obj2} and go home.",
        "We will laugh about you at the {place2}.",
    ),
}
_CLOSERS = {
    "kind": (
        "You are not alone.",
        "I like you very much.",
        "Soon you will feel better.",
        "It was not your fault.",
        "We are friends.",
        "Tomorrow will be a better day.",
    ),
    "unkind": (
        "You are no friend of mine.",
        "I do not like you.",
        "Soon you will do it again.",
        "It was only your fault.",
        "We are not friends.",
        "Tomorrow you will cry again.",
    ),
}
_AFTER = {
    "kind": (
        "{L} smiled and thanked {S}.",
        "{L} was happy again.",
        "They went home together.",
        "{He} felt much better.",
    ),
    "unkind": (
        "{L} cried and ran away.",
        "{L} was very sad.",
        "{L} went home alone.",
        "{He} felt even worse.",
    ),
}
_FOODS = ("soup", "milk", "cake", "bread", "rice")


def _slots(rng: Random) -> dict[str, str]:
    listener, speaker = rng.sample(NAMES, 2)
    is_boy = listener in BOYS
    things, places = rng.sample(OBJECTS, 2), rng.sample(PLACES, 2)
    return {
        "L": listener,
        "S": speaker,
        "his": "his" if is_boy else "her",
        "He": "He" if is_boy else "She",
        "obj": things[0],
        "obj2": things[1],
        "place": places[0],
        "place2": places[1],
        "colour": rng.choice(COLOURS),
        "food": rng.choice(_FOODS),
    }


def _reply(mood: str, slots: dict[str, str], rng: Random) -> str:
    parts = [rng.choice(_OPENERS[mood])]
    parts += rng.sample(_MIDDLES[mood], rng.randint(1, 2))
    if rng.random() < 0.6:
        parts.append(rng.choice(_CLOSERS[mood]))
    return " ".join(parts).format(**slots) + '"'


def scene(rng: Random, trait: str | None = None) -> tuple[str, dict[str, str], str, str]:
    """A sad situation up to the opening quote of a reply, with a kind and an unkind reply.

    Args:
        rng: Source of every draw.
        trait: ``"kind"`` or ``"unkind"`` adds a sentence on what the speaker is like.

    Returns:
        The prompt (ends in ``said: "``), the names and things in it, a kind and an unkind reply
        (each ends in a closing quote).
    """
    slots = _slots(rng)
    parts = [rng.choice(_TRAITS[trait])] if trait else []
    parts += [rng.choice(_TROUBLES), rng.choice(_THEN), '{S} said: "']
    prompt = "Story: " + " ".join(parts).format(**slots)
    return prompt, slots, _reply("kind", slots, rng), _reply("unkind", slots, rng)


def dialogue(rng: Random) -> str:
    """A scene with a reply and what came of it; without a trait both moods are equally likely."""
    mood = rng.choice(MOODS)
    prompt, slots, kind, unkind = scene(rng, mood if rng.random() < 0.5 else None)
    reply = kind if mood == "kind" else unkind
    return f"{prompt}{reply} {rng.choice(_AFTER[mood]).format(**slots)}"
