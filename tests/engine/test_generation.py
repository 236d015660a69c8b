"""Generation on the raw model: the bridge's texts, one intervention a prompt, watched while it runs."""

import io

import pytest

PROMPTS = ["the ball is", "Tom says the big red hat is in the", "a"]


def kinds(differences):
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["head"], 6)
    adaptive = sl.MaskedScaling(mask, 4.0)
    fixed = sl.MaskedAddition.from_differences(mask, differences["head"], 4.0)
    return [None, adaptive, fixed]


def options(**more):
    return {"max_new_tokens": 6, "skip_special_tokens": False, "eos_token_id": None, **more}


@pytest.mark.parametrize("position", ["last_prompt", "every_step", "generated", "all"])
@pytest.mark.parametrize("beams", [1, 2])
def test_the_raw_model_writes_what_the_bridge_writes(llama, differences, position, beams):
    from factories import on_the_bridge

    import sadi_lens as sl

    several = kinds(differences)
    settings = options(position=position, num_beams=beams)
    fast = sl.generate(llama, PROMPTS, several, **settings)
    each = [sl.generate(llama, PROMPTS, one, **settings) for one in several]
    assert fast == [each[index][index] for index in range(3)]
    with on_the_bridge(llama):
        assert fast == sl.generate(llama, PROMPTS, several, **settings)
        assert each == [sl.generate(llama, PROMPTS, one, **settings) for one in several]
    assert len({tuple(one) for one in each}) == 3


def test_unsteered_adaptive_and_fixed_stand_in_one_batch(llama, differences):
    import sadi_lens as sl

    several = kinds(differences)
    together = sl.generate(llama, [PROMPTS[1]] * 3, several, **options())
    alone = [sl.generate(llama, PROMPTS[1], one, **options())[0] for one in several]
    assert together == alone
    with pytest.raises(ValueError, match="one for each prompt: got 3 for 2 prompts"):
        sl.generate(llama, PROMPTS[:2], several)


OF_A_CHECKPOINT = {
    "num_return_sequences": 3, "num_beams": 3, "num_beam_groups": 2, "diversity_penalty": 1.0, "do_sample": True,
    "temperature": 0.3, "top_k": 2, "top_p": 0.5, "min_p": 0.9, "typical_p": 0.1, "epsilon_cutoff": 0.1,
    "eta_cutoff": 0.1, "repetition_penalty": 5.0, "encoder_repetition_penalty": 3.0, "no_repeat_ngram_size": 1,
    "length_penalty": 4.0, "early_stopping": True, "max_length": 3, "min_length": 30, "max_new_tokens": 2,
    "min_new_tokens": 6, "max_time": 1e-9, "stop_strings": ["a"], "suppress_tokens": [*range(5, 40)],
    "begin_suppress_tokens": [*range(4, 40)], "bad_words_ids": [[5], [6]], "sequence_bias": {(5,): 50.0},
    "forced_bos_token_id": 5, "forced_eos_token_id": 2, "exponential_decay_length_penalty": (1, 9.0),
    "guidance_scale": 3.0, "penalty_alpha": 0.6, "dola_layers": "low", "prompt_lookup_num_tokens": 3,
    "use_cache": False, "cache_implementation": "static", "return_dict_in_generate": True, "output_scores": True,
    "pad_token_id": 7, "bos_token_id": 9, "decoder_start_token_id": 4,
}  # fmt: skip


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("asked", [{}, {"num_beams": 2}, {"do_sample": True}])
def test_what_a_checkpoint_asks_for_changes_no_text(llama, use_cache, asked, monkeypatch):
    """Every setting of its generation config but the end-of-text tokens, greedy, with beams and sampled."""
    import sadi_lens as sl

    def written():
        settings = {"max_new_tokens": 6, "return_tokens": True, "use_cache": use_cache, **asked}
        return sl.generate(llama, PROMPTS, **settings)

    own, expected = llama.original_model.generation_config, written()
    runs = {id(one): one for one in (own, llama.raw_model.generation_config)}.values()
    for name, value in OF_A_CHECKPOINT.items():
        with monkeypatch.context() as patch:
            for one in runs:
                patch.setattr(one, name, value, raising=False)
            assert written() == expected, name
    last = expected[0].tokens[2]
    monkeypatch.setattr(own, "eos_token_id", last)
    if not asked:
        assert written()[0].tokens == expected[0].tokens[:2]


def test_nothing_stays_on_the_raw_model(llama, differences):
    import sadi_lens as sl

    def hooked():  # transformers leaves hooks of its own once hidden states were asked for
        return [
            (
                name,
                [*module._forward_hooks],
                [*module._forward_pre_hooks],
                "forward" in vars(module),
            )
            for name, module in llama.raw_model.named_modules()
        ]

    before, hooks = llama.raw_model.generation_config, hooked()
    sl.generate(llama, PROMPTS, kinds(differences), **options())
    assert hooked() == hooks
    assert llama.raw_model.generation_config is before


def test_pieces_add_up_to_the_texts(llama, differences):
    import sadi_lens as sl

    pieces = {index: [] for index in range(3)}

    def note(index, piece):
        assert piece
        pieces[index].append(piece)

    texts = sl.generate(llama, PROMPTS, kinds(differences), stream=note, batch_size=2, **options())
    assert ["".join(pieces[index]) for index in range(3)] == texts
    assert all(len(found) > 1 for found in pieces.values())


def test_a_single_text_is_written_to_the_terminal(llama, monkeypatch):
    import sadi_lens as sl

    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    texts = sl.generate(llama, PROMPTS[0], stream=True, **options())
    assert out.getvalue() == texts[0]
    with pytest.raises(ValueError, match="stream=True writes one text, got 3 prompts"):
        sl.generate(llama, PROMPTS, stream=True)
    with pytest.raises(ValueError, match="stream needs num_beams=1, got 2"):
        sl.generate(llama, PROMPTS[0], stream=True, num_beams=2)


def test_letters_of_several_tokens_are_held_back_until_they_are_whole():
    import torch

    from sadi_lens.engine.continuations import Streamer, Watched

    class Bytes:
        def decode(self, tokens, **_options):
            return bytes(tokens).decode("utf-8", errors="replace")

    pieces = []
    watched = Watched(Bytes(), {"eos_token_id": None}, 3, lambda *_: None)
    streamer = Streamer(watched, [7], lambda *piece: pieces.append(piece), True)
    streamer.put(torch.tensor([[1, 2, 3]]))
    for token in "aé".encode():
        streamer.put(torch.tensor([token]))
    streamer.put(torch.tensor([0xC3]))
    streamer.end()
    assert pieces == [(7, "a"), (7, "é"), (7, "\ufffd")]


@pytest.mark.parametrize("use_cache", [True, False])
def test_tokens_that_were_generated_are_given_and_measured(llama, differences, use_cache):
    """Not those of their text: special tokens and what the tokenizer merges would be others."""
    import numpy as np
    import torch

    import sadi_lens as sl

    adaptive = kinds(differences)[1]
    settings = {"max_new_tokens": 6, "use_cache": use_cache}
    ((text, prompt, tokens),) = sl.generate(
        llama, "the ball is", adaptive, return_tokens=True, **settings
    )
    assert list(prompt) == llama.tokenizer("the ball is")["input_ids"]
    assert llama.tokenizer.decode(tokens, skip_special_tokens=True) == text
    trace = sl.measure.trace_generation(llama, "the ball is", adaptive, max_new_tokens=6)
    assert trace.tokens == tuple(llama.tokenizer.decode([one]) for one in tokens)
    with torch.no_grad():
        logits = llama.raw_model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(tokens)[:, None])[:, 0]
    np.testing.assert_allclose(trace.logp_unsteered, expected, atol=1e-4)
    found = sl.generate(llama, "the ball is", adaptive, return_tokens=True, **settings)
    table = sl.measure.open_ended_scores(llama, ["the ball is"], found)
    assert table.perplexity[0] == pytest.approx(float((-expected.mean()).exp()), rel=1e-4)


def test_prompts_may_be_tokens_or_messages(llama):
    import sadi_lens as sl

    ids = [llama.tokenizer(one)["input_ids"] for one in PROMPTS]
    texts = sl.generate(llama, PROMPTS, **options())
    assert sl.generate(llama, ids, **options()) == texts
    assert sl.generate(llama, ids[0], **options()) == texts[:1]
    assert sl.generate(llama, [ids[0], PROMPTS[1]], **options()) == texts[:2]
    chat = [{"role": "user", "content": "the ball is"}]
    with pytest.raises(ValueError, match="has no chat template"):
        sl.generate(llama, chat)
    try:
        llama.tokenizer.chat_template = "{{ messages[0]['content'] }}"
        bare = llama.tokenizer("the ball is", add_special_tokens=False)["input_ids"]
        expected = sl.generate(llama, bare, **options())
        assert sl.generate(llama, chat, **options()) == expected
        assert sl.generate(llama, [chat, chat], **options()) == expected * 2
        with pytest.raises(ValueError, match="'role' and 'content'"):
            sl.generate(llama, [{"text": "x"}])
    finally:
        llama.tokenizer.chat_template = None
    for bad in ([], [-1], [10**9]):
        with pytest.raises(ValueError, match=r"at least one token|the model embeds"):
            sl.generate(llama, [bad])


def test_messages_end_where_the_answer_begins(llama, monkeypatch):
    """The template's own words before an answer are part of the prompt."""
    import sadi_lens as sl

    template = "{{ messages[0]['content'] }}{% if add_generation_prompt %} is{% endif %}"
    monkeypatch.setattr(llama.tokenizer, "chat_template", template)
    chat = [{"role": "user", "content": "the ball"}]
    (found,) = sl.generate(llama, chat, max_new_tokens=1, return_tokens=True)
    assert list(found.prompt) == llama.tokenizer("the ball is", add_special_tokens=False).input_ids


TURNS = (
    "{% for m in messages if m.role in ('user', 'assistant') %}{{ m.content }}"
    "{% if m.role == 'assistant' %} .{% endif %}{% endfor %}{% if add_generation_prompt %} Ann says{% endif %}"
)


def test_a_chat_is_rendered_whole_or_refused(llama, monkeypatch):
    """A message that the template left out, and ``prepend_bos``, had no effect without a word."""
    import sadi_lens as sl

    settings = {"max_new_tokens": 1, "return_tokens": True}
    chat = [{"role": "user", "content": "the ball is"}]
    tokenizer = llama.tokenizer
    monkeypatch.setattr(tokenizer, "chat_template", TURNS)
    with pytest.raises(ValueError, match=r"prompts: .*leaves out message 0 \('system': 'be good'"):
        sl.generate(llama, [{"role": "system", "content": "be good"}, *chat])
    (found,) = sl.generate(llama, chat, prepend_bos=True, **settings)
    assert list(found.prompt) == tokenizer("the ball is Ann says").input_ids
    (found,) = sl.generate(llama, chat, **settings)
    assert list(found.prompt) == tokenizer("the ball is Ann says").input_ids[1:]


def test_a_chat_that_ends_in_the_assistants_words_is_continued_there(llama, monkeypatch):
    """Another turn of the assistant was opened behind them."""
    import sadi_lens as sl

    chat = [{"role": "user", "content": "the ball"}, {"role": "assistant", "content": " is"}]
    monkeypatch.setattr(llama.tokenizer, "chat_template", TURNS)
    (found,) = sl.generate(llama, chat, max_new_tokens=1, return_tokens=True)
    assert list(found.prompt) == llama.tokenizer("the ball is", add_special_tokens=False).input_ids


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_model_in_training_mode_writes_nothing(llama, use_cache):
    import sadi_lens as sl

    llama.original_model.training = True
    try:
        with pytest.raises(ValueError, match="must be in eval mode"):
            sl.generate(llama, "the ball", max_new_tokens=1, use_cache=use_cache)
    finally:
        llama.original_model.training = False


def test_a_condition_is_read_at_the_end_of_a_prompt_of_one_token(llama):
    """CAST below every similarity always pushes, as a fixed vector does."""
    import numpy as np

    import sadi_lens as sl

    push = 20 * np.random.default_rng(0).normal(size=32)
    cast = sl.interventions.CAST(push, 1, np.ones(32), 0, -2.0, 1.0)
    fixed = sl.VectorAddition(push, 1, 1.0)
    settings = {**options(), "position": "every_step"}
    texts = [sl.generate(llama, [[12]], one, **settings) for one in (None, fixed, cast)]
    assert texts[0] != texts[1] == texts[2]


def test_stop_strings_need_no_tokenizer_and_stop_each_row_alone(llama):
    import sadi_lens as sl

    whole = sl.generate(llama, PROMPTS, **options())
    words = whole[0].split()
    stop = f"{words[0]} {words[1]}"
    for cached in (True, False):
        texts = sl.generate(llama, PROMPTS, stop_strings=stop, use_cache=cached, **options())
        assert texts[0] == whole[0][: whole[0].index(stop) + len(stop)]
        assert texts[1:] == [
            one if stop not in one else one[: one.index(stop) + len(stop)] for one in whole[1:]
        ]
    with pytest.raises(TypeError, match="stop_strings must be text or a list"):
        sl.generate(llama, "the", stop_strings=[3])


@pytest.mark.parametrize("by", ["eos_token_id", "stop_strings", "stopping_criteria"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_a_text_that_has_ended_has_nothing_behind_its_end(llama, use_cache, by):
    """Neither padding up to the longest text of its batch, nor what the model would have gone on with."""
    import torch
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    rows, greedy = [[4, 5], [6], [7, 8, 9]], {"max_new_tokens": 8, "do_sample": False}
    alone = [hf.generate(torch.tensor([row]), eos_token_id=None, **greedy)[0] for row in rows]
    new = [one[len(row) :].tolist() for one, row in zip(alone, rows, strict=True)]
    end = new[0][2]
    want = [one[: one.index(end) + 1] if end in one else one for one in new]
    assert len({len(one) for one in want}) > 1
    ways = {
        "eos_token_id": end,
        "stop_strings": tokenizer.decode([end]),
        "stopping_criteria": [lambda ids, _scores, **_: ids[:, -1] == end],
    }
    said = [""] * 3

    def note(index, piece):
        said[index] += piece

    settings = options(max_new_tokens=8, use_cache=use_cache, stream=note, **{by: ways[by]})
    texts = sl.generate(llama, rows, **settings)
    assert texts == said == [tokenizer.decode(one) for one in want]


@pytest.mark.parametrize("beams", [1, 2])
def test_what_may_be_written_is_asked_for_each_prompt_by_its_place(llama, beams):
    """Whatever its batch: each prompt may write one word of its own, and is asked with the tokens it has so far."""
    import sadi_lens as sl

    rows, words = [[4], [5, 6, 7], [8], [9, 10]], [14, 15, 16, 17]
    asked = set()

    def allowed(place, ids):
        asked.add((place, *ids.tolist()))
        return [words[place]]

    # ``no_repeat_ngram_size`` lets equally long prompts alone share a batch.
    settings = {"max_new_tokens": 2, "num_beams": beams, "return_tokens": True}
    for more in ({"batch_size": 3}, {"no_repeat_ngram_size": 4}):
        asked.clear()
        found = sl.generate(llama, rows, prefix_allowed_tokens_fn=allowed, **more, **settings)
        assert [one.tokens for one in found] == [(word, word) for word in words]
        texts = [(place, *row) for place, row in enumerate(rows)]
        assert asked >= {*texts, *((*one, words[one[0]]) for one in texts)}
        assert all(one[1 : 1 + len(rows[one[0]])] == tuple(rows[one[0]]) for one in asked)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize(
    "option", ["stream", "logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn"]
)
def test_a_function_that_a_generation_calls_sees_the_model_unsteered(llama, option, use_cache):
    import torch
    from factories import random_llama

    import sadi_lens as sl

    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(1, 2), (2, 1)], llama), 4.0)
    settings = options(max_new_tokens=3, position="all", use_cache=use_cache, return_tokens=True)
    steered = sl.generate(llama, [[4, 5]], scaling, **settings)
    ids, hf = torch.tensor([[1, 4, 5, 6, 9]]), random_llama()[0]
    with torch.no_grad():
        logits = hf(ids).logits
        written = hf.generate(ids, max_new_tokens=3, do_sample=False, eos_token_id=None)[0, 5:]
    asked = []

    def note(*_args, **_more):
        asked.append(sl.generate(llama, [ids[0].tolist()], **settings)[0].tokens)
        torch.testing.assert_close(llama(ids), logits, atol=1e-4, rtol=1e-4)

    functions = {
        "stream": note,
        "logits_processor": [lambda _ids, scores: note() or scores],
        "stopping_criteria": [lambda *_args, **_more: bool(note())],
        "prefix_allowed_tokens_fn": lambda *_: note() or range(len(llama.tokenizer)),
    }
    found = sl.generate(llama, [[4, 5]], scaling, **settings, **{option: functions[option]})
    assert found == steered
    assert set(asked) == {tuple(written.tolist())} != {steered[0].tokens}


def test_words_that_the_model_does_not_know_are_said(llama):
    import sadi_lens as sl

    with pytest.warns(UserWarning, match="1 of 2 items hold words .* first 'zebra'"):
        sl.generate(llama, ["the ball", "the zebra"], max_new_tokens=1)


def test_logits_that_are_not_finite_are_refused(llama, differences):
    import torch

    import sadi_lens as sl

    adaptive = kinds(differences)[1]
    sample = sl.Sample("the ball is", (" red", " blue"), 0)
    head = llama.raw_model.lm_head
    handle = head.register_forward_hook(lambda _m, _a, out: torch.full_like(out, float("nan")))
    try:
        with pytest.raises(
            ValueError, match=r"a next-token distribution under 'SADI.* is not finite"
        ):
            sl.generate(llama, "the ball is", adaptive, max_new_tokens=2)
        with pytest.raises(ValueError, match=r"a next-token distribution under .* is not finite"):
            sl.evaluate(llama, [sample], adaptive, scoring="generation", progress=False)
    finally:
        handle.remove()


def test_hooks_refuse_another_shape(llama):
    """One unit is not broadcast over the heads, and two layers are not three."""
    import torch

    import sadi_lens as sl

    tokens = torch.tensor([llama.tokenizer("the ball is")["input_ids"]])
    one = sl.MaskedScaling(sl.Mask("head", [[True]] * 3, "x"), 2.0)
    with pytest.raises(ValueError, match=r"is of shape \(1, \d+\) for component 'head' in layer 0"):
        llama.run_with_hooks(tokens, fwd_hooks=sl.fwd_hooks(one))
    two = sl.MaskedScaling(sl.Mask("head", [[True] * 4] * 2, "x"), 2.0)
    with pytest.raises(ValueError, match="2 layers x 4 head units"):
        sl.fwd_hooks(two, model=llama)


def test_options_that_read_the_text_back_do_not_read_padding():
    """The token that pads may be one that is generated; a repetition penalty would then penalise it in short rows."""
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    prompts, settings = ["the ball is", "Tom says the big red hat is in the"], {"max_new_tokens": 3}
    model = sl.load_model(hf, tokenizer=tokenizer)
    (first, *_) = sl.generate(model, prompts[0], return_tokens=True, **settings)[0].tokens
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(first)
    model = sl.load_model(hf, tokenizer=tokenizer)
    for option in ({"repetition_penalty": 3.0}, {"no_repeat_ngram_size": 1}):
        together = sl.generate(model, prompts, **settings, **option)
        assert together == [sl.generate(model, one, **settings, **option)[0] for one in prompts]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        (
            {"num_beams": 10**6},
            r"num_beams must be at most \d+, the tokens of the model; got 1000000",
        ),
        ({"temperature": "hot"}, "temperature must be a number, got 'hot'"),
        ({"temperature": 0, "do_sample": True}, "temperature must be above 0, got 0; leave it out"),
        ({"temperature": 0.5}, "temperature=0.5 has no effect without do_sample=True"),
        ({"early_stopping": True}, "early_stopping=True has no effect without num_beams of at"),
        ({"early_stopping": "x", "num_beams": 2}, "must be True or False or 'never', got 'x'"),
        ({"top_p": 2.0, "do_sample": True}, r"top_p must be in \[0, 1\], got 2.0"),
        ({"top_k": True, "do_sample": True}, "top_k must be a whole number, got True"),
        ({"typical_p": 0, "do_sample": True}, r"typical_p must be in \(0, 1\], got 0"),
        ({"do_sample": "yes"}, "do_sample must be True or False, got 'yes'"),
        ({"min_new_tokens": 9}, "min_new_tokens must be at most max_new_tokens 2, got 9"),
        (
            {"forced_eos_token_id": 10**6},
            r"forced_eos_token_id must hold token ids in \[0, \d+\], got",
        ),
        ({"eos_token_id": [2, -1]}, "got -1; None lets no token end a text"),
        ({"eos_token_id": [[1]]}, r"eos_token_id\[0\] must be a whole number, got \[1\]"),
        ({"suppress_tokens": [10**6]}, "suppress_tokens must hold token ids"),
        ({"bad_words_ids": [[]]}, "bad_words_ids must hold at least one token"),
        ({"sequence_bias": {(10**6,): 1.0}}, "sequence_bias must hold token ids"),
        ({"logits_processor": [3]}, r"logits_processor\[0\] must be a function, got 3"),
        ({"stopping_criteria": 3}, "stopping_criteria must be a list of functions, got 3"),
        ({"prefix_allowed_tokens_fn": lambda *_: [10**6]}, "prefix_allowed_tokens_fn returns must"),
        ({"guidance_scale": 2.0}, "an option of generate must be one of .* got 'guidance_scale'"),
        ({"temprature": 2.0}, "did you mean 'temperature'"),
        ({"num_beams": 1.5}, "num_beams must be a whole number"),
        ({"stop_strings": 3}, "stop_strings must be text or a list"),
        ({"stop_strings": ""}, "stop_strings must be texts"),
        ({"cache_implementation": "paged"}, "cache_implementation must be .* got 'paged'"),
        ({"max_length": 9}, r"sets .'max_length'. itself"),
        ({"min_length": 9}, r"sets .'min_length'. itself"),
    ],
)
def test_sampling_that_makes_no_sense_is_named(llama, option, message):
    import sadi_lens as sl

    with pytest.raises((ValueError, TypeError), match=message):
        sl.generate(llama, "the ball", max_new_tokens=2, **option)


def test_whole_numbers_do_for_options_that_are_numbers(llama):
    import sadi_lens as sl

    for one in ({"repetition_penalty": 2}, {"do_sample": True, "temperature": 3}):
        as_float = {name: one[name] if name == "do_sample" else float(one[name]) for name in one}
        texts = [sl.generate(llama, PROMPTS, **{**options(), **each}) for each in (one, as_float)]
        assert texts[0] == texts[1]


def test_options_of_hugging_face_go_through(llama):
    """Each changes the text as asked."""
    import sadi_lens as sl

    def tokens(**option):
        (found,) = sl.generate(llama, PROMPTS[0], return_tokens=True, max_new_tokens=3, **option)
        return found.tokens

    plain = tokens(eos_token_id=None)
    assert tokens(prefix_allowed_tokens_fn=lambda *_: [7]) == (7, 7, 7)
    assert tokens(sequence_bias={(7,): 1e9}) == (7, 7, 7)
    assert plain[0] not in tokens(suppress_tokens=[plain[0]])
    assert plain[0] not in tokens(bad_words_ids=[[plain[0]]])
    assert tokens(eos_token_id=plain[1]) == plain[:1]
    assert tokens(forced_eos_token_id=7, eos_token_id=None) == (*plain[:2], 7)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["A", None], r"prompts\[1\] must be text or a list of whole numbers or .* got None"),
        (["A", [1, None]], r"prompts\[1\]\[1\] must be a whole number, got None"),
        ([{"role": "user", "content": None}], r"prompts\[0\]\['content'\] must be text, got None"),
        ([{1: "user"}], r"a key of prompts\[0\] must be text, got 1"),
    ],
)
def test_the_part_of_the_prompts_that_is_wrong_is_named(llama, prompts, message):
    import sadi_lens as sl

    with pytest.raises(TypeError, match=message):
        sl.generate(llama, prompts)


def test_a_batch_of_repeated_prompts_reads_each_prompt_once(llama, differences, monkeypatch):
    """Unequal prompts, two edits and none of each: the texts of one by one, from one pass over the prefixes."""
    import sadi_lens as sl
    from sadi_lens.engine import generation

    mask = sl.top_k_mask(differences["head"], 3)
    edits = [None, sl.MaskedScaling(mask, 2.0), sl.MaskedScaling(mask, 9.0)]
    prompts = ["the ball is", "Tom says the big red hat is in the", "Ann was"]
    alone = [sl.generate(llama, one, edit, max_new_tokens=4) for one in prompts for edit in edits]
    real, shapes = generation.repeated_prefix, []

    def counted(runner, ids, attention, n_rows, first):
        shapes.append((len(ids), n_rows))
        return real(runner, ids, attention, n_rows, first)

    monkeypatch.setattr(generation, "repeated_prefix", counted)
    rows, repeated = [one for one in prompts for _ in edits], edits * len(prompts)
    assert sl.generate(llama, rows, repeated, max_new_tokens=4) == [one[0] for one in alone]
    assert shapes == [(3, 9)]
    steps = sl.generate(llama, rows, repeated, max_new_tokens=4, position="every_step")
    assert steps == [
        sl.generate(llama, one, edit, max_new_tokens=4, position="every_step")[0]
        for one in prompts
        for edit in edits
    ]
    shapes.clear()
    every = {(row, id(edit)): text for row, edit, text in zip(rows, repeated, steps, strict=True)}
    assert sl.generate(llama, rows[:8], repeated[:8], max_new_tokens=4, batch_size=4) == [
        one[0] for one in alone[:8]
    ]  # cut in the middle of a prompt
    assert shapes == [(2, 4), (2, 4)]
    uneven = [*rows[:3], *rows[4:6], rows[8]]
    edits_of = [*repeated[:3], *repeated[4:6], repeated[8]]
    found = sl.generate(llama, uneven, edits_of, max_new_tokens=4, position="every_step")
    assert found == [every[row, id(edit)] for row, edit in zip(uneven, edits_of, strict=True)]
    shapes.clear()
    sl.generate(llama, rows, repeated, max_new_tokens=2, position="all")
    static = sl.generate(llama, ["a", "a"], max_new_tokens=2, cache_implementation="static")
    assert static == sl.generate(llama, ["a", "a"], max_new_tokens=2)
    with pytest.raises(ValueError, match="sets \\['past_key_values'\\] itself"):
        sl.generate(llama, ["the ball", "the ball"], max_new_tokens=2, past_key_values=3)
    assert shapes == [(1, 2)]


def test_rows_of_one_prompt_run_it_once(llama, differences):
    import sadi_lens as sl

    shapes = []
    table = llama.raw_model.model.embed_tokens
    handle = table.register_forward_pre_hook(lambda _m, args: shapes.append(tuple(args[0].shape)))
    try:
        settings = options(max_new_tokens=2)
        sl.generate(llama, ["the ball is"] * 3, kinds(differences), **settings)
    finally:
        handle.remove()
    assert shapes[-3:] == [(1, 3), (3, 1), (3, 1)]
