"""Frozen data that all other rooms exchange. Nothing here needs torch or runs a model.

In: plain values. Out: pairs, samples, tasks, masks, scores, differences, results; files of ``save``. Touches: only the
files that ``types.store`` and ``types.files`` are asked to write.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
