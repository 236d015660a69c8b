"""Running a model with interventions in place: where, at which tokens, which edit; reading and scoring.

In: a loaded model, token ids, interventions. Out: activations, log-probabilities, tokens. Touches: hooks on
the model, for the duration of a call, and nothing else. All that is known about TransformerLens hook points
and Hugging Face modules is here.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
