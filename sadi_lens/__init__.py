"""sadi_lens: find where a behaviour lives in a language model, scale exactly that, and see what it did.

Names resolve on first use, so that ``import sadi_lens`` and every figure work without loading torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sadi_lens import plots as plots
    from sadi_lens.activations import activation_differences as activation_differences
    from sadi_lens.activations import read_activations as read_activations
    from sadi_lens.activations import unit_differences as unit_differences
    from sadi_lens.comparing import compare as compare
    from sadi_lens.costs import side_effect_curve as side_effect_curve
    from sadi_lens.evaluation import evaluate as evaluate
    from sadi_lens.evaluation import evaluate_each as evaluate_each
    from sadi_lens.explorer.explorer import SteeringExplorer as SteeringExplorer
    from sadi_lens.folding import export_folded as export_folded
    from sadi_lens.generation import generate as generate
    from sadi_lens.inspection import activation_shifts as activation_shifts
    from sadi_lens.inspection import all_unit_differences as all_unit_differences
    from sadi_lens.inspection import sign_flip_null as sign_flip_null
    from sadi_lens.inspection import token_roles as token_roles
    from sadi_lens.inspection import trace_generation as trace_generation
    from sadi_lens.inspection import unit_activations as unit_activations
    from sadi_lens.interventions import CAST as CAST
    from sadi_lens.interventions import ITI as ITI
    from sadi_lens.interventions import ActAdd as ActAdd
    from sadi_lens.interventions import AUSteer as AUSteer
    from sadi_lens.interventions import Clamped as Clamped
    from sadi_lens.interventions import ControlToken as ControlToken
    from sadi_lens.interventions import HouseholderRotation as HouseholderRotation
    from sadi_lens.interventions import InferAlignerGate as InferAlignerGate
    from sadi_lens.interventions import Intervention as Intervention
    from sadi_lens.interventions import MaskedAddition as MaskedAddition
    from sadi_lens.interventions import MaskedScaling as MaskedScaling
    from sadi_lens.interventions import SignedScaling as SignedScaling
    from sadi_lens.interventions import SphericalSteering as SphericalSteering
    from sadi_lens.interventions import SwappedPrompt as SwappedPrompt
    from sadi_lens.interventions import VectorAddition as VectorAddition
    from sadi_lens.interventions import caa as caa
    from sadi_lens.masks import Mask as Mask
    from sadi_lens.masks import random_mask as random_mask
    from sadi_lens.masks import top_k_mask as top_k_mask
    from sadi_lens.memory import choose_batch as choose_batch
    from sadi_lens.methods import Control as Control
    from sadi_lens.methods import Method as Method
    from sadi_lens.models import load_model as load_model
    from sadi_lens.models import planted_model as planted_model
    from sadi_lens.models import planted_task as planted_task
    from sadi_lens.neutral import divergence as divergence
    from sadi_lens.neutral import match_kl as match_kl
    from sadi_lens.neutral import side_effects as side_effects
    from sadi_lens.open_ended import load_classifier as load_classifier
    from sadi_lens.open_ended import open_ended_scores as open_ended_scores
    from sadi_lens.plots import show as show
    from sadi_lens.probes import probe_accuracy as probe_accuracy
    from sadi_lens.pruning import prune_mask as prune_mask
    from sadi_lens.pruning import unit_effects as unit_effects
    from sadi_lens.published import published_table as published_table
    from sadi_lens.push import measure_push as measure_push
    from sadi_lens.push import swap_prompts as swap_prompts
    from sadi_lens.rankings import unit_scores as unit_scores
    from sadi_lens.readings import sign_agreement as sign_agreement
    from sadi_lens.receipts import check as check
    from sadi_lens.receipts import receipt as receipt
    from sadi_lens.report import write_report as write_report
    from sadi_lens.results import CheckReport as CheckReport
    from sadi_lens.results import Comparison as Comparison
    from sadi_lens.results import Evaluation as Evaluation
    from sadi_lens.results import NullBand as NullBand
    from sadi_lens.results import PairsCurve as PairsCurve
    from sadi_lens.results import Pruned as Pruned
    from sadi_lens.results import Receipt as Receipt
    from sadi_lens.results import Selection as Selection
    from sadi_lens.results import SignAgreement as SignAgreement
    from sadi_lens.results import Stability as Stability
    from sadi_lens.results import Sweep as Sweep
    from sadi_lens.results import UnitEffects as UnitEffects
    from sadi_lens.resuming import EvaluationInterrupted as EvaluationInterrupted
    from sadi_lens.runs import Experiment as Experiment
    from sadi_lens.runs import TaskSpec as TaskSpec
    from sadi_lens.runs import run_experiment as run_experiment
    from sadi_lens.scores import Scores as Scores
    from sadi_lens.scorings import scoring_table as scoring_table
    from sadi_lens.scorings import truthful_scores as truthful_scores
    from sadi_lens.stability import mask_stability as mask_stability
    from sadi_lens.stability import pairs_needed as pairs_needed
    from sadi_lens.steering import fwd_hooks as fwd_hooks
    from sadi_lens.steering import steer as steer
    from sadi_lens.store import load as load
    from sadi_lens.store import save as save
    from sadi_lens.sweeps import SweepInterrupted as SweepInterrupted
    from sadi_lens.sweeps import null_band as null_band
    from sadi_lens.sweeps import sweep as sweep
    from sadi_lens.tasks import balance_pairs as balance_pairs
    from sadi_lens.tasks import load_benchmark as load_benchmark
    from sadi_lens.tasks import load_task as load_task
    from sadi_lens.tasks import make_pairs as make_pairs
    from sadi_lens.tasks import with_chat_template as with_chat_template
    from sadi_lens.tasks import with_examples as with_examples
    from sadi_lens.types import ActivationDifferences as ActivationDifferences
    from sadi_lens.types import ContrastivePair as ContrastivePair
    from sadi_lens.types import ModelInfo as ModelInfo
    from sadi_lens.types import Sample as Sample
    from sadi_lens.types import Task as Task

_HOME = {
    "activations": ["activation_differences", "read_activations", "unit_differences"],
    "comparing": ["compare"],
    "costs": ["side_effect_curve"],
    "evaluation": ["evaluate", "evaluate_each"],
    "explorer.explorer": ["SteeringExplorer"],
    "folding": ["export_folded"],
    "generation": ["generate"],
    "inspection": [
        "activation_shifts",
        "all_unit_differences",
        "sign_flip_null",
        "token_roles",
        "trace_generation",
        "unit_activations",
    ],
    "interventions": [
        "AUSteer",
        "ActAdd",
        "CAST",
        "Clamped",
        "ControlToken",
        "HouseholderRotation",
        "ITI",
        "InferAlignerGate",
        "Intervention",
        "MaskedAddition",
        "MaskedScaling",
        "SignedScaling",
        "SphericalSteering",
        "SwappedPrompt",
        "VectorAddition",
        "caa",
    ],
    "masks": ["Mask", "random_mask", "top_k_mask"],
    "memory": ["choose_batch"],
    "methods": ["Control", "Method"],
    "models": ["load_model", "planted_model", "planted_task"],
    "neutral": ["divergence", "match_kl", "side_effects"],
    "open_ended": ["load_classifier", "open_ended_scores"],
    "plots": ["show"],
    "probes": ["probe_accuracy"],
    "pruning": ["prune_mask", "unit_effects"],
    "published": ["published_table"],
    "push": ["measure_push", "swap_prompts"],
    "rankings": ["unit_scores"],
    "readings": ["sign_agreement"],
    "receipts": ["check", "receipt"],
    "report": ["write_report"],
    "results": [
        "CheckReport",
        "Comparison",
        "Evaluation",
        "NullBand",
        "PairsCurve",
        "Pruned",
        "Receipt",
        "Selection",
        "SignAgreement",
        "Stability",
        "Sweep",
        "UnitEffects",
    ],
    "resuming": ["EvaluationInterrupted"],
    "runs": ["Experiment", "TaskSpec", "run_experiment"],
    "scores": ["Scores"],
    "scorings": ["scoring_table", "truthful_scores"],
    "stability": ["mask_stability", "pairs_needed"],
    "steering": ["fwd_hooks", "steer"],
    "store": ["load", "save"],
    "sweeps": ["SweepInterrupted", "null_band", "sweep"],
    "tasks": [
        "balance_pairs",
        "load_benchmark",
        "load_task",
        "make_pairs",
        "with_chat_template",
        "with_examples",
    ],
    "types": ["ActivationDifferences", "ContrastivePair", "ModelInfo", "Sample", "Task"],
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted([*_MODULE, "plots"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(importlib.import_module(f"sadi_lens.{_MODULE[name]}"), name)
    if name == "plots":
        return importlib.import_module("sadi_lens.plots")
    raise AttributeError(f"module 'sadi_lens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
