"""Running a model with interventions in place: where, at which tokens, which edit; reading and scoring.

In: a loaded model, token ids, interventions. Out: activations, log-probabilities, tokens. Touches: hooks on
the model, for the duration of a call, and nothing else. How hooks are put on TransformerLens and
Hugging Face modules is known here alone; the names of the hook points are in ``types.model.COMPONENTS``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
