"""What a comparison says, from numbers given by hand."""

from dataclasses import replace

import pytest


@pytest.fixture
def comparison(info):
    import numpy as np

    from sadi_lens.types.results import Comparison, Contrast, MethodRow, NullBand
    from sadi_lens.types.stats import Interval

    def row(label, accuracy, **rest):
        return MethodRow(
            label, accuracy, Interval(0, 1), accuracy - 0.5, Interval(0, 1), 0.01, 1.0, 1.0, **rest
        )

    null = NullBand("null", 3, 5.0, False, np.array([0.5, 0.6, 0.9]), np.zeros(3), n_cells=48)
    rows = (
        row("unsteered", 0.5, n_candidates=1, dev_accuracy=0.55),
        row(
            "sadi-head",
            0.9,
            null="null",
            null_p=0.5,
            holm_p=0.02,
            n_candidates=48,
            dev_accuracy=0.95,
        ),
        row("matched-norm", 0.6),
        row("matched-kl", 0.95),
        row("fixed-norm", 0.8),
        row("random", 0.89, n_candidates=48),
    )
    contrasts = (
        Contrast("sadi-head", "matched-norm", 0.3, Interval(0.1, 0.5), 0.001, 0.003, 4),
        Contrast("sadi-head", "matched-kl", -0.05, Interval(-0.09, -0.01), 0.01, 0.02),
        Contrast("sadi-head", "fixed-norm", 0.1, Interval(0.01, 0.2), 0.02, 0.08),
        Contrast("sadi-head", "random", 0.01, Interval(-0.1, 0.12), 0.9, 0.9),
    )
    return Comparison(
        info, "toy", "test", "head", "last_prompt", 20, 0.5, rows, (null,), contrasts
    )  # fmt: skip


def test_conclusions_say_what_the_numbers_say(comparison):
    from sadi_lens.types.results.conclusions import conclusions

    norm, kl, fixed, random, mask = conclusions(comparison)
    assert norm.startswith("sadi-head beats a fixed vector on the same units")
    assert (
        "90.0% against 60.0%, +30.0 points [+10.0, +50.0], Holm p = 0.003 for 4 comparisons" in norm
    )
    assert kl.startswith("sadi-head loses to")
    alone = replace(comparison, contrasts=(replace(comparison.contrasts[0], n_family=1),))
    assert "[+10.0, +50.0], p = 0.003." in conclusions(alone)[0]
    # The interval excludes 0, the corrected test does not: no verdict.
    assert fixed.startswith("sadi-head is not told apart from a fixed vector with K and strength")
    assert mask == (
        "The mask of sadi-head is not told apart from random masks (null): 1 of 3 do as well "
        "(p = 0.500 [0.068, 0.932])."
    )
    assert random.startswith(
        "sadi-head is not told apart from the best of the random masks tried on dev"
    )


def test_random_masks_are_beaten_only_after_the_correction_for_all_places(comparison):
    import dataclasses

    from sadi_lens.types.results.conclusions import conclusions

    def said(*p_values):
        rows = tuple(
            dataclasses.replace(one, null="null", null_p=p, layer_null="")
            for one, p in zip(comparison.rows[1:], p_values, strict=False)
        )
        found = dataclasses.replace(comparison, rows=(comparison.rows[0], *rows), contrasts=())
        return conclusions(found)

    assert said(0.03)[0].startswith("The mask of sadi-head beats random masks")
    assert said(0.03, 0.04)[0] == (
        "The mask of sadi-head is not told apart from random masks (null): 1 of 3 do as well "
        "(p = 0.030 [0.068, 0.932], Holm p = 0.060 for 2 tests)."
    )
    assert said(0.02, 0.9)[0].startswith("The mask of sadi-head beats random masks")


def test_random_masks_that_did_not_choose_are_counted_and_give_no_p_value(comparison):
    import dataclasses

    from sadi_lens.types.results.conclusions import conclusions
    from sadi_lens.types.results.table import METHOD_COLUMNS, method_rows

    sadi = dataclasses.replace(comparison.rows[1], null_p=float("nan"))
    found = dataclasses.replace(comparison, rows=(comparison.rows[0], sadi), contrasts=())
    assert conclusions(found) == (
        "1 of 3 random masks (null) do as well as sadi-head: no test, since they did not choose on dev as it did.",
    )
    assert found.null_holm() == {}
    cells = dict(zip(METHOD_COLUMNS, method_rows(found)[1], strict=True))
    assert cells["random as good"] == "1 of 3"


def test_a_method_is_set_against_its_own_controls_alone(comparison):
    """A fixed vector on the units of another method, that pushes as far as that one, is no control of this one."""
    import dataclasses

    from sadi_lens.types.results.conclusions import conclusions

    others = tuple(
        dataclasses.replace(comparison.rows[2], label=label, control_of=of)
        for label, of in (("matched-norm, sadi-effect", "sadi-effect"), ("sadi-effect", ""))
    )
    rows = (*comparison.rows, *others)
    accuracy = {one.label: one.accuracy for one in rows}
    pairs = (
        ("sadi-head", "matched-norm, sadi-effect"),
        ("sadi-effect", "matched-norm, sadi-effect"),
        ("sadi-head", "matched-norm"),
        ("sadi-effect", "matched-norm"),
        ("sadi-effect", "random"),
    )
    contrasts = tuple(
        dataclasses.replace(
            comparison.contrasts[0],
            first=first,
            second=second,
            difference=accuracy[first] - accuracy[second],
        )
        for first, second in pairs
    )

    def said(**changes):
        changed = tuple(
            dataclasses.replace(one, **changes) if one.label == "matched-norm" else one
            for one in rows
        )
        blank = tuple(dataclasses.replace(one, null="") for one in changed)
        lines = conclusions(dataclasses.replace(comparison, rows=blank, contrasts=contrasts))
        return [(line.split()[0], line.split("(")[1].split(")")[0]) for line in lines]

    own = ("sadi-effect", "matched-norm, sadi-effect")
    assert ("sadi-head", "matched-norm, sadi-effect") not in said()
    assert sorted(said(control_of="sadi-head")) == [
        own,
        ("sadi-effect", "random"),
        ("sadi-head", "matched-norm"),
    ]


def test_no_difference_is_said_only_inside_the_margin(comparison):
    import dataclasses

    from sadi_lens.types.results.conclusions import conclusions
    from sadi_lens.types.stats import Interval

    def said(low, high):
        one = dataclasses.replace(comparison.contrasts[3], interval=Interval(low, high))
        return conclusions(dataclasses.replace(comparison, contrasts=(one,)))[0]

    assert "does not beat, by 5 points or more, the best" in said(-0.2, 0.04)
    assert "is within 5 points of the best" in said(-0.049, 0.04)
    assert "is not told apart from the best" in said(-0.2, 0.06)


def test_harm_stands_beside_the_gain_and_by_group(comparison):
    import dataclasses

    from sadi_lens.types.results import GroupResult
    from sadi_lens.types.results.conclusions import conclusions
    from sadi_lens.types.results.table import group_columns, group_rows, power_text

    groups = (GroupResult("none", 8, 0.75, 0, 2), GroupResult("wrong", 12, 1.0, 10, 0))
    none = GroupResult("wrong", 12, 2 / 12, 0, 0)
    base, steered, *rest = comparison.rows
    rows = (
        dataclasses.replace(base, groups=(GroupResult("none", 8, 1.0, 0, 0), none)),
        dataclasses.replace(
            steered, kind="adaptive", mended=10, broken=2, n_effective=20.0, groups=groups
        ),
        *rest,
    )
    found = dataclasses.replace(comparison, rows=rows)
    assert conclusions(found)[-1] == (
        "sadi-head mends 10 and breaks 2 of 20 items of the unsteered model; points by group: none -25.0 (n = 8), "
        "wrong +83.3 (n = 12)."
    )
    assert group_columns(found) == ("method", "none (n = 8)", "wrong (n = 12)")
    assert group_rows(found)[1] == ("sadi-head", "75.0% (+0 -2)", "100.0% (+10 -0)")
    frame = found.by_group()
    assert frame["gain"].tolist() == [0.0, 0.0, -0.25, 10 / 12]
    # 2.8016 sqrt(0.6 / 20)
    assert "n = 20 can tell 48.5 points apart (80% power, at the 60% of items" in power_text(found)
    # One item of 20 changes, so that no difference above 5 points is possible; 2.8016^2 / 20 = 39.2 points is no size
    # that could be found.
    few = dataclasses.replace(
        steered, kind="adaptive", mended=1, broken=0, gain=0.05, accuracy=base.accuracy + 0.05,
        n_effective=20.0,
    )  # fmt: skip
    found = dataclasses.replace(comparison, rows=(base, few), contrasts=())
    assert power_text(found) == (
        "n = 20 cannot tell any difference apart (80% power) at the 5% of items that sadi-head changes"
    )
    found = dataclasses.replace(found, rows=rows)
    with pytest.raises(ValueError, match="label must be of a steered row, got 'unsteered'"):
        found.detectable("unsteered")


def test_no_row_no_conclusion(comparison):
    import dataclasses

    from sadi_lens.types.results.conclusions import conclusions

    bare = dataclasses.replace(comparison, rows=comparison.rows[:1], contrasts=())
    assert conclusions(bare) == ()


def test_what_is_not_known_is_blank_in_the_tables(comparison):
    """Free text has no margin, and a finished intervention no accuracy on dev."""
    import dataclasses

    import numpy as np

    from sadi_lens.types.results.table import COMPARED_COLUMNS, compared_rows

    nan = float("nan")
    rows = tuple(
        dataclasses.replace(one, margin=nan, dev_accuracy=nan, n_candidates=0)
        for one in comparison.rows
    )
    nulls = (dataclasses.replace(comparison.nulls[0], margins=np.full(3, nan)),)
    found = compared_rows(dataclasses.replace(comparison, rows=rows, nulls=nulls))
    assert "nan" not in str(found)
    cells = dict(zip(COMPARED_COLUMNS, found[1], strict=True))
    assert (cells["dev (tried)"], cells["margin (nats)"]) == ("", "")


def test_the_tables_are_text(comparison):
    from sadi_lens.types.results.table import (
        COMPARED_COLUMNS,
        SIDE_COLUMNS,
        compared_rows,
        side_rows,
    )

    rows = compared_rows(comparison)
    assert {len(one) for one in rows} == {len(COMPARED_COLUMNS)}
    sadi = dict(zip(COMPARED_COLUMNS, rows[1], strict=True))
    assert (sadi["dev (tried)"], sadi["Holm p"]) == ("95.0% (48)", "0.02")
    assert sadi["random as good"] == "1 of 3, p 0.500 [0.07, 0.93]"
    assert sadi["gain"] == "+40.0 [+0.0, +100.0]"
    assert rows[0][4] == ""  # no gain over itself
    assert rows[-1][0].startswith("random masks, median of 3")
    # Never run on neutral text: blank, not a number.
    assert side_rows(comparison)[1] == ("sadi-head", "", "", "", "", "")
    assert len(SIDE_COLUMNS) == 6


def test_what_rounds_to_zero_has_no_minus_in_a_table():
    from sadi_lens.types.results.table import interval_text, points_text

    assert points_text(-0.0001, (-0.0002, 0.013)) == "+0.0 [+0.0, +1.3]"
    assert interval_text((-0.004, -0.006), "+.2f") == "[+0.00, -0.01]"
