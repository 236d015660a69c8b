"""Interventions: pure maps on the activations of one component, layer by layer.

    MaskedScaling    A' = A + delta (A * M)    SADI, adaptive: the push follows the input (Wang et al., Eq. 5)
    MaskedAddition   A' = A + delta (V * M)    fixed: the same push for every input (their Eq. 6 has V = D)
    VectorAddition   A' = A + delta v          fixed, one layer, every dimension (CAA: Panickssery et al., 2024)

Where they act (which tokens) is an argument of the run, not of the intervention: see ``sadi_lens.steering``.
An intervention never writes to the tensor it is given; with strength 0 or an empty mask it names no layer,
so nothing is hooked and the model is untouched bit for bit.
"""

from sadi_lens.interventions.adaptive import MaskedScaling
from sadi_lens.interventions.base import Affine, AffineIntervention, Intervention
from sadi_lens.interventions.fixed import MaskedAddition, Push, VectorAddition

__all__ = [
    "Affine",
    "AffineIntervention",
    "Intervention",
    "MaskedAddition",
    "MaskedScaling",
    "Push",
    "VectorAddition",
]
