"""Figures of results as they should not be: names that are markup, values that are missing, nothing but ties."""

import re
from dataclasses import replace

import gallery
import numpy as np
import pandas as pd
import pytest

ODD_NAMES = (
    "<b>bold</b> <img src=x onerror=alert(1)>",
    "a &lt; b & c",
    "$\\alpha$",
    "%{x} %{meta.note}",
    "bell\x07 escape\x1b[0m",
    "\u202eesrever",
    "中文標籤" * 20,
    "a name as long as a whole sentence " * 8,
    "two\nlines",
    " ",
)


def curve(name, **changes):
    (first, *_) = gallery.side_effect_curves()
    return replace(first, label=name, **changes)


def single(name, kl=0.01, accuracy=0.7, kind="adaptive"):
    """A curve of one strength."""
    one = np.array([accuracy], np.float32)
    return curve(
        name, kind=kind, strengths=(float("nan"),), accuracy=one, low=one - 0.1, high=one + 0.1,
        kl=np.array([kl], np.float32),
    )  # fmt: skip


def method_row(name, accuracy=0.8):
    from sadi_lens.types.stats import Interval

    row = gallery.comparison().rows[1]
    more = {"interval": Interval(0, 1), "gain_interval": Interval(-1, 1)}
    return replace(row, label=name, settings=name, accuracy=accuracy, null="", **more)


def named_figures():
    """Name of the figure -> function of names that draws it."""
    from sadi_lens import plots
    from sadi_lens.types.masks import Mask

    head = gallery.masks()["head"]
    pairs = gallery.pairs_curves()["SADI head"]
    whole = gallery.comparison()
    unsteered, adaptive, fixed = gallery.evaluations()
    shifts, roles, paths = gallery.shifts(), gallery.roles()[0], gallery.head_paths()
    runs = gallery.runs()
    sadi = runs[runs["method"] == "sadi"]

    def rows(names):
        more = [
            pd.DataFrame({"edit": [f"direct, {name}"], "margin": 0.1, "low": 0.0, "high": 0.2, "n": 240})
            for name in names
        ]  # fmt: skip
        found = pd.concat([paths, *more], ignore_index=True)
        found.attrs = {**paths.attrs, "label": names[0], "task": names[1], "model": names[3]}
        return found

    return {
        "method_accuracy": lambda n: plots.method_accuracy(
            replace(whole, rows=(whole.rows[0], *map(method_row, n)), nulls=(), task=n[0])
        ),
        "units_by_layer": lambda n: plots.units_by_layer(
            {one: Mask("head", head.selected, rule=one) for one in n}
        ),
        "mask_overlap": lambda n: plots.mask_overlap(dict.fromkeys(n, head)),
        "difference_heatmap": lambda n: plots.difference_heatmap(
            replace(gallery.differences(), task=n[3]), replace(head, rule=n[0] + n[7])
        ),
        "rank_curve": lambda n: plots.rank_curve(
            replace(gallery.differences(), task=n[3] + n[0] + n[7]), 4
        ),
        "difference_distributions": lambda n: plots.difference_distributions(
            replace(gallery.unit_differences(), task=n[3] + n[0] + n[7])
        ),
        "sweep": lambda n: plots.sweep_heatmap(replace(gallery.sweep(), task=n[0] + n[3])),
        "pairs_ablation": lambda n: plots.pairs_ablation(dict.fromkeys(n, pairs)),
        "steering_arrows": lambda n: plots.steering_arrows(
            replace(
                shifts,
                methods=tuple(n),
                kinds=("other",) * len(n),
                after=np.stack([shifts.after[0]] * len(n)),
            )
        ),
        "example_effects": lambda n: plots.example_effects(
            replace(unsteered, task=n[0]), replace(adaptive, label=n[3]), replace(fixed, label=n[7])
        ),
        "generation_trace": lambda n: plots.generation_trace(
            replace(gallery.trace(words=n), label=n[3], prompt=n[0])
        ),
        "side_effect_points": lambda n: plots.side_effect_curve([*map(single, n)]),
        "side_effect_curves": lambda n: plots.side_effect_curve([*map(curve, n)]),
        "token_strip": lambda n: plots.token_strip(
            replace(roles, label=n[0], tokens=(*n, *roles.tokens[len(n) :]))
        ),
        "head_paths": lambda n: plots.head_paths(rows(n)),
        "accuracy_by_pairs": lambda n: plots.accuracy_by_pairs(
            pd.concat([sadi.assign(method=one) for one in n])
        ),
        "dot_grid": lambda n: plots.dot_grid(
            {one: [[0.5, -1.0]] for one in n}, {n[0]: [[True, False]]}, title=n[0]
        ),
        "dot_grid_slider": lambda n: plots.dot_grid(
            {"D": [[0.5, -1.0]]}, {one: [[True, False]] for one in n}, title=n[3]
        ),
    }


def drawn_texts(figure):
    """Every text that Plotly reads as markup or as a template."""
    layout = figure.layout
    yield from (layout.title.text or "", layout.title.subtitle.text or "")
    yield from (one.text for one in layout.annotations)
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        yield from (axis.title.text or "", *(axis.ticktext or ()), *(axis.categoryarray or ()))
    for slider in layout.sliders:
        yield from (step.label for step in slider.steps)
    for trace in figure.data:
        yield trace.name or ""
        if trace.hovertemplate:
            yield re.sub(
                r"%\{(x|y|z|text|hovertext|customdata(\[\d\])?)(:[^}]*)?\}", "", trace.hovertemplate
            )
        for texts in (trace.text, trace.hovertext):
            yield from np.ravel(np.array(() if texts is None else texts, dtype=object)).tolist()
        data = np.ravel(
            np.array(() if trace.customdata is None else trace.customdata, dtype=object)
        )
        yield from (one for one in data.tolist() if isinstance(one, str))


@pytest.mark.parametrize("figure", ["method_accuracy", "units_by_layer", "mask_overlap", "difference_heatmap",
    "rank_curve", "difference_distributions", "sweep", "pairs_ablation", "steering_arrows", "example_effects",
    "generation_trace", "side_effect_points", "side_effect_curves", "token_strip", "head_paths",
    "accuracy_by_pairs", "dot_grid", "dot_grid_slider"])  # fmt: skip
def test_no_name_is_read_as_markup_or_as_a_template(figure):
    texts = [str(one) for one in drawn_texts(named_figures()[figure](ODD_NAMES))]
    assert len(texts) > 5
    for text in texts:
        assert "%{" not in text, text
        assert not re.search(r"<(?!/?(b|br|span|extra)\b)[^>]*>|<b>bold", text), text
        assert not re.search(r"[\x00-\x1f\u202a-\u202e]", text), text
        assert "$" not in text, text


def test_every_figure_of_odd_names_is_in_the_list_above():
    marks = test_no_name_is_read_as_markup_or_as_a_template.pytestmark
    assert set(marks[0].args[1]) == set(named_figures())


@pytest.mark.slow
def test_pictures_of_odd_names_can_be_made_and_are_xml(tmp_path):
    import shutil
    from xml.etree import ElementTree

    from sadi_lens import plots

    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no chromium or google-chrome on PATH")
    figures = {name: draw(ODD_NAMES) for name, draw in named_figures().items()}
    for path in plots.export(figures, tmp_path, png=False, svg=True):
        if path.suffix == ".svg":
            text = " ".join(ElementTree.parse(path).getroot().itertext())
            assert "meta.note" not in text or "%{meta.note}" in text


def test_a_label_that_is_wider_than_the_plot_is_cut_and_whole_on_hover():
    from sadi_lens import plots

    label = "a method " * 30
    whole = gallery.comparison()
    figure = plots.method_accuracy(
        replace(whole, rows=(whole.rows[0], method_row(label)), nulls=())
    )
    (shown,) = (one.text for one in figure.layout.annotations if "a method a" in str(one.text))
    assert len(re.sub(r"<[^>]*>", "", shown).rstrip()) * 13 * 0.54 < 445
    assert "…" in shown
    assert any("a method " * 20 in str(trace.hovertemplate) for trace in figure.data)


@pytest.mark.parametrize(("accuracy", "anchor"), [(0.0, "left"), (1.0, "right")])
def test_the_name_of_a_line_at_the_end_of_the_axis_lies_over_no_column(accuracy, anchor):
    from sadi_lens import plots
    from sadi_lens.types.stats import Interval

    whole = gallery.comparison()
    span = {"interval": Interval(0, 1), "accuracy": accuracy}
    rows = tuple(replace(row, **span) for row in (whole.rows[0], whole.rows[3]))
    figure = plots.method_accuracy(replace(whole, rows=rows, nulls=(), chance=0.5))
    (name,) = (one for one in figure.layout.annotations if str(one.text).startswith("unsteered 0") or
               str(one.text).startswith("unsteered 1"))  # fmt: skip
    assert name.xanchor == anchor


def test_random_masks_that_are_not_all_known_have_no_band():
    from sadi_lens import plots

    whole = gallery.comparison()
    band = replace(whole.nulls[0], accuracies=np.array([0.5, np.nan, 0.6]), margins=np.zeros(3))
    row = replace(whole.rows[1], null=band.label, null_p=0.5)
    figure = plots.method_accuracy(replace(whole, rows=(whole.rows[0], row), nulls=(band,)))
    texts = [str(one.text) for one in figure.layout.annotations]
    assert "1 of 3 not known" in texts
    assert not any("nan" in text for text in texts)
    (draws,) = (trace for trace in figure.data if "random mask" in str(trace.hovertemplate))
    assert np.sort(draws.x).tolist() == [50, 60]
    assert not [shape for shape in figure.layout.shapes if shape.type == "rect"]


def test_a_cell_whose_valid_answers_are_not_known_says_so():
    from sadi_lens import plots

    sweep = gallery.sweep()
    valid, margin = sweep.valid_rate.copy(), sweep.margin.copy()
    valid[0, 0] = margin[0, 1] = np.nan
    cells = plots.sweep_heatmap(replace(sweep, valid_rate=valid, margin=margin)).data[0].customdata
    assert cells[0][0][2] == "not known"
    assert cells[0][1][1] == "not known"
    assert cells[0][1][0] == f"{100 * sweep.accuracy[0, 1]:.1f}%"


def test_strengths_and_ks_have_room_for_their_numbers():
    from sadi_lens import plots

    (n_ks, _), strengths = (
        (gallery.sweep().accuracy.shape),
        tuple(0.0123456 * (i + 1) for i in range(30)),
    )
    block = np.full((n_ks, 30), 0.5, np.float32)
    sweep = replace(
        gallery.sweep(), strengths=strengths, ks=(1, 2, 3, 4, 5, 10**8), accuracy=block, margin=block, valid_rate=block
    )  # fmt: skip
    figure = plots.sweep_heatmap(sweep)
    ticks, plot = (
        figure.layout.xaxis,
        figure.layout.width - figure.layout.margin.l - figure.layout.margin.r,
    )
    step = (ticks.tickvals[1] - ticks.tickvals[0]) * plot / 30
    assert step > max(len(one) for one in ticks.ticktext) * 13 * 0.6
    assert figure.layout.margin.l > 9 * 13 * 0.6 + 30  # 100000000, and the title of the axis


def test_a_missing_number_of_a_dot_grid_is_a_cross_without_a_dot():
    from sadi_lens import plots

    dots = plots.dot_grid({"D": [[np.nan, 1.0, 1 / 3], [np.inf, -12345.678, 0.0]]}, title="t").data[
        0
    ]
    assert list(dots.text) == ["\u00d7", "1", "0.33", "\u00d7", "\u22121.2e+04", "0"]
    assert dots.marker.size[0] == dots.marker.size[3] == 0
    assert [one[1] for one in dots.customdata][:2] == ["no finite value", "+1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({},), "needs at least one panel, got 0"),
        (({"D": [["a"]]},), r"panel 'D' must be numbers \[layer unit\]"),
        (
            ({"D": [[1.0]]}, {"M": [[0.5]]}),
            r"mask 'M' must be a bool array \[layer unit\], got float64",
        ),
    ],
)
def test_a_dot_grid_refuses_what_is_no_number_and_no_mask(arguments, message):
    from sadi_lens import plots

    with pytest.raises(ValueError, match=message):
        plots.dot_grid(*arguments, title="t")


def test_prompts_that_stand_still_have_no_arrow_head():
    from sadi_lens import plots

    shifts = gallery.shifts()
    still = np.stack([shifts.before, shifts.before + 1])
    figure = plots.steering_arrows(replace(shifts, after=still))
    heads = [set(trace.marker.size) for trace in figure.data if trace.marker.symbol == "arrow"]
    assert heads == [{0}, {0, 10}]
    assert figure.layout.title.text.startswith("Adaptive scaling moved nothing, ")


def test_lengths_beyond_float32_and_below_are_numbers():
    from sadi_lens import plots

    shifts = gallery.shifts()
    for scale, exponent in ((1e30, "e+3"), (1e-30, "e-2")):
        far = replace(
            shifts, before=shifts.before * np.float32(scale), after=shifts.after * np.float32(scale)
        )
        texts = " ".join(str(one.text) for one in plots.steering_arrows(far).layout.annotations)
        assert re.search(rf"length \d[\d.]*{re.escape(exponent)}", texts), texts


def test_panels_of_many_methods_lie_over_no_other():
    from sadi_lens import plots

    shifts = gallery.shifts()
    n = 8
    many = replace(
        shifts,
        methods=tuple("abcdefgh"),
        kinds=("other",) * n,
        after=np.stack([shifts.after[0]] * n),
    )
    layout = plots.steering_arrows(many).layout
    tail = ["" if at == 0 else str(at + 1) for at in range(n)]
    boxes = [(*layout[f"xaxis{at}"].domain, *layout[f"yaxis{at}"].domain) for at in tail]
    for at, (left, right, bottom, top) in enumerate(boxes):
        assert 0 <= left < right <= 1
        assert 0 <= bottom < top <= 1
        for other in boxes[:at]:
            assert left >= other[1] or top <= other[2]
    wide = (layout.width - layout.margin.l - layout.margin.r) * (boxes[0][1] - boxes[0][0])
    assert wide > 200


def test_names_of_points_at_one_place_lie_beside_each_other():
    from sadi_lens import plots

    names = [f"method number {at}" for at in range(6)]
    figure = plots.side_effect_curve(
        [single(name, 0.01 + 1e-4 * at) for at, name in enumerate(names)]
    )
    plot = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    low, high = figure.layout.yaxis.range
    found = [one for one in figure.layout.annotations if one.text in names]
    rows = sorted((one.y - low) / (high - low) * plot - (one.ay or 0) for one in found)
    assert len(rows) == 6
    assert min(np.diff(rows)) > 11  # pixels of the letters


def test_points_that_are_left_out_are_counted():
    from sadi_lens import plots

    (one, *_) = gallery.side_effect_curves()
    kl = one.kl.copy()
    kl[:2] = np.nan, np.inf
    note = plots.side_effect_curve([replace(one, kl=kl)]).layout.meta["note"]
    assert "2 points without an accuracy or a KL left out" in note


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_no_tick_stands_beyond_a_whole_or_below_nothing(value):
    from sadi_lens import plots

    pairs = gallery.pairs_curves()["SADI head"]
    flat = np.full(pairs.accuracy.shape, value, np.float32)
    runs = gallery.runs().assign(accuracy=value)
    ends = np.full(6, value, np.float32)
    for figure in (
        plots.pairs_ablation({"a": replace(pairs, accuracy=flat, unsteered_accuracy=value)}),
        plots.accuracy_by_pairs(runs.assign(chance=value)),
        plots.side_effect_curve(
            [curve("a", accuracy=ends, low=ends, high=ends, unsteered_accuracy=value)]
        ),
    ):
        low, high = figure.layout.yaxis.range
        assert low > -1
        assert high < 101
        assert low < 100 * value < high


def test_lines_that_are_close_share_one_name():
    from sadi_lens import plots

    runs = gallery.runs()
    runs.loc[runs["method"] == "unsteered", "accuracy"] = 0.505
    texts = [one.text for one in plots.accuracy_by_pairs(runs).layout.annotations]
    assert "unsteered 50.5%, chance 50.0%" in texts


def test_runs_lose_no_row_in_silence():
    from sadi_lens import plots

    runs = gallery.runs()
    runs["ranking"] = np.where(runs["method"] == "fixed", None, "signed")
    effect = runs[runs["method"] == "sadi"].assign(ranking="effect")
    figure = plots.accuracy_by_pairs(pd.concat([runs, effect]))
    names = {trace.name for trace in figure.data if trace.showlegend}
    assert names == {"sadi, head, signed", "fixed, head", "sadi, head, effect"}
    runs.loc[3, "accuracy"] = np.nan
    assert "1 row without an accuracy left out" in plots.accuracy_by_pairs(runs).layout.meta["note"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("accuracy", 73.1, r"accuracy of results must be shares in \[0, 1\], got 73.1"),
        ("chance", -0.5, r"chance of results must be shares in \[0, 1\], got -0.5"),
        ("accuracy", np.nan, "needs at least one accuracy, all 31 are NaN"),
    ],
)
def test_runs_that_are_no_shares_are_refused(column, value, message):
    from sadi_lens import plots

    with pytest.raises(ValueError, match=message):
        plots.accuracy_by_pairs(gallery.runs().assign(**{column: value}))


def test_two_unsteered_accuracies_are_refused():
    from sadi_lens import plots

    runs = gallery.runs()
    other = runs[runs["method"] == "unsteered"].assign(accuracy=0.4)
    with pytest.raises(ValueError, match=r"one accuracy of the unsteered model, got 0.4, 0.64"):
        plots.accuracy_by_pairs(pd.concat([runs, other]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margin": np.nan}, "margin of 'scaled' must be finite and lie in its interval, got nan"),
        (
            {"low": 2.5},
            r"margin of 'scaled' must be finite and lie in its interval, got 1.9 and \[2.5",
        ),
        ({"edit": "direct"}, "must hold the edits scaled and direct; 'scaled' is missing"),
    ],
)
def test_paths_that_cannot_be_drawn_are_refused(change, message):
    from sadi_lens import plots

    paths = gallery.head_paths()
    at = paths.index[paths["edit"] == "scaled"]
    for name, value in change.items():
        paths.loc[at, name] = value
    with pytest.raises(ValueError, match=message):
        plots.head_paths(paths)


def test_an_edit_that_stands_twice_is_refused():
    from sadi_lens import plots

    paths = gallery.head_paths()
    with pytest.raises(ValueError, match="edits of paths must differ, got 'mean ablation' twice"):
        plots.head_paths(pd.concat([paths, paths[paths["edit"] == "mean ablation"]]))


def test_kinds_of_paths_differ_in_their_marks_too():
    from sadi_lens import plots

    marks = [trace.marker.symbol for trace in plots.head_paths(gallery.head_paths()).data]
    assert len(set(marks)) == len(marks) == 4


def test_curves_beyond_the_sixth_colour_differ_in_dash_or_mark():
    from sadi_lens.plots._theme import series_style

    assert len({(at % 6, *series_style(at)) for at in range(36)}) == 36


def test_a_trace_with_gaps_names_the_tokens_it_is_about():
    from sadi_lens import plots

    trace = gallery.trace()
    kl = trace.kl.copy()
    kl[:3] = np.nan, np.inf, np.nan
    figure = plots.generation_trace(replace(trace, kl=kl))
    assert figure.layout.title.text.startswith(
        "Of the 9 tokens with a KL, steering acts most at token "
    )
    assert "gaps: not known, or not finite" in figure.layout.meta["note"]


def test_units_that_do_not_differ_are_not_called_the_largest():
    from sadi_lens import plots

    one = gallery.differences()
    flat = replace(one, mean=np.full_like(one.mean, 0.2))
    assert plots.difference_heatmap(flat).layout.title.text == "All 80 heads differ alike, +0.2"
    values = np.zeros((4, 2), np.float32)
    units = replace(gallery.unit_differences(m=2), values=values)
    title = plots.difference_distributions(units).layout.title.text
    assert title == "No head is larger on the right answer in most pairs"


def test_the_summary_of_units_is_that_of_their_finite_pairs():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.inf, np.nan], [-1.0, np.nan]], np.float32)
    first, second = replace(gallery.unit_differences(m=2), values=values).summary()
    # 1, 3, -1: mean 1, variance ((0 + 4 + 4) / 2), standard error 2 / sqrt(3)
    assert first == pytest.approx((3, 1.0, 1.0, 2 / 3**0.5, 2 / 3, 1 / 3))
    assert second.n == 0
    assert np.isnan(second[1:]).all()


def test_numbers_over_draws_are_those_of_the_draws_that_are_known():
    pairs = gallery.pairs_curves()["SADI head"]
    accuracy = np.full(pairs.accuracy.shape, np.nan, np.float32)
    accuracy[2, :3], accuracy[4, :2] = (0.5, 0.6, 0.7), (0.8, 0.9)
    found = replace(pairs, accuracy=accuracy).over_draws("accuracy")
    with pytest.raises(ValueError, match=r"measure must be one of .*, got 'accurate'"):
        pairs.over_draws("accurate")
    assert found.sizes.tolist() == [50, 150]
    assert found.mean == pytest.approx([0.6, 0.85])
    assert found.n.tolist() == [3, 2]
    assert found.low == pytest.approx([0.505, 0.8025])  # 2.5% of the way, linearly between draws
