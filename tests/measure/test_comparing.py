"""compare: what each method may see, what is chosen, what the controls are."""

import dataclasses

import numpy as np
import pytest

NAMES = ["sadi-head", "fixed-norm", "matched-norm", "bottom-k", "random"]
BUDGET = 16


@pytest.fixture(scope="module")
def planted():
    import sadi_lens as sl

    return sl.models.planted_model(), sl.models.planted_task()


@pytest.fixture(scope="module")
def found(planted):
    import sadi_lens as sl

    return sl.compare(
        *planted,
        NAMES,
        budget=BUDGET,
        n_null=20,
        neutral=["is it sunny ? yes", "it is rainy ? no"],
        progress=False,
    )


def material(planted, **changes):
    from sadi_lens.measure.methods import Material

    model, task = planted
    return Material(model, task.pairs, task.name, **changes)


def test_sadi_chooses_the_planted_head_and_scores_what_is_on_paper(planted, found):
    from sadi_lens.models._planted_task import planted_accuracy

    test = planted[1].test
    assert [row.label for row in found.rows] == ["unsteered", *NAMES]
    assert found.rows[0].accuracy == planted_accuracy(test)
    assert found.row("sadi-head").accuracy == 1.0
    assert found.row("sadi-head").settings.startswith("SADI head, K 1, strength")
    assert found.row("bottom-k").accuracy < 1.0
    assert [row.control_of for row in found.rows] == ["", "", "", "sadi-head", "", ""]
    assert [row.n_candidates for row in found.rows] == [1, BUDGET, BUDGET, 1, BUDGET, BUDGET]
    assert all(row.seconds > 0 for row in found.rows)


def test_no_test_item_reaches_a_choice(planted, found):
    """Other labels and other prompts in test: every choice, and what dev said of it, stays."""
    import sadi_lens as sl

    model, task = planted
    turned = [dataclasses.replace(one, answer=1 - one.answer) for one in task.test]
    other = tuple(dataclasses.replace(one, prompt="yes " + one.prompt) for one in turned[:7])
    again = sl.compare(
        model, dataclasses.replace(task, test=other), NAMES, budget=BUDGET, n_null=0, progress=False
    )
    for name in ("settings", "dev_accuracy", "n_candidates"):
        first, second = ([getattr(row, name) for row in one.rows] for one in (found, again))
        assert first == second
    assert again.n == 7


def test_test_is_read_once_a_method_and_only_after_all_are_chosen(planted, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.measure import evaluation

    task = planted[1]
    calls = []
    inner = evaluation.score_choices

    def spy(model, samples, interventions, *rest):
        names = [name for name in ("dev", "test") if samples == list(getattr(task, name))]
        split = names[0] if names else "some"
        calls.append((split, len(interventions)))
        return inner(model, samples, interventions, *rest)

    monkeypatch.setattr(evaluation, "score_choices", spy)
    sl.compare(
        *planted, ["sadi-head", "matched-norm", "random"], budget=6, n_null=20, progress=False
    )
    assert calls == [
        *[("dev", n) for n in (1, 7, 1, 7)],  # a grid with the unsteered model beside it
        ("test", 4),  # all methods share one pass
        # Masks of the same K, then with as many units in each layer; the unsteered model beside them.
        *[("dev", 20 * 6 + 1), ("test", 20)] * 2,
        *[("some", 1)] * 4,  # the time of each alone
    ]


def test_a_method_sees_the_pairs_only(planted):
    import sadi_lens as sl

    seen = []

    def candidates(material, budget):
        seen.append(({type(one) for one in vars(material).values()}, material.pairs, budget))
        return [sl.measure.Candidate(None)]

    sl.compare(
        *planted,
        [sl.measure.Method("mine", "other", candidates)],
        budget=5,
        n_null=0,
        progress=False,
    )
    ((kinds, pairs, budget),) = seen
    assert (pairs, budget) == (planted[1].pairs, 5)
    assert sl.Task not in kinds
    assert sl.Sample not in kinds


def test_rows_are_corrected_for_their_number_and_contrasted_with_the_reference(found):
    from sadi_lens.types.stats import holm

    assert [row.holm_p for row in found.rows[1:]] == holm([row.mcnemar_p for row in found.rows[1:]])
    assert {one.first for one in found.contrasts} == {"sadi-head"}
    for one in found.contrasts:
        other = found.row(one.second)
        assert one.difference == pytest.approx(found.row("sadi-head").accuracy - other.accuracy)
    gain = found.row("sadi-head")
    assert found.contrast("unsteered").interval == gain.gain_interval
    assert found.contrast("unsteered").mcnemar_p == gain.mcnemar_p


def test_the_null_lets_every_random_mask_choose_as_sadi_did(found):
    null, by_layer = found.nulls
    assert [(one.n, one.n_cells, one.per_layer) for one in found.nulls] == [
        (20, BUDGET, False),
        (20, BUDGET, True),
    ]
    row = found.row("sadi-head")
    assert (row.null, row.layer_null) == (null.label, by_layer.label)
    # Ten of 32 heads hold the planted one in a third of the orders, and dev finds it; alone it is one in 32.
    assert 1 / 21 < row.null_p < 0.7
    assert row.null_p == null.p_value(row.accuracy)
    assert row.layer_null_p == by_layer.p_value(row.accuracy)


def test_masks_that_did_not_choose_give_no_p_value_to_what_did(planted):
    import sadi_lens as sl

    model, task = planted
    found = sl.compare(
        model, task, ["sadi-head"], n_null=20, tune_null=False, budget=4, progress=False
    )
    row, null = found.row("sadi-head"), found.nulls[0]
    assert (row.n_candidates, null.n_cells, row.null) == (4, 0, null.label)
    assert np.isnan([row.null_p, row.layer_null_p]).all()
    # One candidate is a choice between it and nothing, which random masks have, too.
    found = sl.compare(model, task, ["sadi-head"], n_null=20, budget=1, progress=False)
    row, null = found.row("sadi-head"), found.nulls[0]
    assert (row.n_candidates, null.n_cells) == (1, 1)
    assert row.null_p == null.p_value(row.accuracy)
    assert "where it does better than nothing on dev" in null.label


def test_random_cells_are_one_order_of_the_units(planted):
    import sadi_lens as sl
    from sadi_lens.measure.nulls import random_cells

    heads = material(planted).own
    cells = [(sl.top_k_mask(heads, k), s) for k in (1, 3, 6) for s in (1.0, 2.0)]
    drawn = random_cells(cells, seed=5)
    assert [(mask.k, s) for mask, s in drawn] == [(mask.k, s) for mask, s in cells]
    small, _, middle, _, large, _ = (mask.selected for mask, _ in drawn)
    assert (small <= middle).all()
    assert (middle <= large).all()
    assert random_cells(cells, seed=6) != drawn
    by_layer = random_cells(cells, seed=5, per_layer=True)
    assert [mask.per_layer for mask, _ in by_layer] == [mask.per_layer for mask, _ in cells]
    # Every unit comes first equally often: 400 draws of 32, chi-square below its 99.9% quantile (31 df).
    first = sum(random_cells(cells, seed=seed)[0][0].selected.astype(int) for seed in range(400))
    assert ((first - 12.5) ** 2 / 12.5).sum() < 61.1


def test_side_effects_stand_beside_every_method(found):
    assert found.rows[0].side_effects.kl == 0
    assert all(row.side_effects.n_texts == 2 for row in found.rows)
    assert found.frame()["kl"].notna().all()


def test_the_matched_controls_differ_from_sadi_in_one_thing(planted):
    import sadi_lens as sl
    from sadi_lens.measure.methods import METHODS

    model, task = planted
    made = material(planted)
    sadi = sl.MaskedScaling(sl.top_k_mask(made.own, 3), 2.0)
    prompts = [pair.prompt for pair in task.pairs]
    push = sl.measure.measure_push(model, prompts, sadi, progress=False)
    norm, mean, kl = (
        METHODS[f"matched-{name}"].build(made, sadi, [one.prompt for one in task.dev])
        for name in ("norm", "mean", "kl")
    )
    for one in (norm, mean, kl):
        assert one.mask == sadi.mask
    assert (norm.strength, mean.strength) == (2.0, 2.0)
    assert sl.measure.measure_push(model, prompts, norm, progress=False).rms == pytest.approx(
        push.rms, rel=1e-4
    )
    assert sl.measure.measure_push(model, prompts, mean, progress=False).mean == pytest.approx(
        push.mean, abs=1e-4
    )
    dev = [(one.prompt, "") for one in task.dev[:128]]
    wanted, got = (
        sl.measure.divergence(model, dev, one, position="last_prompt").kl for one in (sadi, kl)
    )
    assert got == pytest.approx(wanted, rel=0.011)


def test_exchanged_is_sadi_with_the_answers_of_every_pair_exchanged(planted):
    import sadi_lens as sl
    from sadi_lens.measure.methods import METHODS

    model, task = planted
    turned = [sl.ContrastivePair(p.prompt, p.negative, p.positive) for p in task.pairs]
    own = sl.activation_differences(model, turned, components=["head"], progress=False)["head"]
    cells = METHODS["exchanged"].candidates(material(planted), 48)
    for one in cells:
        mask = one.intervention.mask
        assert mask.k == one.k
        assert (mask.selected == sl.top_k_mask(own, one.k).selected).all()


def test_bottom_k_takes_the_units_that_differ_least(planted):
    from sadi_lens.measure.methods import METHODS

    made = material(planted)
    size = np.abs(made.own.mean)
    for one in METHODS["bottom-k"].candidates(made, 48):
        selected = one.intervention.mask.selected
        inside, outside = size[selected], size[~selected]
        assert inside.max() <= outside.min()


def test_random_candidates_have_the_cells_of_sadi_and_masks_of_their_own(planted):
    from sadi_lens.measure.methods import METHODS

    made = material(planted, seed=3)
    sadi, drawn = (METHODS[name].candidates(made, 48) for name in ("sadi-head", "random"))
    assert [(one.k, one.strength) for one in drawn] == [(one.k, one.strength) for one in sadi]
    made_here = [(one.intervention, one) for one in drawn]
    assert all((own.mask.k, own.strength) == (one.k, one.strength) for own, one in made_here)
    assert len({own.mask.selected.tobytes() for own, _ in made_here}) > 40
    assert METHODS["random"].candidates(material(planted, seed=3), 48) == drawn
    assert METHODS["random"].candidates(material(planted, seed=4), 48) != drawn


def test_a_random_ranking_has_masks_that_contain_each_other(planted):
    from sadi_lens.measure.methods import METHODS

    drawn = METHODS["random-ranking"].candidates(material(planted, seed=3), None)
    order = np.random.default_rng(3).standard_normal((4, 8)).astype(np.float32)
    for one in drawn:
        expected = order >= np.sort(order, axis=None)[-one.k]
        assert (one.intervention.mask.selected == expected).all()


@pytest.mark.parametrize(
    ("budget", "cells"),
    [
        (100, [(k, s) for k in (1, 2, 3) for s in (10, 20)]),
        (6, [(k, s) for k in (1, 2, 3) for s in (10, 20)]),
        (5, [(1, 10), (1, 20), (3, 10), (3, 20)]),
        (1, [(1, 10)]),
    ],
)
def test_a_grid_keeps_to_its_budget(budget, cells):
    from sadi_lens.measure.methods import grid

    assert grid((1, 2, 3), (10, 20), budget) == cells


@pytest.mark.slow
def test_every_builtin_offers_candidates_within_its_budget(llama, pairs):
    from sadi_lens.measure.choosing import candidates_of
    from sadi_lens.measure.methods import METHODS, Material, Method
    from sadi_lens.measure.sweeps import Grid
    from sadi_lens.types.model import ModelInfo

    fifth = dataclasses.replace(pairs[0], prompt=f"Tom says {pairs[0].prompt}")
    made = Material(llama, (*pairs, fifth))  # a probe has five folds
    for one in METHODS.values():
        if isinstance(one, Method):
            offered = candidates_of(one, made, 7)
            assert 1 <= len(offered) <= 7, one.name
            made_here = [each.intervention for each in offered if each.intervention is not None]
            labels = [each.label for each in made_here]
            for each in made_here:
                each.check(ModelInfo.of(llama))
            if one.axis:
                Grid.of(offered, axis=one.axis)
            if one.name != "random":
                assert len(set(labels)) == len(labels), one.name


def test_probes_of_fewer_clusters_than_folds_are_left_out_with_a_note(llama, pairs):
    """Six pairs, but of four prompts: a pair more with another wrong answer is no other prompt."""
    from sadi_lens.measure.choosing import candidates_of
    from sadi_lens.measure.methods import METHODS, Material, UnavailableError

    more = [dataclasses.replace(one, negative=" Ann") for one in pairs[:2]]
    with pytest.raises(UnavailableError, match="5 folds, and the pairs are of 4 clusters"):
        candidates_of(METHODS["iti"], Material(llama, (*pairs, *more)), 7)


@pytest.mark.slow
def test_the_swapped_prompt_is_built_for_the_prompts_of_each_run(planted, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.measure.methods import sadi as module

    model, task = planted
    seen = []

    def swap(model, intervention, prompts, **rest):
        seen.append(list(prompts))
        return sl.measure.swap_prompts(model, intervention, prompts, **rest)

    monkeypatch.setattr(module, "swap_prompts", swap)
    texts = ["is it sunny ? yes", "it is rainy ? no"]
    found = sl.compare(
        model,
        task,
        ["sadi-head", "swapped-prompt", "control-token"],
        budget=6,
        n_null=0,
        neutral=texts,
        progress=False,
    )
    assert seen[:2] == [[one.prompt for one in task.dev], [one.prompt for one in task.test]]
    assert seen[2:] == [[one.prompt for one in task.dev[:32]], ["is it sunny", "it is rainy"]]
    swapped = found.row("swapped-prompt")
    assert swapped.settings == "swapped prompt: " + found.row("sadi-head").settings
    # The push of another prompt points to that prompt's weather: no better than a coin on these balanced items.
    assert swapped.accuracy < found.row("sadi-head").accuracy
    assert found.row("control-token").gain == pytest.approx(0, abs=0.3)


def test_the_control_token_is_the_middle_of_each_prompt():
    import torch

    import sadi_lens as sl
    from sadi_lens.interventions import Context

    mask = sl.Mask("hidden", np.ones((1, 2), dtype=bool))
    control = sl.interventions.ControlToken(sl.MaskedScaling(mask, 1.0))
    off = [-1] * 3
    place = torch.tensor([[-1, 0, 1, 2], [0, 1, 2, 3], [0, 1, -1, -1], [-1, *off], [*off, 0]])
    edited = control.edit(torch.ones(5, 4, 2), 0, Context(place=place))[..., 0]
    # Prompts of 3, 4 and 2 tokens, a later step, and one token: tokens 1, 1, 0 and none are doubled.
    as_it_is = [1, 1, 1, 1]
    expected = torch.tensor([[1, 1, 2, 1], [1, 2, 1, 1], [2, 1, 1, 1], as_it_is, as_it_is]).float()
    assert torch.equal(edited, expected)
    with pytest.raises(ValueError, match="inner must be affine"):
        sl.interventions.ControlToken(control)


def test_finished_interventions_and_none_can_be_compared(planted):
    import sadi_lens as sl

    sadi = sl.MaskedScaling(sl.Mask.from_units("head", [(1, 2)], planted[0]), 5.0)
    found = sl.compare(*planted, [None, sadi], n_null=0, progress=False)
    assert [row.label for row in found.rows] == ["unsteered", "SADI head, K 1, strength 5"]
    assert [row.kind for row in found.rows] == ["unsteered", "adaptive"]
    assert found.rows[1].accuracy == 1.0
    assert found.contrasts == ()
    by_name = sl.compare(*planted, [sadi], reference=sadi.label, n_null=0, progress=False)
    assert [one.second for one in by_name.contrasts] == ["unsteered"]


def test_a_comparison_says_what_its_rows_do(planted):
    import sadi_lens as sl

    vector = sl.VectorAddition(np.ones(planted[0].cfg.d_model, np.float32), 1, 0.1)
    options = {"n_null": 0, "budget": 2, "progress": False}
    found = sl.compare(*planted, ["sadi-head", "caa", vector], **options)
    assert (found.component, found.position, found.is_one_position) == ("", "last_prompt", False)
    assert found.scoring == "sum"
    one = sl.compare(*planted, ["sadi-head"], **options)
    assert (one.component, one.is_one_position) == ("head", True)


def test_what_cannot_be_had_is_left_out_and_said(planted):
    import sadi_lens as sl
    from sadi_lens.measure.methods import UnavailableError
    from sadi_lens.measure.neutral import UnreachableError

    def build(*_):
        raise UnreachableError("no strength has a KL of 3 nats")

    def candidates(*_):
        raise UnavailableError("no such token")

    methods = [
        "sadi-head",
        sl.measure.Control("twin", "fixed", build),
        sl.measure.Method("wordy", "fixed", candidates),
        sl.measure.Control("shadow", "other", build, of="wordy"),
    ]
    found = sl.compare(*planted, methods, budget=2, n_null=0, progress=False)
    assert [row.label for row in found.rows] == ["unsteered", "sadi-head"]
    assert found.notes == (
        "sadi-head chose the largest strength of its grid, 20: the best may lie beyond",
        "twin left out: no strength has a KL of 3 nats",
        "wordy left out: no such token",
        "shadow left out: 'wordy' chose nothing that it could be a control of",
    )


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"test": ()}, {}, "task 'planted' has no test; this needs pairs, dev and test"),
        ({"dev": (), "test": ()}, {}, "has no dev and no test; .* in the column split"),
        ({"pairs": ()}, {}, "has no pairs"),
        ({}, {"methods": ["sadi-heads"]}, "did you mean 'sadi-head'"),
        ({}, {"methods": ["fixed", "fixed"]}, "different names, got 'fixed' twice"),
        ({}, {"methods": ["matched-kl"]}, "control of 'sadi-head', which must stand before it"),
        ({}, {"methods": ["fixed"], "reference": "fixd"}, "did you mean 'fixed'"),
        ({}, {"neutral": ["one text"]}, "neutral must hold at least 2 texts"),
        ({}, {"neutral": ["one", "two words"]}, "at least two words, got 'one'"),
        ({}, {"budget": 0}, "budget must be at least 1"),
        ({}, {"n_null": 5}, "n_null must be 0 or at least 20, got 5"),
        ({}, {"component": "heads"}, "did you mean 'head'"),
        ({}, {"position": "lastprompt"}, "did you mean 'last_prompt'"),
    ],
)
def test_bad_input_is_refused_before_any_work(planted, changes, options, message):
    import sadi_lens as sl

    model, task = planted
    with pytest.raises(ValueError, match=message):
        sl.compare(model, dataclasses.replace(task, **changes), progress=False, **options)


def test_a_method_over_its_budget_is_refused(planted):
    import sadi_lens as sl

    greedy = sl.measure.Method(
        "greedy", "other", lambda _material, budget: [sl.measure.Candidate(None)] * (budget + 1)
    )
    with pytest.raises(ValueError, match="'greedy' offers 3 candidates; the budget allows 1 to 2"):
        sl.compare(*planted, [greedy], budget=2, n_null=0, progress=False)


def test_a_comparison_is_written_and_read_back_and_drawn(found, tmp_path):
    import sadi_lens as sl
    from sadi_lens.types.store import read_json, write_json

    path = write_json({"comparison": found}, tmp_path / "results.json")
    again = read_json(path)["comparison"]
    assert again == found
    assert "each at its own cell" in sl.plots.method_accuracy(again).to_json()


@pytest.mark.slow
def test_the_command_line_prints_the_table(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app

    monkeypatch.chdir(tmp_path)
    options = ["--methods", "sadi-head,matched-norm", "--n-null", "0", "--budget", "1", "--no-png"]
    done = CliRunner().invoke(app, ["compare", *options])
    assert done.exit_code == 0, done.output
    for word in ("unsteered", "sadi-head", "matched-norm", "Holm p", "KL", "32 neutral texts"):
        assert word in done.output
    assert (tmp_path / "compare" / "figures" / "method_accuracy.html").is_file()
    wrong = CliRunner().invoke(app, ["compare", "--methods", "sadihead"])
    assert wrong.exit_code == 1
    assert "did you mean 'sadi-head'" in wrong.output.replace("\n", " ")


def test_a_mask_is_made_once_for_all_its_strengths(planted):
    import sadi_lens as sl

    own, asked = material(planted), []

    def select(k):
        asked.append(k)
        return sl.random_mask(own.own, k, seed=k)

    found = own.masked(None, sl.MaskedScaling, select)
    assert len(found) > len(asked) == len({one.k for one in found})


@pytest.mark.parametrize("split", ["dev", "test"])
def test_items_that_cannot_be_scored_are_named_before_anything_is_chosen(split, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.measure import comparing

    model, whole = sl.load_model("tiny"), sl.load_task("hints")
    small = sl.Task("mine", pairs=whole.pairs[:4], dev=whole.dev[:4], test=whole.test[:4])
    monkeypatch.setattr(comparing, "choose_all", lambda *_, **__: pytest.fail("dev was scored"))

    def tried(last):
        held = (*getattr(small, split)[:3], last)
        task = dataclasses.replace(small, **{split: held})
        with pytest.raises(ValueError, match=f"{split} of task 'mine': ") as caught:
            sl.compare(model, task, ["sadi-head"], n_null=0, progress=False)
        return str(caught.value)

    first = getattr(small, split)[3]
    said = tried(dataclasses.replace(first, prompt="bread " * 300 + first.prompt))
    assert (
        "1 of 4 samples must fit the context of 256 tokens; too long are rows (tokens) 3 (" in said
    )
    assert "too_long" not in said  # which is no argument of compare
    assert "all have a target, got both" in tried(sl.Sample("Say", target="bread"))


def test_a_neutral_text_that_does_not_fit_is_refused_before_anything_is_computed(monkeypatch):
    import sadi_lens as sl
    from sadi_lens.measure import comparing

    monkeypatch.setattr(comparing, "choose_all", lambda *_, **__: pytest.fail("dev was scored"))
    model, task = sl.load_model("tiny"), sl.load_task("hints")
    texts = ["Tom has a cat.", "Tom has a cat. " * 200]
    with pytest.raises(ValueError, match=r"1 of 2 texts of neutral \(--neutral FILE\) must fit"):
        sl.compare(model, task, ["unsteered"], n_null=0, neutral=texts, progress=False)
