"""Every component, proved against plain PyTorch hooks on the Hugging Face modules, eager attention.

The reference never touches TransformerLens or sadi_lens: it names the modules itself and counts positions itself.
"""

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from architectures import CASES, VOCAB, number_tokenizer, random_model
from pairwise import every_pair

COMPONENTS = ("head", "hidden", "mlp_out", "neuron")
POSITIONS = ("last_prompt", "every_step", "generated", "all")
STRENGTH = 3.0
PROMPT_LENGTHS = (9, 5, 7)
ANSWER_LENGTHS = (3, 2, 1)


@dataclass(frozen=True)
class Batch:
    """Left-padded rows of prompt + answer."""

    ids: torch.Tensor
    mask: torch.Tensor

    def edited(self, position: str) -> torch.Tensor:
        """Where an edit acts, counted row by row."""
        where = torch.zeros_like(self.mask, dtype=torch.bool)
        for row, (prompt, answer) in enumerate(zip(PROMPT_LENGTHS, ANSWER_LENGTHS, strict=True)):
            first = self.ids.shape[1] - prompt - answer
            last_prompt = first + prompt - 1
            if position == "last_prompt":
                where[row, last_prompt] = True
            elif position in ("every_step", "generated"):
                where[row, last_prompt + (position == "generated") :] = True
            else:
                where[row, first:] = True
        return where


@pytest.fixture(scope="session")
def batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    total = max(p + a for p, a in zip(PROMPT_LENGTHS, ANSWER_LENGTHS, strict=True))
    ids = torch.zeros((len(PROMPT_LENGTHS), total), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(zip(PROMPT_LENGTHS, ANSWER_LENGTHS, strict=True)):
        n = prompt + answer
        ids[row, -n:] = torch.randint(3, VOCAB, (n,), generator=generator)
        mask[row, -n:] = 1
    return Batch(ids, mask)


@dataclass(frozen=True)
class Subject:
    """One architecture: the bridge, and an independent eager Hugging Face copy of the same weights."""

    name: str
    bridge: Any
    raw: Any

    def logits(self, batch: Batch) -> torch.Tensor:
        """Reference logits; position ids from the mask where the model takes them."""
        extra = {}
        if "position_ids" in inspect.signature(self.raw.forward).parameters:
            extra["position_ids"] = (batch.mask.cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode():
            return self.raw(batch.ids, attention_mask=batch.mask, use_cache=False, **extra).logits


@pytest.fixture(scope="session")
def subjects():
    """name -> Subject, each built once; read-only."""
    import sadi_lens as sl

    built: dict[str, Subject] = {}

    def get(name: str) -> Subject:
        if name not in built:
            model = random_model(name)
            config = copy.deepcopy(model.config)
            raw = type(model)._from_config(config, attn_implementation="eager")
            raw.eval().load_state_dict(model.state_dict())
            built[name] = Subject(name, sl.load_model(model, tokenizer=number_tokenizer()), raw)
        return built[name]

    return get


@pytest.fixture(scope="session")
def subject(request, subjects) -> Subject:
    return subjects(request.param)


# --- the reference: module names and hooks of our own -------------------------------------------------------------


def _blocks(raw: Any) -> Any:
    for path in ("transformer.h", "model.layers", "gpt_neox.layers"):
        found = raw
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    raise AssertionError(f"no blocks in {type(raw).__name__}")


def _child(module: Any, *names: str) -> Any:
    return next(getattr(module, name) for name in names if hasattr(module, name))


def _place(raw: Any, component: str, layer: int) -> tuple[Any, str]:
    """(module, whether its input or output is the component)."""
    block = _blocks(raw)[layer]
    if component == "hidden":
        return block, "output"
    if component == "head":
        attention = _child(block, "self_attn", "attn", "attention", "self_attention")
        return _child(attention, "o_proj", "c_proj", "dense"), "input"
    if component == "neuron":
        return _child(block.mlp, "down_proj", "c_proj", "dense_4h_to_h"), "input"
    if type(raw).__name__ == "BloomForCausalLM":
        # BloomMLP adds the residual stream inside; its last matrix is the MLP's own output.
        return block.mlp.dense_4h_to_h, "output"
    if type(raw).__name__ == "Gemma2ForCausalLM":
        return block.post_feedforward_layernorm, "output"  # what is added to the residual stream
    return block.mlp, "output"


def _hook(raw: Any, component: str, layer: int, function: Any) -> Any:
    """Run ``function`` on the tensor of a component; its return value replaces the tensor unless None."""
    module, side = _place(raw, component, layer)
    if side == "input":

        def before(_module: Any, args: tuple[Any, ...]) -> Any:
            new = function(args[0])
            return None if new is None else (new, *args[1:])

        return module.register_forward_pre_hook(before)

    def after(_module: Any, _args: tuple[Any, ...], output: Any) -> Any:
        is_tuple = isinstance(output, tuple)
        new = function(output[0] if is_tuple else output)
        if new is None:
            return None
        return (new, *output[1:]) if is_tuple else new

    return module.register_forward_hook(after)


def _raw_values(subject: Subject, batch: Batch, component: str) -> list[torch.Tensor]:
    values: list[torch.Tensor] = []
    handles = [
        _hook(subject.raw, component, layer, lambda tensor: values.append(tensor.clone()))
        for layer in range(len(_blocks(subject.raw)))
    ]
    try:
        subject.logits(batch)
    finally:
        for handle in handles:
            handle.remove()
    return values


def _width(subject: Subject, component: str) -> tuple[int, int]:
    """(units, values a unit), read off the raw weights and configuration."""
    config = subject.raw.config
    module, side = _place(subject.raw, component, 0)
    if component in ("hidden", "mlp_out"):
        return config.hidden_size, 1
    weight = module.weight
    n_inputs = weight.shape[0] if type(module).__name__ == "Conv1D" else weight.shape[1]
    n_units = config.num_attention_heads if component == "head" else n_inputs
    assert side == "input"
    return n_units, n_inputs // n_units


def _random_mask(subject: Subject, component: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(11)
    n_units, _ = _width(subject, component)
    mask = torch.rand((len(_blocks(subject.raw)), n_units), generator=generator) < 0.3
    mask[:, 1] = True
    return mask


def _raw_edit_hooks(subject: Subject, component: str, mask: torch.Tensor, where: Any) -> list[Any]:
    """Multiply masked units by 1 + STRENGTH; ``where`` gives the positions for a tensor [batch pos unit]."""
    _, per_unit = _width(subject, component)

    def editing(layer: int) -> Any:
        factor = (1 + STRENGTH * mask[layer].float()).repeat_interleave(per_unit)

        def edit(tensor: torch.Tensor) -> torch.Tensor | None:
            chosen = where(tensor)
            if chosen is None:
                return None
            return torch.where(chosen[..., None], tensor * factor, tensor)

        return edit

    return [_hook(subject.raw, component, layer, editing(layer)) for layer in range(mask.shape[0])]


# --- the proofs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "component"), every_pair(list(CASES), COMPONENTS), indirect=["subject"]
)
def test_activations_equal_those_of_plain_hugging_face_hooks(subject, batch, component):
    from sadi_lens.engine import read_activations

    got = read_activations(subject.bridge, batch.ids, batch.mask, [component])[component]
    want = _raw_values(subject, batch, component)
    real = batch.mask.bool()
    assert len(got) == len(want) == 3
    for ours, reference in zip(got, want, strict=True):
        if component == "head":
            assert ours.shape[2:] == _width(subject, "head")
        assert ours.flatten(2).shape == reference.shape
        assert reference[real].std() > 1e-3
        torch.testing.assert_close(ours.flatten(2)[real], reference[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("subject", "component", "position"),
    every_pair(list(CASES), COMPONENTS, POSITIONS),
    indirect=["subject"],
)
def test_the_effect_of_an_edit_equals_the_same_edit_with_plain_hugging_face_hooks(
    subject, batch, component, position
):
    import sadi_lens as sl

    chosen = _random_mask(subject, component)
    mask = sl.Mask(component, chosen.numpy(), model=sl.types.ModelInfo.of(subject.bridge))
    scaling = sl.MaskedScaling(mask, strength=STRENGTH)
    real = batch.mask.bool()

    with torch.inference_mode():
        clean = subject.bridge(batch.ids, attention_mask=batch.mask)
        with sl.steer(subject.bridge, scaling, position=position, prompt_lengths=PROMPT_LENGTHS):
            steered = subject.bridge(batch.ids, attention_mask=batch.mask)
        hooks = sl.fwd_hooks(
            scaling, position=position, attention_mask=batch.mask, prompt_lengths=PROMPT_LENGTHS
        )
        hooked = subject.bridge.run_with_hooks(
            batch.ids, attention_mask=batch.mask, fwd_hooks=hooks
        )

    raw_clean = subject.logits(batch)
    edited = batch.edited(position)
    handles = _raw_edit_hooks(subject, component, chosen, lambda _: edited)
    try:
        raw_steered = subject.logits(batch)
    finally:
        for handle in handles:
            handle.remove()

    want = (raw_steered - raw_clean)[real]
    assert want.abs().max() > 1e-3
    for ours in (steered, hooked):
        torch.testing.assert_close((ours - clean)[real], want, rtol=0, atol=1e-5)
    before_edit = real & (edited.int().cumsum(dim=1) == 0)
    assert torch.equal(steered[before_edit], clean[before_edit])


@pytest.mark.parametrize(
    ("subject", "component", "position"),
    every_pair(list(CASES), COMPONENTS, POSITIONS),
    indirect=["subject"],
)
def test_cached_generation_equals_hugging_face_generation_with_plain_hooks(
    subject, component, position
):
    import sadi_lens as sl

    generator = torch.Generator().manual_seed(5)
    rows = [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]
    prompts = [" ".join(f"w{token}" for token in row) for row in rows]
    chosen = _random_mask(subject, component)
    mask = sl.Mask(component, chosen.numpy(), model=sl.types.ModelInfo.of(subject.bridge))

    def ours(intervention: Any) -> list[str]:
        return sl.generate(
            subject.bridge,
            prompts,
            intervention,
            position=position,
            max_new_tokens=6,
            skip_special_tokens=False,
        )

    total = max(PROMPT_LENGTHS)
    ids = torch.zeros((len(rows), total), dtype=torch.long)
    attention = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, total - len(row) :] = torch.tensor(row)
        attention[index, total - len(row) :] = 1

    def where(tensor: torch.Tensor) -> torch.Tensor | None:
        if tensor.shape[1] == 1:  # a cached step
            return None if position == "last_prompt" else torch.ones(tensor.shape[:2]).bool()
        chosen_here = attention.bool().clone()
        if position == "generated":
            return None
        if position != "all":
            chosen_here[:, :-1] = False
        return chosen_here

    def reference() -> list[str]:
        with torch.inference_mode():
            found = subject.raw.generate(
                ids, attention_mask=attention, max_new_tokens=6, do_sample=False, pad_token_id=0
            )
        texts = subject.bridge.tokenizer.batch_decode(found[:, total:])
        # Padding up to the longest text of the batch follows its end.
        end = subject.bridge.tokenizer.eos_token
        return [text.split(end)[0] + end * (end in text) for text in texts]

    handles = _raw_edit_hooks(subject, component, chosen, where)
    try:
        want = reference()
    finally:
        for handle in handles:
            handle.remove()
    plain = reference()
    assert ours(None) == plain
    assert ours(sl.MaskedScaling(mask, strength=STRENGTH)) == want
    assert want != plain
