"""What steering does: accuracy with intervals and nulls, side effects, comparisons, a look inside.

In: a model, samples, interventions. Out: results (``types.results``). Touches: nothing; a figure is drawn elsewhere.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
