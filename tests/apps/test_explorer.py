"""The explorer's numbers against plain calls, its widget, and what it refuses."""

import html
import json
import threading
from dataclasses import replace

import numpy as np
import pytest

KS, STRENGTHS = (1, 3, 5), (-0.5, 1.0, 4.0)


@pytest.fixture(scope="module")
def task(samples):
    import sadi_lens as sl

    return sl.Task("words", dev=tuple(samples), prompts=("the big red", "Ann says"))


@pytest.fixture(scope="module")
def explorer(llama, task, differences):
    import sadi_lens as sl

    return sl.apps.SteeringExplorer(
        llama, task, differences["head"], ks=KS, strengths=STRENGTHS, n_prompts=3, max_new_tokens=3
    )


@pytest.fixture(scope="module")
def page_data(explorer, tmp_path_factory):
    """The numbers as the page holds them."""
    path = explorer.to_html(tmp_path_factory.mktemp("page") / "page.html", progress=False)
    text = path.read_text(encoding="utf-8")
    return json.loads(text.split('id="data">')[1].split("</script>")[0])


def plain(method, k, strength, differences):
    """The intervention of one cell, from public parts."""
    import sadi_lens as sl

    if method == "random":
        return sl.MaskedScaling(sl.random_mask(differences, k, seed=0), strength)
    mask = sl.top_k_mask(differences, k)
    if method == "adaptive":
        return sl.MaskedScaling(mask, strength)
    return sl.MaskedAddition.from_differences(mask, differences, strength, match="norm")


def random_cells(n=10):
    rng = np.random.default_rng(7)
    return [(int(rng.integers(3)), int(rng.integers(3)), int(rng.integers(4))) for _ in range(n)]


def test_ten_random_points_of_the_page_are_what_evaluate_gives(page_data, llama, task, differences):
    import sadi_lens as sl

    assert page_data["strengths"] == [-0.5, 0.0, 1.0, 4.0]
    for m, k, s in random_cells():
        one = plain(
            page_data["methods"][m],
            page_data["ks"][k],
            page_data["strengths"][s],
            differences["head"],
        )
        found = sl.evaluate(llama, task.dev, one, progress=False)
        shown = {
            name: page_data[name][m][k][s]
            for name in ("accuracy", "low", "high", "margin", "valid_rate")
        }
        assert shown == pytest.approx(
            {
                "accuracy": found.accuracy,
                "low": found.interval.low,
                "high": found.interval.high,
                "margin": found.margin,
                "valid_rate": found.valid_rate,
            },
            abs=2e-5,
        )


def test_ten_random_points_of_a_prompt_are_a_steered_forward_pass(
    page_data, llama, task, differences
):
    """Probabilities, margin, KL and text of the page against a plain pass per point."""
    import torch

    import sadi_lens as sl

    tokenizer = llama.tokenizer
    for number, (m, k, s) in enumerate(random_cells()):
        one = page_data["prompts"][number % 3]
        sample = next(sample for sample in task.dev if sample.prompt == one["prompt"])
        method, strength = page_data["methods"][m], page_data["strengths"][s]
        intervention = plain(method, page_data["ks"][k], strength, differences["head"])
        ids = torch.tensor([tokenizer(sample.prompt)["input_ids"]])
        with torch.inference_mode():
            clean = llama(ids)[0, -1].double().softmax(-1)
            with sl.steer(llama, intervention):
                steered = llama(ids)[0, -1].double().softmax(-1)
        names = {token: index for index, token in enumerate(one["tokens"])}
        vocabulary = [tokenizer.decode([index]) for index in range(len(tokenizer))]
        for token, shown in zip(one["tokens"], one["probability"][m][k][s], strict=False):
            assert shown == pytest.approx(float(steered[vocabulary.index(token)]), abs=1e-5)
        for token, shown in zip(one["tokens"], one["unsteered"], strict=True):
            assert shown == pytest.approx(float(clean[vocabulary.index(token)]), abs=1e-5)
        best = steered.topk(5)
        assert one["topProbability"][m][k][s] == pytest.approx(best.values.tolist(), abs=1e-5)
        assert one["top"][m][k][s][0] == names[vocabulary[int(best.indices[0])]]
        kl = float((steered * (steered / clean).log()).sum())
        assert one["kl"][m][k][s] == pytest.approx(kl, abs=1e-4)
        margin = sl.evaluate(llama, [sample], intervention, progress=False).margin
        # Five significant digits are written.
        assert one["margin"][m][k][s] == pytest.approx(margin, rel=1e-4)
        text = sl.generate(
            llama, sample.prompt, intervention, position="last_prompt", max_new_tokens=3
        )
        assert [one["texts"][one["text"][m][k][s]]] == text


def test_boxes_are_the_masks(page_data, differences):
    import sadi_lens as sl

    for index, k in enumerate(KS):
        mask = sl.top_k_mask(differences["head"], k)
        assert {tuple(one) for one in page_data["units"][:k]} == set(mask.units)
        random = sl.random_mask(differences["head"], k, seed=0)
        assert {tuple(one) for one in page_data["randomUnits"][index]} == set(random.units)


@pytest.mark.parametrize("component", ["hidden", "mlp_out", "neuron"])
@pytest.mark.parametrize("position", ["every_step", "all"])
def test_every_component_and_position_is_what_evaluate_gives(
    llama, task, differences, component, position
):
    import sadi_lens as sl

    own = differences[component]
    grid = sl.apps.SteeringExplorer(
        llama, task, own, ks=[2], strengths=[3.0], prompts=["the hat is"], position=position, max_new_tokens=2
    ).grid(progress=False)  # fmt: skip
    for m, method in enumerate(("adaptive", "fixed", "random")):
        one = plain(method, 2, 3.0, own)
        found = sl.evaluate(llama, task.dev, one, position=position, progress=False)
        assert grid.margin[m, 0, 1] == pytest.approx(found.margin, abs=2e-5)
        text = sl.generate(llama, "the hat is", one, position=position, max_new_tokens=2)
        assert [grid.prompts[0].texts[grid.prompts[0].text[m, 0, 1]]] == text


def test_the_grid_is_kept_saved_and_read_back(explorer, tmp_path):
    import sadi_lens as sl

    grid = explorer.grid(progress=False)
    assert explorer.grid() is grid
    assert sl.load(sl.save(grid, tmp_path / "grid"), model=explorer.model) == grid
    sweep = grid.sweep("fixed")
    assert sweep.unsteered_accuracy == grid.accuracy[0, 0, 1]
    assert sweep.method == "fixed"
    with pytest.raises(ValueError, match="did you mean 'adaptive'"):
        grid.sweep("adaptve")


def test_the_default_menu_is_half_wrong_and_half_right_in_the_order_of_dev(explorer, llama, task):
    import sadi_lens as sl

    correct = sl.evaluate(llama, task.dev, progress=False).correct
    wrong = [one.prompt for one, right in zip(task.dev, correct, strict=True) if not right]
    right = [one.prompt for one, right in zip(task.dev, correct, strict=True) if right]
    shown = [one.prompt for one in explorer.grid(progress=False).prompts]
    n_wrong = min(len(wrong), max(3 // 2, 3 - len(right)))
    assert shown == [*wrong[:n_wrong], *right[: 3 - n_wrong]]


def test_a_task_without_dev_shows_its_prompts_and_no_accuracy(llama, task, differences, tmp_path):
    import sadi_lens as sl

    explorer = sl.apps.SteeringExplorer(
        llama, replace(task, dev=()), differences["head"], ks=[2], strengths=[1.0], max_new_tokens=2
    )
    grid = explorer.grid(progress=False)
    assert [one.prompt for one in grid.prompts] == list(task.prompts)
    assert grid.n == 0
    assert np.isnan(grid.accuracy).all()
    with pytest.raises(ValueError, match="no dev split"):
        grid.sweep("adaptive")
    text = explorer.to_html(tmp_path / "page.html", progress=False).read_text(encoding="utf-8")
    assert '<option value="kl">' in text
    assert '<option value="accuracy">' not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ks": []}, "ks must not be empty"),
        ({"ks": [2, 2]}, r"ks must differ, got \[2, 2\]"),
        ({"ks": [0, 2]}, "k must be at least 1, got 0"),
        ({"ks": [13]}, r"k must be in \[1, 12\], got 13"),
        ({"strengths": [float("nan")]}, "strengths must be finite"),
        ({"prompts": []}, "prompts must hold at least 1, got 0"),
        ({"n_prompts": 0}, "n_prompts and max_new_tokens must be at least 1, got 0 and 16"),
        ({"position": "last_promt"}, "did you mean 'last_prompt'"),
        ({"ranking": "sign"}, "did you mean 'signed'"),
        ({"match": "norms"}, "did you mean 'norm'"),
    ],
)
def test_bad_settings_are_refused_before_any_work(llama, task, differences, changes, message):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=message):
        sl.apps.SteeringExplorer(llama, task, differences["head"], **changes)


def test_other_bad_input_is_refused(llama, task, differences, tmp_path):
    import sadi_lens as sl

    with pytest.raises(TypeError, match="prompts must be a list"):
        sl.apps.SteeringExplorer(llama, task, differences["head"], prompts="the hat")
    with pytest.raises(TypeError, match=r"differences\[.head.\]"):
        sl.apps.SteeringExplorer(llama, task, differences)
    with pytest.raises(ValueError, match="neither dev nor prompts"):
        sl.apps.SteeringExplorer(llama, sl.Task("empty"), differences["head"])
    arrays = ("mean", "std", "vector", "prompt_mean", "prompt_rms")
    own = differences["head"]
    other = replace(own, **{name: getattr(own, name)[:2] for name in arrays})
    with pytest.raises(ValueError, match=r"mask has 2 layers x 4 head units"):
        sl.apps.SteeringExplorer(llama, task, other)
    explorer = sl.apps.SteeringExplorer(llama, task, differences["head"])
    with pytest.raises(IsADirectoryError, match="is a folder"):
        explorer.to_html(tmp_path)
    long = sl.apps.SteeringExplorer(llama, task, differences["head"], prompts=["the " * 80])
    with pytest.raises(ValueError, match="text must fit the context of 64 tokens"):
        long.grid(progress=False)


@pytest.fixture
def live(explorer):
    from sadi_lens.apps.explorer.widget import LiveExplorer

    return LiveExplorer(explorer)


def in_a_thread(act):
    """As JupyterLab calls it: not the main thread, autograd on."""
    import torch

    seen = []

    def run():
        seen.append(torch.is_grad_enabled())
        act()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [True]


def test_the_widget_shows_a_steered_pass_and_lives_on_at_the_second_step(live, llama, differences):
    import torch

    import sadi_lens as sl

    prompt = "the ball is"
    live.prompt.value = prompt
    ids = torch.tensor([llama.tokenizer(prompt)["input_ids"]])
    before = None
    for strength in (2.0, 3.0, 4.0):
        in_a_thread(lambda strength=strength: setattr(live.strength, "value", strength))
        one = plain("adaptive", live.k.value, strength, differences["head"])
        with torch.inference_mode(), sl.steer(llama, one):
            expected = 100 * llama(ids)[0, -1].softmax(-1)
        shown = dict(
            zip(live.bars.layout.yaxis.ticktext, np.asarray(live.bars.data[1].x), strict=True)
        )
        for token, value in shown.items():
            index = llama.tokenizer.convert_tokens_to_ids(
                html.unescape(token).replace("\u2423", " ")
            )
            assert value == pytest.approx(float(expected[index]), abs=1e-3)
        assert "KL from the unsteered model" in live.says.value
        assert live.says.value != before
        before = live.says.value
    in_a_thread(lambda: setattr(live.k, "value", 5))
    assert len(live.elements.data[-1].x) == 6 * 5
    in_a_thread(lambda: setattr(live.method, "value", "random"))
    assert live.says.value != before


def test_an_error_is_shown_in_the_widget_and_the_next_move_works(live):
    in_a_thread(lambda: setattr(live.prompt, "value", "red " * 80 + "<b>big</b>"))
    assert live.says.value.startswith("<b>ValueError:</b> text must fit the context of 64 tokens")
    assert "&lt;b&gt;big" in live.says.value
    assert "<b>big" not in live.says.value
    in_a_thread(live.write.click)
    assert live.says.value.startswith("<b>ValueError:</b>")
    in_a_thread(lambda: setattr(live.prompt, "value", "the <b>big</b>"))
    assert live.says.value.startswith("Most likely next")
    in_a_thread(live.write.click)
    assert "<i>steered:</i>" in live.texts.value


def test_the_widget_leaves_the_model_as_it_was(live, llama):
    in_a_thread(lambda: setattr(live.strength, "value", 4.0))
    assert all(
        not llama.get_hook_point(f"blocks.{layer}.attn.hook_z").fwd_hooks for layer in range(3)
    )


def test_widget_menu_and_config(live, explorer):
    assert "sendChartToCloud" in live.bars._config["modeBarButtonsToRemove"]
    assert explorer.widget(theme="dark").children[0].description == "prompt"
    live.menu.value = live.menu.options[1][1]
    assert live.prompt.value == live.menu.options[1][1]
    with pytest.raises(ValueError, match="did you mean 'dark'"):
        explorer.widget(theme="drak")


def test_the_command_line_writes_a_page_and_refuses_in_one_line(tmp_path):
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app

    story = (
        "Story: Tom met Ann.\nQuestion: Which animal does Ann have?\nOptions: cat or dog.\nAnswer:"
    )
    rows = [
        {"prompt": story, "positive": " cat", "negative": " dog", "split": "pairs"},
        {"prompt": f"Now. {story}", "choices": [" cat", " dog"], "answer": 0, "split": "dev"},
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    out = tmp_path / "page.html"
    done = CliRunner().invoke(
        app, ["explorer", "--task", str(tmp_path / "mine.jsonl"), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "1 dev item" in out.read_text(encoding="utf-8")
    refused = CliRunner().invoke(app, ["explorer", "--component", "heads"])
    assert refused.exit_code == 1
    assert "did you mean 'head'" in refused.output
