"""Figures from hand-made results: data, words, sizes. No model, no image."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

THEMES = ("light", "dark")


def model(name="toy", n_layers=6, n_heads=12, d_model=192, d_mlp=512):
    import sadi_lens as sl

    return sl.types.ModelInfo(
        name, "Toy", n_layers, n_heads, 16, d_model, d_mlp, "0123456789abcdef"
    )


def differences(component="head", shape=(6, 12), mean=None, n=25, name="toy", task="hints"):
    import sadi_lens as sl

    if mean is None:
        mean = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    mean = np.asarray(mean)
    one = np.ones((*mean.shape, 1), dtype=np.float32)
    return sl.types.ActivationDifferences(
        component=component,
        model=model(name, n_layers=mean.shape[0], n_heads=mean.shape[1]),
        n=n,
        mean=mean,
        std=np.full(mean.shape, 2, dtype=np.float32),
        vector=one,
        prompt_mean=one,
        prompt_rms=np.ones(mean.shape, dtype=np.float32),
        task=task,
    )


def mask_of(units, shape=(6, 12), component="head", rule="by hand"):
    import sadi_lens as sl

    selected = np.zeros(shape, dtype=bool)
    for unit in units:
        selected[unit] = True
    return sl.Mask(
        component, selected, rule=rule, model=model(), provenance={"task": "hints", "n_pairs": 25}
    )


def sweep(accuracy=((0.5, 0.75), (0.25, 0.9)), ks=(1, 4), strengths=(2.0, 5.0), split="dev"):
    import sadi_lens as sl

    accuracy = np.array(accuracy, dtype=np.float32)
    return sl.types.Sweep(
        component="head",
        ranking="signed",
        method="scaling",
        model=model(),
        task="hints",
        split=split,
        position="last_prompt",
        n=80,
        ks=tuple(ks),
        strengths=tuple(strengths),
        accuracy=accuracy,
        margin=accuracy * 2,
        valid_rate=np.ones_like(accuracy),
        unsteered_accuracy=0.6,
        unsteered_margin=0.1,
        chance=0.5,
    )


def row(label, accuracy, **changes):
    from sadi_lens.types.results import MethodRow
    from sadi_lens.types.stats import Interval

    fields = {
        "interval": Interval(accuracy - 0.05, accuracy + 0.04),
        "gain": accuracy - 0.6,
        "gain_interval": Interval(accuracy - 0.7, accuracy - 0.55),
        "mcnemar_p": 0.01,
        "margin": 0.4,
        "valid_rate": 1.0,
    }
    return MethodRow(label=label, accuracy=accuracy, **{**fields, **changes})


def null(label="null", accuracies=(0.5, 0.6, 0.7, 0.9), k=6, strength=5.0):
    import sadi_lens as sl

    accuracies = np.array(accuracies)
    return sl.types.NullBand(label, k, strength, False, accuracies, np.zeros(accuracies.size))


def comparison(**changes):
    import sadi_lens as sl

    band = null()
    fields = {
        "model": model(),
        "task": "hints",
        "split": "test",
        "component": "head",
        "position": "last_prompt",
        "n": 100,
        "chance": 0.5,
        "rows": (
            row("unsteered", 0.6, gain=0.0, kind="unsteered"),
            row(
                "SADI head",
                0.8,
                kind="adaptive",
                null=band.label,
                null_p=band.p_value(0.8),
                settings="K 6, strength 5",
            ),
            row("fixed, same mask", 0.55, kind="fixed"),
        ),
        "nulls": (band,),
    }
    return sl.types.Comparison(**{**fields, **changes})


def unit_differences(values=((0.1, -1.0), (0.3, -2.0), (-0.2, 3.0)), units=((0, 1), (2, 3))):
    from sadi_lens.types.differences import UnitDifferences

    return UnitDifferences("head", model(), units, np.array(values, dtype=np.float32), "hints")


def every_figure(theme="light"):
    from sadi_lens import plots

    return plots.demo_figures(
        {
            "differences": {
                "head": differences(),
                "neuron": differences("neuron", (6, 512)),
            },
            "masks": {"head": mask_of([(0, 1), (3, 4)]), "none": mask_of([])},
            "unit_differences": unit_differences(),
            "sweep": sweep(),
            "choice": sweep().best(),
            "comparison": comparison(),
        },
        theme=theme,
    )


def heatmap(figure):
    return next(trace for trace in figure.data if trace.type == "heatmap")


def title(figure):
    return figure.layout.title.text.replace("<br>", " ")


def subtitle(figure):
    """The line below the title and the note below the figure."""
    notes = [one.text for one in figure.layout.annotations if one.name == "note"]
    return " · ".join([figure.layout.title.subtitle.text, *notes]).replace("<br>", " · ")


def annotations(figure):
    return [annotation.text for annotation in figure.layout.annotations]


# All figures -------------------------------------------------------------------------------------


def test_every_result_gets_its_figure_and_a_missing_one_is_left_out():
    from sadi_lens import plots

    assert sorted(every_figure()) == [
        "difference_distributions",
        "differences_head",
        "method_accuracy",
        "sweep",
        "units_by_layer",
    ]
    assert plots.demo_figures({}) == {}
    assert list(plots.demo_figures({"sweep": sweep()})) == ["sweep"]


@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_states_model_task_and_n_and_names_its_axes(theme):
    for name, figure in every_figure(theme).items():
        words = subtitle(figure)
        assert title(figure), name
        assert "model toy" in words, name
        assert "hints" in words, name
        assert figure.layout.xaxis.title.text, name
        assert "<br>" not in figure.layout.title.subtitle.text, name
        if name != "method_accuracy":  # its rows are labelled one by one
            assert figure.layout.yaxis.title.text, name
        assert figure.layout.width, name
        assert figure.layout.height, name


def test_the_themes_differ_in_page_ink_and_diverging_centre():
    light, dark = every_figure("light"), every_figure("dark")
    for name in light:
        pages = [f[name].layout.template.layout for f in (light, dark)]
        assert pages[0].paper_bgcolor == "#ffffff"
        assert pages[1].paper_bgcolor != pages[0].paper_bgcolor
        assert pages[0].font.color != pages[1].font.color
    scales = [heatmap(f["differences_head"]).colorscale for f in (light, dark)]
    centres = [dict(scale)[0.5] for scale in scales]
    assert centres == ["#f7f7f7", "#1d2026"]  # 0 is the colour of the page, not a glow


def test_positive_is_blue_and_negative_red_in_both_themes():
    for theme in THEMES:
        scale = heatmap(every_figure(theme)["differences_head"]).colorscale
        (red_low, _, blue_low), (red_high, _, blue_high) = (
            tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
            for color in (scale[0][1], scale[-1][1])
        )
        assert red_low > blue_low
        assert blue_high > red_high


@pytest.mark.parametrize("theme", THEMES)
def test_title_subtitle_and_legend_have_their_own_pixels(theme):
    for name, figure in every_figure(theme).items():
        layout = figure.layout
        texts = (layout.title.text, layout.title.subtitle.text)
        lines = [text.count("<br>") + 1 for text in texts]
        assert lines[1] == 1, name
        text_bottom = 16 + 24 * lines[0] + 16
        legend_top = (1 - layout.legend.y) * layout.height
        assert legend_top >= text_bottom, name
        if layout.showlegend:
            assert layout.margin.t >= legend_top + 22, name


def test_an_unknown_theme_is_refused_with_the_nearest_name():
    from sadi_lens import plots

    with pytest.raises(
        ValueError, match=r"theme must be one of .* got 'drak'; did you mean 'dark'"
    ):
        plots.sweep_heatmap(sweep(), theme="drak")


def test_names_that_hold_markup_are_shown_literally():
    from sadi_lens import plots

    info = model("<b>a</b> & $b$")
    figures = [
        plots.difference_heatmap(
            replace(differences(), model=info), mask_of([(0, 0)], rule="<i>r</i>")
        ),
        plots.difference_distributions(replace(unit_differences(), model=info)),
        plots.units_by_layer({"<u>m</u>": replace(mask_of([(0, 0)]), model=info)}),
        plots.sweep_heatmap(replace(sweep(), model=info)),
        plots.method_accuracy(comparison(model=info)),
    ]
    for figure in figures:
        assert "&lt;b&gt;a&lt;/b&gt; &amp; &#36;b&#36;" in subtitle(figure)
    assert "&lt;i&gt;r&lt;/i&gt;" in str(figures[0].data[-1].name)
    assert figures[2].data[0].name.startswith("&lt;u&gt;m&lt;/u&gt;")
    labels = comparison(rows=(row("<script>x</script>", 0.5),))
    assert annotations(plots.method_accuracy(labels))[0].startswith(
        "&lt;script&gt;x&lt;/script&gt;"
    )


def test_drawing_never_imports_torch_scipy_or_pandas():
    code = """
import sys
import numpy as np
from sadi_lens import plots
from sadi_lens.types import ActivationDifferences, ModelInfo
info = ModelInfo("toy", "Toy", 2, 3, 4, 12, 48, "x")
one = np.ones((2, 3, 1), dtype=np.float32)
mean = np.array([[1, 2, 3], [-1, 0, 1]], dtype=np.float32)
figure = plots.difference_heatmap(
    ActivationDifferences("head", info, 9, mean, abs(mean), one, one, np.ones((2, 3), dtype=np.float32))
)
figure.to_html(include_plotlyjs=False)
print(
    [m for m in ("torch", "transformer_lens", "scipy", "pandas", "kaleido") if m in sys.modules]
)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


# Difference heatmap ------------------------------------------------------------------------------


def test_difference_heatmap_shows_the_values_signed_and_symmetric_with_layer_0_on_top():
    from sadi_lens import plots

    mean = np.array([[0.5, -2.0, 0.0], [1.0, 0.25, -0.5]], dtype=np.float32)
    figure = plots.difference_heatmap(differences(mean=mean))
    trace = heatmap(figure)
    np.testing.assert_array_equal(trace.z, mean)
    assert trace.zmid == 0
    assert trace.zmin == -trace.zmax
    # 99.5% quantile of |z| = (0, .25, .5, .5, 1, 2): linear between 1 and 2 at place 4.975
    assert trace.zmax == pytest.approx(1 + 0.975)
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    assert list(figure.layout.yaxis.tickvals) == [0, 1]
    assert title(figure) == "The largest of 6 heads is L0H1, \u22122"
    assert "mean of 25 pairs" in subtitle(figure)
    assert "attn.hook_z, mean over d_head" in subtitle(figure)
    assert "mean difference<br>(activation units)" in annotations(figure)


def test_hover_says_unit_standard_error_rank_and_mask():
    from sadi_lens import plots

    mean = np.array([[0.5, -2.0, 0.0], [1.0, 0.25, -0.5]], dtype=np.float32)
    figure = plots.difference_heatmap(differences(mean=mean), mask_of([(1, 0)], shape=(2, 3)))
    trace = heatmap(figure)
    unit, error, rank = np.moveaxis(np.asarray(trace.customdata), -1, 0)
    np.testing.assert_array_equal(unit, [[0, 1, 2], [0, 1, 2]])
    np.testing.assert_allclose(error, np.full((2, 3), 0.4))  # 2 / sqrt(25)
    np.testing.assert_array_equal(rank, [[2, 6, 4], [1, 3, 5]])
    assert [[bool(cell) for cell in line] for line in trace.text] == [
        [False] * 3,
        [True, False, False],
    ]
    assert "L%{y}H%{customdata[0]:d}" in trace.hovertemplate
    assert "of 6 by signed value" in trace.hovertemplate


def test_one_pair_has_no_standard_error_in_the_hover():
    from sadi_lens import plots

    one = replace(differences(n=1), std=np.full((6, 12), np.nan, dtype=np.float32))
    assert "SE" not in heatmap(plots.difference_heatmap(one)).hovertemplate


def test_the_mask_is_boxed_with_exact_rectangles():
    from sadi_lens import plots

    figure = plots.difference_heatmap(differences(), mask_of([(2, 5)]))
    box = next(trace for trace in figure.data if trace.name == "box")
    assert list(box.x[:5]) == [4.5, 5.5, 5.5, 4.5, 4.5]
    assert list(box.y[:5]) == [1.5, 1.5, 2.5, 2.5, 1.5]
    assert [t.name for t in figure.data if t.showlegend] == ["in the mask: 1 of 72 (by hand)"]


def test_the_title_names_what_the_mask_takes_not_what_it_leaves_out():
    from sadi_lens import plots

    mean = np.array([[0.5, -2.0, 0.0], [1.0, 0.25, -0.5]], dtype=np.float32)
    taken = plots.difference_heatmap(
        differences(mean=mean), mask_of([(1, 0), (1, 1)], shape=(2, 3))
    )
    assert (
        title(taken) == "The mask takes 2 of 6 heads, 2 of them in layer 1; its largest is L1H0, +1"
    )
    wide = plots.difference_heatmap(differences("mlp_out", (6, 192)))
    assert title(wide).startswith("The largest of 1,152 MLP-output dimensions is L")


def sign_flips(threshold, component="head", info=None):
    from sadi_lens.types.results import SignFlipNull

    return SignFlipNull(component, info, 25, np.full(40, threshold, np.float32), "hints")


def test_what_does_not_exceed_the_null_is_grey_and_the_title_counts_what_does():
    from sadi_lens import plots

    mean = np.array([[0.5, -2.0, 0.0], [1.0, 0.25, -0.5]], dtype=np.float32)
    one = differences(mean=mean)
    figure = plots.difference_heatmap(one, null=sign_flips(0.9, info=one.model))
    assert title(figure) == (
        "2 of 6 heads differ more than chance allows; the largest is L0H1, \u22122"
    )
    trace = heatmap(figure)
    for at, color in trace.colorscale:
        red, green, blue = (int(part) for part in color[4:-1].split(","))
        is_grey = abs(2 * at - 1) <= 0.9 / trace.zmax
        assert (red == green == blue) == is_grey, at
    # One-sided maxima say nothing of -2: its magnitude is compared with magnitudes.
    wide = replace(sign_flips(0.9, info=one.model), magnitudes=np.full(40, 1.5, np.float32))
    both = plots.difference_heatmap(one, null=wide)
    assert title(both).startswith("1 of 6 heads differs more than chance allows")
    assert "grey: at most 1.5, no further from 0 than the largest means of 95% of" in subtitle(both)
    none = plots.difference_heatmap(one, null=sign_flips(2.5, info=one.model))
    assert title(none) == "No head stands out: none of 6 differs more than chance allows"
    assert heatmap(none).zmax > 2.5  # the bar still shows where grey would end
    with pytest.raises(ValueError, match="null must be of component 'head' on toy, got 'neuron'"):
        plots.difference_heatmap(one, null=sign_flips(1, "neuron", one.model))


def test_pooled_cells_hold_the_largest_magnitude_with_its_sign_and_unit():
    from sadi_lens import plots
    from sadi_lens.plots._unit_map import BINS

    rng = np.random.default_rng(1)
    mean = rng.standard_normal((3, 1000)).astype(np.float32)
    mean[1, 777] = -50
    trace = heatmap(plots.difference_heatmap(differences("neuron", mean=mean)))
    shown, unit = np.asarray(trace.z), np.asarray(trace.customdata)[..., 0].astype(int)
    assert shown.shape == (3, BINS)
    for layer, line in enumerate(unit):
        np.testing.assert_array_equal(shown[layer], mean[layer, line])
    for layer in range(3):
        for edge, stop, value in zip(trace.x[:-1], trace.x[1:], shown[layer], strict=True):
            part = mean[layer, int(edge + 0.5) : int(stop + 0.5)]
            assert abs(value) == np.abs(part).max()
    assert shown.min() == -50


def test_rings_stand_at_the_units_own_places():
    from sadi_lens import plots

    mask = mask_of([(0, 3), (31, 11007)], shape=(32, 11008), component="neuron")
    figure = plots.difference_heatmap(differences("neuron", (32, 11008)), mask)
    ring = figure.data[-1]
    assert (list(ring.x), list(ring.y)) == ([3, 11007], [0, 31])
    assert ring.marker.symbol == "circle-open"
    assert "in the mask" in ring.hovertemplate


@pytest.mark.parametrize(
    ("component", "n_units", "k", "most"),
    [("head", 32, 6, 40), ("neuron", 11008, 100, 150), ("hidden", 4096, 20, 150)],
)
@pytest.mark.parametrize("theme", THEMES)
def test_a_7b_model_fits_in_a_small_page(component, n_units, k, most, theme):
    import sadi_lens as sl

    found = differences(component, (32, n_units))
    figure = sl.plots.difference_heatmap(found, sl.top_k_mask(found, k), theme=theme)
    assert len(figure.to_html(include_plotlyjs=False)) < most * 1000
    assert figure.layout.width < 1300
    assert figure.layout.height < 900


def test_a_layer_without_values_is_a_gap_and_said():
    from sadi_lens import plots

    for shape in ((6, 12), (6, 512)):
        mean = np.ones(shape, dtype=np.float32)
        mean[2] = np.nan
        mean[4, 0] = np.inf
        component = "head" if shape[1] == 12 else "neuron"
        figure = plots.difference_heatmap(differences(component, mean=mean))
        assert np.isnan(heatmap(figure).z[2]).all()
        assert "no finite value" in subtitle(figure)
        marks = next(t for t in figure.data if t.type == "scatter")
        assert set(marks.y) >= {2}


def test_half_precision_and_constant_zero_are_drawn():
    from sadi_lens import plots

    figure = plots.difference_heatmap(differences(mean=np.zeros((2, 2), dtype=np.float16)))
    assert heatmap(figure).z.dtype == np.float32
    assert heatmap(figure).zmax == 1.0


def test_a_bfloat16_tensor_becomes_float32():
    import torch

    from sadi_lens.plots._layout import float32

    array = float32(torch.tensor([1.5, float("inf")], dtype=torch.bfloat16, requires_grad=True))
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [1.5, np.nan])


def test_an_empty_mask_is_said_not_drawn():
    from sadi_lens import plots

    for component, shape in (("head", (6, 12)), ("neuron", (6, 512))):
        figure = plots.difference_heatmap(
            differences(component, shape), mask_of([], shape=shape, component=component)
        )
        assert "the mask is empty" in subtitle(figure)
        assert not any(trace.showlegend for trace in figure.data)


def test_differences_that_cannot_be_drawn_are_refused():
    from sadi_lens import plots

    nothing = differences(mean=np.full((2, 3), np.nan, dtype=np.float32))
    with pytest.raises(
        ValueError, match="'head' on toy needs at least one finite value, all 6 are NaN"
    ):
        plots.difference_heatmap(nothing)
    with pytest.raises(ValueError, match=r"got mask \('hidden', 6, 12\) and .*\('head', 6, 12\)"):
        plots.difference_heatmap(differences(), mask_of([], component="hidden"))
    with pytest.raises(ValueError, match=r"got mask \('head', 6, 13\)"):
        plots.difference_heatmap(differences(), mask_of([], shape=(6, 13)))


# Distributions -----------------------------------------------------------------------------------


def test_distributions_are_sorted_by_median_with_the_share_of_positive_pairs():
    from sadi_lens import plots

    figure = plots.difference_distributions(unit_differences())
    assert list(figure.layout.yaxis.ticktext) == ["L2H3", "L0H1"]  # medians -1 and 0.1, upwards
    violins = [trace for trace in figure.data if trace.type == "violin"]
    np.testing.assert_allclose(violins[1].x, [0.1, 0.3, -0.2], rtol=1e-6)
    assert violins[0].side == "positive"
    assert violins[0].fillcolor != violins[1].fillcolor
    assert annotations(figure)[:2] == ["33%", "67%"]
    assert title(figure) == (
        "L0H1 is larger on the right answer in 67% of pairs, L2H3 smaller in 67%"
    )
    dots = [trace for trace in figure.data if trace.type == "scatter"]
    assert "median \u22121<br>mean +0 ± 1.5 (SE)" in dots[0].hovertemplate
    assert dots[0].error_x.array[1] == pytest.approx(np.std([-1, -2, 3], ddof=1) / 3**0.5)


def test_the_error_of_a_mean_difference_is_by_prompt():
    """Three copies of each of twenty pairs: sqrt(60 / 59) times the error of the twenty."""
    from sadi_lens import plots

    own = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    one = replace(unit_differences(np.repeat(own, 3, axis=0)), clusters=np.repeat(np.arange(20), 3))
    found = [
        trace.error_x.array[1]
        for trace in plots.difference_distributions(one).data
        if trace.type == "scatter"
    ]
    wanted = own.std(axis=0, ddof=1) / 20**0.5 * (60 / 59) ** 0.5
    np.testing.assert_allclose(sorted(found), sorted(wanted), rtol=1e-4)


def test_pairs_without_a_value_are_left_out_and_counted():
    from sadi_lens import plots

    figure = plots.difference_distributions(
        unit_differences(((1.0, np.nan), (np.nan, np.nan), (3.0, np.nan)))
    )
    assert "4 non-finite differences left out" in subtitle(figure)
    assert annotations(figure)[:2] == ["unknown", "100%"]
    with pytest.raises(ValueError, match="'head' on toy needs at least one finite value"):
        plots.difference_distributions(unit_differences(((np.nan, np.nan),)))
    with pytest.raises(ValueError, match="at least one unit, got 0"):
        plots.difference_distributions(
            replace(unit_differences(), units=(), values=np.zeros((3, 0), dtype=np.float32))
        )


def test_a_difference_of_zero_is_not_positive():
    from sadi_lens import plots

    figure = plots.difference_distributions(
        unit_differences(((0.0,), (0.0,), (1.0,), (2.0,)), units=((0, 1),))
    )
    assert annotations(figure)[0] == "50%"


def test_a_single_pair_has_no_spread():
    from sadi_lens import plots

    figure = plots.difference_distributions(unit_differences(((0.5, -0.5),)))
    assert "SE" not in figure.data[1].hovertemplate
    assert "1 contrastive pair ·" in subtitle(figure)


# Units by layer ----------------------------------------------------------------------------------


def test_units_by_layer_counts_each_mask_on_its_own_axis_beside_the_even_spread():
    from sadi_lens import plots

    masks = {
        "head": mask_of([(0, 1), (2, 1), (2, 3), (2, 5)]),
        "hidden": mask_of([(5, 0)], shape=(6, 192), component="hidden"),
    }
    figure = plots.units_by_layer(masks)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [list(one.y) for one in bars] == [[1, 0, 3, 0, 0, 0], [0, 0, 0, 0, 0, 1]]
    assert [one.yaxis for one in bars] == ["y", "y2"]
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1]
    assert "of 1 selected residual-stream dimensions" in bars[1].hovertemplate
    even = [trace.y[0] for trace in figure.data if trace.type == "scatter"]
    assert even == pytest.approx([4 / 6, 1 / 6])
    assert (
        title(figure) == "Units gather: head in layer 2 (3 of 4)"
    )  # one unit alone gathers nowhere
    assert list(figure.layout.xaxis.tickvals) == [0, 1, 2, 3, 4, 5]
    assert "4 of 72 heads, by hand" in annotations(figure)[0]
    assert "from 25 pairs of task hints" in subtitle(figure)
    level = plots.units_by_layer(
        {"a": mask_of([(1, 1), (1, 2), (1, 3), (4, 1), (4, 2), (4, 3), (5, 0)])}
    )
    assert title(level) == "Units gather: a in layers 1 and 4 (3 of 7 each)"
    spread = plots.units_by_layer({"even": mask_of([(layer, 0) for layer in range(6)])})
    assert title(spread) == "No layer holds more than twice its even share of a mask"


def test_an_empty_mask_is_named_above_its_row():
    from sadi_lens import plots

    figure = plots.units_by_layer({"none": mask_of([])})
    assert list(figure.data[0].y) == [0] * 6
    assert "empty, no unit selected" in annotations(figure)[0]
    assert title(figure) == "No unit is selected"


def test_masks_that_cannot_be_compared_are_refused():
    from sadi_lens import plots

    with pytest.raises(ValueError, match="at least one mask, got 0"):
        plots.units_by_layer({})
    with pytest.raises(ValueError, match=r"same number of layers, got {'a': 6, 'b': 3}"):
        plots.units_by_layer({"a": mask_of([]), "b": mask_of([], shape=(3, 12))})


# Sweep -------------------------------------------------------------------------------------------


def test_sweep_is_coloured_in_points_round_the_unsteered_score():
    from sadi_lens import plots

    figure = plots.sweep_heatmap(sweep())
    trace = heatmap(figure)
    np.testing.assert_allclose(trace.z, [[-10, 15], [-35, 30]], atol=1e-4)
    assert trace.zmid == 0
    assert trace.zmax == -trace.zmin == pytest.approx(35, abs=1e-4)
    assert [list(line) for line in trace.text] == [["50", "75"], ["25", "90"]]
    assert list(figure.layout.xaxis.ticktext) == ["2", "5"]
    assert list(figure.layout.yaxis.ticktext) == ["1", "4"]
    assert title(figure) == (
        "Best: K 4, strength 5, 90.0% on dev, unsteered 60.0%; largest K and largest strength of the grid: "
        "more may do better"
    )
    for fact in ("80 dev items", "as unsteered (60.0%)", "position last_prompt"):
        assert fact in subtitle(figure)


def test_the_best_or_the_chosen_cell_is_starred():
    from sadi_lens import plots
    from sadi_lens.types.results import Choice

    star = plots.sweep_heatmap(sweep()).data[-1]
    assert (round(star.x[0]), round(star.y[0])) == (1, 1)
    assert star.marker.symbol == "star"
    assert star.name == "best"
    choice = Choice(1, 5.0, 0.8, "dev", "by hand")
    star = plots.sweep_heatmap(sweep(split="test"), choice=choice).data[-1]
    assert (round(star.x[0]), round(star.y[0])) == (1, 0)
    assert star.name == "chosen on dev"
    found = title(plots.sweep_heatmap(sweep(split="test"), choice=choice))
    assert found.startswith(
        "Chosen: K 1, strength 5, 75.0% on test, unsteered 60.0%; the best cell reaches 90.0%"
    )


def test_a_sweep_that_gains_nothing_or_breaks_the_answers_says_so():
    from sadi_lens import plots

    worse = plots.sweep_heatmap(sweep(((0.5, 0.55), (0.25, 0.6))))
    assert title(worse) == "No cell beats the unsteered model (60.0%): the best reaches 60.0%"
    empty = np.array([[1.0, 1.0], [1.0, 0.4]], dtype=np.float32)  # 0.9 is below half of 0.96
    floor = replace(sweep(((0.5, 0.55), (0.25, 0.9))), valid_rate=empty, unsteered_valid_rate=0.96)
    for choice in (None, floor.best()):
        assert title(plots.sweep_heatmap(floor, choice=choice)) == (
            "No cell that keeps its valid answers beats the unsteered model (60.0%): the best reaches 55.0%"
        )
    valid = np.array([[1.0, 0.49], [0.45, 0.47]], dtype=np.float32)
    below = replace(sweep(), valid_rate=valid, unsteered_valid_rate=0.96)
    broken = plots.sweep_heatmap(below, choice=below.best(min_valid=0))
    assert title(broken).endswith("valid answers collapse there")
    assert [list(line) for line in heatmap(broken).text] == [["50", "75"], ["25\u00d7", "90\u00d7"]]
    names = [trace.name for trace in broken.data if trace.showlegend]
    assert "valid answers collapse (2 cells)" in names  # below half of 0.96


def test_a_cell_inside_the_grid_is_no_edge_and_a_smallest_strength_is():
    from sadi_lens import plots

    inside = sweep(
        ((0.5, 0.6, 0.5), (0.6, 0.9, 0.6), (0.5, 0.6, 0.5)), ks=(1, 2, 3), strengths=(1.0, 2.0, 3.0)
    )
    assert (
        title(plots.sweep_heatmap(inside)) == "Best: K 2, strength 2, 90.0% on dev, unsteered 60.0%"
    )
    least = sweep(((0.9, 0.7), (0.5, 0.5)))
    assert title(plots.sweep_heatmap(least)).endswith(
        "smallest strength of the grid: less may do better"
    )


def test_the_edge_of_a_grid_is_its_largest_strength_in_whatever_order_it_was_tried():
    from sadi_lens import plots

    found = sweep(((0.9, 0.7),), ks=(1,), strengths=(8.0, 2.0))
    assert title(plots.sweep_heatmap(found)) == (
        "Best: K 1, strength 8, 90.0% on dev, unsteered 60.0%; largest strength of the grid: more may do better"
    )


def test_a_test_split_is_called_optimistic_without_a_warning():
    from sadi_lens import plots

    assert "not dev: the best cell is optimistic" in subtitle(
        plots.sweep_heatmap(sweep(split="test"))
    )


def test_cells_at_or_below_chance_are_fenced_along_their_edges():
    from sadi_lens import plots

    figure = plots.sweep_heatmap(sweep())  # 0.5 and 0.25 of the first strength are at or below 0.5
    fence = next(trace for trace in figure.data if trace.name == "edge of chance (50.0%)")
    assert list(fence.x) == [0.5, 0.5, None, 0.5, 0.5, None]
    assert list(fence.y) == [-0.5, 0.5, None, 0.5, 1.5, None]
    free = plots.sweep_heatmap(replace(sweep(), chance=float("nan")))
    assert not [trace for trace in free.data if "chance" in str(trace.name)]


def test_a_large_grid_drops_the_numbers():
    from sadi_lens import plots

    accuracy = np.linspace(0, 1, 14 * 16).reshape(14, 16)
    figure = plots.sweep_heatmap(sweep(accuracy, ks=range(1, 15), strengths=np.arange(5.0, 85, 5)))
    assert {text for line in heatmap(figure).text for text in line} == {""}
    assert len(figure.to_html(include_plotlyjs=False)) < 40_000


def test_unfinished_cells_are_gaps_and_nothing_at_all_is_refused():
    from sadi_lens import plots
    from sadi_lens.types.results import Choice

    figure = plots.sweep_heatmap(sweep(((0.5, np.nan), (np.nan, 0.9))))
    assert [list(line) for line in heatmap(figure).text] == [["50", ""], ["", "90"]]
    assert "grey: not measured" in subtitle(figure)
    with pytest.raises(ValueError, match="'hints' on toy needs at least one finite value"):
        plots.sweep_heatmap(sweep(np.full((2, 2), np.nan)))
    with pytest.raises(
        ValueError, match=r"cell of the sweep \(K in \[1, 4\].* got K = 3, strength = 5"
    ):
        plots.sweep_heatmap(sweep(), choice=Choice(3, 5.0, 0.8, "dev", ""))


# Methods and null --------------------------------------------------------------------------------


def row_labels(figure):
    found = [one for one in figure.layout.annotations if one.xanchor == "left" and one.x == 0]
    return [one.text for one in found if one.name != "note"]


def method_traces(figure):
    return {trace.y[0]: trace for trace in figure.data if trace.error_x.array is not None}


def test_every_method_is_a_dot_with_its_interval():
    from sadi_lens import plots

    figure = plots.method_accuracy(comparison())
    dots = method_traces(figure)
    assert [dots[y].x[0] for y in (0, 1, 3)] == pytest.approx([60, 80, 55])  # row 2 is the null
    assert dots[1].error_x.array[0] == pytest.approx(4)
    assert dots[1].error_x.arrayminus[0] == pytest.approx(5)
    labels = row_labels(figure)
    assert labels[0].startswith("unsteered ")
    assert labels[1].startswith("SADI head ")
    assert "K 6, strength 5" in labels[1]
    assert "4 random masks" in labels[2]
    assert figure.layout.xaxis.title.text == "accuracy on 100 test items"


def test_the_note_says_what_holds_for_every_row():
    from sadi_lens import plots

    plain = subtitle(plots.method_accuracy(comparison()))
    assert "valid: the most likely next token begins an answer" in plain
    assert "bars: 95% Wilson interval · gain: 95% interval paired by item ·" in plain
    assert plain.endswith("position last_prompt")
    other = comparison(component="", scoring="exact_match", n_clusters=20, is_one_position=False)
    found = subtitle(plots.method_accuracy(other))
    for words in (
        "valid: the text is not empty",
        "bars: 95% Wilson interval by 20 clusters",
        "paired by item, by 20 clusters",
        "position last_prompt, unless a row says another",
    ):
        assert words in found
    assert "steered at" not in found


def test_kinds_differ_in_colour_and_symbol():
    from sadi_lens import plots

    dots = method_traces(plots.method_accuracy(comparison()))
    looks = {(dots[y].marker.color, dots[y].marker.symbol) for y in (0, 1, 3)}
    assert looks == {("#16181d", "diamond"), ("#0072b2", "circle"), ("#d55e00", "square")}


def test_gains_and_null_p_stand_beside_the_rows():
    from sadi_lens import plots

    texts = annotations(plots.method_accuracy(comparison()))
    assert "<b>+20.0</b> [+10.0, +25.0]" in texts
    assert "<b>\u22125.0</b> [\u221215.0, +0.0]" in texts
    assert "1 of 4<br>p = 0.400" in texts  # (1 + 1 draw at least as good) / (1 + 4 draws)
    assert "unsteered 60.0%" in texts
    assert "chance 50.0%" in texts
    assert "5 to 95%: 51.5% to 87.0%" in texts


def test_the_title_says_what_adaptive_and_fixed_and_random_masks_reach():
    from sadi_lens import plots
    from sadi_lens.types.stats import Interval

    def said(*rows):
        return title(plots.method_accuracy(comparison(rows=rows)))

    base, adaptive, fixed = comparison().rows
    helps = replace(adaptive, gain_interval=Interval(0.1, 0.3))
    assert said(base, helps, fixed) == (
        "Adaptive scaling lifts accuracy from 60.0% to 80.0%; a fixed vector reaches 55.0%; "
        "1 of 4 random masks do as well"
    )
    wide = Interval(0.3, 1)
    other = replace(
        helps, label="other", accuracy=0.95, interval=wide
    )  # both, not the winner on test alone
    better = replace(fixed, label="tuned", accuracy=0.99, interval=wide)
    assert said(base, helps, other, fixed, better) == (
        "Adaptive scaling lifts accuracy from 60.0% to 80.0% and 95.0%; fixed vectors at most 99.0%; "
        "1 and 0 of 4 random masks do as well"
    )
    plain = replace(adaptive, null="", null_p=float("nan"))
    assert said(base, replace(plain, gain_interval=Interval(-0.1, 0.3))) == (
        "Adaptive scaling changes nothing that can be told from chance: 80.0%, unsteered 60.0%"
    )
    worse = {"accuracy": 0.4, "interval": wide, "gain": -0.2, "gain_interval": Interval(-0.3, -0.1)}
    assert said(base, replace(plain, **worse)) == (
        "Adaptive scaling lowers accuracy from 60.0% to 40.0%"
    )
    assert said(base, replace(fixed, gain_interval=Interval(-0.3, -0.01))) == (
        "fixed, same mask lowers accuracy from 60.0% to 55.0%"
    )


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"comparison": 3}, "comparison of the results must be a Comparison, got 3"),
        ({"masks": {"head": 3}}, r"masks of the results\['head'\] must be a Mask, got 3"),
        ({"differences": 3}, "differences of the results must be a dict, got 3"),
    ],
)
def test_results_of_another_kind_are_refused_by_name(results, message):
    from sadi_lens import plots

    with pytest.raises(TypeError, match=message):
        plots.demo_figures(results)


def test_the_valid_rate_stands_in_its_column_and_a_collapse_in_the_title():
    from sadi_lens import plots

    base, adaptive, fixed = comparison().rows
    rows = (base, replace(adaptive, valid_rate=0.42), replace(fixed, valid_rate=0.97))
    figure = plots.method_accuracy(comparison(rows=rows))
    assert "<b>42%!</b>" in annotations(figure)
    assert [annotations(figure).count(one) for one in ("100%", "97%")] == [1, 1]
    assert title(figure).endswith("valid answers collapse")


def test_a_gain_that_is_none_in_knowledge_is_said_in_the_title(monkeypatch):
    from sadi_lens import plots
    from sadi_lens.types.results import MethodRow

    words = "changes the favourite answer and shows no gain in knowledge (now Yes 100%)"
    monkeypatch.setattr(MethodRow, "verdict", words)
    rows = comparison().rows[:2]
    assert "; this changes the favourite answer and shows no gain in knowledge" in title(
        plots.method_accuracy(comparison(rows=rows))
    )


def test_every_draw_of_the_null_is_in_the_picture():
    from sadi_lens import plots

    figure = plots.method_accuracy(comparison(nulls=(null(accuracies=[0.5] * 30 + [0.7] * 10),)))
    swarm = next(trace for trace in figure.data if trace.name == "null")
    assert sorted(swarm.x) == pytest.approx([50] * 30 + [70] * 10)
    assert len(set(zip(swarm.x, swarm.y, strict=True))) == 40  # none hides another
    assert max(abs(y - round(np.mean(swarm.y))) for y in swarm.y) <= 0.2
    band = figure.layout.shapes[-2]
    assert (band.x0, band.x1) == pytest.approx((50, 70))


def test_two_nulls_stand_below_their_own_methods():
    from sadi_lens import plots

    first, second = null("a", (0.5, 0.9)), null("b", (0.5, 0.6, 0.7), k=8)
    rows = (
        row("unsteered", 0.6),
        row("SADI one", 0.8, kind="adaptive", null=first.label, null_p=first.p_value(0.8)),
        row("SADI two", 0.65, kind="adaptive", null=second.label, null_p=second.p_value(0.65)),
    )
    figure = plots.method_accuracy(comparison(rows=rows, nulls=(second, first)))
    order = [label.split("  ")[0] for label in row_labels(figure)]
    assert [order[0], order[1], order[3]] == ["unsteered", "SADI one", "SADI two"]
    assert ["2 random" in order[2], "3 random" in order[4]] == [True, True]


def test_a_null_of_unknown_owner_stands_at_the_end():
    from sadi_lens import plots

    twins = (null("a"), null("b"))  # no row names either
    rows = tuple(replace(one, null="") for one in comparison().rows)
    figure = plots.method_accuracy(comparison(rows=rows, nulls=twins))
    assert ["random masks" in label for label in row_labels(figure)] == [
        False, False, False, True, True,
    ]  # fmt: skip


def test_a_comparison_without_nulls_chance_or_margins_is_drawn():
    from sadi_lens import plots

    rows = (row("unsteered", 0.6, margin=float("nan")),)
    figure = plots.method_accuracy(comparison(rows=rows, nulls=(), chance=float("nan")))
    assert title(figure) == "Unsteered accuracy 60.0%"
    assert "random" not in subtitle(figure)
    assert "margin" not in figure.data[0].hovertemplate
    with pytest.raises(ValueError, match="at least one row, the unsteered model, got 0"):
        plots.method_accuracy(comparison(rows=()))


def test_a_draw_that_ties_with_the_method_counts_as_good():
    from sadi_lens import plots

    band = null(accuracies=(0.57, 0.29, 0.58))  # 100 * 0.57 and 100 * 0.29 are not whole in binary
    rows = (
        row("unsteered", 0.2, kind="unsteered"),
        row("SADI head", 0.57, kind="adaptive", null=band.label, null_p=band.p_value(0.57)),
    )
    tied = comparison(rows=rows, nulls=(band,))
    assert title(plots.method_accuracy(tied)).endswith("2 of 3 random masks do as well")


def test_every_figure_refuses_another_kind_of_thing_by_name():
    import inspect

    import torch

    from sadi_lens import plots

    things = [
        None,
        3,
        1.5,
        True,
        "x",
        b"x",
        [3],
        {"a": 3},
        np.ones(3),
        torch.ones(2),
        object(),
        {1, 2},
        iter([]),
    ]
    lenient = {"demo_figures": dict, "export": dict}  # any results; what they hold is drawn or not
    for name in plots.__all__:
        draw = getattr(plots, name)
        if not inspect.isfunction(draw):
            continue
        needed = [p for p in inspect.signature(draw).parameters.values() if p.default is p.empty]
        for thing in things:
            if isinstance(thing, lenient.get(name, ())):
                continue
            given = {p.name: "t" if p.kind is p.KEYWORD_ONLY else thing for p in needed}
            with pytest.raises((TypeError, ValueError), match="must"):
                draw(**given)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(-0.04, ".1f", "+0.0"), (0.0, ".1f", "+0.0"), (-0.06, ".1f", "\u22120.1"), (-0.5, ".4g", "\u22120.5")],
)  # fmt: skip
def test_what_rounds_to_zero_has_no_minus(value, digits, text):
    from sadi_lens.plots._words import signed

    assert signed(value, digits) == text
