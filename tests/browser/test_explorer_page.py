"""The explorer page in a real browser, on the embedded model."""

import json
from dataclasses import replace

import pytest
from pages import check_contrast, check_quiet, overflow

EVIL = "</script><script>window.broken = 1</script><b>bold</b> &amp; $x$\nAnswer:"


@pytest.fixture(scope="module")
def grid():
    import sadi_lens as sl

    model, task = sl.load_model("tiny"), sl.load_task("hints")
    task = replace(task, dev=task.dev[:40])
    differences = sl.activation_differences(model, task.pairs[:60], progress=False)["head"]
    explorer = sl.apps.SteeringExplorer(
        model,
        task,
        differences,
        ks=[1, 4, 10],
        strengths=[1.0, 5.0, 12.0],
        prompts=[*task.dev[:2], EVIL],
        max_new_tokens=4,
    )
    return explorer.grid(progress=False)


@pytest.fixture(scope="module")
def explorer(grid, tmp_path_factory):
    from sadi_lens.apps.explorer.page import explorer_html
    from sadi_lens.apps.web import write_page

    return write_page(explorer_html(grid), tmp_path_factory.mktemp("explorer") / "explorer.html")


def address(page):
    """The settings in the address."""
    words = page.evaluate("location.hash.slice(1)")
    return dict(one.split("=") for one in words.split("&"))


def test_nothing_is_fetched_and_nothing_complains(open_page, explorer):
    page = open_page(explorer)
    check_quiet(page, explorer)
    assert overflow(page) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("method", ["adaptive", "fixed", "random"])
def test_every_text_is_readable(open_page, explorer, scheme, method):
    check_contrast(open_page(explorer, f"#method={method}", scheme=scheme))


def test_a_phone_shows_all_of_it(open_page, explorer):
    page = open_page(explorer, width=390, height=844)
    assert overflow(page) == 0
    width = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.plot .main-svg')].map((one) => one.getBoundingClientRect().right))"
    )
    assert width <= 390


def test_sliders_move_by_keyboard_and_change_numbers_boxes_and_bars(open_page, explorer, grid):
    page = open_page(explorer, "#prompt=1&method=adaptive&k=1&strength=0")
    boxes = "(() => { const x = document.getElementById('elements').data.at(-1).x; return x.length / 6; })()"
    overall, bars = page.locator("#overall"), page.locator("#bars")
    assert page.evaluate(boxes) == 1
    assert page.locator("#before").inner_text() == page.locator("#after").inner_text()
    for k, strength in ((4, "0"), (10, "0")):
        page.locator("#k").focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate(boxes) == k
        assert page.locator("#k").get_attribute("aria-valuetext") == f"K {k}"
        assert address(page)["k"] == str(k)
        assert address(page)["strength"] == strength
    still = bars.inner_text()
    for column, strength in enumerate(("1", "5", "12"), start=1):
        page.locator("#strength").focus()
        page.keyboard.press("ArrowRight")
        accuracy = f"accuracy {100 * grid.accuracy[0, 2, column]:.1f}%"
        assert page.locator("#strength-value").inner_text() == strength
        assert accuracy in overall.inner_text()
        moved = bars.inner_text()
        assert moved != still
        still = moved
    page.keyboard.press("Home")
    assert address(page)["strength"] == "0"


def test_the_method_changes_by_keyboard_and_says_what_it_does(open_page, explorer, grid):
    page = open_page(explorer, "#method=adaptive&k=10&strength=5")
    page.locator("input[value=adaptive]").focus()
    for index, name in ((1, "fixed"), (2, "random")):
        page.keyboard.press("ArrowRight")
        assert address(page)["method"] == name
        assert page.locator(f".method-words[data-method={name}]").is_visible()
        assert page.locator(".method-words:visible").count() == 1
        assert (
            f"accuracy {100 * grid.accuracy[index, 2, 2]:.1f}%"
            in page.locator("#overall").inner_text()
        )
    layer, unit = grid.random_units[2][0]
    assert f"Marked: L{layer}H{unit}," in page.locator("#selected").inner_text()


def test_a_click_on_the_map_jumps_there(open_page, explorer, grid):
    page = open_page(explorer, "#k=1&strength=0")
    for row, column in ((2, 3), (1, 1)):
        page.locator("#grid").scroll_into_view_if_needed()
        x, y = page.evaluate(
            """([row, column]) => {
              const plot = document.getElementById("grid"), box = plot.getBoundingClientRect();
              const { xaxis, yaxis } = plot._fullLayout;
              return [box.x + xaxis._offset + xaxis.c2p(column), box.y + yaxis._offset + yaxis.c2p(row)];
            }""",
            [row, column],
        )
        page.mouse.move(x, y)
        page.mouse.click(x, y)
        page.wait_for_function("k => location.hash.includes(`k=${k}&`)", arg=grid.ks[row])
        assert address(page)["strength"] == f"{grid.strengths[column]:g}"
        assert page.locator("#k").input_value() == str(row)
        mark = page.evaluate(
            "(({ x, y }) => [x[0], y[0]])(document.getElementById('grid').data.at(-1))"
        )
        assert mark == [column, row]


def test_the_address_restores_the_page_and_nonsense_in_it_is_ignored(open_page, explorer):
    first = open_page(explorer)
    first.locator("#prompt").select_option("1")
    first.locator("#map").select_option("kl")
    kept = first.evaluate("location.hash")
    again = open_page(explorer, kept)
    assert again.locator("#prompt-text").inner_text() == first.locator("#prompt-text").inner_text()
    assert again.locator("#map").input_value() == "kl"
    wild = open_page(explorer, "#k=-3&strength=NaN&prompt=99&method=<b>&map=constructor")
    assert wild.complaints == []
    assert address(wild)["method"] == "adaptive"
    assert address(wild)["map"] == "accuracy"


def test_every_map_is_drawn_and_the_best_cell_is_one_button_away(open_page, explorer, grid):
    page = open_page(explorer, "#k=1&strength=0")
    for name in ("accuracy", "margin", "prompt", "kl"):
        page.locator("#map").select_option(name)
        values = page.evaluate("document.getElementById('grid').data[0].z.flat()")
        assert len(values) == 12
        assert all(value is not None for value in values)
    page.get_by_role("button", name="best on dev").click()
    row, column = grid.sweep("adaptive").best_cell()
    assert address(page)["k"] == str(grid.ks[row])
    assert address(page)["strength"] == f"{grid.strengths[column]:g}"
    page.get_by_role("button", name="unsteered").click()
    assert address(page)["strength"] == "0"
    assert page.complaints == []


def test_markup_in_a_prompt_is_shown_as_text(open_page, explorer):
    page = open_page(explorer, "#prompt=3")
    check_quiet(page, explorer)
    assert page.evaluate("window.broken") is None
    assert page.locator("#prompt-text").text_content() == EVIL
    assert page.locator("b", has_text="bold").count() == 0
    assert "margin" not in page.locator("#says").inner_text()


def test_numbers_in_the_file_are_those_of_the_grid(explorer, grid):
    text = explorer.read_text(encoding="utf-8")
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert data["accuracy"] == grid.accuracy.tolist()
    assert data["prompts"][2]["prompt"] == EVIL
    assert data["prompts"][0]["probability"][0][2][3] == pytest.approx(
        grid.prompts[0].probability[0, 2, 3].tolist(), rel=1e-4
    )


def test_a_7b_shape_with_holes_and_equal_tokens_is_drawn(open_page, tmp_path):
    """32 x 11008 neurons, numbers that are not finite, two tokens with the same text, no dev split."""
    import numpy as np

    import sadi_lens as sl
    from sadi_lens.apps.explorer.page import explorer_html
    from sadi_lens.apps.web import write_page
    from sadi_lens.apps.web.page import plotly_js
    from sadi_lens.types.results import ExplorerGrid, PromptGrid

    shape = (32, 11008)
    mean = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    mean[5] = np.nan
    one = np.ones((*shape, 1), dtype=np.float32)
    info = sl.types.ModelInfo("seven", "Llama", 32, 32, 128, 4096, 11008, "0123456789abcdef")
    differences = sl.types.ActivationDifferences(
        "neuron", info, 9, mean, np.ones(shape, np.float32), one, one, one[..., 0]
    )
    cells = (3, 2, 2)
    holes = np.full(cells, np.nan)
    probability = np.full((*cells, 2), 0.25, dtype=np.float32)
    probability[:, :, 1] = np.nan
    prompt = PromptGrid(
        prompt="p",
        choices=(),
        answer=None,
        target=None,
        tokens=("\ufffd", "\ufffd", "\n"),
        unsteered=np.array([0.25, 0.25, 0.1], dtype=np.float32),
        choice_tokens=(),
        probability=probability,
        top=np.full((*cells, 3), [0, 1, 2]),
        top_probability=np.concatenate([probability, probability[..., :1]], axis=-1),
        kl=np.stack([np.zeros((3, 2)), np.full((3, 2), np.nan)], axis=-1).astype(np.float32),
        margin=holes.astype(np.float32),
        texts=("",),
        text=np.zeros(cells, dtype=int),
    )
    units = tuple((layer, 11007 - layer) for layer in range(30))
    grid = ExplorerGrid(
        info, "", "neuron", "signed", "all", "norm", 0, "", 0, float("nan"), (3, 30), (0.0, 9.0),
        holes, holes, holes, holes, holes, differences, units, (units[:3], units), (prompt,),
    )  # fmt: skip
    text = explorer_html(grid)
    assert len(text) - len(plotly_js()) < 400_000
    path = write_page(text, tmp_path / "seven.html")
    page = open_page(path, "#k=30&strength=9", width=390)
    check_quiet(page, path)
    assert overflow(page) == 0
    assert page.evaluate("document.getElementById('elements').data.at(-1).x.length") == 30
    assert "KL from the unsteered model not finite" in page.locator("#says").inner_text()
    assert "25.0% \u2192 not finite" in page.locator("#bars").inner_text()
    assert "no dev split" in page.locator("#overall").inner_text()
    assert page.locator("#after").inner_text() == "(nothing)"
    assert page.get_by_role("button", name="best").count() == 0
