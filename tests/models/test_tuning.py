"""Fine-tuning: what it refuses while it learns."""

import pytest

pytest.importorskip("peft")


def test_a_rate_at_which_the_loss_is_lost_is_named(llama):
    import sadi_lens as sl

    texts = [("the ball is", " red"), ("a hat is", " blue")]
    with pytest.raises(ValueError, match=r"learning_rate 1e\+30 makes the loss nan in epoch \d"):
        sl.models.fine_tune(llama, texts, learning_rate=1e30, epochs=[3])


def test_a_model_with_dropout_of_its_own_learns_the_same_twice_and_draws_nothing():
    import torch
    from factories import word_tokenizer
    from transformers import GPT2Config, GPT2LMHeadModel

    import sadi_lens as sl

    tokenizer = word_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=32, eos_token_id=2
    )
    assert config.resid_pdrop > 0
    model = sl.load_model(GPT2LMHeadModel(config).eval(), tokenizer=tokenizer)
    texts = [("the ball is", " red"), ("a hat is", " blue")]
    before = torch.random.get_rng_state()
    one, two = (
        sl.models.fine_tune(model, texts, learning_rate=1e-2, epochs=[3])[0] for _ in range(2)
    )
    assert one.losses == two.losses
    assert torch.equal(before, torch.random.get_rng_state())
    item = (
        tokenizer("the ball is red", return_tensors="pt")["input_ids"],
        tokenizer("a hat is blue", return_tensors="pt")["input_ids"],
    )
    with torch.no_grad():
        first = [-model(ids)[0, -2].log_softmax(-1)[ids[0, -1]] for ids in item]
    assert one.losses[0] == pytest.approx(float(sum(first)) / 2, abs=1e-5)
