"""Steered models in other people's tools: lm-evaluation-harness.

In: models, interventions, samples. Out: their numbers, from their own runs. Touches: files that the user names.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
