"""Frozen data types that every other module speaks, and the protocol of a hooked model.

Statistics are numpy float32 arrays on the CPU, so that a result can be loaded and drawn without torch.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("pairs", "dev", "test")
POSITIONS = ("last_prompt", "every_step", "all")


@runtime_checkable
class HookedModel(Protocol):
    """What sadi_lens needs of a model: a TransformerLens ``TransformerBridge`` in raw mode."""

    cfg: Any
    tokenizer: Any
    original_model: Any

    def get_hook_point(self, hook_name: str) -> Any: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


class ArrayEq:
    """Equality of dataclasses that hold arrays: every field equal, NaN equal to NaN."""

    __hash__ = None  # type: ignore[assignment]  # arrays cannot be hashed

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        for one in fields(self):  # type: ignore[arg-type]  # mixed into dataclasses only
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if isinstance(mine, np.ndarray) or isinstance(theirs, np.ndarray):
                mine, theirs = np.asarray(mine), np.asarray(theirs)
                nan = mine.dtype.kind == "f"
                if mine.dtype != theirs.dtype or not np.array_equal(mine, theirs, equal_nan=nan):
                    return False
            elif mine != theirs and not (mine != mine and theirs != theirs):
                return False
        return True


@dataclass(frozen=True)
class ContrastivePair:
    """A prompt with a right and a wrong answer; text = prompt + answer exactly as given.

    Raises:
        ValueError: If an answer is empty or both answers are the same.
    """

    prompt: str
    positive: str
    negative: str

    def __post_init__(self) -> None:
        for name in ("positive", "negative"):
            if not getattr(self, name):
                raise ValueError(
                    f"{name} must not be empty (prompt {self.prompt[-40:]!r}); "
                    "the answer's own space belongs to it, as in ' A'"
                )
        if self.positive == self.negative:
            raise ValueError(
                f"positive and negative must differ, both are {self.positive!r} "
                f"(prompt {self.prompt[-40:]!r})"
            )


@dataclass(frozen=True)
class Sample:
    """One item to score: either ``choices`` with the index of the right one, or a free-text ``target``.

    Raises:
        ValueError: If neither or both forms are given, a choice is empty or repeated, or ``answer``
            is not an index of ``choices``.
    """

    prompt: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    target: str | None = None
    """Accepted free text; compared after normalisation (lower case, punctuation, spaces)."""
    split: str | None = None
    """``"dev"`` or ``"test"`` when known; carried into every result."""
    also_right: tuple[int, ...] = ()
    """Other choices that are right too (TruthfulQA): never counted as wrong, never needed."""
    aliases: tuple[str, ...] = ()
    """Other accepted free texts beside ``target``."""

    def __post_init__(self) -> None:
        where = f"(prompt {self.prompt[-40:]!r})"
        for name in ("also_right", "aliases"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.aliases and self.target is None:
            raise ValueError(f"aliases belong to a target, and there is none {where}")
        if (self.target is None) == (not self.choices):
            raise ValueError(f"a sample needs either choices or a target, not both {where}")
        if self.target is not None:
            if not self.target.strip():
                raise ValueError(f"target must not be empty {where}")
            return
        if isinstance(self.choices, str):
            raise TypeError(f"choices must be a list of texts, got {self.choices!r} {where}")
        object.__setattr__(self, "choices", tuple(self.choices))
        if len(self.choices) < 2:
            raise ValueError(f"choices must be at least 2, got {len(self.choices)} {where}")
        if any(not choice for choice in self.choices):
            raise ValueError(f"choices must not be empty, got {self.choices!r} {where}")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices must differ, got {self.choices!r} {where}")
        is_index = isinstance(self.answer, int) and not isinstance(self.answer, bool)
        if self.answer is None or not is_index or not 0 <= self.answer < len(self.choices):
            raise ValueError(
                f"answer must be an index in [0, {len(self.choices) - 1}], got {self.answer!r} {where}"
            )
        others = set(range(len(self.choices))) - {self.answer}
        if not set(self.also_right) < others:
            raise ValueError(
                f"also_right must leave at least one wrong choice of {sorted(others)}, got {self.also_right} {where}"
            )

    @property
    def wrong(self) -> tuple[int, ...]:
        """Indices of the wrong choices."""
        right = {self.answer, *self.also_right}
        return tuple(index for index in range(len(self.choices)) if index not in right)


@dataclass(frozen=True)
class Task:
    """Contrastive pairs that make the mask, ``dev`` to choose on and ``test`` to report on.

    Raises:
        ValueError: If the same item stands in two splits.
    """

    name: str
    pairs: tuple[ContrastivePair, ...] = ()
    dev: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()
    description: str = ""
    prompts: tuple[str, ...] = ()
    """Prompts to continue freely (generation demos); never scored."""
    pair_items: tuple[Sample, ...] = ()
    """The items that ``pairs`` were made of, where known: other negatives can be built from them."""

    def __post_init__(self) -> None:
        for name in ("pairs", "dev", "test", "prompts", "pair_items"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        # An item is a prompt with one of its answers: sharing one of those is sharing the item.
        items = {
            "pairs": {
                (p.prompt, text.strip()): row
                for row, p in enumerate(self.pairs)
                for text in (p.positive, p.negative)
            }
            | _answers(self.pair_items),
            **{split: _answers(getattr(self, split)) for split in ("dev", "test")},
        }
        for first, second in (("pairs", "dev"), ("pairs", "test"), ("dev", "test")):
            shared = sorted(items[first].keys() & items[second].keys())
            if shared:
                rows = sorted({(items[first][one], items[second][one]) for one in shared})
                named = ", ".join(f"{one} = {two}" for one, two in rows[:5])
                raise ValueError(
                    f"{first} and {second} of task {self.name!r} must be disjoint, "
                    f"{len({prompt for prompt, _ in shared})} prompts stand in both, first "
                    f"{shared[0][0][-60:]!r} (rows {first} = {second}: {named})"
                )


def _answers(samples: Sequence[Sample]) -> dict[tuple[str, str], int]:
    return {
        (one.prompt, text.strip()): row
        for row, one in enumerate(samples)
        for text in (*one.choices, *one.aliases, one.target or "")
        if text
    }


@dataclass(frozen=True)
class ModelInfo:
    """Shape and identity of a model, as written into every result and artifact."""

    name: str
    architecture: str
    n_layers: int
    n_heads: int
    """Query heads (hook_z has one entry per query head, also under GQA)."""
    d_head: int
    d_model: int
    d_mlp: int
    """Neurons per layer; 0 where a layer has none that can be hooked (mixture of experts)."""
    fingerprint: str
    """Hash of shapes and a sample of every weight, equal for float32 and bfloat16 copies."""

    @property
    def shape(self) -> str:
        """The sizes in one phrase, for messages."""
        return (
            f"{self.n_layers} layers, {self.n_heads} heads of {self.d_head}, "
            f"d_model {self.d_model}, d_mlp {self.d_mlp}"
        )

    @classmethod
    def of(cls, model: "HookedModel | ModelInfo") -> "ModelInfo":
        """Read shape and fingerprint off a bridged model; cached on the model."""
        if isinstance(model, ModelInfo):
            return model
        cached = model.__dict__.get("sadi_lens_info")
        if cached is not None:
            return cached
        cfg = model.cfg
        is_moe = bool(getattr(cfg, "num_experts", None))
        info = cls(
            name=str(model.__dict__.get("sadi_lens_name") or cfg.model_name),
            architecture=str(getattr(cfg, "architecture", None) or type(model).__name__),
            n_layers=int(cfg.n_layers),
            n_heads=int(cfg.n_heads),
            d_head=int(cfg.d_head),
            d_model=int(cfg.d_model),
            d_mlp=0 if is_moe else int(cfg.d_mlp or 0),
            fingerprint=fingerprint_of(model),
        )
        model.__dict__["sadi_lens_info"] = info
        return info


def fingerprint_of(model: HookedModel) -> str:
    """Identity of the weights as they are now: a hash of their shapes and of 64 values of each."""
    digest = hashlib.sha256()
    for parameter in model.original_model.parameters():
        digest.update(str(tuple(parameter.shape)).encode())
        if parameter.is_meta:  # off-loaded to disk by accelerate: its shape must do
            continue
        flat = parameter.detach().reshape(-1)
        step = max(1, flat.numel() // 64)
        digest.update(flat[::step][:64].bfloat16().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class ActivationDifferences(ArrayEq):
    """Moments of A(x y+) - A(x y-) at the last token of the text, over contrastive pairs.

    The paper's D (Wang et al., ICLR 2025), plus what a control needs to know about A itself
    at the last prompt token.
    """

    component: str
    model: ModelInfo
    n: int
    """Pairs seen."""
    mean: Float[np.ndarray, "layer unit"]
    """Mean difference of each unit (activation units); heads: mean over d_head, signed."""
    std: Float[np.ndarray, "layer unit"]
    """Standard deviation over pairs of the same scalar (n - 1 in the denominator; NaN for n = 1)."""
    vector: Float[np.ndarray, "layer unit d"]
    """Mean difference of each value; d = d_head for heads, else 1."""
    prompt_mean: Float[np.ndarray, "layer unit d"]
    """Mean activation at the last prompt token, where steering acts."""
    prompt_rms: Float[np.ndarray, "layer unit"]
    """Root mean square over pairs of a unit's norm at the last prompt token."""
    task: str = ""
    merged_boundaries: int = 0
    """Texts in which the tokenizer merged the end of the prompt into the answer."""

    @property
    def standard_error(self) -> Float[np.ndarray, "layer unit"]:
        """Standard error of ``mean``."""
        return self.std / math.sqrt(self.n)

    def frame(self) -> "pd.DataFrame":
        """One row a unit."""
        import pandas as pd

        layer, unit = np.indices(self.mean.shape)
        return pd.DataFrame(
            {
                "component": self.component,
                "layer": layer.ravel(),
                "unit": unit.ravel(),
                "mean": self.mean.ravel(),
                "std": self.std.ravel(),
                "standard_error": self.standard_error.ravel(),
                "n": self.n,
            }
        )


@dataclass(frozen=True, eq=False)
class UnitDifferences(ArrayEq):
    """Per-pair differences of a few named units (for distribution figures)."""

    component: str
    model: ModelInfo
    units: tuple[tuple[int, int], ...]
    """(layer, unit) of each column."""
    values: Float[np.ndarray, "pair unit"]
    """Difference of each unit's scalar in each pair (activation units)."""
    task: str = ""


def require_one_of(name: str, value: str, allowed: Sequence[str] | Mapping[str, Any]) -> None:
    """Refuse an unknown name and say which one was probably meant.

    Raises:
        ValueError: If ``value`` is not in ``allowed``.
    """
    if value in allowed:
        return
    import difflib

    close = difflib.get_close_matches(str(value), list(allowed), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{name} must be one of {sorted(allowed)}, got {value!r}{hint}")
