"""A folded checkpoint is the hooked model, and an ordinary one."""

import json
import subprocess
import sys

import pytest
from architectures import number_tokenizer, random_model

CASES = ["llama_gqa", "gpt2", "mistral_sliding", "bloom", "falcon_multi_query"]


def bridged(name, seed=0):
    import sadi_lens as sl

    return sl.load_model(random_model(name, seed), tokenizer=number_tokenizer())


def scaling(model, component, strength=2.0):
    import sadi_lens as sl

    return sl.MaskedScaling(
        sl.Mask.from_units(component, [(0, 1), (2, 0), (2, 3)], model), strength
    )


@pytest.mark.parametrize("component", ["head", "neuron"])
@pytest.mark.parametrize("name", CASES)
def test_the_checkpoint_equals_the_hooked_model(name, component, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    import sadi_lens as sl

    model = bridged(name)
    intervention = scaling(model, component)
    before = {key: value.clone() for key, value in model.raw_model.state_dict().items()}
    folder = sl.interventions.export_folded(model, intervention, tmp_path / "folded")
    ids = torch.arange(3, 24).reshape(3, 7)
    with torch.inference_mode():
        plain = model(ids)
        with sl.steer(model, intervention, position="all"):
            hooked = model(ids)
        loaded = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        folded = loaded(ids).logits
    torch.testing.assert_close(folded, hooked, atol=1e-5, rtol=1e-5)
    assert float((plain - hooked).abs().max()) > 0.05
    for key, value in model.raw_model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_process_that_never_imports_sadi_lens_loads_and_generates(tmp_path):
    import sadi_lens as sl

    model = sl.load_model("tiny")
    folder = sl.interventions.export_folded(model, scaling(model, "head"), tmp_path / "folded")
    prompt = "the red cat"
    want = sl.generate(model, prompt, scaling(model, "head"), position="all", max_new_tokens=8)
    code = (
        "import sys, torch\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "m = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()\n"
        "t = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "x = t(sys.argv[2], return_tensors='pt', return_token_type_ids=False)\n"
        "y = m.generate(**x, max_new_tokens=8, do_sample=False)[0, x['input_ids'].shape[1]:]\n"
        "assert 'sadi_lens' not in sys.modules\n"
        "print(repr(t.decode(y, skip_special_tokens=True)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), prompt],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == repr(want[0])


def test_what_was_folded_is_written_beside_it(llama, tmp_path):
    import sadi_lens as sl

    folder = sl.interventions.export_folded(
        llama, scaling(llama, "neuron"), tmp_path / "new" / "folded"
    )
    record = json.loads((folder / "config.json").read_text())["sadi_lens"]
    assert record["folded"] == "SADI neuron, K 3, strength 2"
    assert record["position"] == "all"
    assert record["changed"] == [f"model.layers.{layer}.mlp.down_proj.weight" for layer in (0, 2)]
    assert "SADI neuron, K 3, strength 2" in (folder / "README.md").read_text()
    assert sorted(one.name for one in folder.parent.iterdir()) == ["folded"]
    with pytest.raises(FileExistsError, match="overwrite=True"):
        sl.interventions.export_folded(llama, scaling(llama, "neuron"), folder)
    sl.interventions.export_folded(llama, scaling(llama, "head"), folder, overwrite=True)
    assert "SADI head" in (folder / "README.md").read_text()


def test_only_a_folder_that_it_wrote_and_nobody_changed_is_replaced(llama, tmp_path):
    """thesis.txt in mine/, a fine-tune saved over the folded weights, notes in the README: all stay."""
    import sadi_lens as sl

    def export(place):
        return sl.interventions.export_folded(llama, scaling(llama, "head"), place, overwrite=True)

    def contents(place):
        return {one.name: one.read_bytes() for one in place.iterdir()}

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("chapter 1")
    for name in ("thesis.txt", "README.md", "model.safetensors"):
        folded = export(tmp_path / f"folded {name}")
        export(folded)
        (folded / name).write_bytes(b"mine")
        before = contents(folded)
        with pytest.raises(FileExistsError, match=f"is not what export_folded wrote .{name} is"):
            export(folded)
        assert contents(folded) == before
    (folded / "sadi_lens.json").write_text("[]")
    (tmp_path / "link").symlink_to(mine)
    (tmp_path / "file").write_text("mine")
    for place in ("mine", folded.name, "link", "file"):
        with pytest.raises(FileExistsError, match="it is left alone"):
            export(tmp_path / place)
    assert (mine / "thesis.txt").read_text() == "chapter 1"
    assert {one.name for one in tmp_path.iterdir()} == {
        "file", "folded README.md", "folded model.safetensors", "folded thesis.txt", "link", "mine",
    }  # fmt: skip


def test_a_folded_checkpoint_that_was_damaged_is_not_loaded(llama, tmp_path):
    """One bit of a weight or one setting changes every number; the list of hashes knows it."""
    import sadi_lens as sl

    place = sl.interventions.export_folded(llama, scaling(llama, "head"), tmp_path / "folded")

    def refused(name):
        with pytest.raises(ValueError, match=f"{name} is damaged, missing or was changed since"):
            sl.load_model(place)

    for name in ("model.safetensors", "config.json", "tokenizer.json", "generation_config.json"):
        whole = (place / name).read_bytes()
        for hurt in (whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], whole[:50], b""):
            (place / name).write_bytes(hurt)
            refused(name)
        (place / name).unlink()
        refused(name)
        (place / name).write_bytes(whole)
    (place / "README.md").write_text("mine")
    sl.load_model(place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    refused("config.json")
    (place / "sadi_lens.json").unlink()  # as the message says
    sl.load_model(place)
    for change, said in (
        ({"hidden_size": 64}, r"lacks \d+ weights .*in another shape"),
        ({"num_hidden_layers": "3"}, "damaged or of another form: StrictDataclass"),
    ):
        (place / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match=said):
            sl.load_model(place)
    (place / "config.json").write_text(json.dumps(config))
    (place / "tokenizer_config.json").write_bytes(b"{")
    with pytest.raises(ValueError, match=r"tokenizer .*missing or damaged: JSONDecodeError"):
        sl.load_model(place)


def test_a_list_of_files_that_names_none_is_no_permission(llama, tmp_path):
    import sadi_lens as sl
    from sadi_lens.types.seals import sealed_json

    place = sl.interventions.export_folded(llama, scaling(llama, "head"), tmp_path / "folded")
    for values in (
        {"format": "sadi_lens folded"},
        *({"format": "sadi_lens folded", "files": one} for one in (None, 3, [], {"a": None})),
        {"format": "other", "files": {}},
    ):
        (place / "sadi_lens.json").write_text(sealed_json(values))
        with pytest.raises(FileExistsError, match="it is left alone"):
            sl.interventions.export_folded(llama, scaling(llama, "head"), place, overwrite=True)
        with pytest.raises(ValueError, match=r"sadi_lens\.json"):
            sl.load_model(place)


def test_a_link_to_a_folder_of_ours_is_left_alone(llama, tmp_path):
    import sadi_lens as sl

    folded = sl.interventions.export_folded(llama, scaling(llama, "head"), tmp_path / "folded")
    link = tmp_path / "link"
    link.symlink_to(folded)
    with pytest.raises(FileExistsError, match="link is not a folder; it is left alone"):
        sl.interventions.export_folded(llama, scaling(llama, "head"), link, overwrite=True)
    assert link.is_symlink()


@pytest.mark.parametrize("words", ["I/O error: No space left on device (os error 28)", "Errno"])
def test_a_full_disk_leaves_the_old_checkpoint_and_is_one_clear_error(
    llama, tmp_path, monkeypatch, words
):
    """The writers of safetensors and tokenizers raise errors of their own."""
    from safetensors import SafetensorError

    import sadi_lens as sl

    folder = sl.interventions.export_folded(llama, scaling(llama, "head"), tmp_path / "folded")
    before = {one.name: one.read_bytes() for one in folder.iterdir()}

    def full(*_args, **_kwargs):
        raise OSError(28, "full") if words == "Errno" else SafetensorError(words)

    monkeypatch.setattr(type(llama.tokenizer), "save_pretrained", full)
    with pytest.raises(OSError, match=r"cannot write .*folded: No space left on device; make room"):
        sl.interventions.export_folded(
            llama, scaling(llama, "neuron"), tmp_path / "folded", overwrite=True
        )
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before
    assert [one.name for one in tmp_path.iterdir()] == ["folded"]


def test_an_addition_folds_into_a_bias_and_is_refused_where_there_is_none(
    llama, differences, tmp_path
):
    import torch
    from transformers import AutoModelForCausalLM

    import sadi_lens as sl

    model = bridged("gpt2")
    words = model.tokenizer.convert_ids_to_tokens([20, 21, 22])
    pairs = [sl.ContrastivePair(words[0], f" {words[1]}", f" {words[2]}")]
    own = sl.activation_differences(model, pairs, components=["head"], progress=False)["head"]
    push = sl.MaskedAddition.from_differences(sl.top_k_mask(own, 4), own, 3.0)
    folder = sl.interventions.export_folded(model, push, tmp_path / "folded")
    ids = torch.arange(3, 24).reshape(3, 7)
    with torch.inference_mode():
        with sl.steer(model, push, position="all"):
            hooked = model(ids)
        folded = AutoModelForCausalLM.from_pretrained(folder).eval()(ids).logits
        assert not torch.allclose(hooked, model(ids), atol=1e-3)
    torch.testing.assert_close(folded, hooked, atol=1e-5, rtol=1e-5)
    without = sl.MaskedAddition.from_differences(
        sl.top_k_mask(differences["head"], 2), differences["head"], 1.0
    )
    with pytest.raises(ValueError, match="has no bias to take it up"):
        sl.interventions.export_folded(llama, without, tmp_path / "other")


def test_what_cannot_be_folded_is_refused_with_the_reason(llama, tmp_path):
    import sadi_lens as sl

    class Squash:
        component, layers, label = "head", (0,), "squash"

        def edit(self, activation, _layer):
            return activation.tanh()

        def check(self, info):
            pass

    cases = [
        (scaling(llama, "head"), "last_prompt", "weights act on every token alike"),
        (scaling(llama, "hidden"), "all", "'hidden' cannot be folded"),
        (scaling(llama, "mlp_out"), "all", "'mlp_out' cannot be folded"),
        (Squash(), "all", "not affine"),
    ]
    for intervention, position, message in cases:
        with pytest.raises(ValueError, match=message):
            sl.interventions.export_folded(llama, intervention, tmp_path / "x", position=position)
    assert not (tmp_path / "x").exists()


def test_a_mixture_of_experts_keeps_its_neurons():
    import sadi_lens as sl
    from sadi_lens.interventions.folding import _require_foldable

    info = sl.types.ModelInfo("moe", "Mixtral", 3, 4, 8, 32, 0, "0")
    one = sl.MaskedScaling(
        sl.Mask.from_units("neuron", [(0, 1)], sl.types.ModelInfo("d", "X", 3, 4, 8, 32, 48, "0")),
        1.0,
    )
    with pytest.raises(ValueError, match="mixture of experts"):
        _require_foldable(one, "all", info)


def test_weights_that_would_be_infinite_are_not_written(llama, tmp_path):
    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(1, 2)], llama)
    place = tmp_path / "folded"
    with pytest.raises(
        sl.types.NotFiniteError, match=r"weight '.*o_proj.weight'.*smaller strength"
    ):
        sl.interventions.export_folded(llama, sl.MaskedScaling(mask, 1e39), place)
    assert not place.exists()
