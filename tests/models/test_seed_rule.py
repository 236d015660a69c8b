"""The rule that accepts a training seed, and the gains over seeds."""

from dataclasses import replace

import numpy as np
import pytest

import sadi_lens as sl
from sadi_lens.models.known import EMBEDDED

GOOD = {"none": 0.95, "right": 1.0, "wrong": 0.5, "dev": 0.7, "test": 0.1}


def measured(**changes):
    from train_tiny.card import Measured

    tasks = {"hints": GOOD, "recall": {**GOOD, **changes}}
    return Measured(tasks, dict.fromkeys(GOOD, 200), 0.5, 0.5)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"test": 0.0}, None),  # plays no part
        ({"none": 0.79, "wrong": 0.1}, "recall, cue none: 0.790 is below 0.8"),
        ({"right": 0.5}, "recall, cue right: 0.500 is below 0.8"),
        ({"wrong": 0.81}, "recall: a wrong cue costs 0.140, below 0.15"),
        ({"dev": 0.86}, "recall: dev 0.860 is outside 0.5 to 0.85"),
    ],
)
def test_a_seed_is_accepted_by_its_unsteered_behaviour(changes, fault):
    from train_tiny.rule import faults

    assert faults(measured(**changes)) == ([] if fault is None else [fault])


def test_gains_are_counted_item_by_item_against_the_same_seed():
    from train_tiny.seeds import gains

    def seed(base, steered):
        rows = [("unsteered", base), ("SADI, effect", steered)]
        return {
            "rows": [
                {"task": "hints", "method": m, "correct": c, "content": ["a", "b", "b"]}
                for m, c in rows
            ]
        }

    found = gains({0: seed([1, 0, 0], [1, 1, 0]), 1: seed([1, 1, 1], [0, 1, 1])})
    assert found.gain.tolist() == [0, 100, 0, -100, 0, 0]
    assert found.seed.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.fact.tolist() == ["a", "b", "b"] * 2


def test_the_mixed_model_counts_seeds_and_facts_not_items():
    import pandas as pd
    from train_tiny.seeds import mixed

    rng = np.random.default_rng(0)
    of_seed, of_fact = rng.normal(0, 10, 8), rng.normal(0, 10, 30)
    rows = [
        {"seed": s, "fact": f"f{f}", "gain": 20 + of_seed[s] + of_fact[f] + e}
        for s in range(8)
        for f in range(30)
        for e in rng.normal(0, 5, 3)
    ]
    table = pd.DataFrame(rows)
    mean, error, low, high = mixed(table)
    assert mean == pytest.approx(table.gain.mean())
    assert mean - low == pytest.approx(high - mean)
    assert 1.96 * error < high - mean < 2.365 * error  # t between infinite and 7 degrees of freedom
    # Balanced: the variance of the mean is that of seeds over 8 plus that of facts over 30 plus little.
    expected = np.sqrt(of_seed.var(ddof=1) / 8 + of_fact.var(ddof=1) / 30 + 25 / 720)
    assert error == pytest.approx(expected, rel=0.1)
    naive = table.gain.std(ddof=1) / np.sqrt(len(table))
    assert error > 4 * naive


def test_the_mean_squares_give_what_reml_gives():
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM
    from train_tiny.seeds import mixed

    rng = np.random.default_rng(1)
    of_seed, of_fact = rng.normal(0, 8, 6), rng.normal(0, 8, 7)
    table = pd.DataFrame(
        {"seed": s, "fact": f"f{f}", "gain": 5 + of_seed[s] + of_fact[f] + rng.normal(0, 6)}
        for s in range(6)
        for f in range(7)
    )
    terms = {"seed": "0 + C(seed)", "fact": "0 + C(fact)"}
    fit = MixedLM.from_formula(
        "gain ~ 1", table.assign(one=1), groups="one", vc_formula=terms
    ).fit()
    assert mixed(table).error == pytest.approx(float(fit.bse["Intercept"]), rel=1e-3)
    with pytest.raises(ValueError, match="6 seeds and 7 facts need every pair, got 41"):
        mixed(table.iloc[1:])


def test_a_seed_is_measured_on_the_answers_that_test_gives(monkeypatch):
    from train_tiny import seeds

    monkeypatch.setattr(seeds, "TASKS", ("sentiment",))
    monkeypatch.setattr(seeds, "RANKINGS", ("signed",))
    task = sl.load_task("sentiment")
    small = replace(task, dev=task.dev[:20])
    monkeypatch.setattr(seeds.sl, "load_task", lambda _: small)
    unsteered, sadi, *_ = seeds.methods()
    monkeypatch.setattr(seeds, "methods", lambda: [unsteered, sadi])
    monkeypatch.setattr(seeds, "measure", lambda *_: measured(dev=0.86))
    found = seeds.evaluate_seed(EMBEDDED["tiny"])
    plain, steered = found["rows"]
    alone = sl.evaluate(sl.load_model("tiny"), task.test, progress=False)
    assert (plain["method"], steered["method"]) == ("unsteered", "SADI, signed")
    assert plain["correct"] == alone.correct.tolist()
    assert len(plain["content"]) == len(steered["correct"]) == len(task.test)
    assert found["faults"] == ["recall: dev 0.860 is outside 0.5 to 0.85"]
