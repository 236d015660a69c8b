"""Adapters, vision-language checkpoints, and tokenizers that are not the model's own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loading import VOCAB, _from_config, _llama, _tokenizer

# PEFT 0.21 asks transformers 5.23 for a name that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
IDS = torch.tensor([[3, 4, 5, 6, 7]])
TEXT = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}


@pytest.fixture
def base(tmp_path) -> Path:
    folder = tmp_path / "base-llama"
    _llama().save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(base, tmp_path) -> tuple[Path, Any]:
    """A random LoRA folder, and the adapted model itself, not merged."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        config = peft.LoraConfig(
            r=2, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False
        )
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(tmp_path / "my-lora")
    return tmp_path / "my-lora", model.eval()


def test_a_lora_folder_loads_merged_into_its_base(adapter):
    import sadi_lens as sl

    folder, adapted = adapter
    model = sl.load_model(folder)
    with torch.inference_mode():
        want, plain = adapted(IDS).logits, _llama()(IDS).logits
        torch.testing.assert_close(model(IDS), want, rtol=0, atol=1e-5)
    assert (want - plain).abs().max() > 1e-2
    record = sl.models.load_record(model)
    assert (record.name, record.source) == ("my-lora", str(folder))
    assert "the adapter my-lora merged into base-llama" in record.notes
    assert not any("lora" in name for name, _ in model.raw_model.named_parameters())


def test_an_adapter_beside_the_configuration_of_its_base_is_an_adapter(adapter, base):
    """As some trainers save it; with whole weights beside it, it could be either."""
    import sadi_lens as sl

    folder, _ = adapter
    (folder / "config.json").write_bytes((base / "config.json").read_bytes())
    record = sl.models.load_record(sl.load_model(folder))
    assert "the adapter my-lora merged into base-llama" in record.notes
    (folder / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    with pytest.raises(
        ValueError, match=r"my-lora' holds whole weights and an adapter, .* load either"
    ):
        sl.load_model(folder)


def test_what_is_wrong_with_an_adapter_is_said(adapter, tmp_path):
    import sadi_lens as sl

    folder, _ = adapter
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    other = tmp_path / "other"
    _llama(hidden_size=16).save_pretrained(other)
    _tokenizer().save_pretrained(other)
    file.write_text(json.dumps(config | {"base_model_name_or_path": str(other)}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"adapter .*my-lora does not fit LlamaForCausalLM of .*"):
        sl.load_model(folder)
    file.write_text(json.dumps(config | {"base_model_name_or_path": None}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"does not name its base model"):
        sl.load_model(folder)
    file.write_text(json.dumps(config | {"base_model_name_or_path": str(folder)}), "utf-8")
    with pytest.raises(ValueError, match=r"belongs to another adapter"):
        sl.load_model(folder)
    for weights in folder.glob("adapter_model.*"):
        weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"adapter folder .* has no weights"):
        sl.load_model(folder)


@pytest.mark.filterwarnings("ignore:.*(tie_word|tied|save_embedding|lora_bias|invalid shape)")
@pytest.mark.parametrize(
    ("tied", "options", "words"),
    [
        (
            True,
            {"target_modules": ["lm_head"]},
            r"changes one of the two matrices that Llama.* ties",
        ),
        (True, {"target_modules": ["embed_tokens"]}, r"changes one of the two matrices that Llama"),
        (
            True,
            {"target_modules": ["lm_head"], "ensure_weight_tying": True},
            r"merged it would be another model. Save a whole checkpoint",
        ),
        (False, {"target_modules": ["q_proj"], "lora_bias": True}, r"cannot be merged: Impossible"),
        (False, {"target_modules": ["lm_head"]}, None),
        (True, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, None),
    ],
)
def test_an_adapter_is_what_it_is_before_it_is_merged_or_refused(tmp_path, tied, options, words):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    import sadi_lens as sl

    folder = tmp_path / "base"
    _llama(tie_word_embeddings=tied).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        config = peft.LoraConfig(r=2, lora_alpha=8, init_lora_weights=False, **options)
        adapted = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    adapted.save_pretrained(tmp_path / "lora")
    if words is not None:
        with pytest.raises(ValueError, match=words):
            sl.load_model(tmp_path / "lora")
        return
    with torch.inference_mode():
        want, got = adapted.eval()(IDS).logits, sl.load_model(tmp_path / "lora")(IDS)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("is_broken", [False, True], ids=["off", "not a number"])
def test_logits_before_and_after_the_merge_have_the_last_word(adapter, monkeypatch, is_broken):
    import sadi_lens as sl
    from sadi_lens.models import _parts

    if is_broken:
        monkeypatch.setattr(_parts, "relative_difference", lambda *_: float("nan"))
    else:
        monkeypatch.setattr(_parts, "TOLERANCE", {torch.float32: 0})
    with pytest.raises(
        ValueError, match=r"something else when it is merged: logits are off by .* Save"
    ):
        sl.load_model(adapter[0])


def test_an_adapter_that_changes_no_weight_cannot_be_merged(base, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    import sadi_lens as sl

    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(tmp_path / "prompt")
    with pytest.raises(ValueError, match=r"adapter of type PROMPT_TUNING.*cannot be merged"):
        sl.load_model(tmp_path / "prompt")


def _vision_language(kind: str) -> Any:
    import transformers as hf

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        if kind == "llava":
            config = hf.LlavaConfig(
                vision_config=hf.CLIPVisionConfig(**VISION),
                text_config=hf.LlamaConfig(**TEXT),
                image_token_index=60,
            )
            return hf.LlavaForConditionalGeneration(config).eval()
        if kind == "smolvlm":
            config = hf.SmolVLMConfig(
                vision_config=VISION,
                text_config=hf.LlamaConfig(**TEXT),
                image_token_id=60,
                scale_factor=1,
            )
            return hf.SmolVLMForConditionalGeneration(config).eval()
        if kind == "paligemma":
            config = hf.PaliGemmaConfig(
                vision_config=hf.SiglipVisionConfig(**VISION),
                text_config=hf.GemmaConfig(**TEXT),
                image_token_index=60,
                projection_dim=32,
            )
            return hf.PaliGemmaForConditionalGeneration(config).eval()
        sections = {"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}
        config = hf.Qwen2VLConfig(
            text_config=TEXT | sections,
            vision_config={
                "depth": 1,
                "embed_dim": 16,
                "hidden_size": 32,
                "num_heads": 2,
                "patch_size": 4,
            },
            image_token_id=60,
            video_token_id=61,
            vision_start_token_id=62,
            vision_end_token_id=63,
        )
        return hf.Qwen2VLForConditionalGeneration(config).eval()


@pytest.mark.parametrize("kind", ["llava", "smolvlm"])
def test_the_text_side_of_a_vision_language_checkpoint_loads(kind, tmp_path):
    import sadi_lens as sl

    whole = _vision_language(kind)
    whole.save_pretrained(tmp_path / kind)
    _tokenizer().save_pretrained(tmp_path / kind)
    model = sl.load_model(tmp_path / kind)
    with torch.inference_mode():
        torch.testing.assert_close(model(IDS), whole(IDS).logits, rtol=0, atol=1e-5)
    assert sl.types.ModelInfo.of(model).architecture == "LlamaForCausalLM"
    assert any("text side of a vision" in note for note in sl.models.load_record(model).notes)
    scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(1, 2)], model), strength=3.0)
    assert sl.generate(model, "w5 w6", scaling, max_new_tokens=2)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("paligemma", r"PaliGemma\) that reads its prompt with attention in both directions"),
        ("qwen2vl", r"no causal language model for its text side \(Qwen2VLTextConfig\)"),
    ],
)
def test_a_vision_language_model_without_such_a_side_is_refused_with_the_reason(
    kind, words, tmp_path
):
    import sadi_lens as sl

    _vision_language(kind).save_pretrained(tmp_path / kind)
    _tokenizer().save_pretrained(tmp_path / kind)
    with pytest.raises(ValueError, match=words):
        sl.load_model(tmp_path / kind)


def test_opts_own_mlp_width_is_read_from_its_configuration():
    import sadi_lens as sl

    settings = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 48,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    model = sl.load_model(_from_config("OPT", "OPTForCausalLM", **settings), tokenizer=_tokenizer())
    assert sl.types.ModelInfo.of(model).d_mlp == 48


def test_float64_is_refused_with_the_reason_and_a_checkpoint_of_it_read_as_float32(tmp_path):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"float64 is not supported: .*softmax.*model.float\(\)"):
        sl.load_model(_llama().double(), tokenizer=_tokenizer())
    _llama().double().save_pretrained(tmp_path / "double")
    _tokenizer().save_pretrained(tmp_path / "double")
    with pytest.raises(ValueError, match=r"float64 is not supported: .*use dtype='float32'"):
        sl.load_model(tmp_path / "double", dtype="float64")
    assert sl.models.load_record(sl.load_model(tmp_path / "double")).dtype == "float32"


def test_tokens_without_a_row_are_refused_when_the_model_is_loaded():
    import sadi_lens as sl

    tokenizer = _tokenizer()
    tokenizer.add_tokens(["<extra>", "<more>"])
    with pytest.raises(
        ValueError,
        match=r"has 2 tokens of its own that .* no row for \(it embeds 64; first '<extra>', id 64\)",
    ):
        sl.load_model(_llama(), tokenizer=tokenizer)


def test_special_tokens_without_a_row_are_noted_and_refused_in_a_text():
    """Gemma 3's text models come with such a one, for images."""
    import sadi_lens as sl

    tokenizer = _tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    model = sl.load_model(_llama(), tokenizer=tokenizer)
    assert any(
        "1 special tokens without a row" in one for one in sl.models.load_record(model).notes
    )
    with pytest.raises(ValueError, match=r"token '<image>' \(id 64\).*embeds 64 tokens"):
        sl.generate(model, "w5 <image> w6", max_new_tokens=1)
    with pytest.raises(ValueError, match=r"token '<image>' \(id 64\).*embeds 64 tokens"):
        sl.evaluate(model, [sl.Sample("w5 w6", (" <image>", " w7"), 0)], progress=False)


def _damaged(folder: Path, case: str) -> None:
    import safetensors.torch

    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    if case == "cut":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif case == "pickle":
        weights.unlink()
        (folder / "adapter_model.bin").write_bytes(b"\x80\x02garbage")
    elif case == "nan":
        held = safetensors.torch.load_file(weights)
        next(iter(held.values())).fill_(float("nan"))
        safetensors.torch.save_file(held, weights, metadata={"format": "pt"})
    else:
        values = json.loads(config.read_text()) | {"peft_type": "FOO"}
        config.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("cut", r"adapter_model\.safetensors is cut or damaged"),
        ("pickle", r"weights of the adapter .* are damaged, or a pickle .*it was not run"),
        ("nan", r"adapter .*my-lora cannot be merged: NaN.*fetch it again"),
        ("type", r"adapter_config\.json is not that of a PEFT adapter \(KeyError: 'FOO'\)"),
    ],
)
def test_a_damaged_adapter_is_named(adapter, case, words):
    import sadi_lens as sl

    _damaged(adapter[0], case)
    with pytest.raises(ValueError, match=words):
        sl.load_model(adapter[0])
