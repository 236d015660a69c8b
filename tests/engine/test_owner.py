"""One owner at a time: what runs on a model in one thread, task or ``with`` is never seen by another."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

PROMPTS = ["the ball is", "Tom says the big red hat is in the"]


@pytest.fixture(scope="module")
def scaling(differences):
    import sadi_lens as sl

    return sl.MaskedScaling(sl.top_k_mask(differences["head"], 9), 6.0)


def last_logits(model):
    import torch

    ids = torch.tensor([model.tokenizer(PROMPTS[1])["input_ids"]])
    with torch.inference_mode():
        return model(ids)[0, -1]


def in_threads(*calls, rounds=6):
    """Every call some times over, all of them at once; what each returned."""
    with ThreadPoolExecutor(len(calls)) as pool:
        barrier = threading.Barrier(len(calls))

        def run(call):
            barrier.wait()
            return [call() for _ in range(rounds)]

        return [one.result(timeout=120) for one in [pool.submit(run, call) for call in calls]]


def test_threads_that_generate_take_turns(llama, scaling):
    import sadi_lens as sl

    before = llama.raw_model.generation_config
    settings = {"max_new_tokens": 6, "eos_token_id": None, "skip_special_tokens": False}
    wanted = [sl.generate(llama, PROMPTS, one, **settings) for one in (None, scaling)]
    assert wanted[0] != wanted[1]
    found = in_threads(
        lambda: sl.generate(llama, PROMPTS, None, **settings),
        lambda: sl.generate(llama, PROMPTS, scaling, **settings),
    )
    assert found == [[one] * 6 for one in wanted]
    assert llama.raw_model.generation_config is before


def test_threads_that_steer_take_turns_with_those_that_measure(
    llama, scaling, differences, samples
):
    import torch

    import sadi_lens as sl

    def steered():
        with sl.steer(llama, scaling):
            return last_logits(llama)

    def clean():
        with sl.steer(llama, None):
            return last_logits(llama)

    def swept():
        return sl.sweep(llama, samples, differences["head"], [1, 3], [2.0], progress=False).margin

    wanted = [steered(), clean(), torch.tensor(swept())]
    assert not torch.equal(wanted[0], wanted[1])
    found = in_threads(steered, clean, swept, swept)
    for want, own in zip([*wanted, wanted[2]], found, strict=True):
        for one in own:
            torch.testing.assert_close(
                one if torch.is_tensor(one) else torch.tensor(one), want, atol=2e-5, rtol=1e-5
            )


def test_a_pass_of_another_thread_is_not_steered_but_refused(llama, scaling):
    import sadi_lens as sl

    with sl.steer(llama, scaling), ThreadPoolExecutor(1) as pool:
        other = pool.submit(last_logits, llama)
        with pytest.raises(
            RuntimeError, match=r"is being steered by 'SADI head, K 9.* another thread"
        ):
            other.result(timeout=60)


@pytest.mark.parametrize("way", ["raw", "bridge"])
@pytest.mark.parametrize("component", ["head", "hidden"])
def test_a_pass_that_another_thread_had_begun_is_left_as_it_is(llama, way, component):
    """It stands in its first layer while hooks are put on its last, of a module's input and of one's output."""
    import torch

    from sadi_lens.engine.runner import Runner, runner_of

    runner = runner_of(llama) if way == "raw" else Runner(llama)
    module = llama.raw_model if way == "raw" else llama
    first = llama.raw_model.base_model.layers[0] if way == "raw" else llama.blocks[0]
    ids = torch.tensor([llama.tokenizer(PROMPTS[1])["input_ids"]])
    is_inside, may_go_on = threading.Event(), threading.Event()

    def wait(*_):
        is_inside.set()
        assert may_go_on.wait(60)

    def logits():
        with torch.inference_mode():
            found = module(ids)
        return getattr(found, "logits", found)

    clean = logits()
    site = (component, runner.info.n_layers - 1, torch.zeros_like)
    with ThreadPoolExecutor(1) as pool:
        handle = first.register_forward_hook(wait)
        try:
            begun = pool.submit(logits)
            assert is_inside.wait(60)
            with runner.attach([site]):
                may_go_on.set()
                other = begun.result(60)
                own = logits()
        finally:
            may_go_on.set()
            handle.remove()
    assert torch.equal(other, clean)
    assert not torch.equal(own, clean)


def test_tasks_of_one_thread_are_refused_instead_of_steered_or_hung(llama, scaling, samples):
    import torch

    import sadi_lens as sl

    plain = last_logits(llama)
    inside = asyncio.Event()

    async def owner():
        with sl.steer(llama, scaling):
            first = last_logits(llama)
            inside.set()
            await asyncio.sleep(0.05)
            return first, last_logits(llama)

    async def late(call):
        await inside.wait()
        return call()

    async def main():
        return await asyncio.gather(
            owner(),
            late(lambda: last_logits(llama)),
            late(lambda: sl.evaluate(llama, samples, progress=False)),
            late(lambda: sl.steer(llama, scaling).__enter__()),
            return_exceptions=True,
        )

    (first, second), passed, evaluated, steered = asyncio.run(main())
    assert torch.equal(first, second)
    assert not torch.equal(first, plain)
    assert "is being steered by 'SADI head, K 9" in str(passed)
    for refused in (evaluated, steered):
        assert isinstance(refused, RuntimeError)
        assert "in use by 'SADI head, K 9, strength 6' in another task of this thread" in str(
            refused
        )
    assert torch.equal(last_logits(llama), plain)


@pytest.fixture
def every_call(llama, scaling, differences, samples):
    """Whatever steers, generates, evaluates and sweeps, with a result that can be compared."""
    import sadi_lens as sl

    def steered():
        with sl.steer(llama, scaling):
            return last_logits(llama).tolist()

    quiet = {"progress": False}
    return {
        "steer": steered,
        "generate": lambda: sl.generate(llama, PROMPTS, [None, scaling], max_new_tokens=4),
        "evaluate": lambda: sl.evaluate(llama, samples, scaling, **quiet).margins.tolist(),
        "texts": lambda: sl.evaluate(llama, samples, scaling, scoring="generation", **quiet).texts,
        "sweep": lambda: sl.sweep(
            llama, samples, differences["head"], [1, 3], [2.0], **quiet
        ).margin.tolist(),
    }


def test_two_threads_that_do_everything_find_what_one_finds(every_call):
    wanted = {name: call() for name, call in every_call.items()}

    def everything(names):
        return {name: every_call[name]() for name in names}

    found = in_threads(
        lambda: everything(every_call), lambda: everything(reversed(every_call)), rounds=4
    )
    for one in (one for rounds in found for one in rounds):
        assert one == wanted


def test_four_tasks_that_do_everything_find_what_one_finds_or_are_refused(
    llama, scaling, every_call
):
    import sadi_lens as sl

    wanted = {name: call() for name, call in every_call.items()}
    refused = []

    async def steers():
        for _ in range(4):
            await asyncio.sleep(0)
            with sl.steer(llama, scaling):
                await asyncio.sleep(0.02)  # the others go on meanwhile
                assert last_logits(llama).tolist() == wanted["steer"]

    async def waits(names):
        for name in names:
            assert await asyncio.to_thread(every_call[name]) == wanted[name]

    async def calls():
        for name in [*every_call] * 2:
            await asyncio.sleep(0.01)
            try:
                assert every_call[name]() == wanted[name]
            except RuntimeError as error:
                refused.append(str(error))

    async def main():
        await asyncio.wait_for(
            asyncio.gather(steers(), waits(every_call), waits(reversed(every_call)), calls()), 120
        )

    asyncio.run(main())
    assert refused
    assert all("another task of this thread" in one for one in refused)


def test_a_thread_that_its_own_task_waits_for_is_refused_instead_of_hung(llama, every_call):
    import sadi_lens as sl

    async def main():
        with sl.steer(llama, None):
            return await asyncio.wait_for(asyncio.to_thread(every_call["evaluate"]), 60)

    with pytest.raises(RuntimeError, match=r"in the task that started this thread and waits for"):
        asyncio.run(main())


def test_a_thread_that_waits_long_says_for_what(llama, every_call, monkeypatch, caplog):
    import sadi_lens as sl
    from sadi_lens.engine import runner

    monkeypatch.setattr(runner, "PATIENCE", 0.01)
    with ThreadPoolExecutor(1) as pool, sl.steer(llama, None):
        other = pool.submit(every_call["generate"])
        while not caplog.records:
            pass
    assert "another thread has it" in caplog.text
    assert other.result(timeout=60) == every_call["generate"]()


@pytest.mark.parametrize(
    "call", ["evaluate", "plain", "sweep", "generate", "no cache", "differences", "scores", "push"]
)
def test_measuring_inside_steer_is_refused(llama, scaling, differences, samples, pairs, call):
    import sadi_lens as sl

    quiet = {"progress": False}
    run = {
        "evaluate": lambda: sl.evaluate(llama, samples, scaling, **quiet),
        "plain": lambda: sl.evaluate(llama, samples, engine="plain", **quiet),
        "sweep": lambda: sl.sweep(llama, samples, differences["head"], [1], [1.0], **quiet),
        "generate": lambda: sl.generate(llama, PROMPTS, scaling, max_new_tokens=2),
        "no cache": lambda: sl.generate(llama, PROMPTS, max_new_tokens=2, use_cache=False),
        "differences": lambda: sl.activation_differences(llama, pairs, **quiet),
        "scores": lambda: sl.unit_scores(llama, pairs, "head", "attribution", **quiet),
        "push": lambda: sl.measure.measure_push(llama, PROMPTS, scaling, **quiet),
    }[call]
    with (
        sl.steer(llama, scaling),
        pytest.raises(
            RuntimeError, match=r"steered by 'SADI head, K 9, strength 6' in an enclosing"
        ),
    ):
        run()
    run()
    with sl.steer(llama, None):  # nothing is on the model
        run()


def test_steer_in_steer_composes(llama):
    import torch

    import sadi_lens as sl

    first, second = (
        sl.MaskedScaling(sl.Mask.from_units("head", [(layer, 1)], llama), 4.0) for layer in (0, 2)
    )
    both = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1), (2, 1)], llama), 4.0)
    with sl.steer(llama, first), sl.steer(llama, second):
        inside = last_logits(llama)
    with sl.steer(llama, both):
        torch.testing.assert_close(inside, last_logits(llama), atol=1e-6, rtol=1e-6)


def test_a_copied_model_is_nobodys():
    import copy

    from sadi_lens.types.model import Kept

    kept = Kept("a", record=1)
    kept.holds.append(threading.Lock())  # cannot be copied
    assert copy.deepcopy(kept) == Kept("a", record=1)
