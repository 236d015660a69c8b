"""Every figure of the catalogue at the shapes of the embedded model and of Llama-7B."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import gallery
import numpy as np
import pytest

PAPER = {"light": "#ffffff", "dark": "#111317"}
HANDFUL = (
    "differences_neuron",
    "method_accuracy",
    "differences_null",
    "rank_curve_neuron",
    "sweep",
    "mask_overlap",
    "steering_arrows",
    "generation_trace",
    "example_effects",
    "token_strip",
)
"""Those with the most marks; what is drawn at 7B shapes and on dark by default."""
SIZES = [
    ("tiny", None),
    ("7b", HANDFUL),
    pytest.param("7b", None, marks=pytest.mark.full, id="7b-all"),
]
BOTH_THEMES = [
    ("tiny", HANDFUL),
    pytest.param("tiny", None, marks=pytest.mark.full, id="tiny-all"),
    pytest.param("7b", None, marks=pytest.mark.full, id="7b-all"),
]


@cache
def drawings(size):
    return gallery.drawings(size)


@cache
def drawn(size, theme, name):
    return drawings(size)[name](theme=theme)


def figures(size, names, theme="light"):
    """(name, figure) of these names, or of all; each is drawn once."""
    for name in names or drawings(size):
        yield name, drawn(size, theme, name)


def words(figure):
    """The line below the title and the note below the figure."""
    notes = [one.text for one in figure.layout.annotations if one.name == "note"]
    return " · ".join([figure.layout.title.subtitle.text, *notes]).replace("<br>", " · ")


@pytest.mark.parametrize(("size", "names"), SIZES)
def test_every_figure_states_model_task_and_number(size, names):
    for name, figure in figures(size, names):
        assert figure.layout.title.text, name
        if name == "dot_grid":  # for numbers of any kind
            continue
        assert f"model {gallery.info(size).name}" in words(figure), name
        if name not in (
            "token_strip",
            "generation_trace",
            "pairs_ablation",
            "pairs_jaccard",
            "mask_overlap",
        ):
            assert "hints" in words(figure), name
        if name not in ("mask_overlap", "token_strip"):
            assert re.search(
                r"\d[\d,]* (\w+ )?(pair|prompt|item|token|input|random subset)", words(figure)
            ), name


@pytest.mark.parametrize(("size", "names"), SIZES)
def test_every_page_is_small_without_the_library(size, names):
    for name, figure in figures(size, names):
        page = figure.to_html(full_html=False, include_plotlyjs=False)
        assert len(page.encode()) < 150_000, name


@pytest.mark.parametrize(("size", "names"), SIZES)
def test_in_a_talk_the_text_is_18_pixels_and_the_plot_stays(size, names):
    for name, page in figures(size, names):
        talk = drawings(size)[name](theme="light", size="talk")
        assert talk.layout.template.layout.font.size == pytest.approx(18, abs=0.3), name
        assert page.layout.template.layout.font.size == 13, name
        for one in talk.layout.annotations:
            assert one.font.size >= 15, (name, one.text)
        assert talk.layout.width <= 1460, name
        assert [trace.type for trace in talk.data] == [trace.type for trace in page.data], name
        wide = [
            one.layout.width - one.layout.margin.l - one.layout.margin.r for one in (page, talk)
        ]
        assert wide[1] == pytest.approx(wide[0], abs=2) or page.layout.width == 560, name


@pytest.mark.parametrize(("size", "names"), SIZES)
def test_no_text_names_a_hook_with_braces(size, names):
    for name, figure in figures(size, names):
        assert "{l}" not in str(figure.layout), name


@pytest.mark.parametrize(("size", "names"), BOTH_THEMES)
def test_the_themes_differ_in_page_and_ink_and_in_nothing_else(size, names):
    for name, light in figures(size, names):
        dark = drawn(size, "dark", name)
        assert words(light) == words(dark), name
        pages = [figure.layout.template.layout for figure in (light, dark)]
        assert pages[0].paper_bgcolor == PAPER["light"], name
        assert pages[1].paper_bgcolor == PAPER["dark"], name
        assert pages[0].font.color != pages[1].font.color, name
        assert (light.layout.width, light.layout.height) == (dark.layout.width, dark.layout.height)
        assert [trace.type for trace in light.data] == [trace.type for trace in dark.data], name


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["sweep", "mask_overlap"])
def test_a_number_is_readable_on_the_colour_of_its_cell(name, theme):
    import plotly.colors

    from sadi_lens.plots._theme import contrast

    figure = gallery.drawings("7b")[name](theme=theme)
    cells = next(trace for trace in figure.data if trace.type == "heatmap")
    numbers = next(trace for trace in figure.data if trace.name == "numbers")
    assert len(numbers.text) == np.asarray(cells.z).size
    for x, y, text, ink in zip(
        numbers.x, numbers.y, numbers.text, numbers.textfont.color, strict=True
    ):
        assert text == cells.text[y][x]
        share = (cells.z[y][x] - cells.zmin) / (cells.zmax - cells.zmin)
        (mixed,) = plotly.colors.sample_colorscale(
            [list(stop) for stop in cells.colorscale], [float(share)], colortype="tuple"
        )
        cell = "#" + "".join(f"{round(255 * part):02x}" for part in mixed)
        # Dark and white ink are equally good on the worst colour there is, at 4.2.
        assert contrast(ink, cell) > 4.1, (text, ink, cell)


def test_contrast_is_that_of_the_guidelines():
    from sadi_lens.plots._theme import contrast

    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#ffffff", "#ffffff") == pytest.approx(1)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize(("size", "names"), SIZES)
def test_title_subtitle_and_legend_have_their_own_pixels(size, names):
    for name, figure in figures(size, names):
        layout = figure.layout
        lines = [t.count("<br>") + 1 for t in (layout.title.text, layout.title.subtitle.text)]
        assert lines[1] == 1, name
        text_bottom = 16 + 24 * lines[0] + 16
        legend_top = (1 - layout.legend.y) * layout.height
        assert legend_top >= text_bottom, name
        if layout.showlegend:
            assert layout.margin.t >= legend_top + 22, name
        assert layout.width <= 1400, name


@pytest.mark.parametrize(
    ("theme", "names"),
    [
        ("light", None),
        ("dark", HANDFUL),
        pytest.param("dark", None, marks=pytest.mark.full, id="dark-all"),
    ],
)
def test_nothing_is_black_on_dark_or_white_on_light(theme, names):
    """A colour of the page, taken for ink, vanishes; halos behind a line are the one use of it."""
    for name, figure in figures("tiny", names, theme):
        for trace in figure.data:
            if trace.type == "scatter" and trace.mode == "lines" and trace.name != "box":
                assert trace.line.color != PAPER[theme], name


@pytest.mark.parametrize(("size", "names"), SIZES)
def test_markup_in_prompts_and_tokens_is_shown_literally(size, names):
    for name, figure in figures(size, names):
        page = figure.to_html(full_html=False, include_plotlyjs=False)
        # Plotly itself writes < in data as \u003c: read both ways, a raw tag must not be there.
        plain = page.replace("\\u003c", "<").replace("\\u003e", ">")
        assert "<script>alert" not in plain, name
        assert "<b>bold" not in plain, name
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &#36;x&#36;" in words(
        drawn("tiny", "light", "generation_trace")
    )


def test_every_result_is_the_same_after_saving_and_loading(tmp_path):
    import sadi_lens as sl
    from sadi_lens.types.store import read_json, write_json

    things = {
        "unit_activations": gallery.unit_activations(),
        "sign_flip_null": gallery.sign_flip_null(),
        "pairs": gallery.pairs_curves()["SADI head"],
        "shifts": gallery.shifts(),
        "trace": gallery.trace(),
        "roles": gallery.roles()[0],
        "side_effects": gallery.side_effect_curves()[0],
        "agreement": gallery.agreement(),
    }
    assert read_json(write_json(things, tmp_path / "results.json")) == things
    for name, thing in things.items():
        assert sl.load(sl.save(thing, tmp_path / name)) == thing
        if hasattr(thing, "frame"):
            assert len(thing.frame())


def test_every_figure_is_drawn_from_saved_results_without_torch_or_transformer_lens(tmp_path):
    """In a process that cannot import them: results are read from disk, and every figure is drawn."""
    from sadi_lens.types.store import write_json

    curves = gallery.pairs_curves()
    saved = {
        "differences": gallery.differences(),
        "mask": gallery.masks()["head"],
        "masks": gallery.task_masks(),
        "unit_differences": gallery.unit_differences(),
        "activations": gallery.unit_activations(),
        "null": gallery.sign_flip_null(),
        "sweep": gallery.sweep(),
        "pairs": curves,
        "shifts": gallery.shifts(),
        "evaluations": gallery.evaluations(),
        "traces": [gallery.trace(), gallery.trace(kind="fixed")],
        "roles": gallery.roles(),
        "side_effects": gallery.side_effect_curves(),
        "agreement": gallery.agreement(),
    }
    path = write_json(saved, tmp_path / "results.json")
    code = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "transformer_lens"):
            raise ImportError(f"{{name}} is not there")

sys.meta_path.insert(0, Refuse())
from sadi_lens import plots
from sadi_lens.types.store import read_json

r = read_json({str(path)!r})
d, m = r["differences"], r["mask"]
figures = [
    plots.difference_heatmap(d, m), plots.difference_heatmap(d, m, null=r["null"]),
    plots.rank_curve(d, m.k, null=r["null"]),
    plots.units_by_layer({{"head": m}}),
    plots.difference_distributions(r["unit_differences"]),
    plots.mask_overlap(r["masks"]), plots.sweep_heatmap(r["sweep"]), plots.pairs_ablation(r["pairs"]),
    plots.steering_arrows(r["shifts"]),
    plots.example_effects(*r["evaluations"]), plots.generation_trace(r["traces"][0]),
    plots.side_effect_curve(r["side_effects"]), plots.token_strip(r["roles"]),
]
pages = [figure.to_html(include_plotlyjs=False) for figure in figures]
text = plots.compare_text(r["traces"]).html
print(len(pages), "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout.strip(), done.stderr) == ("13 False", "")


@pytest.mark.parametrize("layers", [1, 32])
def test_one_layer_and_many_draw(layers):
    from dataclasses import replace

    from sadi_lens import plots

    one = gallery.differences("neuron", "7b")
    arrays = {
        name: value[:layers]
        for name, value in vars(one).items()
        if hasattr(value, "shape") and name != "model"
    }
    one = replace(one, **arrays, model=replace(one.model, n_layers=layers))
    for draw in (
        plots.difference_heatmap,
        plots.rank_curve,
    ):
        assert draw(one).data
    assert np.asarray(plots.difference_heatmap(one).data[0].z).shape[0] == layers


def test_layers_without_a_value_are_marked_and_the_rest_is_drawn():
    from dataclasses import replace

    from sadi_lens import plots

    one = gallery.differences()
    mean = one.mean.copy()
    mean[1] = np.nan
    broken = replace(one, mean=mean)
    assert "no finite value" in words(plots.difference_heatmap(broken))
    assert "16 heads without" in words(plots.rank_curve(broken))
    nothing = replace(one, mean=np.full_like(mean, np.nan))
    for draw in (
        plots.difference_heatmap,
        plots.rank_curve,
    ):
        with pytest.raises(ValueError, match="needs at least one finite value, all 80 are NaN"):
            draw(nothing)


def test_an_empty_mask_is_said_and_nothing_is_selected():
    import sadi_lens as sl
    from sadi_lens import plots

    empty = sl.Mask("head", np.zeros((5, 16), bool), model=gallery.info())
    figure = plots.difference_heatmap(gallery.differences(), empty)
    assert "the mask is empty" in words(figure)
    assert not any("in the mask" in str(trace.name) for trace in figure.data)


def test_a_mask_of_other_units_is_refused():
    from sadi_lens import plots

    with pytest.raises(
        ValueError, match=r"same component and shape .* got mask \('neuron', 5, 320\)"
    ):
        plots.difference_heatmap(gallery.differences(), gallery.masks()["neuron"])


def test_bfloat16_tensors_are_drawn_as_their_values():
    """Plotly refuses bfloat16; a tensor put in an array's place is converted, not refused."""
    import torch

    from sadi_lens.plots._layout import float32

    values = torch.tensor([[1.5, -2.0], [float("inf"), 0.25]], dtype=torch.bfloat16)
    np.testing.assert_array_equal(
        float32(values), np.array([[1.5, -2.0], [np.nan, 0.25]], dtype=np.float32)
    )


def test_an_unknown_theme_is_refused_everywhere():
    for name, draw in gallery.drawings().items():
        with pytest.raises(ValueError, match=r"did you mean 'dark'"):
            draw(theme="drak")
        assert name
