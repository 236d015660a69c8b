"""Artifacts: law 7, atomic writes, refusals."""

import dataclasses
import json

import pytest


@pytest.fixture
def things(info, head_differences):
    """One of each kind that can be saved, without a model."""
    import numpy as np

    import sadi_lens as sl
    from sadi_lens.types.results import Choice, Contrast, MethodRow, SideEffects
    from sadi_lens.types.stats import Interval

    mask = sl.top_k_mask(head_differences, 3)
    evaluation = sl.types.Evaluation(
        label="unsteered <b>",
        model=info,
        task="toy",
        split="dev",
        position="last_prompt",
        scoring="sum",
        correct=np.array([True, False]),
        margins=np.array([1.5, np.nan], np.float32),
        valid=np.array([True, False]),
        choice_scores=np.array([[-1.0, -2.5, np.nan], [np.nan] * 3], np.float32),
        items="abcd",
    )
    null = sl.types.NullBand("null", 3, 5.0, False, np.array([0.5, 0.6]), np.array([0.1, np.inf]))
    row = MethodRow("a", 0.5, Interval(0.1, 0.9), 0.1, Interval(-0.1, 0.3), 0.5, 1.0, 1.0)
    effects = SideEffects(0.5, 1.5, float("nan"), 2.0, 3, 12, "every_step")
    measured = dataclasses.replace(row, side_effects=effects, n_candidates=48, dev_accuracy=0.75)
    other = dataclasses.replace(row, label="b")
    contrast = Contrast("a", "b", 0.0, Interval(-0.1, 0.3), 0.5, 1.0)
    return {
        "differences": head_differences,
        "units": __import__("sadi_lens.types.differences", fromlist=["x"]).UnitDifferences(
            "head", info, ((0, 1),), np.ones((4, 1), np.float32), "toy"
        ),
        "mask": mask,
        "scaling": sl.MaskedScaling(mask, 2.5),
        "addition": sl.MaskedAddition.from_differences(mask, head_differences, 2.0, match="norm"),
        "vector": sl.VectorAddition(np.arange(4.0), 1, 2.0),
        "evaluation": evaluation,
        "null": null,
        "choice": Choice(2, 5.0, 0.75, "dev", "why"),
        "comparison": sl.types.Comparison(
            info, "toy", "test", "head", "last_prompt", 2, float("nan"), (row,), (null,)
        ),
        "compared": sl.types.Comparison(
            info, "toy", "test", "head", "last_prompt", 2, 0.5, (measured, other), (null,), (contrast,), ("a note",)
        ),
        "sweep": sl.types.Sweep(
            "head", "signed", "scaling", info, "toy", "dev", "last_prompt", 9, (1, 2), (0.5, 1.0),
            np.array([[0.5, np.nan], [0.25, 1.0]]), np.zeros((2, 2)), np.ones((2, 2)), 0.5, 0.1, 0.5,
        ),
    }  # fmt: skip


NAMES = [
    "differences", "units", "mask", "scaling", "addition", "vector", "evaluation", "null", "choice",
    "comparison", "compared", "sweep",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_is_equal(things, tmp_path, name):
    import sadi_lens as sl
    from sadi_lens.types.store import read_json, write_json

    thing = things[name]
    assert sl.load(sl.save(thing, tmp_path / "thing")) == thing
    write_json({"thing": thing}, tmp_path / "r.json")
    again = read_json(tmp_path / "r.json")["thing"]
    assert again == thing
    assert type(again) is type(thing)
    json.loads((tmp_path / "r.json").read_text(), parse_constant=lambda c: pytest.fail(c))


def test_differences_of_several_components_come_back_as_what_they_are(things, tmp_path):
    import sadi_lens as sl
    from sadi_lens.types.differences import ByComponent
    from sadi_lens.types.store import read_json, write_json

    own = ByComponent(head=things["differences"])
    sl.save({"found": own, "step": (own, 1.5)}, tmp_path / "saved")
    write_json({"found": own}, tmp_path / "results.json")
    saved = sl.load(tmp_path / "saved")
    for found in (saved["found"], saved["step"][0], read_json(tmp_path / "results.json")["found"]):
        assert type(found) is ByComponent
        assert found == own
        assert found["z"] is found["head"]


def test_equality_is_not_always_true(things):
    import dataclasses

    import numpy as np

    for name, field, value in (
        ("mask", "selected", np.zeros((3, 4), bool)),
        ("differences", "mean", np.zeros((3, 4), np.float32)),
        ("scaling", "strength", 2.0),
        ("null", "k", 4),
        ("evaluation", "margins", np.array([1.5, 0.0], np.float32)),
    ):
        assert dataclasses.replace(things[name], **{field: value}) != things[name]


def test_a_bundle_is_saved_whole(things, tmp_path):
    import sadi_lens as sl

    assert sl.load(sl.save(things, tmp_path / "all")) == things


def test_an_artifact_of_another_shape_is_refused_with_both_shapes(things, info, tmp_path):
    import dataclasses

    import sadi_lens as sl

    path = sl.save(things["mask"], tmp_path / "mask")
    assert sl.load(path, model=info) == things["mask"]
    other = dataclasses.replace(info, name="bigger", n_layers=5)
    with pytest.raises(ValueError, match=r"made on toy \(3 layers, .*not on bigger \(5 layers"):
        sl.load(path, model=other)
    tuned = dataclasses.replace(info, name="tuned", fingerprint="ffff")
    with pytest.raises(ValueError, match="with weights 0123456789abcdef; tuned has the same shape"):
        sl.load(path, model=tuned)
    assert sl.load(path, model=tuned, allow_other_weights=True) == things["mask"]
    steering = sl.save(things["scaling"], tmp_path / "scaling")
    with pytest.raises(ValueError, match=r"made on toy \(3 layers, .*not on bigger \(5 layers"):
        sl.load(steering, model=other)


def test_the_config_names_versions_and_fingerprint(things, tmp_path):
    import sadi_lens as sl

    config = json.loads((sl.save(things["mask"], tmp_path / "m") / "config.json").read_text())
    assert {"sadi_lens", "torch", "transformer_lens"} <= set(config["versions"])
    assert config["object"]["model"]["fingerprint"] == "0123456789abcdef"


def test_a_failed_write_leaves_the_old_artifact(things, tmp_path, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.types import files

    path = sl.save(things["mask"], tmp_path / "m")
    real = files.sync
    for step in range(1, 5):
        left = [step]

        def fail(one, left=left):
            left[0] -= 1
            if not left[0]:
                raise OSError(28, "No space left on device")
            return real(one)

        monkeypatch.setattr(files, "sync", fail)
        with pytest.raises(
            OSError, match=r"cannot write .*m/.*: No space left on device; make room"
        ):
            sl.save(things["differences"], path)
        assert sl.load(path) == things["mask" if step < 4 else "differences"]
        assert not [one for one in tmp_path.rglob("*") if "partial" in one.name]
    monkeypatch.undo()
    sl.save(things["mask"], path)
    assert sl.load(path) == things["mask"]
    assert len(list(path.iterdir())) == 2


def test_a_folder_that_holds_anything_else_is_never_replaced(things, tmp_path):
    """A Hugging Face checkpoint has a config.json too."""
    import sadi_lens as sl

    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"model_type": "llama"}')
    (checkpoint / "model.safetensors").write_text("weights")
    with pytest.raises(FileExistsError, match="was not written by sadi_lens"):
        sl.save(things["mask"], checkpoint)
    path = sl.save(things["mask"], tmp_path / "m")
    (path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="it is left alone"):
        sl.save(things["mask"], path)
    assert (path / "notes.txt").read_text() == "mine"


def test_a_file_that_another_process_has_just_finished_with_is_no_foreign_one(
    things, tmp_path, monkeypatch
):
    """Seen where two processes save to one place: listed, and gone when it was looked at."""
    from pathlib import Path

    import sadi_lens as sl
    from sadi_lens.types.files import partial

    place = sl.save(things["mask"], tmp_path / "mask")
    (arrays,) = place.glob("arrays-*")
    gone, listed = partial(arrays), Path.iterdir
    monkeypatch.setattr(
        Path, "iterdir", lambda self: iter([*listed(self), *([gone] if self == place else [])])
    )
    assert sl.load(sl.save(things["scaling"], place)) == things["scaling"]


def test_everything_in_a_bundle_is_checked_against_the_model(things, info, tmp_path):
    import dataclasses

    import sadi_lens as sl

    path = sl.save({"mask": things["mask"]}, tmp_path / "all")
    with pytest.raises(ValueError, match="not on bigger"):
        sl.load(path, model=dataclasses.replace(info, name="bigger", n_layers=5))
    bare = sl.Mask("head", things["mask"].selected)
    with pytest.raises(ValueError, match="mask has 3 layers x 4 head units, but bigger has 5"):
        sl.load(
            sl.save(bare, tmp_path / "bare"),
            model=dataclasses.replace(info, name="bigger", n_layers=5),
        )


def test_lists_and_tuples_in_provenance_stay_what_they_are(things, tmp_path):
    import dataclasses

    import sadi_lens as sl

    mask = dataclasses.replace(things["mask"], provenance={"a": [1, 2], "b": (3,), "c": None})
    again = sl.load(sl.save(mask, tmp_path / "m"))
    assert again.provenance == mask.provenance
    assert type(again.provenance["a"]) is list


def write_sealed(path, config):
    """As an attacker would who knows the format."""
    from sadi_lens.types.seals import sealed_json

    path.write_text(sealed_json({key: value for key, value in config.items() if key != "checksum"}))


def test_bad_artifacts_are_refused(things, tmp_path):
    import sadi_lens as sl
    from sadi_lens.types.store import read_json

    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        sl.load(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="was not written by sadi_lens"):
        sl.save(things["mask"], tmp_path / "mine")
    path = sl.save(things["mask"], tmp_path / "m")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "format_version": 99}))
    with pytest.raises(ValueError, match="has format version 99, this library reads 2"):
        sl.load(path)
    config["object"]["colour"] = "red"
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json is damaged or was changed"):
        sl.load(path)
    write_sealed(path / "config.json", config)
    theirs = "written by sadi_lens 9.9.9, cannot be read"
    config["versions"]["sadi_lens"] = "9.9.9"
    write_sealed(path / "config.json", config)
    with pytest.raises(ValueError, match=f"{theirs}: Mask has the unknown 'colour'"):
        sl.load(path)
    del config["object"]["colour"]
    kept = config["object"].pop("component")
    write_sealed(path / "config.json", config)
    with pytest.raises(ValueError, match=f"{theirs}: Mask lacks 'component'"):
        sl.load(path)
    config["object"] |= {"component": kept, "type": []}
    write_sealed(path / "config.json", config)
    with pytest.raises(ValueError, match=rf"{theirs}: it holds an unknown type \[\]"):
        sl.load(path)
    config["object"]["type"] = "Mask"
    write_sealed(path / "config.json", config)
    (arrays,) = path.glob("arrays-*.safetensors")
    arrays.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"arrays-\w+\.safetensors cannot be read: .*checksum"):
        sl.load(path)
    arrays.unlink()
    with pytest.raises(ValueError, match=r"m is incomplete: it lacks arrays-"):
        sl.load(path)
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_json(tmp_path / "r.json")
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(ValueError, match="was not written by sadi_lens"):
        read_json(tmp_path / "r.json")
    with pytest.raises(TypeError, match="cannot save object"):
        sl.save(object(), tmp_path / "o")


def test_a_comparison_written_before_there_were_side_effects_still_loads(things, tmp_path):
    from sadi_lens.types.store import read_json, write_json

    path = write_json({"comparison": things["comparison"]}, tmp_path / "results.json")
    config = json.loads(path.read_text())
    comparison = config["object"]["dict"]["comparison"]
    for name in ("contrasts", "notes"):
        del comparison[name]
    for name in ("holm_p", "dev_accuracy", "n_candidates", "seconds", "side_effects"):
        del comparison["rows"][0][name]
    write_sealed(path, config)
    assert read_json(path)["comparison"] == things["comparison"]


def test_a_list_of_numbers_stands_on_one_line_and_text_that_looks_like_one_is_left(tmp_path):
    """An array of a thousand numbers is not a thousand lines; what a string holds is not touched."""
    import numpy as np

    from sadi_lens.types.store import read_json, write_json

    text = "[\n  1,\n  2\n ]"
    values = {
        "array": np.arange(1000, dtype=np.float32),
        "text": text,
        "empty": [],
        "deep": [[1, 2.5], [-3e-9]],
    }
    path = write_json(values, tmp_path / "results.json")
    found = read_json(path)
    assert found["text"] == text
    assert found["deep"] == values["deep"]
    assert (found["array"] == values["array"]).all()
    assert path.read_text().count("\n") < 60
    tenth = {"float32": np.array([0.1], np.float32), "float64": np.array([float(np.float32(0.1))])}
    text = write_json(tenth, tmp_path / "tenth.json").read_text()
    assert text.count("[0.1]") == 1  # as few digits as give it back
    assert text.count("0.10000000149011612") == 1


def test_only_a_folder_that_cannot_be_synced_is_taken_as_it_is(monkeypatch, tmp_path):
    """Some file systems refuse to sync a folder (EINVAL, ENOTSUP); every other refusal is an error."""
    import errno

    from sadi_lens.types import files

    (tmp_path / "one").write_text("x")
    for place, code, is_refused in (
        (tmp_path, errno.EINVAL, False),
        (tmp_path, errno.EIO, True),
        (tmp_path / "one", errno.EINVAL, True),
    ):

        def fail(_number, code=code):
            raise OSError(code, "no")

        monkeypatch.setattr(files.os, "fsync", fail)
        if is_refused:
            with pytest.raises(OSError, match="no"):
                files.sync(place)
        else:
            files.sync(place)
