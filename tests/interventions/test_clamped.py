"""SADI as its reference code does it, against the same thing done on plain Hugging Face modules."""

import pytest
import torch
from factories import random_llama

PROMPT = "Tom says the big red hat is in the"
MULTIPLIER = 5.0
UNITS = {
    "head": [(0, 1), (1, 2), (2, 0)],
    "mlp_out": [(0, 3), (1, 30), (2, 7)],
}


@pytest.fixture(scope="module")
def raw():
    """The Llama of the fixture ``llama``, never bridged."""
    return random_llama()


def place(raw, component, layer):
    """The module, and whether its input or its output is the component."""
    block = raw.model.layers[layer]
    return (block.self_attn.o_proj, True) if component == "head" else (block.mlp, False)


def hook(raw, component, layer, function):
    """``function`` on the component's values [batch pos d]; returns the handle."""
    module, is_input = place(raw, component, layer)
    if is_input:
        return module.register_forward_pre_hook(lambda _, args: (function(args[0]),))
    return module.register_forward_hook(lambda _, __, output: function(output))


def clean_values(raw, component, ids):
    found = {}

    def keep(layer):
        def function(values):
            found[layer] = values.clone()
            return values

        return function

    handles = [hook(raw, component, layer, keep(layer)) for layer in range(3)]
    with torch.inference_mode():
        raw(ids)
    for handle in handles:
        handle.remove()
    return found


def reference(raw, component, units, ids, first, last=None, *, scope="all"):
    """Logits with tokens ``first``.. overwritten by clean values, the chosen units times the multiplier."""
    clean = clean_values(raw, component, ids)
    width = raw.config.head_dim if component == "head" else 1
    stop = ids.shape[1] if last is None else last

    def write(layer):
        def function(values):
            new, source = values.clone(), clean[layer][:, first:stop].clone()
            chosen = [unit for at, unit in units if at == layer]
            for unit in chosen:
                source[..., unit * width : (unit + 1) * width] *= MULTIPLIER
            if scope == "all":
                new[:, first:stop] = source
            for unit in chosen:
                part = slice(unit * width, (unit + 1) * width)
                new[:, first:stop, part] = source[..., part]
            return new

        return function

    handles = [hook(raw, component, layer, write(layer)) for layer in range(3)]
    with torch.inference_mode():
        logits = raw(ids).logits
    for handle in handles:
        handle.remove()
    return logits


def clamped(llama, component, scope="all"):
    import sadi_lens as sl

    mask = sl.Mask.from_units(component, UNITS[component], llama)
    return sl.interventions.Clamped(sl.MaskedScaling.from_multiplier(mask, MULTIPLIER), scope)


@pytest.mark.parametrize("scope", ["all", "selected"])
@pytest.mark.parametrize("component", ["head", "mlp_out"])
def test_clamped_gives_the_logits_of_the_reference_code(llama, raw, component, scope):
    """The reference code: a clean run, then every layer's last token overwritten, edited at the mask."""
    import sadi_lens as sl

    hf, tokenizer = raw
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    last = ids.shape[1] - 1
    expected = reference(hf, component, UNITS[component], ids, last, scope=scope)
    intervention = clamped(llama, component, scope)
    with torch.inference_mode(), sl.steer(llama, intervention):
        found = llama(ids)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    with torch.inference_mode(), sl.steer(llama, intervention.inner):
        in_flow = llama(ids)
    assert (found - in_flow)[0, -1].abs().max() > 0.1


def test_clamped_scores_answers_like_the_reference_code(llama, raw):
    """Teacher forced: only the last prompt token is overwritten, the answer's tokens follow in the flow."""
    import sadi_lens as sl

    hf, tokenizer = raw
    sample = sl.Sample(PROMPT, (" box", " big red box"), 1, split="dev")
    length = tokenizer(PROMPT, return_tensors="pt")["input_ids"].shape[1]
    expected = []
    for choice in sample.choices:
        ids = tokenizer(PROMPT + choice, return_tensors="pt")["input_ids"]
        logits = reference(hf, "head", UNITS["head"], ids, length - 1, length)
        logprobs = logits[0].log_softmax(dim=-1)
        expected.append(sum(float(logprobs[t - 1, ids[0, t]]) for t in range(length, ids.shape[1])))
    found = sl.evaluate(llama, [sample], clamped(llama, "head"), progress=False)
    assert found.choice_scores[0].tolist() == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("use_cache", [True, False])
def test_clean_means_an_unsteered_run_over_the_same_text_at_every_step(llama, raw, use_cache):
    """With a KV cache too: the steered cache must not leak into what is called clean."""
    import sadi_lens as sl

    hf, tokenizer = raw
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    end = ids.shape[1] - 1
    for _ in range(8):
        logits = reference(hf, "head", UNITS["head"], ids, end)
        ids = torch.cat([ids, logits[:, -1].argmax(dim=-1)[:, None]], dim=1)
    expected = tokenizer.decode(ids[0, end + 1 :])
    options = {"max_new_tokens": 8, "use_cache": use_cache, "eos_token_id": None}
    options |= {"position": "every_step", "skip_special_tokens": False}
    found = sl.generate(llama, PROMPT, clamped(llama, "head"), **options)
    assert found == [expected]


def test_selected_equals_the_flow_within_one_layer_and_all_does_not(llama):
    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(1, 0), (1, 3)], llama)
    scaling = sl.MaskedScaling(mask, 4.0)
    ids = llama.tokenizer(PROMPT, return_tensors="pt")["input_ids"]

    def logits(intervention):
        with torch.inference_mode(), sl.steer(llama, intervention):
            return llama(ids)[0, -1]

    flow = logits(scaling)
    torch.testing.assert_close(
        logits(sl.interventions.Clamped(scaling, "selected")), flow, atol=1e-5, rtol=1e-5
    )
    assert (logits(sl.interventions.Clamped(scaling)) - flow).abs().max() > 0.1


def test_on_the_residual_stream_only_the_last_layers_edit_is_left(llama):
    import sadi_lens as sl

    ids = llama.tokenizer(PROMPT, return_tensors="pt")["input_ids"]

    def logits(units):
        mask = sl.Mask.from_units("hidden", units, llama)
        with (
            torch.inference_mode(),
            sl.steer(llama, sl.interventions.Clamped(sl.MaskedScaling(mask, 6.0))),
        ):
            return llama(ids)[0, -1]

    torch.testing.assert_close(logits([(0, 3), (1, 5), (2, 9)]), logits([(2, 9)]))


def test_the_clean_run_leaves_a_given_cache_and_the_hooks_of_others_as_they_were(llama):
    import sadi_lens as sl

    ids = llama.tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    intervention = clamped(llama, "head")
    with torch.inference_mode():
        _, cache = llama(ids[:, :-1], return_type="logits_and_cache", use_cache=True)
        before = [layer.keys.clone() for layer in cache.layers]
        with sl.steer(llama, intervention):
            cached = llama(ids[:, -1:], past_key_values=cache)
        with sl.steer(llama, intervention):
            whole = llama(ids)
    torch.testing.assert_close(cached[0, -1], whole[0, -1], atol=2e-5, rtol=1e-5)
    assert cache.get_seq_length() == ids.shape[1]
    for layer, kept in zip(cache.layers, before, strict=True):
        assert torch.equal(layer.keys[:, :, :-1], kept)
    for layer in range(3):
        assert not llama.get_hook_point(f"blocks.{layer}.attn.hook_z").fwd_hooks
    assert not llama.original_model._forward_hooks


def test_a_cache_continued_outside_of_steer_is_refused(llama):
    import sadi_lens as sl

    ids = llama.tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    intervention = clamped(llama, "head")
    with torch.inference_mode():
        with sl.steer(llama, intervention, position="every_step"):
            _, cache = llama(ids, return_type="logits_and_cache", use_cache=True)
        llama(ids[:, :1], past_key_values=cache)
        with (
            sl.steer(llama, intervention, position="every_step"),
            pytest.raises(
                ValueError, match=r"holds 11 tokens, its clean run 10: .*outside of steer"
            ),
        ):
            llama(ids[:, :1], past_key_values=cache)


def test_a_cache_whose_rows_moved_without_its_clean_run_is_refused(llama):
    """Rows that change places hold another text's clean values; the same text may stand in either place."""
    import sadi_lens as sl

    texts = [PROMPT, PROMPT.replace("Tom", "Ann"), PROMPT]
    ids = llama.tokenizer(texts, return_tensors="pt")["input_ids"]
    next_ids, hf = torch.tensor([[5], [6], [5]]), llama.original_model
    steered = sl.steer(llama, clamped(llama, "head"), position="every_step")
    with torch.inference_mode(), steered:
        wanted = hf(next_ids, past_key_values=hf(ids, use_cache=True).past_key_values).logits
        same, other = (hf(ids, use_cache=True).past_key_values for _ in range(2))
        same.batch_select_indices(torch.tensor([2, 1, 0]))
        assert torch.equal(hf(next_ids, past_key_values=same).logits, wanted)
        other.batch_select_indices(torch.tensor([1, 0, 2]))
        with pytest.raises(ValueError, match=r"rows of the KV cache .* pass num_beams=1"):
            hf(next_ids, past_key_values=other)


@pytest.mark.parametrize("cache", ["static", "deep copy"])
def test_a_cache_that_is_written_in_place_keeps_clean_and_steered_apart(llama, cache):
    import sadi_lens as sl

    intervention = clamped(llama, "head")
    ids = llama.tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    options = {"max_new_tokens": 6, "eos_token_id": None, "skip_special_tokens": False}
    options["position"] = "every_step"
    expected = sl.generate(llama, PROMPT, intervention, **options)
    if cache == "static":
        assert sl.generate(
            llama, PROMPT, intervention, cache_implementation="static", **options
        ) == (expected)
        return
    import copy

    tokens = []
    with torch.inference_mode(), sl.steer(llama, intervention, position="every_step"):
        logits, held = llama(ids, return_type="logits_and_cache", use_cache=True)
        for _ in range(6):
            tokens.append(int(logits[0, -1].argmax()))
            held = copy.deepcopy(held)
            logits = llama(torch.tensor([[tokens[-1]]]), past_key_values=held)
    assert [llama.tokenizer.decode(tokens)] == expected
