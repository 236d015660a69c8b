"""GGUF files: read once with transformers, kept as an ordinary model folder in the user's cache.

Weights of a few bits become float32 exactly as transformers dequantizes them; the folder takes 4 bytes a weight. It
is written beside its place and moved there with a mark that holds the file's checksum.
"""

import copy
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from sadi_lens.models._names import Source
from sadi_lens.types.files import partial

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "SADI_LENS_CACHE"
"""Environment variable that names another folder for converted weights."""
MARK = "sadi_lens_model.json"
LIKE_LLAMA_3 = (
    "llama3",
    "llama-v3",
    "llama-bpe",
    "tekken",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
)
"""Kinds of tokenizers (``tokenizer.ggml.pre``) that put a BOS token before a text unless the file says otherwise, and
leave a word whole that is a token."""
_FORMAT = 2
"""1: files were not looked at for what transformers leaves out."""
_BYTES = 4
_ROOM_BESIDE = 32 << 20
"""Bytes for tokenizer and configuration."""


def cache_folder() -> Path:
    """Where converted weights are kept: ``$SADI_LENS_CACHE``, else the system's place for a user's cache."""
    import platformdirs

    named = os.environ.get(CACHE_VARIABLE)
    base = Path(named).expanduser() if named else platformdirs.user_cache_path("sadi_lens")
    return base / "models"


def converted(source: Source) -> Path:
    """The model folder made from a GGUF file, or from the parts of a known model; it is made where there is none.

    Raises:
        FileNotFoundError: If a known model's package is missing, with the line that installs it.
        OSError: If the cache folder cannot be written or has too little room.
        ValueError: If the file is cut, changed or of an architecture that transformers cannot read.
    """
    if source.kind == "known":
        known = source.known
        target = _target(source.name, known.sha256)
        if _is_complete(target, known.sha256):
            return target
        parts, wanted = known.find(), known.sha256
    else:
        parts = (Path(source.place),)
        wanted = _checksum(parts, None)
        target = _target(source.name, wanted)
        if _is_complete(target, wanted):
            return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(target.parent / ".lock")):
            if not _is_complete(target, wanted):
                _convert(source, parts, wanted, target)
    except OSError as error:
        if error.filename is not None or error.errno is not None:
            raise OSError(
                f"converted weights of {source.name!r} cannot be written to {target.parent}: "
                f"{error.strerror or error}. Set {CACHE_VARIABLE} to a folder that can be written"
            ) from error
        raise
    return target


def _target(name: str, checksum: str) -> Path:
    plain = re.sub(r"[^\w.-]", "_", name)
    return cache_folder() / f"{plain}-{checksum[:12]}-v{_FORMAT}"


def _is_complete(target: Path, checksum: str) -> bool:
    if not target.exists():
        return False
    try:
        mark = json.loads((target / MARK).read_text(encoding="utf-8"))
        same = mark["sha256"] == checksum
        sizes = {name: (target / name).stat().st_size for name in mark["sizes"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{target} is not a whole converted model ({error}); remove it, and it is made again"
        ) from error
    if not same or sizes != mark["sizes"]:
        raise ValueError(
            f"{target} was cut or changed after it was made (sizes {sizes}, made with {mark['sizes']}); remove it, and "
            "it is made again"
        )
    return True


def _checksum(parts: Sequence[Path], joined: Path | None) -> str:
    """SHA-256 of the parts put together, which are written to ``joined`` where it is given."""
    digest = hashlib.sha256()
    out = joined.open("wb") if joined else None
    try:
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
                    if out:
                        out.write(block)
    finally:
        if out:
            out.close()
    return digest.hexdigest()


def _convert(source: Source, parts: Sequence[Path], wanted: str, target: Path) -> None:
    work = partial(target)
    (work / "model").mkdir(parents=True)
    try:
        joined = work / "joined.gguf" if len(parts) > 1 else None
        found = _checksum(parts, joined)
        if found != wanted:
            again = f"install it again: {source.known.install}" if source.kind == "known" else ""
            raise ValueError(
                f"{parts[0].name} of {source.name!r} was cut or changed: its SHA-256 is {found}, must be {wanted}; "
                f"{again or 'it was written to while it was read'}"
            )
        file = joined or parts[0]
        _require_room(file, source.name, target.parent)
        logger.info("converting %s for the first time (about a minute)", source.name)
        _write_folder(file, work / "model")
        mark = {
            "name": source.name,
            "sha256": wanted,
            "licence": source.known.licence if source.kind == "known" else "",
            "sizes": {one.name: one.stat().st_size for one in sorted((work / "model").iterdir())},
        }
        text = json.dumps(mark, indent=1, ensure_ascii=False) + "\n"
        (work / "model" / MARK).write_text(text, encoding="utf-8")
        (work / "model").replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _require_room(file: Path, name: str, folder: Path) -> None:
    """Refuse a file that is cut, in pieces, or whose weights do not fit on the disk."""
    from gguf import GGUFReader

    try:
        reader: Any = GGUFReader(file)
        weights = sum(int(one.n_elements) for one in reader.tensors)
        pieces = reader.fields.get("split.count")
        n_pieces = 1 if pieces is None else int(pieces.parts[pieces.data[0]][0])
    except Exception as error:
        raise ValueError(
            f"the GGUF file of {name!r} is cut or damaged ({type(error).__name__}: {error}); fetch it again"
        ) from error
    if n_pieces > 1:
        raise ValueError(
            f"the GGUF file of {name!r} is one of {n_pieces} pieces; join them first (llama-gguf-split --merge)"
        )
    needed, free = _BYTES * weights + _ROOM_BESIDE, shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"no room for the converted weights of {name!r}: {needed / 1e6:,.0f} MB are needed in {folder}, "
            f"{free / 1e6:,.0f} MB are free. Set {CACHE_VARIABLE} to a folder on another disk"
        )


def _write_folder(file: Path, folder: Path) -> None:
    """Model and tokenizer as transformers reads them, without the mark of quantization that it refuses to save."""
    import torch
    from transformers import AutoModelForCausalLM

    from sadi_lens.models._gguf_whole import require_all_read
    from sadi_lens.models._pretrained import require_every_weight

    try:
        tokenizer = _tokenizer(file)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:
        raise ValueError(
            f"transformers cannot read this GGUF file ({_architecture(file)}): {type(error).__name__}: {error}"
        ) from error
    model, report = loaded
    require_every_weight(report, file.name, type(model).__name__)
    require_all_read(file, model)
    config = copy.deepcopy(model.config)
    del config.quantization_config
    with torch.device("meta"):
        plain = type(model)(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(file: Path) -> Any:
    """The file's tokenizer, with what its kind means to llama.cpp where the file does not say otherwise."""
    from transformers import AutoTokenizer

    if _field(file, "tokenizer.ggml.pre") not in LIKE_LLAMA_3:
        return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer: Any = AutoTokenizer.from_pretrained(
        file.parent, gguf_file=file.name, add_bos_token=True
    )
    tokenizer.backend_tokenizer.model.ignore_merges = True
    return tokenizer


def _architecture(file: Path) -> str:
    found = _field(file, "general.architecture")
    return "no architecture named" if found is None else f"architecture {found}"


def _field(file: Path, name: str) -> Any:
    from gguf import GGUFReader

    field: Any = GGUFReader(file).fields.get(name)
    return None if field is None else field.contents()
