"""First-order effects on the margin, from one backward pass a batch.

margin = log-probability (nats) of the right choice minus the best wrong one. Every unit gets a number of its own in
the flow of the network (a scale s or a shift v), and

    through="scale"   A' = A * (1 + s)   d margin / d s = sum over edited tokens of A . d margin / d A'
    through="shift"   A' = A + v         d margin / d v = sum over edited tokens of     d margin / d A'

so the first is the effect of SADI's strength on one unit, the second that of a fixed addition. ``direct_gradients``
keeps only the path that leads from a unit's own output straight to the logits.

Before the first edited token nothing depends on the numbers, so the prompt is run without a gradient there and its keys
and values are kept; the backward pass goes through the last prompt token and the answers side by side behind it
(``sadi_lens.engine.prefix``), or, where the architecture takes no such tree, through whole texts, one row per choice.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from sadi_lens.engine.contract import Peaks
from sadi_lens.engine.edits import edit_at
from sadi_lens.engine.hooks import FlatHook
from sadi_lens.engine.passes import (
    batches_on_one_side,
    branches,
    device_of,
    pad_id,
    pad_left,
    pass_bytes,
    pass_tokens,
    smaller_when_full,
)
from sadi_lens.engine.positions import Positions, PositionTracker
from sadi_lens.engine.prefix import TreePositions, prefill, run_copies, run_rows
from sadi_lens.engine.runner import RawRunner, Runner, own_dtype, runner_of
from sadi_lens.engine.scoring import padded_answers, read_answers
from sadi_lens.engine.text import EncodedItem, encode_item
from sadi_lens.types.base import DEFAULT_POSITION, NotFiniteError, require_one_of
from sadi_lens.types.data import Sample, wrong_choices
from sadi_lens.types.model import HookedModel, ModelInfo, n_units


def margin_gradients(
    model: HookedModel,
    samples: Sequence[Sample],
    component: str,
    *,
    through: str = "scale",
    start: Float[np.ndarray, "layer unit"] | None = None,
    position: str = DEFAULT_POSITION,
    prepend_bos: bool | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> Float[np.ndarray, "sample layer unit d"]:
    """Gradient of every sample's margin with respect to a scale or a shift of every unit.

    Args:
        model: A bridged model in eval mode; its parameters and their gradients are left as they are.
        samples: At least one, with choices.
        component: Whose units.
        through: ``"scale"`` (d = 1) or ``"shift"`` (d = d_head for heads, else 1).
        start: Scales s at which the gradient is taken; default 0, the unsteered model.
        position: Which tokens are edited.
        prepend_bos: See ``sadi_lens.engine.text.encode``.
        max_tokens: Tokens (padding included) of one backward pass; default as many as ``pass_bytes`` has room for.
        progress: Show a bar.

    Returns:
        Nats per unit of s (or of v), float32 on the CPU.

    Raises:
        ValueError: If there is no sample or one has no choices, a name is unknown, ``start`` has another shape or
            comes with ``through="shift"``, or a gradient is not finite.
    """
    require_one_of("through", through, ("scale", "shift"))
    info = ModelInfo.of(model)
    shape = (info.n_layers, n_units(info, component))
    _require_start(start, shape, through)
    items = _encode(model, samples, prepend_bos)
    d = info.d_head if through == "shift" and component == "head" else 1
    base = np.zeros((*shape, d)) if start is None else start[..., None]
    found = np.empty((len(items), *shape, d), dtype=np.float32)
    runner = runner_of(model)
    scorer = _scorer(runner, items, component, through, position)

    def run(indices: list[int], _at_once: int) -> np.ndarray:
        start_of_all = torch.tensor(base, dtype=torch.float32, device=device_of(model))
        leaf = start_of_all.repeat(len(indices), 1, 1, 1).requires_grad_()
        scores = scorer.scores([items[index] for index in indices], leaf)
        over = scorer.peaks.overflow()
        if over is not None:
            raise NotFiniteError("an edited activation", "the strength given", over[1])
        margins = _margins(scores, [samples[index] for index in indices])
        (gradient,) = torch.autograd.grad(margins.sum(), leaf)
        return _finite(gradient, component).cpu().numpy()

    bar = tqdm(total=len(items), desc="gradients", unit="item", disable=not progress)
    with bar, frozen(model):
        for indices, gradient in smaller_when_full(scorer.batches(items, max_tokens), run):
            found[indices] = gradient
            bar.update(len(indices))
    return found


def _finite(gradient: Tensor, component: str) -> Tensor:
    if not gradient.isfinite().all():
        raise ValueError(
            f"the gradient of the margin is not finite for component {component!r}; load the model in "
            "a wider dtype, or start from a smaller strength"
        )
    return gradient


def _require_start(start: np.ndarray | None, shape: tuple[int, int], through: str) -> None:
    if start is not None and (through == "shift" or start.shape != shape):
        raise ValueError(
            f"start must be scales [layer unit] of shape {shape} for through='scale', got {start.shape} "
            f"for through={through!r}"
        )


def _encode(
    model: HookedModel, samples: Sequence[Sample], prepend_bos: bool | None
) -> list[EncodedItem]:
    if not samples or any(not sample.choices for sample in samples):
        raise ValueError(
            "samples must hold at least 1 item, all with choices: free text has no margin"
        )
    return [encode_item(model, one.prompt, one.choices, prepend_bos=prepend_bos) for one in samples]


def gradient_tokens(model: HookedModel, seen: int) -> int:
    """Tokens that attend to ``seen`` others whose activations in every layer fit into one pass's memory."""
    cfg = model.cfg
    layer = (
        12 * int(cfg.d_model) + 4 * int(cfg.d_mlp or 4 * cfg.d_model) + 2 * int(cfg.n_heads) * seen
    )
    return max(1, pass_bytes(model) // (4 * (int(cfg.n_layers) * layer + 3 * int(cfg.d_vocab))))


def _scorer(
    runner: Runner, items: Sequence[EncodedItem], component: str, through: str, position: str
) -> "_Rows":
    longest = max(item.length for item in items)
    if isinstance(runner, RawRunner) and runner.shares_prefix(longest):
        return _Trees(runner, component, through, position)
    return _Rows(runner, component, through, position)


class _Rows:
    """Log-probabilities of answers as a function of a number per unit; one row per choice, the whole text in each."""

    def __init__(self, runner: Runner, component: str, through: str, position: str) -> None:
        self.runner, self.component, self.peaks = runner, component, Peaks()
        self.through, self.position = through, position

    def batches(self, items: Sequence[EncodedItem], max_tokens: int | None) -> Iterator[list[int]]:
        """Indices of items that share a pass, shortest first."""
        most = max_tokens or gradient_tokens(self.runner.model, max(one.length for one in items))
        sizes = [self._size(item, most) for item in items]
        return batches_on_one_side(self.runner.model, [i.lengths for i in items], sizes, most)

    def _size(self, item: EncodedItem, most: int) -> int:  # noqa: ARG002  # of trees
        return item.length * len(item.answers)

    def scores(
        self, items: list[EncodedItem], leaf: Float[Tensor, "item layer unit d"]
    ) -> Float[Tensor, "item choice"]:
        """Nats of every answer; -inf where an item has fewer."""
        model, device = self.runner.model, leaf.device
        answers, known = padded_answers(items, device)
        is_answer = known.any(dim=2)
        which = is_answer.nonzero()[:, 0]
        answers, known = answers[is_answer], known[is_answer]
        ids, mask = pad_left(
            [items[index].prompt for index in which.tolist()], pad_id(model), device
        )
        tracker = PositionTracker(self.position, prompt_end=ids.shape[1] - 1)
        ids = torch.cat([ids, answers[:, :-1]], dim=1)
        mask = torch.cat([mask, known[:, :-1].to(mask)], dim=1)
        tracker.begin(ids.shape[0], ids.shape[1], 0, mask)
        with self.runner.attach(self.hooks(leaf[which], tracker, (len(which),))):
            logits = self.runner.logits(ids, mask, answers.shape[1])
        tokens = torch.log_softmax(logits.float(), dim=-1)
        tokens = tokens.gather(-1, answers[..., None].to(tokens.device))[..., 0]
        scores = torch.full(is_answer.shape, -torch.inf, device=tokens.device)
        return scores.index_put(
            is_answer.to(tokens.device).nonzero(as_tuple=True),
            (tokens * known.to(tokens.device)).sum(dim=1),
        )

    def hooks(
        self, leaf: Float[Tensor, "row layer unit d"], positions: Positions, rows: tuple[int, ...]
    ) -> list[tuple[str, int, FlatHook]]:
        """Every layer's units with the numbers of their row, whose axes ``positions`` splits as in ``rows``."""

        def bind(layer: int) -> FlatHook:
            def edit(activation: Tensor) -> Tensor:
                values = leaf[:, layer].to(activation.device)
                wide = values.expand(-1, -1, activation.shape[-1] // values.shape[1]).flatten(1)
                wide = wide.unflatten(0, rows)[..., None, :]
                if self.through == "shift":
                    return (activation + wide).to(activation.dtype)
                return (activation * (1 + wide)).to(activation.dtype)

            def hook(activation: Tensor) -> Tensor:
                edited = edit_at(positions, edit, positions.split(activation))
                self.peaks.note((self.component, layer), edited, positions.columns, positions.real)
                return positions.join(edited)

            return hook

        return [(self.component, layer, bind(layer)) for layer in range(leaf.shape[1])]


class _Trees(_Rows):
    """The same where answers may stand side by side behind their prompt."""

    runner: RawRunner

    def batches(self, items: Sequence[EncodedItem], max_tokens: int | None) -> Iterator[list[int]]:
        """Indices of items that share a pass; prompts of one token, which leave no prefix, by themselves."""
        for is_single in (False, True):
            members = [at for at, one in enumerate(items) if (len(one.prompt) == 1) == is_single]
            if members:
                for batch in super().batches([items[at] for at in members], max_tokens):
                    yield [members[at] for at in batch]

    def _size(self, item: EncodedItem, most: int) -> int:
        nodes = 1 + len(item.answers) * (item.lengths[1] - len(item.prompt) - 1)
        if self.position == "all":
            return len(item.prompt) + nodes
        prefix = len(item.prompt) * most // pass_tokens(self.runner.model, item.length)
        return max(nodes, prefix)

    def scores(
        self, items: list[EncodedItem], leaf: Float[Tensor, "item layer unit d"]
    ) -> Float[Tensor, "item choice"]:
        """Nats of every answer; -inf where an item has fewer."""
        runner, n = self.runner, len(items)
        answers, real = padded_answers(items, leaf.device)
        tree = branches(items, drop_last=True, pad=pad_id(runner.model), device=leaf.device)
        is_whole = self.position == "all"
        positions = TreePositions(self.position, items, tree, 1, is_whole)
        present, rows = [1] * leaf.shape[1], (1, n) if is_whole else (n, 1)
        with torch.no_grad():
            cache = None if is_whole else prefill(runner, tree)
        with runner.attach(self.hooks(leaf, positions, rows)):
            logits = (
                run_rows(runner, tree, present)
                if is_whole
                else run_copies(runner, tree, cache, present)
            )
        scores = read_answers(logits, tree, answers, real)[0][0]
        return scores.masked_fill(~real.any(dim=2).to(scores.device), -torch.inf)


def _margins(
    scores: Float[Tensor, "item choice"], samples: Sequence[Sample]
) -> Float[Tensor, " item"]:
    """Right answer minus the best wrong one."""
    right = torch.tensor([one.answer or 0 for one in samples], device=scores.device)
    is_wrong = torch.from_numpy(wrong_choices(samples, scores.shape[1])).to(scores.device)
    best = scores.masked_fill(~is_wrong, -torch.inf).amax(dim=1)
    return scores.gather(1, right[:, None])[:, 0] - best


@contextmanager
def frozen(model: HookedModel) -> Generator[None]:
    """Gradients on, but none for the parameters; every flag as it was afterwards. All in ``own_dtype``."""
    trained = [one for one in model.original_model.parameters() if one.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        with own_dtype(model), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
