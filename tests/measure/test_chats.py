"""A chat is measured at the tokens of the tokenizer's own ``apply_chat_template``, with no BOS in front of them."""

import numpy as np
import pytest

TURNS = (
    "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %} .{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} Ann says{% endif %}"
)
CHATS = [
    [{"role": "user", "content": "the big red ball is"}],
    [{"role": "user", "content": "Tom says the hat"}, {"role": "assistant", "content": " is in"}],
]


@pytest.fixture
def tokens(llama, monkeypatch):
    """Of each chat, by the tokenizer alone; the second is continued in its last message."""
    monkeypatch.setattr(llama.tokenizer, "chat_template", TURNS)
    apply = llama.tokenizer.apply_chat_template
    options = {"tokenize": True, "return_dict": False}
    found = [
        apply(CHATS[0], add_generation_prompt=True, **options),
        apply(CHATS[1], continue_final_message=True, **options),
    ]
    assert [one[0] for one in found] != [llama.tokenizer.bos_token_id] * 2
    return found


@pytest.fixture
def sadi(llama):
    import sadi_lens as sl

    return sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1), (0, 3)], llama), 2.0)


def logits_of(llama, ids, sadi=None, n_prompt=None):
    import torch

    import sadi_lens as sl

    with torch.inference_mode(), sl.steer(llama, sadi, prompt_lengths=[n_prompt or len(ids)]):
        return llama.original_model(torch.tensor([ids])).logits[0]


def heads_of(llama, ids):
    """Layer 0, last token: nothing was edited before it."""
    import torch

    import sadi_lens as sl

    found = sl.engine.read_activations(llama, torch.tensor([ids]), components=["head"])
    return found["head"][0][0, -1]


@pytest.mark.parametrize("at", [0, 1])
def test_a_receipt_of_a_chat_is_of_its_tokens(llama, sadi, tokens, at, tmp_path):
    import sadi_lens as sl

    found = sl.measure.receipt(llama, CHATS[at], sadi, max_new_tokens=3, eos_token_id=None)
    assert (found.n_prompt, found.passes) == (len(tokens[at]), 3)
    (edit,) = found.edits
    assert (edit.token, edit.text) == (len(tokens[at]) - 1, [" says", " in"][at])
    z = heads_of(llama, tokens[at])
    assert edit.norm_before == pytest.approx(float(z.norm()), rel=1e-5)
    assert edit.norm_change == pytest.approx(2 * float(z[[1, 3]].norm()), rel=1e-5)
    (text,) = sl.generate(llama, tokens[at], sadi, max_new_tokens=3, eos_token_id=None)
    assert found.text == text
    # What the receipt names can be asked again, also when it comes from a file.
    kept = sl.load(sl.save(found, tmp_path / "receipt"), model=llama)
    assert kept == found
    again = sl.measure.receipt(llama, kept.prompt, sadi, max_new_tokens=3, eos_token_id=None)
    assert again == found


@pytest.mark.parametrize("text", [None, " red ball"])
def test_a_trace_of_a_chat_is_of_its_tokens(llama, sadi, tokens, text, tmp_path):
    import sadi_lens as sl

    prompt = tokens[0]
    trace = sl.measure.trace_generation(llama, CHATS[0], sadi, text=text, max_new_tokens=3)
    ((_, _, new),) = sl.generate(llama, prompt, sadi, max_new_tokens=3, return_tokens=True)
    new = list(new) if text is None else llama.tokenizer(text, add_special_tokens=False).input_ids
    assert trace.tokens == tuple(llama.tokenizer.decode([one]) for one in new)
    for name, one in {"logp_unsteered": None, "logp": sadi}.items():
        logits = logits_of(llama, prompt + new, one, len(prompt))[len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1)[range(len(new)), new]
        np.testing.assert_allclose(getattr(trace, name), expected, atol=1e-4)
    assert (trace.edit_norm[0] > 0).tolist() == [True] + [False] * (len(new) - 1)
    kept = sl.load(sl.save(trace, tmp_path / "trace"), model=llama)
    assert kept == trace
    again = sl.measure.trace_generation(llama, kept.prompt, sadi, text=text, max_new_tokens=3)
    assert again == trace


def test_a_check_of_chats_is_of_their_tokens(llama, sadi, tokens):
    import sadi_lens as sl

    found = sl.measure.check(llama, sadi, CHATS, n_steps=1)
    effect = max(
        float((logits_of(llama, whole, sadi, n) - logits_of(llama, whole))[n - 1 :].abs().max())
        for whole, n in ((row + row[:1], len(row)) for row in tokens)
    )
    assert found.is_ok
    assert found.effect == pytest.approx(effect, rel=1e-4)


def test_pushes_shifts_and_divergence_of_chats_are_of_their_tokens(llama, sadi, tokens):
    import sadi_lens as sl

    pushed = [2 * heads_of(llama, row)[[1, 3]] for row in tokens]
    push = sl.measure.measure_push(llama, CHATS, sadi, progress=False)
    rms = np.sqrt(np.mean([float(one.square().sum()) for one in pushed]))
    assert push.rms == pytest.approx(rms, rel=1e-5)
    rows, pushes = sl.measure.record_pushes(llama, sadi, CHATS, progress=False)
    assert rows == [tuple(row) for row in tokens]
    np.testing.assert_allclose(pushes[1, 0, [1, 3]], pushed[1], atol=1e-6)
    assert sl.measure.swap_prompts(llama, sadi, CHATS, progress=False).prompts == tuple(rows)
    with pytest.raises(ValueError, match="its own donor, got 'the big red ball is Ann says' for"):
        sl.measure.swap_prompts(llama, sadi, CHATS[:1], CHATS[:1], progress=False)
    resampled = sl.measure.resample_ablation(llama, sadi.mask, CHATS)
    assert resampled.prompts == tuple(rows)

    shifts = sl.measure.activation_shifts(llama, CHATS, {"SADI": sadi}, layer=0, component="head")
    heads = np.stack([heads_of(llama, row).flatten() for row in tokens])
    np.testing.assert_allclose(shifts.before, heads, atol=1e-5)
    # Of one kind with prompts that were rendered before, as those of a task are.
    again = sl.measure.activation_shifts(
        llama, shifts.prompts, {"SADI": sadi}, layer=0, component="head"
    )
    assert again == shifts

    def kl(row):
        plain, steered = (logits_of(llama, row, one)[-1].log_softmax(-1) for one in (None, sadi))
        return float((plain.exp() * (plain - steered)).sum())

    found = sl.measure.divergence(llama, [(one, "") for one in CHATS], sadi)
    assert found.kl == pytest.approx(np.mean([kl(row) for row in tokens]), abs=1e-5)
    matched = sl.measure.match_kl(
        llama, CHATS, sadi, lambda strength: sl.MaskedScaling(sadi.mask, strength)
    )
    assert matched.strength == pytest.approx(2.0, rel=0.02)


def test_what_was_written_after_a_chat_is_read_after_it(llama, tokens):
    import sadi_lens as sl

    new = llama.tokenizer(" red ball", add_special_tokens=False).input_ids
    logits = logits_of(llama, tokens[0] + new)[len(tokens[0]) - 1 : -1]
    nats = -float(logits.log_softmax(-1)[range(2), new].mean())
    table = sl.measure.open_ended_scores(llama, CHATS[:1], [" red ball"])
    assert table.perplexity[0] == pytest.approx(np.exp(nats), rel=1e-4)


def test_what_is_no_chat_is_refused_with_what_to_give(llama, sadi):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="has no chat template"):
        sl.measure.receipt(llama, CHATS[0], sadi)
    with pytest.raises(ValueError, match="at least one message, got"):
        sl.measure.receipt(llama, [], sadi)
    with pytest.raises(TypeError, match="a chat is a list of messages"):
        sl.measure.check(llama, sadi, CHATS[1])
    with pytest.raises(TypeError, match=r"write \['the ball'\] for a list of one"):
        sl.measure.measure_push(llama, "the ball", sadi)
    with pytest.raises(TypeError, match=r"prompt\[0\] must be a dict, got 1"):
        sl.measure.trace_generation(llama, [1, 2], sadi)


def test_interventions_made_from_chats_know_them_by_their_tokens(llama, tokens):
    import torch

    import sadi_lens as sl

    rows = tuple(tuple(row) for row in tokens)
    assert set(sl.interventions.TDA.from_prompts(llama, CHATS).prompts) == set(rows)

    def residual(ids):
        found = sl.engine.read_activations(llama, torch.tensor([ids]), components=["hidden"])
        return found["hidden"][1][0]

    space = llama.tokenizer(" ball", add_special_tokens=False).input_ids
    longest = max(map(len, rows))
    padded = [[*row, *space * (longest - len(row))] for row in rows]
    made = sl.interventions.ActAdd.from_prompts(llama, *CHATS, 1, padding=" ball")
    expected = residual(padded[0]) - residual(padded[1])
    np.testing.assert_allclose(made.vector, expected, atol=1e-5)

    gate = sl.interventions.InferAlignerGate.from_prompts(llama, CHATS[:1], CHATS[1:], [1])
    theta = residual(rows[0])[-1] - residual(rows[1])[-1]
    np.testing.assert_allclose(gate.push[0], theta, atol=1e-5)
