"""What really happened in a steered run: a receipt of edits, and a check of the ways to run."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sadi_lens.types.invariants import Consistent
from sadi_lens.types.model import ModelInfo

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Edit(Consistent):
    """One token at which one layer's activation was changed; norms are over the whole hooked tensor there."""

    step: int
    """0 is the pass over the prompt, then one a generated token."""
    token: int
    """Index in prompt + generated tokens."""
    text: str
    component: str
    layer: int
    norm_before: float
    norm_after: float
    norm_change: float
    """Length of the change itself (activation units)."""


@dataclass(frozen=True, eq=False)
class Receipt(Consistent):
    """Everything an intervention changed while one text was generated, measured around its hooks."""

    label: str
    model: ModelInfo
    position: str
    prompt: str
    text: str
    """The continuation."""
    n_prompt: int
    """Tokens of the prompt."""
    passes: int
    """Forward passes of the generation."""
    edits: tuple[Edit, ...]
    firings: tuple[tuple[int, int, int], ...]
    """(layer, times its hook point fired, passes in which something changed) of every layer of the intervention."""

    def frame(self) -> "pd.DataFrame":
        """One row per edit."""
        import pandas as pd

        columns = list(Edit.__dataclass_fields__)
        return pd.DataFrame([asdict(one) for one in self.edits], columns=columns)


@dataclass(frozen=True, eq=False)
class CheckRow(Consistent):
    """Two ways to compute the same logits, and how far they came apart."""

    name: str
    difference: float
    """Largest absolute logit difference, steered."""
    unsteered: float | None
    """The same without the intervention: what the model itself does; None where there is no such thing."""
    tolerance: float
    """Half of the digits of the model's dtype, times the largest logit."""

    @property
    def is_ok(self) -> bool:
        """Whether the difference is within rounding; a NaN is not."""
        return self.difference <= self.tolerance


@dataclass(frozen=True, eq=False)
class CheckReport(Consistent):
    """``check``: ways to run that must agree, and the size of the steering itself to compare with."""

    label: str
    model: ModelInfo
    position: str
    effect: float
    """Largest absolute logit difference between the steered and the unsteered model."""
    rows: tuple[CheckRow, ...]
    n: int
    """Prompts."""

    @property
    def is_ok(self) -> bool:
        """Whether every row is."""
        return all(row.is_ok for row in self.rows)

    def frame(self) -> "pd.DataFrame":
        """One row per check."""
        import pandas as pd

        return pd.DataFrame([{**asdict(row), "ok": row.is_ok} for row in self.rows])

    def __str__(self) -> str:
        lines = [f"{self.label}, position {self.position}: moves logits by up to {self.effect:.3g}"]
        lines += [
            f"  {'ok ' if row.is_ok else 'NOT'} {row.name}: {row.difference:.2g} (tolerance {row.tolerance:.2g}"
            + (")" if row.unsteered is None else f", unsteered {row.unsteered:.2g})")
            for row in self.rows
        ]
        return "\n".join(lines)
