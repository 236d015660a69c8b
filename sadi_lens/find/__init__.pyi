from .differences import activation_differences as activation_differences
from .differences import unit_differences as unit_differences
from .probes import probe_accuracy as probe_accuracy
from .rankings import unit_scores as unit_scores
from .readings import sign_agreement as sign_agreement
from .scalars import learn_scalars as learn_scalars
