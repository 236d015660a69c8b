"""The engine does exactly as much as it must, and the slow way gives the same numbers."""

import contextlib

import numpy as np
import pytest
from architectures import CASES, number_tokenizer, random_model
from factories import no_free_memory, on_the_bridge

POSITIONS = ["last_prompt", "every_step", "generated", "all"]


@contextlib.contextmanager
def counted(model):
    """Tokens that each layer of the raw model and of the bridge runs, pass by pass: [pass][layer]."""
    raw, bridge = [], []

    def watch(blocks, found):
        def hook_for(layer):
            def hook(_module, args):
                if layer == 0:
                    found.append([])
                found[-1].append(args[0].shape[0] * args[0].shape[1])

            hook.__module__ = "transformer_lens"  # a user's hook would make the bridge run
            return hook

        return [
            block.input_layernorm.register_forward_pre_hook(hook_for(layer))
            for layer, block in enumerate(blocks)
        ]

    inner = [block.original_component for block in model.blocks]
    handles = watch(model.raw_model.model.layers, raw) + watch(inner, bridge)
    try:
        yield raw, bridge
    finally:
        for handle in handles:
            handle.remove()


def cells(model):
    """Unsteered, and three cells."""
    import sadi_lens as sl

    return [None] + [
        sl.MaskedScaling(sl.Mask.from_units("head", [(layer, 1), (2, 3)], model), 2.0)
        for layer in (1, 0, 2)
    ]


@pytest.fixture(scope="module")
def warm(llama, samples):
    """The model, tried once, so that counts hold no checks."""
    import sadi_lens as sl

    sl.evaluate(llama, samples, progress=False)
    return llama


def one_token_samples(n):
    import sadi_lens as sl

    prompts = ["the ball is", "the big red ball is", "is the small blue hat in the box"]
    return [sl.Sample(prompt, (" red", " blue"), 0) for prompt in prompts[:n]]


def test_a_sweep_runs_each_prompt_once_and_one_token_a_cell(warm):
    import sadi_lens as sl

    samples = one_token_samples(1)
    length = len(warm.tokenizer(samples[0].prompt)["input_ids"])
    with counted(warm) as (raw, bridge):
        sl.evaluate(warm, samples, cells(warm), progress=False)
    assert bridge == []
    # The prefix; then the unsteered copy with those that join in layers 0, 1 and 2.
    assert raw == [[length - 1] * 3, [2, 3, 4]]


def test_the_prefix_ends_once_the_last_layer_has_its_keys_and_values(warm):
    import sadi_lens as sl

    tokens = []
    last = warm.raw_model.model.layers[-1].mlp
    handle = last.register_forward_pre_hook(lambda _module, args: tokens.append(args[0].shape[1]))
    try:
        sl.evaluate(warm, one_token_samples(1), cells(warm)[2], progress=False)
    finally:
        handle.remove()
    assert tokens == [1]


def test_items_of_one_pass_share_it(warm):
    import sadi_lens as sl

    samples = one_token_samples(3)
    longest = max(len(warm.tokenizer(one.prompt)["input_ids"]) for one in samples)
    with counted(warm) as (raw, bridge):
        sl.evaluate(warm, samples, cells(warm), progress=False)
    assert bridge == []
    assert raw == [[3 * (longest - 1)] * 3, [6, 9, 12]]


def test_answers_of_several_tokens_share_the_last_prompt_token(warm):
    import sadi_lens as sl

    sample = sl.Sample("the ball is", (" red", " big red box", " blue hat"), 0)
    length = len(warm.tokenizer(sample.prompt)["input_ids"])
    with counted(warm) as (raw, _):
        sl.evaluate(warm, [sample], cells(warm)[2], progress=False)
    # Three answers without their last token, padded to two, behind one prompt token.
    assert raw == [[length - 1] * 3, [1 + 3 * 2] * 3]


def test_at_position_all_every_cell_runs_the_prompt_from_its_first_layer_on(warm):
    import sadi_lens as sl

    samples = one_token_samples(1)
    length = len(warm.tokenizer(samples[0].prompt)["input_ids"])
    with counted(warm) as (raw, bridge):
        sl.evaluate(warm, samples, cells(warm), position="all", progress=False)
    assert bridge == []
    assert raw == [[2 * length, 3 * length, 4 * length]]


def test_extraction_runs_a_prompt_once_for_both_answers(warm):
    import sadi_lens as sl

    pairs = [
        sl.ContrastivePair("the ball is", " red", " blue"),
        sl.ContrastivePair("a", " A", " B"),
    ]
    length = max(len(warm.tokenizer(pair.prompt)["input_ids"]) for pair in pairs)
    with counted(warm) as (raw, bridge):
        sl.activation_differences(warm, pairs, progress=False)
    assert bridge == []
    assert raw == [[2 * (length + 2)] * 3]


def test_the_plain_way_runs_every_text_of_every_cell(warm):
    import sadi_lens as sl

    samples = one_token_samples(1)
    length = len(warm.tokenizer(samples[0].prompt)["input_ids"])
    with counted(warm) as (raw, bridge):
        sl.evaluate(warm, samples, cells(warm), engine="plain", progress=False)
    assert raw == []
    assert bridge == [[length] * 3] * 8


@pytest.mark.parametrize("position", POSITIONS)
def test_both_engines_give_the_same_numbers(llama, differences, samples, position):
    import sadi_lens as sl

    kinds = [
        None,
        sl.MaskedScaling(sl.top_k_mask(differences["neuron"], 5), 2.0),
        sl.MaskedAddition.from_differences(
            sl.top_k_mask(differences["head"], 3), differences["head"], 2.0
        ),
        sl.VectorAddition.from_differences(differences["hidden"], 1, 2.0),
        sl.MaskedScaling(sl.top_k_mask(differences["mlp_out"], 4), -1.0),
    ]
    options = {"position": position, "progress": False}
    fast = sl.evaluate(llama, samples, kinds, **options)
    slow = sl.evaluate(llama, samples, kinds, engine="plain", **options)
    for one, two in zip(fast, slow, strict=True):
        np.testing.assert_allclose(one.choice_scores, two.choice_scores, atol=5e-5)
        assert one.correct.tolist() == two.correct.tolist()
        assert one.valid.tolist() == two.valid.tolist()
    grid = [
        sl.sweep(llama, samples, differences["head"], [1, 4], [2.0], engine=engine, **options)
        for engine in ("shared", "plain")
    ]
    np.testing.assert_allclose(grid[0].margin, grid[1].margin, atol=5e-5)
    with pytest.raises(ValueError, match=r"engine .*did you mean 'plain'"):
        sl.evaluate(llama, samples, engine="plian")


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_architecture_scores_the_same_on_its_fastest_way(name):
    import sadi_lens as sl
    from sadi_lens.engine.runner import RawRunner, runner_of

    bridge = sl.load_model(random_model(name, seed=1), tokenizer=number_tokenizer())
    words = bridge.tokenizer.convert_ids_to_tokens(list(range(10, 24)))
    samples = [
        sl.Sample(" ".join(words[:9]), (f" {words[9]}", f" {words[10]} {words[11]}"), 0),
        sl.Sample(" ".join(words[5:9]), (f" {words[12]}", f" {words[13]}"), 1),
    ]
    masks = [[(1, 0), (2, 3)], [(0, 2)], [(2, 1)]]
    edits = [sl.MaskedScaling(sl.Mask.from_units("head", mask, bridge), 3.0) for mask in masks]
    for position in ("last_prompt", "all"):
        found = sl.evaluate(bridge, samples, [None, *edits], position=position, progress=False)
        slow = sl.evaluate(
            bridge, samples, [None, *edits], position=position, engine="plain", progress=False
        )
        for one, two in zip(found, slow, strict=True):
            np.testing.assert_allclose(one.choice_scores, two.choice_scores, atol=1e-4)
    runner = runner_of(bridge)
    assert (isinstance(runner, RawRunner) and runner.shares_prefix(4)) == (
        name not in {"mistral_sliding", "gemma2", "bloom", "falcon_alibi"}
    )


def test_a_window_shorter_than_the_texts_goes_to_the_bridge():
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.engine.runner import runner_of

    hf, tokenizer = random_llama(seed=4)
    model = sl.load_model(hf, tokenizer=tokenizer)
    raw = runner_of(model)
    assert raw.shares_prefix(60)
    hf.config.sliding_window = 12
    assert raw.shares_prefix(12)
    assert not raw.shares_prefix(13)


def test_hooks_and_changed_weights_are_never_passed_over(samples, differences):
    """What the user has put on the bridge counts, although the raw model would be faster."""
    import torch
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    model = sl.load_model(hf, tokenizer=tokenizer)
    other = sl.MaskedScaling(sl.top_k_mask(differences["neuron"], 9), 4.0)
    plain = sl.evaluate(model, samples, progress=False)
    steered = sl.evaluate(model, samples, other, position="all", progress=False)
    with model.hooks(fwd_hooks=sl.fwd_hooks(other, position="all")):
        inside = sl.evaluate(model, samples[:1], progress=False)
    np.testing.assert_allclose(inside.choice_scores, steered.choice_scores[:1, :2], atol=5e-5)
    point = model.get_hook_point("blocks.0.attn.hook_z")
    point.add_hook(lambda activation, hook: activation * 0)
    hooked = sl.evaluate(model, samples, progress=False)
    model.reset_hooks()
    assert not np.allclose(hooked.choice_scores, plain.choice_scores, atol=1e-2, equal_nan=True)
    module = model.blocks[1].attn.o.original_component
    kept = module.weight
    module.weight = torch.nn.Parameter(torch.zeros_like(kept))
    without = sl.evaluate(model, samples, progress=False)
    assert not np.allclose(without.choice_scores, plain.choice_scores, atol=1e-2, equal_nan=True)
    slow = sl.evaluate(model, samples, engine="plain", progress=False)
    np.testing.assert_allclose(without.choice_scores, slow.choice_scores, atol=5e-5)
    module.weight = kept
    again = sl.evaluate(model, samples, progress=False)
    np.testing.assert_array_equal(again.choice_scores, plain.choice_scores)


def test_a_raw_model_in_training_mode_is_not_run(llama):
    from sadi_lens.engine.runner import RawRunner, runner_of

    assert isinstance(runner_of(llama), RawRunner)
    part = llama.raw_model.model.layers[1].mlp
    part.training = True
    try:
        assert not isinstance(runner_of(llama), RawRunner)
    finally:
        part.training = False
    for part in (llama.original_model, llama.original_model.model):
        part.training = True
        try:
            with pytest.raises(ValueError, match="must be in eval mode"):
                runner_of(llama)
        finally:
            part.training = False
    assert isinstance(runner_of(llama), RawRunner)


def test_hooks_are_taken_off_in_whatever_order_runs_end(llama):
    import torch

    from sadi_lens.engine.runner import runner_of

    runner = runner_of(llama)
    module = runner.sites["head", 1].module
    x = torch.ones(1, 2, 32)
    plain = module(x)
    first = runner.attach([("head", 1, lambda activation: activation * 2)])
    second = runner.attach([("head", 1, lambda activation: activation + 1)])
    first.__enter__()
    second.__enter__()
    torch.testing.assert_close(module(x), plain * 3)
    first.__exit__(None, None, None)
    torch.testing.assert_close(module(x), plain * 2)
    second.__exit__(None, None, None)
    assert not module._forward_pre_hooks
    assert torch.equal(module(x), plain)


@pytest.mark.parametrize("position", ["all", "every_step"])
def test_what_overflows_at_padding_does_not_reach_the_text(position):
    """0 * infinity is NaN: padding is not edited."""
    import torch
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.engine.passes import pad_id

    hf, tokenizer = random_llama(seed=3)
    model = sl.load_model(hf, tokenizer=tokenizer)
    with torch.no_grad():
        hf.model.embed_tokens.weight[pad_id(model)] = 1e30
    huge = sl.MaskedScaling(sl.Mask.from_units("hidden", [(0, 1), (0, 2)], model), 1e12)
    prompts = ["the ball is", "Tom says the big red hat is in the"]
    samples = [sl.Sample(prompt, (" red", " blue hat"), 0) for prompt in prompts]
    options = {"max_new_tokens": 3, "eos_token_id": None, "position": position}
    texts = sl.generate(model, prompts, huge, **options)
    assert texts == [sl.generate(model, prompt, huge, **options)[0] for prompt in prompts]
    settings = {"position": position, "progress": False}
    together = sl.evaluate(model, samples, huge, **settings)
    alone = [sl.evaluate(model, [sample], huge, **settings) for sample in samples]
    assert np.isfinite(together.choice_scores).all()
    np.testing.assert_allclose(
        together.choice_scores, np.concatenate([one.choice_scores for one in alone]), atol=1e-4
    )


@contextlib.contextmanager
def passes_that_fail(model, way, fails):
    """Whatever ``fails(rows, tokens)`` raises, raised in the middle of such a pass."""

    def hook(_module, args):
        error = fails(*args[0].shape[:2])
        if error is not None:
            raise error

    block = model.raw_model.model.layers[1] if way == "raw" else model.blocks[1].original_component
    handle = block.input_layernorm.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("way", ["raw", "bridge"])
def test_out_of_memory_is_retried_smaller_with_the_same_numbers(warm, samples, way):
    import torch

    import sadi_lens as sl

    sizes = []

    def small(rows, tokens):
        sizes.append((rows, tokens))
        return torch.OutOfMemoryError("CUDA out of memory") if rows > 1 or tokens > 16 else None

    where = on_the_bridge(warm) if way == "bridge" else contextlib.nullcontext()
    with where:
        whole = sl.evaluate(warm, samples, cells(warm), progress=False)
        with passes_that_fail(warm, way, small):
            found = sl.evaluate(warm, samples, cells(warm), progress=False)
        assert max(sizes) > (1, 16)
        for one, two in zip(whole, found, strict=True):
            np.testing.assert_allclose(one.choice_scores, two.choice_scores, atol=2e-5)
        full = RuntimeError("DefaultCPUAllocator: can't allocate memory")
        with (
            passes_that_fail(warm, way, lambda *_: full),
            pytest.raises(MemoryError, match="does not fit into memory even alone"),
        ):
            sl.evaluate(warm, samples, progress=False)
        other = RuntimeError("something else")
        with (
            passes_that_fail(warm, way, lambda *_: other),
            pytest.raises(RuntimeError, match="something else"),
        ):
            sl.evaluate(warm, samples, progress=False)


def test_tables_of_many_cells_are_kept_up_to_a_bound_with_the_same_numbers(
    llama, samples, differences, monkeypatch
):
    import sadi_lens as sl
    from sadi_lens.engine import scoring

    no_free_memory(monkeypatch)  # one item a batch, one cell a pass
    made = []

    class Counted(sl.MaskedScaling):
        def affine(self, layer):
            made.append(layer)
            return super().affine(layer)

    def run():
        made.clear()
        settings = {"progress": False, "keep_items": True, "make": Counted}
        grid = sl.sweep(llama, samples, differences["head"], [1, 3, 6], [1.0, 4.0], **settings)
        return grid, len(made)

    whole, n_made = run()
    monkeypatch.setattr(scoring, "TABLE_BYTES", 0)
    again, n_again = run()
    assert again == whole
    assert n_again == len(samples) * n_made


def test_a_batch_fits_the_memory_that_is_free(llama, monkeypatch):
    import torch

    import sadi_lens as sl
    from sadi_lens.engine import passes

    threads = torch.get_num_threads()
    assert sl.engine.choose_batch(llama, 64) == passes.CPU_TOKENS // 64
    monkeypatch.setattr(passes, "pass_bytes", lambda _model: 1)
    assert sl.engine.choose_batch(llama, 64) == 1
    assert torch.get_num_threads() == threads
    with pytest.raises(ValueError, match="n_tokens must be at least 1, got 0"):
        sl.engine.choose_batch(llama, 0)


def test_no_memory_is_not_taken_for_an_architecture_that_takes_no_tree(monkeypatch):
    """Otherwise one full moment would make every later call take the slow way, without a word."""
    import torch
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.engine import twin
    from sadi_lens.engine.runner import runner_of

    model, tokenizer = random_llama()
    runner = runner_of(sl.load_model(model, tokenizer=tokenizer))

    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(twin, "run_rows", full)
        with pytest.raises(torch.OutOfMemoryError):
            runner.shares_prefix(10)
    assert runner.shares_prefix(10)


def test_how_near_the_bridge_a_model_must_be_is_a_matter_of_its_dtype():
    """A share of the size: 1e-4 in float32, 5% in float16, 20% in bfloat16."""
    import torch

    from sadi_lens.engine.twin import agree

    for dtype, share in ((torch.float32, 1e-4), (torch.float16, 0.05), (torch.bfloat16, 0.2)):
        want = torch.tensor([1.0, -2.0, 4.0], dtype=dtype)
        assert agree(want.float() * (1 + 0.9 * share), want)
        assert not agree(want.float() * (1 + 1.1 * share), want)
        assert not agree(want * torch.nan, want)


def test_positions_without_a_row_axis_are_cut_along_the_tokens_alone():
    import torch

    from sadi_lens.engine.prefix import _positions

    values = torch.arange(5)
    assert _positions(values, 3, 5, 1).tolist() == [0, 1, 2]
    assert _positions(values, 3, 5, 0).tolist() == [0, 1, 2, 3, 4]
    assert _positions((values[None],), 3, 5, 1)[0].tolist() == [[0, 1, 2]]


def test_a_mask_that_is_no_tensor_is_left_as_it_is():
    """Of a forward that takes a mapping of masks by kind of layer."""
    from sadi_lens.engine.prefix import _mask

    kinds = {"full_attention": None}
    assert _mask(kinds, 2, 4, 1) is kinds


def test_a_weight_written_to_in_place_and_one_that_counts_no_writes_are_told():
    import torch
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.engine.hooks import weights_in_use
    from sadi_lens.engine.runner import RawRunner, runner_of

    hf, tokenizer = random_llama()
    model = sl.load_model(hf, tokenizer=tokenizer)
    before = weights_in_use(model)
    assert weights_in_use(model) == before
    weight = model.__dict__["raw_model"].lm_head.weight
    with torch.no_grad():
        weight[0, 0] += 1
    assert weights_in_use(model) != before
    assert isinstance(runner_of(model), RawRunner)
    before = weights_in_use(model)
    first, second = (model.blocks[layer].ln1.original_component for layer in (0, 1))
    first.weight, second.weight = second.weight, first.weight
    # Where the bridge has parts of its own, they are looked at where they stand.
    assert weights_in_use(model) != before
    with torch.inference_mode():
        unwritten = sl.load_model(random_llama()[0], tokenizer=tokenizer)
    assert all(version is None for *_, version in weights_in_use(unwritten))
    assert isinstance(runner_of(unwritten), RawRunner)


@pytest.mark.parametrize("part", ["blocks.1", "blocks.0.mlp"])
@pytest.mark.parametrize("when", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_torch_hook_on_a_part_of_the_bridge_runs(samples, part, when):
    """The Hugging Face model would not run it; after its removal that one serves again."""
    import torch
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.engine.runner import RawRunner, runner_of

    hf, tokenizer = random_llama()
    model = sl.load_model(hf, tokenizer=tokenizer)
    before = sl.evaluate(model, samples, progress=False).choice_scores
    assert isinstance(runner_of(model), RawRunner)

    def tripled(value):
        if isinstance(value, tuple):
            return (value[0] * 3, *value[1:])
        return value * 3

    handle = getattr(model.get_submodule(part), when)(lambda _, *given: tripled(given[-1]))
    try:
        found = sl.evaluate(model, samples, progress=False).choice_scores
        ids = model.tokenizer(samples[2].prompt, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logprobs = model(ids)[0, -1].log_softmax(dim=-1)
    finally:
        handle.remove()
    hat = model.tokenizer(samples[2].choices[0], add_special_tokens=False)["input_ids"][0]
    assert found[2, 0] == pytest.approx(float(logprobs[hat]), abs=2e-5)
    assert not np.allclose(found, before, equal_nan=True)
    assert isinstance(runner_of(model), RawRunner)


def test_hooks_that_transformers_leaves_behind_to_observe_keep_the_raw_model(samples):
    """A forward pass that returns hidden states or attentions leaves hooks on the layers for good."""
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.engine.runner import RawRunner, runner_of

    hf, tokenizer = random_llama()
    model = sl.load_model(hf, tokenizer=tokenizer)
    before = sl.evaluate(model, samples, progress=False).choice_scores
    ids = model.tokenizer(samples[2].prompt, return_tensors="pt")["input_ids"]
    for inner in (model.original_model, model.__dict__["raw_model"]):
        inner(ids, output_hidden_states=True, output_attentions=True)
    left = [one for part in model.modules() for one in part._forward_hooks.values()]
    assert any("output_capturing" in str(getattr(one, "__module__", "")) for one in left)
    assert isinstance(runner_of(model), RawRunner)
    found = sl.evaluate(model, samples, progress=False).choice_scores
    np.testing.assert_array_equal(found, before)


def test_weights_that_carry_an_adapter_are_not_read_without_it():
    peft = pytest.importorskip("peft")
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.engine.twin import input_rows, sites_of

    hf, tokenizer = random_llama()
    hf.add_adapter(peft.LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False))
    model = sl.load_model(hf.eval(), tokenizer=tokenizer)
    sites = sites_of(model)
    with pytest.raises(ValueError, match=r"carries an adapter .*merge it"):
        input_rows(sites["neuron", 0].module)
    heads = input_rows(sites["head", 0].module)  # these have none
    assert heads.shape[0] == model.cfg.n_heads * model.cfg.d_head
    with pytest.raises(ValueError, match="carries an adapter"):
        sl.interventions.TDA.from_prompts(model, ["the ball is"])
