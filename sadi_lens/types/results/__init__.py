"""What measuring gives: frozen results that hold everything needed to print and draw them again."""

from sadi_lens.types.results.choice import Choice
from sadi_lens.types.results.comparison import Comparison
from sadi_lens.types.results.evaluation import Evaluation, NullBand, what_changed
from sadi_lens.types.results.explorer import ExplorerGrid, PromptGrid, PushGrid
from sadi_lens.types.results.guards import Guards, Picks
from sadi_lens.types.results.inspection import (
    ActivationShifts,
    GenerationTrace,
    SideEffectCurve,
    SignFlipNull,
    TokenRoles,
    UnitActivations,
)
from sadi_lens.types.results.receipts import CheckReport, CheckRow, Edit, Receipt
from sadi_lens.types.results.rows import Contrast, GroupResult, MethodRow, SideEffects
from sadi_lens.types.results.selection import Selection
from sadi_lens.types.results.shards import Shard
from sadi_lens.types.results.stability import PairsCurve, Stability
from sadi_lens.types.results.sweep import Sweep
from sadi_lens.types.results.units import Pruned, PruneStep, SignAgreement, UnitEffects
from sadi_lens.types.results.written import Written

__all__ = [
    "ActivationShifts",
    "CheckReport",
    "CheckRow",
    "Choice",
    "Comparison",
    "Contrast",
    "Edit",
    "Evaluation",
    "ExplorerGrid",
    "GenerationTrace",
    "GroupResult",
    "Guards",
    "MethodRow",
    "NullBand",
    "PairsCurve",
    "Picks",
    "PromptGrid",
    "PruneStep",
    "Pruned",
    "PushGrid",
    "Receipt",
    "Selection",
    "Shard",
    "SideEffectCurve",
    "SideEffects",
    "SignAgreement",
    "SignFlipNull",
    "Stability",
    "Sweep",
    "TokenRoles",
    "UnitActivations",
    "UnitEffects",
    "Written",
    "what_changed",
]
