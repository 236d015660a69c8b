"""A method of one's own: wrong fields and wrong candidates are refused by name, never run as something else."""

from dataclasses import replace

import pytest


def offer(*candidates):
    return lambda _material, _budget: list(candidates)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name of a method must not be empty"),
        ({"name": 3}, "name must be text, got 3"),
        ({"kind": "adaptiv"}, "kind must be one of .* did you mean 'adaptive'"),
        ({"candidates": 3}, "candidates must be a function, got 3"),
        ({"position": "last"}, "position of method 'mine' must be one of .* got 'last'"),
        ({"position": None}, "position of method 'mine' must be one of .* got None"),
        ({"component": "heads"}, "component of method 'mine' must be one of .* got 'heads'"),
        ({"ranking": "x"}, "ranking of method 'mine' must be one of .* got 'x'"),
        ({"axis": "k"}, r"axis of method 'mine' must be one of \['K', 'layer'\], got 'k'"),
    ],
)
def test_a_field_of_a_method_that_means_nothing_is_refused(fields, message):
    import sadi_lens as sl

    given = {"name": "mine", "kind": "adaptive", "candidates": offer(), **fields}
    with pytest.raises((TypeError, ValueError), match=message):
        sl.measure.Method(**given)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"position": "last"}, "position of method 'mine' must be one of .* got 'last'"),
        ({"build": None}, "build must be a function, got None"),
    ],
)
def test_a_field_of_a_control_that_means_nothing_is_refused(fields, message):
    import sadi_lens as sl

    given = {"name": "mine", "kind": "fixed", "build": lambda *_: None, **fields}
    with pytest.raises((TypeError, ValueError), match=message):
        sl.measure.Control(**given)


@pytest.fixture
def task(samples, pairs):
    import sadi_lens as sl

    items = [replace(one, prompt=f"Tom says {one.prompt}") for one in samples]
    return sl.Task("toy", tuple(pairs), tuple(items[:2]), tuple(items[2:]))


@pytest.fixture
def scaling(differences):
    import sadi_lens as sl

    return sl.MaskedScaling(sl.top_k_mask(differences["head"], 3), 2.0)


def compared(llama, task, *methods):
    import sadi_lens as sl

    return sl.compare(llama, task, [None, *methods], n_null=0, progress=False)


def test_what_a_method_offers_must_be_candidates(llama, task, scaling):
    import sadi_lens as sl

    def method(found):
        return sl.measure.Method("mine", "adaptive", lambda *_: found)

    one = sl.measure.Candidate(scaling)
    for found, message in (
        (None, "candidates must be a list of Candidate objects, got None"),
        (one, "candidates must be a list of Candidate objects, got a Candidate"),
        ([scaling], r"candidates\[0\] must be a Candidate, got a MaskedScaling"),
        ((each for each in [one]), r".* got a generator; write list\(candidates\)"),
    ):
        with pytest.raises(TypeError, match=f"method 'mine': {message}"):
            compared(llama, task, method(found))


def test_what_is_built_for_a_candidate_must_be_what_it_says(llama, task, scaling):
    import sadi_lens as sl

    Candidate = sl.measure.Candidate
    mine = sl.measure.Method("mine", "adaptive", offer(Candidate(scaling, 3, 2.0)))
    control = sl.measure.Control("twin", "fixed", lambda *_: None, of="mine")
    with pytest.raises(TypeError, match="build of 'twin' gives must be an intervention, got None"):
        compared(llama, task, mine, control)
    rebuilt = Candidate(None, rebuild=lambda _prompts: None)
    with pytest.raises(TypeError, match="what rebuild gives must be an intervention, got None"):
        compared(llama, task, sl.measure.Method("mine", "adaptive", offer(rebuilt)))
    elsewhere = Candidate(scaling, build=lambda: "tiny")
    with pytest.raises(
        TypeError, match="what build gives must be a model from load_model, got 'ti"
    ):
        compared(llama, task, sl.measure.Method("mine", "adaptive", offer(elsewhere)))
