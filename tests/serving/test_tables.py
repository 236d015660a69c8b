"""Tables on disk: the numbers of the interventions, and every refusal."""

import dataclasses
import json

import pytest


@pytest.fixture
def heads(info):
    """Head 1 of layer 2, head 3 of layer 0, times 3."""
    import sadi_lens as sl

    return sl.MaskedScaling(sl.Mask.from_units("head", [(2, 1), (0, 3)], info), 2.0)


@pytest.fixture
def hidden(info):
    """A vector added after layer 1."""
    import numpy as np

    import sadi_lens as sl

    return sl.VectorAddition(np.arange(info.d_model, dtype=np.float32), 1, 0.5)


def test_numbers_are_those_of_the_interventions_heads_side_by_side(heads, hidden, info, tmp_path):
    import numpy as np

    import sadi_lens as sl

    folder = sl.serving.export_tables(
        {"polite": heads, "push.v2": hidden}, tmp_path / "t", model=info, position="all"
    )
    tables = sl.serving.read_tables(folder, model=info)
    polite, push = tables["polite"], tables["push.v2"]
    expected = np.ones((2, 32), np.float32)
    expected[0, 24:] = 3  # layer 0, head 3 of 4, d_head 8
    expected[1, 8:16] = 3  # layer 2, head 1
    assert polite.layers == (0, 2)
    np.testing.assert_array_equal(polite.scale, expected)
    assert polite.shift is None
    assert push.layers == (1,)
    assert push.scale is None
    np.testing.assert_array_equal(push.shift, [np.arange(32) / 2])
    assert (push.component, push.position, push.model) == ("hidden", "all", info)
    assert push.label == hidden.label


@pytest.mark.parametrize("component", ["head", "hidden", "mlp_out", "neuron"])
def test_a_table_edits_as_the_intervention_does(component, info, tmp_path):
    """Scale and shift by table = ``edit`` of the intervention, for every affine kind."""
    import numpy as np
    import torch

    import sadi_lens as sl

    rng = np.random.default_rng(0)
    mask = sl.Mask.from_units(component, [(0, 1), (0, 3), (2, 0), (2, 2)], info)
    units = mask.selected.shape
    d = info.d_head if component == "head" else 1
    both = [
        sl.MaskedScaling(mask, -1.5),
        sl.MaskedAddition(mask, rng.normal(size=(*units, d)), 2.0),
    ]
    folder = sl.serving.export_tables(
        {f"n{place}": one for place, one in enumerate(both)}, tmp_path / "t", model=info
    )
    tables = sl.serving.read_tables(folder)
    for place, one in enumerate(both):
        table = tables[f"n{place}"]
        for row, layer in enumerate(table.layers):
            shape = (2, units[1], d) if component == "head" else (2, units[1])
            activation = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
            flat = activation.reshape(2, -1).numpy()
            ours = flat if table.scale is None else flat * table.scale[row]
            ours = ours if table.shift is None else ours + table.shift[row]
            theirs = one.edit(activation, layer).reshape(2, -1).numpy()
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_what_is_not_affine_is_refused_by_name_with_the_reason(heads, info, tmp_path):
    import sadi_lens as sl

    clamped = sl.interventions.Clamped(heads)
    with pytest.raises(ValueError, match="ref: Clamped cannot be a table: it is not affine"):
        sl.serving.export_tables({"ok": heads, "ref": clamped}, tmp_path / "t", model=info)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("name", ["", "a b", "a@all", "../up", "a" * 65, "."])
def test_a_name_that_no_request_could_spell_is_refused(name, heads, tmp_path):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="name must be"):
        sl.serving.export_tables({name: heads}, tmp_path / "t")


def test_refuses_no_intervention_unknown_model_and_other_model(heads, hidden, info, tmp_path):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="at least 1, got 0"):
        sl.serving.export_tables({}, tmp_path / "t")
    with pytest.raises(ValueError, match="does not record the model"):
        sl.serving.export_tables({"push": hidden}, tmp_path / "t")
    other = dataclasses.replace(info, fingerprint="f" * 16)
    with pytest.raises(ValueError, match="0123456789abcdef, not on toy with ffffffffffffffff"):
        sl.serving.export_tables({"polite": heads}, tmp_path / "t", model=other)
    with pytest.raises(ValueError, match="position must be one of"):
        sl.serving.export_tables({"polite": heads}, tmp_path / "t", position="last")


def test_tables_are_refused_on_another_model_component_or_dtype(heads, info, tmp_path):
    import sadi_lens as sl

    read = sl.serving.read_tables
    folder = sl.serving.export_tables({"polite": heads}, tmp_path / "t", dtype="float32")
    wider = dataclasses.replace(info, d_head=16)
    with pytest.raises(ValueError, match=r"4 heads of 8.*4 heads of 16"):
        read(folder, model=wider)
    tuned = dataclasses.replace(info, fingerprint="f" * 16)
    with pytest.raises(ValueError, match="weights 0123456789abcdef"):
        read(folder, model=tuned)
    assert list(read(folder, model=tuned, allow_other_weights=True)) == ["polite"]
    assert list(read(folder, model=info, dtype="float32")) == ["polite"]
    with pytest.raises(ValueError, match="for a model in float32, this one is in bfloat16"):
        read(folder, dtype="bfloat16")
    with pytest.raises(ValueError, match=r"dtype must be one of .*float32.*, got 'x'"):
        sl.serving.export_tables({"polite": heads}, tmp_path / "x", dtype="x")
    assert not (tmp_path / "x").exists()


def test_an_expert_model_has_no_neurons_for_a_table(info):
    import numpy as np

    import sadi_lens as sl

    experts = dataclasses.replace(info, d_mlp=0)
    with pytest.raises(ValueError, match="no MLP neurons"):
        sl.serving.SteeringTable(
            "neuron", (0,), np.ones((1, 48), np.float32), None, "all", "x", experts
        )


def test_the_dtype_of_a_bridged_model_is_recorded_and_compared(llama, differences, tmp_path):
    import sadi_lens as sl

    one = sl.MaskedScaling(sl.top_k_mask(differences["neuron"], 3), 1.0)
    folder = sl.serving.export_tables({"n": one}, tmp_path / "t", model=llama)
    assert sl.serving.read_tables(folder, model=llama)["n"].dtype == "float32"
    with pytest.raises(ValueError, match="in bfloat16"):
        sl.serving.read_tables(folder, model=llama, dtype="bfloat16")


def test_folders_without_tables_are_refused(heads, tmp_path):
    import sadi_lens as sl

    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no"):
        sl.serving.read_tables(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="holds no"):
        sl.serving.read_tables(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="at least 1 folder"):
        sl.serving.read_tables([])
    sl.save(heads.mask, tmp_path / "mask")
    with pytest.raises(ValueError, match="holds no tables but a Mask"):
        sl.serving.read_tables(tmp_path / "mask")


def test_two_tables_of_one_name_are_refused(heads, tmp_path):
    import sadi_lens as sl

    one = sl.serving.export_tables({"polite": heads}, tmp_path / "one")
    two = sl.serving.export_tables({"polite": heads}, tmp_path / "two")
    with pytest.raises(ValueError, match=r"two tables are called 'polite'.*two"):
        sl.serving.read_tables([one, two])
    config = one / "config.json"
    text = config.read_text()
    entry = json.loads(text)["object"]["dict"]["polite"]
    config.write_text(text.replace('"dict": {', f'"dict": {{"polite": {json.dumps(entry)},', 1))
    with pytest.raises(ValueError, match="two entries called 'polite'"):
        sl.serving.read_tables(one)


def test_a_damaged_file_is_refused(heads, tmp_path):
    import sadi_lens as sl

    folder = sl.serving.export_tables({"polite": heads}, tmp_path / "t")
    (arrays,) = folder.glob("arrays-*.safetensors")
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:-4])
    with pytest.raises(ValueError, match="cannot be read"):
        sl.serving.read_tables(folder)
    arrays.write_bytes(whole[:-1] + b"\x40")  # another number, still a file that loads
    with pytest.raises(ValueError, match="does not have the checksum in its name"):
        sl.serving.read_tables(folder)
    arrays.write_bytes(whole)
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"component": "head"', '"component": "hid"'))
    with pytest.raises(ValueError, match="damaged or was changed"):
        sl.serving.read_tables(folder)
    (folder / "config.json").write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match="is not JSON"):
        sl.serving.read_tables(folder)


def test_nothing_foreign_is_overwritten_and_own_tables_are_replaced_whole(heads, tmp_path):
    import sadi_lens as sl

    folder = sl.serving.export_tables({"a": heads, "b": heads}, tmp_path / "t")
    sl.serving.export_tables({"c": heads}, folder)
    assert list(sl.serving.read_tables(folder)) == ["c"]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="left alone"):
        sl.serving.export_tables({"d": heads}, folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert {one.name for one in tmp_path.iterdir()} == {"t"}


def test_another_kind_of_argument_is_refused_by_name(tmp_path, model):
    import numpy as np

    import sadi_lens as sl

    info = sl.types.ModelInfo.of(model)
    sadi = sl.MaskedScaling(sl.Mask.from_units("head", [(1, 0)], info), 2.0)
    given = {"component": "head", "layers": (1,), "scale": np.ones((1, info.d_model), np.float32), "shift": None,
             "position": "all", "label": "x", "model": info}  # fmt: skip
    table = sl.serving.SteeringTable(**given)
    assert sl.serving.SteeringTable(**{**given, "layers": [1]}) == table
    wrong = {"component": [3, ["head"]], "layers": [3, "1", (1.5,), (True,), None, {1}], "scale": [3, "x", [[1.0]]],
             "label": [3, None], "model": [None, 3, model], "dtype": [3]}  # fmt: skip
    for name, values in wrong.items():
        for value in values:
            with pytest.raises((TypeError, ValueError), match=rf"{name}.* must be"):
                sl.serving.SteeringTable(**{**given, name: value})
    for value in ([sadi], sadi, None, 3, "x", {3: sadi}, {"a": 3}):
        with pytest.raises((TypeError, ValueError), match=r"must|cannot be a table"):
            sl.serving.export_tables(value, tmp_path / "out")
    for name, value in (("model", 3), ("dtype", 3), ("folder", 3)):
        with pytest.raises(TypeError, match=f"{name} must be"):
            sl.serving.export_tables(
                **{"interventions": {"a": sadi}, "folder": tmp_path / "out", name: value}
            )
    for value in (3, None, b"x", {"a"}, [3], [""]):
        with pytest.raises((TypeError, ValueError), match=r"folder.* must"):
            sl.serving.read_tables(value)
    assert not list(tmp_path.iterdir())
