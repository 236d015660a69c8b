from .generation import generate as generate
from .passes import choose_batch as choose_batch
from .reading import read_activations as read_activations
from .steering import fwd_hooks as fwd_hooks
from .steering import steer as steer
