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

from sadi_lens.engine.hooks import Hook, attached
from sadi_lens.models._boot import first_device, n_embeddings, position_ids
from sadi_lens.types.model import COMPONENTS, ModelInfo, hook_name

TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 2e-1}
"""Largest root-mean-square difference at a token, in standard deviations of its logits.

Most architectures are bit-identical. Where TransformerLens splits a fused QKV the order of sums
differs: measured over eleven three-layer architectures at most 9e-7 (float32), 4e-3 (float16), 2e-2
(bfloat16), and rounding grows with the root of the depth. A wrongly wired model is at 1 or more.
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
    default_attention: float
    """``relative`` of Hugging Face's default attention against its eager one, which the bridge computes."""


@torch.inference_mode()
def self_check(bridge: Any, oracle: Any, raw: Any, *, seed: int = 0) -> SelfCheck:
    """Compare a bridge with an eager Hugging Face twin on a left-padded batch.

    Args:
        bridge: A raw-mode TransformerBridge.
        oracle: Hugging Face model with the same weights, eager attention, eval mode.
        raw: The same as the user would run it, with its default attention.
        seed: Of the random tokens; the global random state is not touched.

    Raises:
        RuntimeError: If logits or hook widths do not match, with the numbers.
        ValueError: If the model is not causal, or its logits are not finite in this dtype.
    """
    info = ModelInfo.of(bridge)
    where = f"{info.name} ({info.architecture}, {info.n_layers} layers, {bridge.cfg.dtype})"
    ids, mask = random_batch(oracle, int(bridge.cfg.n_ctx), seed)
    want = oracle(ids, attention_mask=mask, use_cache=False, **position_ids(oracle, mask)).logits
    real = mask.bool()
    tolerance = TOLERANCE.get(bridge.cfg.dtype, max(TOLERANCE.values()))
    if not bool(want[real].isfinite().all()):
        raise ValueError(
            f"{where}: Hugging Face's own logits are not finite. {_why_not_finite(raw)}"
        )
    leak = relative_difference(want[1, :-1], want[0, :-1])
    if leak > tolerance:
        raise ValueError(
            f"{where} is not a causal language model: changing the last token moves the logits before it by "
            f"{leak:.2g} standard deviations. sadi_lens steers decoder-only language models"
        )
    got, shapes = _run_with_hooks(bridge, info, ids, mask)
    _check_hooks(info, shapes, ids.shape, where)
    difference = float((got[real].float() - want[real].float()).abs().max())
    relative = relative_difference(got[real], want[real])
    if not relative <= tolerance:  # also refuses NaN
        raise RuntimeError(
            f"self-check failed for {where}: TransformerLens and Hugging Face logits differ by up to "
            f"{difference:.3g} ({relative:.2g} standard deviations at a token, tolerance {tolerance:g}). "
            "Every number measured on this bridge would be wrong. Use another architecture or another version of "
            "TransformerLens; self_check=False loads it all the same"
        )
    usual = raw(ids, attention_mask=mask, use_cache=False, **position_ids(raw, mask)).logits
    default = relative_difference(usual[real], want[real])
    return SelfCheck(difference, relative, tolerance, int(real.sum()), len(shapes), default)


def _why_not_finite(model: Any) -> str:
    """What makes logits NaN or infinite, and what to do."""
    if model.dtype != torch.float32:
        wider = "'float32'" if model.dtype == torch.bfloat16 else "'bfloat16' or 'float32'"
        return f"They overflow in {model.dtype}, or a weight is NaN. Load it with dtype={wider}"
    for name, weight in model.named_parameters():
        if not weight.is_meta and not bool(weight.isfinite().all()):
            return f"The weight {name!r} holds NaN or infinity: fetch or save the checkpoint again"
    return "All weights are finite: look for a number in config.json that is of another model"


def relative_difference(
    got: Float[Tensor, "token vocab"], want: Float[Tensor, "token vocab"]
) -> float:
    """Largest root-mean-square difference at a token, in standard deviations of its logits."""
    got, want = got.float(), want.float()
    spread = want.std(dim=-1).clamp(min=torch.finfo(torch.float32).tiny)
    return float(((got - want).square().mean(dim=-1).sqrt() / spread).max())


def random_batch(
    model: Any, n_ctx: int, seed: int
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """Random tokens that every model takes, padded on the left, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    vocab = n_embeddings(model)
    if n_ctx < 1:
        raise ValueError(
            f"the model has a context of {n_ctx} tokens (max_position_embeddings in config.json); it must be at least 1"
        )
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
    """Logits, and the shapes seen at every hook point."""
    shapes: dict[tuple[str, int], list[tuple[int, ...]]] = {
        (component, layer): []
        for component in COMPONENTS
        # Mixture of experts: no neurons to hook, n_units refuses them.
        if component != "neuron" or info.d_mlp
        for layer in range(info.n_layers)
    }

    def noting(seen: list[tuple[int, ...]]) -> Hook:
        def hook_fn(tensor: Tensor, hook: Any) -> None:
            seen.append(tuple(tensor.shape))

        return hook_fn

    names = {key: hook_name(*key) for key in shapes}
    hooks = [
        (names[key], noting(seen))
        for key, seen in shapes.items()
        if bridge.get_hook_point(names[key]) is not None
    ]
    with attached(bridge, hooks):
        logits = bridge(ids, attention_mask=mask, use_cache=False)
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
