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
    return json.loads(text.split('id="data">')[1].split("</script>")[0])[0]


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
            assert shown == pytest.approx(1000 * float(steered[vocabulary.index(token)]), abs=0.51)
        for token, shown in zip(one["tokens"], one["unsteered"], strict=True):
            assert shown == pytest.approx(1000 * float(clean[vocabulary.index(token)]), abs=0.51)
        best = steered.topk(5)
        assert one["topProbability"][m][k][s] == pytest.approx(
            (1000 * best.values).tolist(), abs=0.51
        )
        assert one["top"][m][k][s][0] == names[vocabulary[int(best.indices[0])]]
        kl = float((steered * (steered / clean).log()).sum())
        assert one["kl"][m][k][s] == pytest.approx(kl, abs=6e-4)
        margin = sl.evaluate(llama, [sample], intervention, progress=False).margin
        # Three decimals are written.
        assert one["margin"][m][k][s] == pytest.approx(margin, abs=6e-4)
        text = sl.generate(
            llama, sample.prompt, intervention, position="last_prompt", max_new_tokens=3
        )
        assert ["".join(one["texts"][one["text"][m][k][s]])] == text
        scores = sl.evaluate(llama, [sample], intervention, progress=False).choice_scores[0]
        best_choice = sample.choices[int(scores.argmax())].strip()
        assert one["favourite"][m][k][s] == int(scores.argmax())
        assert bool(one["writes"][m][k][s]) == (text[0].split()[:1] == [best_choice])


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
        assert ["".join(grid.prompts[0].texts[grid.prompts[0].text[m, 0, 1]])] == text


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


def outcomes_of(llama, task, differences, k, strength):
    """Right or wrong unsteered, with SADI and with the fixed vector, by plain calls."""
    import sadi_lens as sl

    cells = [None, *(plain(name, k, strength, differences) for name in ("adaptive", "fixed"))]
    found = sl.evaluate(llama, task.dev, cells, progress=False)
    return list(zip(*(one.correct.tolist() for one in found), strict=True))


def test_every_dot_is_what_evaluate_gives(explorer, llama, task, differences):
    import sadi_lens as sl

    grid = explorer.grid(progress=False)
    for m, method in enumerate(("adaptive", "fixed", "random")):
        one = plain(method, 3, 4.0, differences["head"])
        found = sl.evaluate(llama, task.dev, one, progress=False)
        assert grid.correct[m, 1, 3].tolist() == found.correct.tolist()
        assert grid.accuracy[m, 1, 3] == grid.correct[m, 1, 3].mean()
    assert grid.items == tuple(one.prompt for one in task.dev)


def test_the_page_opens_on_the_cell_that_best_chooses_by_one_floor(explorer):
    """Half of the unsteered model's valid answers, as for every other choice on dev."""
    from sadi_lens.apps.explorer.compute import _opening_cell
    from sadi_lens.apps.explorer.page import explorer_html

    grid = explorer.grid(progress=False)
    zero = grid.strengths.index(0.0)
    correct, valid = np.zeros_like(grid.correct), np.ones_like(grid.valid_rate)
    correct[..., :2] = correct[0, 1, 2, :3] = correct[0, 2, 3] = True  # 2, 3 and 4 of 4 items
    made = {"accuracy": correct.mean(axis=-1), "valid_rate": valid, "correct": correct}
    for share, cell in ((0.5, (2, 3)), (0.49, (1, 2))):
        valid[0, 2, 3] = share * valid[0, 0, zero]
        one = replace(grid, **made)
        chosen = one.sweep("adaptive").best()
        assert _opening_cell(one) == cell
        assert (chosen.k, chosen.strength) == (grid.ks[cell[0]], grid.strengths[cell[1]])
    assert "keep 50% of the unsteered model" in explorer_html(grid)


def test_the_menu_has_some_of_every_outcome_and_opens_on_a_change(llama, task, differences):
    """Counts and order against plain calls at the cell that the page opens on."""
    import sadi_lens as sl

    grid = sl.apps.SteeringExplorer(
        llama, task, differences["head"], ks=KS, strengths=STRENGTHS, n_prompts=5, max_new_tokens=2
    ).grid(progress=False)
    row, column = grid.cell
    found = outcomes_of(llama, task, differences["head"], grid.ks[row], grid.strengths[column])
    counts = {one: found.count(one) for one in set(found)}
    assert grid.strata() == counts
    shown = [found[one.item] for one in grid.prompts]
    assert [one.prompt for one in grid.prompts] == [
        task.dev[one.item].prompt for one in grid.prompts
    ]
    assert len(set(shown)) == min(5, len(counts))
    few = 0.05 * len(task.dev)
    changed = {one: n for one, n in counts.items() if one[0] != one[1] and n >= few}
    wanted = changed or counts
    assert counts[shown[0]] == max(wanted.values())
    assert shown[0] in wanted
    for one in set(shown):  # of an outcome, the first items
        places = [place for place, other in enumerate(found) if other == one]
        assert [p.item for p in grid.prompts if found[p.item] == one] == places[: shown.count(one)]


@pytest.mark.parametrize(
    ("strata", "n", "expected"),
    [
        # Webster's rule by hand: 70/3 > 20/3, so the second goes to the 70, then 70/5 > 20/3 again.
        ({"TTT": 70, "FTF": 20, "TTF": 10}, 5, ["FTF", "TTT", "TTT", "TTT", "TTF"]),
        ({"TTT": 70, "FTF": 20, "TTF": 10}, 2, ["FTF", "TTT"]),
        # 40/3 is the largest, then 35/3, then 25/3 before 40/5.
        ({"TTT": 40, "FTF": 35, "TTF": 25}, 6, ["FTF"] * 2 + ["TTT"] * 2 + ["TTF"] * 2),
        # One item in thirty that is mended is not what the page opens on.
        ({"TTT": 29, "FTF": 1}, 3, ["TTT", "TTT", "FTF"]),
        ({"TTT": 3, "FFF": 1}, 8, ["TTT", "TTT", "TTT", "FFF"]),
    ],
)
def test_prompts_are_spread_as_the_items_are(strata, n, expected):
    from sadi_lens.apps.explorer.strata import spread

    def bits(word):
        return tuple(letter == "T" for letter in word)

    outcomes = np.array([bits(word) for word, count in strata.items() for _ in range(count)])
    counts = {bits(word): count for word, count in strata.items()}
    found = spread(outcomes, counts, n)
    assert [tuple(outcomes[item].tolist()) for item in found] == [bits(word) for word in expected]
    assert len(set(found)) == len(found)


def test_another_prompts_push_is_the_swapped_prompt_control(explorer, llama, task, differences):
    import sadi_lens as sl

    grid = explorer.grid(progress=False)
    k, own = grid.ks[grid.cell[0]], differences["head"]
    for column, strength in ((2, 1.0), (3, 4.0)):
        sadi = plain("adaptive", k, strength, own)
        texts = [one.prompt for one in task.dev]
        swapped = sl.measure.swap_prompts(llama, sadi, texts, progress=False)
        found = sl.evaluate(llama, task.dev, swapped, progress=False)
        assert grid.donated[column].tolist() == found.correct.tolist()
        one = grid.prompts[0]
        donor = grid.prompts[one.donor].prompt
        swapped = sl.measure.swap_prompts(llama, sadi, [one.prompt], [donor], progress=False)
        sample = task.dev[one.item]
        margin = sl.evaluate(llama, [sample], swapped, progress=False).margin
        assert one.donated.margin[0, 0, column] == pytest.approx(margin, abs=2e-5)
        text = sl.generate(llama, one.prompt, swapped, position="last_prompt", max_new_tokens=3)
        assert ["".join(one.donated.texts[one.donated.text[0, 0, column]])] == text
    assert grid.donated[1].tolist() == grid.correct[0, 0, 1].tolist()


def test_lengths_and_angles_of_pushes_are_those_of_the_activations(explorer, llama, differences):
    """Own push = strength x activation, in a mask within one layer; the fixed one from its definition."""
    import torch

    import sadi_lens as sl

    grid, own = explorer.grid(progress=False), differences["head"]
    ((layer, unit),) = sl.top_k_mask(own, 1).units
    states = []
    for one in grid.prompts:
        ids = torch.tensor([llama.tokenizer(one.prompt)["input_ids"]])
        _, cache = llama.run_with_cache(ids)
        states.append(cache[f"blocks.{layer}.attn.hook_z"][0, -1, unit].double().numpy())
    for column, strength in ((0, -0.5), (3, 4.0)):
        lengths = [abs(strength) * np.linalg.norm(one) for one in states]
        assert grid.pushes.norm[:, 0, column] == pytest.approx(lengths, rel=1e-4)
        direction = own.vector[layer, unit].astype(float) * np.sign(strength)
        cosines = [
            np.sign(strength) * one @ direction / np.linalg.norm(one) / np.linalg.norm(direction)
            for one in states
        ]
        assert grid.pushes.fixed_cosine[:, 0, column] == pytest.approx(cosines, abs=1e-4)
        between = states[0] @ states[1] / np.linalg.norm(states[0]) / np.linalg.norm(states[1])
        assert grid.pushes.cosine[0, 1, 0, column] == pytest.approx(between, abs=1e-4)
        rms = np.linalg.norm(own.prompt_rms[layer, unit])
        assert grid.pushes.fixed_norm[0, column] == pytest.approx(abs(strength) * rms, rel=1e-4)


@pytest.mark.parametrize("position", ["last_prompt", "every_step"])
def test_the_change_of_a_token_is_that_of_its_log_probability(llama, task, differences, position):
    """Against ``trace_generation``, which runs prompt and text whole, with and without steering."""
    import sadi_lens as sl

    own = differences["head"]
    grid = sl.apps.SteeringExplorer(
        llama, task, own, ks=[3], strengths=[4.0], prompts=["the hat is", "Ann says"], position=position,
        max_new_tokens=5,
    ).grid(progress=False)  # fmt: skip
    for one in grid.prompts:
        for m, method in enumerate(("adaptive", "fixed", "random")):
            trace = sl.measure.trace_generation(
                llama, one.prompt, plain(method, 3, 4.0, own), position=position, max_new_tokens=5
            )
            n = len(trace.tokens)
            change = one.change[m, 0, 1]
            assert change[:n] == pytest.approx(trace.logp - trace.logp_unsteered, abs=2e-4)
            assert np.isnan(change[n:]).all()
        assert np.nan_to_num(one.change[0, 0, 0]) == pytest.approx(0, abs=1e-5)


def test_tokens_without_a_shared_prefix_give_the_same_changes(llama, monkeypatch):
    """Texts side by side behind one prompt, and each in a row of its own."""
    from sadi_lens.apps.explorer import written
    from sadi_lens.engine.runner import RawRunner

    ids = llama.tokenizer("the big hat is")["input_ids"]
    texts = [(5, 7, 9), (4,), (5, 6)]
    tree = written._unsteered(llama, ids, texts)
    monkeypatch.setattr(RawRunner, "shares_prefix", lambda *_: False)
    rows = written._unsteered(llama, ids, texts)
    assert [len(one) for one in tree] == [3, 1, 2]
    for one, other in zip(tree, rows, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_where_texts_are_scored_the_page_says_whether_they_are_right():
    import sadi_lens as sl

    model, task = sl.load_model("tiny"), sl.load_task("hints")
    task = replace(task, dev=task.dev[:8])
    own = sl.activation_differences(model, task.pairs[:30], components=["head"], progress=False)[
        "head"
    ]
    grid = sl.apps.SteeringExplorer(
        model, task, own, ks=[10], strengths=[5.0], scoring="generation", n_prompts=8, max_new_tokens=3
    ).grid(progress=False)  # fmt: skip
    seen = set()
    for m, method in enumerate(("adaptive", "fixed", "random")):
        one = plain(method, 10, 5.0, own)
        found = sl.evaluate(
            model, task.dev, one, scoring="generation", max_new_tokens=3, progress=False
        )
        assert grid.correct[m, 0, 1].tolist() == found.correct.tolist()
        for prompt in grid.prompts:
            assert prompt.writes[m, 0, 1] == found.correct[prompt.item]
            assert prompt.favourite[m, 0, 1] == -1
            seen.add(bool(prompt.writes[m, 0, 1]))
    assert seen == {True, False}


def test_letters_of_several_tokens_stay_whole():
    from sadi_lens.apps.explorer.written import pieces

    class Bytes:
        def decode(self, tokens, **_):
            return bytes(tokens).decode(errors="replace")

    tokens = list("né!".encode())
    assert pieces(Bytes(), tokens) == ("n", "", "é", "!")
    assert pieces(Bytes(), []) == ()


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


def test_a_large_model_gets_a_third_of_the_cells(monkeypatch):
    import sadi_lens as sl
    from sadi_lens.apps.explorer import making

    model, task = sl.load_model("tiny"), sl.load_task("hints")
    small = replace(task, pairs=task.pairs[:4])
    common = {"position": "last_prompt", "scoring": "sum", "progress": False}
    full = making.answering(model, small, "head", **common)
    assert (full.ks, len(full.strengths)) == ((1, 2, 4, 6, 8, 10), 9)
    assert full.recipe.null is not None
    assert (full.recipe.null.n, full.recipe.null.component) == (4, "head")
    monkeypatch.setattr(making, "is_large", lambda _model: True)
    few = making.answering(model, small, "head", **common)
    assert (few.ks, few.strengths) == ((2, 6, 10), (0, 1, 2, 3, 5, 8))


def test_the_page_says_what_was_done_and_no_more_than_its_controls_bear(explorer):
    from sadi_lens.apps.explorer.page import explorer_html

    grid = explorer.grid(progress=False)
    said = {
        "signed": "with the largest signed mean difference between right and wrong",
        "l2": "with the longest mean difference between right and wrong",
    }
    for ranking, words in said.items():
        assert words in explorer_html(replace(grid, ranking=ranking))
    fixed = {
        "coefficient": "the fixed vector adds strength times their mean difference;",
        "norm": "as long as strength times the unsteered activations",
        "mean": "the fixed vector adds strength times their mean unsteered activation;",
    }
    for match, words in fixed.items():
        assert words in explorer_html(replace(grid, match=match))
    page = explorer_html(grid)
    assert "SADI&rsquo;s cell, not at their own best" in page
    assert "does not show that anything else of the prompt matters" in page


def test_units_within_the_null_are_grey_and_the_finding_counts_the_others(
    explorer, llama, task, differences, tmp_path
):
    import sadi_lens as sl
    from sadi_lens.apps.explorer.data import grid_data
    from sadi_lens.apps.explorer.page import explorer_html

    mean = differences["head"].mean
    most = float(np.sort(np.abs(mean), axis=None)[-3])  # two heads lie beyond it
    info = differences["head"].model
    null = sl.types.results.SignFlipNull(
        "head", info, 4, np.full(20, 9.0), magnitudes=np.full(20, most)
    )
    grid = replace(explorer.grid(progress=False), null=null)
    grey = grid_data(grid)["elements"]["grey"]
    np.testing.assert_array_equal(
        [[one == "1" for one in line] for line in grey], np.abs(mean) <= most
    )
    assert sum(line.count("0") for line in grey) == 2
    assert f"2 of {mean.size} heads differ more than chance allows" in explorer_html(grid)
    assert "differ more than chance" not in explorer_html(replace(grid, null=None))
    assert sl.load(sl.save(grid, tmp_path / "grid")) == grid
    with pytest.raises(ValueError, match="null must be of component 'neuron'"):
        sl.apps.SteeringExplorer(llama, task, differences["neuron"], null=null)


def test_the_sweep_of_a_grid_is_that_of_sweep_with_its_clusters(llama, task, differences):
    import sadi_lens as sl

    dev = [replace(one, cluster=str(at // 2)) for at, one in enumerate(task.dev)]
    options = {"ks": [1, 3], "strengths": STRENGTHS}
    made = sl.apps.SteeringExplorer(
        llama, replace(task, dev=tuple(dev)), differences["head"], max_new_tokens=1, **options
    )
    found = made.grid(progress=False).sweep("adaptive")
    wanted = sl.sweep(
        llama, dev, differences["head"], [1, 3], STRENGTHS, keep_items=True, progress=False
    )
    assert found.n_independent == wanted.n_independent < len(dev)
    for name in ("accuracy", "standard_errors", "correct", "unsteered_correct", "clusters"):
        at = slice(None)
        if name in ("accuracy", "standard_errors", "correct"):
            at = (slice(None), [found.strengths.index(one) for one in wanted.strengths])
        np.testing.assert_array_equal(getattr(found, name)[at], getattr(wanted, name), err_msg=name)
    assert found.best().k == wanted.best().k


def test_a_tab_of_other_strengths_or_several_ks_is_refused(
    explorer, llama, task, differences, tmp_path
):
    import sadi_lens as sl

    for changes in ({"ks": [2], "strengths": [1.0]}, {"ks": [1, 2], "strengths": STRENGTHS}):
        other = sl.apps.SteeringExplorer(
            llama, task, differences["head"], prompts=["the hat is"], max_new_tokens=2, **changes
        )
        with pytest.raises(ValueError, match=r"at one K and strengths \(-0.5, 0.0, 1.0, 4.0\)"):
            explorer.to_html(tmp_path / "page.html", writing=other, progress=False)
    assert not (tmp_path / "page.html").exists()


def test_the_widget_begins_with_the_commonest_change():
    import sadi_lens as sl
    from sadi_lens.apps.explorer.widget import LiveExplorer

    model, task = sl.load_model("tiny"), sl.load_task("hints")
    heads = sl.activation_differences(model, task.pairs, components=["head"], progress=False)[
        "head"
    ]
    live = LiveExplorer(sl.apps.SteeringExplorer(model, task, heads), k=10, strength=5.0)
    assert (live.k.value, live.strength.value) == (10, 5.0)
    found = outcomes_of(model, replace(task, dev=task.dev[:60]), heads, 10, 5.0)
    changed = [one for one in found if one[0] != one[1]]
    item = [one.prompt for one in task.dev].index(live.prompt.value)
    assert changed.count(found[item]) == max(changed.count(one) for one in changed)
    assert len(live.samples) == 8


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


def test_parts_of_a_character_and_tokens_that_read_alike_have_names_of_their_own(
    llama, monkeypatch
):
    from types import SimpleNamespace

    from sadi_lens.apps.explorer import prompts

    def decode(ids):
        return bytes(ids).replace(b"A", b"a").decode("utf-8", "replace")

    monkeypatch.setattr(prompts, "require_tokenizer", lambda _: SimpleNamespace(decode=decode))
    found = prompts.token_texts(
        llama, [0xD9, 0xD8, ord("a"), ord("A"), ord("b"), ord(" ")], ord("x")
    )
    assert found == ("\ufffd#217", "\ufffd#216", "a#97", "a#65", "b", " ")


def test_every_name_of_the_library_on_a_page_is_there():
    import re
    from operator import attrgetter
    from pathlib import Path

    import sadi_lens as sl

    assets = Path(sl.apps.__file__).parent / "web" / "assets"
    text = "".join(one.read_text(encoding="utf-8") for one in assets.iterdir())
    names = set(re.findall(r"\bsl\.([A-Za-z_.]*[A-Za-z_])", text))
    assert names
    for name in names:
        attrgetter(name)(sl)
