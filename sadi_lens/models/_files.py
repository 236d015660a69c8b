"""Whether a model folder is whole: every part there, nothing cut, no Git LFS pointer in the place of a file.

Only the beginnings of files are read, so that a download that was cut is named before torch is imported.
"""

import json
from pathlib import Path

from sadi_lens.types.reading import read_text

_LFS = b"version https://git-lfs"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""What transformers looks for, each also in parts that ``.index.json`` names."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def require_files(folder: Path, *, needs_tokenizer: bool) -> None:
    """Refuse a folder that lacks a part or holds half of one, by name.

    Raises:
        FileNotFoundError: If configuration, weights or tokenizer are missing.
        ValueError: If a file is cut, a Git LFS pointer, or generation_config.json no JSON object.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"model folder {str(folder)!r} has no config.json")
    tokenizers = [folder / one for one in TOKENIZER_FILES if (folder / one).is_file()]
    ends = folder / "generation_config.json"
    for one in (config, *_weights(folder, config), *tokenizers, *[ends] * ends.is_file()):
        require_whole(one)
    _require_ends(ends)
    if needs_tokenizer and not tokenizers:
        raise FileNotFoundError(
            f"model folder {str(folder)!r} has no tokenizer (tokenizer.json or tokenizer.model); save it there "
            "with tokenizer.save_pretrained(folder), or pass tokenizer="
        )


def _require_ends(file: Path) -> None:
    """Refuse a generation_config.json that cannot be read: transformers would go on without its end-of-text tokens."""
    if not file.is_file():
        return
    try:
        is_object = isinstance(json.loads(read_text(file)), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise ValueError(
            f"{file} is cut or damaged: it is no JSON object; fetch it again, or remove it"
        )


def has_tokenizer(folder: str | Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return any((Path(folder) / one).is_file() for one in TOKENIZER_FILES)


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights of a whole model, or an index of them."""
    names = (*_WEIGHTS, *(f"{one}.index.json" for one in _WEIGHTS))
    return any((folder / one).is_file() for one in names)


def _weights(folder: Path, config: Path) -> list[Path]:
    """The files that transformers will read the weights from."""
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _parts(folder, index)
    if "transformers_weights" in read_text(config):  # a name of their own
        return []
    there = sorted(
        one.name for one in folder.iterdir() if one.suffix in (".safetensors", ".bin", ".pth")
    )
    beside = (
        f"; {', '.join(there[:3])} {'is' if len(there) == 1 else 'are'} there: fetch the index of the parts again, or "
        "give the file its name"
        if there
        else ""
    )
    raise FileNotFoundError(
        f"model folder {str(folder)!r} has no weights (*.safetensors or pytorch_model*.bin): neither "
        f"{' nor '.join(_WEIGHTS)}, nor an .index.json of either{beside}"
    )


def _parts(folder: Path, index: Path) -> list[Path]:
    require_whole(index)
    try:
        named = sorted({str(one) for one in json.loads(read_text(index))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{index} is cut or damaged: it names no files of weights ({type(error).__name__}: {error}); fetch it again"
        ) from error
    lacking = [one for one in named if not (folder / one).is_file()]
    if lacking:
        raise FileNotFoundError(
            f"model folder {str(folder)!r} lacks {len(lacking)} of {len(named)} files of weights that {index.name} "
            f"names (first {lacking[0]}); fetch the model again"
        )
    return [folder / one for one in named]


def require_whole(path: Path) -> None:
    """Refuse a file that is a Git LFS pointer, and a safetensors file that is cut.

    Raises:
        ValueError: With the file and what to do.
    """
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise ValueError(
                f"{path} is a Git LFS pointer, a short text in the place of the file: run `git lfs pull` in its "
                "folder, or fetch it again"
            )
    if path.suffix != ".safetensors":
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):  # the header against the size; no weight is read
            pass
    except SafetensorError as error:
        raise ValueError(
            f"{path} is cut or damaged ({error}; {path.stat().st_size:,} bytes); fetch it again"
        ) from error
