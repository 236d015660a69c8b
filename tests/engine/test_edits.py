"""One table of edits: what it costs in precision, and that rows get their own."""

import functools
import os

import pytest


def test_a_small_strength_survives_bfloat16_and_one_that_cannot_is_said():
    """bfloat16 steps by 1/128 at 1, so 1 + 0.003 is 1 there; in float32 x (1 + 0.003) often rounds to the next x."""
    import torch
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    model = sl.load_model(hf.to(torch.bfloat16), tokenizer=tokenizer)
    mask = sl.Mask.from_units("hidden", [(1, unit) for unit in range(32)], model)
    ids = torch.tensor([tokenizer("Tom says the big red hat is in the")["input_ids"]])

    def hidden(strength):
        with torch.inference_mode(), sl.steer(model, sl.MaskedScaling(mask, strength)):
            return sl.engine.read_activations(model, ids, components=["hidden"])["hidden"][1][0, -1]

    plain, twice = hidden(0.0), hidden(1.0)
    assert torch.equal(twice, 2 * plain)
    with pytest.warns(UserWarning, match=r"scaling by 1 \+ 0.003 is finer than torch.bfloat16"):
        small = hidden(0.003)
    assert torch.equal(small, (plain.float() * 1.003).bfloat16())
    assert 0 < (small != plain).sum() < 32
    with pytest.warns(UserWarning, match=r"scaling by 1 \+ 0.001 .* Load the model in float32"):
        assert torch.equal(hidden(0.001), plain)


def test_rows_of_a_pass_have_their_own_scale_shift_or_neither():
    """By hand: unit 0 doubled in row 0, row 1 left alone, 3 added to unit 1 in row 2."""
    import numpy as np
    import torch

    import sadi_lens as sl
    from sadi_lens.engine.edits import Edits
    from sadi_lens.engine.positions import PositionTracker

    info = sl.types.ModelInfo("toy", "Toy", 1, 2, 1, 2, 4, "0")
    doubled = sl.MaskedScaling(sl.Mask.from_units("hidden", [(0, 0)], info), 1.0)
    pushed = sl.VectorAddition(np.array([0.0, 3.0]), 0, 1.0)
    edits = Edits([None, doubled, pushed], torch.tensor([1, 0, 2]), n_heads=2)
    tracker = PositionTracker("every_step", prompt_end=1)
    ((component, layer, hook),) = edits.hooks(tracker)
    assert (component, layer) == ("hidden", 0)
    tracker.begin(3, 3, 0, torch.ones(3, 3))
    before = torch.tensor([[5.0, 7.0]]).repeat(3, 3, 1)
    after = hook(before)
    assert after[:, 0].tolist() == [[5, 7]] * 3
    for column in (1, 2):
        assert after[:, column].tolist() == [[10, 7], [5, 7], [5, 10]]


def test_one_steer_is_entered_again_and_inside_itself(llama):
    """Each entry applies the intervention anew; what is left unentered says so."""
    import torch

    import sadi_lens as sl

    ids = torch.tensor([llama.tokenizer("the ball is")["input_ids"]])
    mask = sl.Mask.from_units("head", [(1, 2)], llama)
    once, twice = sl.MaskedScaling(mask, 1.0), sl.MaskedScaling(mask, 3.0)  # (1 + 1)^2 = 1 + 3
    steered = sl.steer(llama, once)
    with torch.no_grad():
        plain = llama(ids)
        found = []
        for _ in range(2):
            with steered as model:
                assert model is llama
                found.append(llama(ids))
        with steered, steered:
            inside = llama(ids)
        with sl.steer(llama, twice):
            wanted = llama(ids)
        after = llama(ids)
    assert torch.equal(*found)
    assert not torch.equal(found[0], plain)
    torch.testing.assert_close(inside, wanted)
    assert torch.equal(after, plain)
    with pytest.raises(RuntimeError, match="without having been entered"):
        steered.__exit__(None, None, None)


def test_a_decorator_steers_what_runs_in_the_call_and_refuses_what_runs_later(llama):
    """The block that a decorator opens is left before a generator's or a coroutine's first pass."""
    import torch

    import sadi_lens as sl

    ids = torch.tensor([llama.tokenizer("the ball is")["input_ids"]])
    steered = sl.steer(llama, sl.MaskedScaling(sl.Mask.from_units("head", [(1, 2)], llama), 2.0))
    with steered, torch.no_grad():
        want = llama(ids)

    def at_once():
        return llama(ids).detach()

    def step_by_step():
        yield llama(ids)

    async def in_a_task():
        return llama(ids)

    async def step_by_step_in_a_task():
        yield llama(ids)

    assert torch.equal(steered(at_once)(), want)
    for later in (step_by_step, in_a_task, step_by_step_in_a_task):
        with pytest.raises(TypeError, match=rf"{later.__name__}.* would be unsteered.*with steer"):
            steered(later)
    with pytest.raises(TypeError, match=r"functools\.partial.*step_by_step.* would be unsteered"):
        steered(functools.partial(step_by_step))


def test_one_value_for_all_rows_is_no_value_per_row():
    import torch

    from sadi_lens.engine.positions import PositionTracker

    tracker = PositionTracker("all")
    tracker.begin(4, 3, 0, None)
    assert tracker.per_row(torch.tensor([1, 2])).tolist() == [1, 1, 2, 2]
    for wrong, given in ((torch.tensor(7), 0), (torch.zeros(0), 0), (torch.zeros(3), 3)):
        with pytest.raises(
            ValueError, match=f"prompts must match the batch: got {given} for 4 rows"
        ):
            tracker.per_row(wrong)


@pytest.mark.parametrize(
    ("ids", "mask", "words"),
    [
        ([[1, 9999]], None, r"ids holds the token .*\(id 9999\), but the model embeds"),
        ([[1, -1]], None, r"ids must be \[batch pos\] of at least one token, none below 0"),
        ([[]], None, r"of at least one token, none below 0, got \(1, 0\)"),
        pytest.param(
            [[1, 2]],
            [[1]],
            r"attention_mask must be \(1, 2\) as ids, got \(1, 1\)",
            marks=pytest.mark.skipif(
                "SADI_LENS_SHAPES" in os.environ, reason="the shape checker would answer first"
            ),
        ),
    ],
)
def test_token_ids_that_cannot_be_read_are_named(llama, ids, mask, words):
    import torch

    import sadi_lens as sl

    given = None if mask is None else torch.tensor(mask)
    with pytest.raises(ValueError, match=words):
        sl.engine.read_activations(llama, torch.tensor(ids, dtype=torch.long), given)


def test_token_ids_of_another_kind_are_named(llama):
    import sadi_lens as sl

    with pytest.raises(
        TypeError, match=r"ids must be an integer array \[batch pos\], got \[1, 2\]"
    ):
        sl.engine.read_activations(llama, [1, 2])
    with pytest.raises(TypeError, match=r"n_tokens must be a whole number, got 1\.5"):
        sl.engine.choose_batch(llama, 1.5)
