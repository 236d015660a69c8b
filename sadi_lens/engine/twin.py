"""Whether the Hugging Face model behind a bridge has its activations in the same places, and computes the same."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from sadi_lens.engine.passes import branches, device_of
from sadi_lens.engine.prefix import prefill, run_copies, run_rows
from sadi_lens.engine.text import EncodedItem
from sadi_lens.types.model import COMPONENTS, HookedModel, ModelInfo, hook_name

logger = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4, torch.float16: 5e-2, torch.bfloat16: 2e-1}
"""Largest root-mean-square difference of an activation or logit from the bridge's, as a share of its own size."""


class Site(NamedTuple):
    """A hook point as a place in the Hugging Face model."""

    module: Any
    is_input: bool
    """The first argument of the module; otherwise its (first) output."""


def input_rows(module: Any) -> Tensor:
    """Weight of a linear module as [in out], float32; Conv1D (GPT-2) keeps it so, Linear and its kin [out in].

    Raises:
        ValueError: If an adapter adds to it: the weight alone is not what the module multiplies by.
    """
    if hasattr(module, "base_layer"):  # as peft wraps it
        raise ValueError(
            f"this needs the weights themselves, and the model carries an adapter ({type(module).__name__}) that is "
            "not merged into them; merge it (peft: model.merge_and_unload()) and load the model again"
        )
    weight = module.weight.detach().float()
    return weight if type(module).__name__ == "Conv1D" else weight.T


def sites_of(model: Any) -> dict[tuple[str, int], Site] | None:
    """(component, layer) -> its place in the Hugging Face model; None where one has no place there."""
    info = ModelInfo.of(model)
    modules = dict(model.__dict__["raw_model"].named_modules())
    # A wrapped module stands in the bridge under several paths; one of them is its own in Hugging Face.
    places = model.original_model.named_modules(remove_duplicate=False)
    clean = ((id(one), name.replace("._original_component", "")) for name, one in places)
    home = {key: modules[name] for key, name in clean if name in modules}
    bridged = dict(model.named_modules(remove_duplicate=False))
    sites: dict[tuple[str, int], Site] = {}
    for layer in range(info.n_layers):
        for component in COMPONENTS:
            if component == "neuron" and not info.d_mlp:
                continue
            point = model.get_hook_point(hook_name(component, layer))
            path, _, side = (
                (point.name or "").rpartition(".") if point is not None else ("", "", "")
            )
            wrapped = getattr(bridged.get(path), "original_component", None)
            if id(wrapped) not in home:
                logger.info("%s runs as a bridge: no module for %s", info.name, (component, layer))
                return None
            sites[component, layer] = Site(home[id(wrapped)], side == "hook_in")
    return sites


@torch.inference_mode()
def computes_the_same(bridge: Any, raw: Any, sites: dict[tuple[str, int], Site]) -> bool:
    """Every activation and logit of two runners of one model, compared on a padded batch."""
    ids, mask = check_batch(bridge.model)
    found: list[dict[Any, Tensor]] = []
    for runner in (bridge, raw):
        own: dict[Any, Tensor] = {}

        def note(key: Any, own: dict[Any, Tensor] = own) -> Callable[[Tensor], None]:
            return lambda activation: own.update({key: activation.clone()})

        with runner.attach([(*site, note(site)) for site in sites]):
            own["logits"] = runner.logits(ids, mask, ids.shape[1])
        found.append(own)
    real = mask.bool()
    theirs, ours = found
    for key, want in theirs.items():
        got = ours[key]
        if got.shape != want.shape or not agree(got[real], want[real]):
            logger.warning(
                "%s runs as a bridge, which is slower: its Hugging Face model has other %s",
                bridge.info.name,
                key if isinstance(key, str) else f"activations, first of {key}",
            )
            return False
    return True


@torch.inference_mode()
def takes_trees(runner: Any) -> bool:
    """Two prompts of unequal length with two answers each, against one plain pass per text."""
    table = runner.module.get_input_embeddings().weight
    draw = torch.Generator().manual_seed(1)

    def tokens(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, int(table.shape[0]), (n,), generator=draw).tolist())

    items = [EncodedItem(tokens(n), (tokens(2), tokens(1)), 0) for n in (6, 4)]
    tree = branches(items, drop_last=False, pad=0, device=table.device)
    try:
        late = [1] * (runner.info.n_layers - 1) + [2]  # the second copy joins as late as it can
        trees = [
            run_copies(runner, tree, prefill(runner, tree), late),
            run_rows(runner, tree, late),
        ]
    except torch.OutOfMemoryError:  # says nothing of the architecture
        raise
    except (AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
        # An architecture that builds its own mask (alibi), or its own cache.
        logger.info("%s takes no tree of answers: %r", runner.info.architecture, error)
        return False
    found = torch.cat(trees, dim=1)
    for row, item in enumerate(items):
        for start, answer in zip(tree.starts(), item.answers, strict=True):
            text = torch.tensor([item.prompt + answer], device=table.device)
            want = runner.module(text, use_cache=False).logits[0, len(item.prompt) - 1 :]
            nodes = [0, *range(start, start + len(answer))]
            if not all(agree(one, want) for one in found[row][:, nodes]):
                logger.info("%s computes something else on a tree", runner.info.architecture)
                return False
    return True


def check_batch(model: HookedModel) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
    """Two rows of random tokens, the second padded on the left."""
    length = min(10, int(model.cfg.n_ctx))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, int(model.cfg.d_vocab), (2, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, : length // 3] = 0
    device = device_of(model)
    return ids.to(device), mask.to(device)


def agree(got: Tensor, want: Tensor) -> bool:
    """Whether two tensors are equal to the rounding of their dtype; NaN and infinity are not."""
    tolerance = TOLERANCE.get(want.dtype, max(TOLERANCE.values()))
    got, want = got.float(), want.to(got.device).float()
    size = want.square().mean().sqrt()
    return bool((got - want).square().mean().sqrt() <= tolerance * size)
