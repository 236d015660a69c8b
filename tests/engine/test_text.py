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
    from sadi_lens.engine.text import batches_by_tokens

    lengths = [5, 1, 9, 3, 3, 20, 2]
    batches = list(batches_by_tokens(lengths, 10))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 10
