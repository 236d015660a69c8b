"""Threshold-based dynamic activation (TDA): the prompt decides which neurons stay on while the model writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sadi_lens.engine.hooks import FlatHook
from sadi_lens.engine.intervention import Context, PerPrompt
from sadi_lens.engine.passes import batches_on_one_side, device_of, pad_id, pad_left, pass_tokens
from sadi_lens.engine.prompts import TextOrChat, as_text, encode_prompt
from sadi_lens.engine.runner import runner_of
from sadi_lens.engine.twin import input_rows, sites_of
from sadi_lens.types.checks import as_array, checked, float_array, require_fields
from sadi_lens.types.model import HookedModel, ModelInfo

MAX_TOKENS = 1024
"""Tokens that thresholds are found on."""
STEPS = 30
"""Halvings of the interval that holds a threshold."""


@dataclass(frozen=True, eq=False)
class TDA(PerPrompt):
    """A 0/1 mask of neurons for each prompt, on while the model writes (Ma et al., 2024, arXiv 2408.11393).

    Neuron j puts out n_j = z_j W_down[:, j], with z what enters the down projection. Offline, the threshold of a layer
    is the largest eps whose tail, the neurons with norm(n_j) < eps, carries no more than a share ``cett`` of the MLP's
    output (CETT of Zhang et al., 2024, arXiv 2405.09274):

        CETT(eps) = mean over tokens of | sum of n_j with norm(n_j) < eps | / | sum of all n_j |

    Online, a neuron stays on if the root mean square of norm(n_j) over the prompt's tokens reaches eps. Run it with
    ``position="generated"``: the prompt itself is read whole, so a choice of one token does not change.

    No label plays a part: it is the input that chooses, as in SADI, but what to leave out and not what to amplify. The
    paper's pseudo-code was not found; that norms are averaged over the prompt as a root mean square, and that the
    threshold is searched by halving (CETT taken to rise with eps), are readings of its text.

    Example:
        >>> prompts = [sample.prompt for sample in task.dev[:8]]
        >>> cut = sl.interventions.TDA.from_prompts(model, prompts, cett=0.2)
        >>> cut.label, 0 < cut.sparsity < 1
        ('TDA, CETT 0.2, 51% of neurons off', True)
    """

    prompts: tuple[tuple[int, ...], ...]
    """Tokens of each prompt, all different."""
    kept: Any
    """Which neurons stay on, bool [prompt layer unit]."""
    cett: float
    """Share of the MLP's output that the tail may carry."""
    component: str = "neuron"
    lacking: ClassVar[tuple[str, str]] = ("a mask", "TDA.from_prompts")

    def __post_init__(self) -> None:
        require_fields(self)
        kept = as_array("kept", self.kept)
        if kept.dtype != np.bool_:
            raise ValueError(f"kept must be a bool array [prompt layer unit], got {kept.dtype}")
        if kept.ndim != 3 or len(kept) != len(self.prompts) or not len(kept):
            raise ValueError(
                f"kept must be [prompt layer unit] for {len(self.prompts)} prompts (at least 1), got {kept.shape}"
            )
        self.require_different()
        kept.setflags(write=False)
        object.__setattr__(self, "kept", kept)

    @classmethod
    @checked()
    def from_prompts(
        cls,
        model: HookedModel,
        prompts: Sequence[TextOrChat],
        *,
        cett: float = 0.2,
        thresholds: Float[np.ndarray, " layer"] | None = None,
    ) -> "TDA":
        """The masks of some prompts.

        Args:
            model: A bridged model with neurons.
            prompts: All that it will be run on; text, or the messages of a chat.
            cett: Share of the MLP's output that the tail may carry, between 0 and 1.
            thresholds: eps of every layer (finite); default ``tail_thresholds`` of these prompts.

        Raises:
            ValueError: If there is no prompt, ``cett`` is out of range, ``thresholds`` are not one a layer, or the
                model has no neurons to hook.
        """
        _require_share(cett)
        found = tail_thresholds(model, prompts, cett=cett) if thresholds is None else thresholds
        eps = float_array("thresholds", found, "layer")
        n_layers = ModelInfo.of(model).n_layers
        if len(eps) != n_layers:
            raise ValueError(
                f"thresholds must be one for each of {n_layers} layers, got {len(eps)}"
            )
        kept: dict[tuple[int, ...], np.ndarray] = {}
        for tokens, norms in _norms(model, prompts):
            kept[tokens] = norms.square().mean(dim=1).sqrt().cpu().numpy() >= eps[:, None]
        return cls(tuple(kept), np.stack(list(kept.values())), cett)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers in which a neuron is off after some prompt."""
        return tuple(int(one) for one in np.flatnonzero((~self.kept).any(axis=(0, 2))))

    @property
    def sparsity(self) -> float:
        """Mean share of neurons that are off."""
        return float(1 - self.kept.mean())

    @property
    def label(self) -> str:
        """As in ``TDA, CETT 0.2, 51% of neurons off``."""
        return f"TDA, CETT {self.cett:g}, {100 * self.sparsity:.0f}% of neurons off"

    def edit(self, activation: Tensor, layer: int, context: Context | None = None) -> Tensor:
        """Each row with the neurons off that its prompt leaves out.

        Raises:
            ValueError: If a prompt is none of those it was made for.
        """
        row = self.numbers(context, activation.device)
        table = self.placed(layer, self.kept[:, layer], activation)
        return activation * table[row][:, None]

    def check(self, info: ModelInfo) -> None:
        """Raise ValueError if the model has other neurons."""
        if self.kept.shape[1:] != (info.n_layers, info.d_mlp):
            raise ValueError(
                f"masks are for {self.kept.shape[1:]} [layer unit], {info.name} has {info.n_layers} layers of "
                f"{info.d_mlp} neurons"
            )


def _require_share(cett: float) -> None:
    if not 0 < cett < 1:
        raise ValueError(f"cett must be between 0 and 1, got {cett}")


@checked()
def tail_thresholds(
    model: HookedModel, prompts: Sequence[TextOrChat], *, cett: float = 0.2
) -> Float[np.ndarray, " layer"]:
    """The largest norm of a neuron's output in every layer below which the tail carries ``cett`` of the MLP's output.

    See ``TDA`` for the definition. Found on the first prompts that make up ``MAX_TOKENS`` tokens together.

    Raises:
        ValueError: If there is no prompt, ``cett`` is out of range, or the model has no neurons to hook.
    """
    _require_share(cett)
    weights = _down(model)
    values: list[list[Tensor]] = [[] for _ in weights]
    for _, found in _values(model, _first(model, prompts)):
        for layer, one in enumerate(found):
            values[layer].append(one)
    return np.array(
        [
            _threshold(torch.cat(rows), weight, cett)
            for rows, weight in zip(values, weights, strict=True)
        ],
        dtype=np.float32,
    )


def _first(model: HookedModel, prompts: Sequence[TextOrChat]) -> list[str]:
    """The first different prompts, until they have ``MAX_TOKENS`` tokens."""
    taken: list[str] = []
    n_tokens = 0
    for prompt in dict.fromkeys(as_text(model, one) for one in prompts):
        if n_tokens >= MAX_TOKENS:
            break
        taken.append(prompt)
        n_tokens += len(encode_prompt(model, prompt))
    return taken


def _threshold(
    z: Float[Tensor, "token unit"], weight: Float[Tensor, "unit d_model"], cett: float
) -> float:
    norms = z.abs() * weight.norm(dim=1)
    whole = (z @ weight).norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    low, high = 0.0, float(norms.max())
    for _ in range(STEPS):
        middle = (low + high) / 2
        tail = (torch.where(norms < middle, z, 0.0) @ weight).norm(dim=1)
        if float((tail / whole).mean()) <= cett:
            low = middle
        else:
            high = middle
    return low


def _down(model: HookedModel) -> list[Float[Tensor, "unit d_model"]]:
    """Weights that neurons write with, layer by layer."""
    info = ModelInfo.of(model)
    sites = sites_of(model) if info.d_mlp else None
    if sites is None:
        raise ValueError(f"{info.name} has no neurons that can be hooked one by one")
    return [input_rows(sites["neuron", layer].module).detach() for layer in range(info.n_layers)]


def _norms(
    model: HookedModel, prompts: Sequence[TextOrChat]
) -> Iterator[tuple[tuple[int, ...], Float[Tensor, "layer token unit"]]]:
    """Length of what every neuron puts out at every token of each prompt."""
    lengths = torch.stack([weight.norm(dim=1) for weight in _down(model)])
    for tokens, values in _values(model, prompts):
        yield tokens, torch.stack(values).abs() * lengths[:, None]


def _values(
    model: HookedModel, prompts: Sequence[TextOrChat]
) -> Iterator[tuple[tuple[int, ...], list[Float[Tensor, "token unit"]]]]:
    """Every different prompt with the neurons' activations at its tokens, layer by layer."""
    rows = [
        tuple(ids) for ids in dict.fromkeys(tuple(encode_prompt(model, one)) for one in prompts)
    ]
    if not rows:
        raise ValueError("prompts must hold at least 1, got 0")
    runner, n_layers = runner_of(model), ModelInfo.of(model).n_layers
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> FlatHook:
        def hook(activation: Tensor) -> None:
            seen[layer] = activation.float()

        return hook

    lengths = [len(row) for row in rows]
    sides = [(length, length) for length in lengths]
    for indices in batches_on_one_side(model, sides, lengths, pass_tokens(model, max(lengths))):
        ids, mask = pad_left([rows[index] for index in indices], pad_id(model), device_of(model))
        hooks = [("neuron", layer, keep(layer)) for layer in range(n_layers)]
        with torch.inference_mode(), runner.attach(hooks):
            runner.logits(ids, mask, 1)
        for place, index in enumerate(indices):
            yield (
                rows[index],
                [seen[layer][place, -lengths[index] :] for layer in range(n_layers)],
            )
