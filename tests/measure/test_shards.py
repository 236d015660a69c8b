"""Calls shared by several processes give what one process gives."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
from forked import forked

N = 3


def work(model, task, out, rank, half_way=None, hangs=False):
    """What each of two processes does: its part of the differences, then of a sweep."""
    import sadi_lens as sl

    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    heads = sl.load(out / "heads")

    def part(name, *call, **options):
        place = out / f"{name}-{rank}"
        if not place.exists():
            sl.save(sl.measure.run_shard(*call, **options, progress=False), place)

    part("differences", sl.activation_differences, model, task.pairs[:30], components=["head"])
    if hangs:
        half_way.set()
        time.sleep(600)
    part("sweep", sl.sweep, model, task.dev[:21], heads, [1, 3], [2.0, 5.0])


@pytest.fixture(scope="module")
def model():
    import sadi_lens as sl

    return sl.load_model("tiny")


@pytest.fixture(scope="module")
def task():
    import sadi_lens as sl

    return sl.load_task("hints")


@pytest.fixture(scope="module")
def heads(model, task):
    import sadi_lens as sl

    return sl.activation_differences(model, task.pairs[:30], components=["head"], progress=False)[
        "head"
    ]


@pytest.fixture(scope="module")
def scaling(heads):
    import sadi_lens as sl

    return sl.MaskedScaling(sl.top_k_mask(heads, 3), 5.0)


def both(call, model, items, *args, **options):
    """(merged, serial)."""
    import sadi_lens as sl

    parts = [
        sl.measure.run_shard(call, model, items, *args, shard=(i, N), progress=False, **options)
        for i in range(N)
    ]
    return sl.measure.merge(parts[::-1], items), call(
        model, items, *args, progress=False, **options
    )


def assert_same(merged, serial, atol=1e-6):
    """Every field of two results."""
    assert type(merged) is type(serial)
    for name in serial.__dataclass_fields__:
        got, want = getattr(merged, name), getattr(serial, name)
        if isinstance(want, np.ndarray):
            assert got.dtype == want.dtype, name
            np.testing.assert_allclose(got, want, atol=atol, err_msg=name)
        elif hasattr(want, "__dataclass_fields__"):
            assert_same(got, want, atol)
        elif isinstance(want, float):
            assert got == pytest.approx(want, abs=atol, nan_ok=True), name
        else:
            assert got == want, name


def test_differences(model, task):
    import sadi_lens as sl

    merged, serial = both(sl.activation_differences, model, task.pairs[:20], task="hints")
    assert merged.keys() == serial.keys()
    for component, want in serial.items():
        assert_same(merged[component], want, 1e-6 if component == "head" else 5e-6)


def test_differences_of_one_pair_each_have_a_spread(model, task):
    import sadi_lens as sl

    merged, serial = both(sl.activation_differences, model, task.pairs[:N], components=["head"])
    assert np.isfinite(serial["head"].std).all()
    assert_same(merged["head"], serial["head"])


@pytest.mark.parametrize("scoring", ["sum", "per_token", "pmi"])
def test_evaluations(model, task, scaling, scoring):
    import sadi_lens as sl

    for intervention in (scaling, [None, scaling]):
        merged, serial = both(sl.evaluate, model, task.test[:10], intervention, scoring=scoring)
        if not isinstance(serial, list):
            merged, serial = [merged], [serial]
        for one, other in zip(merged, serial, strict=True):
            assert_same(one, other, 1e-5)
            assert one.accuracy == other.accuracy


def test_choices_of_unequal_number_splits_and_texts(model, task, scaling):
    import sadi_lens as sl

    items = [*task.test[:4], *task.dev[:3]]
    others = {one for item in task.test[:20] for one in item.choices} - {*items[1].choices}
    items[1] = replace(items[1], choices=(*items[1].choices, *sorted(others)[:2]))
    items[6] = replace(items[6], split=None)
    assert_same(*both(sl.evaluate, model, items, scaling), 1e-5)
    texts = [
        sl.Sample(one.prompt, target=one.choices[one.answer].strip(), split="test")
        for one in task.test[:7]
    ]
    merged, serial = both(sl.evaluate, model, texts, scaling, max_new_tokens=3)
    assert_same(merged, serial)
    assert len(merged.texts) == 7


def test_sweeps(model, task, heads):
    import sadi_lens as sl

    merged, serial = both(
        sl.sweep, model, task.dev[:11], heads, [1, 3], [2.0, 5.0], keep_items=True
    )
    assert_same(merged, serial)
    assert (merged.accuracy == serial.accuracy).all()
    assert merged.best() == serial.best()


def test_null_bands(model, task, scaling):
    import sadi_lens as sl

    merged, serial = both(
        sl.measure.null_band, model, task.test[:11], scaling.mask, 5.0, n=6, seed=2
    )
    assert_same(merged, serial)
    assert (merged.accuracies == serial.accuracies).all()


def test_a_whole_saved_and_loaded(model, task, scaling, tmp_path):
    import sadi_lens as sl

    part = sl.measure.run_shard(
        sl.evaluate, model, task.test[:3], scaling, shard="0/1", progress=False
    )
    assert sl.load(sl.save(part, tmp_path / "0"), model=model) == part


def test_what_cannot_be_merged_is_refused_by_name(model, task, scaling):
    import sadi_lens as sl

    def part(index, items=task.test[:8], strength=5.0, count=4):
        own = sl.MaskedScaling(scaling.mask, strength)
        return sl.measure.run_shard(
            sl.evaluate, model, items, own, shard=(index, count), progress=False
        )

    parts = [part(index) for index in range(4)]

    def merge(some):
        return sl.measure.merge(some, task.test[:8])

    with pytest.raises(ValueError, match="items must be those of the shards"):
        sl.measure.merge(parts, task.test[1:9])
    with pytest.raises(ValueError, match=r"missing: 1/4, 3/4"):
        merge([parts[0], parts[2]])
    with pytest.raises(ValueError, match=r"once: 2/4 twice"):
        merge([*parts, parts[2]])
    with pytest.raises(ValueError, match="different calls: settings is"):
        merge([*parts[:3], part(3, strength=5.5)])
    with pytest.raises(ValueError, match="different calls: settings is"):
        merge([*parts[:3], part(3, items=task.test[1:9])])
    with pytest.raises(ValueError, match="count is 4 and 8"):
        merge([*parts[:3], part(3, count=8)])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        merge([])


def test_parts_of_other_dtypes_or_versions_are_refused(model, task, scaling, monkeypatch):
    """A node without a GPU loads float32 where the others load bfloat16: one fingerprint, other numbers."""
    import torch
    import transformer_lens

    import sadi_lens as sl
    from sadi_lens.measure import shards

    items = task.test[:8]

    def part(index, on=model):
        return sl.measure.run_shard(
            sl.evaluate, on, items, scaling, shard=(index, 2), progress=False
        )

    first, second = part(0), part(1)
    # What pip knows it by: the module names its build as well (2.13.0+cu130).
    assert f"float32, sadi_lens {sl.__version__}, torch {version('torch')}," in first.made_with
    other = part(1, sl.load_model("tiny", dtype=torch.bfloat16))
    assert other.settings == first.settings
    with pytest.raises(ValueError, match=r"made_with is float32, .* and bfloat16, "):
        sl.measure.merge([first, other], items)
    other = sl.load_model("tiny")
    other.tokenizer.add_tokens(["zzz"])
    with pytest.raises(ValueError, match=r"made_with is .* tokenizer \w+ and .* tokenizer \w+"):
        sl.measure.merge([first, part(1, other)], items)
    monkeypatch.setattr(shards, "versions", lambda: {"torch": "9.9.9"})
    with pytest.raises(ValueError, match=r"made_with is .* and float32, torch 9\.9\.9"):
        sl.measure.merge([first, part(1)], items)
    assert sl.measure.merge([first, second], items).n == 8
    assert transformer_lens.__name__ in first.made_with


def test_items_are_told_apart_by_all_that_a_result_says_of_them(model, task):
    import sadi_lens as sl
    from sadi_lens.measure.shards import hash_of_items
    from sadi_lens.types.chat_prompt import ChatPrompt

    items = list(task.dev[:4])
    parts = [
        sl.measure.run_shard(sl.evaluate, model, items, shard=(i, 2), progress=False)
        for i in range(2)
    ]
    assert sl.measure.merge(parts, items).n == 4
    for change in ({"cluster": "one"}, {"group": "x"}, {"split": None}):
        others = [replace(one, **change) for one in items]
        with pytest.raises(ValueError, match="items must be those of the shards; got 4 others"):
            sl.measure.merge(parts, others)
    for plain in (items, list(task.pairs[:2])):  # a rendered prompt gets no BOS
        rendered = [replace(one, prompt=ChatPrompt(one.prompt)) for one in plain]
        assert hash_of_items(rendered) != hash_of_items(plain)


def test_settings_of_a_shard_tell_values_apart():
    """Interventions of one's own need not be dataclasses; what they hold decides numbers."""
    import torch

    from sadi_lens.measure.shards import _hash, _stable

    class Own:
        label = "mine"

        def __init__(self, vector):
            self.vector = vector
            self.itself = self

    values = [
        *(Own(torch.tensor([one])) for one in (1.0, 2.0)),
        *(Own(torch.tensor([one], dtype=torch.bfloat16)) for one in (3.0, 4.0)),
        *(frozenset(one) for one in ([], [1], [1, 2], ["1"])),
        *(np.array(one, dtype=object) for one in ([1], [2], ["1"])),
        *(torch.nn.Linear(1, 1) for _ in range(2)),
        *({"a": one} for one in (1, 1.5, "1", float("nan"))),
    ]
    assert len({_hash(_stable(one)) for one in values}) == len(values)
    for one, same in (
        ({3, 1, 2}, {2, 3, 1}),
        (Own(torch.ones(2)), Own(torch.ones(2))),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.array(["x"], dtype=object), np.array(["x"], dtype=object)),
    ):
        assert _hash(_stable(one)) == _hash(_stable(same))


@pytest.fixture(scope="module")
def calls(model, task, heads, scaling):
    """Name of a call -> (its three shards, all items)."""
    import sadi_lens as sl

    dev, pairs = task.dev[:9], task.pairs[:9]

    def parts(call, items, *args, **options):
        return [
            sl.measure.run_shard(call, model, items, *args, shard=(i, N), progress=False, **options)
            for i in range(N)
        ]

    return {
        "evaluate": (parts(sl.evaluate, dev, scaling), dev),
        "list": (parts(sl.evaluate, dev, [None, scaling]), dev),
        "text": (parts(sl.evaluate, dev, scaling, scoring="generation", max_new_tokens=2), dev),
        "sweep": (parts(sl.sweep, dev, heads, [1, 3], [2.0, 5.0]), dev),
        "null": (parts(sl.measure.null_band, dev, scaling.mask, 5.0, n=5), dev),
        "pairs": (parts(sl.activation_differences, pairs, components=["head"]), pairs),
    }


def tampered(parts, at=1, **changes):
    return [replace(one, **changes) if i == at else one for i, one in enumerate(parts)]


@pytest.mark.parametrize("name", ["evaluate", "list", "text", "sweep", "null", "pairs"])
def test_a_shard_that_holds_something_else_is_refused(calls, name):
    """Changed by hand and saved again, so that its seal is whole: a wrong number must not come of it."""
    import sadi_lens as sl

    parts, items = calls[name]
    sl.measure.merge(parts, items)
    for n in (1, 2, 4):
        with pytest.raises(ValueError, match=f"shard 1/3 must hold 3 of 9 items, got n = {n}"):
            sl.measure.merge(tampered(parts, n=n), items)
    for n in (0, -1, 3.0, True, "3", None):
        with pytest.raises(ValueError, match="n of Shard must be"):
            tampered(parts, n=n)
    for index in (3, -1, 1.0, True, 10**30):
        with pytest.raises(ValueError, match="index"):
            tampered(parts, index=index)
    with pytest.raises(ValueError, match="count must be at most 1000000"):
        replace(parts[0], count=10**9)
    with pytest.raises(ValueError, match="call must be one of"):
        sl.measure.merge([replace(one, call="x") for one in parts], items)
    others = [value for other in calls.values() for value in (other[0][1].value,)]
    for value in (None, 3, "x", [], {}, [None], {"head": None}, np.zeros(3), *others):
        if value is not parts[1].value:
            with pytest.raises(ValueError, match="shard"):
                sl.measure.merge(tampered(parts, value=value), items)
    for value in (None, [], {}):
        with pytest.raises(ValueError, match="shard 0/3 must hold what"):
            sl.measure.merge([replace(one, value=value) for one in parts], items)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("evaluate", {"label": "z"}, "label of shard 1/3, value is z, elsewhere"),
        ("evaluate", {"task": "z"}, "task of shard 1/3"),
        ("evaluate", {"position": "all"}, "position of shard 1/3"),
        ("evaluate", {"scoring": "pmi"}, "scoring of shard 1/3"),
        ("evaluate", {"items": "abcd"}, "is of other items than those of the shard"),
        ("evaluate", {"choice_scores": lambda x: -x}, "do not follow from choice_scores"),
        ("evaluate", {"choice_scores": lambda x: x[:, :1]}, "must have 2 choices an item, got 1"),
        ("evaluate", {"margins": lambda x: x + 1}, "do not follow from choice_scores"),
        ("evaluate", {"skipped": 2}, "skipped of shard 1/3"),
        ("text", {"texts": ()}, "a text for each of 3 items, got 0"),
        ("text", {"texts": ("a", "b", "c")}, "counts texts as right that are not"),
        ("sweep", {"ks": (1, 4)}, "ks of shard 1/3"),
        ("sweep", {"strengths": (2.0, 6.0)}, "strengths of shard 1/3"),
        ("sweep", {"ranking": "effect"}, "ranking of shard 1/3"),
        ("sweep", {"correct": None}, "lacks the items"),
        ("sweep", {"valid_rate": lambda x: x * 0 + 0.5}, "shares that are none of its 3 items"),
        ("null", {"label": "z"}, "label of shard 1/3"),
        ("null", {"strength": 1.0}, "strength of shard 1/3"),
        ("null", {"accuracies": lambda x: x * 0 + 0.5}, "shares that are none of its 3 items"),
        ("null", {"accuracies": lambda x: x[:4], "margins": lambda x: x[:4]}, "must hold 5 draws"),
        ("pairs", {"n": 4}, "must be of 3 items, got n = 4"),
        ("pairs", {"component": "neuron"}, "of ActivationDifferences"),
        ("pairs", {"mean": lambda x: x[:1]}, "std of ActivationDifferences must be"),
        ("pairs", {"std": lambda x: -x - 1}, "std must not be negative"),
        ("pairs", {"read_at": "letter"}, "read_at of shard 1/3"),
        ("pairs", {"merged_boundaries": -4}, "merged_boundaries of ActivationDifferences"),
    ],
)
def test_results_that_do_not_follow_from_their_own_items_are_refused(calls, name, change, said):
    import sadi_lens as sl

    parts, items = calls[name]
    value = parts[1].value
    old = value["head"] if name == "pairs" else value
    new = {key: one(getattr(old, key)) if callable(one) else one for key, one in change.items()}
    if name == "text":  # texts that are wrong, counted as right
        new["correct"] = np.ones(3, bool)
        new["picks"] = None
    with pytest.raises(ValueError, match=said):
        made = replace(old, **new)
        sl.measure.merge(tampered(parts, value={"head": made} if name == "pairs" else made), items)


def test_bad_shards_and_calls_are_refused(model, task):
    import sadi_lens as sl

    run, evaluate = sl.measure.run_shard, sl.evaluate
    for wrong in ("8/8", (-1, 2), "0/0"):
        with pytest.raises(ValueError, match="0 <= I < N"):
            run(evaluate, model, task.test[:9], shard=wrong)
    with pytest.raises(ValueError, match="N at most 1000000, got 0/1000001"):
        sl.measure.shard_of("0/1000001")
    for wrong in ("", "3", "a/b", "1/2/3"):
        with pytest.raises(ValueError, match="'auto', 'I/N' or two numbers"):
            run(evaluate, model, task.test[:9], shard=wrong)
    with pytest.raises(ValueError, match="2 items cannot be shared by 3"):
        run(evaluate, model, task.test[:2], shard=(0, 3))
    with pytest.raises(ValueError, match="function must be one of"):
        run(sl.compare, model, task.test[:9], shard=(0, 3))
    with pytest.raises(ValueError, match="too_long must be 'error'"):
        run(evaluate, model, task.test[:9], shard=(0, 3), too_long="skip")


def test_launchers_say_the_shard(monkeypatch):
    import sadi_lens as sl

    names = (
        "RANK",
        "WORLD_SIZE",
        *(f"SLURM_ARRAY_TASK_{one}" for one in ("ID", "COUNT", "MIN", "MAX")),
    )
    for name in names:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="neither RANK and WORLD_SIZE nor SLURM_ARRAY_TASK_ID"):
        sl.measure.shard_of()

    def slurm(*values):
        for name, value in zip(names[2:], values, strict=True):
            monkeypatch.setenv(name, str(value))

    slurm(2, 4, 0, 3)
    assert sl.measure.shard_of() == (2, 4)
    slurm(3, 1, 3, 3)  # one task of a larger array, submitted again
    with pytest.raises(ValueError, match="1 tasks from 3 to 3"):
        sl.measure.shard_of()
    monkeypatch.delenv("SLURM_ARRAY_TASK_COUNT")
    with pytest.raises(ValueError, match="SLURM_ARRAY_TASK_COUNT must be a whole number, got ''"):
        sl.measure.shard_of()
    monkeypatch.setenv("RANK", "one")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="RANK must be a whole number, got 'one'"):
        sl.measure.shard_of()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert sl.measure.shard_of() == (1, 2)
    assert sl.measure.shard_of("0/3") == (0, 3)


@pytest.mark.slow
def test_two_processes_one_killed_and_resumed(model, task, heads, tmp_path):
    import sadi_lens as sl

    sl.save(heads, tmp_path / "heads")

    half_way = multiprocessing.Event()
    first = forked(work, model, task, tmp_path, 0)
    second = forked(work, model, task, tmp_path, 1, half_way, hangs=True)
    assert half_way.wait(300)
    second.kill()
    second.join()
    first.join()
    assert (first.exitcode, second.exitcode) == (0, -signal.SIGKILL)
    kept = (tmp_path / "differences-1" / "config.json").stat().st_mtime_ns

    def merged(name, items):
        return sl.measure.merge([sl.load(one) for one in tmp_path.glob(f"{name}-*")], items)

    with pytest.raises(ValueError, match="missing: 1/2"):
        merged("sweep", task.dev[:21])
    again = forked(work, model, task, tmp_path, 1)
    again.join()
    assert again.exitcode == 0
    assert (tmp_path / "differences-1" / "config.json").stat().st_mtime_ns == kept
    assert_same(merged("differences", task.pairs[:30])["head"], heads)
    serial = sl.sweep(
        model, task.dev[:21], heads, [1, 3], [2.0, 5.0], keep_items=True, progress=False
    )
    assert_same(merged("sweep", task.dev[:21]), serial)
