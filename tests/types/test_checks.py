"""The one place where arguments are checked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pytest
from jaxtyping import Float

from sadi_lens.types.base import is_instance


def made():
    from sadi_lens.types.checks import checked
    from sadi_lens.types.data import Sample
    from sadi_lens.types.model import HookedModel

    @checked(n=0)
    def function(
        model: HookedModel | None = None,
        samples: Sequence[Sample] = (),
        *,
        k: int = 1,
        n: int = 1,
        strength: float = 1.0,
        strengths: Sequence[float] = (),
        position: str = "all",
        progress: bool = True,
        units: Sequence[tuple[int, int]] = (),
        scores: Float[np.ndarray, "item choice"] | None = None,
        make: Callable[[int], int] | None = None,
        sizes: Mapping[str, int] | None = None,
        prompts: str | Sequence[str] = "",
        frame: "NotThere" = None,  # noqa: F821
        **more: object,
    ) -> object:
        """Gives back what it got."""
        return {**locals()}

    return function


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"model": "tiny"},
            TypeError,
            r"model must be a model from load_model .* load_model\('tiny'\)",
        ),
        ({"samples": (x for x in ())}, TypeError, r"samples .* a generator; write list\(samples\)"),
        (
            {"prompts": {"role": "user", "content": "x"}},
            TypeError,
            r"prompts must be .*; a chat is a list of messages: \[message\]",
        ),
        ({"samples": [3]}, TypeError, r"samples\[0\] must be a Sample, got 3"),
        ({"k": 3.0}, TypeError, "k must be a whole number, got 3.0"),
        ({"k": True}, TypeError, "k must be a whole number, got True"),
        ({"k": float("inf")}, TypeError, "k must be a whole number, got inf"),
        ({"k": 0}, ValueError, "k must be at least 1, got 0"),
        ({"n": -1}, ValueError, "n must be at least 0, got -1"),
        ({"strength": float("nan")}, ValueError, "strength must be finite, got nan"),
        ({"strength": np.float32("inf")}, ValueError, "strength must be finite"),
        ({"strength": 10**400}, TypeError, "strength must be a number"),
        ({"strength": 1j}, TypeError, "strength must be a number"),
        ({"strengths": [1, 1.0]}, ValueError, "strengths must differ, 1.0 stands twice"),
        ({"strengths": {1, 2}}, TypeError, "a set has no order"),
        ({"strengths": "12"}, TypeError, "strengths must be a list of numbers, got '12'$"),
        ({"position": "al"}, ValueError, "position must be one of .* did you mean 'all'"),
        ({"progress": 1}, TypeError, "progress must be True or False, got 1; write"),
        ({"units": [(1.0, 2.0)]}, TypeError, r"units\[0\] must be a tuple"),
        ({"units": [(1, 2, 3)]}, TypeError, r"units\[0\] must be a tuple"),
        (
            {"scores": np.zeros(3)},
            TypeError,
            r"a float array \[item choice\] or None, got an array \[3\]",
        ),
        ({"make": 3}, TypeError, "make must be a function or None, got 3"),
        ({"sizes": [1]}, TypeError, "sizes must be a dict or None"),
        ({"prompts": {"a": 1}}, TypeError, "prompts must be text or a list of texts"),
        (
            {"prompts": "x" * 5000, "k": "x" * 5000},
            TypeError,
            r"k must be a whole number.*5000 long",
        ),
    ],
)
def test_the_message_names_the_argument_the_bound_and_what_was_found(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        made()(**arguments)
    assert len(str(caught.value)) < 400


def test_what_fits_passes_and_numpy_becomes_python():
    found = made()(
        None,
        [],
        k=np.int32(3),
        strength=np.float32(0.5),
        units=np.array([[1, 2]]).tolist(),
        other=1,
    )
    assert found["k"] == 3
    assert type(found["k"]) is int
    assert type(found["strength"]) is float
    assert found["units"] == [(1, 2)]
    assert found["more"] == {"other": 1}
    assert made()(strengths=np.array([1.0, 2.0]))["strengths"] == [1.0, 2.0]
    given = ["a", "b"]
    assert made()(prompts=given)["prompts"] is given
    assert made().__doc__ == "Gives back what it got."
    with pytest.raises(TypeError, match=r"function\(\) takes from 0 to 2 positional"):
        made()(None, [], 3)


def test_paths(tmp_path, monkeypatch):
    from sadi_lens.types.checks import as_path

    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_path("path", "~/a") == tmp_path / "a"
    assert as_path("path", tmp_path) == tmp_path
    for wrong in (3, None, "", "a\0b", "~nobody-here/a"):
        with pytest.raises((TypeError, ValueError), match="path"):
            as_path("path", wrong)


def test_arrays():
    from sadi_lens.types.checks import float_array

    assert float_array("v", [[1, 2]], "layer unit").dtype == np.float32
    for wrong in ("abc", [[1], [2, 3]], [1, 2], [], None, object(), [[np.nan]], [[1e99]]):
        with pytest.raises(ValueError, match="v must be"):
            float_array("v", wrong, "layer unit")


@runtime_checkable
class Named(Protocol):
    name: str

    def say(self) -> str: ...


class Person:
    """Follows by its class but for ``name``, which an object sets for itself."""

    def say(self) -> str:
        return "hello"


def test_a_protocol_is_followed_by_objects_and_not_by_their_class() -> None:
    named = Person()
    named.name = "Ann"  # type: ignore[attr-defined]
    assert is_instance(named, Named)
    assert not is_instance(Person(), Named)
    whole = type("Whole", (Person,), {"name": "Tom"})
    assert is_instance(whole(), Named)
    assert not is_instance(whole, Named)
    mute = type("Mute", (Person,), {"name": "Tom", "say": None})
    assert not is_instance(mute(), Named)
    assert is_instance(1, int)
    assert not is_instance("1", int)


def test_what_a_list_may_hold_is_set_apart_from_what_may_stand_in_its_place() -> None:
    from collections.abc import Sequence

    from sadi_lens.types.wording import described

    assert described(Sequence[str] | None) == "a list of texts or None"
    assert described(Sequence[str | None]) == "a list of texts (some may be None)"
    assert described(Sequence[str | int] | None) == "a list of (texts or whole numbers) or None"
    assert described(Sequence[Sequence[str]]) == "a list of lists of texts"


def test_a_mask_as_an_intervention_is_refused_in_plain_words(llama, samples):
    import sadi_lens as sl

    words = r"an intervention or a list of interventions \(some may be None\) or None, got a Mask object"
    with pytest.raises(TypeError, match=f"intervention must be {words}"):
        sl.evaluate(llama, samples, sl.Mask.from_units("head", [(0, 1)], llama))


def test_what_a_newcomer_gives_instead_is_answered_with_what_to_give(llama, pairs, samples):
    import sadi_lens as sl

    task = sl.Task("mine", tuple(pairs))
    found = sl.activation_differences(llama, pairs, components=["head"], progress=False)
    mask, row = sl.top_k_mask(found["head"], 1), {"prompt": "a", "positive": " b", "negative": " c"}
    wrong = {
        "got a Task object; give its pairs": lambda: sl.activation_differences(llama, task),
        "got a Task object; give its dev or its test": lambda: sl.evaluate(llama, task),
        "makes them from rows": lambda: sl.activation_differences(llama, [row]),
        "as differences\\['head'\\]": lambda: sl.top_k_mask(found, 1),
        "load_task\\('hints'\\)": lambda: sl.compare(llama, "hints"),
        "MaskedScaling\\(mask, strength\\)": lambda: sl.evaluate(llama, samples, mask),
        "got an ActivationDifferences object; make one: top_k": lambda: sl.MaskedScaling(
            found["head"], 1.0
        ),
        "give its prompt": lambda: sl.generate(llama, samples[0]),
        "got -1; it is one of \\['all'": lambda: sl.generate(llama, "a", position=-1),
    }
    for words, call in wrong.items():
        with pytest.raises(TypeError, match=words):
            call()


def test_a_name_of_a_room_is_refused_with_the_room():
    import sadi_lens as sl

    for name, room in {"mask_stability": "measure", "sweep_heatmap": "plots"}.items():
        with pytest.raises(AttributeError, match=rf"no {name}: it is {room}\.{name}$"):
            getattr(sl, name)
    assert not hasattr(sl, "nothing_of_the_sort")


def test_results_are_shown_on_one_line_whatever_they_hold(llama, pairs, samples):
    import sadi_lens as sl

    found = sl.activation_differences(llama, pairs, components=["head"], progress=False)
    scaling = sl.MaskedScaling(sl.top_k_mask(found["head"], 1), 1.0)
    results = sl.evaluate(llama, samples, [None, scaling], progress=False, task="mine")
    shape = ", ".join(map(str, found["head"].mean.shape))
    assert "component='head', " in repr(found["head"])
    assert f"mean=float32[{shape}]" in repr(found)
    task = sl.Task("mine", tuple(pairs))
    assert repr([task]).startswith(
        f"[Task(name='mine', pairs=<{len(pairs)} ContrastivePair>, dev=()"
    )
    compared = sl.types.Comparison.of(results, chance=0.5, component="head")
    for thing in (found, results, [task], [compared]):
        assert "\n" not in repr(thing)
        assert len(repr(thing)) < 2000
    head, plain, steered = str(compared).splitlines()
    assert head == f"mine on {llama_name(llama)}, {samples[0].split}, n = {len(samples)}"
    assert plain.startswith(f"unsteered: accuracy {results[0].accuracy:.1%}, valid answers")
    assert ", gain " in steered


def llama_name(model):
    import sadi_lens as sl

    return sl.types.ModelInfo.of(model).name
