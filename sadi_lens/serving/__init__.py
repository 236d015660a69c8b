"""Steering outside this process: tables of affine interventions, and vLLM with a plugin that applies them.

In: interventions, a folder. Out: tables on disk, texts and ``types.results`` from vLLM. Touches: vLLM, and only where
``SADI_LENS_TABLES`` names tables.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
