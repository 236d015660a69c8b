"""What every result shares."""


def test_every_result_is_equal_part_by_part_also_where_a_number_is_not_known():
    import sadi_lens.types.results as results
    from sadi_lens.types.base import ArrayEq
    from sadi_lens.types.invariants import Consistent
    from sadi_lens.types.stats import Interval

    kinds = [getattr(results, name) for name in results.__all__]
    kinds = [one for one in kinds if isinstance(one, type) and issubclass(one, Consistent)]
    assert len(kinds) > 20
    assert [one.__name__ for one in kinds if one.__eq__ is not ArrayEq.__eq__] == []

    def contrast(low, high=0.1):
        return results.Contrast("a", "b", 0.0, Interval(low, high), 1.0, 1.0, 1)

    assert contrast(float("nan")) == contrast(float("nan"))
    assert contrast(float("nan")) != contrast(0.0)
    assert contrast(0.0) != contrast(0.0, 0.2)


def test_what_was_given_and_what_comes_back_stay_as_they_were():
    import dataclasses

    import numpy as np
    import pytest

    import sadi_lens as sl

    mine = np.array([0.5, 0.25])
    band = sl.types.NullBand("random", 2, 1.0, False, mine, np.zeros(2))
    mine[:] = 1.0
    assert band.accuracies.tolist() == [0.5, 0.25]
    with pytest.raises(ValueError, match="read-only"):
        band.accuracies.sort()
    with pytest.raises((ValueError, dataclasses.FrozenInstanceError)):
        band.margins += 1
    assert band.margins.tolist() == [0, 0]
    # A view of what somebody else can write to is copied, what is a result's own already is not.
    view = mine[:]
    view.setflags(write=False)
    other = dataclasses.replace(band, margins=view)
    mine[:] = 2.0
    assert other.margins.tolist() == [1.0, 1.0]
    assert other.accuracies is band.accuracies
    made_of = {"task": "a"}
    mask = sl.Mask("head", np.zeros((1, 2), dtype=bool), provenance=made_of)
    made_of["task"] = "b"
    assert mask.provenance == {"task": "a"}


def test_results_of_one_call_share_nothing_that_can_be_written_to(llama, pairs, samples):
    import numpy as np

    import sadi_lens as sl

    found = sl.activation_differences(llama, pairs, components=["head"], progress=False)["head"]
    scaling = sl.MaskedScaling(sl.top_k_mask(found, 2), 1.0)
    several = sl.evaluate(llama, samples, [None, scaling], progress=False)
    grid = sl.sweep(llama, samples, found, ks=[1], strengths=[1.0], keep_items=True, progress=False)
    for one in (found, *several, *(row.picks for row in several if row.picks), grid):
        arrays = [value for value in vars(one).values() if isinstance(value, np.ndarray)]
        assert arrays
        assert not any(value.flags.writeable for value in arrays)
