"""The position rule by chunks says what the engine's own tracker says from attention masks."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

POSITIONS = ("last_prompt", "every_step", "generated", "all")


@settings(deadline=None)  # the first example imports torch
@given(
    st.sampled_from(POSITIONS),
    st.integers(1, 12),
    st.lists(st.integers(1, 7), min_size=1, max_size=12),
    st.integers(0, 11),
)
def test_any_chunking_edits_the_tokens_that_the_tracker_edits(position, prompt, chunks, restart):
    """Chunks of any size, over the end of the prompt and over generated tokens, also begun again (preemption)."""
    import torch

    from sadi_lens.engine.edits import edit_at
    from sadi_lens.engine.positions import PositionTracker
    from sadi_lens.serving.rule import edited_span

    computed = 0
    for index, n_new in enumerate(chunks):
        if index == restart:
            computed = 0
        start, stop = edited_span(position, prompt, computed, n_new)
        # Of all rows alike, and one a row.
        for end in (prompt - 1, torch.tensor([prompt - 1])):
            tracker = PositionTracker(position, prompt_end=end)
            tracker.begin(1, n_new, computed, None)
            found = edit_at(tracker, lambda activation: activation + 1, torch.zeros(1, n_new, 1))
            assert found.flatten().tolist() == [start <= place < stop for place in range(n_new)]
        assert 0 <= start <= stop <= n_new
        computed += n_new


@settings(deadline=None)  # the first example imports torch
@given(st.sampled_from(POSITIONS), st.integers(1, 40), st.integers(1, 60), st.data())
def test_chunks_together_edit_what_one_pass_edits(position, prompt, total, data):
    from sadi_lens.serving.rule import edited_span, first_edited

    cuts = sorted({0, total, *data.draw(st.lists(st.integers(0, total), max_size=6))})
    edited = [
        start + place
        for start, stop in itertools.pairwise(cuts)
        for place in range(*edited_span(position, prompt, start, stop - start))
    ]
    assert edited == list(range(*edited_span(position, prompt, 0, total)))
    assert not edited or edited[0] == first_edited(position, prompt)


@pytest.mark.parametrize(
    ("position", "prompt", "computed", "n_new", "span"),
    [
        ("last_prompt", 5, 0, 5, (4, 5)),
        ("last_prompt", 5, 0, 8, (4, 5)),
        ("last_prompt", 5, 5, 1, (0, 0)),
        ("last_prompt", 5, 0, 4, (4, 4)),
        ("every_step", 5, 3, 4, (1, 4)),
        ("every_step", 5, 9, 1, (0, 1)),
        ("all", 5, 0, 3, (0, 3)),
        ("all", 5, 7, 1, (0, 1)),
    ],
)
def test_by_hand(position, prompt, computed, n_new, span):
    from sadi_lens.serving.rule import edited_span

    assert edited_span(position, prompt, computed, n_new) == span


def test_refuses_an_unknown_position_and_an_empty_prompt():
    from sadi_lens.serving.rule import edited_span

    with pytest.raises(ValueError, match="did you mean 'last_prompt'"):
        edited_span("last_promt", 5, 0, 1)
    with pytest.raises(ValueError, match="prompt_length must be at least 1, got 0"):
        edited_span("all", 0, 0, 1)


def test_lengths_that_are_no_whole_numbers_are_refused():
    from sadi_lens.serving import edited_span

    good = {"prompt_length": 5, "computed": 0, "n_new": 5}
    for name, least in (("prompt_length", 1), ("computed", 0), ("n_new", 0)):
        for value in (1.5, True, "1", None, least - 1):
            with pytest.raises(ValueError, match=f"{name} must be"):
                edited_span("all", **{**good, name: value})
