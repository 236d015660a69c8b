"""sadi_lens: find where a behaviour lives in a language model, scale exactly that, and see what it did.

Names resolve on first use, so that ``import sadi_lens`` and every figure work without loading torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
