"""Scores of free text against values by hand."""

import math
import zlib
from typing import Any

import numpy as np
import pytest


def test_distinct_repetition_and_compression_by_hand():
    from sadi_lens.measure.open_ended import compression, distinct, repetition

    assert distinct("a b a b", 1) == 0.5
    assert distinct("a b a b", 2) == pytest.approx(2 / 3)
    assert math.isnan(distinct("a", 2))
    # 1231 2312 3123 1231: four, three different. The second row is too short for one.
    assert repetition([[1, 2, 3, 1, 2, 3, 1], [4, 4, 4]]) == pytest.approx(1 / 4)
    # A 4-gram seen in another row is new in its own.
    assert repetition([[1, 2, 3, 4], [1, 2, 3, 4]]) == 0
    assert math.isnan(repetition([[1, 2, 3]]))
    loop = "no " * 40
    packed = len(zlib.compress(loop.encode(), 9)) + len(zlib.compress(b"yes", 9))
    assert compression([loop, "yes", ""]) == pytest.approx(123 / packed)
    assert compression([loop]) > 5
    assert math.isnan(compression([""]))


def test_a_table_of_texts_repeats_tokens_not_words(llama):
    import sadi_lens as sl

    table = sl.measure.open_ended_scores(llama, ["the", "the"], [" the" * 8, " the ball is red"])
    assert table["repetition"][0] == pytest.approx(4 / 5)  # five 4-grams, one kind
    assert table["repetition"][1] == 0
    assert table["compression"][0] > table["compression"][1]


def test_perplexity_equals_the_loss_of_a_plain_forward(llama):
    import torch

    from sadi_lens.measure.open_ended import perplexities

    prompts, texts = ["the ball is", "Ann", "Tom"], [" red", " was very good", ""]
    found = perplexities(llama, prompts, texts)
    for prompt, text, value in zip(prompts[:2], texts[:2], found[:2], strict=True):
        ids = torch.tensor([llama.tokenizer(prompt + text)["input_ids"]])
        start = len(llama.tokenizer(prompt)["input_ids"])
        labels = ids.clone()
        labels[:, :start] = -100
        with torch.inference_mode():
            loss = llama.original_model(ids, labels=labels).loss
        assert value == pytest.approx(math.exp(float(loss)), rel=1e-4)
    assert math.isnan(found[2])


def test_toxicity_is_absent_without_a_classifier_and_checked_with_one(llama):
    import sadi_lens as sl

    prompts, texts = ["the ball is", "Ann was"], [" red", " bad bad"]
    assert "toxicity" not in sl.measure.open_ended_scores(llama, prompts, texts)
    table = sl.measure.open_ended_scores(
        llama, prompts, texts, classifier=lambda t: [0.1 * len(x.split()) for x in t]
    )
    np.testing.assert_allclose(table["toxicity"], [0.1, 0.2])
    assert table["words"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="must give 2 probabilities"):
        sl.measure.open_ended_scores(llama, prompts, texts, classifier=lambda _: [2.0, 0.0])
    with pytest.raises(ValueError, match="one prompt a text"):
        sl.measure.open_ended_scores(llama, prompts, texts[:1])


def test_a_local_classifier_gives_the_probability_of_its_toxic_label(tmp_path):
    import torch
    from factories import word_tokenizer
    from transformers import BertConfig, BertForSequenceClassification

    import sadi_lens as sl

    tokenizer = word_tokenizer(bos=False)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, id2label={0: "non-toxic", 1: "toxic"}, label2id={"non-toxic": 0, "toxic": 1},
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = sl.measure.load_classifier(tmp_path)(["the ball", "bad"])
    for text, value in zip(["the ball", "bad"], found, strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
        assert value == pytest.approx(float(logits.softmax(-1)[1]), abs=1e-6)
    with pytest.raises(ValueError, match="label must be one of"):
        sl.measure.load_classifier(tmp_path, label="rude")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        sl.measure.load_classifier(tmp_path / "none")


def test_labels_that_do_not_exclude_each_other_have_a_probability_each(tmp_path):
    import torch
    from factories import word_tokenizer
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    import sadi_lens as sl

    tokenizer = word_tokenizer(bos=False)
    small: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    several = {0: "toxic", 1: "rude", 2: "threat"}
    kinds: dict[str, dict[str, Any]] = {
        "several": {"id2label": several, "problem_type": "multi_label_classification"},
        "one": {"id2label": {0: "toxic"}},
    }

    def made(name: str) -> BertForSequenceClassification:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return BertForSequenceClassification(BertConfig(**small, **kinds[name])).eval()

    for name in kinds:
        model = made(name)
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        (found,) = sl.measure.load_classifier(tmp_path / name, label="toxic")(["the ball"])
        with torch.inference_mode():
            logits = model(**tokenizer("the ball", return_tensors="pt")).logits[0]
        assert found == pytest.approx(float(logits.sigmoid()[0]), abs=1e-6)
    BertModel(BertConfig(**small)).save_pretrained(tmp_path / "one")
    with pytest.raises(
        ValueError, match=r"lacks 2 weights of a classifier \(first 'classifier.bias'"
    ):
        sl.measure.load_classifier(tmp_path / "one", label="LABEL_1")
    kinds["one"]["problem_type"] = "regression"
    made("one").save_pretrained(tmp_path / "one")
    with pytest.raises(ValueError, match="regression, which gives no probabilities"):
        sl.measure.load_classifier(tmp_path / "one")
