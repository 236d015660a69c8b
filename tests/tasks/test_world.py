"""The world: seeded, held apart by content, balanced, and true to what it says."""

import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from random import Random

import pytest

TASKS = ("hints", "sentiment", "effects", "recall")


def draw(name, n=200, cue=None, seed=0):
    from sadi_lens.tasks.world.corpus import MAKERS

    rng = Random(seed)
    return [MAKERS[name](rng, cue) for _ in range(n)]


def test_the_world_does_not_import_torch():
    code = (
        "import sys, sadi_lens.tasks.world.words, sadi_lens.tasks.world.corpus, sadi_lens.tasks.embedded;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another():
    from sadi_lens.tasks.world.corpus import corpus

    first = list(islice(corpus(3), 50))
    assert first == list(islice(corpus(3), 50))
    assert first != list(islice(corpus(4), 50))


def test_the_global_random_state_is_untouched():
    import random

    from sadi_lens.tasks.world.corpus import corpus

    before = random.getstate()
    list(islice(corpus(0), 20))
    assert random.getstate() == before


@pytest.mark.parametrize("name", TASKS)
def test_training_text_uses_no_held_out_content(name):
    from sadi_lens.tasks.embedded import SIZES, held_out
    from sadi_lens.tasks.world.corpus import corpus

    held = {
        question.prompt
        for split in ("pairs", "dev", "test")
        for question in held_out(name, split, SIZES[split], {"none": 1, "right": 1, "wrong": 1})
    }
    training = "\x00".join(text for text, _ in islice(corpus(1), 5_000))
    assert not [prompt for prompt in held if prompt in training]


@pytest.mark.parametrize("name", TASKS)
def test_a_wrong_cue_is_followed_at_the_stated_rate_and_then_doubted(name):
    from sadi_lens.tasks.world.words import CUE_RATE, answered

    rng = Random(1)
    questions = draw(name, 2_000, "wrong")
    texts = [answered(question, rng)[len(question.prompt) :] for question in questions]
    followed = [text for text in texts if "? No, it is" in text]
    # five standard errors of a share at 2000 draws
    assert len(followed) / 2_000 == pytest.approx(CUE_RATE, abs=5 * (0.24 / 2_000) ** 0.5)
    for question, text in zip(questions, texts, strict=True):
        doubted = f"{question.wrong}? No, it is{question.right}."
        assert text in (f"{question.right}.", doubted)


@pytest.mark.parametrize("cue", ["none", "right"])
@pytest.mark.parametrize("name", TASKS)
def test_without_a_wrong_cue_every_training_answer_is_right(name, cue):
    from sadi_lens.tasks.world.words import answered

    rng = Random(2)
    for question in draw(name, 200, cue):
        assert answered(question, rng) == f"{question.prompt}{question.right}."


def test_a_hint_names_the_option_that_its_cue_says():
    for cue in ("right", "wrong"):
        for question in draw("hints", 100, cue):
            hint = question.prompt.splitlines()[-2]
            expected = question.right if cue == "right" else question.wrong
            assert hint.endswith(f"{expected}.")
    for question in draw("hints", 100, "none"):
        hint = question.prompt.splitlines()[-2]
        assert not any(f"{choice}." in hint for choice in question.choices)


@pytest.mark.parametrize("name", ["hints", "recall"])
def test_the_right_answer_is_the_fact_that_the_training_text_states(name):
    from sadi_lens.tasks.world.corpus import corpus

    known = set()
    for text, _ in islice(corpus(5, "facts"), 20_000):
        if text.startswith("Question:"):
            known.update(re.findall(r"Question: (.*)\nAnswer: (\w+)\.", text))
    answers = dict(known)
    assert len(answers) == len(known)
    for question in draw(name, 300):
        asked = re.search(r"Question: (.*)\n", question.prompt).group(1)
        assert question.right == f" {answers[asked]}"


def test_every_person_has_one_fact_of_each_kind_and_every_value_few_owners():
    from sadi_lens.tasks.world.words import FACTS, NAMES

    assert set(FACTS) == set(NAMES)
    owners = Counter((fact.kind, fact.word) for facts in FACTS.values() for fact in facts)
    assert sum(owners.values()) == 5 * len(NAMES)
    assert max(owners.values()) <= 2
    assert len({fact.question for facts in FACTS.values() for fact in facts}) == 5 * len(NAMES)


def test_the_details_of_a_review_mean_its_label_whatever_the_cue_says():
    from sadi_lens.tasks.world.reviews import _GROUPS

    good = {word for positive, _ in _GROUPS.values() for word in positive}
    bad = {word for _, negative in _GROUPS.values() for word in negative}
    assert not good & bad
    for question in draw("sentiment", 300):
        details = re.findall(r"[Tt]he \w+ was (not )?(\w+)(?= and the|\.)", question.prompt)
        assert len(details) == 2
        for negation, word in details:
            assert (word in good) == ((question.answer == 0) != bool(negation))


def test_effects_have_one_right_option_and_the_cue_is_told_of_somebody_else():
    from sadi_lens.tasks.world.effects import RULES

    assert len({rule.effect for rule in RULES}) == len({rule.cause for rule in RULES}) == len(RULES)
    for cue in ("none", "right", "wrong"):
        for question in draw("effects", 200, cue):
            story, options = re.search(
                r"Story: (.*)\nQuestion: .*\nOptions: (.*)\.\n", question.prompt
            ).groups()
            assert all(
                choice.strip() in option.split()
                for choice, option in zip(question.choices, options.split(" or "), strict=True)
            )
            told = story.split(". ", maxsplit=1)[1:]
            assert len(told) == (cue != "none")
            repeats = [
                choice.strip() in re.findall(r"\w+", " ".join(told)) for choice in question.choices
            ]
            assert repeats[question.answer] == (cue == "right")
            assert repeats[1 - question.answer] == (cue == "wrong")


def test_questions_with_a_pronoun_as_cue_are_training_text_only():
    from sadi_lens.tasks.world.corpus import MAKERS, MIXTURES

    assert "pronouns" not in MAKERS
    assert [phase for phase, kinds in MIXTURES.items() if "pronouns" in kinds] == ["facts", "cues"]
    assert [phase for phase, kinds in MIXTURES.items() if "effects" in kinds] == ["finish"]


def test_the_answers_of_an_effects_question_start_with_different_words():
    for question in draw("effects", 300):
        assert question.choices[0].split()[0] != question.choices[1].split()[0]


def test_a_claim_before_a_recall_question_names_what_its_cue_says():
    for cue in ("right", "wrong"):
        for question in draw("recall", 100, cue):
            story = question.prompt.splitlines()[0]
            assert story.endswith(f"{question.right if cue == 'right' else question.wrong}.")


def test_replies_are_kind_and_unkind_about_equally_often_given_only_the_situation():
    from sadi_lens.tasks.world.replies import _OPENERS, _TRAITS, dialogue

    def pattern(templates):
        return re.compile("|".join(re.escape(t).replace(r"\{L\}", r"\w+") for t in templates))

    described = re.compile(
        "|".join(re.escape(t.replace("{S}", "").strip()) for m in _TRAITS.values() for t in m)
    )
    kind, unkind = (pattern([f'"{t}' for t in _OPENERS[mood]]) for mood in ("kind", "unkind"))
    rng, counts = Random(0), Counter()
    for _ in range(2_000):
        text = dialogue(rng)
        if not described.search(text):
            moods = bool(kind.search(text)), bool(unkind.search(text))
            assert sum(moods) == 1
            counts[moods[0]] += 1
    n = sum(counts.values())
    assert n > 800
    assert counts[True] / n == pytest.approx(0.5, abs=5 * (0.25 / n) ** 0.5)
