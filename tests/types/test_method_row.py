"""A line of a comparison holds only numbers that can be."""

import math
import re

import numpy as np
import pytest


def row(**changes):
    from sadi_lens.types.results import MethodRow
    from sadi_lens.types.stats import Interval

    fields = {
        "label": "a",
        "accuracy": 0.5,
        "interval": Interval(0.1, 0.9),
        "gain": 0.1,
        "gain_interval": Interval(-0.1, 0.3),
        "mcnemar_p": 0.5,
        "margin": 1.0,
        "valid_rate": 1.0,
    }
    return MethodRow(**{**fields, **changes})


@pytest.mark.parametrize("name", ["accuracy", "valid_rate", "mcnemar_p"])
@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1, 73])
def test_a_rate_that_is_none_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} of MethodRow must be in \[0, 1\], got {value}"):
        row(**{name: value})
    with pytest.raises(ValueError, match=rf"{name} of MethodRow must be float, got None"):
        row(**{name: None})


@pytest.mark.parametrize("name", ["null_p", "layer_null_p", "holm_p", "dev_accuracy"])
def test_what_is_unknown_is_nan_and_else_a_rate(name):
    assert math.isnan(getattr(row(**{name: math.nan}), name))
    with pytest.raises(ValueError, match=rf"{name} of MethodRow must be in \[0, 1\], got 1.5"):
        row(**{name: 1.5})


def test_a_gain_that_is_no_number_is_refused():
    from sadi_lens.types.stats import Interval

    for changes in ({"gain": math.nan}, {"gain_interval": Interval(math.nan, 0.3)}):
        with pytest.raises(ValueError, match="gain, interval and gain_interval of 'a' must be fin"):
            row(**changes)


def test_a_contrast_refuses_what_is_no_probability():
    from sadi_lens.types.results import Contrast
    from sadi_lens.types.stats import Interval

    with pytest.raises(ValueError, match=r"holm_p of Contrast must be in \[0, 1\], got nan"):
        Contrast("a", "b", 0.1, Interval(-0.1, 0.3), 0.5, math.nan)


def comparison(*rows, **changes):
    from sadi_lens.types.model import ModelInfo
    from sadi_lens.types.results import Comparison

    model = ModelInfo(
        "m", "Llama", n_layers=2, n_heads=2, d_head=2, d_model=4, d_mlp=8, fingerprint="0"
    )
    fields = {"task": "t", "split": "test", "component": "head", "position": "last_prompt", "n": 4}
    return Comparison(**{"model": model, **fields, "chance": 0.5, "rows": rows, **changes})


def test_a_comparison_refuses_rows_and_bands_that_do_not_belong_together():
    none, one = row(kind="unsteered", label="none"), row()
    for rows, changes, said in (
        ((none, one), {"chance": 7.0}, r"chance of Comparison must be in \[0, 1\], got 7"),
        ((none, one, one), {}, "rows of a comparison need different labels, got 'a' twice"),
        ((none, row(null="rand")), {}, "null of 'a' must be one of"),
        ((none, row(layer_null="rand")), {}, "layer_null of 'a' must be one of"),
    ):
        with pytest.raises(ValueError, match=said):
            comparison(*rows, **changes)
    assert comparison(none, one).row("a") is one


def evaluation(info, n_right, n=120):
    """The first ``n_right`` of ``n`` items right."""
    from sadi_lens.types.results import Evaluation

    right = np.arange(n) < n_right
    return Evaluation(
        label=f"{n_right} right",
        model=info,
        task="toy",
        split="test",
        position="last_prompt",
        scoring="sum",
        correct=right,
        margins=np.where(right, 1.0, -1.0).astype(np.float32),
        valid=np.full(n, True),
        choice_scores=np.stack(
            [np.where(right, 0.0, -1.0), np.where(right, -1.0, 0.0)], axis=1
        ).astype(np.float32),
        items="the same",
    )


@pytest.mark.parametrize(
    ("p", "holm", "ends", "alone", "corrected"),
    [
        (0.01, 0.04, (0.01, 0.2), 1, 1),
        (0.01, 0.06, (0.01, 0.2), 1, 0),
        (
            0.0625,
            0.0625,
            (0.001, 0.083),
            0,
            0,
        ),  # 4 of 120 mended, none broken: an interval without 0, no test
        (0.01, 0.01, (-0.01, 0.2), 0, 0),
        (0.01, math.nan, (-0.2, -0.01), -1, -1),
    ],
)
def test_a_difference_is_told_from_zero_by_test_and_interval(p, holm, ends, alone, corrected):
    from sadi_lens.types.stats import Interval

    one = row(mcnemar_p=p, holm_p=holm, gain=sum(ends) / 2, gain_interval=Interval(*ends))
    assert (one.moved(corrected=False), one.moved()) == (alone, corrected)


def test_four_mended_and_none_broken_is_no_change_wherever_it_is_said(info):
    from sadi_lens.apps.report import verdict
    from sadi_lens.plots._accuracy import _title
    from sadi_lens.types.results import Comparison

    base, steered = evaluation(info, 60), evaluation(info, 64)
    found = Comparison.of([base, steered], details={steered.label: {"kind": "adaptive"}})
    assert found.rows[1].gain_interval.low > 0
    assert found.rows[1].mcnemar_p == 0.0625
    assert "changes nothing that can be told from chance" in _title(found)
    assert verdict(found).outcome == "no change"
    from sadi_lens.types.results import what_changed

    assert what_changed(steered, base).endswith("no change that the data can tell from zero.")


def test_a_comparison_needs_evaluations_that_were_scored_alike(info):
    from dataclasses import replace

    from sadi_lens.types.results import Comparison

    with pytest.raises(ValueError, match="must hold at least 1, the unsteered model first; got 0"):
        Comparison.of([])
    other = replace(evaluation(info, 64), scoring="per_token")
    with pytest.raises(ValueError, match="must be scored alike, got 'sum' and 'per_token'"):
        Comparison.of([evaluation(info, 60), other])


def test_the_gain_of_the_unsteered_model_itself_is_zero_and_no_estimate():
    from sadi_lens.types.results.table import points_text
    from sadi_lens.types.stats import Interval

    same = row(is_unsteered=True, gain=0.0, gain_interval=Interval(0.0, 0.0), mcnemar_p=1.0)
    assert points_text(same.gain, same.gain_interval) == "0 (unsteered)"
    assert same.moved() == 0
    for changes in ({"gain": 0.1}, {"gain": 0.0}):
        with pytest.raises(ValueError, match="of 'a' must be 0, as it is the unsteered model; got"):
            row(is_unsteered=True, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interval": (0.6, 0.9)}, "the interval of its accuracy must lie in [0, 1] round 0.5, got [0.6, 0.9]"),
        ({"interval": (-0.1, 0.9)}, "the interval of its accuracy must lie in [0, 1] round 0.5, got [-0.1, 0.9]"),
        ({"interval": (0.1, 1.2)}, "the interval of its accuracy must lie in [0, 1] round 0.5, got [0.1, 1.2]"),
        ({"gain_interval": (0.2, 0.3)}, "the interval of its gain must lie in [-1, 1] round 0.1, got [0.2, 0.3]"),
        ({"gain_interval": (-1.5, 0.3)}, "the interval of its gain must lie in [-1, 1] round 0.1, got [-1.5, 0.3]"),
    ],
)  # fmt: skip
def test_an_interval_that_is_not_round_its_value_is_refused(changes, message):
    from sadi_lens.types.stats import Interval

    with pytest.raises(ValueError, match=re.escape(message)):
        row(**{name: Interval(*ends) for name, ends in changes.items()})
