"""Effects along a path of strengths and of single units: completeness, the planted head, the table."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint


@pytest.fixture(scope="module")
def items(pairs):
    import sadi_lens as sl

    return [sl.Sample(p.prompt, (p.positive, p.negative), 0) for p in pairs]


def margins(llama, items, scales):
    import sadi_lens as sl

    one = sl.interventions.UnitScaling("head", scales)
    return sl.evaluate(llama, items, one, progress=False).margins


def test_integrated_gradients_add_up_to_the_margin_at_the_end_of_the_path(llama, items):
    from sadi_lens.find.strength_effects import integrated_gradients

    found = integrated_gradients(llama, items, "head", strength=0.5, steps=16, progress=False)
    expected = margins(llama, items, np.full((3, 4), 0.5)) - margins(llama, items, np.zeros((3, 4)))
    assert 0.5 * found.sum(axis=(1, 2, 3)) == pytest.approx(expected, abs=0.02)
    assert np.abs(expected).max() > 0.1


def test_exact_effects_are_runs_with_one_unit_scaled(llama, items, monkeypatch):
    from sadi_lens.find import strength_effects

    monkeypatch.setattr(strength_effects, "AT_ONCE", 5)  # 12 heads in passes of 5, 5 and 2
    found = strength_effects.exact_effects(llama, items, "head", strength=2.0)
    base = margins(llama, items, np.zeros((3, 4)))
    for unit in ((0, 0), (1, 1), (2, 3)):
        scales = np.zeros((3, 4))
        scales[unit] = 2.0
        expected = margins(llama, items, scales) - base
        assert found[:, unit[0], unit[1], 0] == pytest.approx(expected, abs=5e-5)


def test_the_margin_of_more_than_two_choices_is_to_the_best_wrong_one():
    import sadi_lens as sl
    from sadi_lens.find.strength_effects import _margins

    scores = np.array(
        [[[-1.0, -3.0, -2.0], [-1.0, -4.0, -3.5], [-4.0, -1.0, np.nan], [-2.0, -1.0, -5.0]]]
    )
    samples = [
        sl.Sample("q", (" a", " b", " c"), 0),
        sl.Sample("q", (" a", " b", " c"), 2),
        sl.Sample("q", (" a", " b"), 0),
        sl.Sample("q", (" a", " b", " c"), 0, also_right=(1,)),
    ]
    assert _margins(scores, samples).tolist() == [[1.0, -2.5, -3.0, 3.0]]


def test_a_choice_that_is_right_too_is_nothing_to_be_ahead_of(llama):
    import sadi_lens as sl

    sample = sl.Sample("the ball is", (" red", " blue", " box"), 0, also_right=(1,))
    scores = sl.evaluate(llama, [sample], progress=False).choice_scores[0]
    assert scores[1] > scores[2]  # it would be the best wrong one
    mask = sl.Mask.from_units("head", [(1, 2)], llama)
    size = 0.01
    (found,) = sl.measure.unit_effects(llama, [sample], mask, size, progress=False).effects.ravel()
    scaled = sl.evaluate(llama, [sample], sl.MaskedScaling(mask, size), progress=False)
    after = scaled.choice_scores[0]
    change = (after[0] - after[2]) - (scores[0] - scores[2])
    assert found == pytest.approx(change, abs=3e-4)  # the slope times the strength
    assert abs((after[0] - after[1]) - (scores[0] - scores[1]) - change) > 1e-3


@pytest.mark.parametrize("ranking", ["integrated", "exact"])
def test_the_planted_head_comes_first(ranking):
    import sadi_lens as sl
    from sadi_lens.models.planted import PLANTED

    model, task = sl.models.planted_model(), sl.models.planted_task()
    found = sl.unit_scores(model, task, "head", ranking, progress=False)
    assert np.unravel_index(found.values.argmax(), found.values.shape) == PLANTED["head"]
    if ranking == "exact":  # equation (1): strength 3 adds three times the evidence
        from sadi_lens.models._planted_task import planted_logit_difference as on_paper

        evidence = [abs(on_paper(p.prompt, 1.0) - on_paper(p.prompt)) for p in task.pairs]
        assert found.values.max() == pytest.approx(3 * np.mean(evidence), rel=0.01)


def test_the_table_holds_rank_correlation_and_steered_accuracy():
    import sadi_lens as sl

    model, task = sl.models.planted_model(), sl.models.planted_task()
    table = sl.measure.rankings_table(model, task, "head", ["signed", "exact"], budget=6)
    assert table.ranking.tolist() == ["unsteered", "signed", "exact"]
    assert table.spearman[2] == table.top_shared[2] == 1
    assert table.spearman[1] < 1
    assert table.test_accuracy[2] == 1.0 > table.test_accuracy[0] == 0.375
    n = len(task.test)
    assert not any(one.cluster for one in task.test)
    wilson = proportion_confint(round(0.375 * n), n, method="wilson")
    assert (table.test_low[0], table.test_high[0]) == pytest.approx(wilson)
    with pytest.raises(ValueError, match="ranking must be one of"):
        sl.measure.rankings_table(model, task, "head", ["best"])


def test_every_ranking_is_timed_where_it_is_read(monkeypatch):
    """By a clock that stands still but for the scores: 7 seconds for each, the yardstick too, which is read first."""
    import sadi_lens as sl
    from sadi_lens.measure import yardstick
    from sadi_lens.measure.methods import base

    now, real = [0.0], base.unit_scores

    def slow(*args, **options):
        now[0] += 7
        return real(*args, **options)

    monkeypatch.setattr(base, "unit_scores", slow)
    monkeypatch.setattr(yardstick.time, "process_time", lambda: now[0])
    model, task = sl.models.planted_model(), sl.models.planted_task()
    table = sl.measure.rankings_table(model, task, "head", ["exact", "effect"], budget=2)
    assert table.seconds[1:].tolist() == [7.0, 7.0]
