"""What a request may ask for, and what is refused at the door."""

import numpy as np
import pytest


@pytest.fixture
def tables(info):
    import sadi_lens as sl

    scale = np.full((1, 32), 2, np.float32)
    return {
        "polite": sl.serving.SteeringTable("head", (0,), scale, None, "every_step", "x", info),
        "rude": sl.serving.SteeringTable("hidden", (1,), -scale, None, "all", "y", info),
    }


def test_an_admitted_request_says_everything_that_the_engine_needs(tables):
    from sadi_lens.serving.asked import admit, asked_of

    full = admit({"sadi": "polite@last_prompt", "other": 1}, tables, 9)
    asked = asked_of(full)
    assert asked == ("polite", "last_prompt", 9, tables["polite"].digest)
    assert asked.cache_key == (tables["polite"].digest, "last_prompt", 8)
    assert full["other"] == 1
    assert asked_of(admit({"sadi": "rude"}, tables, 9)).position == "all"
    assert asked_of(admit({"sadi": "rude"}, tables, 9)).cache_key[-1] == 0
    assert asked_of(admit({"sadi": "polite", "sadi_prompt_tokens": 4}, tables, 9))[2] == 4


OTHERS = {"other": 1, "session_id": "x", "kv_transfer_params": {}, "ec_transfer_params": {}}


@pytest.mark.parametrize("extra", [None, {}, OTHERS])
def test_an_unsteered_request_is_left_as_it_is(extra, tables):
    from sadi_lens.serving.asked import admit, asked_of

    assert admit(extra, tables, 9) is None
    assert asked_of(extra) is None


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"sadi": "polit"}, "did you mean 'polite'"),
        ({"sadi": "polite@last"}, "position must be one of"),
        ({"sadi": "polite@"}, "position must be one of"),
        ({"sadi": ""}, "must be 'NAME'"),
        ({"sadi": 3}, "must be 'NAME'"),
        ({"sadi_prompt_tokens": 3}, "must be 'NAME'"),
        ({"sadi": "polite", "sadi_prompt_tokens": 10}, r"in \[1, 9\] \(the tokens sent\), got 10"),
        ({"sadi": "polite", "sadi_prompt_tokens": 0}, "got 0"),
        ({"sadi": "polite", "sadi_prompt_tokens": True}, "got True"),
        ({"sadi": "polite", "sadi_prompt_tokens": 2.5}, "got 2.5"),
        ({"sadi": "polite", "sadi_position": "all"}, "steering argument must be one of"),
        ({"sadi": "polite", "sadi_digest": "x"}, "steering argument must be one of"),
        *(({one: "polite"}, f"got '{one}'") for one in ("Sadi", "SADI", " sadi", "sad", "saddi")),
        *(({one: "polite"}, f"got '{one}'") for one in ("sadi-lens", "sadi_table", "use_sadi")),
    ],
)
def test_a_wrong_request_is_refused_with_the_value(extra, words, tables):
    from sadi_lens.serving.asked import admit

    with pytest.raises(ValueError, match=words):
        admit(extra, tables, 9)


def test_what_came_past_the_door_never_runs_unsteered():
    from sadi_lens.serving.asked import asked_of

    with pytest.raises(RuntimeError, match="past its door"):
        asked_of({"sadi": "polite@all"})
