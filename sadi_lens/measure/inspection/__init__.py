"""A close look at a model: the results that figures of units, shifts and tokens are drawn from."""

from sadi_lens.measure.inspection.tokens import token_roles, trace_generation
from sadi_lens.measure.inspection.units import (
    activation_shifts,
    all_unit_differences,
    sign_flip_null,
    unit_activations,
)

__all__ = [
    "activation_shifts",
    "all_unit_differences",
    "sign_flip_null",
    "token_roles",
    "trace_generation",
    "unit_activations",
]
