"""Items that share a fact, an event or a text say so, stay in one split, and widen what is printed."""

import numpy as np
import pytest


@pytest.mark.parametrize("name", ["hints", "recall"])
def test_questions_on_one_fact_share_a_cluster(name):
    import sadi_lens as sl
    from sadi_lens.tasks.world.words import FACTS

    test = sl.load_task(name).test
    facts = {fact.claim(): fact for facts in FACTS.values() for fact in facts}
    for sample in test:
        fact = facts[sample.cluster]
        assert fact.question in sample.prompt
        assert fact.word in (sample.target or sample.choices[sample.answer])
    assert len({sample.cluster for sample in test}) < len(test) / 2
    assert {sample.group for sample in test} == {"none", "right", "wrong"}


def test_reviews_are_all_different_and_suggestions_share_their_fact():
    import sadi_lens as sl
    from sadi_lens.types.data import cluster_codes

    reviews = sl.load_task("sentiment").test
    assert cluster_codes([sample.cluster for sample in reviews]) is None
    asked = sl.load_task("suggest").test
    assert len({sample.cluster for sample in asked}) == len(asked) / 2


def test_columns_cluster_and_group_are_read(tmp_path):
    import sadi_lens as sl

    path = tmp_path / "rows.csv"
    path.write_text("prompt,target,cluster,group\nOne, is,7,easy\nTwo, was,7,hard\nSix, be,,\n")
    test = sl.load_task(path).test
    assert [(one.cluster, one.group) for one in test] == [
        ("7", "easy"),
        ("7", "hard"),
        (None, None),
    ]


def test_pairs_know_what_their_items_share(tmp_path):
    """The fact of an item is that of its pairs, whatever the negatives; a file keeps it."""
    import sadi_lens as sl
    from sadi_lens.tasks.prompts import map_prompts

    for name in ("hints", "suggest"):
        task = sl.load_task(name)
        clusters = [one.cluster for one in task.pair_items]
        assert [one.cluster for one in task.pairs] == clusters
        assert None not in clusters
    items = sl.load_task("hints").pair_items[:3]
    names = [one.cluster for one in items]
    scores = np.zeros((3, 2))
    for negatives in ("random", "blank", "other", "hard"):
        made = sl.tasks.make_pairs(items, negatives, choice_scores=scores)
        assert [one.cluster for one in made] == names
    three = sl.Sample("Two and two is", (" four", " five", " six"), 0, cluster="sums")
    assert [one.cluster for one in sl.tasks.make_pairs([three], "all")] == ["sums"] * 2
    chat = map_prompts(sl.load_task("hints"), lambda prompt: "Well , " + prompt)
    assert [one.cluster for one in chat.pairs[:3]] == names

    own = (
        sl.ContrastivePair("One", " is", " are", cluster="7"),
        sl.ContrastivePair("A", " b", " b", "C", "8"),
        sl.ContrastivePair("Six", " are", " is"),
    )
    path = tmp_path / "rows.jsonl"
    sl.tasks.write_task(sl.Task("own", own), path)
    assert sl.load_task(path).pairs == own


def test_the_fact_of_a_pair_decides_what_was_made_from_it():
    """Kept steps and cells of a run are not those of the same texts in other clusters."""
    import dataclasses

    import sadi_lens as sl
    from sadi_lens.apps.experiments.prepare import task_hash

    task = sl.load_task("hints")
    first = dataclasses.replace(task.pairs[0], cluster="another")
    assert task_hash(task) != task_hash(dataclasses.replace(task, pairs=(first, *task.pairs[1:])))


def test_a_cut_never_parts_a_premise():
    from sadi_lens.tasks.benchmarks import _by_hash, _cut
    from sadi_lens.types.data import Sample

    items = [
        Sample(f"{n} {m}", (" a", " b"), 0, cluster=f"premise {n}")
        for n in range(31)
        for m in range(3)
    ]
    parts = _cut(_by_hash(items, 0), ["pairs", "dev", "test"])
    held = [{one.cluster for one in part} for part in parts.values()]
    assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]
    assert sum(map(len, parts.values())) == len(items)
    assert [len(part) for part in parts.values()] == [39, 18, 36]  # of 93: 37.2, 18.6, 37.2


def test_an_evaluation_knows_its_clusters_also_after_an_interruption(llama):
    import dataclasses

    import sadi_lens as sl
    from sadi_lens.measure.calls import joined
    from sadi_lens.types.stats import proportion_interval

    prompts = [f"{'the big ' * n}ball is" for n in range(8)]
    samples = [
        sl.Sample(prompt, (" red", " blue"), n % 2, cluster=str(n // 4), group="x")
        for n, prompt in enumerate(prompts)
    ]
    whole = sl.evaluate(llama, samples, progress=False)
    assert whole.clusters.tolist() == [0] * 4 + [1] * 4
    assert whole.groups == ("x",) * 8
    assert whole.interval == proportion_interval(whole.correct, clusters=whole.clusters)
    alone = [dataclasses.replace(one, cluster=None) for one in samples]
    assert sl.evaluate(llama, alone, progress=False).interval != whole.interval
    done = np.array([True, False] * 4)
    halves = [
        sl.evaluate(llama, [s for s, use in zip(samples, kept, strict=True) if use], progress=False)
        for kept in (done, ~done)
    ]
    again = joined(done, *halves, samples)
    assert again.clusters.tolist() == whole.clusters.tolist()
    assert (again.groups, again.interval, again.items) == (
        whole.groups,
        whole.interval,
        whole.items,
    )


def test_rows_that_stand_several_times_do_not_narrow_an_interval():
    from dataclasses import replace

    import sadi_lens as sl

    tiny = sl.load_model("tiny")
    few = [replace(one, cluster=None) for one in sl.load_task("hints").test[:3]]
    rows = [
        {"prompt": one.prompt, "choices": list(one.choices), "answer": one.answer}
        for one in few * 50
    ]
    with pytest.warns(UserWarning, match="Every interval counts them as one draw"):
        loaded = sl.load_task(rows)
    again = sl.evaluate(tiny, loaded.test, progress=False)
    named = [replace(one, cluster=str(row % 3)) for row, one in enumerate(few * 50)]
    assert again.n == 150
    assert again.interval == sl.evaluate(tiny, named, progress=False).interval
    low, high = sl.evaluate(tiny, few, progress=False).interval
    assert again.interval.low <= low
    assert high <= again.interval.high
