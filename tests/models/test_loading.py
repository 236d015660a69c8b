"""load_model: what it accepts, what it refuses and in which words, and that it harms nothing."""

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

VOCAB = 64
TEXTS = ["w5 w6 w7 w8", "w9", "w10 w11"]


def _tokenizer(*, bos: bool = False, **special: Any) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    n_words = special.pop("n_words", VOCAB)
    words = ["<pad>", "<s>", "</s>", *(f"w{index}" for index in range(3, n_words))]
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    if bos:
        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"} | special
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{k: v for k, v in tokens.items() if v is not None}
    )


def _llama(**overrides: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return LlamaForCausalLM(LlamaConfig(**(settings | overrides))).eval()


def _from_config(kind: str, model: str, **settings: Any) -> Any:
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        config = getattr(transformers, f"{kind}Config")(**settings)
        return getattr(transformers, model)(config).eval()


def _small(**overrides: Any) -> dict[str, Any]:
    return {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    } | overrides


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "small-llama"
    _llama().save_pretrained(path)
    _tokenizer(bos=True).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def llama() -> Any:
    return _llama()


@pytest.fixture(scope="session")
def bridge(llama) -> Any:
    import sadi_lens as sl

    return sl.load_model(llama, tokenizer=_tokenizer(bos=True))


def _raw_logits(model: Any, batch: Any) -> torch.Tensor:
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        return model(
            batch["input_ids"], attention_mask=batch["attention_mask"], position_ids=positions
        ).logits


# --- what loads ---------------------------------------------------------------------------------------------------


def test_a_local_folder_gives_the_logits_of_hugging_face(folder):
    from transformers import AutoModelForCausalLM

    import sadi_lens as sl

    model = sl.load_model(folder)
    batch = model.tokenizer(TEXTS, return_tensors="pt", padding=True)
    want = _raw_logits(AutoModelForCausalLM.from_pretrained(folder), batch)
    with torch.inference_mode():
        got = model(batch["input_ids"], attention_mask=batch["attention_mask"])
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(got[real], want[real], rtol=0, atol=1e-5)
    info = sl.types.ModelInfo.of(model)
    assert (info.name, info.architecture) == ("small-llama", "LlamaForCausalLM")
    assert (info.n_layers, info.n_heads, info.d_head, info.d_model, info.d_mlp) == (2, 4, 8, 32, 48)
    assert not model.training
    assert not any(module.training for module in model.original_model.modules())


def test_dtype_and_device_are_chosen_for_the_cpu_and_stated(folder, caplog):
    import sadi_lens as sl
    from sadi_lens.models import load_record

    _llama().bfloat16().save_pretrained(folder)
    with caplog.at_level(logging.INFO, logger="sadi_lens.models._pretrained"):
        model = sl.load_model(folder, tokenizer=_tokenizer(pad_token=None))
    record = load_record(model)
    assert (record.dtype, record.device) == ("float32", "cpu")
    assert model.cfg.dtype == next(model.parameters()).dtype == torch.float32
    for words in (
        "loaded small-llama: float32 on cpu",
        "device cpu chosen",
        "dtype float32 chosen for cpu (checkpoint bfloat16)",
        "padding token '</s>' (the tokenizer has none; padding is masked)",
    ):
        assert words in caplog.text
    assert record.check.relative <= record.check.tolerance == 1e-3


@pytest.mark.parametrize(
    ("stored", "device", "expected"),
    [
        (torch.bfloat16, "cuda", torch.bfloat16),
        (torch.float16, "cuda", torch.float16),
        (torch.float32, "cuda", torch.float32),
        (torch.float16, "mps", torch.float16),
        (torch.bfloat16, "mps", torch.float32),
        (torch.bfloat16, "cpu", torch.float32),
        (None, "cuda", torch.float32),
    ],
)
def test_the_default_dtype_is_the_checkpoints_where_the_device_is_made_for_it(
    stored, device, expected
):
    from sadi_lens.models._choices import choose_dtype

    assert choose_dtype(None, stored, torch.device(device), []) == expected


def test_an_asked_for_dtype_is_kept(folder):
    import sadi_lens as sl

    model = sl.load_model(folder, dtype="bfloat16")
    assert model.cfg.dtype == next(model.parameters()).dtype == torch.bfloat16


def test_device_map_goes_to_accelerate(folder):
    """One layer is off-loaded to disk: accelerate's hooks must survive the twin, and steering must act on it."""
    import sadi_lens as sl

    layers = {"model.layers.0": "disk", "model.layers.1": "cpu"}
    rest = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    model = sl.load_model(folder, device_map=layers | rest)
    whole = sl.load_model(folder, device="cpu")
    assert model.raw_model.hf_device_map == layers | rest
    assert sl.models.load_record(model).check.relative < 1e-5

    def offloaded(hf: Any) -> set[int]:
        hooks = (getattr(module, "_hf_hook", None) for module in hf.modules())
        return {id(hook.weights_map) for hook in hooks if getattr(hook, "weights_map", None)}

    assert offloaded(model.original_model)
    assert offloaded(model.original_model) <= offloaded(model.raw_model)  # shared, not copied
    ids = torch.tensor([[1, 5, 6]])
    logits = []
    for one in (model, whole):
        scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 2), (1, 1)], one), strength=3.0)
        with torch.inference_mode(), sl.steer(one, scaling):
            logits.append(one(ids))
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-6)
    with torch.inference_mode():
        assert (whole(ids) - logits[1]).abs().max() > 1e-2


def test_the_engine_runs_where_accelerate_replaced_forward(folder):
    """Modules of an off-loaded layer have a ``forward`` of accelerate's; ours stands before it and is gone after."""
    import sadi_lens as sl
    from sadi_lens.engine.runner import RawRunner, runner_of

    layers = {"model.layers.0": "disk", "model.layers.1": "cpu"}
    rest = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    split = sl.load_model(folder, device_map=layers | rest)
    whole = sl.load_model(folder, device="cpu")
    words = whole.tokenizer.convert_ids_to_tokens([5, 6, 7, 8])
    prompt = " ".join(words)
    pairs = [sl.ContrastivePair(prompt, f" {words[0]}", f" {words[1]}")]
    samples = [sl.Sample(prompt, (f" {words[0]}", f" {words[2]} {words[1]}"), 0)]

    def forwards(model):
        return {
            name: module.__dict__.get("forward") for name, module in model.raw_model.named_modules()
        }

    assert isinstance(runner_of(split), RawRunner)
    before = forwards(split)
    assert any(before.values())
    found = []
    for model in (split, whole):
        scaling = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 2), (1, 1)], model), 3.0)
        differences = sl.activation_differences(model, pairs, progress=False)
        scores = sl.evaluate(model, samples, [None, scaling], progress=False)
        texts = sl.generate(model, prompt, scaling, max_new_tokens=4, eos_token_id=None)
        found.append((differences, [one.choice_scores for one in scores], texts))
    for name, one in found[0][0].items():
        np.testing.assert_allclose(one.vector, found[1][0][name].vector, atol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)
    assert not np.allclose(found[0][1][0], found[0][1][1], atol=1e-3)
    assert found[0][2] == found[1][2]
    assert forwards(split) == before


def test_the_embedded_name_loads_float16_weights_as_float32(tmp_path, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.models import known

    _llama().half().save_pretrained(tmp_path / "any")
    _tokenizer().save_pretrained(tmp_path / "any")
    monkeypatch.setitem(known.EMBEDDED, "tiny", tmp_path / "any")
    model = sl.load_model("tiny")
    assert next(model.parameters()).dtype == torch.float32
    assert sl.types.ModelInfo.of(model).name == "tiny"


def test_the_embedded_model_passes_its_self_check():
    import sadi_lens as sl
    from sadi_lens.models import known, load_record

    if not known.EMBEDDED["tiny"].is_dir():
        pytest.skip("the embedded model's weights are not in the package")
    record = load_record(sl.load_model("tiny"))
    assert record.dtype == "float32"
    assert record.check.relative < 1e-5


def test_loading_leaves_the_global_random_state_alone(llama):
    import sadi_lens as sl

    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    sl.load_model(llama, tokenizer=_tokenizer())
    assert torch.equal(before, torch.random.get_rng_state())


# --- the Hugging Face model is left as it was ---------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_the_model_object_is_unharmed_bit_for_bit(training, tmp_path):
    import sadi_lens as sl

    model = _llama().train(training)
    model.lm_head.weight.requires_grad_(False)
    state = copy.deepcopy(model.state_dict())
    modules = {name: type(module) for name, module in model.named_modules()}
    config = json.dumps(model.config.to_dict(), default=str, sort_keys=True)
    attention = model.config._attn_implementation

    bridge = sl.load_model(model, tokenizer=_tokenizer())
    with torch.inference_mode():
        bridge(torch.tensor([[3, 4, 5]]))

    assert {name: type(module) for name, module in model.named_modules()} == modules
    assert json.dumps(model.config.to_dict(), default=str, sort_keys=True) == config
    assert model.config._attn_implementation == attention == "sdpa"
    assert model.training is training
    assert not model.lm_head.weight.requires_grad
    assert model.model.embed_tokens.weight.requires_grad
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    model.save_pretrained(tmp_path)  # raises on a model that was wrapped in place
    assert not bridge.original_model.training
    assert not bridge.raw_model.training
    assert "raw_model" not in dict(bridge.named_children())


def test_the_bridge_shares_the_tensors_of_the_model(llama, bridge):
    assert bridge.raw_model is llama
    ours = {parameter.data_ptr() for parameter in bridge.original_model.parameters()}
    assert {parameter.data_ptr() for parameter in llama.parameters()} <= ours


def test_the_tokenizer_handed_in_is_not_changed(llama):
    import sadi_lens as sl

    tokenizer = _tokenizer(pad_token=None)
    tokenizer.padding_side = "right"
    bridge = sl.load_model(llama, tokenizer=tokenizer)
    assert tokenizer.pad_token is None
    assert tokenizer.padding_side == "right"
    assert bridge.tokenizer.padding_side == "left"


# --- tokens -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("pad_token", ["<pad>", "</s>", "<s>", None])
def test_the_bridge_sees_the_tokens_that_the_tokenizer_gives(llama, bos, pad_token):
    import sadi_lens as sl

    bridge = sl.load_model(llama, tokenizer=_tokenizer(bos=bos, pad_token=pad_token))
    assert bridge.to_tokens("w5 w6").tolist() == [[1, 5, 6] if bos else [5, 6]]
    for text in TEXTS:
        ids = bridge.tokenizer(text, return_tensors="pt")["input_ids"]
        assert torch.equal(bridge.to_tokens(text), ids)
        with torch.inference_mode():
            assert torch.equal(bridge(text), bridge(ids))
    batch = bridge.tokenizer(TEXTS, return_tensors="pt", padding=True)
    assert torch.equal(bridge.to_tokens(TEXTS), batch["input_ids"])
    with torch.inference_mode():
        ours = bridge(TEXTS)[:, -1]
    torch.testing.assert_close(ours, _raw_logits(llama, batch)[:, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("special", "expected", "said"),
    [
        ({}, "<pad>", None),
        ({"pad_token": None}, "</s>", "the tokenizer has none"),
        ({"pad_token": None, "eos_token": None}, "<s>", "the tokenizer has none"),
        (
            {"pad_token": None, "eos_token": None, "bos_token": None},
            "<pad>",
            "the tokenizer has none",
        ),
        ({"pad_token": "<new>"}, "</s>", "its own has id 64 of 64"),
    ],
)
def test_a_padding_token_is_always_one_that_the_model_embeds(llama, special, expected, said):
    import sadi_lens as sl
    from sadi_lens.models import load_record

    bridge = sl.load_model(llama, tokenizer=_tokenizer(**special))
    record = load_record(bridge)
    assert bridge.tokenizer.pad_token == record.pad_token == expected
    assert bridge.original_model.get_input_embeddings().weight.shape[0] == VOCAB
    assert any(said in note for note in record.notes) if said else not record.notes


# --- the self-check -----------------------------------------------------------------------------------------------


def test_a_bridge_that_computes_something_else_is_refused_with_the_numbers(monkeypatch):
    import sadi_lens as sl
    from sadi_lens.models import _pretrained, load_record

    model = _llama()
    boot = _pretrained.boot_twin

    def broken(hf: Any, name: str) -> Any:
        bridge = boot(hf, name)
        projection = bridge.original_model.model.layers[1].self_attn.o_proj
        weight = projection._parameters.get("weight", None)
        if weight is None:
            projection = projection._original_component
            weight = projection.weight
        projection.weight = torch.nn.Parameter(weight.detach().roll(1, dims=1))
        return bridge

    monkeypatch.setattr(_pretrained, "boot_twin", broken)
    with pytest.raises(
        RuntimeError,
        match=r"self-check failed for LlamaForCausalLM \(.*2 layers.*logits differ by up to [0-9.]+ "
        r"\([0-9.]+ standard deviations at a token, tolerance 0\.001\).*self_check=False",
    ):
        sl.load_model(model, tokenizer=_tokenizer())
    assert load_record(sl.load_model(model, tokenizer=_tokenizer(), self_check=False)).check is None
    monkeypatch.undo()
    assert load_record(sl.load_model(model, tokenizer=_tokenizer())).check.relative < 1e-5


def test_the_self_check_sees_left_padding(llama, monkeypatch):
    """A bridge that ignores the attention mask is right on whole rows and wrong on padded ones."""
    import sadi_lens as sl
    from sadi_lens.models import _pretrained

    boot = _pretrained.boot_twin

    def deaf(hf: Any, name: str) -> Any:
        bridge = boot(hf, name)

        def forget(_module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            return args, kwargs | {"attention_mask": None, "position_ids": None}

        bridge.original_model.register_forward_pre_hook(forget, with_kwargs=True)
        return bridge

    monkeypatch.setattr(_pretrained, "boot_twin", deaf)
    with pytest.raises(RuntimeError, match="self-check failed"):
        sl.load_model(llama, tokenizer=_tokenizer())


def test_a_hook_of_another_width_is_refused(llama, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.models import _pretrained

    boot = _pretrained.boot_twin

    def wider(hf: Any, name: str) -> Any:
        bridge = boot(hf, name)
        bridge.cfg.d_mlp = 50
        return bridge

    monkeypatch.setattr(_pretrained, "boot_twin", wider)
    with pytest.raises(
        RuntimeError,
        match=r"'blocks.0.mlp.hook_post' \(neuron\) gave \(3, 12, 48\) where .* shape \(3, 12, 50\)",
    ):
        sl.load_model(llama, tokenizer=_tokenizer())


def test_a_model_without_attention_heads_is_refused():
    import sadi_lens as sl

    model = _from_config(
        "Mamba", "MambaForCausalLM", vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2
    )
    with pytest.raises(RuntimeError, match=r"'blocks.0.attn.hook_z' \(head\) is missing"):
        sl.load_model(model, tokenizer=_tokenizer())


def test_logits_that_overflow_are_the_models_own_fault():
    import sadi_lens as sl

    model = _llama()
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(1e6)
    with pytest.raises(ValueError, match=r"Hugging Face's own logits are not finite.*bfloat16"):
        sl.load_model(model.half(), tokenizer=_tokenizer())


def test_the_self_check_leaves_no_hook(bridge):
    for name in ("blocks.0.attn.hook_z", "blocks.1.hook_resid_post", "blocks.1.mlp.hook_post"):
        assert not bridge.get_hook_point(name).fwd_hooks


def test_attention_that_depends_on_the_implementation_is_stated():
    """Falcon with alibi: transformers' own sdpa and eager attention differ; the bridge is the eager one."""
    import sadi_lens as sl
    from sadi_lens.models import load_record

    settings = _small(alibi=True, multi_query=False, parallel_attn=False, initializer_range=0.2)
    model = _from_config("Falcon", "FalconForCausalLM", new_decoder_architecture=False, **settings)
    record = load_record(sl.load_model(model, tokenizer=_tokenizer()))
    assert record.check.relative < 1e-5
    if record.check.default_attention > record.check.tolerance:  # transformers 5.23
        assert "sdpa and eager attention disagree" in record.notes[-1]


def test_falcons_own_mlp_width_is_read_from_its_configuration():
    """TransformerLens assumes 4 * d_model for Falcon."""
    import sadi_lens as sl

    settings = _small(multi_query=True, new_decoder_architecture=False, ffn_hidden_size=96)
    model = sl.load_model(
        _from_config("Falcon", "FalconForCausalLM", **settings), tokenizer=_tokenizer()
    )
    assert sl.types.ModelInfo.of(model).d_mlp == 96


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "model", "settings"),
    [
        ("Mixtral", "MixtralForCausalLM", {"num_local_experts": 4}),
        ("Qwen3Moe", "Qwen3MoeForCausalLM", {"num_experts": 4, "head_dim": 8}),
    ],
)
def test_a_mixture_of_experts_loads_without_neurons(kind, model, settings):
    import sadi_lens as sl

    if kind == "Qwen3Moe":
        settings = settings | {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
    hf = _from_config(
        kind, model, **_small(intermediate_size=48, num_key_value_heads=2, **settings)
    )
    bridge = sl.load_model(hf, tokenizer=_tokenizer())
    info = sl.types.ModelInfo.of(bridge)
    assert (info.n_heads, info.d_mlp) == (4, 0)
    with pytest.raises(ValueError, match=rf"{model}.*no MLP neurons.*'head' or 'hidden'"):
        sl.Mask.from_units("neuron", [(0, 0)], bridge)
    assert sl.Mask.from_units("head", [(1, 3)], bridge).k == 1


@pytest.mark.parametrize("multi_query", [False, True])
def test_falcon_40b_class_is_refused_before_it_is_booted(multi_query, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.models import _pretrained

    monkeypatch.setattr(_pretrained, "boot_twin", lambda *_: pytest.fail("booted"))
    model = _from_config(
        "Falcon",
        "FalconForCausalLM",
        new_decoder_architecture=True,
        multi_query=multi_query,
        num_kv_heads=2,
        **_small(),
    )
    with pytest.raises(
        ValueError, match=r"FalconForCausalLM uses Falcon's new decoder .*falcon-7b"
    ):
        sl.load_model(model, tokenizer=_tokenizer())


def test_without_its_refusal_the_self_check_catches_falcon_40b(monkeypatch):
    """The check that found it: boots in TransformerLens 4.3 with multi_query=False, silently wrong."""
    import sadi_lens as sl
    from sadi_lens.models import _pretrained

    monkeypatch.setattr(_pretrained, "refuse_unsupported", lambda *_, **__: None)
    model = _from_config(
        "Falcon",
        "FalconForCausalLM",
        new_decoder_architecture=True,
        multi_query=False,
        num_kv_heads=2,
        initializer_range=0.2,
        **_small(),
    )
    with pytest.raises(RuntimeError, match="self-check failed for FalconForCausalLM"):
        sl.load_model(model, tokenizer=_tokenizer())


def _encoders() -> dict[str, tuple[str, str, dict[str, Any], str]]:
    bert = _small(intermediate_size=48)
    t5 = {"vocab_size": VOCAB, "d_model": 32, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    return {
        "bert": ("Bert", "BertForMaskedLM", bert, "not a causal language model"),
        "bert head": ("Bert", "BertLMHeadModel", bert, "not a causal language model"),
        "t5": ("T5", "T5ForConditionalGeneration", t5, "encoder-decoder"),
    }


@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.parametrize("case", list(_encoders()))
def test_encoders_are_refused(case, as_folder, tmp_path):
    import sadi_lens as sl

    kind, name, settings, words = _encoders()[case]
    model = _from_config(kind, name, **settings)
    if not as_folder:
        with pytest.raises(ValueError, match=f"{name} is .*{words}.*decoder-only"):
            sl.load_model(model, tokenizer=_tokenizer())
        return
    model.save_pretrained(tmp_path / "encoder")
    _tokenizer().save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match=f"encoder is .*{words}.*decoder-only"):
        sl.load_model(tmp_path / "encoder")


def test_a_model_that_looks_ahead_is_found_by_measurement():
    from sadi_lens.models._boot import boot_twin, eager_twin
    from sadi_lens.models._selfcheck import self_check

    model = _from_config("Bert", "BertLMHeadModel", **_small(intermediate_size=48))
    with pytest.raises(
        ValueError, match=r"not a causal .* moves the logits before it by [0-9.e-]+ standard"
    ):
        self_check(boot_twin(model, "bert"), eager_twin(model), model)


def test_an_architecture_that_transformer_lens_does_not_know_is_refused(llama):
    import sadi_lens as sl

    with pytest.raises(
        ValueError, match=r"TransformerLens cannot wrap .*LlamaModel.*list_supported_models"
    ):
        sl.load_model(llama.model, tokenizer=_tokenizer())


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    import sadi_lens as sl

    model = _llama()
    model.model.save_pretrained(tmp_path / "base")  # no lm_head
    _tokenizer().save_pretrained(tmp_path / "base")
    with pytest.raises(
        ValueError, match=r"checkpoint of base lacks 1 weights .*'lm_head.weight'.*random"
    ):
        sl.load_model(tmp_path / "base")


@pytest.mark.parametrize(
    ("removed", "words"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", r"has no weights \(\*\.safetensors"),
        ("tokenizer*", r"has no tokenizer .*tokenizer.save_pretrained\(folder\)"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused_by_name(folder, removed, words):
    import sadi_lens as sl

    for file in folder.glob(removed):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=f"small-llama' {words}"):
        sl.load_model(folder)


def test_a_folder_without_tokenizer_loads_with_one_given(folder):
    import sadi_lens as sl

    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert sl.load_model(folder, tokenizer=_tokenizer()).tokenizer("w5")["input_ids"] == [5]


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", Path("nowhere")])
def test_a_folder_that_does_not_exist_is_refused(name):
    import sadi_lens as sl

    with pytest.raises(FileNotFoundError, match=f"no model folder '{name}'"):
        sl.load_model(name)


@pytest.mark.parametrize("name", ["tinyy", "Tiny", "tny"])
def test_a_short_name_that_is_nearly_tiny_is_asked_about(name):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=f"unknown model '{name}'; did you mean 'tiny'"):
        sl.load_model(name)


def test_a_hub_name_that_cannot_be_reached_says_what_to_do_instead():
    import sadi_lens as sl

    with pytest.raises(
        OSError,
        match=r"could not load 'nobody/no-such-model' from the .* Hub.*local folder.*'tiny'",
    ):
        sl.load_model("nobody/no-such-model", local_files_only=True)


def test_a_model_object_needs_its_own_tokenizer(llama):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"needs its tokenizer: .*tokenizer="):
        sl.load_model(llama)
    with pytest.raises(ValueError, match=r"the tokenizer has 80 tokens but .* embeds only 64"):
        sl.load_model(llama, tokenizer=_tokenizer(n_words=80))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dtype": torch.float16}, r"is torch.float32, got dtype=torch.float16; convert it first"),
        ({"device": "meta"}, "is on cpu, got device=meta; move it first"),
        ({"device_map": "auto"}, "dispatch it before load_model"),
    ],
)
def test_a_model_object_is_never_moved_or_converted(llama, arguments, words):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=words):
        sl.load_model(llama, tokenizer=_tokenizer(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dtype": "float31"}, "dtype must be a floating-point torch dtype .*'float31'"),
        ({"dtype": "int8"}, "dtype must be a floating-point torch dtype .*'int8'"),
        ({"device": "cpu", "device_map": "auto"}, "device or device_map, not both"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(folder, arguments, words):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=words):
        sl.load_model(folder, **arguments)


def test_only_names_and_models_are_models():
    import sadi_lens as sl

    with pytest.raises(TypeError, match=r"takes a name, a folder or .*PreTrainedModel, got Linear"):
        sl.load_model(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="name must not be empty"):
        sl.load_model("")


def test_there_is_no_record_of_a_model_loaded_otherwise(llama):
    from sadi_lens.models import load_record
    from sadi_lens.models._boot import boot_twin

    with pytest.raises(ValueError, match="not loaded by load_model"):
        load_record(boot_twin(llama, "other"))


# --- real pretrained models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "architecture", "texts"),
    [
        (
            "craftgpt-5m",
            "GPT2LMHeadModel",
            ["_[inst] how are you today?_[/inst]", "_[inst] hello_[/inst]"],
        ),
        ("stories260K", "LlamaForCausalLM", ["Once upon a time there was a", "The dog"]),
    ],
)
def test_real_models_equal_eager_hugging_face(assets, name, architecture, texts):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import sadi_lens as sl

    path = assets / "models" / name
    model = sl.load_model(path)
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    raw = AutoModelForCausalLM.from_pretrained(
        path, attn_implementation="eager", dtype=torch.float32
    )
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    assert torch.equal(model.to_tokens(texts), batch["input_ids"])
    want = _raw_logits(raw, batch)[:, -1].log_softmax(-1)
    with torch.inference_mode():
        got = model(batch["input_ids"], attention_mask=batch["attention_mask"])[:, -1]
        one_by_one = torch.cat([model(text)[:, -1] for text in texts])
    torch.testing.assert_close(got.log_softmax(-1), want, rtol=0, atol=5e-5)
    torch.testing.assert_close(one_by_one.log_softmax(-1), want, rtol=0, atol=5e-5)
    info = sl.types.ModelInfo.of(model)
    assert (info.name, info.architecture) == (name, architecture)


@pytest.mark.parametrize(
    ("rank", "n", "wanted"), [(None, 4, "cuda"), ("2", 4, "cuda:2"), ("2", 1, "cuda:0")]
)
def test_a_process_takes_the_gpu_that_its_launcher_gave_it(monkeypatch, rank, n, wanted):
    import torch

    from sadi_lens.models._choices import choose_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    notes = []
    assert choose_device(None, notes) == torch.device(wanted)
    assert notes == [f"device {wanted} chosen"]
    assert choose_device("cpu", notes) == torch.device("cpu")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


@pytest.fixture
def in_parts(tmp_path) -> Path:
    path = tmp_path / "in-parts"
    _llama().save_pretrained(path, max_shard_size="30KB")
    _tokenizer().save_pretrained(path)
    assert len(list(path.glob("model-*.safetensors"))) > 1
    return path


@pytest.mark.parametrize(
    ("name", "damage", "error", "words"),
    [
        ("model.safetensors", _cut, ValueError, r"model\.safetensors is cut or damaged .*again"),
        ("model.safetensors", _pointer, ValueError, r"model\.safetensors is a Git LFS pointer"),
        ("tokenizer.json", _pointer, ValueError, r"tokenizer\.json is a Git LFS pointer"),
        ("tokenizer.json", Path.unlink, ValueError, r"the tokenizer of .* pass tokenizer="),
        (
            "model.safetensors",
            lambda path: path.rename(path.with_name("weights.safetensors")),
            FileNotFoundError,
            r"neither model\.safetensors nor .*weights\.safetensors is there.*give the file its",
        ),
    ],
)
def test_half_a_download_is_named(folder, name, damage, error, words):
    import sadi_lens as sl

    damage(folder / name)
    with pytest.raises(error, match=words):
        sl.load_model(folder)


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (
            lambda path: max(path.glob("model-*")).unlink(),
            FileNotFoundError,
            r"lacks 1 of \d+ files of weights that model\.safetensors\.index\.json names",
        ),
        (
            lambda path: _cut(max(path.glob("model-*"))),
            ValueError,
            r"model-\S+\.safetensors is cut or damaged",
        ),
        (
            lambda path: (path / "model.safetensors.index.json").unlink(),
            FileNotFoundError,
            r"has no weights .*model-00001-\S+, .* are there: fetch the index",
        ),
        (
            lambda path: (path / "model.safetensors.index.json").write_text("{}"),
            ValueError,
            r"index\.json is cut or damaged: it names no files of weights",
        ),
    ],
)
def test_a_checkpoint_in_parts_that_is_not_whole_is_named(in_parts, damage, error, words):
    import sadi_lens as sl

    assert sl.load_model(in_parts).cfg.n_layers == 2
    damage(in_parts)
    with pytest.raises(error, match=words):
        sl.load_model(in_parts)


def _set(folder: Path, **values: Any) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | values))


def test_a_configuration_with_fewer_layers_than_the_checkpoint_is_said(folder):
    import sadi_lens as sl

    _set(folder, num_hidden_layers=1)
    with pytest.warns(UserWarning, match=r"9 weights of the checkpoint .*'model\.layers\.1\.input"):
        model = sl.load_model(folder)
    assert any("have no place in its configuration" in one for one in _notes(model))


def test_masks_that_older_checkpoints_hold_are_not_said(folder):
    """GPT-2, GPT-Neo and GPT-J of the Hub hold them in every layer."""
    from safetensors.torch import load_file, save_file

    import sadi_lens as sl

    weights = load_file(folder / "model.safetensors")
    names = ("self_attn.attention.bias", "attn.masked_bias", "self_attn.rotary_emb.inv_freq")
    weights |= {f"model.layers.0.{one}": torch.ones(1, 1, 4, 4) for one in names}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert not any("no place" in one for one in _notes(sl.load_model(folder)))


def test_a_tokenizer_that_needs_a_package_is_not_called_damaged(folder, monkeypatch):
    from transformers import AutoTokenizer

    import sadi_lens as sl

    def needs(*_args, **_options):
        raise ImportError("pip install sentencepiece")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", needs)
    with pytest.raises(ImportError, match="pip install sentencepiece"):
        sl.load_model(folder)


def _notes(model: Any) -> tuple[str, ...]:
    import sadi_lens as sl

    return sl.models.load_record(model).notes


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"vocab_size": 32}, r"in another shape \(first 'lm_head\.weight'\)"),
        ({"num_attention_heads": 0}, r"cannot be loaded, a file of it is damaged"),
        ({"max_position_embeddings": 0}, r"context of 0 tokens .*must be at least 1"),
        ({"rms_norm_eps": float("nan")}, r"All weights are finite: look for .*config\.json"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_words(folder, values, words):
    import sadi_lens as sl

    _set(folder, **values)
    with pytest.raises(ValueError, match=words):
        sl.load_model(folder)


def test_a_weight_that_is_not_a_number_is_named(folder):
    import safetensors.torch

    import sadi_lens as sl

    file = folder / "model.safetensors"
    weights = safetensors.torch.load_file(file)
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    safetensors.torch.save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"weight 'model\.layers\.1\.mlp\.up_proj\.weight' holds"):
        sl.load_model(folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"device": "meta"}, "device 'meta' is not to be had here .*leave device out"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not to be had here .*leave device out"),
        ({"dtype": "float8_e4m3fn"}, "dtype must be float32, bfloat16 or float16"),
    ],
)
def test_a_device_or_dtype_that_cannot_compute_is_refused(folder, arguments, words):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=words):
        sl.load_model(folder, **arguments)


def test_the_home_of_nobody_is_no_path():
    import sadi_lens as sl

    with pytest.raises(ValueError, match="name must be a path, got '~nobody-of-that-name/x'"):
        sl.load_model("~nobody-of-that-name/x")


@pytest.mark.parametrize("ends", [2.0, "2", True, [2, "x"]])
def test_ends_of_text_that_are_no_tokens_are_refused(folder, ends):
    import sadi_lens as sl

    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    with pytest.raises(ValueError, match=r"eos_token_id in the generation config of small-llama"):
        sl.load_model(folder)


def test_an_end_of_text_without_a_row_is_noted(folder):
    import sadi_lens as sl

    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 10**6]}))
    assert "[1000000] never come" in "".join(_notes(sl.load_model(folder)))


@pytest.mark.parametrize("damage", [_pointer, lambda path: path.write_text('{"eos_token_id": [2')])
def test_a_damaged_generation_config_is_named(folder, damage):
    """Its end-of-text tokens were those of config.json without a word."""
    import sadi_lens as sl

    damage(folder / "generation_config.json")
    with pytest.raises(ValueError, match=r"generation_config\.json is"):
        sl.load_model(folder)


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
@pytest.mark.parametrize(
    "settings",
    [
        {"num_return_sequences": 3},
        {"num_beams": 2, "num_return_sequences": 4},
    ],
)
def test_settings_of_generation_that_transformers_refuses_are_named_with_their_file(
    folder, name, settings
):
    """It was transformers' own error, which names no file."""
    import sadi_lens as sl

    file = folder / name
    held = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**held, **settings}))
    if name == "config.json":  # it counts where there is no other
        sl.load_model(folder)
        (folder / "generation_config.json").unlink()
    with pytest.raises(
        ValueError, match=rf"in {name} of small-llama: .*num_return_sequences.* Take them out"
    ):
        sl.load_model(folder)
    file.write_text(json.dumps({**held, "num_beams": 2, "repetition_penalty": 3.0}))
    sl.load_model(folder)


def test_what_is_said_of_refused_settings_ends_before_the_remedy(folder):
    """Transformers ends some of its sentences without a full stop."""
    import sadi_lens as sl

    (folder / "generation_config.json").write_text('{"cache_implementation": "nope"}')
    with pytest.raises(ValueError, match=r"\(nope\)\. Choose one of: .*\)\. Take them out"):
        sl.load_model(folder)


def test_a_link_to_nothing_is_called_one(tmp_path):
    import sadi_lens as sl

    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"it is a link to '.*gone', which is not there"):
        sl.load_model(tmp_path / "link")
