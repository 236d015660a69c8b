"""Rows that are trained on the pairs: fine-tuned weights, and a learned strength for every unit."""

from sadi_lens.find.scalars import learn_scalars
from sadi_lens.measure.candidates import Candidate
from sadi_lens.measure.methods.base import Material, UnavailableError, grid
from sadi_lens.models.tuning import MissingPeftError, fine_tune

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
EPOCHS = (1, 2, 4, 8)
PENALTIES = (0.1, 0.03, 0.01, 0.003)
"""Nats per unit of strength; the largest is the sparsest."""


def sft(material: Material, budget: int | None) -> list[Candidate]:
    """LoRA on every linear layer, by learning rate and number of epochs.

    Raises:
        UnavailableError: If PEFT is not installed.
    """
    texts = [(one.prompt, one.positive) for one in material.pairs]
    cells = grid(RATES, EPOCHS, budget)
    found: list[Candidate] = []
    for rate in dict(cells):
        epochs = [n for one, n in cells if one == rate]
        try:
            tuned = fine_tune(
                material.model, texts, learning_rate=rate, epochs=epochs, seed=material.seed
            )
        except MissingPeftError as error:
            raise UnavailableError(str(error)) from error
        found += [Candidate(None, build=one, words=one.label) for one in tuned]
    return found


def scalars(material: Material, budget: int | None) -> list[Candidate]:
    """A learned strength for every unit, by penalty: what SADI could reach with the best units and strengths.

    Raises:
        UnavailableError: If a pair has two prompts.
    """
    material.require_one_prompt("learn_scalars")
    return [
        Candidate(
            learn_scalars(
                material.model,
                material.pairs,
                material.component,
                penalty=penalty,
                position=material.position,
                seed=material.seed,
                progress=False,
            )
        )
        for penalty, _ in grid(PENALTIES, (None,), budget)
    ]
