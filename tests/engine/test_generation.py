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


@pytest.mark.parametrize("position", ["last_prompt", "every_step", "all"])
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


def test_nothing_stays_on_the_raw_model(llama, differences):
    import sadi_lens as sl

    before = llama.raw_model.generation_config
    sl.generate(llama, PROMPTS, kinds(differences), **options())
    hooked = [
        name
        for name, module in llama.raw_model.named_modules()
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    ]
    assert hooked == []
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

    from sadi_lens.engine.streaming import Streamer

    class Bytes:
        def decode(self, tokens, **_options):
            return bytes(tokens).decode("utf-8", errors="replace")

    pieces = []
    streamer = Streamer(Bytes(), [7], lambda *piece: pieces.append(piece), True)
    streamer.put(torch.tensor([[1, 2, 3]]))
    for token in "aé".encode():
        streamer.put(torch.tensor([token]))
    streamer.put(torch.tensor([0xC3]))
    streamer.end()
    assert pieces == [(7, "a"), (7, "é"), (7, "\ufffd")]
