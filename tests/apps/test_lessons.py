"""Exercises of the lessons: solutions pass, usual mistakes are named, and a stub never stops a run."""

import numpy as np
import pytest

from sadi_lens.apps import lessons


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_the_solution_passes_its_own_cases(name, capsys):
    exercise = lessons.EXERCISES[name]
    assert exercise.verdict(exercise.solution) == ""
    function = lessons.check(name, exercise.solution)
    assert function.__name__ == exercise.solution.__name__
    assert exercise.verdict(function) == ""
    assert capsys.readouterr().out.startswith(f"Right: {len(exercise.cases)} of ")


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_every_mistake_is_refused_with_its_own_hint(name):
    exercise = lessons.EXERCISES[name]
    assert exercise.mistakes
    for mistake in exercise.mistakes:
        assert exercise.verdict(mistake.function).endswith(mistake.hint)


def test_a_stub_is_refused_and_the_solution_comes_back(capsys):
    exercise = lessons.EXERCISES["steer"]
    for stub, said in (
        (lambda *_: ..., "nothing yet"),
        (lambda *_: None, "None: end the function"),
    ):
        assert lessons.check("steer", stub) is exercise.solution
        assert f"returned {said}" in capsys.readouterr().out


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


def test_in_a_lesson_too_it_writes_to_copies():
    def in_place(activation, mask, strength):
        activation[mask] *= 1 + strength
        return activation

    steer, shown = lessons.check("steer", in_place), np.array([1.0, 2.0])
    assert steer(shown, np.array([True, False]), 2.0).tolist() == [3.0, 2.0]
    steer(activation=shown, mask=np.array([True, False]), strength=2.0)
    assert shown.tolist() == [1.0, 2.0]  # the panel beside it shows the input


def test_lists_and_dicts_are_copies_too():
    leaked = lessons.EXERCISES["leaked"]
    before = [[list(one) for one in arguments] for arguments, _ in leaked.cases]

    def in_place(train, dev):
        train.sort()
        dev.clear()
        return train

    assert leaked.verdict(in_place)
    assert [[list(one) for one in arguments] for arguments, _ in leaked.cases] == before


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

    def every_head(z, hook, mask, strength):  # noqa: ARG001  # called by name
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


def half_right():
    """Answers that agree with the task on easy cases and differ on others."""
    from itertools import groupby

    def within_runs(gains, facts):
        away, sums = list(gains - gains.mean()), 0.0
        for _, run in groupby(facts):
            sums += sum(away.pop(0) for _ in run) ** 2
        return sums**0.5 / len(gains)

    def cosines(shifts):
        mean = shifts.mean(axis=0)
        return shifts @ mean / np.linalg.norm(shifts, axis=1) / np.linalg.norm(mean)

    def first(one, other):
        return (i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y)

    return {
        "difference": lambda r, w: np.median(r - w, axis=0),
        "top_k": lambda mean, k: np.argsort(np.argsort(-mean, axis=1), axis=1) < k,
        "null_maximum": lambda v, s: np.median(s[:, None] * v, axis=0).max(),
        "balance": lambda answers: sorted(answers.index(one) for one in set(answers)),
        "mean_cosine": lambda s: np.median(cosines(s)),
        "next_push": lambda p: p[[1, 2, 0]],
        "valid_rate": lambda t, c: np.mean(
            [x in "".join(own) for x, own in zip(t, c, strict=True)]
        ),
        "choose": lambda a, v, f: divmod(int(np.where(v >= f, a, -1).argmax()), len(a)),
        "first_difference": lambda a, b: next(first(a, b), len(a)),
        "to_pair": lambda row: {
            "prompt": f"{row['text']}\nVerdict:",
            "positive": " good",
            "negative": " bad",
        },
        "leaked": lambda a, b: set(a) & set(b),
        "is_merged": lambda p, w: w[len(p) - 1] != p[-1],
        "by_cue": lambda c, q: {k: c[np.array(q) == k].sum() / 3 for k in set(q)},
        "allowed": lambda v, _: v >= 0.4,
        "mended_broken": lambda _b, _a: (1, 2),
        "clustered_error": within_runs,
    }


@pytest.mark.parametrize("name", half_right())
def test_an_answer_that_is_right_in_easy_cases_only_is_refused(name):
    assert "expected" in lessons.EXERCISES[name].verdict(half_right()[name])


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("difference", lambda r, w: (r - w).sum(axis=0) // len(r)),
        ("null_maximum", lambda v, s: ((s[:, None] * v).sum(axis=0) // len(v)).max()),
    ],
)
def test_a_mean_without_its_fraction_is_refused(name, answer):
    assert "expected" in lessons.EXERCISES[name].verdict(answer)


def test_whatever_holds_the_right_values_is_right_and_comes_back_as_it_was_asked_for():
    import torch

    forms = {np.ndarray: np.ndarray, float: float, bool: bool, int: int, list: list, tuple: tuple}
    for name, exercise in lessons.EXERCISES.items():
        arguments, expected = exercise.cases[0]
        if isinstance(expected, dict | torch.Tensor) or name == "leaked":
            continue
        for wrapped in (np.asarray, torch.tensor, lambda one: np.asarray(one).tolist()):

            def answer(*given, solution=exercise.solution, wrapped=wrapped):
                return wrapped(solution(*given))

            assert exercise.verdict(answer) == "", name
            assert type(exercise.as_asked(answer)(*arguments)) is forms[type(expected)], name


def test_a_dict_of_tensors_is_right_and_comes_back_with_numbers():
    import torch

    exercise = lessons.EXERCISES["by_cue"]

    def answer(correct, cues):
        return {cue: torch.tensor(one) for cue, one in exercise.solution(correct, cues).items()}

    assert exercise.verdict(answer) == ""
    came = exercise.as_asked(answer)(*exercise.cases[0][0])
    assert came == pytest.approx({"none": 2 / 3, "wrong": 0.0})
    assert {type(one) for one in came.values()} == {float}


def test_a_hook_is_called_with_the_names_that_it_is_called_with_and_must_return_a_tensor():
    exercise = lessons.EXERCISES["hook_fn"]
    assert "keyword argument 'hook'" in exercise.verdict(lambda z, h, m, s: z)
    verdict = exercise.verdict(lambda *a, **b: exercise.solution(*a, **b).numpy())
    assert verdict.endswith("return a torch tensor, not a ndarray.")


@pytest.mark.parametrize(
    "value", [(2.0, 1.0), [1, 2], "0.6", {"a": 1}, [[1], [2, 3]], 1j, {0.6}, object]
)
@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_no_wrong_value_of_any_kind_stops_the_notebook(name, value):
    import pandas as pd
    import torch

    exercise = lessons.EXERCISES[name]
    for made in (value, np.array([2.0, 1.0]), pd.Series([1, 2]), torch.ones(2, requires_grad=True)):
        assert exercise.verdict(lambda *_a, made=made, **_b: made)


def test_a_hint_is_given_only_where_every_case_shows_the_same_mistake():
    # On the first case alone n - 1 and the missing root look alike.
    margin = lessons.EXERCISES["margin_moved"]
    assert "divided by n" in margin.verdict(
        lambda s, p: ((s - p).mean(), (s - p).std(ddof=1) / len(s) ** 0.5)
    )
    assert "the root of the number" in margin.verdict(lambda s, p: ((s - p).mean(), (s - p).std()))


def test_a_mistake_is_known_whatever_holds_its_value():
    import torch

    kl = lessons.EXERCISES["kl"]
    verdict = kl.verdict(
        lambda p, q: torch.nn.functional.kl_div(
            torch.tensor(p), torch.tensor(q), reduction="sum", log_target=True
        )
    )
    assert verdict.endswith("That is KL(q || p): the average is over p, the first one.")


def test_right_values_in_another_shape_or_type_are_told_so():
    jaccard, top_k = lessons.EXERCISES["jaccard"], lessons.EXERCISES["top_k"]
    assert jaccard.verdict(lambda *a: [jaccard.solution(*a)]).endswith("shape is (1,), not ().")
    assert top_k.verdict(lambda *a: 1 * top_k.solution(*a)).endswith("of type int64, not bool.")
