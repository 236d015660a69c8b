"""What a close look at a model gives: activations, shifts of them, a generation token by token."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sadi_lens.types.invariants import Consistent
from sadi_lens.types.model import ModelInfo

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class UnitActivations(Consistent):
    """Activations of a few named units on the right and on the wrong answer of every pair."""

    component: str
    model: ModelInfo
    units: tuple[tuple[int, int], ...]
    """(layer, unit) of each column."""
    positive: Float[np.ndarray, "pair unit"]
    """At the last token of prompt + right answer (activation units); heads: mean over d_head."""
    negative: Float[np.ndarray, "pair unit"]
    """The same for the wrong answer."""
    task: str = ""

    def frame(self) -> "pd.DataFrame":
        """One row per pair and unit."""
        import pandas as pd

        pair, column = np.indices(self.positive.shape)
        places = np.array(self.units).reshape(-1, 2)
        return pd.DataFrame(
            {
                "component": self.component,
                "pair": pair.ravel(),
                "layer": places[column.ravel(), 0],
                "unit": places[column.ravel(), 1],
                "positive": self.positive.ravel(),
                "negative": self.negative.ravel(),
            }
        )


@dataclass(frozen=True, eq=False)
class SignFlipNull(Consistent):
    """Largest mean difference of any unit when right and wrong are swapped at random in each pair."""

    component: str
    model: ModelInfo
    n: int
    """Pairs."""
    maxima: Float[np.ndarray, " flip"]
    """Largest signed mean over all units, one a draw (activation units)."""
    task: str = ""
    seed: int = 0
    magnitudes: Any = None
    """Largest magnitude of a mean over all units, one a draw; None where it was not kept."""

    @property
    def threshold(self) -> float:
        """95th percentile of the maxima: a unit above it is larger than chance allows, after looking at all units."""
        return float(np.quantile(self.maxima, 0.95))

    @property
    def threshold_of_magnitude(self) -> float:
        """95th percentile of the magnitudes: a unit beyond it, on either side, differs more than chance allows.

        Where they were not kept, the 97.5th percentile of the maxima: chance is symmetric, so that at most 5% of draws
        go beyond it on either side.
        """
        if self.magnitudes is None:
            return float(np.quantile(self.maxima, 0.975))
        return float(np.quantile(self.magnitudes, 0.95))

    def frame(self) -> "pd.DataFrame":
        """One row per draw."""
        import pandas as pd

        return pd.DataFrame(
            {
                "component": self.component,
                "maximum": self.maxima,
                "magnitude": float("nan") if self.magnitudes is None else self.magnitudes,
                "n": self.n,
            }
        )


@dataclass(frozen=True, eq=False)
class ActivationShifts(Consistent):
    """One layer's activations at the last prompt token, unsteered and under each method."""

    model: ModelInfo
    component: str
    layer: int
    position: str
    before: Float[np.ndarray, "item d"]
    """Unsteered (activation units); heads: all heads side by side."""
    after: Float[np.ndarray, "method item d"]
    methods: tuple[str, ...]
    kinds: tuple[str, ...]
    """``MethodRow.kind`` of each method."""
    prompts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """What an item belongs to (its right answer, say); empty where there is nothing to tell apart."""
    confounds: tuple[str, ...] = ()
    """A property that should not matter (the letter of the right answer, say): drawn as shape."""
    matched: str = ""
    """How the methods were matched: ``"norm"``, ``"kl"``, ``"coefficient"``, or empty for not at all."""
    task: str = ""

    def frame(self) -> "pd.DataFrame":
        """One row per item and method: norm of the shift, and its cosine with the method's mean shift."""
        import pandas as pd

        norm = self.lengths
        method, item = np.indices(norm.shape)
        return pd.DataFrame(
            {
                "method": np.array(self.methods, dtype=object)[method.ravel()],
                "item": item.ravel(),
                "norm": norm.ravel(),
                "cosine": self.cosines.ravel(),
            }
        )

    @property
    def lengths(self) -> Float[np.ndarray, "method item"]:
        """Norm of every item's shift (activation units)."""
        return np.linalg.norm(self.after.astype(np.float64) - self.before, axis=-1)

    @property
    def cosines(self) -> Float[np.ndarray, "method item"]:
        """Cosine of every item's shift with the mean shift of its method; NaN where nothing moved."""
        shift = self.after.astype(np.float64) - self.before
        mean = shift.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(shift, axis=-1) * np.linalg.norm(mean, axis=-1)
        return np.divide(
            (shift * mean).sum(axis=-1),
            lengths,
            out=np.full(lengths.shape, np.nan),
            where=lengths > 0,
        )


@dataclass(frozen=True, eq=False)
class GenerationTrace(Consistent):
    """A continuation token by token: how likely with and without steering, and where it was edited."""

    label: str
    """What was done to the model, in words."""
    kind: str
    """As ``MethodRow.kind``."""
    model: ModelInfo
    component: str
    """What was edited; empty for the unsteered model."""
    position: str
    prompt: str
    tokens: tuple[str, ...]
    """The continuation, as the tokenizer writes each token."""
    logp_unsteered: Float[np.ndarray, " token"]
    """Log-probability of each token under the unsteered model (nats), given the same text before it."""
    logp: Float[np.ndarray, " token"]
    """The same under the steered model."""
    kl: Float[np.ndarray, " token"]
    """KL(unsteered || steered) of the next-token distribution at each token (nats)."""
    edit_norm: Float[np.ndarray, "layer token"]
    """Norm of what was added in each layer at the token that predicts this one (activation units)."""

    def frame(self) -> "pd.DataFrame":
        """One row per token."""
        import pandas as pd

        return pd.DataFrame(
            {
                "label": self.label,
                "token": list(self.tokens),
                "logp_unsteered": self.logp_unsteered,
                "logp": self.logp,
                "kl": self.kl,
                "edit_norm": np.linalg.norm(self.edit_norm, axis=0),
            }
        )


@dataclass(frozen=True, eq=False)
class TokenRoles(Consistent):
    """The tokens of one text, and what the method does at each: read it, steer it, or neither."""

    model: ModelInfo
    label: str
    """Which text this is, in words."""
    tokens: tuple[str, ...]
    """All tokens, special ones included, as the tokenizer writes them."""
    prompt_length: int
    """Tokens of the prompt; the answer follows."""
    read: tuple[int, ...]
    """Places whose activations make the differences."""
    steered: tuple[int, ...]
    """Places whose activations are edited."""
    position: str = "last_prompt"

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(self.tokens)
        if not n:
            raise ValueError(f"tokens must not be empty ({self.label!r})")
        if not 1 <= self.prompt_length <= n:
            raise ValueError(f"prompt_length must be in [1, {n}], got {self.prompt_length}")
        for name in ("read", "steered"):
            for place in getattr(self, name):
                if not 0 <= place < n:
                    raise ValueError(f"{name} must be in [0, {n - 1}], got {place}")


@dataclass(frozen=True, eq=False)
class SideEffectCurve(Consistent):
    """One method at growing strength: what it gains on its task and what it changes elsewhere."""

    label: str
    kind: str
    """As ``MethodRow.kind``."""
    model: ModelInfo
    task: str
    split: str
    n: int
    """Items behind every accuracy."""
    strengths: tuple[float, ...]
    accuracy: Float[np.ndarray, " strength"]
    low: Float[np.ndarray, " strength"]
    """Lower end of the 95% interval of the accuracy; NaN where there is none."""
    high: Float[np.ndarray, " strength"]
    kl: Float[np.ndarray, " strength"]
    """KL(unsteered || steered) on neutral text (nats per token)."""
    unsteered_accuracy: float
    component: str = ""
    position: str = "last_prompt"
    moved: Any = None
    """Whole numbers [strength]: 1 where the gain is told from zero, -1 where the loss is, 0 where neither (an interval
    without 0 and McNemar's p, Holm-corrected over the strengths); None where it is not known."""

    def frame(self) -> "pd.DataFrame":
        """One row per strength."""
        import pandas as pd

        return pd.DataFrame(
            {
                "label": self.label,
                "strength": self.strengths,
                "accuracy": self.accuracy,
                "low": self.low,
                "high": self.high,
                "kl": self.kl,
                "moved": float("nan") if self.moved is None else self.moved,
                "n": self.n,
            }
        )
