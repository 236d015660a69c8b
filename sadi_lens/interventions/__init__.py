"""Interventions: maps on the activations of one component, layer by layer, A the input's own activation.

In: a mask, differences or contrastive pairs, and a strength. Out: frozen objects that say which layers they edit and
how. Touches: nothing; ``sadi_lens.engine`` applies them, ``export_folded`` alone writes files.

    MaskedScaling        A' = A + delta (A * M)     SADI, adaptive: the push follows the input (Wang et al., Eq. 5)
    UnitScaling          A' = A + A * s             adaptive, a strength s for every unit (learned scalars)
    SignedScaling        the same, but units whose activation points away from D are left, damped or reversed
    Clamped              the same on the activations of an unsteered run, written over every layer (their code)
    AUSteer              A' = A + delta g A         adaptive: g by how consistently a value differs
    MaskedAddition       A' = A + delta (V * M)     fixed: the same push for every input (their Eq. 6 has V = D)
    VectorAddition, caa  A' = A + delta v           fixed, one layer, every dimension (Panickssery et al.)
    ITI                  A' = A + delta sigma theta fixed, along each chosen head's own direction (Li et al.)
    ActAdd               A'_t = A_t + delta v_t     fixed, at the front of the prompt (Turner et al.)
    HouseholderRotation  turns A on the wrong side of a probe, keeps its length (Pham and Nguyen)
    SphericalSteering    turns A the more, the more it points to the wrong answers, keeps its length
    CAST                 A' = A + delta v           if the prompt meets a condition (Lee et al.)
    InferAlignerGate     the same with a gate in each layer, and perhaps another model's v (Wang et al.)
    TDA                  A' = A * M(prompt)        neurons that the prompt does not use are off while the model writes
    ControlToken         control: the same edit at another token
    MeanAblation         A' = mean at the units     what is lost without them; ResampleAblation: another prompt's
    DirectPath           what scaled heads write, added behind the last block alone
    SwappedPrompt        control: the push that an adaptive intervention made on another prompt

Where they act (which tokens) is an argument of the run, not of the intervention, ``ActAdd`` apart: see
``sadi_lens.engine.steering``. An intervention never writes to the tensor it is given; with strength 0 or an
empty mask it names no layer, so nothing is hooked and the model is untouched bit for bit.
"""

from sadi_lens.engine.intervention import (
    Affine,
    AffineIntervention,
    Context,
    ContextualIntervention,
    Intervention,
)
from sadi_lens.interventions.ablation import DirectPath, MeanAblation, ResampleAblation
from sadi_lens.interventions.austeer import AUSteer
from sadi_lens.interventions.cast import CAST
from sadi_lens.interventions.clamped import Clamped
from sadi_lens.interventions.control_token import ControlToken
from sadi_lens.interventions.fixed import MaskedAddition, Push, VectorAddition
from sadi_lens.interventions.folding import export_folded
from sadi_lens.interventions.infer_aligner import InferAlignerGate
from sadi_lens.interventions.masked_scaling import MaskedScaling
from sadi_lens.interventions.rotations import HouseholderRotation, SphericalSteering
from sadi_lens.interventions.signed import SignedScaling
from sadi_lens.interventions.swapped import SwappedPrompt
from sadi_lens.interventions.tda import TDA, tail_thresholds
from sadi_lens.interventions.unit_scaling import UnitScaling
from sadi_lens.interventions.vectors import ITI, ActAdd, caa

__all__ = [
    "CAST",
    "ITI",
    "TDA",
    "AUSteer",
    "ActAdd",
    "Affine",
    "AffineIntervention",
    "Clamped",
    "Context",
    "ContextualIntervention",
    "ControlToken",
    "DirectPath",
    "HouseholderRotation",
    "InferAlignerGate",
    "Intervention",
    "MaskedAddition",
    "MaskedScaling",
    "MeanAblation",
    "Push",
    "ResampleAblation",
    "SignedScaling",
    "SphericalSteering",
    "SwappedPrompt",
    "UnitScaling",
    "VectorAddition",
    "caa",
    "export_folded",
    "tail_thresholds",
]
