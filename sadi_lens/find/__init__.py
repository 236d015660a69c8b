"""Where a behaviour lives: differences over contrastive pairs, rankings of units, probes, gradients.

In: a model and contrastive pairs (samples, for gradients), never test. Out: differences, scores, gradients of every
unit. Touches: nothing on the model once a call returns.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
