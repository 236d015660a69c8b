"""The explorer page in a real browser, on the embedded model; numbers from ``sl.evaluate``."""

import json
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pages import check_contrast, check_quiet, check_targets, overflow

EVIL = "</script><script>window.broken = 1</script><b>bold</b> &amp; $x$\nAnswer:"
STRENGTHS = (1.0, 5.0, 12.0)


@pytest.fixture(scope="module")
def material():
    """Model, task with 40 dev items, differences of the heads."""
    import sadi_lens as sl

    model, task = sl.load_model("tiny"), sl.load_task("hints")
    task = replace(task, dev=task.dev[:40])
    heads = sl.activation_differences(model, task.pairs[:60], components=["head"], progress=False)
    return model, task, heads["head"]


@pytest.fixture(scope="module")
def grid(material):
    import sadi_lens as sl

    explorer = sl.apps.SteeringExplorer(
        *material, ks=[1, 4, 10], strengths=STRENGTHS, n_prompts=4, max_new_tokens=4
    )
    return explorer.grid(progress=False)


@pytest.fixture(scope="module")
def right(material):
    """(method, K, strength) -> which items are right, by plain calls of ``sl.evaluate``."""
    import sadi_lens as sl

    model, task, heads = material

    def found(method, k=0, strength=0.0):
        if method == "unsteered" or not strength:
            one = None
        elif method == "random":
            one = sl.MaskedScaling(sl.random_mask(heads, k, seed=0), strength)
        else:
            mask = sl.top_k_mask(heads, k)
            one = sl.MaskedScaling(mask, strength)
            if method == "fixed":
                one = sl.MaskedAddition.from_differences(mask, heads, strength, match="norm")
            if method == "given":
                texts = [sample.prompt for sample in task.dev]
                one = sl.measure.swap_prompts(model, one, texts, progress=False)
        return sl.evaluate(model, task.dev, one, progress=False).correct.tolist()

    return found


@pytest.fixture(scope="module")
def explorer(grid, tmp_path_factory):
    """The page of the menu of outcomes."""
    from sadi_lens.apps.explorer.page import explorer_html
    from sadi_lens.apps.web import write_page

    return write_page(
        explorer_html(grid), tmp_path_factory.mktemp("explorer") / "explorer.html", "explorer"
    )


@pytest.fixture(scope="module")
def with_writing(material, tmp_path_factory):
    """The page with prompts of the user's own and a tab in which the model writes."""
    import sadi_lens as sl

    model, task, heads = material
    kind = sl.load_task("kindness")
    hidden = sl.activation_differences(
        model, kind.pairs[:40], components=["hidden"], progress=False
    )["hidden"]
    writing = sl.apps.SteeringExplorer(
        model, sl.Task("kindness", prompts=kind.prompts), hidden, ks=[4], strengths=STRENGTHS, n_prompts=2,
        position="every_step", max_new_tokens=8,
    )  # fmt: skip
    main = sl.apps.SteeringExplorer(
        model, task, heads, ks=[1, 10], strengths=STRENGTHS, prompts=[*task.dev[:2], EVIL], max_new_tokens=4
    )  # fmt: skip
    path = tmp_path_factory.mktemp("explorer") / "writing.html"
    return main.to_html(path, writing=writing, progress=False)


def address(page):
    """The settings in the address."""
    words = page.evaluate("location.hash.slice(1)")
    return dict(one.split("=") for one in words.split("&"))


def dots(page, method):
    """Dot by dot in the order of the dev items: is it drawn as right?"""
    return page.evaluate(
        """(method) => {
          const data = JSON.parse(document.getElementById("data").textContent)[0];
          const shown = [...document.querySelectorAll(`.column[data-method=${method}] .dot`)];
          const key = (word) => word[0] + "10"[word[1]] + "10"[word[2]];
          const order = data.outcomes.map((_, item) => item)
            .sort((a, b) => key(data.outcomes[a]).localeCompare(key(data.outcomes[b])) || a - b);
          const found = [];
          shown.forEach((dot, place) => {
            const visible = (name) => getComputedStyle(dot.querySelector(name)).opacity > 0.5;
            found[order[place]] = visible("circle");
            if (visible("circle") === visible("path")) throw Error("a dot must be either right or wrong");
          });
          return found;
        }""",
        method,
    )


def settled(page):
    """After every transition."""
    page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")


def columns(page):
    return {
        name: page.locator(f".column[data-method={name}]").inner_text()
        for name in ("adaptive", "fixed", "random")
    }


def test_nothing_is_fetched_and_nothing_complains(open_page, explorer, with_writing):
    for path in (explorer, with_writing):
        page = open_page(path)
        check_quiet(page, path)
        assert overflow(page) == 0


def test_the_page_is_light_and_holds_no_plotly(explorer, with_writing):
    for path in (explorer, with_writing):
        assert path.stat().st_size < 400_000
        assert "Plotly.newPlot" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("push", ["own", "given"])
def test_every_text_is_readable(open_page, explorer, scheme, push):
    check_contrast(open_page(explorer, f"#strength=5&push={push}", scheme=scheme))


def test_a_phone_shows_all_of_it(open_page, with_writing):
    page = open_page(with_writing, width=390, height=844)
    assert overflow(page) == 0
    for tab in (0, 1):
        page.locator(f"#tab-{tab}").click()
        width = page.evaluate(
            "Math.max(...[...document.querySelectorAll('main svg, main select, main table')]"
            ".map((one) => one.getBoundingClientRect().right))"
        )
        assert width <= 390
        assert overflow(page) == 0
    boxes = [
        page.locator(f".column[data-method={one}]").bounding_box() for one in ("adaptive", "random")
    ]
    assert boxes[0]["y"] == boxes[1]["y"]  # side by side


def test_the_slider_flips_the_dots_that_evaluate_flips(open_page, explorer, grid, right):
    page = open_page(explorer, "#k=10&strength=0")
    before = right("unsteered")
    for place, strength in enumerate((0.0, *STRENGTHS)):
        if place:
            page.locator("#strength").focus()
            page.keyboard.press("ArrowRight")
            settled(page)
        said = columns(page)
        for method in ("adaptive", "fixed", "random"):
            expected = right(method, 10, strength)
            assert dots(page, method) == expected
            heard = page.locator("#counts").text_content()
            assert f": {sum(expected)} of 40 right" in heard
            assert f"{sum(expected)} of 40 right" in " ".join(said[method].split())
            mended = sum(now and not was for now, was in zip(expected, before, strict=True))
            broken = sum(was and not now for now, was in zip(expected, before, strict=True))
            words = f"mended {mended} of {40 - sum(before)}, broke {broken} of {sum(before)}"
            assert ("without steering" if not strength else words) in said[method]
            rates = grid.valid_rate[("adaptive", "fixed", "random").index(method)]
            valid = rates[grid.ks.index(10), grid.strengths.index(strength)]
            assert f"; {100 * valid:.0f}% valid answers" in said[method]
    assert right("adaptive", 10, 5.0) != right("fixed", 10, 5.0)


def test_another_prompts_push_is_in_dots_text_and_arrows(open_page, explorer, grid, right):
    k = grid.ks[grid.cell[0]]
    page = open_page(explorer, f"#k={k}&strength=5")
    own = page.locator(".card[data-method=adaptive]").inner_text()
    page.get_by_role("button", name="give another prompt\u2019s push").click()
    settled(page)
    assert dots(page, "adaptive") == right("given", k, 5.0)
    assert dots(page, "fixed") == right("fixed", k, 5.0)
    one = grid.prompts[0]
    shown = page.locator(".card[data-method=adaptive]")
    assert shown.inner_text() != own
    assert shown.locator("h3").inner_text() == "another prompt\u2019s push"
    assert shown.locator(".text").text_content() == "".join(
        one.donated.texts[one.donated.text[0, 0, 2]]
    )
    assert f"margin {one.donated.margin[0, 0, 2]:+.2f}".replace("-", "\u2212") in shown.inner_text()
    assert page.locator("#arrows .given").count() == 1
    assert f"Given: that of prompt {one.donor + 1}" in page.locator("#arrows-note").inner_text()
    assert page.locator("#k").is_disabled()
    assert address(page)["push"] == "given"
    page.get_by_role("button", name="give each prompt its own push").click()
    assert shown.inner_text() == own


def test_it_opens_on_the_commonest_change_with_all_counts(
    open_page, explorer, grid, right, material
):
    page = open_page(explorer)
    k, strength = grid.ks[grid.cell[0]], grid.strengths[grid.cell[1]]
    assert (address(page)["k"], address(page)["strength"]) == (str(k), f"{strength:g}")
    rules = right("unsteered"), right("adaptive", k, strength), right("fixed", k, strength)
    found = list(zip(*rules, strict=True))
    counts = {one: found.count(one) for one in set(found)}
    most = max(n for one, n in counts.items() if one[0] != one[1])
    prompt = page.locator("#prompt-text").text_content()
    item = [one.prompt for one in material[1].dev].index(prompt)
    assert found[item][0] != found[item][1]
    assert counts[found[item]] == most >= 0.05 * 40
    words = ["right" if one else "wrong" for one in found[item]]
    line = f"{words[0]} unsteered, {words[1]} with SADI, {words[2]} with the fixed vector"
    assert (
        f"{most} of 40 items are like this one: {line} (at K {k},"
        in page.locator("#stratum").inner_text()
    )
    shown = [int(one) for one in page.locator(".outcomes tbody button").all_inner_texts()]
    assert shown == sorted(counts.values(), reverse=True)
    groups = page.locator("#prompt-0 optgroup").evaluate_all("all => all.map((one) => one.label)")
    assert groups[0] == f"{line}: {most} of 40 items"
    assert len(groups) == len({found[one.item] for one in grid.prompts})


def test_a_preference_that_is_not_written_is_no_answer(open_page, with_writing, material):
    """Every cell of two prompts: "answers" only where the text begins with the favourite, else both are named."""
    model, task, heads = material
    import sadi_lens as sl

    mask, seen = sl.top_k_mask(heads, 10), set()
    for number, sample in enumerate(task.dev[:2]):
        for strength in STRENGTHS:
            page = open_page(with_writing, f"#prompt={number + 1}&k=10&strength={strength:g}")
            fixed = sl.MaskedAddition.from_differences(mask, heads, strength, match="norm")
            for name, one in (("adaptive", sl.MaskedScaling(mask, strength)), ("fixed", fixed)):
                scores = sl.evaluate(model, [sample], one, progress=False).choice_scores[0]
                (text,) = sl.generate(model, sample.prompt, one, max_new_tokens=4)
                favourite = sample.choices[int(scores.argmax())]
                says = page.locator(f".card[data-method={name}] .verdict").inner_text()
                token = favourite.replace(" ", "\u2423")
                if text.strip().split(".")[0] == favourite.strip():
                    is_right = int(scores.argmax()) == sample.answer
                    assert says == f"answers {token}: {'right' if is_right else 'wrong'}"
                else:
                    assert says.startswith(f"prefers {token} (")
                    assert says.endswith(f"but writes \u201c{text.strip()}\u201d")
                seen.add(says.split()[0])
    assert seen == {"answers", "prefers"}


def test_a_dot_names_its_item_by_pointer_and_by_keyboard(open_page, explorer, grid, right):
    page = open_page(explorer, "#k=10&strength=5")
    drawing = page.locator(".column[data-method=fixed] svg")
    drawing.focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#item").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#item").inner_text() != first
    page.locator(".column[data-method=adaptive] .dot").nth(0).hover()
    assert page.locator("#item").inner_text() == first
    item = int(first.split()[1].strip(":")) - 1
    assert (
        grid.items[item][-60:].split()
        == first.split(grid.answers[item] + " is right")[0].split()[
            -len(grid.items[item][-60:].split()) :
        ]
    )
    for method, words in (
        ("unsteered", "unsteered"),
        ("adaptive", "with SADI"),
        ("fixed", "with the fixed vector"),
    ):
        is_right = right(method, 10, 5.0)[item]
        assert f"{'right' if is_right else 'wrong'} {words}" in first
    assert page.locator(".ring[visibility=visible]").count() == 3


def test_arrows_grow_with_the_strength_at_one_scale(open_page, explorer, grid):
    def length(kind, strength):
        page = open_page(explorer, f"#k=10&strength={strength}")
        path = page.locator(f"#arrows .arrow.{kind}:not(.faint) .head")
        rings = page.locator("#arrows text").all_inner_texts()
        return (
            -float(path.get_attribute("d").split("l")[0].split()[1]) if path.count() else 0.0
        ), rings

    assert length("adaptive", 0)[0] == 0
    (short, rings), (long, again) = length("adaptive", 1), length("adaptive", 5)
    assert rings == again
    norms = grid.pushes.norm[0, 2]
    assert long / short == pytest.approx(norms[2] / norms[1], rel=0.02)
    fixed = grid.pushes.fixed_norm[2]
    assert length("fixed", 5)[0] / long == pytest.approx(fixed[2] / norms[2], rel=0.02)


def test_every_control_has_a_name_and_room_for_a_finger(open_page, explorer):
    page = open_page(explorer)
    for name in ("strength", "K (heads)"):
        assert page.get_by_role("slider", name=name).count() == 1
    assert check_targets(page) == []


def test_k_moves_by_keyboard_and_frames_the_mask(open_page, explorer, material):
    import sadi_lens as sl

    page = open_page(explorer, "#k=1&strength=1")
    for k in (4, 10):
        page.locator("#k").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#elements .frame.chosen").count() == k
        assert page.locator("#elements .frame.random").count() == k
        assert page.locator("#k").get_attribute("aria-valuetext") == f"K {k}"
        assert address(page)["k"] == str(k)
        names = page.locator("#selected").inner_text()
        layer, unit = sl.top_k_mask(material[2], k).units[0]
        assert f"L{layer}H{unit}" in names


def test_a_click_on_a_map_jumps_there(open_page, explorer, grid):
    page = open_page(explorer, "#k=1&strength=0")
    for row, column in ((2, 3), (1, 1)):
        page.locator("#maps [data-method=fixed] .cell").nth(row * 4 + column).click()
        assert address(page)["k"] == str(grid.ks[row])
        assert address(page)["strength"] == f"{grid.strengths[column]:g}"
        assert page.locator("#k").input_value() == str(row)


def test_every_map_is_drawn_with_the_numbers_of_evaluate(open_page, explorer, grid, right):
    page = open_page(explorer, "#k=1&strength=0")
    cells = page.locator("#maps [data-method=random] .cell text")
    shown = [int(one) for one in cells.all_text_contents()]
    assert shown[2 * 4 + 2] == round(100 * sum(right("random", 10, 5.0)) / 40)
    for name in ("margin", "prompt", "kl"):
        page.locator("#map").select_option(name)
        assert cells.count() == 12
    page.get_by_role("button", name="best on dev").click()
    row, column = grid.cell
    assert address(page)["k"] == str(grid.ks[row])
    assert address(page)["strength"] == f"{grid.strengths[column]:g}"
    page.get_by_role("button", name="unsteered", exact=True).click()
    assert address(page)["strength"] == "0"
    assert page.complaints == []


def test_the_address_restores_the_page_and_nonsense_in_it_is_ignored(open_page, with_writing):
    first = open_page(with_writing)
    first.locator("#prompt-0").select_option("1")
    first.locator("#map").select_option("kl")
    kept = first.evaluate("location.hash")
    again = open_page(with_writing, kept)
    assert again.locator("#prompt-text").inner_text() == first.locator("#prompt-text").inner_text()
    assert again.locator("#map").input_value() == "kl"
    wild = open_page(with_writing, "#k=-3&strength=NaN&prompt=99&tab=7&push=<b>&map=constructor")
    assert wild.complaints == []
    assert address(wild)["map"] == "accuracy"
    assert "push" not in address(wild)


def test_the_writing_tab_shows_what_generate_writes(open_page, with_writing):
    import sadi_lens as sl

    model, kind = sl.load_model("tiny"), sl.load_task("kindness")
    hidden = sl.activation_differences(
        model, kind.pairs[:40], components=["hidden"], progress=False
    )["hidden"]
    sadi = sl.MaskedScaling(sl.top_k_mask(hidden, 4), 5.0)
    page = open_page(with_writing, "#strength=5")
    page.locator("#tab-0").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tab-1").get_attribute("aria-selected") == "true"
    assert page.locator("#prompt-text").text_content() == kind.prompts[0]
    for name, one in (("unsteered", None), ("adaptive", sadi)):
        (text,) = sl.generate(model, kind.prompts[0], one, position="every_step", max_new_tokens=8)
        assert page.locator(f".card[data-method={name}] .text").text_content() == text
    assert page.locator("#elements .frame.chosen").count() == 4
    # The control is of the dots above, which the tab leaves alone.
    assert page.locator("#k-label").inner_text().split() == [
        "K",
        "(heads)",
        page.evaluate("new URLSearchParams(location.hash.slice(1)).get('k')"),
    ]
    again = open_page(with_writing, page.evaluate("location.hash"))
    assert again.locator("#prompt-text").text_content() == kind.prompts[0]
    assert page.complaints == []


def test_markup_in_a_prompt_is_shown_as_text(open_page, with_writing):
    page = open_page(with_writing, "#prompt=3")
    check_quiet(page, with_writing)
    assert page.evaluate("window.broken") is None
    assert page.locator("#prompt-text").text_content() == EVIL
    assert page.locator("b", has_text="bold").count() == 0
    assert page.locator(".card[data-method=adaptive] .verdict").inner_text() == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_the_dots_stay_and_the_sliders_go(open_page, explorer, scheme):
    page = open_page(explorer, scheme=scheme)
    page.emulate_media(media="print")
    assert page.locator(".dot").first.is_visible()
    assert page.locator(".outcomes button").first.is_visible()
    assert not page.locator("#strength").is_visible()
    assert page.locator("#strength-value").is_visible()


def test_on_paper_every_drawing_is_whole(open_page, explorer):
    page = open_page(explorer, width=1440)
    page.set_viewport_size({"width": 720, "height": 1000})
    page.emulate_media(media="print")
    cut = page.evaluate(
        """[...document.querySelectorAll(".dots svg, .map svg, #elements svg")].filter((one) => {
          const box = one.getBoundingClientRect();
          return [...one.querySelectorAll("circle:not(.ring), rect")].some((mark) => {
            const at = mark.getBoundingClientRect();
            return at.right > box.right + 1 || at.bottom > box.bottom + 1;
          }) || box.right > innerWidth;
        }).length"""
    )
    assert cut == 0


class Server(BaseHTTPRequestHandler):
    """As vLLM's: names one model, refuses unknown tables, says how it was asked."""

    allows, steers = True, True

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        self.send_response(status)
        if self.allows:
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "*")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_OPTIONS(self):
        self.answer(200, {})

    def do_GET(self):
        self.answer(200, {"data": [{"id": "model"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        name = body.get("vllm_xargs", {}).get("sadi")
        if self.steers and name not in (None, "kind@every_step"):
            return self.answer(400, {"error": {"message": f"no table {name}; known: kind"}})
        return self.answer(200, {"choices": [{"text": f"{body['prompt']} <i>{name}</i>"}]})


@pytest.fixture
def server():
    made = type("Fresh", (Server,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), made) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield made, f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def ask(page, base, table="kind@every_step"):
    from playwright.sync_api import expect

    page.locator("#server").fill(base)
    page.locator("#table").fill(table)
    page.locator("#own-text").fill("Say")
    page.get_by_role("button", name="continue it").click()
    expect(page.locator("#ask-says")).not_to_have_text(re.compile("^(asking \u2026)?$"))
    return page.locator("#ask-says").inner_text()


def test_a_text_of_ones_own_is_continued_by_a_server(open_page, explorer, server):
    made, base = server
    page = open_page(explorer)
    assert "model, greedy" in ask(page, f"{base}/v1/")
    assert page.locator("#ask-cards .text").all_text_contents() == [
        "Say <i>None</i>", "Say <i>kind@every_step</i>",
    ]  # fmt: skip
    assert {path for path, _ in made.asked} == {"/v1/completions"}
    plain, steered = (body for _, body in made.asked[1:])
    assert "vllm_xargs" not in plain
    assert {**plain, "vllm_xargs": {"sadi": "kind@every_step"}} == steered
    assert plain["temperature"] == 0
    assert "no table rude; known: kind" in ask(page, base, "rude")


def test_what_is_wrong_with_a_server_is_said(open_page, explorer, server):
    made, base = server
    made.steers = False
    assert "does not steer" in ask(open_page(explorer), base)
    made.allows = False
    says = ask(open_page(explorer), base)
    assert "does not let this page read its answers (CORS)" in says
    assert "--allowed-origins" in says
    says = ask(open_page(explorer), "http://127.0.0.1:9")
    assert "No server answers at http://127.0.0.1:9. Start one: sadi-lens serve" in says


def test_a_7b_shape_with_holes_and_equal_tokens_is_drawn(open_page, tmp_path):
    """32 x 11008 neurons, numbers that are not finite, two tokens with the same text, no dev split."""
    import numpy as np

    import sadi_lens as sl
    from sadi_lens.apps.explorer.page import explorer_html
    from sadi_lens.apps.web import write_page
    from sadi_lens.types.results import ExplorerGrid, PromptGrid, PushGrid

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
        item=None,
        tokens=("\ufffd", "\ufffd", "\n"),
        unsteered=np.array([0.25, 0.25, 0.1], dtype=np.float32),
        choice_tokens=(),
        probability=probability,
        top=np.full((*cells, 3), [0, 1, 2]),
        top_probability=np.concatenate([probability, probability[..., :1]], axis=-1),
        kl=np.stack([np.zeros((3, 2)), np.full((3, 2), np.nan)], axis=-1).astype(np.float32),
        margin=holes.astype(np.float32),
        favourite=np.full(cells, -1),
        texts=((),),
        text=np.zeros(cells, dtype=int),
        writes=np.zeros(cells, dtype=bool),
        change=np.zeros((*cells, 0), dtype=np.float32),
    )
    units = tuple((layer, 11007 - layer) for layer in range(30))
    none = np.zeros((*cells, 0), dtype=bool)
    length = np.ones((1, 2, 2), dtype=np.float32)
    undefined = np.full((1, 2, 2), np.nan, dtype=np.float32)
    grid = ExplorerGrid(
        info, "", "neuron", "signed", "all", "norm", 0, "", 0, float("nan"), (3, 30), (0.0, 9.0),
        holes, holes, holes, holes, holes, differences, units, (units[:3], units), (prompt,), (1, 1), none,
        pushes=PushGrid(length, length[0], undefined, undefined[None]),
    )  # fmt: skip
    text = explorer_html(grid)
    assert len(text) < 400_000
    path = write_page(text, tmp_path / "seven.html", "explorer")
    page = open_page(path, "#k=30&strength=9", width=390)
    check_quiet(page, path)
    assert overflow(page) == 0
    assert page.locator("#elements .frame.chosen").count() == 30
    assert "KL not finite" in page.locator(".card[data-method=adaptive]").inner_text()
    assert "25% \u00b7 not finite \u00b7 not finite" in page.locator("#bars").inner_text()
    assert page.locator("#field").count() == 0
    assert page.locator(".card[data-method=adaptive] .text").inner_text() == "(nothing)"
    assert page.get_by_role("button", name="best").count() == 0


def test_a_token_that_begins_both_answers_is_said_to(open_page, grid, tmp_path):
    from sadi_lens.apps.explorer.page import explorer_html
    from sadi_lens.apps.web import write_page

    first = grid.prompts[0]
    start = first.choice_tokens[1]
    one = replace(first, choice_tokens=(start, start), donated=None)
    text = explorer_html(replace(grid, prompts=(one, *grid.prompts[1:])))
    page = open_page(write_page(text, tmp_path / "same.html", "explorer"), "#prompt=1")
    marks = page.locator("#bars .mark").all_inner_texts()
    assert [mark.strip() for mark in marks] == ["right and wrong"]


def test_what_rounds_to_zero_has_no_minus(open_page, explorer):
    page = open_page(explorer)
    assert page.evaluate("[-0.04, 0, 0.04, -0.06].map((one) => App.signed(one, 1))") == [
        "+0.0", "+0.0", "+0.0", "\u22120.1",
    ]  # fmt: skip
    for name in ("margin", "prompt"):
        page.locator("#map").select_option(name)
        shown = page.locator("#maps .cell text").all_text_contents()
        assert "-" not in "".join(shown)
        assert "\u22120.0" not in shown


def test_a_half_is_rounded_as_in_the_report_of_the_same_numbers(open_page, explorer):
    page = open_page(explorer)
    shares = [right / 240 for right in range(241)] + [right / 360 for right in range(361)]
    for digits in (0, 1):
        shown = page.evaluate(f"(all) => all.map((one) => App.percent(one, {digits}))", shares)
        assert shown == [f"{100 * share:.{digits}f}%" for share in shares]
    nats = [-0.125, -0.25, 0.25, 0.35, 0.375, 2.5]
    shown = page.evaluate("(all) => all.map((one) => App.signed(one, 1))", nats)
    assert shown == [f"{one:+.1f}".replace("-", "\u2212") for one in nats]
