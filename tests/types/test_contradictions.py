"""Results built by hand: what contradicts itself is refused when it is built, not printed later."""

from dataclasses import replace

import numpy as np
import pytest


@pytest.fixture
def results(info, head_differences):
    """Name -> a result that is whole."""
    import sadi_lens as sl
    from sadi_lens.types.results import (
        ActivationShifts,
        GenerationTrace,
        GroupResult,
        Guards,
        MethodRow,
        Picks,
        SideEffectCurve,
        SideEffects,
    )
    from sadi_lens.types.stats import Interval

    right, chosen = np.array([0, 1, 0, 1]), np.array([0, 1, 1, -1])
    evidence = np.array([[1, -1], [-1, 1], [-2, 2], [1, -1]], np.float32)
    picks = Picks(("Yes", "No"), right, chosen, evidence)
    evaluation = sl.types.Evaluation(
        *("unsteered", info, "toy", "dev", "last_prompt", "sum"),
        correct=chosen == right,
        margins=np.array([2, 2, -4, -2], np.float32),
        valid=np.ones(4, bool),
        choice_scores=np.zeros((4, 2), np.float32),
        items="abcd",
        texts=("a", "b", "c", "d"),
        groups=("x", "x", "y", "y"),
        clusters=np.array([0, 0, 1, 1]),
        picks=picks,
    )
    correct = np.array([[[True, True, False, False], [True, False, False, False]]])
    row = MethodRow(
        *("a", 0.5, Interval(0.1, 0.9), 0.25, Interval(-0.1, 0.5), 0.5, 1.0, 1.0),
        mended=1,
        groups=(GroupResult("x", 4, 0.5, 1, 0),),
    )
    base = MethodRow("u", 0.25, Interval(0, 1), 0.0, Interval(0, 0), 1.0, 1.0, 1.0)
    null = sl.types.NullBand("n", 3, 5.0, False, np.array([0.5, 0.6]), np.zeros(2))
    return {
        "evaluation": evaluation,
        "picks": picks,
        "guards": Guards.of(picks, picks),
        "null": null,
        "effects": SideEffects(0.5, 1.5, 0.1, 2.0, 3, 12, "every_step"),
        "row": row,
        "group": row.groups[0],
        "comparison": sl.types.Comparison(
            info, "toy", "test", "head", "last_prompt", 4, 0.5, (base, row), (null,)
        ),
        "differences": head_differences,
        "shifts": ActivationShifts(
            *(info, "head", 0, "last_prompt"),
            np.zeros((4, 8), np.float32),
            np.zeros((1, 4, 8), np.float32),
            methods=("SADI",),
            kinds=("adaptive",),
            prompts=tuple("abcd"),
        ),
        "trace": GenerationTrace(
            *("a", "adaptive", info, "head", "every_step", "p", ("x", "y")),
            *(np.zeros(2, np.float32),) * 3,
            np.zeros((1, 2), np.float32),
        ),
        "curve": SideEffectCurve(
            *("a", "adaptive", info, "toy", "test", 4, (1.0,)),
            *(np.full(1, 0.5, np.float32),) * 4,
            0.5,
        ),
        "sweep": sl.types.Sweep(
            *("head", "signed", "scaling", info, "toy", "dev", "last_prompt", 4, (2,), (1.0, 2.0)),
            *(correct.mean(axis=2), np.zeros((1, 2)), np.ones((1, 2)), 0.5, 0.1, 0.5),
            correct=correct,
            unsteered_correct=np.array([True, True, False, False]),
        ),
    }


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("evaluation", {"correct": np.ones(4, bool)}, "picks must be of the same items as correct"),
        ("evaluation", {"correct": np.ones(3, bool)}, r"margins of Evaluation must be .*\[3\]"),
        ("evaluation", {"correct": np.ones(4, int)}, "correct of Evaluation must be an array"),
        ("evaluation", {"texts": ("a",)}, "texts must be empty or one an item: 4, got 1"),
        ("evaluation", {"groups": ("a",) * 5}, "groups must be empty or one an item: 4, got 5"),
        ("evaluation", {"clusters": np.zeros(4)}, "clusters must be whole numbers, got float64"),
        ("evaluation", {"clusters": np.array(list("abcd"))}, "clusters must be whole numbers"),
        ("evaluation", {"clusters": np.arange(4) - 1}, r"clusters must be in \[0, 1000000\]"),
        ("evaluation", {"clusters": np.arange(4) * 10**9}, r"clusters must be in \[0, 1000000\]"),
        ("evaluation", {"skipped": -1}, "skipped of Evaluation must be at least 0"),
        ("picks", {"chosen": np.array([0, 1, 2, 0])}, r"chosen must be in \[-1, 1\]"),
        ("picks", {"right": np.array([0, 1, -1, 0])}, r"right must be in \[0, 1\]"),
        ("picks", {"evidence": np.zeros((4, 0), np.float32)}, "evidence must be .* of 2 answers"),
        ("guards", {"shares": ()}, "shares must hold at least 1 answer, got 0"),
        (
            "null",
            {"accuracies": np.array([0.5, 1.5])},
            r"accuracies of NullBand must be in \[0, 1\]",
        ),
        ("null", {"margins": np.zeros(3)}, r"margins of NullBand must be .*\[2\], got \[3\]"),
        ("null", {"accuracies": np.zeros(0), "margins": np.zeros(0)}, "at least 1 draw, got 0"),
        ("null", {"k": -1}, "k of NullBand must be at least 0, got -1"),
        ("effects", {"repetition": 1.5}, r"repetition of SideEffects must be in \[0, 1\]"),
        ("effects", {"perplexity_ratio": -1.0}, "perplexity_ratio must not be negative"),
        ("effects", {"n_tokens": -3}, "n_tokens of SideEffects must be at least 0"),
        ("row", {"kind": "x"}, "kind must be one of"),
        ("row", {"null_p": 0.0}, "null_p must be above 0"),
        ("row", {"mended": 3}, "mended must be the sum over groups, 1, got 3"),
        ("group", {"n": 0}, "n of GroupResult must be at least 1, got 0"),
        ("group", {"mended": -1}, "mended of GroupResult must be at least 0"),
        ("comparison", {"n": 2}, "gain of row 'a' must be .*0.5, got 0.25"),
        ("comparison", {"rows": ()}, "rows must hold at least one row"),
        ("comparison", {"component": "x"}, "component of Comparison must be one of"),
        ("differences", {"mean": [[1.0]]}, "mean of ActivationDifferences must be an array"),
        ("differences", {"n": 0}, "n of ActivationDifferences must be at least 1"),
        ("differences", {"std": -np.ones((3, 4), np.float32)}, "std must not be negative, got -1"),
        ("sweep", {"n": 3}, r"correct of Sweep must be .*\[1, 2, 3\], got \[1, 2, 4\]"),
        ("sweep", {"accuracy": np.array([[0.5, 0.5]])}, "the mean of correct, 0.25, got 0.5"),
        ("sweep", {"unsteered_accuracy": 0.6}, "the mean of unsteered_correct, 0.5, got 0.6"),
        ("sweep", {"correct": np.full((1, 2, 4), "a")}, "correct must be a bool array, got <U1"),
        ("sweep", {"strengths": (1.0, 1.0)}, "strengths must differ"),
        ("sweep", {"strengths": (1.0, float("nan"))}, "strengths of Sweep must be finite"),
        ("sweep", {"strengths": (1.0,)}, r"accuracy of Sweep must be .*\[1, 1\], got \[1, 2\]"),
        ("sweep", {"component": "x"}, "component of Sweep must be one of"),
        ("shifts", {"kinds": ()}, "kinds must name one kind a method: 1, got 0"),
        ("shifts", {"prompts": ("a",)}, "prompts must be empty or one an item: 4, got 1"),
        ("trace", {"kind": "x"}, "kind must be one of"),
        ("curve", {"kind": "x"}, "kind must be one of"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(results, name, change, said):
    with pytest.raises(ValueError, match=said):
        replace(results[name], **change)


def test_a_contrast_that_is_not_the_difference_of_its_rows_is_refused(results):
    from sadi_lens.types.results import Contrast
    from sadi_lens.types.stats import Interval

    wrong = Contrast("a", "u", -0.25, Interval(-0.5, 0.0), 0.5, 0.5)
    with pytest.raises(
        ValueError, match=r"difference of the contrast .* must be .* 0\.25, got -0\.25"
    ):
        replace(results["comparison"], contrasts=(wrong,))


def test_an_interval_that_is_upside_down_is_not_saved(tmp_path):
    """A named tuple is not checked as it is built."""
    import sadi_lens as sl
    from sadi_lens.types.stats import Interval

    with pytest.raises(ValueError, match=r"low must not be above high, got 0\.9 and 0\.1"):
        sl.save(Interval(0.9, 0.1), tmp_path / "it")
    assert not (tmp_path / "it").exists()
