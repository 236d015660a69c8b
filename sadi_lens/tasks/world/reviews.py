"""Reviews whose details say good or bad while one loud phrase may say the opposite."""

from random import Random

from sadi_lens.tasks.world.words import CUES, Question

_VISITS: dict[str, tuple[str, ...]] = {
    "We ate at the new cafe.": ("soup", "bread", "waiter", "table", "coffee"),
    "We slept at the old hotel.": ("bed", "room", "kitchen", "garden", "waiter"),
    "We took the night train.": ("bed", "window", "driver", "coffee", "table"),
    "We went to the small theatre.": ("singer", "story", "chair", "music", "ending"),
    "We saw the new film.": ("singer", "story", "music", "ending", "picture"),
    "We visited the town museum.": ("guide", "room", "picture", "garden", "coffee"),
    "We went to the summer party.": ("music", "cake", "singer", "garden", "soup"),
    "We had a lesson in the park.": ("guide", "story", "grass", "bread", "ending"),
}
_GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "food": (("warm", "fresh", "tasty", "sweet"), ("cold", "stale", "burnt", "sour")),
    "person": (("kind", "friendly", "funny", "quick"), ("rude", "angry", "lazy", "slow")),
    "thing": (("clean", "soft", "bright", "pretty"), ("dirty", "hard", "dark", "broken")),
    "art": (("exciting", "clever", "funny", "pretty"), ("boring", "silly", "slow", "sad")),
}
_GROUP_OF = {
    **dict.fromkeys(("soup", "bread", "coffee", "cake"), "food"),
    **dict.fromkeys(("waiter", "driver", "singer", "guide"), "person"),
    **dict.fromkeys(("table", "bed", "room", "kitchen", "garden"), "thing"),
    **dict.fromkeys(("window", "chair", "grass", "picture"), "thing"),
    **dict.fromkeys(("story", "music", "ending"), "art"),
}
LABELS = (" good", " bad")
_LOUD = (
    ("great", "wonderful", "perfect", "lovely"),
    ("terrible", "awful", "horrible", "dreadful"),
)
_PHRASES = (
    "What a {} day!",
    "Everyone said it was {}.",
    "The papers called it {}.",
    "My friends told me it was {}.",
)
_NEUTRAL = (
    "We stayed for an hour.",
    "It was on a Monday.",
    "Then we walked home.",
    "Many people were there.",
)


def _detail(noun: str, label: int, rng: Random) -> tuple[str, str]:
    """Sentence on ``noun`` that means ``label`` (0 good, 1 bad), and its content."""
    negated = rng.random() < 0.2
    word = rng.choice(_GROUPS[_GROUP_OF[noun]][1 - label if negated else label])
    verb = "was not" if negated else "was"
    return f"the {noun} {verb} {word}", f"{noun} {verb} {word}"


def review_question(rng: Random, cue: str | None = None) -> Question:
    """A review to be called good or bad; right is what its details mean.

    A fifth of the details are negated (``the bed was not clean``), so no single word decides. The cue
    is a loud phrase of praise or blame that other people, or irony, put there.

    Args:
        rng: Source of every draw.
        cue: One of ``CUES``; drawn if None.
    """
    cue = cue or rng.choice(CUES)
    label = rng.randrange(2)
    visit = rng.choice(tuple(_VISITS))
    (first, about_first), (second, about_second) = (
        _detail(noun, label, rng) for noun in rng.sample(_VISITS[visit], 2)
    )
    if cue == "none":
        said = rng.choice(_NEUTRAL)
    else:
        loud = _LOUD[label if cue == "right" else 1 - label]
        said = rng.choice(_PHRASES).format(rng.choice(loud))
    details = f"{first[0].upper()}{first[1:]} and {second}."
    body = [details, said] if rng.random() < 0.5 else [said, details]
    prompt = f"Review: {visit} {' '.join(body)}\nVerdict:"
    content = f"{visit} {' '.join(sorted((about_first, about_second)))}"
    return Question("sentiment", prompt, (LABELS[0], LABELS[1]), label, cue, content, content)
