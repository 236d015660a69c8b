"""Where a behaviour lives: differences over contrastive pairs, rankings of units, probes, gradients.

In: a model and contrastive pairs, never dev or test. Out: differences and scores of every unit. Touches: nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
