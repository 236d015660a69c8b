"""Find where a behaviour lives in a language model, scale exactly that, and measure what it did.

The method is SADI (Wang, Yang and Peng, ICLR 2025). A(x) is what a component of the model computes for a text x: one
number a unit and layer, or d_head numbers for an attention head.

1. Contrast. Pairs of one prompt x with a right answer y+ and a wrong answer y-.
       ``load_task`` or your own ``ContrastivePair``                    (sadi_lens.tasks)
2. Differences. At the last token of the whole text, averaged over the pairs:
       D = mean_x [ A(x y+) - A(x y-) ]
       ``activation_differences``                                       (sadi_lens.find.differences)
3. Mask. The K units with the largest D over all layers together (a head: its mean over d_head):
       M = 1 for these K units, 0 for all others
       ``top_k_mask``                                                   (sadi_lens.types.masks)
4. Steer. In the forward pass of a new input, at its last prompt token (``DEFAULT_POSITION``):
       A' = A + delta (A * M)                                           (their Eq. 5)
       ``MaskedScaling`` says what is done                              (sadi_lens.interventions.masked_scaling)
       ``steer``, ``fwd_hooks`` and ``generate`` do it                  (sadi_lens.engine)
5. Measure. Accuracy on items that played no part in 1 to 4, beside what could explain it:
       p = (1 + random masks that do at least as well) / (1 + random masks)
       ``sweep`` chooses K and delta on dev, ``evaluate`` scores test, ``null_band`` and ``compare`` add the controls
                                                                        (sadi_lens.measure)

In code, on the embedded model and task (``sl`` is this package):

    >>> differences = sl.activation_differences(model, task.pairs[:20], progress=False)
    >>> mask = sl.top_k_mask(differences["head"], 10)
    >>> sadi = sl.MaskedScaling(mask, 5.0)
    >>> sl.evaluate(model, task.test[:10], sadi, progress=False).n
    10

Names resolve on first use, so that ``import sadi_lens`` and every figure work without loading torch.
"""

import re
from importlib.metadata import version
from pathlib import Path

import lazy_loader

__version__ = version("sadi_lens")
_first_use, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """What ``sl.NAME`` is; a name of a room is refused with the room."""
    try:
        return _first_use(name)
    except AttributeError:
        if name.startswith("_") or name in __all__:  # what broke is in the module that holds it
            raise
        # Looked up in the text: a name that is nowhere must not load torch.
        listed = re.compile(
            rf'\bimport {re.escape(name)}\b|^    "{re.escape(name)}",$', re.MULTILINE
        )
        for file in sorted(Path(__file__).parent.glob("*/__init__.py*")):
            if file.suffix != ".pyc" and listed.search(file.read_text(encoding="utf-8")):
                room = file.parent.name
                raise AttributeError(f"sadi_lens has no {name}: it is {room}.{name}") from None
        raise
