"""What the user named: an embedded or known model, a folder, a GGUF file or a Hub name. Nothing heavy is imported."""

import difflib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sadi_lens.models._files import has_weights, require_whole
from sadi_lens.models.known import EMBEDDED, KNOWN, KnownModel
from sadi_lens.types.checks import as_path
from sadi_lens.types.reading import read_text

_GGUF_MAGIC = b"GGUF"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_HUB_CACHE = re.compile(r"models--(?P<id>.+)")
_MODEL_FILES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".json")


@dataclass(frozen=True)
class Source:
    """Where a model is to be had."""

    name: str
    """What it is called in results."""
    place: str
    """Folder, file, or Hub name."""
    kind: str
    """``"folder"``, ``"gguf"``, ``"known"``, ``"adapter"`` or ``"hub"``."""

    @property
    def known(self) -> KnownModel:
        """Its row in the table of known models."""
        return KNOWN[self.place]


@dataclass(frozen=True)
class Plan:
    """What to load, once it is known where everything lies."""

    name: str
    base: Source
    """A folder or a Hub name."""
    tokenizer: str
    """Folder or Hub name of the tokenizer."""
    adapter: str | None
    """Folder of an adapter that is merged into the base."""
    licence: str

    @property
    def place(self) -> str:
        """Where it was found."""
        return self.adapter or self.base.place


def resolve(name: str | os.PathLike[str]) -> Source:
    """What ``name`` stands for; a Hub name is not looked up.

    Raises:
        FileNotFoundError: If a file or folder does not exist.
        ValueError: If the name is empty, nearly a short name, or none that can be meant.
    """
    text = os.fspath(name)
    if not text:
        raise ValueError(
            f"name must not be empty: give one of {_short_names()}, a folder, a GGUF file or a Hugging Face name"
        )
    if text in EMBEDDED:
        if not EMBEDDED[text].is_dir():
            raise FileNotFoundError(
                f"the embedded model {text!r} is missing from this installation ({EMBEDDED[text]}); "
                "install sadi_lens again"
            )
        return Source(text, str(EMBEDDED[text]), "folder")
    if text in KNOWN:
        return Source(text, text, "known")
    path = as_path("name", text) if text.startswith("~") else Path(text)
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _file(path)
    looks_local = isinstance(name, os.PathLike) or text.startswith((".", "~", os.sep))
    if looks_local or text.count("/") > 1 or path.suffix in _MODEL_FILES:
        raise FileNotFoundError(
            f"there is no model folder {text!r}, and no GGUF file of that name{_near(path)}"
        )
    close = difflib.get_close_matches(text.lower(), [*EMBEDDED, *KNOWN], n=1, cutoff=0.7)
    if close:
        raise ValueError(
            f"unknown model {text!r}; did you mean {close[0]!r}? Otherwise pass a Hugging Face name or a folder"
        )
    if not _HUB_ID.fullmatch(text):
        raise ValueError(
            f"{text!r} is neither a folder nor a name on the Hugging Face Hub (owner/name); short names: "
            f"{_short_names()}"
        )
    return Source(text, text, "hub")


def _short_names() -> str:
    return ", ".join(repr(one) for one in (*EMBEDDED, *KNOWN))


def _near(path: Path) -> str:
    """A file or folder beside it whose name is nearly that, or that it is a link to nothing."""
    if path.is_symlink():
        return f"; it is a link to {str(path.readlink())!r}, which is not there"
    try:
        there = [one.name for one in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, there, n=1, cutoff=0.75)
    return f"; did you mean {str(path.parent / close[0])!r}?" if close else ""


def _folder(path: Path) -> Source:
    # Some trainers save the base model's config.json beside an adapter.
    if (path / "adapter_config.json").is_file():
        if has_weights(path):  # transformers would put the adapter on top of them, merged or not
            raise ValueError(
                f"model folder {str(path)!r} holds whole weights and an adapter, and does not say which of them is the "
                "model: move adapter_config.json and adapter_model.* to a folder of their own, and load either"
            )
        return Source(path.resolve().name, str(path), "adapter")
    if (path / "config.json").is_file():
        return Source(_folder_name(path), str(path), "folder")
    ggufs = sorted(path.glob("*.gguf"))
    if len(ggufs) == 1:
        return Source(ggufs[0].stem, str(ggufs[0]), "gguf")
    if ggufs:
        raise ValueError(
            f"model folder {str(path)!r} holds {len(ggufs)} GGUF files; name one of them: "
            f"{', '.join(one.name for one in ggufs)}"
        )
    return Source(path.resolve().name, str(path), "folder")


def _folder_name(path: Path) -> str:
    """Its Hub name where the folder is a snapshot in the Hub's cache (whose own name is a commit), else its name."""
    resolved = path.absolute()
    if resolved.parent.name == "snapshots":
        cached = _HUB_CACHE.fullmatch(resolved.parent.parent.name)
        if cached:
            return cached["id"].replace("--", "/")
    return path.resolve().name


def _file(path: Path) -> Source:
    with path.open("rb") as file:
        is_gguf = file.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC
    if is_gguf:
        return Source(path.stem, str(path), "gguf")
    if path.suffix == ".gguf":
        raise ValueError(
            f"{str(path)!r} is not a GGUF file: it does not begin with GGUF. Fetch it again (a Git LFS pointer "
            "is a short text file)"
        )
    raise ValueError(
        f"{str(path)!r} is a file; load_model takes a folder (config.json, weights, tokenizer) or a GGUF file"
    )


def adapter_base(folder: str) -> str:
    """The model that an adapter's folder says it belongs to.

    Raises:
        FileNotFoundError: If the folder has no weights.
        ValueError: If it names no model.
    """
    weights = sorted(Path(folder).glob("adapter_model.*"))
    if not weights:
        raise FileNotFoundError(f"adapter folder {folder!r} has no weights (adapter_model.*)")
    for one in weights:
        require_whole(one)
    file = Path(folder) / "adapter_config.json"
    try:
        base = json.loads(read_text(file)).get("base_model_name_or_path")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file} is not a JSON object: {error}") from error
    if not isinstance(base, str) or not base:
        raise ValueError(
            f"{file} does not name its base model (base_model_name_or_path); write the base model's folder or Hub "
            "name there"
        )
    return base
