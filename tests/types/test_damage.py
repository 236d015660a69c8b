"""Saved and loaded is equal or refused; whatever is damaged is refused by name."""

import json
import os
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

KEYS = st.one_of(
    st.text(max_size=4), st.integers(-3, 3), st.booleans(), st.none(),
    st.floats(allow_nan=False, width=16), st.tuples(st.integers(0, 2), st.text(max_size=2)),
)  # fmt: skip
DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="<"), hnp.integer_dtypes(endianness=">"),
    hnp.unsigned_integer_dtypes(endianness=">"), hnp.unsigned_integer_dtypes(endianness="<"),
    hnp.floating_dtypes(endianness="<", sizes=(16, 32, 64)),
    hnp.floating_dtypes(endianness=">", sizes=(16, 32, 64)),
)  # fmt: skip
ARRAYS = DTYPES.flatmap(
    lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)
SCALARS = DTYPES.flatmap(lambda d: hnp.arrays(d, ())).map(lambda a: a[()])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), ARRAYS, SCALARS,
    st.builds(np.str_, st.text(max_size=3)),
)  # fmt: skip
THINGS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def no_sync():
    """Nothing here asks what is on the disk after a power cut, and waiting for it takes most of the time."""
    from sadi_lens.types import files

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "sync", lambda _path: None)
        yield


def same(one, other):
    """Equal in type and value, through and through; NaN equals NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and same(
            one.tolist(), other.tolist()
        )
    if isinstance(
        one, np.str_
    ):  # numpy counts NULs at its end in the dtype, and never gives them back
        return str(one) == str(other)
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and same(one.item(), other.item())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    return one == other or (one != one and other != other)


@pytest.mark.usefixtures("no_sync")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(thing=THINGS)
def test_what_is_saved_comes_back_in_type_and_value_or_is_refused(thing, tmp_path_factory):
    from sadi_lens.types.store import load, read_json, save, write_json

    folder = tmp_path_factory.mktemp("saved")
    try:
        path = save(thing, folder / "x")
    except ValueError as error:
        if "half a surrogate pair" not in str(error) or list(folder.iterdir()):
            raise
        return
    assert same(load(path), thing)
    again = read_json(write_json({"thing": thing}, folder / "r.json"))["thing"]
    assert same(again, thing)


@pytest.mark.parametrize(
    "thing",
    [
        {"a": {"b": np.arange(2)}, "a.b": np.arange(3)},
        {1: np.arange(2), "1": np.arange(3)},
        {1: 1, 1.5: 2, None: 3, "True": 4},
        {True: 1},
        {(1, "a"): [(), [], {}]},
        np.array(3.0),
        np.arange(3, dtype=">i4"),
        np.zeros((0, 3), np.float16),
        np.array([2**64 - 1], np.uint64),
        np.float32(0.1),
        {"type": "Mask", "array": [1], "dict": {}, "list": ()},
    ],
    ids=str,
)
def test_keys_and_arrays_stay_what_they_are(thing, tmp_path):
    from sadi_lens.types.store import load, read_json, save, write_json

    assert same(load(save(thing, tmp_path / "x")), thing)
    assert same(read_json(write_json({"x": thing}, tmp_path / "r.json"))["x"], thing)


def cycle():
    own = []
    own.append(own)
    return own


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: {1, 2}, "cannot save set at thing"),
        (lambda: b"x", "cannot save bytes at thing"),
        (lambda: 1j, "cannot save complex"),
        (lambda: np.array(["a"]), "arrays must be plain numpy arrays"),
        (lambda: np.array([None]), "arrays must be plain numpy"),
        (lambda: np.ma.masked_array([1, 2], [True, False]), "cannot save MaskedArray"),
        (lambda: np.array([1j]), "complex128 at thing"),
        (lambda: np.datetime64("2020"), "cannot save a numpy datetime64"),
        (lambda: __import__("collections").OrderedDict(a=1), "save dict"),
        (lambda: __import__("collections").namedtuple("P", "x")(1), "is of type P, which would come back"),
        (lambda: __import__("enum").IntEnum("E", "A").A, "is of type E, which would come back"),
        (cycle, "nested deeper than 100 levels, or holds itself"),
        (lambda: {"\ud800": 1}, "half a surrogate pair"),
    ],
)  # fmt: skip
def test_what_would_come_back_as_something_else_is_refused_before_anything_is_written(
    make, message, tmp_path
):
    from sadi_lens.types.store import save, write_json

    with pytest.raises((TypeError, ValueError), match=message):
        save(make(), tmp_path / "x")
    with pytest.raises((TypeError, ValueError), match=message.replace("thing", "results.x")):
        write_json({"x": make()}, tmp_path / "r.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    bool(os.environ.get("SADI_LENS_SHAPES")), reason="the shape checker refuses it first"
)
def test_an_object_whose_parts_contradict_each_other_is_refused(head_differences, tmp_path):
    """On saving, and on loading what someone wrote who knows the format and its checksum."""
    from dataclasses import replace

    import sadi_lens as sl
    from sadi_lens.types.seals import sealed_json
    from sadi_lens.types.store import load, save

    mask = sl.top_k_mask(head_differences, 3)
    nan = np.full((3, 4), np.nan, np.float32)
    with pytest.raises(ValueError, match=r"std of ActivationDifferences .*\[3, 4\], got"):
        replace(head_differences, std=nan[:2])
    for thing, message in (
        (replace(mask, selected=mask.selected.T), r"selected of Mask .* = \[3, 4\], got \[4, 3\]"),
        (replace(head_differences, mean=nan), "mean of ActivationDifferences .*finite"),
    ):
        with pytest.raises(ValueError, match=message):
            save(thing, tmp_path / "x")
    path = save(head_differences, tmp_path / "d")
    config = json.loads((path / "config.json").read_text())
    del config["checksum"]
    for change, message in (
        ({"mean": config["object"]["vector"]}, r"mean of ActivationDifferences .*layer unit"),
        ({"n": "50"}, "n of ActivationDifferences .*must be int"),
        ({"mean": 3}, "mean of ActivationDifferences"),
        ({"component": None}, "component of ActivationDifferences .*must be str"),
        ({"type": "os"}, "unknown type 'os'"),
        ({"mean": {"array": "99", "dtype": "<f4", "shape": [3, 4]}}, "it lacks '99'"),
        ({"task": {"float": "1e5"}}, "is not a number"),
        ({"mean": {"array": ["1e5"] * 12, "dtype": "<f4", "shape": [3, 4]}}, "is not a number"),
        ({"mean": {"array": ["7"] * 12, "dtype": "<i8", "shape": [3, 4]}}, "is not a number"),
    ):
        other = {**config, "object": {**config["object"], **change}}
        (path / "config.json").write_text(sealed_json(other))
        with pytest.raises(ValueError, match=message) as caught:
            load(path)
        assert str(path) in str(caught.value)
    (path / "config.json").write_text(sealed_json({**config, "arrays": "../../secret"}))
    with pytest.raises(ValueError, match="names no arrays file"):
        load(path)


def damage(data, rng):
    """Bits, bytes, truncation, a piece twice, a piece missing, a number changed."""
    data = bytearray(data)
    at = rng.randrange(len(data))
    kind = rng.randrange(6)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at] = rng.randrange(256)
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        data[at:at] = data[at : at + rng.randrange(1, 40)]
    elif kind == 4:
        del data[at : at + rng.randrange(1, 40)]
    else:
        data[at : at + 4] = rng.choice(
            (b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"NaN,", b"null", b"true", b"1e9,")
        )
    return bytes(data)


@pytest.mark.usefixtures("no_sync")
def test_damaged_artifacts_are_refused_by_name(head_differences, tmp_path):
    """Six hundred artifacts and result files: none is loaded that differs, none ends in another error."""
    import sadi_lens as sl
    from sadi_lens.types.store import load, read_json, save, write_json

    rng = random.Random(0)
    mask = sl.top_k_mask(head_differences, 3)
    things = [mask, head_differences, {"a": sl.MaskedScaling(mask, 2.5), 1: (np.arange(3), None)}]
    outcomes = {"equal": 0, "refused": 0}
    for turn in range(600):
        thing = things[turn % len(things)]
        place = tmp_path / str(turn)
        if turn % 2:
            path = write_json({"x": thing}, place / "results.json")
            victim = path
        else:
            path = save(thing, place)
            victim = rng.choice(sorted(path.iterdir()))
        data = victim.read_bytes()
        hurt = damage(data, rng)
        victim.write_bytes(hurt)
        try:
            found = read_json(path)["x"] if turn % 2 else load(path)
        except (ValueError, FileNotFoundError) as error:
            if str(path) not in str(error):
                raise
            outcomes["refused"] += 1
        else:
            assert found == thing if not isinstance(thing, dict) else str(found) == str(thing)
            outcomes["equal"] += 1
    assert outcomes["refused"] > 500  # the others: a change of white space, or none


def test_arrays_of_another_artifact_are_refused(head_differences, tmp_path):
    import shutil
    from dataclasses import replace

    import sadi_lens as sl

    one = sl.save(head_differences, tmp_path / "one")
    other = sl.save(replace(head_differences, mean=-head_differences.mean), tmp_path / "other")
    (mine,), (theirs,) = one.glob("arrays-*"), other.glob("arrays-*")
    shutil.copy(theirs, mine)
    with pytest.raises(ValueError, match=r"cannot be read: it does not have the checksum"):
        sl.load(one)


def test_what_is_nested_a_hundred_deep_is_kept_and_one_more_refused(tmp_path):
    from sadi_lens.types.store import load, save

    def nested(depth):
        return 1 if not depth else [nested(depth - 1)]

    assert load(save(nested(100), tmp_path / "kept")) == nested(100)
    with pytest.raises(ValueError, match="nested deeper than 100 levels"):
        save(nested(101), tmp_path / "refused")
