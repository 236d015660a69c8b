"""Tables: affine interventions as numbers on disk, for engines that know nothing of masks or methods.

    A'[layer] = scale[layer] * A[layer] + shift[layer]        at the tokens of a position

A folder of tables is written and read by ``sadi_lens.types.store``: safetensors and JSON, whole or not at all.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sadi_lens.engine.intervention import AffineIntervention, Intervention
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, ArrayEq, require_one_of
from sadi_lens.types.checks import as_path, checked, require_fields
from sadi_lens.types.model import HookedModel, ModelInfo, n_units, unit_shape
from sadi_lens.types.reading import read_text
from sadi_lens.types.store import CONFIG, load, save
from sadi_lens.types.wording import short

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a table may be called: a request names it as ``NAME@POSITION``."""

DTYPES = ("float32", "float16", "bfloat16")
"""Those of the models that tables steer."""

Folder = str | Path


@dataclass(frozen=True, eq=False)
class SteeringTable(ArrayEq):
    """Scale and shift of one intervention in every layer that it edits.

    Raises:
        ValueError: If the parts do not fit one another, or ``digest`` is not that of the numbers (a damaged file).
    """

    component: str
    layers: tuple[int, ...]
    scale: Any
    """Float32 array [layer width], heads side by side; None stands for 1."""
    shift: Any
    """Float32 array [layer width]; None stands for 0."""
    position: str
    """Where it acts unless a request says otherwise."""
    label: str
    model: ModelInfo
    dtype: str | None = None
    """Dtype of the model that it is meant for; None where that was left open."""
    digest: str = ""
    """Hash of component, layers and numbers; made where it is not given."""

    def __post_init__(self) -> None:
        require_fields(self)
        if self.dtype is not None:
            require_one_of("dtype", self.dtype, DTYPES)
        shape = (len(self.layers), width(self.model, self.component))
        if list(self.layers) != sorted({*self.layers}) or not all(
            0 <= layer < self.model.n_layers for layer in self.layers
        ):
            raise ValueError(
                f"layers must rise within [0, {self.model.n_layers - 1}], got {list(self.layers)}"
            )
        for name in ("scale", "shift"):
            values = getattr(self, name)
            if values is None:
                continue
            if not isinstance(values, np.ndarray):
                raise TypeError(f"{name} must be a NumPy array or None, got {short(values)}")
            if values.dtype != np.float32 or values.shape != shape:
                raise ValueError(
                    f"{name} must be float32 [layer width] = {shape}, got {values.dtype} {values.shape}"
                )
            if not np.isfinite(values).all():
                raise ValueError(f"{name} must be finite, got NaN or infinity")
        found = self._hash()
        if self.digest not in ("", found):
            raise ValueError(
                f"the table is damaged: its numbers have hash {found}, {self.digest} was written"
            )
        object.__setattr__(self, "digest", found)

    def _hash(self) -> str:
        digest = hashlib.sha256(repr((self.component, tuple(self.layers))).encode())
        for values in (self.scale, self.shift):
            digest.update(b"none" if values is None else np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:16]


def width(info: ModelInfo, component: str) -> int:
    """Values of one token's activation: heads lie side by side."""
    return math.prod(unit_shape(info, component))


def table_of(
    intervention: Intervention,
    *,
    model: HookedModel | ModelInfo | None = None,
    position: str = DEFAULT_POSITION,
    dtype: str | None = None,
) -> SteeringTable:
    """One intervention as a table; arguments and errors as in ``export_tables``."""
    if not isinstance(intervention, AffineIntervention):
        raise ValueError(
            f"{type(intervention).__name__} cannot be a table: it is not affine in the activation "
            "(A' = scale * A + shift), so numbers alone do not say what it does. MaskedScaling and fixed additions can"
        )
    made_on: ModelInfo | None = getattr(getattr(intervention, "mask", None), "model", None)
    info = made_on if model is None else ModelInfo.of(model)
    if info is None:
        raise ValueError(
            f"{intervention.label!r} does not record the model it was made on: pass model="
        )
    if made_on is not None and made_on.fingerprint != info.fingerprint:
        raise ValueError(
            f"{intervention.label!r} was made on {made_on.name} with weights {made_on.fingerprint}, not on "
            f"{info.name} with {info.fingerprint}; find it again on this model"
        )
    intervention.check(info)
    shape = (n_units(info, intervention.component), width(info, intervention.component))
    edits = [intervention.affine(layer) for layer in intervention.layers]
    parts: list[np.ndarray | None] = []
    for which, identity in ((0, 1.0), (1, 0.0)):
        values = np.full((len(edits), shape[1]), identity, dtype=np.float32)
        for row, edit in zip(values, edits, strict=True):
            part = edit[which]
            if part is not None:
                each = part.float().numpy()
                row[:] = np.broadcast_to(each, (shape[0], shape[1] // shape[0])).reshape(-1)
        parts.append(None if all(edit[which] is None for edit in edits) else values)
    if dtype is None and isinstance(model, HookedModel):
        dtype = str(model.cfg.dtype).removeprefix("torch.")
    return SteeringTable(
        component=intervention.component,
        layers=tuple(intervention.layers),
        scale=parts[0],
        shift=parts[1],
        position=position,
        label=intervention.label,
        model=info,
        dtype=dtype,
    )


@checked()
def export_tables(
    interventions: Mapping[str, Intervention],
    folder: Folder,
    *,
    model: HookedModel | ModelInfo | None = None,
    position: str = DEFAULT_POSITION,
    dtype: str | None = None,
) -> Path:
    """Write interventions as tables that ``sadi-lens serve`` and ``VLLMEngine`` apply by name.

    Args:
        interventions: Affine ones, by the name that a request will use (letters, digits, ``.``, ``_``, ``-``).
        folder: Appears when it is complete; one that this library wrote is replaced whole.
        model: The model that they are for; may be left out where every mask records it.
        position: Where they act when a request does not say.
        dtype: As ``"float32"``: refuse to serve them in another. Default that of ``model``, or any.

    Returns:
        The folder.

    Raises:
        ValueError: If there is none, a name cannot be used, an intervention is not affine, or its model is unknown
            or another.
        FileExistsError: If ``folder`` holds something that this library did not write.

    Example:
        >>> import sadi_lens as sl, tempfile
        >>> info = sl.types.ModelInfo("toy", "Toy", 2, 2, 4, 8, 16, "0123456789abcdef")
        >>> mask = sl.Mask.from_units("head", [(1, 0)], info)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = export_tables({"polite": sl.MaskedScaling(mask, 2.0)}, folder + "/tables")
        ...     read_tables(folder + "/tables")["polite"].scale.tolist()
        [[3.0, 3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0]]
    """
    if not interventions:
        raise ValueError("interventions must hold at least 1, got 0")
    require_one_of("position", position, POSITIONS)
    tables: dict[str, SteeringTable] = {}
    for name, one in interventions.items():
        if not NAME.fullmatch(str(name)):
            raise ValueError(
                f"a table's name must be 1 to 64 letters, digits, '.', '_' or '-', got {name!r}"
            )
        try:
            tables[name] = table_of(one, model=model, position=position, dtype=dtype)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return save(tables, folder)


@checked()
def read_tables(
    folder: Folder | Sequence[Folder],
    *,
    model: HookedModel | ModelInfo | None = None,
    dtype: str | None = None,
    allow_other_weights: bool = False,
) -> dict[str, SteeringTable]:
    """Read what ``export_tables`` wrote.

    Args:
        folder: One, or several whose names must differ.
        model: The model that they will steer; another one is refused.
        dtype: Its dtype; default that of a bridged ``model``. Tables for another one are refused.
        allow_other_weights: Accept a model of the same shape with other weights (a fine-tune, say).

    Raises:
        FileNotFoundError: If a folder holds no saved object.
        ValueError: If it is damaged, holds no tables or two of one name, or was made for another model, component or
            dtype.
    """
    if dtype is None and isinstance(model, HookedModel):
        dtype = str(model.cfg.dtype).removeprefix("torch.")
    folders = [folder] if isinstance(folder, str | Path) else folder
    if not folders:
        raise ValueError("folder must name at least 1 folder of tables, got none")
    found: dict[str, SteeringTable] = {}
    for path in (as_path("folder", one) for one in folders):
        for name, table in _read(path, model, allow_other_weights).items():
            if name in found:
                raise ValueError(f"two tables are called {name!r}; the second is in {path}")
            if dtype is not None and table.dtype not in (None, dtype):
                raise ValueError(
                    f"{path}: {name!r} is for a model in {table.dtype}, this one is in {dtype}, which gives other "
                    f"numbers; run the model in {table.dtype} or export again with dtype={dtype!r}"
                )
            found[name] = table
    return found


def _read(
    path: Path, model: HookedModel | ModelInfo | None, allow: bool
) -> dict[str, SteeringTable]:
    if (path / CONFIG).is_file():
        _require_unique_names(path / CONFIG)
    tables = load(path, model=model, allow_other_weights=allow)
    if not isinstance(tables, dict) or not all(
        isinstance(one, SteeringTable) for one in tables.values()
    ):
        kind = type(tables).__name__
        raise ValueError(
            f"{path} holds no tables but a {kind}; sl.serving.export_tables writes them"
        )
    if not tables:
        raise ValueError(f"{path} holds no table")
    for name in tables:
        if not NAME.fullmatch(name):
            raise ValueError(f"{path}: {name!r} cannot be the name of a table")
    return tables


def _require_unique_names(config: Path) -> None:
    """JSON keeps the last of two equal keys in silence."""

    def refuse_twice(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"{config} has two entries called {key!r}; it was edited by hand")
            found[key] = value
        return found

    try:
        json.loads(read_text(config), object_pairs_hook=refuse_twice)
    except json.JSONDecodeError as error:
        raise ValueError(f"{config} is not JSON: {error}") from error
