"""Models: loading any causal language model as a checked TransformerBridge, and those that load by a short name.

In: a name, a folder, a file or a Hugging Face object. Out: a bridge. Touches: the user's cache folder, where GGUF
files are kept as ordinary model folders.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
