"""Fine-tuning: what it refuses while it learns."""

import pytest

pytest.importorskip("peft")


def test_a_rate_at_which_the_loss_is_lost_is_named(llama):
    import sadi_lens as sl

    texts = [("the ball is", " red"), ("a hat is", " blue")]
    with pytest.raises(ValueError, match=r"learning_rate 1e\+30 makes the loss nan in epoch \d"):
        sl.models.fine_tune(llama, texts, learning_rate=1e30, epochs=[3])
