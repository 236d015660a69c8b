"""What a user's own intervention is and returns: refused in words, in every call, alone and beside another."""

import math
import re

import pytest
import torch

from sadi_lens.engine.contract import FEW, Peaks


class Own:
    """An intervention of a user's own, with one thing wrong."""

    def __init__(self, edit=lambda a: a, layers=(1,), component="head", label="mine"):
        self.edit_, self.layers, self.component, self.label = edit, layers, component, label

    def edit(self, activation, _layer):
        return self.edit_(activation)

    def check(self, info):
        pass


def calls(llama, one, mask):
    """The ways in."""
    import sadi_lens as sl

    sample = sl.Sample("the ball is", (" red", " blue"), 0)
    other = sl.MaskedScaling(mask, 2.0)
    return {
        "generate": lambda: sl.generate(llama, "the ball is", one, max_new_tokens=2),
        "beside another": lambda: sl.generate(
            llama, ["the ball is"] * 2, [other, one], max_new_tokens=2
        ),
        "evaluate": lambda: sl.evaluate(llama, [sample], one, progress=False),
        "evaluate several": lambda: sl.evaluate(
            llama, [sample], [None, one, other], progress=False
        ),
        "steer": lambda: _steered(llama, one),
    }


def _steered(llama, one):
    import torch

    import sadi_lens as sl

    with sl.steer(llama, one):
        llama(torch.tensor([llama.tokenizer("the ball is")["input_ids"]]))


@pytest.mark.parametrize(
    "edit",
    [
        lambda a: a.long(),
        lambda a: a > 0,
        lambda a: a.half(),
        lambda a: a.double(),
        lambda a: a.transpose(-1, -2),
        lambda a: a.flatten(-2),
        lambda a: a[..., :1],
        lambda a: a.to("meta"),
        lambda _: None,
        lambda _: 1.0,
        lambda a: (a,),
    ],
)
def test_an_edit_must_return_what_stands_there(llama, differences, edit):
    import sadi_lens as sl

    one, mask = Own(edit), sl.top_k_mask(differences["head"], 2)
    before = sl.generate(llama, "the ball is", max_new_tokens=2)
    for name, call in calls(llama, one, mask).items():
        with pytest.raises(
            ValueError, match=r"edit of 'mine' must return a tensor \(.*layer 1\), got"
        ):
            raise AssertionError(name, call())
        assert sl.generate(llama, "the ball is", max_new_tokens=2) == before, name


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layers": None}, "layers of Own must be a tuple of whole numbers in [0, 2]"),
        ({"layers": 0}, "layers of Own must be"),
        ({"layers": (99,)}, "layers of Own must be"),
        ({"layers": (-1,)}, "layers of Own must be"),
        ({"layers": (1.5,)}, "layers of Own must be"),
        ({"layers": "1"}, "layers of Own must be"),
        ({"layers": (True,)}, "layers of Own must be"),
        ({"component": "nope"}, "component of Own must be one of"),
        ({"component": None}, "component of Own must be one of"),
        ({"label": None}, "label of Own must be text"),
    ],
)
def test_what_an_intervention_says_of_itself_is_checked(llama, differences, wrong, said):
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["head"], 2)
    for name, call in calls(llama, Own(**wrong), mask).items():
        with pytest.raises(ValueError, match=re.escape(said)):
            raise AssertionError(name, call())


def test_an_edit_that_writes_into_what_it_is_given_reaches_the_chosen_tokens_alone(llama):
    """As one that returns a new tensor: what stands before the last prompt token is no business of it."""
    import sadi_lens as sl

    ids = torch.tensor([llama.tokenizer("Tom says the big red hat")["input_ids"]])

    def run(edit):
        with torch.no_grad(), sl.steer(llama, Own(edit, component="hidden")):
            return llama(ids)

    found, new = run(lambda a: a.mul_(3.0)), run(lambda a: a * 3.0)
    with torch.no_grad():
        plain = llama(ids)
    assert torch.equal(found, new)
    assert torch.equal(found[0, :-1], plain[0, :-1])
    assert not torch.equal(found[0, -1], plain[0, -1])


@pytest.mark.parametrize("scale", [2.0, [[2.0]] * 4])
def test_scale_and_shift_are_tensors(llama, scale):
    import sadi_lens as sl
    from sadi_lens.engine.intervention import Affine, AffineIntervention

    class Halve(AffineIntervention):
        component, layers, label = "head", (1,), "halve"

        def affine(self, _layer):
            return Affine(scale, None)

        def check(self, info):
            pass

    with pytest.raises(
        ValueError, match=r"no tensor, for component 'head' in layer 1, the model has \[4 units"
    ):
        sl.generate(llama, "the ball is", Halve(), max_new_tokens=2)


@pytest.mark.parametrize("width", [4, FEW], ids=["few", "many"])
@pytest.mark.parametrize("value", [2e16, -2e16, math.inf, -math.inf, math.nan])
def test_a_row_is_out_of_range_whatever_the_sign_and_size(width: int, value: float) -> None:
    peaks = Peaks()
    for layer in range(3):
        values = torch.full((3, 2, width), 1e15)
        values[1, -1, width // 2] = value if layer == 1 else -1e15
        peaks.note(("head", layer), values, (0, None))
    found = peaks.overflow()
    assert found is not None
    assert (found[0].tolist(), found[1]) == ([False, True, False], "component 'head' in layer 1")
    assert peaks.overflow() is None, "asked once a pass"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("width", [4, FEW], ids=["few", "many"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_row_is_out_of_range_in_every_dtype(dtype: torch.dtype, width: int, value: float) -> None:
    """The bound itself is beyond float16."""
    from sadi_lens.serving.overflow import is_over

    peaks, values = Peaks(), torch.full((3, 1, width), 60000, dtype=dtype)
    values[1, 0, 1] = value
    peaks.note(("head", 0), values, (0, None))
    found = peaks.overflow()
    assert found is not None
    assert found[0].tolist() == is_over(values)[:, 0].tolist() == [False, True, False]


@pytest.mark.parametrize("width", [4, FEW], ids=["few", "many"])
def test_only_edited_columns_of_real_tokens_count(width: int) -> None:
    peaks, values = Peaks(), torch.zeros(2, 3, width)
    values[:, 0] = values[0, 1] = math.nan
    peaks.note(
        ("hidden", 0), values, (1, 3), torch.tensor([[False, False, True], [True, True, True]])
    )
    assert peaks.overflow() is None


def test_what_was_noted_stays_when_the_pass_writes_over_it() -> None:
    peaks, values = Peaks(), torch.zeros(1, 1, 4)
    peaks.note(("hidden", 0), values, (0, None))
    values.fill_(math.nan)
    assert peaks.overflow() is None


@pytest.mark.parametrize("widths", [(4, FEW + 1), (FEW + 1, 4)])
def test_a_pass_that_broke_off_does_not_count_in_the_next(widths: tuple[int, int]) -> None:
    """As where memory ran out, and the pass is run again in halves."""
    peaks = Peaks()
    peaks.note(("hidden", 0), torch.full((1, 1, widths[0]), math.inf), (0, None))
    peaks.note(("hidden", 0), torch.zeros(1, 1, widths[1]), (0, None))
    assert peaks.overflow() is None
