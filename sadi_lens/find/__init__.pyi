from .differences import activation_differences as activation_differences
from .differences import unit_differences as unit_differences
from .pair_activations import sign_agreement as sign_agreement
from .probes import probe_accuracy as probe_accuracy
from .rankings import unit_scores as unit_scores
from .scalars import learn_scalars as learn_scalars
