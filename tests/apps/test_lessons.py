"""Exercises of the lessons: solutions pass, usual mistakes are named, and a stub never stops a run."""

import numpy as np
import pytest

from sadi_lens.apps import lessons


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_the_solution_passes_its_own_cases(name, capsys):
    exercise = lessons.EXERCISES[name]
    assert exercise.verdict(exercise.solution) == ""
    assert lessons.check(name, exercise.solution) is exercise.solution
    assert capsys.readouterr().out.startswith(f"Right: {len(exercise.cases)} of ")


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_every_mistake_is_refused_with_its_own_hint(name):
    exercise = lessons.EXERCISES[name]
    assert exercise.mistakes
    for mistake in exercise.mistakes:
        assert exercise.verdict(mistake.function).endswith(mistake.hint)


def test_a_stub_is_refused_and_the_solution_comes_back(capsys):
    exercise = lessons.EXERCISES["steer"]
    for stub in (lambda *_: ..., lambda *_: None):
        assert lessons.check("steer", stub) is exercise.solution
        assert "returned nothing yet" in capsys.readouterr().out


def test_an_error_in_the_students_code_is_shown_and_not_raised(capsys):
    def broken(first, _second):
        return first[99]

    assert lessons.check("jaccard", broken) is lessons.EXERCISES["jaccard"].solution
    assert "IndexError" in capsys.readouterr().out


def test_the_first_wrong_case_is_shown_with_both_values():
    verdict = lessons.EXERCISES["p_value"].verdict(lambda *_: 7)
    assert verdict == "p_value(0.8, [0.7, 0.8, 0.9, 0.5]) returned 7, expected 0.6."


def test_a_function_that_writes_to_its_arguments_is_judged_by_what_it_returns():
    def in_place(activation, mask, strength):
        activation += strength * activation * mask
        return activation

    exercise = lessons.EXERCISES["steer"]
    before = [np.array(arguments[0]) for arguments, _ in exercise.cases]
    assert exercise.verdict(in_place) == ""
    for array, (arguments, _) in zip(before, exercise.cases, strict=True):
        assert np.array_equal(array, arguments[0])


def test_tensors_and_lists_stand_for_arrays_but_shapes_must_match():
    import torch

    steer = lessons.EXERCISES["steer"]
    assert steer.verdict(lambda a, m, d: torch.tensor(a + d * a * m)) == ""
    assert steer.verdict(lambda a, m, d: (a + d * a * m).tolist()) == ""
    assert "expected" in steer.verdict(lambda a, m, d: (a + d * a * m)[None])


def test_an_unknown_exercise_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'jaccard'"):
        lessons.check("jacard", len)


def test_the_grid_of_the_first_lesson_is_the_one_in_its_text():
    mean = (lessons.GRID_RIGHT - lessons.GRID_WRONG).mean(axis=0)
    assert mean[1, 1] == 2
    assert mean[2, 3] == 1
    assert mean[2, 0] == -3 == mean.min()
    assert (np.sort(mean, axis=None)[-5:] == [0.5, 0.5, 0.5, 1, 2]).all()
    assert lessons.GRID_INPUTS[:, 1, 1].tolist() == [2, -1]


@pytest.fixture(scope="module")
def info():
    import sadi_lens as sl

    return sl.types.ModelInfo("tiny", "Llama", 1, 1, 1, 1, 1, "0")


def test_a_claim_that_does_not_hold_stops_the_lesson_on_its_own_model(info, capsys):
    lessons.claims(info, {"one and one is two": True})
    assert capsys.readouterr().out == "holds on tiny: one and one is two\n"
    with pytest.raises(AssertionError, match="more than tiny shows: one is two"):
        lessons.claims(info, {"one and one is two": True, "one is two": False})


def test_on_another_model_a_claim_that_does_not_hold_is_a_finding(info, capsys):
    import dataclasses

    lessons.claims(dataclasses.replace(info, name="gpt2"), {"one is two": False})
    assert capsys.readouterr().out == "DOES NOT HOLD on gpt2: one is two\n"


def test_the_best_of_a_grid_looks_better_where_it_was_chosen():
    # Cell 0 is right on items 0 and 1, cell 1 on items 2 and 3. Of the six draws of two items, two take one cell's
    # own items (1 there, 0 elsewhere), four one of each (a tie at 1/2, and 1/2 elsewhere): 2/3 and 1/3 on average.
    correct = np.array([[True, True, False, False], [False, False, True, True]])
    here, elsewhere = lessons.best_of_grid(correct, 2, draws=4000)
    assert here == pytest.approx(2 / 3, abs=0.02)
    assert elsewhere == pytest.approx(1 / 3, abs=0.02)
    assert lessons.best_of_grid(correct, 2, draws=50, seed=1) == lessons.best_of_grid(
        correct, 2, draws=50, seed=1
    )


def test_one_cell_leaves_nothing_to_choose():
    correct = np.ones((1, 10), dtype=bool)
    assert lessons.best_of_grid(correct, 5) == (1.0, 1.0)


@pytest.mark.parametrize("n", [0, 4])
def test_choosing_on_nothing_or_on_everything_is_refused(n):
    with pytest.raises(ValueError, match=rf"in \[1, 3\], got {n}"):
        lessons.best_of_grid(np.ones((2, 4), dtype=bool), n)


def test_tensors_are_copied_before_a_function_writes_to_them_and_shown_by_value():
    import torch

    def every_head(z, _hook, _mask, strength):
        z *= 1 + strength
        return z

    exercise = lessons.EXERCISES["hook_fn"]
    before = [arguments[0].clone() for arguments, _ in exercise.cases]
    verdict = exercise.verdict(every_head)
    assert verdict.startswith(
        "hook_fn([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, -1.0], [7.0, 8.0]]]], None"
    )
    for tensor, (arguments, _) in zip(before, exercise.cases, strict=True):
        assert torch.equal(tensor, arguments[0])


def test_a_list_of_words_must_be_the_expected_one():
    leaked = lessons.EXERCISES["leaked"]
    assert leaked.verdict(lambda train, dev: tuple(sorted(set(train) & set(dev)))) == ""
    assert "expected ['a', 'b']" in leaked.verdict(lambda _train, _dev: ["a"])
