"""A checkpoint on disk has the identity of the loaded model; other ones are told apart."""

import pytest


@pytest.mark.parametrize("tied", [False, True])
def test_shape_and_fingerprint_are_those_of_the_bridge(tied, tmp_path):
    import torch
    import transformers
    from factories import word_tokenizer

    import sadi_lens as sl
    from sadi_lens.serving.checkpoint import checkpoint_info

    tokenizer = word_tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hf = transformers.LlamaForCausalLM(config).eval()
    hf.save_pretrained(tmp_path / "m", max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path / "m")
    model = sl.load_model(tmp_path / "m", dtype=torch.float32)
    found = checkpoint_info(tmp_path / "m")
    assert found == sl.types.ModelInfo.of(model)
    with torch.no_grad():
        hf.model.layers[1].mlp.down_proj.weight[0, 0] += 1
    hf.save_pretrained(tmp_path / "tuned")
    assert checkpoint_info(tmp_path / "tuned").fingerprint != found.fingerprint


def test_files_that_only_vllm_would_read_are_refused(tmp_path):
    """Without an index it reads every file of weights in the folder, and ``consolidated*`` before all others."""
    from factories import random_llama

    from sadi_lens.serving.checkpoint import checkpoint_info

    hf, _ = random_llama()
    for size in ("1GB", "20KB"):
        folder = tmp_path / size
        hf.save_pretrained(folder, max_shard_size=size)
        found = checkpoint_info(folder)
        shard = next(iter(sorted(folder.glob("*.safetensors"))))
        for name in ("zz.safetensors", "consolidated.00.safetensors"):
            (folder / name).write_bytes(shard.read_bytes())
            if size == "1GB" or name.startswith("consolidated"):
                with pytest.raises(ValueError, match=f"{name} would be read by vLLM"):
                    checkpoint_info(folder)
            else:
                assert checkpoint_info(folder) == found
            (folder / name).unlink()
        assert checkpoint_info(folder) == found


def test_a_folded_checkpoint_that_was_changed_is_refused_as_in_load_model(llama, tmp_path):
    import sadi_lens as sl
    from sadi_lens.serving.checkpoint import checkpoint_info

    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(1, 1)], llama), 2.0)
    folded = sl.interventions.export_folded(llama, scaling, tmp_path / "folded")
    assert checkpoint_info(folded) == sl.types.ModelInfo.of(sl.load_model(folded))
    weights = folded / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match="damaged, missing or was changed since export_folded"):
        checkpoint_info(folded)


def test_an_untried_architecture_and_missing_weights_are_refused(tmp_path):
    from factories import random_llama

    from sadi_lens.serving.checkpoint import checkpoint_info

    hf, _ = random_llama()
    hf.save_pretrained(tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"model\.safetensors is cut or damaged"):
        checkpoint_info(tmp_path / "m")
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="has no weights"):
        checkpoint_info(tmp_path / "m")
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="no safetensors"):
        checkpoint_info(tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(config.read_text().replace("LlamaForCausalLM", "OtherForCausalLM"))
    with pytest.raises(ValueError, match="is a OtherForCausalLM; steering in vLLM was tried with"):
        checkpoint_info(tmp_path / "m")


@pytest.mark.parametrize("name", ["no-such/model", "./no/such/folder"])
def test_a_model_that_is_not_on_this_disk_is_said_not_to_be(name):
    from sadi_lens.serving.checkpoint import checkpoint_folder

    with pytest.raises(FileNotFoundError, match=f"{name} is no folder .* run `hf download"):
        checkpoint_folder(name)
