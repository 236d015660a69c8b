"""The whole job on the planted model, where the right outcome is known on paper."""

import dataclasses
import json

import pytest
from pairwise import all_but


@pytest.fixture(scope="module")
def planted():
    import sadi_lens as sl

    return sl.models.planted_model(), sl.models.planted_task()


@pytest.fixture(scope="module")
def results(planted):
    from sadi_lens.apps.demo import run_demo

    return run_demo(*planted, ks=[1, 2], strengths=[0.5, 1.0, 2.0, 5.0], n_null=39, progress=False)


def test_the_choice_is_the_planted_head_and_the_accuracy_the_one_on_paper(planted, results):
    from sadi_lens.models._planted_task import planted_accuracy
    from sadi_lens.models.planted import PLANTED

    task = planted[1]
    rows = {row.label: row for row in results["comparison"].rows}
    assert results["masks"]["head"].units == (PLANTED["head"],)
    assert rows["unsteered"].accuracy == planted_accuracy(task.test)
    steered = rows["SADI head (signed ranking)"]
    assert steered.accuracy == planted_accuracy(task.test, results["choice"].strength) == 1.0
    assert steered.gain == pytest.approx(1.0 - planted_accuracy(task.test))
    assert steered.gain_interval.low > 0


def test_random_masks_hit_the_planted_head_one_time_in_32(results):
    null = results["comparison"].nulls[0]
    hits = null.accuracies >= 1.0
    # One unit of 4 x 8, or one of two where the order chose K = 2; 39 draws: more than 8 has a probability of 1e-3.
    assert hits.sum() <= 8
    row = results["comparison"].rows[1]
    assert row.null_p == pytest.approx((1 + hits.sum()) / 40)


def test_a_demo_in_which_scaling_does_not_help_on_dev_says_so(planted):
    """The right answers of dev are turned round: the planted head makes every cell worse."""
    from sadi_lens.apps.demo import run_demo

    model, task = planted
    turned = tuple(dataclasses.replace(one, answer=1 - one.answer) for one in task.dev)
    said = []
    found = run_demo(
        model,
        dataclasses.replace(task, dev=turned),
        ks=[1],
        strengths=[5.0],
        n_null=20,
        progress=False,
        say=said.append,
    )
    assert found["choice"].strength == 0
    assert "shifts" not in found
    assert "no change that the data can tell from zero" in found["finding"]
    assert any("20 random masks cannot tell 2 places from them" in line for line in said)


def of_one_prompt(pair):
    return dataclasses.replace(pair, negative=f"{pair.negative}{pair.negative}")


def test_as_few_rows_as_the_readme_shows_are_enough(planted):
    """One row of each kind; then two pairs of one prompt or fact, which a sign-flip null swaps together."""
    from sadi_lens.apps.demo import run_demo
    from sadi_lens.plots import demo_figures

    model, task = planted
    first = task.pairs[0]
    facts = tuple(dataclasses.replace(one, cluster="a fact") for one in task.pairs[:2])
    for pairs in ((first,), (first, of_one_prompt(first)), facts):
        few = dataclasses.replace(task, pairs=pairs, dev=task.dev[:1], test=task.test[:1])
        found = run_demo(model, few, ks=[1], strengths=[1.0], n_null=20, progress=False)
        assert "null" not in found
        drawn = demo_figures(found)
        assert "method_accuracy" in drawn
        assert "steering_arrows" not in drawn


def test_no_test_item_reaches_the_choice(planted, results):
    """Turn every answer of the test split round: masks, K and strengths stay what they were."""
    from sadi_lens.apps.demo import run_demo

    model, task = planted
    turned = tuple(dataclasses.replace(s, answer=1 - s.answer) for s in task.test)
    again = run_demo(
        model,
        dataclasses.replace(task, test=turned),
        ks=[1, 2],
        strengths=[0.5, 1.0, 2.0, 5.0],
        n_null=20,
        progress=False,
    )
    assert again["choice"] == results["choice"]
    assert again["masks"] == results["masks"]
    assert again["sweeps"] == results["sweeps"]
    settings = [row.settings for row in results["comparison"].rows]
    assert [row.settings for row in again["comparison"].rows] == settings
    accuracy = [row.accuracy for row in results["comparison"].rows]
    assert [row.accuracy for row in again["comparison"].rows] == pytest.approx(
        [1 - one for one in accuracy]
    )


@pytest.mark.parametrize("component", all_but(["mlp_out"], ["hidden", "mlp_out", "neuron"]))
def test_every_component_runs_and_finds_its_planted_unit(planted, component):
    from sadi_lens.apps.demo import run_demo
    from sadi_lens.models.planted import PLANTED

    found = run_demo(
        *planted, component=component, ks=[1], strengths=[1.0, 5.0], n_null=20, progress=False
    )
    assert found["masks"][component].units == (PLANTED[component],)
    assert found["comparison"].rows[1].accuracy == 1.0


def test_a_run_is_written_and_read_back_whole(results, tmp_path):
    from sadi_lens.types.store import read_json, write_json

    path = write_json(results, tmp_path / "results.json")
    assert read_json(path) == results
    assert json.loads(path.read_text())["format"] == "sadi_lens"


def test_every_figure_is_drawn_from_the_file_alone(results, tmp_path):
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app
    from sadi_lens.types.store import write_json

    path = write_json(results, tmp_path / "results.json")
    done = CliRunner().invoke(app, ["figures", str(path), "--no-png"])
    assert done.exit_code == 0, done.output
    drawn = {one.name for one in (tmp_path / "figures").iterdir()}
    assert {"method_accuracy.html", "method_accuracy_dark.html", "sweep.html"} <= drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--component", "heads"], "did you mean 'head'"),
        (["demo", "--task", "hint"], "did you mean 'hints'"),
        (["demo", "--model", "./no-such-folder"], "no-such-folder"),
        (["figures", "no-such.json"], "no-such.json does not exist"),
    ],
)
def test_the_command_line_refuses_in_one_line(arguments, message, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from sadi_lens.apps.cli import app

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert message in done.output.replace("\n", "")
    assert not list(tmp_path.iterdir())


def test_a_task_without_a_split_is_refused(planted):
    from sadi_lens.apps.demo import run_demo

    model, task = planted
    with pytest.raises(
        ValueError, match="task 'planted' has no dev; this needs pairs, dev and test"
    ):
        run_demo(model, dataclasses.replace(task, dev=()), progress=False)


def test_a_demo_whose_choice_is_the_unsteered_model_says_so():
    from sadi_lens.apps.demo import _gain
    from sadi_lens.types.stats import Interval

    same = dataclasses.replace(
        row("SADI", 0.5, 0.0, 0.5), gain=0.0, gain_interval=Interval(0.0, 0.0), is_unsteered=True
    )
    assert _gain(same) == "the unsteered model: nothing did better on dev"
    assert _gain(row("SADI", 0.7, 0.1, 0.5)) == "+20 points, 95% interval +10 to +30"


def row(label, accuracy, low, p, mcnemar_p=0.01):
    from sadi_lens.types.results import MethodRow
    from sadi_lens.types.stats import Interval

    gain = accuracy - 0.5
    return MethodRow(
        label,
        accuracy,
        Interval(0, 1),
        gain,
        Interval(low, gain + 0.1),
        mcnemar_p,
        1.0,
        1.0,
        null="null",
        null_p=p,
        kind="fixed" if label.startswith("fixed") else "adaptive",
    )


@pytest.mark.parametrize(
    ("signed", "other", "message"),
    [
        ((0.9, 0.3, 0.01), (0.9, 0.3, 0.5), "here the choice of units matters"),
        ((0.9, 0.3, 0.40), (0.99, 0.4, 0.01), "the signed mean is not what finds the units"),
        (
            (0.9, 0.3, 0.40),
            (0.8, 0.2, 0.60),
            "nothing here shows that it matters which units are scaled",
        ),
        ((0.1, -0.5, 0.9), (0.9, 0.3, 0.01), "steering makes the model worse here"),
        ((0.9, 0.3, 0.01, 0.25), (0.9, 0.3, 0.01), "no change that the data can tell from zero"),
        ((0.51, -0.05, 0.01), (0.9, 0.3, 0.01), "no change that the data can tell from zero"),
        (
            (0.9, 0.3, float("nan")),
            (0.9, 0.3, float("nan")),
            "this is no test of which units are scaled",
        ),
    ],
)
def test_the_finding_says_what_the_numbers_say(results, signed, other, message):
    from sadi_lens.apps.demo import finding

    rows = (
        row("unsteered", 0.5, 0.0, float("nan")),
        row("ours", *signed),
        row("rival", *other),
        row("fixed, K and strength chosen on dev", 0.6, 0.0, float("nan")),
    )
    null = dataclasses.replace(results["comparison"].nulls[0], label="null")
    comparison = dataclasses.replace(results["comparison"], rows=rows, nulls=(null,))
    assert message in finding(comparison, "ours", "rival")
