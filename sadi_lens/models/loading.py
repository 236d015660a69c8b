"""``load_model``: a Hub name, a local folder, the embedded model or a Hugging Face object -> a checked bridge.

The bridge is booted on a twin that shares the tensors, so the Hugging Face model stays as it was (``raw_model`` on the
bridge): it is what the self-check compares with and what an export starts from.
"""

import copy
import difflib
import logging
import os
import pickle  # for the name of its error; nothing is unpickled
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from sadi_lens.models._boot import (
    attach_tokenizer,
    boot_twin,
    eager_twin,
    first_device,
    refuse_unsupported,
    share_tensors,
)
from sadi_lens.models._choices import (
    as_dtype,
    choose_device,
    choose_dtype,
    prepare_tokenizer,
    require_files,
)
from sadi_lens.models._selfcheck import SelfCheck, self_check
from sadi_lens.types.model import HookedModel

logger = logging.getLogger(__name__)

EMBEDDED = {"tiny": Path(__file__).parent / "tiny"}
"""Models that come with the package."""


@dataclass(frozen=True)
class LoadRecord:
    """How a model was loaded: what was chosen, and what the self-check measured."""

    name: str
    source: str
    """Folder, Hub name or ``"object"``."""
    dtype: str
    device: str
    """Device of the embedding, or the ``device_map`` that was asked for."""
    pad_token: str
    """Token used for padding; its positions are masked."""
    notes: tuple[str, ...]
    """Choices made for the user, in words."""
    check: SelfCheck | None
    """None if ``self_check=False``."""


def load_record(model: HookedModel) -> LoadRecord:
    """How ``load_model`` loaded this model.

    Raises:
        ValueError: If the model was not loaded by ``load_model``.

    Example:
        >>> sl.models.load_record(model).check is not None
        True
    """
    record = model.__dict__.get("sadi_lens_load")
    if record is None:
        raise ValueError("this model was not loaded by load_model, so there is no record of it")
    return record


def load_model(
    name: str | os.PathLike[str] | Any,
    *,
    tokenizer: Any = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: Any = None,
    self_check: bool = True,
    revision: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
) -> Any:
    """A causal language model as a TransformerLens ``TransformerBridge`` in raw mode, checked against Hugging Face.

    The tokenizer pads on the left, and on the bridge it adds to a text what it adds by itself, no
    more. What was chosen is logged and kept (``load_record``); the Hugging Face model is kept as
    ``model.raw_model``.

    Args:
        name: ``"tiny"`` (comes with the package), a local folder, a Hugging Face Hub name, or a
            Hugging Face model object (used as it is, left as it was; needs ``tokenizer``).
        tokenizer: Instead of the model's own; a copy is used.
        dtype: Default: the checkpoint's own on CUDA, float16 or float32 on MPS, float32 on the CPU.
        device: Default: CUDA, else MPS, else the CPU.
        device_map: Passed to accelerate (``"auto"``, or module -> device) in place of ``device``.
        self_check: Compare with eager Hugging Face on a padded batch, and hook widths with the
            configuration.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run code that comes with a checkpoint.
        local_files_only: Do not ask the Hub; use its local cache.

    Returns:
        A ``TransformerBridge`` in eval mode; ``requires_grad`` is left as it was.

    Raises:
        FileNotFoundError: If a folder does not exist or lacks configuration, weights or tokenizer (each is named).
        OSError: If a Hub name cannot be reached or found.
        ValueError: If the model cannot be steered here (encoders, Falcon 40B class, unknown architectures).
        RuntimeError: If the self-check fails, with the numbers.

    Example:
        >>> model = sl.load_model("tiny")
        >>> model.cfg.n_layers, model.cfg.n_heads
        (5, 16)
    """
    notes: list[str] = []
    if isinstance(name, str | os.PathLike):
        source, label = _resolve(name)
        hub = {
            "revision": revision,
            "trust_remote_code": trust_remote_code,
            "local_files_only": local_files_only,
        }
        if Path(source).is_dir():
            require_files(Path(source), needs_tokenizer=tokenizer is None)
        model, own = _load_pretrained(
            source, label, tokenizer, dtype, device, device_map, hub, notes
        )
    else:
        model, own = _take_object(name, tokenizer, dtype, device, device_map)
        path = str(getattr(model, "name_or_path", "") or "")
        source, label = "object", Path(path).name or type(model).__name__
    pad = prepare_tokenizer(own, model, label, notes)

    bridge = boot_twin(model, label)
    attach_tokenizer(bridge, own)
    bridge.__dict__["raw_model"] = share_tensors(model).eval() if model.training else model
    bridge.__dict__["sadi_lens_name"] = label
    check = _check(bridge, model, notes) if self_check else None
    record = LoadRecord(
        name=label,
        source=source,
        dtype=str(bridge.cfg.dtype).removeprefix("torch."),
        device=str(first_device(model) if device_map is None else device_map),
        pad_token=pad,
        notes=tuple(notes),
        check=check,
    )
    bridge.__dict__["sadi_lens_load"] = record
    said = "; ".join(notes) or "nothing assumed"
    logger.info("loaded %s: %s on %s; %s", label, record.dtype, record.device, said)
    return bridge


def _check(bridge: Any, model: Any, notes: list[str]) -> SelfCheck:
    raw = bridge.__dict__["raw_model"]
    check = self_check(bridge, eager_twin(model), raw)
    if not check.default_attention <= check.tolerance:
        # Falcon with alibi (falcon-rw), transformers 5.23: eager attention adds the position bias twice (measured:
        # halving it gives sdpa's logits to 2e-6), and TransformerLens computes what eager does.
        notes.append(
            f"Hugging Face's {raw.config._attn_implementation} and eager attention disagree on this model by "
            f"{check.default_attention:.2g} standard deviations of a token's logits. TransformerLens "
            "computes the eager one: what is measured here is not what the default computes"
        )
        logger.warning("%s: %s", bridge.__dict__["sadi_lens_name"], notes[-1])
    return check


def _resolve(name: str | os.PathLike[str]) -> tuple[str, str]:
    """(what transformers loads, short name)."""
    text = os.fspath(name)
    if not text:
        raise ValueError("name must not be empty: give 'tiny', a folder or a Hugging Face name")
    if text in EMBEDDED:
        if not EMBEDDED[text].is_dir():
            raise FileNotFoundError(
                f"the embedded model {text!r} is missing from this installation ({EMBEDDED[text]}); "
                "install sadi_lens again"
            )
        return str(EMBEDDED[text]), text
    folder = Path(text).expanduser()
    if folder.is_dir():
        return str(folder), folder.resolve().name
    looks_local = isinstance(name, os.PathLike) or text.startswith((".", "~", os.sep))
    if looks_local or text.count("/") > 1:
        raise FileNotFoundError(f"there is no model folder {text!r}")
    close = difflib.get_close_matches(text.lower(), list(EMBEDDED), n=1, cutoff=0.75)
    if close:
        raise ValueError(
            f"unknown model {text!r}; did you mean {close[0]!r}? Otherwise pass a Hugging Face name or a folder"
        )
    return text, text


def _load_pretrained(
    source: str,
    label: str,
    tokenizer: Any,
    dtype: torch.dtype | str | None,
    device: torch.device | str | None,
    device_map: Any,
    hub: dict[str, Any],
    notes: list[str],
) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if device is not None and device_map is not None:
        raise ValueError(f"give device or device_map, not both (got {device!r} and {device_map!r})")
    try:
        config = AutoConfig.from_pretrained(source, **hub)
        refuse_unsupported(config, label, is_custom_code=hasattr(config, "auto_map"))
        if device_map is None:
            target = choose_device(device, notes)
            placement: dict[str, Any] = {}
        else:
            target = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            placement = {"device_map": device_map}
        wanted = choose_dtype(dtype, getattr(config, "dtype", None), target, notes)
        own = AutoTokenizer.from_pretrained(source, **hub) if tokenizer is None else tokenizer
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype=wanted, output_loading_info=True, **placement, **hub
        )
        model, report = loaded
    except OSError as error:
        if Path(source).is_dir():
            raise
        raise OSError(
            f"could not load {source!r} from the Hugging Face Hub: {str(error).splitlines()[0]} "
            "Without a connection pass a local folder that holds config.json, weights and tokenizer, or 'tiny', "
            "the model that comes with the package"
        ) from error
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"the weights of {label} ({source}) are a pickle that holds more than tensors; it was not run. Use "
            "*.safetensors, or save the weights alone"
        ) from error
    except (AttributeError, KeyError, TypeError, SafetensorError) as error:  # files of another form
        raise ValueError(
            f"{label} ({source}) cannot be loaded, a file of it is damaged or of another form: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    _require_every_weight(report, label, type(model).__name__)
    return (model if placement else model.to(target)), (
        own if tokenizer is None else copy.deepcopy(tokenizer)
    )


def _require_every_weight(report: dict[str, Any], label: str, architecture: str) -> None:
    """Transformers fills what a checkpoint lacks with random numbers and only warns."""
    lacking = sorted({*report["missing_keys"], *(str(one[0]) for one in report["mismatched_keys"])})
    if lacking:
        raise ValueError(
            f"the checkpoint of {label} lacks {len(lacking)} weights of {architecture} or has them in another "
            f"shape (first {lacking[0]!r}); they would be random numbers. Use the checkpoint of the language "
            "model itself"
        )


def _take_object(
    model: Any, tokenizer: Any, dtype: Any, device: Any, device_map: Any
) -> tuple[Any, Any]:
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            "load_model takes a name, a folder or a Hugging Face PreTrainedModel, "
            f"got {type(model).__name__}"
        )
    refuse_unsupported(model.config, type(model).__name__, is_custom_code=True)
    if tokenizer is None:
        raise ValueError(
            f"a model object needs its tokenizer: load_model({type(model).__name__} object, tokenizer=...)"
        )
    if device_map is not None:
        raise ValueError("a model object is used where it is; dispatch it before load_model")
    if dtype is not None and as_dtype(dtype) != model.dtype:
        raise ValueError(
            f"a model object is used as it is: it is {model.dtype}, got dtype={dtype}; "
            "convert it first with model.to(dtype)"
        )
    if device is not None and torch.device(device).type != first_device(model).type:
        raise ValueError(
            f"a model object is used as it is: it is on {first_device(model)}, got device={device}; "
            "move it first with model.to(device)"
        )
    return model, copy.deepcopy(tokenizer)
