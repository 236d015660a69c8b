"""The text rules of the design."""

import pytest
from factories import word_tokenizer


def test_special_tokens_are_the_tokenizers_own():
    from sadi_lens.engine.text import encode

    with_bos, without = word_tokenizer(), word_tokenizer(bos=False)
    assert encode(with_bos, "the ball") == with_bos("the ball")["input_ids"]
    assert encode(with_bos, "the ball")[0] == with_bos.bos_token_id
    assert encode(without, "the ball")[0] != without.bos_token_id
    assert encode(without, "the", prepend_bos=True) == [
        without.bos_token_id,
        *encode(without, "the"),
    ]
    assert encode(with_bos, "the", prepend_bos=True) == encode(with_bos, "the")
    assert encode(with_bos, "the", prepend_bos=False) == encode(without, "the")


def test_a_chat_template_gets_no_second_bos():
    from sadi_lens.engine.text import encode

    tokenizer = word_tokenizer()
    tokenizer.chat_template = "{{ bos_token }}{{ messages[0]['content'] }}"
    text = tokenizer.apply_chat_template([{"content": "the ball"}], tokenize=False)
    assert encode(tokenizer, text) == encode(tokenizer, "the ball")
    assert encode(tokenizer, text, prepend_bos=True) == encode(tokenizer, "the ball")


def test_no_bos_token_to_prepend():
    from sadi_lens.engine.text import encode

    tokenizer = word_tokenizer(bos=False)
    tokenizer.bos_token = None
    assert encode(tokenizer, "the", prepend_bos=False) == tokenizer("the")["input_ids"]
    with pytest.raises(ValueError, match="the tokenizer has no BOS token"):
        encode(tokenizer, "the", prepend_bos=True)


def test_a_first_token_common_to_all_answers_is_still_answer(llama):
    from sadi_lens.engine.text import encode_item

    item = encode_item(llama, "the ball is", (" very red", " very big hat"))
    assert item.prompt == tuple(llama.tokenizer("the ball is")["input_ids"])
    assert [len(answer) for answer in item.answers] == [2, 3]
    assert item.merged == 0


def test_batches_hold_every_index_once_within_the_bound():
    from sadi_lens.engine.passes import batches_by_tokens

    lengths = [5, 1, 9, 3, 3, 20, 2]
    batches = list(batches_by_tokens(lengths, 10))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 10


LONG = "the ball is " + "red " * 70


def test_items_that_are_too_long_are_named_before_anything_is_computed(llama, pairs, samples):
    import sadi_lens as sl

    given = [samples[0], sl.Sample(LONG + "the", (" red", " blue"), 0, split="dev"), *samples[1:]]
    many = [pairs[0], sl.ContrastivePair(LONG + "the", " red", " blue"), *pairs[1:]]
    message = (
        r"1 of {} {} must fit the context of 64 tokens; too long are rows \(tokens\) 1 \(\d+\)"
    )
    with pytest.raises(ValueError, match=message.format(5, "samples") + ".*too_long='skip'"):
        sl.evaluate(llama, given, progress=False)
    with pytest.raises(ValueError, match=message.format(5, "pairs")):
        sl.activation_differences(llama, many, progress=False)
    with pytest.raises(ValueError, match="did you mean 'skip'"):
        sl.evaluate(llama, samples, too_long="skipp", progress=False)
    with pytest.raises(ValueError, match="none is left"):
        sl.evaluate(llama, given[1:2], too_long="skip", progress=False)


def test_items_that_are_skipped_are_counted(llama, pairs, samples, differences):
    import dataclasses

    import numpy as np

    import sadi_lens as sl

    given = [samples[0], sl.Sample(LONG + "the", (" red", " blue"), 0, split="dev"), *samples[1:]]
    many = [pairs[0], sl.ContrastivePair(LONG + "the", " red", " blue"), *pairs[1:]]
    with pytest.warns(UserWarning, match=r"rows \(tokens\) 1 \(\d+\)\. They are left out"):
        found = sl.evaluate(llama, given, too_long="skip", progress=False)
    assert (found.n, found.skipped) == (4, 1)
    assert "1 too long" in str(found)
    assert dataclasses.replace(found, skipped=0) == sl.evaluate(llama, samples, progress=False)
    with pytest.warns(UserWarning, match="They are left out"):
        fewer = sl.activation_differences(llama, many, too_long="skip", progress=False)["head"]
    assert (fewer.n, fewer.skipped) == (4, 1)
    np.testing.assert_array_equal(fewer.mean, differences["head"].mean)
    with pytest.warns(UserWarning, match="They are left out"):
        grid = sl.sweep(llama, given, fewer, [1], [1.0], too_long="skip", progress=False)
    assert (grid.n, grid.skipped) == (4, 1)
    texts = [sl.Sample("the ball", target="x"), sl.Sample("the red ball is in the", target="x")]
    with pytest.warns(UserWarning, match="with max_new_tokens 60"):
        sl.evaluate(llama, texts, max_new_tokens=60, too_long="skip", progress=False)


def test_words_that_the_model_does_not_know_are_said(llama):
    import sadi_lens as sl

    known = sl.Sample("the ball is", (" red", " blue"), 0)
    strange = sl.Sample("the zebra is", (" red", " blue"), 0)
    with pytest.warns(
        UserWarning, match=r"1 of 2 items hold words .* \(rows 1; first 'zebra'\).*'<unk>'"
    ):
        sl.evaluate(llama, [known, strange], progress=False)
    pair = sl.ContrastivePair("the zebra is", " red", " blue")
    with pytest.warns(UserWarning, match="first 'zebra'"):
        sl.activation_differences(llama, [pair], progress=False)


def test_an_unknown_first_word_is_named_though_it_is_known_after_a_space():
    import sadi_lens as sl

    model = sl.load_model("tiny")
    with pytest.warns(UserWarning, match=r"\(rows 0; first 'cat'\)"):
        sl.generate(model, "cat", max_new_tokens=1)
    with pytest.warns(UserWarning, match=r"\(rows 0; first 'zebra'\)"):
        sl.generate(model, "Tom has a cat\nand a  zebra", max_new_tokens=1)


def test_an_empty_prompt_is_continued_from_bos_where_the_tokenizer_sets_one():
    import sadi_lens as sl

    model = sl.load_model("tiny")
    (found,) = sl.generate(model, "", max_new_tokens=2, return_tokens=True)
    assert found.prompt == (model.tokenizer.bos_token_id,)
    with pytest.raises(ValueError, match="prompt must have at least one token, got ''"):
        sl.generate(model, "", max_new_tokens=2, prepend_bos=False)


def test_half_of_a_character_is_refused(llama):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="a prompt or answer holds half of a character"):
        sl.generate(llama, "the \ud800", max_new_tokens=1)


def test_the_end_that_a_tokenizer_puts_behind_a_text_is_left_off():
    from tokenizers import processors

    from sadi_lens.engine.text import encode

    tokenizer, plain = word_tokenizer(bos=False), word_tokenizer(bos=False)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    assert tokenizer("the")["input_ids"][1:] == [tokenizer.eos_token_id]
    for text in ("the", "the ball", "the ball<eos>"):
        ids = encode(tokenizer, text)
        assert ids[: len(plain(text)["input_ids"])] == plain(text)["input_ids"]
        assert (ids[-1] == tokenizer.eos_token_id) == text.endswith("<eos>")


def test_the_lengths_of_an_item_are_those_of_its_shortest_and_longest_text():
    from sadi_lens.engine.text import EncodedItem

    assert EncodedItem((1, 2, 3), ((4, 5), (6,), (7, 8, 9))).lengths == (4, 6)
    assert EncodedItem((1, 2, 3)).lengths == (3, 3)


def test_a_text_may_fill_the_context(llama):
    import sadi_lens as sl

    full = "the" + " red" * 62  # 64 tokens with BOS
    assert sl.interventions.tail_thresholds(llama, [full]).shape == (3,)
    with pytest.raises(ValueError, match="must fit the context of 64 tokens, got 65"):
        sl.interventions.tail_thresholds(llama, [full + " red"])


def test_a_model_that_names_no_context_takes_any_length(llama, monkeypatch):
    import sadi_lens as sl

    monkeypatch.setattr(llama.cfg, "n_ctx", None)
    (found,) = sl.generate(llama, LONG, max_new_tokens=2, return_tokens=True)
    assert len(found.prompt) > 64


def test_a_tokenizer_without_padding_gives_the_same_scores(llama, samples):
    import sadi_lens as sl

    expected = sl.evaluate(llama, samples, progress=False).choice_scores
    before = llama.tokenizer.pad_token
    llama.tokenizer.pad_token = None
    try:
        found = sl.evaluate(llama, samples, progress=False).choice_scores
    finally:
        llama.tokenizer.pad_token = before
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_an_end_of_text_that_a_template_wrote_stays():
    """Only what the tokenizer itself puts behind a text is left off, also where it strips blanks."""
    from tokenizers import AddedToken

    from sadi_lens.engine.text import encode
    from sadi_lens.types.chat_prompt import ChatPrompt

    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"eos_token": AddedToken("<eos>", rstrip=True)})
    text = "the ball<eos>\n"
    want = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert want[-1] == tokenizer.eos_token_id
    assert encode(tokenizer, ChatPrompt(text)) == want
