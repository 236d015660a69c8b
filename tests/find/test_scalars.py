"""Learned scalars: the planted units are found, the rest stays at exactly 0."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def planted():
    import sadi_lens as sl

    return sl.models.planted_model(), sl.models.planted_task()


def test_the_evidence_is_scaled_up_and_what_is_said_down_and_nothing_else(planted):
    import sadi_lens as sl
    from sadi_lens.models.planted import PLANTED, PULL_HEAD

    model, task = planted
    learned = sl.find.learn_scalars(
        model, task.pairs, "head", penalty=0.05, steps=30, progress=False
    )
    found = {tuple(unit): learned.scales[tuple(unit)] for unit in np.argwhere(learned.scales)}
    assert set(found) == {PLANTED["head"], PULL_HEAD}
    assert found[PLANTED["head"]] > 1
    assert found[PULL_HEAD] < -1
    assert learned.label.startswith("learned scales head, K 2 of 32, strengths of ")
    assert sl.evaluate(model, task.dev, learned, progress=False).accuracy == 1.0


def test_the_slope_is_that_of_the_logistic_loss(llama, pairs):
    import sadi_lens as sl
    from sadi_lens.find.scalars import _slope

    rng = np.random.default_rng(0)
    at = 0.3 * rng.standard_normal((3, 4))
    samples = [sl.Sample(p.prompt, (p.positive, p.negative), 0) for p in pairs]

    def loss(scales):
        one = sl.interventions.UnitScaling("head", scales)
        margins = sl.evaluate(llama, samples, one, progress=False).margins.astype(float)
        return np.log1p(np.exp(-margins)).mean()

    slope = _slope(llama, pairs, "head", at, "last_prompt")
    for unit in ((0, 1), (2, 3)):
        step = np.zeros_like(at)
        step[unit] = 0.01
        assert slope[unit] == pytest.approx(
            (loss(at + step) - loss(at - step)) / 0.02, rel=0.02, abs=2e-4
        )


def test_the_first_step_is_adams_shrunk_by_the_penalty(llama, pairs):
    """Step 1 of Adam moves every value by the rate against its sign; the penalty takes rate * penalty / |g| off."""
    import sadi_lens as sl
    from sadi_lens.find.scalars import _slope

    g = _slope(llama, pairs, "head", np.zeros((3, 4)), "last_prompt")
    penalty = float(np.median(np.abs(g)))
    options = {"steps": 1, "learning_rate": 0.5, "progress": False}
    found = sl.find.learn_scalars(llama, pairs, "head", penalty=penalty, **options).scales
    expected = -np.sign(g) * np.maximum(0.5 - 0.5 * penalty / np.abs(g), 0)
    assert found == pytest.approx(expected, abs=1e-3)
    assert 0 < (found == 0).mean() < 1


def test_one_strength_on_a_mask_is_sadi(llama, differences, samples):
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["neuron"], 5)
    one = sl.MaskedScaling(mask, 3.0)
    two = sl.interventions.UnitScaling("neuron", 3.0 * mask.selected)
    found = sl.evaluate(llama, samples, [one, two], progress=False)
    assert found[0].choice_scores == pytest.approx(found[1].choice_scores, nan_ok=True)
    assert one.layers == two.layers
    with pytest.raises(
        ValueError, match=r"scales are for \(3, 48\) \[layer unit\], toy has \(3, 4\)"
    ):
        sl.interventions.UnitScaling("head", two.scales).check(
            sl.types.ModelInfo("toy", "Toy", 3, 4, 8, 32, 48, "x")
        )


def test_numbers_out_of_range_are_refused(llama, pairs):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="penalty must be at least 0"):
        sl.find.learn_scalars(llama, pairs, "head", penalty=-1.0)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        sl.find.learn_scalars(llama, pairs, "head", steps=0)
