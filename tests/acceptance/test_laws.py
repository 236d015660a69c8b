"""The laws of the design, over every intervention, component and position, with the engine on and off.

By default every pair of (kind, component, position, engine) is met once; ``make test-full`` runs the whole product.
"""

import contextlib
from functools import cache

import pytest
from pairwise import all_but, every_pair

COMPONENTS = ["head", "hidden", "mlp_out", "neuron"]
POSITIONS = ["last_prompt", "every_step", "all"]
ENGINES = ["shared", "plain"]
KINDS = ["scaling", "addition", "norm", "mean", "vector"]
BASIC = [
    (kind, component)
    for kind in KINDS
    for component in COMPONENTS
    if (kind, component) != ("vector", "head")
]
CASES = [
    *BASIC,
    ("signed", "head"),
    ("clamped all", "head"),
    ("clamped selected", "neuron"),
    ("austeer", "mlp_out"),
    ("iti", "head"),
    ("caa", "hidden"),
    ("actadd", "hidden"),
    ("hpr", "neuron"),
    ("spherical", "hidden"),
    ("cast", "hidden"),
    ("infer", "mlp_out"),
    ("swapped", "hidden"),
    ("control token", "hidden"),
]
# One component a kind is enough where a law runs the model at every position; these are added where it does not.
MORE = [
    ("signed", "hidden"),
    ("clamped all", "mlp_out"),
    ("clamped selected", "head"),
    ("austeer", "head"),
    ("hpr", "hidden"),
    ("infer", "hidden"),
    ("swapped", "head"),
    ("control token", "head"),
]
# One text at a time on the bridge takes seven seconds a position.
LONG = [("last_prompt", "plain"), ("all", "plain")]
NEW = [case for case in CASES if case not in BASIC]
# What hooks cannot see: a clean run, the prompts.
NOT_BY_HOOKS = ("clamped all", "clamped selected", "swapped")


@pytest.fixture(params=ENGINES)
def engine(request, llama):
    """The engine on, and off: text by text, and everything on the bridge, as a hook of someone else on it asks for."""
    from factories import on_the_bridge

    with on_the_bridge(llama) if request.param == "plain" else contextlib.nullcontext():
        yield request.param


@pytest.fixture(scope="session")
def build(llama, pairs, samples, differences):
    """(kind, component, strength, k) -> an intervention for the random Llama."""
    import sadi_lens as sl

    @cache
    def make(kind, component, strength=3.0, k=5):
        found = differences[component]
        mask = sl.top_k_mask(found, k)
        scaling = sl.MaskedScaling(mask, strength)
        quiet = {"progress": False}
        prompts = [*PROMPTS, *(sample.prompt for sample in samples)]
        makers = {
            "scaling": lambda: scaling,
            "vector": lambda: sl.VectorAddition.from_differences(found, 1, strength),
            "signed": lambda: sl.interventions.SignedScaling.from_differences(
                mask, found, strength
            ),
            "clamped all": lambda: sl.interventions.Clamped(scaling),
            "clamped selected": lambda: sl.interventions.Clamped(scaling, scope="selected"),
            "austeer": lambda: sl.interventions.AUSteer.from_pairs(
                llama, pairs, 12, strength, component=component, **quiet
            ),
            "iti": lambda: sl.interventions.ITI.from_pairs(llama, pairs, mask, strength, **quiet),
            "caa": lambda: sl.interventions.caa(found, 1, strength),
            "actadd": lambda: sl.interventions.ActAdd.from_prompts(
                llama, "good hat is", "bad", 1, strength
            ),
            "hpr": lambda: sl.interventions.HouseholderRotation.from_pairs(
                llama, pairs, 1, strength / 2, component=component, **quiet
            ),
            "spherical": lambda: sl.interventions.SphericalSteering.from_differences(
                found, 1, strength, kappa=5.0
            ),
            "cast": lambda: sl.interventions.CAST.from_pairs(llama, pairs, 1, strength, **quiet),
            "infer": lambda: sl.interventions.InferAlignerGate.from_differences(
                found, [1, 2], strength
            ),
            "control token": lambda: sl.interventions.ControlToken(scaling),
            "swapped": lambda: sl.measure.swap_prompts(llama, scaling, prompts, **quiet),
        }
        if kind in makers:
            return makers[kind]()
        match = {"addition": "coefficient"}.get(kind, kind)
        return sl.MaskedAddition.from_differences(mask, found, strength, match=match)

    return make


def context_for(intervention, activation):
    """A made-up context with what the intervention asks for."""
    import torch

    from sadi_lens.interventions import Context

    rows, n = activation.shape[:2]
    prompts = getattr(intervention, "prompts", ((0,),))
    fields = {
        "clean": activation + 1,
        "prompt_end": activation[:, -1],
        "place": torch.arange(n).repeat(rows, 1),
        "prompts": (prompts * rows)[:rows],
    }
    need = getattr(intervention, "need", None)
    return {} if need is None else {"context": Context(**{need: fields[need]})}


def batch(model, prompts, side="left"):
    """Token ids and attention mask, padded on either side."""
    import torch

    rows = [model.tokenizer(prompt)["input_ids"] for prompt in prompts]
    width = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        where = slice(width - len(row), None) if side == "left" else slice(0, len(row))
        ids[index, where] = torch.tensor(row)
        mask[index, where] = 1
    return ids, mask


PROMPTS = ["the ball is", "Tom says the big red hat is in the", "a"]


@pytest.mark.parametrize(
    ("kind", "component", "engine"), every_pair([*CASES, *MORE], ENGINES), indirect=["engine"]
)
def test_strength_zero_is_the_identity_bit_for_bit(
    llama, differences, build, samples, engine, kind, component
):
    import numpy as np
    import torch

    import sadi_lens as sl

    ids, mask = batch(llama, PROMPTS)
    with torch.inference_mode():
        plain = llama(ids, attention_mask=mask)
        nothing = build(kind, component, strength=0.0)
        for position in POSITIONS:
            with sl.steer(llama, nothing, position=position):
                assert torch.equal(llama(ids, attention_mask=mask), plain)
        activation = torch.randn(
            2, 3, *((4, 8) if component == "head" else (differences[component].mean.shape[1],))
        )
        assert torch.equal(nothing.edit(activation, 1), activation)
    few = samples[:2]
    for position in POSITIONS:
        settings = {"position": position, "progress": False, "engine": engine}
        scores = [sl.evaluate(llama, few, one, **settings).choice_scores for one in (None, nothing)]
        np.testing.assert_array_equal(*scores)
    assert sl.generate(llama, PROMPTS, nothing, max_new_tokens=3) == sl.generate(
        llama, PROMPTS, None, max_new_tokens=3
    )


@pytest.mark.parametrize(("kind", "component"), CASES)
def test_numbers_do_not_depend_on_what_the_caller_set_in_torch(
    llama, samples, differences, build, settings_of_torch, kind, component
):
    import numpy as np
    import torch

    import sadi_lens as sl

    one = build(kind, component, strength=0.7371)
    width = differences[component].mean.shape[1]
    shape = (6, 3, *((4, 8) if component == "head" else (width,)))
    activation = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    context = context_for(one, activation)
    run = lambda: sl.evaluate(llama, samples, [None, one], progress=False)  # noqa: E731
    edited, wanted = one.edit(activation, one.layers[0], **context), run()
    with settings_of_torch():
        for found, own in zip(run(), wanted, strict=True):
            np.testing.assert_array_equal(found.choice_scores, own.choice_scores)
        if not torch.is_autocast_enabled("cpu"):  # which a map that is called by itself keeps
            assert torch.equal(one.edit(activation, one.layers[0], **context), edited)


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_empty_mask_is_the_identity(llama, samples, engine, component):
    import numpy as np
    import torch

    import sadi_lens as sl

    ids, mask = batch(llama, PROMPTS)
    empty = sl.MaskedScaling(sl.Mask.from_units(component, [], llama), 5.0)
    with torch.inference_mode(), sl.steer(llama, empty, position="all"):
        steered = llama(ids, attention_mask=mask)
    with torch.inference_mode():
        assert torch.equal(steered, llama(ids, attention_mask=mask))
    plain, same = sl.evaluate(llama, samples, [None, empty], engine=engine, progress=False)
    np.testing.assert_array_equal(plain.choice_scores, same.choice_scores)


@pytest.mark.parametrize(("kind", "component"), [*CASES, *MORE])
def test_the_activation_given_is_never_written_to(differences, build, kind, component):
    import torch

    intervention = build(kind, component)
    width = differences[component].mean.shape[1]
    generator = torch.Generator().manual_seed(0)
    shape = (6, 3, *((4, 8) if component == "head" else (width,)))
    activation = torch.randn(shape, generator=generator)
    before = activation.clone()
    layer = intervention.layers[0]
    edited = intervention.edit(activation, layer, **context_for(intervention, activation))
    assert torch.equal(activation, before)
    assert edited.data_ptr() != activation.data_ptr()
    assert not torch.equal(edited, before)
    assert edited.dtype == activation.dtype
    low = activation.bfloat16()
    half = intervention.edit(low, layer, **context_for(intervention, low))
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize("raises", [False, True])
def test_hooks_are_gone_after_the_block_also_on_an_exception(llama, build, raises):
    import torch

    import sadi_lens as sl

    ids, mask = batch(llama, PROMPTS)
    with torch.inference_mode():
        plain = llama(ids, attention_mask=mask)

    def steered():
        with sl.steer(llama, build("scaling", "head")), torch.inference_mode():
            assert not torch.equal(llama(ids, attention_mask=mask), plain)
            if raises:
                raise RuntimeError("inside")

    if raises:
        with pytest.raises(RuntimeError, match="inside"):
            steered()
    else:
        steered()
    with torch.inference_mode():
        assert torch.equal(llama(ids, attention_mask=mask), plain)
    for layer in range(3):
        assert not llama.get_hook_point(f"blocks.{layer}.attn.hook_z").fwd_hooks
    assert not llama.original_model._forward_pre_hooks


@pytest.mark.parametrize("kind", ["scaling", "clamped all"])
@pytest.mark.parametrize("call", ["evaluate", "sweep", "generate", "differences"])
def test_an_exception_inside_a_call_leaves_the_model_as_it_was(
    llama, build, samples, pairs, differences, engine, kind, call
):
    """The block after the first edit breaks, in bridge and raw model alike."""
    import sadi_lens as sl

    def broken(_module, _args):
        raise RuntimeError("in the middle")

    intervention = build(kind, "head", k=12)
    quiet = {"progress": False, "engine": engine}
    run = {
        "evaluate": lambda: sl.evaluate(llama, samples, intervention, **quiet),
        "sweep": lambda: sl.sweep(llama, samples, differences["head"], [2], [1.0], **quiet),
        "generate": lambda: sl.generate(llama, PROMPTS, intervention, max_new_tokens=2),
        "differences": lambda: sl.activation_differences(llama, pairs, progress=False),
    }[call]
    run()  # what is looked at once has been looked at
    before = left_on(llama)
    norms = [llama.raw_model.model.norm, llama.ln_final.original_component]
    handles = [norm.register_forward_pre_hook(broken) for norm in norms]
    try:
        with pytest.raises(RuntimeError, match="in the middle"):
            run()
    finally:
        for handle in handles:
            handle.remove()
    assert left_on(llama) == before


def left_on(model):
    """Every hook and every replaced ``forward`` of bridge and raw model."""
    found = []
    for root in (model, model.raw_model):
        for name, module in root.named_modules():
            kept = [
                len(vars(module).get(kind) or ())
                for kind in ("_forward_hooks", "_forward_pre_hooks", "fwd_hooks", "bwd_hooks")
            ]
            if any(kept) or "forward" in vars(module):
                found.append((name, kept, id(vars(module).get("forward"))))
    return found


def test_hooks_of_others_survive(llama, build):
    import torch

    import sadi_lens as sl

    point = llama.get_hook_point("blocks.0.attn.hook_z")
    calls = []
    point.add_hook(lambda _activation, hook: calls.append(1))
    other = point.fwd_hooks[-1]
    try:
        ids, mask = batch(llama, PROMPTS)
        with sl.steer(llama, build("scaling", "head", k=12)):
            pass
        with torch.inference_mode():
            llama(ids, attention_mask=mask)
        assert calls == [1]
    finally:
        other.hook.remove()
        point.fwd_hooks.remove(other)


@pytest.mark.parametrize(("kind", "component", "position"), every_pair(CASES, POSITIONS))
def test_batched_equals_one_by_one_and_padding_side_does_not_matter(
    llama, build, kind, component, position
):
    import torch

    import sadi_lens as sl

    intervention = build(kind, component)
    lengths = [len(llama.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS]
    with torch.inference_mode(), sl.steer(llama, intervention, position=position):
        alone = [llama(batch(llama, [prompt])[0])[0, -1] for prompt in PROMPTS]
        left = llama(batch(llama, PROMPTS)[0], attention_mask=batch(llama, PROMPTS)[1])
        ids, mask = batch(llama, PROMPTS, side="right")
        right = llama(ids, attention_mask=mask)
    for row, expected in enumerate(alone):
        torch.testing.assert_close(left[row, -1], expected, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(right[row, lengths[row] - 1], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(("kind", "component"), [("scaling", "head"), *NEW])
def test_a_cached_continuation_equals_the_whole_text(llama, build, kind, component, position):
    import torch

    import sadi_lens as sl

    intervention = build(kind, component)
    prompts, tail = PROMPTS, torch.tensor([[9, 12], [9, 12], [9, 12]])
    ids, mask = batch(llama, prompts)
    full_mask = torch.cat([mask, torch.ones_like(tail)], dim=1)
    lengths = mask.sum(dim=1).tolist()
    with torch.inference_mode():
        with sl.steer(llama, intervention, position=position, prompt_lengths=lengths):
            whole = llama(torch.cat([ids, tail], dim=1), attention_mask=full_mask)
        with sl.steer(llama, intervention, position=position):
            first, cache = llama(
                ids, attention_mask=mask, return_type="logits_and_cache", use_cache=True
            )
            second = llama(tail[:, :1], attention_mask=full_mask[:, :-1], past_key_values=cache)
            third = llama(tail[:, 1:], attention_mask=full_mask, past_key_values=cache)
    steps = torch.stack([first[:, -1], second[:, -1], third[:, -1]], dim=1)
    torch.testing.assert_close(whole[:, -3:], steps, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "component", "position", "engine"),
    every_pair(CASES, POSITIONS, ENGINES),
    indirect=["engine"],
)
@pytest.mark.usefixtures("engine")
def test_steer_equals_fwd_hooks_equals_one_step_of_generate(
    llama, build, kind, component, position
):
    import torch

    import sadi_lens as sl

    intervention = build(kind, component)
    ids, mask = batch(llama, PROMPTS)
    with torch.inference_mode():
        with sl.steer(llama, intervention, position=position):
            inside = llama(ids, attention_mask=mask)
        if kind in NOT_BY_HOOKS:
            with pytest.raises(ValueError, match=r"fwd_hooks cannot give .*; use steer"):
                sl.fwd_hooks(intervention, position=position, attention_mask=mask)
        else:
            hooked = llama.run_with_hooks(
                ids,
                attention_mask=mask,
                fwd_hooks=sl.fwd_hooks(intervention, position=position, attention_mask=mask),
            )
            real = mask.bool()
            torch.testing.assert_close(inside[real], hooked[real], atol=0, rtol=0)
    step = sl.generate(
        llama, PROMPTS, intervention, position=position, max_new_tokens=1, skip_special_tokens=False
    )
    expected = llama.tokenizer.batch_decode(inside[:, -1].argmax(dim=-1)[:, None])
    assert step == expected


@pytest.mark.parametrize(
    ("kind", "component", "position", "engine"),
    every_pair([*(("scaling", component) for component in COMPONENTS), *NEW], POSITIONS, ENGINES),
    indirect=["engine"],
)
@pytest.mark.usefixtures("engine")
def test_generation_is_the_same_with_and_without_cache_batched_and_alone(
    llama, build, kind, component, position
):
    import sadi_lens as sl

    intervention = build(kind, component)
    options = {"position": position, "max_new_tokens": 6, "skip_special_tokens": False}
    options["eos_token_id"] = None
    cached = sl.generate(llama, PROMPTS, intervention, **options)
    assert cached == sl.generate(llama, PROMPTS, intervention, use_cache=False, **options)
    assert cached == [sl.generate(llama, one, intervention, **options)[0] for one in PROMPTS]
    if kind == "scaling":
        assert cached != sl.generate(llama, PROMPTS, None, **options)


@pytest.mark.parametrize(
    ("kind", "component"),
    [("scaling", "head"), ("clamped all", "head"), ("cast", "hidden"), ("swapped", "head")],
)
@pytest.mark.usefixtures("engine")
def test_beams_and_several_sequences_are_steered_at_the_same_place(llama, build, kind, component):
    import sadi_lens as sl

    intervention = build(kind, component)
    options = {"max_new_tokens": 4, "num_beams": 3, "eos_token_id": None}
    if kind == "clamped all":
        with pytest.raises(ValueError, match="does not follow beams; pass use_cache=False"):
            sl.generate(llama, PROMPTS, intervention, position="every_step", **options)
    together = sl.generate(llama, PROMPTS, intervention, **options)
    assert together == [sl.generate(llama, one, intervention, **options)[0] for one in PROMPTS]
    if kind == "scaling":
        assert together != sl.generate(llama, PROMPTS, None, **options)
    assert together == sl.generate(llama, PROMPTS, intervention, use_cache=False, **options)


@pytest.mark.parametrize("position", ["last_prompt", "every_step"])
@pytest.mark.parametrize(
    ("kind", "component"), [("scaling", "head"), ("clamped all", "head"), ("cast", "hidden")]
)
def test_forks_of_one_cache_are_steps_of_the_same_prompt(llama, build, kind, component, position):
    import copy

    import torch

    import sadi_lens as sl

    intervention = build(kind, component)
    prompt = torch.tensor([llama.tokenizer(PROMPTS[1])["input_ids"]])
    tails = [torch.tensor([[9]]), torch.tensor([[12]])]
    with torch.inference_mode():
        with sl.steer(llama, intervention, position=position):
            _, cache = llama(prompt, return_type="logits_and_cache", use_cache=True)
            found = [llama(tail, past_key_values=copy.deepcopy(cache))[0, -1] for tail in tails]
        for tail, one in zip(tails, found, strict=True):
            lengths = [prompt.shape[1]]
            with sl.steer(llama, intervention, position=position, prompt_lengths=lengths):
                whole = llama(torch.cat([prompt, tail], dim=1))[0, -1]
            torch.testing.assert_close(one, whole, atol=2e-5, rtol=1e-5)


def test_a_four_dimensional_mask_says_the_same_as_a_two_dimensional_one():
    import torch

    from sadi_lens.engine.edits import edit_at
    from sadi_lens.engine.positions import PositionTracker

    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    full = (mask.bool()[:, None, :] & causal)[:, None]
    for position in POSITIONS:
        edited = []
        for one in (mask, full, torch.where(full, 0.0, -1e9)):
            tracker = PositionTracker(position)
            tracker.begin(2, 4, 0, one)
            edited.append(edit_at(tracker, lambda activation: activation + 1, torch.zeros(2, 4, 1)))
        plain, boolean, additive = edited
        assert plain[0].flatten().tolist() == [0, 0, float(position == "all"), 1]
        assert torch.equal(plain, boolean)
        assert torch.equal(plain, additive)


@pytest.mark.usefixtures("engine")
def test_sampling_uses_its_seed_and_leaves_the_global_state(llama, build):
    import torch

    import sadi_lens as sl

    intervention = build("scaling", "head")
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    options = {"do_sample": True, "max_new_tokens": 8, "temperature": 2.0}
    first = sl.generate(llama, PROMPTS, intervention, seed=1, **options)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first == sl.generate(llama, PROMPTS, intervention, seed=1, **options)
    assert first != sl.generate(llama, PROMPTS, intervention, seed=2, **options)


@pytest.mark.parametrize(
    ("kind", "component", "position", "engine"),
    every_pair(CASES, POSITIONS, ENGINES),
    indirect=["engine"],
)
def test_evaluate_equals_a_plain_pass_over_each_whole_text(
    llama, build, samples, engine, kind, component, position
):
    """Against one full text at a time, log-softmax by hand."""
    import torch

    import sadi_lens as sl

    intervention = build(kind, component)
    found = sl.evaluate(
        llama, samples, intervention, position=position, engine=engine, progress=False
    )
    for row, sample in enumerate(samples):
        length = len(llama.tokenizer(sample.prompt)["input_ids"])
        scores = []
        for choice in sample.choices:
            text = torch.tensor([llama.tokenizer(sample.prompt + choice)["input_ids"]])
            with (
                torch.inference_mode(),
                sl.steer(llama, intervention, position=position, prompt_lengths=[length]),
            ):
                logprobs = llama(text)[0].log_softmax(dim=-1)
            scores.append(
                sum(float(logprobs[at - 1, text[0, at]]) for at in range(length, text.shape[1]))
            )
        torch.testing.assert_close(
            torch.tensor(scores),
            torch.tensor(found.choice_scores[row, : len(scores)]),
            atol=5e-5,
            rtol=1e-5,
        )
        best_wrong = max(s for index, s in enumerate(scores) if index != sample.answer)
        assert found.margins[row] == pytest.approx(scores[sample.answer] - best_wrong, abs=1e-4)
        assert found.correct[row] == (scores[sample.answer] > best_wrong)


@pytest.mark.parametrize(
    ("component", "position", "engine"),
    every_pair(COMPONENTS, POSITIONS, ENGINES),
    indirect=["engine"],
)
def test_sweep_equals_one_evaluate_per_cell(
    llama, differences, samples, engine, component, position
):
    import numpy as np

    import sadi_lens as sl

    ks, strengths = [1, 4, 9], [0.0, 1.0, 4.0]
    settings = {"position": position, "engine": engine, "progress": False}
    grid = sl.sweep(llama, samples, differences[component], ks, strengths, **settings)
    for row, k in enumerate(ks):
        for column, strength in enumerate(strengths):
            cell = sl.MaskedScaling(sl.top_k_mask(differences[component], k), strength)
            one = sl.evaluate(llama, samples, cell, **settings)
            assert grid.accuracy[row, column] == one.accuracy
            assert grid.margin[row, column] == pytest.approx(one.margin, abs=5e-5)
            assert grid.valid_rate[row, column] == one.valid_rate
    assert np.allclose(grid.accuracy[:, 0], grid.unsteered_accuracy)
    assert grid.unsteered_margin == pytest.approx(
        sl.evaluate(llama, samples, engine=engine, progress=False).margin, abs=1e-6
    )


@pytest.mark.parametrize(
    ("position", "engine"),
    all_but(LONG, [(position, engine) for position in POSITIONS for engine in ENGINES]),
    indirect=["engine"],
)
def test_many_in_one_pass_equal_each_alone(llama, build, samples, engine, position):
    """Rows of one batch with different kinds, components and needs."""
    import numpy as np

    import sadi_lens as sl

    many = [None, *(build(kind, component) for kind, component in [*CASES, *MORE])]
    settings = {"position": position, "engine": engine, "progress": False}
    together = sl.evaluate(llama, samples, many, **settings)
    for one, found in zip(many, together, strict=True):
        alone = sl.evaluate(llama, samples, one, **settings)
        np.testing.assert_allclose(found.choice_scores, alone.choice_scores, atol=5e-5, rtol=1e-5)
        assert found.label == alone.label


@pytest.mark.parametrize(
    ("kind", "component", "engine"), every_pair([*CASES, *MORE], ENGINES), indirect=["engine"]
)
def test_saved_and_loaded_is_equal_and_acts_the_same(
    llama, build, samples, tmp_path, engine, kind, component
):
    import dataclasses

    import numpy as np

    import sadi_lens as sl

    intervention = build(kind, component)
    again = sl.load(sl.save(intervention, tmp_path / "one"), model=llama)
    assert again == intervention
    assert again.label == intervention.label
    before, after = sl.evaluate(
        llama, samples, [intervention, again], engine=engine, progress=False
    )
    # Passes are cut to the memory at hand, so equal to rounding: log-probabilities are sums of some -15 nats.
    np.testing.assert_allclose(before.choice_scores, after.choice_scores, rtol=1e-6, atol=1e-6)
    other = dataclasses.replace(
        sl.types.ModelInfo.of(llama), name="other", n_layers=1, d_model=7, n_heads=9, d_mlp=11
    )
    with pytest.raises(ValueError, match="other"):
        sl.load(tmp_path / "one", model=other)


@pytest.mark.usefixtures("engine")
def test_the_same_pairs_give_the_same_masks_each_within_the_next(llama, pairs, differences):
    import numpy as np

    import sadi_lens as sl

    found = sl.activation_differences(llama, pairs, progress=False)
    for component in COMPONENTS:
        for name in ("mean", "std", "vector", "prompt_mean", "prompt_rms"):
            np.testing.assert_allclose(
                getattr(found[component], name),
                getattr(differences[component], name),
                rtol=1e-5,
                atol=1e-5,
            )
        smaller = set()
        for k in (1, 3, 4, 9):
            mask = sl.top_k_mask(found[component], k)
            assert mask.units == sl.top_k_mask(differences[component], k).units
            assert len(set(mask.units)) == k
            assert smaller < set(mask.units)
            smaller = set(mask.units)


@pytest.fixture(scope="module")
def planted():
    import sadi_lens as sl

    return sl.models.planted_model(), sl.models.planted_task(pulls=False)


@pytest.mark.parametrize("component", COMPONENTS)
def test_on_the_planted_model_the_margin_is_multiplied_by_one_plus_strength(
    planted, engine, component
):
    """The planted unit from the pairs, and log p(yes) - log p(no) as its equation says, through every call."""
    import numpy as np

    import sadi_lens as sl
    from sadi_lens.models._planted_task import planted_logit_difference
    from sadi_lens.models.planted import PLANTED

    model, task = planted
    found = sl.activation_differences(model, task.pairs, progress=False)[component]
    assert sl.top_k_mask(found, 1).units == (PLANTED[component],)
    few = task.test[::8]
    signs = np.array([1.0 if sample.answer == 0 else -1.0 for sample in few])
    settings = {"engine": engine, "progress": False}
    for position in POSITIONS:
        for strength in (-0.5, 2.0, 7.0):
            one = sl.MaskedScaling(sl.top_k_mask(found, 1), strength)
            steered = sl.evaluate(model, few, one, position=position, **settings)
            paper = [planted_logit_difference(sample.prompt, strength) for sample in few]
            np.testing.assert_allclose(steered.margins, signs * paper, rtol=1e-5, atol=2e-5)
            plain = [planted_logit_difference(sample.prompt) for sample in few]
            np.testing.assert_allclose(paper, (1 + strength) * np.array(plain))


def test_the_same_seed_gives_the_same_numbers(llama, samples, differences, engine):
    import numpy as np
    import torch

    import sadi_lens as sl

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    known = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what is looked at
    mask = sl.top_k_mask(differences["head"], 3)
    bands = [
        sl.measure.null_band(llama, samples, mask, 3.0, n=5, seed=seed, progress=False)
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(bands[0].margins, bands[1].margins)
    assert not np.array_equal(bands[0].margins, bands[2].margins)
    grids = [
        sl.sweep(llama, samples, differences["head"], [2], [3.0], engine=engine, progress=False)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(grids[0].margin, grids[1].margin)
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], known)  # noqa: NPY002
