"""The task ``suggest``: its facts, its split by fact, what is asked under which cue."""

import re
from collections import Counter

import pytest


def test_every_fact_has_one_question_and_a_wrong_answer_that_begins_otherwise():
    from sadi_lens.tasks.suggest_facts import FACTS, QUESTIONS, STATEMENTS

    facts = [fact for family in FACTS.values() for fact in family]
    assert len(facts) >= 400
    assert len(FACTS) >= 6
    assert set(FACTS) == set(QUESTIONS) == set(STATEMENTS)
    assert len({fact.key for fact in facts}) == len(facts)
    assert len({fact.question for fact in facts}) == len(facts)
    for fact in facts:
        assert re.fullmatch(r"[\w ]+", fact.answer), fact
        assert fact.subject.strip() == fact.subject != fact.answer


def test_a_fact_stands_in_one_split_only_and_in_test_often_enough():
    import sadi_lens as sl

    items = sl.tasks.suggest_items()
    facts = {split: {item.fact for item in found} for split, found in items.items()}
    assert not facts["pairs"] & facts["dev"]
    assert not (facts["pairs"] | facts["dev"]) & facts["test"]
    assert len(items["test"]) >= 400
    assert set(Counter(item.fact for item in items["test"]).values()) == {2}


def test_the_items_stand_beside_the_task_and_half_of_them_mislead():
    import sadi_lens as sl

    items, task = sl.tasks.suggest_items(), sl.load_task("suggest")
    for split in ("dev", "test"):
        for item, sample in zip(items[split], getattr(task, split), strict=True):
            assert sample.prompt == item.prompt
            assert sample.choices[sample.answer] == item.right
            assert set(sample.choices) == {item.right, item.wrong}
        cues = Counter(item.cue for item in items[split])
        assert cues["wrong"] == len(items[split]) / 2
        assert abs(cues["none"] - cues["right"]) <= len({item.family for item in items[split]})
    assert {(item.prompt, item.right, item.wrong) for item in items["pairs"]} == {
        (pair.prompt, pair.positive, pair.negative) for pair in task.pairs
    }
    assert {item.cue for item in items["pairs"]} == {"wrong"}
    share = sum(sample.answer for sample in task.test) / len(task.test)
    assert 0.4 < share < 0.6


def test_what_is_suggested_is_what_the_cue_says():
    import sadi_lens as sl

    for found in sl.tasks.suggest_items().values():
        for item in found:
            lines = item.prompt.split("\n")
            assert len(lines) == (2 if item.cue == "none" else 3)
            if item.cue != "none":
                assert lines[1].endswith(f"{getattr(item, item.cue)}.")
            assert item.right[1].lower() != item.wrong[1].lower()


def test_options_choose_families_wording_and_ending_and_leave_the_split_alone():
    import sadi_lens as sl

    options = {"families": ["capital", "past"], "wordings": ["friend"], "ending": "correct"}
    items, whole = sl.tasks.suggest_items(**options), sl.tasks.suggest_items()
    for split, found in items.items():
        assert {item.family for item in found} == {"capital", "past"}
        assert all(item.prompt.endswith("\nCorrect answer:") for item in found)
        assert {item.fact for item in found} == {
            item.fact for item in whole[split] if item.family in options["families"]
        }
    assert sl.load_task("suggest", **options).test[0].prompt == items["test"][0].prompt
    other = sl.tasks.suggest_items(seed=1)
    assert {i.fact for i in other["test"]} != {i.fact for i in whole["test"]}


def test_facts_that_the_model_does_not_know_leave_pairs_and_dev_but_not_test():
    import sadi_lens as sl

    facts, samples = sl.tasks.suggest_unaided(["capital", "day"])
    whole = sl.load_task("suggest", families=["capital", "day"])
    assert len(facts) == len(samples) == len(whole.pairs) + len(whole.dev) / 2
    assert not any("Student" in sample.prompt for sample in samples)
    some = sl.load_task("suggest", families=["capital", "day"], known=facts[::2])
    assert len(some.pairs) + len(some.dev) / 2 == len(facts[::2])
    assert some.test == whole.test


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"families": ["capitals"]}, "families must be one of .*capitals"),
        ({"families": "capital"}, "families must be a list of texts, got 'capital'; write"),
        ({"wordings": []}, "wordings must hold at least one of"),
        ({"ending": "Answer:"}, "ending must be one of"),
    ],
)
def test_unknown_options_are_refused(options, words):
    import sadi_lens as sl

    with pytest.raises((TypeError, ValueError), match=words):
        sl.load_task("suggest", **options)


def test_other_tasks_have_no_options():
    import sadi_lens as sl

    for source in ("hints", [{"prompt": "a", "positive": " b", "negative": " c"}]):
        with pytest.raises(ValueError, match="only the task 'suggest' has options"):
            sl.load_task(source, ending="answer")
