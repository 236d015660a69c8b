"""Experiments from one file: which cells there are, running them, resuming, tables and figures."""

from sadi_lens.apps.experiments.execute import run_experiment
from sadi_lens.apps.experiments.experiment import Experiment, TaskSpec

__all__ = ["Experiment", "TaskSpec", "run_experiment"]
