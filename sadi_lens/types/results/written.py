"""What a method writes by itself, beside the answer that it scores highest."""

from dataclasses import dataclass

from sadi_lens.types.invariants import Consistent
from sadi_lens.types.paired import paired_interval
from sadi_lens.types.results.evaluation import FORMS, Evaluation
from sadi_lens.types.stats import Interval


@dataclass(frozen=True, eq=False)
class Written(Consistent):
    """Greedy text of a method on the items of a comparison: log-probability and behaviour often part company."""

    accuracy: float
    """Share of items on which the text is the right answer (``scoring="generation"``)."""
    interval: Interval
    gain: float
    """Accuracy minus that of the unsteered model's text."""
    gain_interval: Interval
    """95% paired interval of the gain."""
    valid_rate: float
    """Share of items on which the text is one of the answers."""
    agreement: float
    """Share of items on which text and scores are right or wrong alike."""

    @classmethod
    def of(
        cls, text: Evaluation, base: Evaluation, scored: Evaluation, *, is_base: bool = False
    ) -> "Written":
        """From three results on the same items.

        Args:
            text: What the method writes.
            base: What the unsteered model writes.
            scored: The method by log-probability.
            is_base: Whether the method is the unsteered model itself, whose gain is 0 and no estimate.

        Raises:
            ValueError: If they are not of the same items.
        """
        if not (text.is_alike(base) and text.is_alike(scored)):
            raise ValueError(f"{text.label!r} was written and scored on different items{FORMS}")
        return cls(
            accuracy=text.accuracy,
            interval=text.interval,
            gain=text.accuracy - base.accuracy,
            gain_interval=Interval(0.0, 0.0)
            if is_base and bool((text.correct == base.correct).all())
            else paired_interval(text.correct, base.correct, base.clusters),
            valid_rate=text.valid_rate,
            agreement=float((text.correct == scored.correct).mean()),
        )
