"""Names, folders and Hugging Face objects -> a Hugging Face model with its tokenizer -> a checked bridge.

The bridge is booted on a twin that shares the tensors, so the Hugging Face model stays as it was (``raw_model`` on the
bridge): it is what the self-check compares with and what an export starts from.
"""

import copy
import json
import logging
import pickle  # for the name of its error; nothing is unpickled
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from sadi_lens.engine.runner import own_dtype
from sadi_lens.models._boot import (
    attach_tokenizer,
    boot_twin,
    eager_twin,
    first_device,
    refuse_unsupported,
    share_tensors,
)
from sadi_lens.models._choices import (
    FLOAT64,
    as_device,
    as_dtype,
    choose_device,
    choose_dtype,
    prepare_tokenizer,
    require_ends,
)
from sadi_lens.models._names import Plan
from sadi_lens.models._parts import (
    is_vision_language,
    merge_adapter,
    pickle_refused,
    require_text_side,
    text_side,
)
from sadi_lens.models._record import LoadRecord
from sadi_lens.models._selfcheck import SelfCheck, self_check
from sadi_lens.types.model import Kept
from sadi_lens.types.wording import short

logger = logging.getLogger(__name__)
_OF_ANOTHER_FORM = (
    *(AttributeError, KeyError, TypeError, SafetensorError, StrictDataclassError),
    *(json.JSONDecodeError, UnicodeDecodeError, ZeroDivisionError),
)
"""What transformers and tokenizers raise for files that are damaged or contradict each other."""
_CONSTANTS = re.compile(r"(\.attn|\.attention)\.(masked_)?bias$|\.inv_freq$|\.position_ids$")
"""Masks and positions that older versions of transformers saved with the weights (GPT-2, GPT-Neo, GPT-J)."""


def bridge_from(
    model: Any,
    tokenizer: Any,
    *,
    label: str,
    source: str,
    licence: str,
    placed: Any,
    check: bool,
    notes: list[str],
) -> Any:
    """A checked bridge around a Hugging Face model, with the record of how it was loaded.

    Args:
        model: Left as it is.
        tokenizer: A copy of the user's own; it is changed.
        label: What the model is called.
        source: Folder, Hub name or ``"object"``.
        licence: Of the weights, where it is known.
        placed: ``device_map``, if one was asked for.
        check: Run the self-check.
        notes: Choices made so far.
    """
    pad = prepare_tokenizer(tokenizer, model, label, notes)
    require_ends(model, label, notes)
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if has_template:
        notes.append("it has a chat template: sl.tasks.with_chat_template(task, model.tokenizer)")
    if licence:
        notes.append(f"weights under {licence}")
    bridge = boot_twin(model, label)
    attach_tokenizer(bridge, tokenizer)
    bridge.__dict__["raw_model"] = share_tensors(model).eval() if model.training else model
    Kept.of(bridge).name = label
    checked = _check(bridge, model, notes) if check else None
    record = LoadRecord(
        name=label,
        source=source,
        dtype=str(bridge.cfg.dtype).removeprefix("torch."),
        device=str(first_device(model) if placed is None else placed),
        pad_token=pad,
        has_chat_template=has_template,
        licence=licence,
        notes=tuple(notes),
        check=checked,
    )
    Kept.of(bridge).record = record
    said = "; ".join(notes) or "nothing assumed"
    logger.info("loaded %s: %s on %s; %s", label, record.dtype, record.device, said)
    return bridge


def _check(bridge: Any, model: Any, notes: list[str]) -> SelfCheck:
    raw = bridge.__dict__["raw_model"]
    with own_dtype(bridge):
        check = self_check(bridge, eager_twin(model), raw)
    if not check.default_attention <= check.tolerance:
        # Falcon with alibi (falcon-rw), transformers 5.23: eager attention adds the position bias twice (measured:
        # halving it gives sdpa's logits to 2e-6), and TransformerLens computes what eager does.
        notes.append(
            f"Hugging Face's {raw.config._attn_implementation} and eager attention disagree on this model by "
            f"{check.default_attention:.2g} standard deviations of a token's logits. TransformerLens "
            "computes the eager one: what is measured here is not what the default computes"
        )
        logger.warning("%s: %s", Kept.of(bridge).name, notes[-1])
    return check


def load_pretrained(
    plan: Plan,
    tokenizer: Any,
    dtype: torch.dtype | str | None,
    device: torch.device | str | None,
    device_map: Any,
    hub: dict[str, Any],
    notes: list[str],
) -> tuple[Any, Any]:
    """A Hugging Face model and its tokenizer, from a folder or the Hub, with an adapter merged into it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    place, label = plan.base.place, plan.base.name
    if device is not None and device_map is not None:
        raise ValueError(f"give device or device_map, not both (got {device!r} and {device_map!r})")
    try:
        config = AutoConfig.from_pretrained(place, **hub)
        has_images = _require_supported(config, label, notes)
        _require_settings(place, label, hub)
        placement: dict[str, Any] = {} if device_map is None else {"device_map": device_map}
        target = choose_device(device, notes, is_placed=bool(placement))
        wanted = choose_dtype(dtype, getattr(config, "dtype", None), target, notes)
        own = _own_tokenizer(plan.tokenizer, hub) if tokenizer is None else tokenizer
        options = {"dtype": wanted, "output_loading_info": True, **placement, **hub}
        options["ignore_mismatched_sizes"] = True  # they are refused below, by name
        read: Any = text_side if has_images else AutoModelForCausalLM.from_pretrained
        with warnings.catch_warnings():  # of a pickle that is refused anyway
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            model, report = read(place, **options)
    except OSError as error:
        if plan.base.kind == "folder":
            raise
        raise OSError(
            f"could not load {place!r} from the Hugging Face Hub: {str(error).splitlines()[0]} "
            "Without a connection pass a local folder that holds config.json, weights and tokenizer, or 'tiny', "
            "the model that comes with the package"
        ) from error
    except pickle.UnpicklingError as error:
        raise ValueError(pickle_refused(f"{label} ({place})")) from error
    except _OF_ANOTHER_FORM as error:
        raise ValueError(
            f"{label} ({place}) cannot be loaded, a file of it is damaged or of another form: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    require_every_weight(report, label, type(model).__name__)
    _note_unused(report, label, notes)
    if plan.adapter is not None:
        model = merge_adapter(model, plan.adapter)
        notes.append(f"the adapter {plan.name} merged into {label}")
    return (model if placement else model.to(target)), (
        own if tokenizer is None else copy.deepcopy(tokenizer)
    )


def _require_settings(place: str, label: str, hub: dict[str, Any]) -> None:
    """Refuse settings of generation that transformers does not load, though ``generate`` would not apply them."""
    from transformers import GenerationConfig

    options: dict[str, Any] = {key: hub[key] for key in ("revision", "local_files_only")}
    for file in ("generation_config.json", "config.json"):  # as transformers looks for them
        try:
            GenerationConfig.from_pretrained(place, config_file_name=file, **options)
        except OSError:
            options["_from_model_config"] = True
        except (TypeError, ValueError) as error:
            said = " ".join(str(error).split()).rstrip(".")
            raise ValueError(
                f"transformers refuses the settings of generation in {file} of {label}: {said}. Take them out "
                f"of {file} (of all of them only the end-of-text tokens count here) and pass what you want to generate"
            ) from error
        else:
            return


def _own_tokenizer(place: str, hub: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place, **hub)
    except (OSError, ImportError):  # it names the package that it needs
        raise
    except Exception as error:  # transformers and tokenizers raise many kinds
        raise ValueError(
            f"the tokenizer of {place} cannot be loaded, a file of it is missing or damaged: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}. Save it there with tokenizer.save_pretrained(folder), or pass "
            "tokenizer="
        ) from error


def _note_unused(report: dict[str, Any], label: str, notes: list[str]) -> None:
    """Say that a checkpoint holds more than its configuration has a place for, such as more layers."""
    unused = sorted(one for one in report["unexpected_keys"] if not _CONSTANTS.search(one))
    if unused:
        notes.append(
            f"{len(unused)} weights of the checkpoint of {label} have no place in its configuration and are left out "
            f"(first {unused[0]!r})"
        )
        warnings.warn(
            f"{notes[-1]}. If they are layers of the model, config.json is of another one, and so is what was loaded",
            stacklevel=5,
        )


def _require_supported(config: Any, label: str, notes: list[str]) -> bool:
    """Whether it is a vision-language model, whose text side is to be taken."""
    if not is_vision_language(config):
        refuse_unsupported(config, label, is_custom_code=hasattr(config, "auto_map"))
        return False
    require_text_side(config, label)
    notes.append(f"the text side of a vision-language model ({type(config).__name__})")
    return True


def require_every_weight(report: dict[str, Any], label: str, architecture: str) -> None:
    """Refuse a checkpoint that lacks weights: transformers fills them with random numbers and only warns."""
    lacking = sorted({*report["missing_keys"], *(str(one[0]) for one in report["mismatched_keys"])})
    if lacking:
        raise ValueError(
            f"the checkpoint of {label} lacks {len(lacking)} weights of {architecture} or has them in another "
            f"shape (first {lacking[0]!r}); they would be random numbers. Use the checkpoint of the language "
            "model itself, with its own config.json"
        )


def take_object(
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
    if model.dtype == torch.float64:
        raise ValueError(f"{FLOAT64}; convert the model first with model.float()")
    if device_map is not None:
        raise ValueError(
            f"device_map must be None for a model object, which is used where it is, got {short(device_map)}; "
            "dispatch it before load_model"
        )
    if dtype is not None and as_dtype(dtype) != model.dtype:
        raise ValueError(
            f"a model object is used as it is: it is {model.dtype}, got dtype={dtype}; "
            "convert it first with model.to(dtype)"
        )
    if device is not None and as_device(device).type != first_device(model).type:
        raise ValueError(
            f"a model object is used as it is: it is on {first_device(model)}, got device={device}; "
            "move it first with model.to(device)"
        )
    return model, copy.deepcopy(tokenizer)


def object_name(model: Any) -> str:
    """What a model object is called: the last part of where it came from, else its class."""
    path = str(getattr(model, "name_or_path", "") or "")
    return Path(path).name or type(model).__name__
