"""A small run of the simulation behind the documentation's table: coverage and false positives, with clusters."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "inference.py"


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("inference", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_items_of_a_cluster_are_as_alike_as_asked(simulation):
    rng = np.random.default_rng(0)
    pairs = simulation.uniform(rng, np.arange(20_000) // 2, 0.3).reshape(-1, 2)
    assert np.corrcoef((pairs < 0.75).T)[0, 1] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_intervals_cover_and_p_values_err_as_often_as_they_say(simulation, correlation):
    """300 draws: three standard errors of 95% are 3.8 points, of 5% as many."""
    design = simulation.Design("240 items on 60 facts", 240, 60, even=False)
    found = simulation.coverage_of_accuracy(design, correlation, 0.75, 300)
    assert 0.91 <= found <= 0.99
    covered, _ = simulation.coverage_and_errors(design, correlation, (0.2, 0.05), 300)
    assert 0.91 <= covered <= 0.99
    _, below = simulation.coverage_and_errors(design, correlation, (0.15, 0.15), 300)
    assert below <= 0.09


def test_rare_errors_in_large_clusters_are_not_covered_too_seldom(simulation):
    """Few clusters hold them all, and those happen to be unlike: three standard errors of 95% are 2.1 points."""
    design = simulation.Design("360 items on 36 rules", 360, 36, even=False)
    assert simulation.coverage_of_accuracy(design, 0.3, 0.95, 1000) >= 0.929


def test_without_clusters_the_same_interval_misses_every_third_time(simulation, monkeypatch):
    monkeypatch.setattr(simulation.Design, "codes", lambda *_: None)
    design = simulation.Design("240 items on 60 facts", 240, 60, even=False)
    assert simulation.coverage_of_accuracy(design, 0.8, 0.75, 100) < 0.8


def test_only_a_null_that_chooses_as_the_method_chose_keeps_its_level(simulation):
    at_cell, _, chosen = simulation.null_errors(0.3, 150)
    assert chosen <= 0.10  # three standard errors above 5%
    assert at_cell > chosen
