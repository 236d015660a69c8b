"""The check that every loaded model passes: the bridge computes what Hugging Face computes, hook by hook.

TransformerLens boots some architectures silently wrong (Falcon 40B class in 4.3: off by more than two standard
deviations of the logits). So each load compares, on one left-padded batch of random tokens, bridge logits with
eager Hugging Face logits, and the widths at the hook points with the configuration.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadi_lens.components import COMPONENTS, hook_name
from sadi_lens.models._boot import first_device, n_embeddings, position_ids
from sadi_lens.types import ModelInfo

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest root-mean-square difference at a token, in standard deviations of its logits.

Measured on right models: at most 1e-6 in float32 and 2e-3 in float16 (equal but for the order of sums of a split
QKV); a wrong one is at 1 or more. The bounds leave room for depth and TF32, and are about 100 roundings of each type.
"""
LENGTHS = (12, 12, 7)
"""Real tokens of the rows; the second differs from the first in its last token only."""


@dataclass(frozen=True)
class SelfCheck:
    """What was measured when the model was loaded."""

    max_difference: float
    """Largest difference of a logit, bridge against eager Hugging Face (logit units)."""
    relative: float
    """Largest root-mean-square difference at a token, in standard deviations of its logits."""
    tolerance: float
    """Bound on ``relative``, by dtype."""
    n_tokens: int
    """Real tokens compared, in a left-padded batch."""
    hook_points: int
    """Hook points found, each run once with the width that the configuration says."""


@torch.inference_mode()
def self_check(bridge: Any, oracle: Any, *, seed: int = 0) -> SelfCheck:
    """Compare a bridge with an eager Hugging Face twin on a left-padded batch.

    Args:
        bridge: A raw-mode TransformerBridge.
        oracle: Hugging Face model with the same weights, eager attention, eval mode.
        seed: Of the random tokens; the global random state is not touched.

    Raises:
        RuntimeError: If logits or hook widths do not match, with the numbers.
        ValueError: If the model is not causal, or its logits are not finite in this dtype.
    """
    info = ModelInfo.of(bridge)
    where = f"{info.name} ({info.architecture}, {info.n_layers} layers, {bridge.cfg.dtype})"
    ids, mask = _batch(oracle, int(bridge.cfg.n_ctx), seed)
    want = oracle(ids, attention_mask=mask, use_cache=False, **position_ids(oracle, mask)).logits
    real = mask.bool()
    tolerance = TOLERANCE.get(bridge.cfg.dtype, max(TOLERANCE.values()))
    if not bool(want[real].isfinite().all()):
        raise ValueError(
            f"{where}: Hugging Face's own logits are not finite in this dtype. Load it with "
            "dtype='bfloat16' or 'float32'"
        )
    leak = _relative(want[1, :-1], want[0, :-1])
    if leak > tolerance:
        raise ValueError(
            f"{where} is not a causal language model: changing the last token moves the logits before it by "
            f"{leak:.2g} standard deviations. sadi_lens steers decoder-only language models"
        )
    got, shapes = _run_with_hooks(bridge, info, ids, mask)
    _check_hooks(info, shapes, ids.shape, where)
    difference = float((got[real].float() - want[real].float()).abs().max())
    relative = _relative(got[real], want[real])
    if not relative <= tolerance:  # also refuses NaN
        raise RuntimeError(
            f"self-check failed for {where}: TransformerLens and Hugging Face logits differ by up to "
            f"{difference:.3g} ({relative:.2g} standard deviations at a token, tolerance {tolerance:g}). "
            "Every number measured on this bridge would be wrong. Use another architecture or another version of "
            "TransformerLens; self_check=False loads it all the same"
        )
    return SelfCheck(difference, relative, tolerance, int(real.sum()), len(shapes))


def _relative(got: Float[Tensor, "token vocab"], want: Float[Tensor, "token vocab"]) -> float:
    got, want = got.float(), want.float()
    spread = want.std(dim=-1).clamp(min=torch.finfo(torch.float32).tiny)
    return float(((got - want).square().mean(dim=-1).sqrt() / spread).max())


def _batch(
    model: Any, n_ctx: int, seed: int
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    generator = torch.Generator().manual_seed(seed)
    vocab = n_embeddings(model)
    lengths = [min(length, n_ctx) for length in LENGTHS]
    ids = torch.randint(0, vocab, (len(lengths), max(lengths)), generator=generator)
    ids[1] = ids[0]
    ids[1, -1] = (ids[0, -1] + 1) % vocab
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        mask[row, -length:] = 1
    device = first_device(model)
    return ids.to(device), mask.to(device)


def _run_with_hooks(
    bridge: Any, info: ModelInfo, ids: Tensor, mask: Tensor
) -> tuple[Tensor, dict[tuple[str, int], list[tuple[int, ...]]]]:
    """Logits, and the shapes seen at every hook point (own handles, taken off again)."""
    shapes: dict[tuple[str, int], list[tuple[int, ...]]] = {}
    handles: list[tuple[Any, Any]] = []
    try:
        for component in COMPONENTS:
            if component == "neuron" and not info.d_mlp:
                continue  # mixture of experts: n_units refuses "neuron"
            for layer in range(info.n_layers):
                seen = shapes.setdefault((component, layer), [])
                point = bridge.get_hook_point(hook_name(component, layer))
                if point is None:
                    continue

                def note(tensor: Tensor, hook: Any, seen: list[tuple[int, ...]] = seen) -> None:
                    seen.append(tuple(tensor.shape))

                point.add_hook(note)
                handles.append((point, point.fwd_hooks[-1]))
        logits = bridge(ids, attention_mask=mask, use_cache=False)
    finally:
        for point, handle in handles:
            handle.hook.remove()
            point.fwd_hooks[:] = [one for one in point.fwd_hooks if one is not handle]
    return logits, shapes


def _check_hooks(
    info: ModelInfo,
    shapes: dict[tuple[str, int], list[tuple[int, ...]]],
    batch_pos: torch.Size,
    where: str,
) -> None:
    widths = {
        "head": (info.n_heads, info.d_head),
        "hidden": (info.d_model,),
        "mlp_out": (info.d_model,),
        "neuron": (info.d_mlp,),
    }
    for (component, layer), seen in shapes.items():
        expected = (*batch_pos, *widths[component])
        if seen != [expected]:
            found = "is missing" if not seen else f"gave {', '.join(map(str, seen))}"
            raise RuntimeError(
                f"self-check failed for {where}: hook point {hook_name(component, layer)!r} ({component}) {found} "
                f"where the configuration says one tensor of shape {expected}. This architecture cannot be "
                "steered unit by unit through TransformerLens; self_check=False loads it all the same"
            )
