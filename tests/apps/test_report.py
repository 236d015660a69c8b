"""The report's words and tables from hand-made results, and what it refuses. No model, no browser."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest


def row(label, accuracy, **changes):
    from sadi_lens.types.results import MethodRow
    from sadi_lens.types.stats import Interval

    fields = {
        "interval": Interval(accuracy - 0.05, accuracy + 0.05),
        "gain": accuracy - 0.5,
        "gain_interval": Interval(accuracy - 0.6, accuracy - 0.4),
        "mcnemar_p": 0.001,
        "margin": 0.25,
        "valid_rate": 0.75,
        "kind": "adaptive",
    }
    return MethodRow(label, accuracy, **{**fields, **changes})


def null(accuracies=(0.4, 0.5, 0.6, 0.7), **changes):
    from sadi_lens.types.results import NullBand

    values = np.array(accuracies, dtype=np.float64)
    return NullBand("random", 2, 3.0, False, values, values, **changes)


def comparison(info, *rows, nulls=(), n=40):
    from sadi_lens.types.results import Comparison

    base = row("unsteered", 0.5, kind="unsteered", gain=0.0, mcnemar_p=1.0)
    return Comparison(info, "toy task", "test", "head", "last_prompt", n, 0.5, (base, *rows), nulls)


@pytest.mark.parametrize(
    ("changes", "outcome", "start", "end"),
    [
        (
            {"null": "random", "null_p": 0.02},
            "helped",
            "Steering helped: SADI 75.0% (+25.0 points, 95% interval +15.0 to +35.0) on 40 test items; "
            "unsteered 50.0%.",
            "Which units are scaled matters: 1 of 5 random masks of the same size do at least as well (p = 0.020).",
        ),
        (
            {"null": "random", "null_p": 0.4},
            "helped",
            "Steering helped: SADI",
            "It is not shown that the choice of units matters: 1 of 5 random masks of the same size do at least as "
            "well (p = 0.400).",
        ),
        (
            {"null": "random"},
            "helped",
            "Steering helped: SADI",
            "Random masks that did not choose on dev as the method did are no test: 1 of 5 random masks of "
            "the same size do at least as well.",
        ),
        (
            {},
            "helped",
            "Steering helped: SADI",
            "No random masks were drawn, so nothing says whether these units matter.",
        ),
        (
            {"mcnemar_p": 0.2},
            "no change",
            "No change that the data can tell from zero: SADI",
            "matter.",
        ),
        (
            {"gain_interval": (-0.01, 0.5)},
            "no change",
            "No change that the data can tell from zero: SADI",
            "matter.",
        ),
        (
            {"accuracy": 0.25, "gain": -0.25, "gain_interval": (-0.4, -0.1), "valid_rate": 0.3},
            "hurt",
            "Steering made it worse: SADI 25.0% (\u221225.0 points, 95% interval \u221240.0 to \u221210.0) on 40 test "
            "items; unsteered 50.0%.",
            "matter. Valid answers: 30.0%, unsteered 75.0%.",
        ),
    ],
)
def test_the_verdict_follows_interval_test_and_null(info, changes, outcome, start, end):
    from sadi_lens.apps.report import verdict
    from sadi_lens.types.stats import Interval

    if "gain_interval" in changes:
        changes = {**changes, "gain_interval": Interval(*changes["gain_interval"])}
    if "accuracy" in changes:
        changes = {**changes, "interval": Interval(0.1, 0.4)}
    one = replace(row("SADI", 0.75), **changes)
    found = verdict(comparison(info, one, nulls=(null((0.4, 0.5, 0.6, 0.7, 0.8)),)))
    assert found.outcome == outcome
    assert found.sentence.startswith(start)
    assert found.sentence.endswith(end)


def test_the_verdict_covers_every_adaptive_row_and_corrects_for_them(info):
    from sadi_lens.apps.report import verdict
    from sadi_lens.types.stats import Interval

    band = null((0.4, 0.5, 0.6, 0.7, 0.8))
    rows = (
        row("fixed", 0.9, kind="fixed"),
        row("SADI", 0.75, null="random", null_p=0.3),
        row("by effect", 0.95, null="random", null_p=0.01, valid_rate=0.6),
    )
    found = verdict(comparison(info, *rows, nulls=(band,)))
    assert [one.label for one in found.rows] == ["SADI", "by effect"]
    assert found.outcome == "helped"
    assert "SADI 75.0%" in found.sentence
    assert "by effect 95.0%" in found.sentence
    assert (
        "matters for by effect (0 of 5 random masks do at least as well, Holm p = 0.020 for 2 tests); "
        in found.sentence
    )
    assert (
        "it is not shown for SADI (1 of 5 random masks do at least as well, Holm p = 0.300 for 2 tests)."
        in found.sentence
    )
    several = [replace(one, null="random", null_p=0.03) for one in rows]
    assert "It is not shown that the choice of units matters for SADI (1 of" in (
        verdict(comparison(info, *several, nulls=(band,))).sentence
    )
    assert "Valid answers: 75.0% and 60.0%, unsteered 75.0%." in found.sentence
    untested = [replace(one, null_p=float("nan")) for one in rows[1:]]
    assert (
        "are no test: SADI (1 of 5 random masks do at least as well), by effect (0 of 5 random masks do at least as "
        "well). Valid"
    ) in verdict(comparison(info, *untested, nulls=(band,))).sentence
    # p = 0.01 alone; 0.06 among all that were compared
    weak = (row("SADI", 0.75, holm_p=0.06), row("by effect", 0.95, holm_p=0.001))
    found = verdict(comparison(info, *weak))
    assert found.outcome == "mixed"
    assert found.sentence.startswith(
        "Of 2 adaptive methods 1 helped, 1 changed nothing: SADI 75.0%"
    )
    worse = row("third", 0.3, gain=-0.2, gain_interval=Interval(-0.3, -0.1))
    many = verdict(comparison(info, *weak, worse, row("fourth", 0.7))).sentence
    assert many.startswith("Of 4 adaptive methods 2 helped, 1 made it worse, 1 changed nothing: ")
    assert "4 adaptive methods reach 30.0% to 95.0%" in many
    assert [one.label for one in verdict(comparison(info, rows[0])).rows] == ["fixed"]
    alone = verdict(comparison(info))
    assert alone.outcome == "not measured"
    assert (
        alone.sentence
        == "Nothing was steered: the unsteered model answers 50.0% of 40 test items right."
    )


@pytest.mark.parametrize("n", [4, 6])
def test_cards_say_how_many_methods_have_none(info, n):
    from sadi_lens.apps.report import report_html

    rows = [row(f"method {at}", 0.7) for at in range(n)]
    page = report_html({"comparison": comparison(info, *rows)})
    assert page.count('<dd class="value">') == 4
    assert (f"The first 4 of {n} methods of this verdict; all of them stand in" in page) == (n > 4)


def test_a_cell_without_a_value_is_a_dash_that_sorts_last(info):
    from sadi_lens.apps.report.tables import methods

    table = methods(comparison(info, row("SADI", 0.75, margin=float("nan"))), lead=["SADI"])
    assert table.lead == (1,)
    heads = [head for head, _ in table.columns]
    assert heads == [
        "method", "accuracy", "gain (points)", "McNemar p", "random as good", "margin (nats)", "valid answers"
    ]  # fmt: skip
    unsteered, sadi = table.rows
    assert [cell.text for cell in unsteered] == [
        "unsteered", "50.0%", "\u2013", "\u2013", "\u2013", "+0.25", "75.0%"
    ]  # fmt: skip
    assert [cell.text for cell in sadi] == [
        "SADI", "75.0%", "+25.0", "0.001", "\u2013", "\u2013", "75.0%"
    ]  # fmt: skip
    assert sadi[2].note == "[+15.0, +35.0]"
    assert [sadi[column].sort for column in (1, 2, 4)] == ["0.75", "0.25", ""]
    assert sadi[3].note == ""  # one row needs no correction
    both = methods(comparison(info, row("SADI", 0.75, holm_p=0.012), row("other", 0.5)))
    assert (both.rows[1][3].text, both.rows[1][3].note) == ("0.001", "Holm 0.012")


def test_what_a_gain_is_made_of_stands_beside_it(info):
    from sadi_lens.apps.report.tables import gains
    from sadi_lens.types.results import Written
    from sadi_lens.types.stats import Interval

    plain = gains(comparison(info, row("SADI", 0.75, mended=12, broken=2)))
    assert [head for head, _ in plain.columns] == ["method", "mended", "broken"]
    assert [cell.text for cell in plain.rows[1]] == ["SADI", "12", "2"]
    assert [cell.text for cell in plain.rows[0]] == ["unsteered", "\u2013", "\u2013"]
    near = Interval(-0.1, 0.1)
    written = Written(0.625, near, 0.1, near, 0.9, 0.8)
    both = gains(comparison(info, row("SADI", 0.75, written=written)))
    assert both.columns[-1] == ("writes the right answer", True)
    assert [line[-1].text for line in both.rows] == ["\u2013", "62.5%"]


def test_units_carry_their_difference_and_rank(head_differences):
    import sadi_lens as sl
    from sadi_lens.apps.report.tables import units

    mask = sl.top_k_mask(head_differences, 3)
    rows = units("head", mask, head_differences).rows
    assert [int(cells[5].text) for cells in rows] == sorted(
        (1, 2, 3), key=lambda rank: mask.units.index(_unit_of_rank(head_differences, rank))
    )
    layer, unit = mask.units[0]
    assert rows[0][0].text == f"L{layer}H{unit}"
    assert float(rows[0][3].sort) == pytest.approx(float(head_differences.mean[layer, unit]))
    assert len(units("head", mask, None).rows[0]) == 3
    assert units("none", replace(mask, selected=np.zeros((3, 4), dtype=bool)), None).rows == ()


def _unit_of_rank(differences, rank):
    flat = np.sort(differences.mean.ravel())[::-1]
    layer, unit = np.argwhere(differences.mean == flat[rank - 1])[0]
    return int(layer), int(unit)


def test_every_part_of_a_run_is_in_the_page_and_missing_ones_are_left_out(info, head_differences):
    import sadi_lens as sl
    from sadi_lens.apps.report import report_html

    mask = sl.top_k_mask(head_differences, 2)
    results = {
        "differences": {"head": head_differences},
        "masks": {"head": mask},
        "comparison": comparison(info, row("SADI", 0.75, null="random", null_p=0.02), nulls=(null(),)),
        "finding": "What was seen & more.",
        "settings": {"component": "head", "n_pairs": 50, "n_dev": 30, "n_test": 40, "seed": 7},
    }  # fmt: skip
    page = report_html(results, versions={"sadi_lens": "9.9.9"})
    for words in (
        "<h1>toy task on toy</h1>",
        "Steering helped",
        "50 contrastive pairs",
        "30 dev items",
        "What was seen &amp; more.",
        "9.9.9",
        info.fingerprint,
        'id="differences_head"',
        'id="method_accuracy"',
    ):
        assert words in page, words
    assert "without a p-value" not in page
    # The table of the chosen units has what was measured of each.
    assert ">standard error<" in page
    one = comparison(info, row("SADI", 0.75, null="random"), nulls=(null(),))
    assert "it is no test" in report_html({"comparison": one})
    assert 'id="chosen"' not in page
    only = report_html({"differences": {"head": head_differences}})
    assert "does not say whether steering helps" in only
    assert 'id="found"' not in only
    tuned = {**results, "comparison": replace(results["comparison"], nulls=(null(n_cells=48),))}
    assert "tuned for the method" not in report_html(tuned)


def test_masks_that_chose_their_own_cell_are_not_said_to_have_one_k():
    from sadi_lens.apps.report.tables import nulls

    (given,), (own,) = (nulls([null(n_cells=n)]).rows for n in (0, 48))
    assert [cell.text for cell in given[1:4]] == ["4", "2", "3"]
    assert [cell.text for cell in own[1:4]] == ["4", "its own", "its own, both from dev"]


def test_a_report_is_written_from_a_file_a_folder_or_results(tmp_path, head_differences):
    import sadi_lens as sl
    from sadi_lens.types.store import write_json

    results = {"differences": {"head": head_differences}}
    source = write_json(results, tmp_path / "run" / "results.json")
    assert sl.apps.write_report(source) == tmp_path / "run" / "report.html"
    assert sl.apps.write_report(tmp_path / "run", tmp_path / "new" / "a.html").is_file()
    assert sl.apps.write_report(results, tmp_path / "b.html").is_file()
    versions = json.loads(source.read_text())["versions"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f">{versions['numpy']}</td>" in page
    with pytest.raises(ValueError, match="path is needed"):
        sl.apps.write_report(results)


def test_a_report_refuses_what_it_cannot_tell(tmp_path, head_differences):
    import sadi_lens as sl

    with pytest.raises(FileNotFoundError, match=r"holds no results.json; `sadi-lens demo --out"):
        sl.apps.write_report(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        sl.apps.write_report(tmp_path / "none.json")
    old = tmp_path / "results.json"
    old.write_text('{"format": "sadi_lens", "format_version": 0, "object": {}}')
    with pytest.raises(ValueError, match="has format version 0, this library reads 2"):
        sl.apps.write_report(tmp_path)
    with pytest.raises(ValueError, match=r"at least one of .*'comparison'.*, got \['x'\]"):
        sl.apps.write_report({"x": 1}, tmp_path / "a.html")
    with pytest.raises(ValueError, match="comparison must be a Comparison, got dict"):
        sl.apps.write_report({"comparison": {}}, tmp_path / "a.html")
    blank = replace(head_differences, mean=np.full((3, 4), np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match="at least one finite value"):
        sl.apps.write_report(
            {"differences": {"head": blank}, "masks": {"head": sl.top_k_mask(head_differences, 2)}},
            tmp_path / "a.html",
        )
    assert not (tmp_path / "a.html").exists()


def test_an_unwritable_place_is_named(tmp_path, head_differences):
    import sadi_lens as sl

    results = {"differences": {"head": head_differences}}
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        sl.apps.write_report(results, tmp_path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match=r"file is not a folder, so .*a.html cannot be written"):
        sl.apps.write_report(results, tmp_path / "file" / "a.html")
    assert (tmp_path / "file").read_text() == "kept"
    if os.geteuid():  # root may write anywhere
        (tmp_path / "shut").mkdir(mode=0o500)
        with pytest.raises(
            PermissionError,
            match=r"cannot write .*a.html: Permission denied; make room or give another place",
        ):
            sl.apps.write_report(results, tmp_path / "shut" / "a.html")


def test_data_in_a_script_cannot_end_it():
    from sadi_lens.apps.web import script_json

    evil = {"a": "</script><!--<script>", "b": "\u2028&amp;", "c": [1.5, None]}
    text = script_json(evil)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == evil
    assert json.loads(script_json('{"a": "</script>"}')) == {"a": "</script>"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


def test_a_panel_gives_title_and_pixels_back(head_differences):
    import sadi_lens as sl
    from sadi_lens.apps.web import panel

    figures = {t: sl.plots.difference_heatmap(head_differences, theme=t) for t in ("light", "dark")}
    whole = figures["light"]
    found = panel("map", figures)
    shown = json.loads(found.data)
    assert set(shown) == {"light", "dark"}
    assert found.title == whole.layout.title.text.replace("<br>", "\n")
    assert "A(x y+)" in found.subtitle
    assert "<" not in found.subtitle
    # The plot area keeps its size: what is taken off the top is taken off the height.
    layout = shown["light"]["layout"]
    assert "text" not in (layout.get("title") or {})
    given_back = whole.layout.height - layout["height"]
    above, below = (whole.layout.margin[side] - layout["margin"][side] for side in "tb")
    assert given_back == above + below
    assert above > 40
    assert below > 10
    assert not [one for one in layout["annotations"] if one.get("name") == "note"]
    assert whole.layout.title.text  # the figure itself is left alone


def test_the_colours_of_the_page_are_those_of_the_figures():
    from sadi_lens.apps.web import theme_css

    light, dark = theme_css().split("@media", 1)
    assert "--paper:#ffffff" in light
    assert "--adaptive:#0072b2" in light
    assert "prefers-color-scheme:dark" in dark
    assert "--paper:#111317" in dark


def test_the_report_loads_no_torch(tmp_path, head_differences):
    import subprocess
    import sys

    from sadi_lens.types.store import write_json

    write_json({"differences": {"head": head_differences}}, tmp_path / "results.json")
    code = (
        "import sys, sadi_lens as sl\n"
        f"sl.apps.write_report({str(tmp_path)!r})\n"
        "import sadi_lens.apps.explorer.page\n"
        "assert not {'torch', 'transformers', 'transformer_lens'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_line_writes_a_report_and_refuses_in_one_line(tmp_path, head_differences):
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app
    from sadi_lens.types.store import write_json

    write_json({"differences": {"head": head_differences}}, tmp_path / "results.json")
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 0
    assert (tmp_path / "report.html").is_file()
    refused = CliRunner().invoke(app, ["report", str(tmp_path / "none")])
    assert refused.exit_code == 1
    assert "does not exist" in refused.output
    assert "Traceback" not in refused.output
